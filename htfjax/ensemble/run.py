"""Runs a grid into a folder: any number of runs, stopped and continued at will."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from htfjax import _checks
from htfjax.contraction.rates import Rates, device_rates
from htfjax.ensemble import batch, folder, store, view
from htfjax.ensemble.block import Session, run_block
from htfjax.ensemble.completion import completion_lane
from htfjax.ensemble.grid import Grid
from htfjax.ensemble.lanes import Build
from htfjax.ensemble.programs import (
    Program,
    block_size,
    choose_width,
    free_memory,
    programs_of,
)
from htfjax.ensemble.progress import Clock, Progress, Tally

__all__ = ["run"]


def run(
    grid: Grid,
    out: str | os.PathLike,
    *,
    num_steps: int,
    record_every: int,
    build: Build = completion_lane,
    chunk_steps: int | None = None,
    record: Sequence[str] | None = None,
    tolerance: float | None = None,
    patience: int = 0,
    watch: str = "loss",
    batching: str | int = "auto",
    max_lanes: int = 256,
    memory_bytes: int | None = None,
    mesh: Mesh | None = None,
    checkpoint_seconds: float = 60.0,
    interrupted: Callable[[], bool] | None = None,
) -> Generator[Progress, None, None]:
    """Runs every descent of a grid to step `num_steps` or until it stops, into a folder.

    Iterate to work; leave the loop to stop: the current chunk is saved. The same call on
    the same folder goes on, after a kill too, and gives bit for bit the same records;
    more `seeds` or `num_steps` extend it. `htfjax.load_results(out)` reads the folder.

    Args:
      grid: what to run.
      out: folder; one process at a time.
      num_steps, record_every: as in `continue_descent`, for every run.
      build: makes a lane of a setting and a key.
      chunk_steps: steps between looks at the stopping rule, a multiple of `record_every`;
        about 500 by default.
      record: quantities to record beside the loss and norms of the steps; all by default.
      tolerance, patience: stopping rule of `find_stop` on the quantity `watch`; without
        `tolerance` only diverged runs stop.
      batching: "map" runs lane after lane and equals single runs bit for bit on any number
        of devices; "vmap" vectorizes over all lanes of a device, a number over that many;
        "auto" maps on a CPU and measures elsewhere.
      max_lanes: lanes that run together, fewer if memory does not hold them.
      memory_bytes: what lanes may take; by default most of what is free.
      mesh: from `lane_mesh`; by default all devices of all processes.
      checkpoint_seconds: time between checkpoints: what a kill can cost.
      interrupted: asked after every chunk; True saves and ends. For several processes.

    Yields:
      `Progress` after every chunk; the last one is "finished" or "interrupted".

    Raises:
      TypeError, ValueError: arguments that cannot be, a mesh that does not fit the
        processes, a folder of another grid (fields that differ are named), of other
        versions or of a newer format.
      PermissionError, BlockingIOError: a folder that cannot be written or is in use.
      OSError: the disk is full; what is finished is intact.

    Example:
      >>> import htfjax as htf, tempfile
      >>> setting = htf.ensemble.Completion(
      ...     mode_dims=3, widths=4, observed=40, target_rank=2, init_std=0.3)
      >>> grid = htf.ensemble.Grid(setting, seeds=range(3), axes={"eps": (1e-6, 1e-4)})
      >>> out = tempfile.mkdtemp()
      >>> for progress in htf.ensemble.run(grid, out, num_steps=40, record_every=10):
      ...     pass
      >>> progress.state, dict(htf.load_results(out).loss.sizes)
      ('finished', {'eps': 2, 'seed': 3, 'step': 5})
    """
    if not isinstance(grid, Grid):
        raise TypeError(f"`grid` must be a Grid, got {type(grid).__name__}.")
    record_every = _checks.at_least("record_every", record_every, 1)
    num_steps = _checks.at_least("num_steps", num_steps, 2)
    if chunk_steps is None:
        chunk_steps = record_every * max(
            -(-500 // record_every), 2 if record_every == 1 else 1
        )
    chunk_steps = _checks.at_least("chunk_steps", chunk_steps, 2)
    for name, value in (("num_steps", num_steps), ("chunk_steps", chunk_steps)):
        if value % record_every:
            raise ValueError(
                f"`record_every={record_every}` does not divide `{name}={value}`."
            )
    if not (batching in ("auto", "map", "vmap") or _is_width(batching)):
        raise ValueError(
            f"`batching={batching!r}` is none of 'auto', 'map', 'vmap' and a whole number."
        )
    max_lanes = _checks.at_least("max_lanes", max_lanes, 1)
    mesh = batch.lane_mesh(None if mesh is None else list(mesh.devices.flat))
    options = {
        "num_steps": num_steps, "record_every": record_every, "chunk_steps": chunk_steps,
        "record": None if record is None else list(record), "tolerance": tolerance,
        "patience": patience, "watch": watch,
    }  # fmt: skip
    sizes = _Sizes(batching, max_lanes, memory_bytes)
    return _session(
        grid, Path(out), build, options, sizes, mesh, checkpoint_seconds, interrupted
    )


@dataclasses.dataclass(frozen=True)
class _Sizes:
    batching: str | int
    max_lanes: int
    memory_bytes: int | None


def _session(
    grid: Grid, out: Path, build: Build, options: dict[str, Any], sizes: _Sizes,
    mesh: Mesh, checkpoint_seconds: float, interrupted: Any,
) -> Generator[Progress, None, None]:  # fmt: skip
    with contextlib.ExitStack() as stack:
        primary = folder.process_zero()
        if primary:
            stack.enter_context(folder.locked(out))
        clock = stack.enter_context(Clock.running())
        manifest, programs = _open(grid, out, build, options, sizes, mesh, primary)
        session = Session(
            out=out, grid=grid, build=build, rates=Rates(**manifest["rates"]), mesh=mesh,
            num_steps=options["num_steps"], record_every=options["record_every"],
            chunk_steps=options["chunk_steps"], watch=options["watch"],
            tolerance=options["tolerance"], patience=options["patience"],
            checkpoint_seconds=checkpoint_seconds,
        )  # fmt: skip
        journal = view.fold(folder.read_journal(out, mend=primary))
        _barrier("journal")
        tally = Tally(len(grid.runs()), options["num_steps"], clock)
        for program, entry in zip(programs, manifest["programs"], strict=True):
            for number, runs in enumerate(entry["blocks"]):
                chosen = [tuple(key) for key in runs]
                wanted = [key for key in chosen if key[-1] in grid.seeds]
                if not wanted:
                    continue
                chunks = run_block(
                    session, program, number, chosen, entry["width"], journal
                )
                with contextlib.closing(chunks):
                    for chunk in chunks:
                        tally.add((program.name, number), chunk)
                        progress = tally.progress("running")
                        _write_status(out, progress, primary)
                        yield progress
                        if _any(interrupted is not None and interrupted()):
                            chunks.close()
                            progress = tally.progress("interrupted")
                            _write_status(out, progress, primary)
                            yield progress
                            return
        progress = tally.progress("finished")
        _write_status(out, progress, primary)
        _barrier("finished")
        yield progress


def _open(
    grid: Grid, out: Path, build: Build, options: dict[str, Any], sizes: _Sizes,
    mesh: Mesh, primary: bool,
) -> tuple[dict[str, Any], list[Program]]:  # fmt: skip
    """The manifest of the folder, fresh or extended, and the programs it lists."""
    if primary:
        found = folder.read_manifest(out)
        if found is not None:
            _check_same(found, grid, options, out)
        rates = device_rates() if found is None else Rates(**found["rates"])
        programs = programs_of(grid, build, rates, options["record"])
        _check_watch(programs, options["watch"])
        if found is None:
            manifest = _fresh(grid, build, options, sizes, mesh, programs, rates)
        else:
            manifest = _extended(found, grid, options, programs)
        with folder.clear_of_disk(out):
            _make_arrays(out, grid, manifest, programs)
            folder.write_json(out / folder.MANIFEST, manifest)
    _barrier("manifest")
    manifest = folder.read_manifest(out)
    assert manifest is not None
    rates = Rates(**manifest["rates"])
    return manifest, programs_of(grid, build, rates, options["record"])


def _fresh(
    grid: Grid, build: Build, options: dict[str, Any], sizes: _Sizes, mesh: Mesh,
    programs: list[Program], rates: Rates,
) -> dict[str, Any]:  # fmt: skip
    memory = sizes.memory_bytes or free_memory(mesh)
    records = options["chunk_steps"] // options["record_every"]
    entries, limited = [], False
    for program in programs:
        width = choose_width(
            sizes.batching, program, grid, build, rates, mesh, sizes.max_lanes
        )
        wished = min(sizes.max_lanes, len(program.runs))
        size = block_size(program, records, width, wished, memory)
        limited |= size < wished
        width = min(width, -(-size // mesh.size)) if size < wished else width
        plan = getattr(program.shapes.loss, "plan", None)
        entries.append(
            {
                "name": program.name,
                "block": size,
                "width": max(width, 1),
                "plan": None if plan is None else [*plan.routes, plan.root],
                "blocks": _blocks(list(program.runs), size),
            }
        )
    coords: dict[str, Any] = {}
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
        "rates": dataclasses.asdict(rates),
        "programs": entries,
        "coords": {name: v for name, v in coords.items() if v is not None},
    }


def _extended(
    found: dict[str, Any], grid: Grid, options: dict[str, Any], programs: list[Program]
) -> dict[str, Any]:
    """The manifest with more seeds and steps; what is there stays where it is."""
    for entry, program in zip(found["programs"], programs, strict=True):
        there = {tuple(key) for runs in entry["blocks"] for key in runs}
        fresh = [key for key in program.runs if key not in there]
        entry["blocks"] += _blocks(fresh, entry["block"])
    seeds = list(dict.fromkeys((*found["seeds"], *grid.seeds)))
    steps = max(found["num_steps"], options["num_steps"])
    return found | {"seeds": seeds, "num_steps": steps}


def _check_same(
    found: dict[str, Any], grid: Grid, options: dict[str, Any], out: Path
) -> None:
    differ = folder.differences(found["grid"], grid.to_json())
    for name in ("record_every", "chunk_steps", "tolerance", "patience", "watch"):
        differ += folder.differences(found[name], options[name], name)
    differ += folder.differences(found["asked"], options["record"], "record")
    if differ:
        raise ValueError(
            f"`out={out}` holds another grid: {'; '.join(differ)}. Choose another folder, "
            "or repeat what was asked first (only `seeds` and `num_steps` may grow)."
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


def _make_arrays(
    out: Path, grid: Grid, manifest: dict[str, Any], programs: list[Program]
) -> None:
    every = manifest["record_every"]
    records = manifest["num_steps"] // every + 1
    values = [list(v) for _, v in grid.axes]
    for program, entry in zip(programs, manifest["programs"], strict=True):
        size, blocks = entry["block"], entry["blocks"]
        rows = (len(blocks) - 1) * size + len(blocks[-1])
        store.open_arrays(
            out, program.name, program.quantities, rows=rows, records=records,
            block=size, chunk=manifest["chunk_steps"] // every,
        )  # fmt: skip
        places = {
            b * size + i: k for b, runs in enumerate(blocks) for i, k in enumerate(runs)
        }
        seeds = np.array([places[r][-1] if r in places else -1 for r in range(rows)])
        labels: dict[str, Any] = {
            "seed": ("run", seeds, {}),
            "step": ("step", np.arange(records) * every, {}),
        }
        for a, (name, _) in enumerate(grid.axes):
            at = np.array([places[r][a] if r in places else -1 for r in range(rows)])
            labels[f"{name}_index"] = ("run", at, {"values": list(map(str, values[a]))})
        store.write_labels(out, program.name, labels)


def _blocks(runs: list[Any], size: int) -> list[list[list[int]]]:
    listed = [list(key) for key in runs]
    return [listed[i : i + size] for i in range(0, len(listed), size)]


def _write_status(out: Path, progress: Progress, primary: bool) -> None:
    if primary:
        with folder.clear_of_disk(out):
            values = dataclasses.asdict(progress) | {
                "time": time.time(),
                "pid": os.getpid(),
            }
            folder.write_json(out / "status.json", values)


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _any(value: bool) -> bool:
    if jax.process_count() == 1:
        return bool(value)
    return bool(multihost_utils.process_allgather(np.asarray(value)).any())


def _is_width(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
