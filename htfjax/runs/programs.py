"""Programs of a grid: the runs that share one, how many run at once, and batching."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from htfjax import _checks, _reprs
from htfjax._types import JsonObject, PyTree
from htfjax.losses.sharded import ShardedLoss
from htfjax.runs.batch import places
from htfjax.runs.grid import Grid, Place, Setting, settings_of
from htfjax.runs.lanes import (
    SCALARS,
    Build,
    Data,
    Lane,
    Untraced,
    advance_lane,
    lane_maker,
    lane_shapes,
)
from htfjax.runs.names import check_names, check_observed
from htfjax.runs.store import Quantities

RunKey = tuple[int, ...]  # its place, then the seed
Kind = tuple[tuple[Any, ...], Lane, list[RunKey]]  # structure and shapes, a lane, its runs
# Place on every axis, for a single run with its seed -> what `build` raised.
Failures = dict[tuple[int, ...], Exception]


@dataclasses.dataclass(frozen=True)
class Program:
    """Runs that differ in arrays only.

    Attributes:
      name: of its group in the store.
      runs: places on the axes and seeds.
      shapes: a lane with shapes in place of arrays.
      quantities: to record.
      settings: of the whole grid, by place; a block may hold runs of a folder that are not
        asked for now.
      build, data: what lanes are made by, and of.
    """

    name: str
    runs: tuple[RunKey, ...]
    shapes: Lane
    quantities: Quantities
    settings: Mapping[Place, Setting] = dataclasses.field(repr=False)
    build: Build = dataclasses.field(repr=False)
    data: Data = dataclasses.field(repr=False)

    def __repr__(self) -> str:
        return _reprs.text(self)

    def lanes(self, runs: Sequence[RunKey]) -> list[Lane]:
        """The lanes of some of its runs, each setting checked once."""
        makers = {
            place: lane_maker(self.build, self.settings[place], data=self.data)
            for place in dict.fromkeys(run[:-1] for run in runs)
        }
        return [makers[run[:-1]](run[-1]) for run in runs]


class Block(NamedTuple):
    """Runs of a program that are placed on the devices together."""

    program: Program
    number: int
    runs: list[RunKey]
    size: int  # lanes that there is room for
    width: int  # lanes vectorized together


def programs_of(
    grid: Grid, build: Build, record: Sequence[str] | None, failures: Failures | None = None
) -> list[Program]:
    """Groups the runs of a grid by the structure and shapes of their lanes.

    Args:
      failures: takes what `build` raised for settings that it does not make, or for single
        runs where it is not traced; by default the first error is raised. It is raised too
        where no run can be made.

    Raises:
      ValueError: a quantity to record that a lane does not have, names and shapes that
        results could not hold, lanes of an untraced builder that are of several kinds.
    """
    kinds: list[Kind] = []
    shapes: dict[Place, Lane] = {}  # by place on the axes that may change them
    errors: Failures = {} if failures is None else failures
    settings, alone = settings_of(grid), isinstance(build, Untraced)
    shaping = [i for i, name in enumerate(grid.names) if name not in grid.array_axes]
    for place, seed in itertools.product(settings, grid.seeds):
        fixed, key = tuple(place[i] for i in shaping), (*place, seed)
        if place in errors:
            continue
        if alone or fixed not in shapes:
            try:
                lane = lane_shapes(build, settings[place], seed, grid.data)
                _check_whole(lane)
            except Exception as error:
                if failures is None:
                    raise
                errors[key if alone else place] = error
                continue
            _check_alike(shapes.setdefault(fixed, lane), lane, spell_run(grid, key))
        _sort_in(kinds, shapes[fixed], key)
    if not kinds:
        raise next(iter(errors.values()))
    programs = [
        Program(
            f"p{i:03d}", tuple(runs), lane, _quantities(lane, record),
            settings, build, grid.data,
        )
        for i, (_, lane, runs) in enumerate(kinds)
    ]  # fmt: skip
    check_names(grid.names, [(program.shapes, program.quantities) for program in programs])
    return programs


def blocks_of(
    programs: Sequence[Program], manifest: JsonObject, seeds: Sequence[int]
) -> Iterator[Block]:
    """Blocks that a manifest deals the runs of programs to, with a run of these seeds."""
    for program, entry in zip(programs, manifest["programs"], strict=True):
        for number, listed in enumerate(entry["blocks"]):
            runs = [tuple(key) for key in listed]
            if any(key[-1] in seeds for key in runs):
                yield Block(program, number, runs, entry["block"], entry["width"])


def spell_run(grid: Grid, key: tuple[int, ...]) -> dict[str, object]:
    """Values on the axes and seed, if it has one, of a run or a setting."""
    points: Any = {name: v[i] for (name, v), i in zip(grid.axes, key, strict=False)}
    return points | ({"seed": key[-1]} if len(key) > len(points) else {})


def _kind(lane: PyTree) -> tuple[Any, ...]:
    """Structure and shapes."""
    return jax.tree.structure(lane), [(x.shape, x.dtype) for x in jax.tree.leaves(lane)]


def _check_whole(lane: Lane) -> None:
    """A loss whose observations `run` may deal to devices itself.

    Raises:
      ValueError: they are dealt already.
    """
    held = jax.tree.leaves(lane, is_leaf=lambda x: isinstance(x, ShardedLoss))
    if any(isinstance(x, ShardedLoss) for x in held):
        raise ValueError(
            "`build.loss` is sharded already, over a mesh that is not that of the lanes; "
            "return the loss that it was made of, and run with "
            "`mesh=htf.runs.lane_mesh(observations=...)`."
        )


def _check_alike(first: Lane, lane: Lane, run: dict[str, object]) -> None:
    """Lanes that differ in float fields and seeds only share a program.

    Raises:
      ValueError: they do not; with what differs.
    """
    if _kind(first) == _kind(lane):
        return
    for field in dataclasses.fields(Lane):
        one, two = (getattr(x, field.name) for x in (first, lane))
        static = "static" in field.metadata
        if one != two if static else _kind(one) != _kind(two):
            raise ValueError(
                f"`build` returns `{field.name}={_checks.spell(two)}` for {run}, and "
                f"`{_checks.spell(one)}` for the first run of the same setting; lanes may "
                "differ in kind over fields that are not floats only."
            )


def _sort_in(kinds: list[Kind], lane: Lane, key: RunKey) -> None:
    """Adds a run to those of its kind."""
    kind = _kind(lane)
    for known, _, runs in kinds:
        if known == kind:
            runs.append(key)
            return
    kinds.append((kind, lane, [key]))


def _quantities(lane: Lane, record: Sequence[str] | None) -> Quantities:
    params = lane.state.params
    own = (
        {}
        if lane.observe is None
        else jax.eval_shape(lambda o, p: o(p), lane.observe, params)
    )
    own = check_observed(own)
    known = (*SCALARS, *own)
    wanted = known if record is None else tuple(dict.fromkeys((*SCALARS, *record)))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"`record`: no quantity {unknown[0]!r}; there are {list(known)}.")
    dtype = str(np.result_type(*(x.dtype for x in jax.tree.leaves(params))))
    named = dict(lane.dims)
    found = {}
    for name in wanted:
        shape = own[name].shape if name in own else ()
        kind = str(own[name].dtype) if name in own else dtype
        if np.dtype(kind).kind in "biu":  # idle lanes are NaN
            kind = "float64"
        dims = named.get(name, tuple(f"{name}_{i}" for i in range(len(shape))))
        found[name] = (shape, kind, dims)
    return found


def lane_bytes(program: Program, chunk_records: int, width: int) -> int:
    """Device bytes that a lane takes: state (old, new, gradient), data, records, work."""
    state = _nbytes(program.shapes.state)
    data = _nbytes(dataclasses.replace(program.shapes, state=None))
    records = sum(
        int(np.prod(shape)) * np.dtype(kind).itemsize * (chunk_records + 1)
        for shape, kind, _ in program.quantities.values()
    )
    work = 0
    if width > 1:
        names = tuple(program.quantities)
        one = jax.jit(lambda lane: advance_lane(lane.state, lane, names, 4, 2))
        analysis: Any = one.lower(program.shapes).compile().memory_analysis()
        work = int(getattr(analysis, "temp_size_in_bytes", 0))
    return 3 * state + data + 2 * records + work


def block_size(
    program: Program, chunk_records: int, width: int, most: int, memory: int
) -> int:
    """Lanes that run together: at most `most`, fewer if memory does not hold them."""
    fitting = memory // max(lane_bytes(program, chunk_records, width), 1)
    return int(max(1, min(most, fitting, len(program.runs))))


def choose_width(batching: str | int, program: Program, mesh: Mesh, lanes: int) -> int:
    """Lanes vectorized together: 1 maps over single lanes.

    "auto" maps on a CPU, where vectorized gathers are slower (`benchmarks/README.md`), and
    vectorizes all lanes of a device elsewhere: a step is made of small operations, each of
    which costs a launch however many lanes it serves.
    """
    if isinstance(batching, int):
        return batching
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    if batching == "map" or (batching == "auto" and on_cpu):
        return 1
    return -(-min(lanes, len(program.runs)) // places(mesh))


def _nbytes(tree: PyTree) -> int:
    return sum(
        int(np.prod(x.shape)) * (x.dtype.itemsize or 8) for x in jax.tree.leaves(tree)
    )
