"""Driver of one descent, a grid of one run: progress, signals, and what came of it."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import xarray as xr

import htfjax as htf

from .display import SECONDS_BETWEEN_LINES, say_compiling

SECONDS_BETWEEN_NOTES = 1.0  # where there is a terminal; each reads records from the disk


@dataclasses.dataclass(frozen=True)
class Asked:
    """Label that tells the folder of a run from that of another one."""

    label: str  # name, and digest of all that decides the numbers


@dataclasses.dataclass(frozen=True)
class Job:
    """One descent: what `htfjax.runs.run` needs, and how to read it."""

    name: str
    setting: Asked
    seed: int
    lane: Any
    num_steps: int
    record_every: int
    chunk_steps: int
    tolerance: float | None  # None: only a diverged run stops early
    patience: int
    watch: str
    headline: Callable[[xr.Dataset], str]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """End of a descent: "converged", "diverged", "capped" or "interrupted"."""

    status: str
    state: htf.DescentState
    dataset: xr.Dataset


def drive(
    job: Job,
    out: Path,
    progress: Any,
    checkpoint_seconds: float,
    *,
    interrupted: Callable[[], bool] | None = None,
) -> Outcome:
    """Runs a job to its end, or on from what its folder holds.

    Args:
      out: folder of the run.
      progress: a rich display, or something with its `add_task`, `update`, `disable` and
        `console`.
      checkpoint_seconds: between checkpoints.
      interrupted: says when to save and leave; by default a signal does.

    Raises:
      ValueError: a file that is damaged, or of another run; it is named.
      OSError: the folder cannot be written or is in use.
    """
    grid = htf.runs.Grid(job.setting, (job.seed,))
    lane = job.lane  # bound alone: the number of steps may grow
    build = htf.runs.untraced(lambda setting, key: lane)
    task = progress.add_task(job.name, total=job.num_steps, note="compiling")
    if not is_finished(out):
        say_compiling(progress, job.name)
    wait = SECONDS_BETWEEN_LINES if progress.disable else SECONDS_BETWEEN_NOTES
    mesh = htf.runs.lane_mesh(list(jnp.zeros(()).devices()))  # where arrays go now
    last, said = None, time.monotonic()
    listening = contextlib.nullcontext(interrupted)
    with htf.runs.stop_requested() if interrupted is None else listening as requested:
        for last in htf.runs.run(
            grid, out, until_step=job.num_steps, record_every=job.record_every,
            build=build, chunk_steps=job.chunk_steps, tolerance=job.tolerance,
            patience=job.patience, watch=job.watch, keep_states=True, mesh=mesh,
            checkpoint_seconds=checkpoint_seconds, interrupted=requested,
        ):  # fmt: skip
            progress.update(task, completed=last.steps)
            for message in last.messages:
                progress.console.print(
                    f"{job.name}: {message}", soft_wrap=True, highlight=False
                )
            if time.monotonic() - said > wait:
                said = time.monotonic()
                _say(job, out, progress, task, last.steps)
    dataset = htf.load_results(out).load().assign_attrs(_seconds(out))
    (state,) = htf.runs.load_states(out, grid, build).values()
    status = str(dataset.status.item())
    if status == "running":
        stopped = last is not None and last.state == "interrupted"
        status = "interrupted" if stopped else "capped"
    return Outcome(status, state, dataset)


def is_finished(out: Path) -> bool:
    """Whether the run or grid in a folder had all its steps when it was last at work."""
    try:
        return _standing(out).get("state") == "finished"
    except ValueError:  # damaged: the engine says so, and writes it anew
        return False


def wall_seconds(out: Path) -> float:
    """Seconds that a run has taken so far, NaN before its first chunk.

    Raises:
      ValueError: a damaged file; it is named.
    """
    return _seconds(out)["wall_seconds"]


def _seconds(out: Path) -> dict[str, float]:
    """Wall and compile seconds of a run, over all its sessions."""
    names = ("wall_seconds", "compile_seconds")
    spent = _standing(out)
    return {name: spent.get(f"{name}_in_all", math.nan) for name in names}


def _standing(out: Path) -> dict[str, Any]:
    """What a run wrote about itself; nothing before its first chunk."""
    try:
        return htf.runs.read_sealed(out / "status.json")
    except FileNotFoundError:
        return {}


def _say(job: Job, out: Path, progress: Any, task: Any, steps: int) -> None:
    note = job.headline(htf.load_results(out))
    progress.update(task, note=note)
    if progress.disable:
        line = f"{job.name}: step {steps} of at most {job.num_steps}, {note}"
        progress.console.print(line, highlight=False)
