"""Runs of a grid, written into a folder: any number, stopped and continued at will."""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from htfjax import _checks, _files
from htfjax._digests import file_digest, text_digest
from htfjax._types import JsonObject, PathLike
from htfjax.runs import batch, folder, store, view
from htfjax.runs.block import Session, run_block
from htfjax.runs.completion import completion_lane
from htfjax.runs.exits import closed_at_exit
from htfjax.runs.grid import Grid
from htfjax.runs.journal import JOURNAL, Journal, read_journal
from htfjax.runs.lanes import Build, check_build
from htfjax.runs.memory import free_memory
from htfjax.runs.programs import Program, RunKey, block_size, choose_width, programs_of
from htfjax.runs.progress import Clock, Progress, Tally

# No run's seed: only tells generators apart.
PROBE = 0
Batching = Literal["auto", "map", "vmap"]


def run(
    grid: Grid,
    out: PathLike,
    *,
    until_step: int,
    record_every: int,
    build: Build = completion_lane,
    chunk_steps: int | None = None,
    record: Sequence[str] | None = None,
    tolerance: float | None = None,
    patience: int = 0,
    watch: str = "loss",
    batching: Batching | int = "auto",
    max_lanes: int = 256,
    memory_bytes: int | None = None,
    mesh: Mesh | None = None,
    checkpoint_seconds: float = 60.0,
    interrupted: Callable[[], bool] | None = None,
) -> Generator[Progress, None, None]:
    """Runs every descent of a grid to step `until_step` or until it stops, into a folder.

    Iterate to work; leave the loop to stop: the current chunk is saved, at the end of the
    process too. The same call on the same folder resumes it, after a kill too, and gives
    bit for bit the same records; more `seeds` or `until_step` extend it. Files that were
    damaged or lost meanwhile are named in the messages and computed anew.
    `htfjax.load_results(out)` reads the folder.

    Args:
      grid: what to run.
      out: folder; one process, and one thread, at a time.
      until_step, record_every: as in `descend_in_chunks`, for every run.
      build: makes a lane of a setting and a key.
      chunk_steps: steps between looks at the stopping rule, a multiple of `record_every`;
        about 500 by default.
      record: quantities to record beside the loss and norms of the steps; all by default.
      tolerance, patience: stopping rule of `find_stop` on the quantity `watch`; without
        `tolerance` only diverged runs stop.
      batching: "map" runs lane after lane and equals single runs bit for bit on any number
        of devices; "vmap" vectorizes over all lanes of a device, a number over that many;
        "auto" maps on a CPU and vectorizes elsewhere.
      max_lanes: lanes that run together, fewer if memory does not hold them.
      memory_bytes: what lanes may take; by default half of what is free.
      mesh: from `lane_mesh`; by default all devices of all processes.
      checkpoint_seconds: time between checkpoints: what a kill can cost.
      interrupted: asked after every chunk; True saves and ends. For several processes.

    Yields:
      `Progress` after every chunk; the last one is "finished" or "interrupted".

    Raises:
      TypeError, ValueError: arguments that cannot be, a mesh that does not fit the
        processes, a folder of another grid (fields that differ are named), of other
        versions or of another format, or one without its manifest.
      PermissionError, BlockingIOError: a folder that cannot be written or is in use.
      FileNotFoundError: the folder was moved or removed meanwhile.
      OSError: the disk is full; what is finished is intact.

    Example:
      >>> import htfjax as htf, tempfile
      >>> setting = htf.problems.Completion(
      ...     mode_dims=3, widths=4, observed=40, target_rank=2, init_std=0.3)
      >>> grid = htf.runs.Grid(setting, seeds=range(3), axes={"eps": (1e-6, 1e-4)})
      >>> out = tempfile.mkdtemp()
      >>> for progress in htf.runs.run(grid, out, until_step=40, record_every=10):
      ...     pass
      >>> progress.state, dict(htf.load_results(out).loss.sizes)
      ('finished', {'eps': 2, 'seed': 3, 'step': 5})
    """
    advice = "make one of a setting, seeds and axes"
    _checks.instance("grid", grid, Grid, advice)
    check_build(build)
    path = _files.absolute("out", out)
    options = _options(
        until_step, record_every, chunk_steps, record, tolerance, patience, watch
    )
    if mesh is not None:
        _checks.instance("mesh", mesh, Mesh, "`lane_mesh` makes one")
    if interrupted is not None:
        _checks.function("interrupted", interrupted)
    _checks.real("checkpoint_seconds", checkpoint_seconds, least=0, infinite=True)
    sizes = _Sizes(
        _check_batching(batching),
        _checks.at_least("max_lanes", max_lanes, 1),
        None if memory_bytes is None else _checks.at_least("memory_bytes", memory_bytes, 1),
    )
    lanes = batch.lane_mesh(None if mesh is None else list(mesh.devices.flat))
    session = _session(
        grid, path, build, options, sizes, lanes, float(checkpoint_seconds), interrupted
    )
    return closed_at_exit(session)


def _options(
    until_step: int, record_every: int, chunk_steps: int | None,
    record: Sequence[str] | None, tolerance: float | None, patience: int, watch: str,
) -> JsonObject:  # fmt: skip
    """The options by which a folder is compared, checked, as JSON values."""
    record_every = _checks.at_least("record_every", record_every, 1)
    until_step = _checks.at_least("until_step", until_step, 2)
    if chunk_steps is None:
        chunk_steps = record_every * max(
            -(-500 // record_every), 2 if record_every == 1 else 1
        )
    chunk_steps = _checks.at_least("chunk_steps", chunk_steps, 2)
    for name, value in (("until_step", until_step), ("chunk_steps", chunk_steps)):
        if value % record_every:
            raise ValueError(
                f"`record_every={record_every}` does not divide `{name}={value}`."
            )
    if tolerance is not None:
        _checks.positive("tolerance", tolerance)
        tolerance = float(tolerance)
    for name in (watch,) if record is None else (watch, *_names(record)):
        if not isinstance(name, str):
            raise TypeError(
                "`record` and `watch` must be names of quantities, got "
                f"{_checks.spell(name)}."
            )
    return {
        "until_step": until_step, "record_every": record_every, "chunk_steps": chunk_steps,
        "record": None if record is None else _names(record), "tolerance": tolerance,
        "patience": _checks.at_least("patience", patience, 0), "watch": watch,
    }  # fmt: skip


def _names(record: Sequence[str]) -> list[str]:
    listed = _checks.as_sequence(record)
    if isinstance(listed, str | bytes) or not isinstance(listed, Sequence):
        raise TypeError(
            f"`record` must be a list of names such as ['train_mse'], got "
            f"{_checks.spell(record)}."
        )
    return list(listed)


def _check_batching(batching: Batching | int) -> Batching | int:
    if isinstance(batching, str):
        _checks.one_of("batching", batching, get_args(Batching))
        return batching
    return _checks.at_least("batching", batching, 1)


@dataclasses.dataclass(frozen=True)
class _Sizes:
    batching: Batching | int
    max_lanes: int
    memory_bytes: int | None


def _session(
    grid: Grid, out: Path, build: Build, options: JsonObject, sizes: _Sizes,
    mesh: Mesh, checkpoint_seconds: float, interrupted: Callable[[], bool] | None,
) -> Generator[Progress, None, None]:  # fmt: skip
    with contextlib.ExitStack() as stack:
        primary = folder.process_zero()
        if primary:
            stack.enter_context(folder.locked(out))
        clock = stack.enter_context(Clock.running())
        opened = _open(grid, out, build, options, sizes, mesh, primary)
        manifest, journal = opened.manifest, opened.journal
        session = Session(
            out=out, grid=grid, build=build, mesh=mesh,
            until_step=options["until_step"], record_every=options["record_every"],
            chunk_steps=options["chunk_steps"], watch=options["watch"],
            tolerance=options["tolerance"], patience=options["patience"],
            checkpoint_seconds=checkpoint_seconds,
            identity=folder.identity_of(manifest), metadata=manifest["metadata"],
            journal=journal,
        )  # fmt: skip
        folded = view.fold(opened.lines)
        tally = Tally(len(grid.runs()), options["until_step"], clock, opened.messages)

        def progress(state: str) -> Progress:
            found = tally.progress(state)
            if journal is not None:
                with folder.named_errors(out):
                    journal.check_present()
                    values = dataclasses.asdict(found)
                    folder.write_status(out, values, journal.lines)
            return found

        for program, entry in zip(opened.programs, manifest["programs"], strict=True):
            for number, runs in enumerate(entry["blocks"]):
                chosen = [tuple(key) for key in runs]
                wanted = [key for key in chosen if key[-1] in grid.seeds]
                if not wanted:
                    continue
                chunks = run_block(session, program, number, chosen, entry["width"], folded)
                with contextlib.closing(chunks):
                    for chunk in chunks:
                        tally.add((program.name, number), chunk)
                        yield progress("running")
                        if _any(interrupted is not None and interrupted()):
                            chunks.close()
                            yield progress("interrupted")
                            return
        last = progress("finished")
        _barrier("finished")
        yield last


class _Opened(NamedTuple):
    """A folder that is ready to be worked in."""

    manifest: JsonObject
    programs: list[Program]
    lines: list[JsonObject]  # of the journal
    journal: Journal | None  # None where another process writes
    messages: list[str]  # of damage


def _open(
    grid: Grid, out: Path, build: Build, options: JsonObject, sizes: _Sizes,
    mesh: Mesh, primary: bool,
) -> _Opened:  # fmt: skip
    """The folder as it is asked for, fresh or extended, and what it lists.

    Process 0 makes it; if it cannot, the others do not wait for it.
    """
    opened, error = None, None
    if primary:
        try:
            opened = _prepare(grid, out, build, options, sizes, mesh)
        except Exception as problem:
            error = problem
    if _any(error is not None):
        raise error or RuntimeError(f"`out={out}`: process 0 ended with an error")
    if opened is not None:
        return opened
    manifest = folder.read_manifest(out)
    assert manifest is not None
    programs = programs_of(grid, build, options["record"])
    lines = read_journal(out / JOURNAL, folder.identity_of(manifest)).lines
    return _Opened(manifest, programs, lines, None, [])


def _prepare(
    grid: Grid, out: Path, build: Build, options: JsonObject, sizes: _Sizes, mesh: Mesh
) -> _Opened:
    """Manifest, journal and metadata of the folder, made, extended or mended."""
    found = folder.read_manifest(out)
    if found is None:
        _check_unused(out)
    else:
        _check_same(found, grid, build, options, out)
    programs = programs_of(grid, build, options["record"])
    _check_watch(programs, options["watch"])
    if found is None:
        manifest = _fresh(grid, build, options, sizes, mesh, programs)
    else:
        _check_programs(found, programs, out)
        manifest = _extended(found, grid, options, programs)
    files = _metadata(grid, manifest, programs)
    digests = {path: text_digest(content) for path, content in files.items()}
    manifest = manifest | {"metadata": digests}
    with folder.named_errors(out):
        journal, lines, messages = _open_journal(out, found, manifest)
        if found is not None and (lines or messages):  # else a kill came first
            messages += _lost_metadata(out, found["metadata"])
        # In this order a kill leaves either nothing, or a manifest that says what to mend.
        folder.write_manifest(out, manifest)
        store.write_metadata(out, files, digests)
    return _Opened(manifest, programs, lines, journal, messages)


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


def _fresh(
    grid: Grid, build: Build, options: JsonObject, sizes: _Sizes, mesh: Mesh,
    programs: list[Program],
) -> JsonObject:  # fmt: skip
    memory = sizes.memory_bytes or free_memory(mesh)
    records = options["chunk_steps"] // options["record_every"]
    entries, limited = [], False
    for program in programs:
        width = choose_width(sizes.batching, program, mesh, sizes.max_lanes)
        wished = min(sizes.max_lanes, len(program.runs))
        size = block_size(program, records, width, wished, memory)
        limited |= size < wished
        width = min(width, -(-size // mesh.size)) if size < wished else width
        entries.append(
            {
                "name": program.name,
                "block": size,
                "width": max(width, 1),
                "arrays": _shapes(program),
                "blocks": _blocks(program.runs, size),
            }
        )
    coords: dict[str, list | None] = {}
    for program in programs:
        for name, values in program.shapes.coords:
            if coords.setdefault(name, list(values)) != list(values):
                coords[name] = None  # programs disagree: positions stay numbers
    return {
        "format": folder.FORMAT,
        "grid": grid.to_json(),
        "seeds": list(grid.seeds),
        **options,
        "record": list(dict.fromkeys(n for p in programs for n in p.quantities)),
        "asked": options["record"],
        "batching": sizes.batching if isinstance(sizes.batching, str) else "chunks",
        "lanes_limited_by_memory": limited,
        "versions": folder.versions(),
        "device": f"{mesh.devices.flat[0].platform} {mesh.devices.flat[0].device_kind}",
        "build": _name(build),
        "random bits of jax": _draws(),
        "programs": entries,
        "coords": {name: v for name, v in coords.items() if v is not None},
    }


def _extended(
    found: JsonObject, grid: Grid, options: JsonObject, programs: list[Program]
) -> JsonObject:
    """The manifest with more seeds and steps; what is there stays where it is."""
    for entry, program in zip(found["programs"], programs, strict=True):
        there = {tuple(key) for runs in entry["blocks"] for key in runs}
        fresh = [key for key in program.runs if key not in there]
        entry["blocks"] += _blocks(fresh, entry["block"])
    seeds = list(dict.fromkeys((*found["seeds"], *grid.seeds)))
    steps = max(found["until_step"], options["until_step"])
    return found | {"seeds": seeds, "until_step": steps}


def _check_same(
    found: JsonObject, grid: Grid, build: Build, options: JsonObject, out: Path
) -> None:
    differ = folder.differences(found["grid"], grid.to_json())
    for name in ("record_every", "chunk_steps", "tolerance", "patience", "watch"):
        differ += folder.differences(found[name], options[name], name)
    differ += folder.differences(found["asked"], options["record"], "record")
    differ += folder.differences(found["build"], _name(build), "build")
    bits = "random bits of jax"
    differ += folder.differences(found[bits], _draws(), bits)
    if differ:
        raise ValueError(
            f"`out={out}` holds another grid: {'; '.join(differ)}. Choose another folder, "
            "or repeat what was asked first (only `seeds` and `until_step` may grow)."
        )
    here = folder.versions()
    other = [
        f"{name} {version} (here {here.get(name)})"
        for name, version in found["versions"].items()
        if here.get(name) != version
    ]
    if other:
        raise ValueError(
            f"`out={out}` has checkpoints made by {', '.join(other)}; numbers would not "
            "go on exactly. Install those versions, or choose another folder."
        )


def _check_watch(programs: list[Program], watch: str) -> None:
    for program in programs:
        if watch not in program.quantities or program.quantities[watch][0]:
            plain = [n for n, (shape, _, _) in program.quantities.items() if not shape]
            raise ValueError(f"`watch={watch!r}` is none of the recorded numbers {plain}.")


def _check_programs(found: JsonObject, programs: list[Program], out: Path) -> None:
    """Checks that `build` still makes lanes of the same kind."""
    before = [(entry["name"], entry["arrays"]) for entry in found["programs"]]
    now = [(program.name, _shapes(program)) for program in programs]
    if before != now:
        raise ValueError(
            f"`out={out}`: `build` makes other arrays than when the folder was begun; "
            "choose another folder."
        )


def _shapes(program: Program) -> JsonObject:
    """Shapes and dtypes of the states and records of a program, as JSON values."""
    states = jax.tree.leaves(program.shapes.state)
    records = program.quantities.items()
    return {
        "state": [f"{x.dtype}{list(x.shape)}" for x in states],
        "records": {name: [kind, list(shape)] for name, (shape, kind, _) in records},
    }


def _name(build: Build) -> str:
    """Name of a builder, without its module: that of a script has several names."""
    return getattr(build, "__qualname__", type(build).__qualname__)


def _draws() -> list[int]:
    """Random bits that tell the kinds of generators apart which jax can be set to."""
    return jax.random.bits(jax.random.key(PROBE), (4,), "uint32").tolist()


def _metadata(
    grid: Grid, manifest: JsonObject, programs: list[Program]
) -> dict[str, bytes]:
    """All files of the store but the chunks: file -> content."""
    files = store.root_metadata()
    every = manifest["record_every"]
    records = manifest["until_step"] // every + 1
    values = [list(v) for _, v in grid.axes]
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
        for a, (name, v) in enumerate(zip(grid.names, values, strict=True)):
            at = [places[r][a] if r in places else -1 for r in range(rows)]
            listed = {"values": [str(x) for x in v]}
            labels[f"{name}_index"] = ("run", np.array(at), listed)
        files |= store.program_metadata(
            program.name, program.quantities, labels, rows=rows, records=records,
            block=size, chunk=manifest["chunk_steps"] // every,
        )  # fmt: skip
    return files


def _blocks(runs: Sequence[RunKey], size: int) -> list[list[list[int]]]:
    listed = [list(key) for key in runs]
    return [listed[i : i + size] for i in range(0, len(listed), size)]


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _any(value: bool) -> bool:
    if jax.process_count() == 1:
        return bool(value)
    return bool(multihost_utils.process_allgather(np.asarray(value)).any())
