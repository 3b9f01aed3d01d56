"""Manifest of a folder: what was asked, and which runs share a program and a block."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from htfjax._types import JsonObject
from htfjax.runs import folder, identity
from htfjax.runs.batch import places
from htfjax.runs.grid import Grid
from htfjax.runs.memory import free_memory
from htfjax.runs.options import COMPARED, Sizes
from htfjax.runs.programs import Program, RunKey, block_size, choose_width

WIDE = {"float64", "complex128", "int64", "uint64"}
# No run's seed: only tells generators apart.
PROBE = 0


def fresh(
    grid: Grid, mesh: Mesh, options: JsonObject, sizes: Sizes, programs: list[Program]
) -> JsonObject:
    """The manifest of a folder that is begun."""
    records = options["chunk_steps"] // options["record_every"]
    memory = sizes.memory_bytes or free_memory(mesh)
    entries = [_entry(program, sizes, mesh, records, memory) for program in programs]
    return {
        "format": folder.FORMAT,
        "grid": grid.to_json(),
        "seeds": list(grid.seeds),
        **options,
        "record": {n: q[2] for p in programs for n, q in p.quantities.items()},
        "asked": options["record"],
        "batching": sizes.batching if isinstance(sizes.batching, str) else "chunks",
        "lanes_limited_by_memory": any(limited for _, limited in entries),
        "versions": folder.versions(),
        "device": f"{mesh.devices.flat[0].platform} {mesh.devices.flat[0].device_kind}",
        "labels": {name: identity.labels(values) for name, values in grid.axes},
        "random bits of jax": _draws(),
        "programs": [entry for entry, _ in entries],
        "coords": _coords(programs),
    }


def _entry(
    program: Program, sizes: Sizes, mesh: Mesh, records: int, memory: int
) -> tuple[JsonObject, bool]:
    """A program's blocks, and whether memory holds fewer lanes than were asked for."""
    width = choose_width(sizes.batching, program, mesh, sizes.max_lanes)
    wished = min(sizes.max_lanes, len(program.runs))
    size = block_size(program, records, width, wished, memory)
    width = min(width, -(-size // places(mesh))) if size < wished else width
    entry = {
        "name": program.name,
        "block": size,
        "width": max(width, 1),
        "arrays": _shapes(program),
        "blocks": _blocks(program.runs, size),
    }
    return entry, size < wished


def _coords(programs: list[Program]) -> dict[str, list]:
    """Labels by name: of every program their axis and values, None where it has none."""
    coords: dict[str, list] = {}
    for i, program in enumerate(programs):
        dims = dict(program.shapes.dims)
        for name, values in program.shapes.coords:
            blank = [None] * len(programs)
            coords.setdefault(name, blank)[i] = [*dims.get(name, (name,)), list(values)]
    return coords


def extended(
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


def check_same(found: JsonObject, grid: Grid, options: JsonObject, out: Path) -> None:
    bits = "random bits of jax"
    here = {name: options[name] for name in (*COMPARED, "record", "build")}
    here[bits] = _draws()
    there = {name: found["asked" if name == "record" else name] for name in here}
    differ = _grid_differences(found, grid) + folder.differences(there, here)
    if differ:
        raise ValueError(
            f"`out={out}` holds another grid: {'; '.join(differ)}. Choose another "
            f"folder, or repeat what was asked first, see {folder.MANIFEST} (only `seeds` "
            "and `until_step` may grow)."
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


def check_grid(found: JsonObject, grid: Grid, out: Path) -> None:
    """Checks that a folder is of this grid, whatever its seeds.

    Raises:
      ValueError: with the fields that differ.
    """
    differ = _grid_differences(found, grid)
    if differ:
        raise ValueError(f"`out={out}` holds another grid: {'; '.join(differ)}.")


def _grid_differences(found: JsonObject, grid: Grid) -> list[str]:
    """Differences of the grid, seeds apart; the order of axes decides what places mean."""
    there, here = found["grid"], grid.to_json()
    was, now = list(there["axes"]), list(here["axes"])
    order = folder.differences(was, now, "order of axes")
    return folder.differences(there, here) or order


def check_watch(programs: list[Program], watch: str) -> None:
    for program in programs:
        quantities = program.quantities.items()
        plain = [n for n, (shape, k, _) in quantities if not shape and k[0] != "c"]
        if watch not in plain:
            raise ValueError(f"`watch={watch!r}` is none of the recorded numbers {plain}.")


def check_width(found: JsonObject, out: Path) -> None:
    """Checks that jax has the numbers of 64 bits that the states of a folder hold.

    Raises:
      ValueError: it has not.
    """
    arrays = [kind for entry in found["programs"] for kind in entry["arrays"]["state"]]
    wide = sorted({kind.split("[")[0] for kind in arrays} & WIDE)
    if wide and jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ValueError(
            f"`out={out}` holds states of {wide[0]}, and 64-bit numbers are off: do this "
            "within `with jax.enable_x64(True):`."
        )


def check_programs(found: JsonObject, programs: list[Program], out: Path) -> None:
    """Checks that `build` still makes lanes of the same kind.

    Raises:
      ValueError: it does not, or cannot, as jax has no 64-bit numbers now.
    """
    check_width(found, out)
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


def _draws() -> list[int]:
    """Random bits that tell the kinds of generators apart which jax can be set to."""
    return jax.random.bits(jax.random.key(PROBE), (4,), "uint32").tolist()


def _blocks(runs: Sequence[RunKey], size: int) -> list[list[list[int]]]:
    listed = [list(key) for key in runs]
    return [listed[i : i + size] for i in range(0, len(listed), size)]
