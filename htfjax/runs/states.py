"""States that runs have come to, read off the checkpoints of their folder."""

from pathlib import Path

import jax
import jax.numpy as jnp

from htfjax import _checks, _files
from htfjax._types import PathLike
from htfjax.motion.descent import DescentState
from htfjax.runs import folder, manifest
from htfjax.runs.block_files import checkpoint_of, owner_of
from htfjax.runs.checkpoint import read_arrays
from htfjax.runs.grid import Grid, Run
from htfjax.runs.lanes import Build, check_build
from htfjax.runs.programs import Program, programs_of


def load_states(out: PathLike, grid: Grid, build: Build) -> dict[Run, DescentState]:
    """The last state that is saved of every run: after a run's end, its final one.

    Args:
      out: folder of the runs.
      grid, build: as given to `run`.

    Raises:
      TypeError: not a grid, a builder that cannot be called.
      FileNotFoundError: no runs in the folder. ValueError: a damaged file, or one of
        other runs; it is named.

    Example:
      >>> import htfjax as htf, tempfile
      >>> setting = htf.problems.Completion(mode_dims=3, widths=4, observed=30)
      >>> grid = htf.runs.Grid(setting, seeds=[0])
      >>> out = tempfile.mkdtemp()
      >>> for _ in htf.runs.run(grid, out, until_step=4, record_every=2):
      ...     pass
      >>> states = htf.runs.load_states(out, grid, htf.runs.completion_lane)
      >>> [int(state.step) for state in states.values()]
      [4]
    """
    _checks.instance("grid", grid, Grid, "make one of a setting, seeds and axes")
    check_build(build, grid.data)
    path = _files.absolute("out", out)
    found = folder.read_manifest(path)
    if found is None:
        raise FileNotFoundError(f"no runs in {path}")
    manifest.check_grid(found, grid, path)
    manifest.check_width(found, path)  # before jax sees numbers that it does not have
    programs = programs_of(grid, build, found["asked"], {})
    manifest.check_programs(found, programs, path)
    identity, states = folder.identity_of(found), {}
    for program, entry in zip(programs, found["programs"], strict=True):
        for number, runs in enumerate(entry["blocks"]):
            owner = owner_of(identity, program.name, number, runs)
            lanes = _lanes(checkpoint_of(path, program.name, number), owner, program)
            for (*place, seed), state in zip(runs, lanes, strict=True):
                point = tuple(v[i] for (_, v), i in zip(grid.axes, place, strict=True))
                states[Run(point, seed)] = state
    return {run: states[run] for run in grid.runs() if run in states}


def _lanes(path: Path, owner: dict, program: Program) -> list[DescentState]:
    """The states in a checkpoint, one per lane."""
    treedef = jax.tree.structure(program.shapes.state)
    leaves = read_arrays(path, owner)[1 : 1 + treedef.num_leaves]
    count = len(leaves[0])
    return [
        jax.tree.unflatten(treedef, [jnp.asarray(x[lane]) for x in leaves])
        for lane in range(count)
    ]
