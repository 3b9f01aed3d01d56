"""Driver of one training run: chunks, stopping, saving, resuming, progress."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import xarray as xr

import htfjax as htf

from ..common.display import SECONDS_BETWEEN_LINES
from ..common.errors import RunError

SUFFIX = ".nc"


@dataclasses.dataclass(frozen=True)
class Job:
    """One descent: what `htfjax.descend_in_chunks` needs, and how to read it."""

    name: str
    label: str  # of the run, in every file: name and a digest of what was asked
    start: Any
    loss: Any
    optimizer: Any
    num_steps: int
    record_every: int
    chunk_steps: int
    observe: Callable[[Any], Any]
    key: jax.Array | None
    to_dataset: Callable[[htf.Trajectory], xr.Dataset]
    find_stop: Callable[[xr.Dataset], htf.Stop | None]
    headline: Callable[[xr.Dataset], str]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a descent ended: "converged", "diverged", "capped" or "interrupted"."""

    status: str
    state: htf.DescentState
    dataset: xr.Dataset


def drive(
    job: Job,
    folder: Path,
    progress: Any,
    checkpoint_seconds: float,
    *,
    interrupted: Callable[[], bool] | None = None,
    keep_good: bool = False,
) -> Outcome:
    """Runs a job to its end, from its last checkpoint if the folder holds one.

    Args:
      job: what to run.
      folder: where records and state go.
      progress: a rich display, or something with its `add_task`, `update`, `disable` and
        `console`.
      checkpoint_seconds: between checkpoints.
      interrupted: says when to save and leave; by default a signal does.
      keep_good: a diverged run does not replace its last checkpoint.

    Records go to `folder/NAME.nc` and the state to `folder/checkpoints/NAME`, records
    first, so a kill between the two is mended by dropping the surplus records, and with
    them what they said of the end. Where one of the two was lost, the run is computed
    anew, with a message.

    Raises:
      RunError, ValueError: a file that is damaged, or of another run; it is named.
      OSError: records or state cannot be written.
    """
    state, dataset = _resume(job, folder, keep_good, progress)
    done = int(state.step)
    if dataset is not None and dataset.attrs["status"] in ("converged", "diverged"):
        return Outcome(dataset.attrs["status"], state, dataset)
    task = progress.add_task(
        job.name, total=job.num_steps, completed=done, note="compiling"
    )
    seconds = _Seconds(dataset)
    saved = said = time.monotonic()
    status = "capped"
    guard = (
        htf.runs.stop_requested()
        if interrupted is None
        else contextlib.nullcontext(interrupted)
    )
    with guard as interrupted, seconds.measured():
        chunks = htf.descend_in_chunks(
            state,
            job.loss,
            job.optimizer,
            until_step=job.num_steps,
            record_every=job.record_every,
            chunk_steps=job.chunk_steps,
            observe=job.observe,
            key=job.key,
        )
        for state, piece in chunks:
            dataset = _append(dataset, job.to_dataset(jax.device_get(piece)))
            done, note = int(state.step), job.headline(dataset)
            progress.update(task, completed=done, note=note)
            if progress.disable and time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                line = f"{job.name}: step {done} of at most {job.num_steps}, {note}"
                progress.console.print(line, highlight=False)
            stop = job.find_stop(dataset)
            if stop is not None:
                dataset = dataset.assign_attrs(
                    stop_step=int(dataset.step[stop.record]), status=stop.reason
                )
                status = stop.reason
                break
            if interrupted():
                status = "interrupted"
                break
            if time.monotonic() - saved > checkpoint_seconds:
                _save(job, folder, state, seconds.label(dataset, "running", job.label))
                saved = time.monotonic()
    if dataset is None:
        raise ValueError(f"`num_steps={job.num_steps}` leaves nothing to do.")
    dataset = seconds.label(dataset, status, job.label)
    if keep_good and status == "diverged":
        htf.save_results(folder / f"{job.name}{SUFFIX}", dataset)
    else:
        _save(job, folder, state, dataset)
    return Outcome(status, state, dataset)


def read_records(path: Path, label: str) -> xr.Dataset | None:
    """Records of a run; None if there are none.

    Raises:
      RunError: they are of another run. ValueError: a damaged file.
    """
    if not path.exists():
        return None
    dataset = htf.load_results(path)
    found = dataset.attrs.get("run")
    if found != label:
        raise RunError(
            f"{path} holds records of another run ({found!r}, expected {label!r}); restore "
            "the right file, or delete it and run the same command again."
        )
    return dataset


def checkpoint_of(folder: Path, name: str) -> Path:
    """Where the state of a run is kept."""
    return folder / "checkpoints" / name


class _Seconds:
    """Wall and compile seconds of a job, over all its sessions."""

    def __init__(self, dataset: xr.Dataset | None) -> None:
        before = {} if dataset is None else dataset.attrs
        self.wall = float(before.get("wall_seconds", 0.0))
        self.compile = float(before.get("compile_seconds", 0.0))
        self.begun = time.monotonic()

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        before, spans = self.compile, []

        def listen(event: str, duration_secs: float, **_: Any) -> None:
            """Events come as they end, inner ones first: what they share counts once."""
            if not event.startswith("/jax/core/compile"):
                return
            end = time.monotonic()
            begin = end - duration_secs
            while spans and spans[-1][0] >= begin:
                spans.pop()
            spans.append((max(begin, spans[-1][1]) if spans else begin, end))
            self.compile = before + sum(last - first for first, last in spans)

        self.begun = time.monotonic()
        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
            self.wall, self.begun = self.total(), time.monotonic()

    def total(self) -> float:
        return self.wall + time.monotonic() - self.begun

    def label(self, dataset: xr.Dataset, status: str, run: str) -> xr.Dataset:
        return dataset.assign_attrs(
            status=status,
            run=run,
            wall_seconds=self.total(),
            compile_seconds=self.compile,
        )


def _resume(
    job: Job, folder: Path, keep_good: bool, progress: Any
) -> tuple[htf.DescentState, xr.Dataset | None]:
    """The last state and the records up to it; the start and None in a fresh folder."""
    start = htf.start_descent(job.start, job.optimizer)
    checkpoint, records = checkpoint_of(folder, job.name), folder / f"{job.name}{SUFFIX}"
    dataset = read_records(records, job.label)
    try:
        state = htf.load_state(checkpoint, like=start, label=job.label)
    except FileNotFoundError:
        state = None
    if state is None and dataset is None:
        return start, None
    lost = None
    if dataset is None:
        lost = f"{records} is missing"
    elif state is None:
        lost = f"{checkpoint} is missing"
    elif not _reaches(dataset, int(state.step), job.record_every):
        lost = f"{records} does not reach step {int(state.step)} of its checkpoint"
    if lost is not None or dataset is None or state is None:
        text = f"{job.name}: {lost}; computed anew from step 0"
        progress.console.print(text, highlight=False)
        return start, None
    ahead = int(dataset.step[-1]) > int(state.step)
    if ahead and not (keep_good and dataset.attrs["status"] == "diverged"):
        dataset = dataset.assign_attrs(status="running")
        dataset.attrs.pop("stop_step", None)
    recorded = [name for name in dataset if "step" in dataset[name].dims]
    return state, dataset[recorded].isel(step=dataset.step <= int(state.step))


def _reaches(dataset: xr.Dataset, step: int, every: int) -> bool:
    """Whether there is a record for every one that the state has seen."""
    steps = set(dataset.step.values.tolist())
    first = min(steps, default=0)
    stop = dataset.attrs.get("stop_step", step)
    last = min(step, int(stop))
    return first <= every and set(range(first, last + 1, every)) <= steps


def _append(dataset: xr.Dataset | None, piece: xr.Dataset) -> xr.Dataset:
    """A piece begins with the record the previous one ended with; its own is kept."""
    if dataset is None:
        return piece
    head = dataset.isel(step=dataset.step < int(piece.step[0]))
    return xr.concat(
        [head, piece],
        dim="step",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )


def _save(job: Job, folder: Path, state: htf.DescentState, dataset: xr.Dataset) -> None:
    htf.save_results(folder / f"{job.name}{SUFFIX}", dataset)
    place = checkpoint_of(folder, job.name)
    place.parent.mkdir(exist_ok=True)
    htf.save_state(place, state, label=job.label)
