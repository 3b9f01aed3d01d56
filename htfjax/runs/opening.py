"""Opening of a folder: manifest, journal and metadata, made, extended or mended."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from htfjax._digests import file_digest, text_digest
from htfjax._types import JsonObject
from htfjax.runs import folder, store, view
from htfjax.runs import manifest as manifests
from htfjax.runs.final import lost_final
from htfjax.runs.grid import Grid
from htfjax.runs.journal import JOURNAL, Journal, read_journal
from htfjax.runs.options import Sizes
from htfjax.runs.programs import Failures, Program, spell_run
from htfjax.runs.session import Session, all_or_none, process_zero, told


class Opened(NamedTuple):
    """A folder that is ready to be worked in."""

    manifest: JsonObject
    lines: list[JsonObject]  # of the journal
    journal: Journal | None  # None where another process writes
    messages: list[str]  # of damage


def open_folder(
    grid: Grid, asked: Session, options: JsonObject, sizes: Sizes,
    programs: list[Program], failures: Failures,
) -> Opened:  # fmt: skip
    """The folder as it is asked for, fresh or extended, and what it lists.

    Process 0 makes it and tells the others; if it cannot, they do not wait for it.
    """
    opened = Opened({}, [], None, [])
    with all_or_none(asked.out):
        if process_zero():
            opened = _prepare(grid, asked, options, sizes, programs, failures)
    content = told({"manifest": opened.manifest, "lines": opened.lines})
    return opened._replace(manifest=content["manifest"], lines=content["lines"])


def _prepare(
    grid: Grid, asked: Session, options: JsonObject, sizes: Sizes,
    programs: list[Program], failures: Failures,
) -> Opened:  # fmt: skip
    """Manifest, journal and metadata of the folder, made, extended or mended."""
    out = asked.out
    found = folder.read_manifest(out)
    if found is None:
        _check_unused(out)
    else:
        manifests.check_same(found, grid, options, out)
    manifests.check_watch(programs, options["watch"])
    if found is None:
        manifest = manifests.fresh(grid, asked.mesh, options, sizes, programs)
    else:
        manifests.check_programs(found, programs, out)
        manifest = manifests.extended(found, grid, options, programs)
    files = _metadata(grid, manifest, programs)
    digests = {path: text_digest(content) for path, content in files.items()}
    failed = [list(place) for place in failures]
    if found is not None:  # single runs of seeds that are not asked for now
        failed += [
            place
            for place in found["failed"]
            if len(place) > len(grid.axes) and place[-1] not in grid.seeds
        ]
    manifest = manifest | {"metadata": digests, "failed": failed}
    with folder.named_errors(out):
        journal, lines, messages = _open_journal(out, found, manifest)
        if found is not None and (lines or messages):  # else a kill came first
            messages += _lost_metadata(out, found["metadata"])
        if found is not None and (lost := lost_final(out, found)):
            messages.append(f"{lost} and is to be written anew")
            manifest = manifest | {"final": {}}
        # In this order a kill leaves either nothing, or a manifest that says what to mend.
        folder.write_manifest(out, manifest)
        store.write_metadata(out, files, digests)
    messages += [_spell_failure(grid, place, e) for place, e in failures.items()]
    return Opened(manifest, lines, journal, messages)


def _spell_failure(grid: Grid, place: tuple[int, ...], error: Exception) -> str:
    left = "which is" if len(place) > len(grid.axes) else "whose runs are"
    what = f"{type(error).__name__}: {error}"
    return f"`build` fails for {spell_run(grid, place)}, {left} left out: {what}"


def _check_unused(out: Path) -> None:
    """Nothing of an ensemble may lie in a folder without manifest: whose would it be?"""
    for name in (store.RECORDS, "checkpoints", "status.json", JOURNAL):
        path = out / name
        opened = name == JOURNAL and path.exists() and path.read_bytes().count(b"\n") < 2
        if path.exists() and not opened:
            raise ValueError(
                f"`out={out}` holds {name}, but {folder.MANIFEST} is missing; restore that "
                "from a copy, or choose another folder."
            )


def _open_journal(
    out: Path, found: JsonObject | None, manifest: JsonObject
) -> tuple[Journal, list[JsonObject], list[str]]:
    """The journal, its lines, and what was lost of it; what is left is kept."""
    path, identity = out / JOURNAL, folder.identity_of(manifest)
    if found is None:
        return Journal.create(path, identity), [], []
    try:
        reading = read_journal(path, identity, folder.lines_written(out))
    except FileNotFoundError:
        lost = f"{path} is missing: all that it listed is computed anew"
        return Journal.create(path, identity), [], [lost]
    if reading.foreign:
        raise ValueError(
            f"{path} belongs to another folder than {out / folder.MANIFEST}; put back the "
            f"one that is right. Without {JOURNAL} everything would be computed anew."
        )
    lines = [line for line in reading.lines if view.fits(line, found)]
    problems = list(reading.problems)
    if len(lines) < len(reading.lines):
        problems.append(f"{path} has lines that do not fit {out / folder.MANIFEST}")
    if problems:
        return Journal.create(path, identity, lines), lines, problems
    return Journal.opened(path, identity, reading), lines, []


def _lost_metadata(out: Path, digests: dict[str, str]) -> list[str]:
    """Sentences about files beside the chunks that are missing or damaged."""
    if not (out / store.RECORDS).is_dir():
        return [f"{out / store.RECORDS} is missing and is computed anew"]
    lost = [out / path for path, d in digests.items() if file_digest(out / path) != d]
    if not lost:
        return []
    return [f"{folder.list_files(lost)}: damaged or missing, written anew"]


def _metadata(
    grid: Grid, manifest: JsonObject, programs: list[Program]
) -> dict[str, bytes]:
    """All files of the store but the chunks: file -> content."""
    files = store.root_metadata()
    every = manifest["record_every"]
    records = manifest["until_step"] // every + 1
    for program, entry in zip(programs, manifest["programs"], strict=True):
        size, blocks = entry["block"], entry["blocks"]
        rows = (len(blocks) - 1) * size + len(blocks[-1])
        places = {
            b * size + i: k for b, runs in enumerate(blocks) for i, k in enumerate(runs)
        }
        seeds = np.array([places[r][-1] if r in places else -1 for r in range(rows)])
        labels: store.Labels = {
            "seed": ("run", seeds, {}),
            "step": ("step", np.arange(records) * every, {}),
        }
        for a, name in enumerate(grid.names):
            at = [places[r][a] if r in places else -1 for r in range(rows)]
            listed = {"values": [str(x) for x in manifest["labels"][name]]}
            labels[f"{name}_index"] = ("run", np.array(at), listed)
        files |= store.program_metadata(
            program.name, program.quantities, labels, rows=rows, records=records,
            block=size, chunk=manifest["chunk_steps"] // every,
        )  # fmt: skip
    return files
