"""Drives one descent to its end: chunks, stopping, saving, resuming, progress."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import rich.console
import rich.progress
import xarray as xr

import htfjax as htf

SUFFIX = ".nc"
SECONDS_BETWEEN_LINES = 20.0


@dataclasses.dataclass(frozen=True)
class Job:
    """One descent: what `htfjax.descend_in_chunks` needs, and how to read it."""

    name: str
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
      interrupted: says when to save and leave; by default Ctrl-C does.
      keep_good: a diverged run does not replace its last checkpoint.

    Records go to `folder/NAME.nc` and the state to `folder/checkpoints/NAME`, records
    first, so a kill between the two is mended by dropping the surplus records, and with
    them what they said of the end.
    """
    state, dataset = _resume(job, folder, keep_good)
    done = int(state.step)
    if dataset is not None and dataset.attrs["status"] in ("converged", "diverged"):
        return Outcome(dataset.attrs["status"], state, dataset)
    task = progress.add_task(
        job.name, total=job.num_steps, completed=done, note="compiling"
    )
    seconds = _Seconds(dataset)
    saved = said = time.monotonic()
    status = "capped"
    guard = interruptible() if interrupted is None else contextlib.nullcontext(interrupted)
    with guard as interrupted, seconds.measured():
        chunks = htf.descend_in_chunks(
            state,
            job.loss,
            job.optimizer,
            num_steps=job.num_steps,
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
                _save(job, folder, state, seconds.label(dataset, "running"))
                saved = time.monotonic()
    if dataset is None:
        raise ValueError(f"`num_steps={job.num_steps}` leaves nothing to do.")
    dataset = seconds.label(dataset, status)
    if keep_good and status == "diverged":
        htf.save_results(folder / f"{job.name}{SUFFIX}", dataset)
    else:
        _save(job, folder, state, dataset)
    return Outcome(status, state, dataset)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C only sets a flag; a second one ends the program.

    Yields:
      A function that says whether Ctrl-C was pressed.
    """
    pressed = []

    def note(signum: int, frame: Any) -> None:
        pressed.append(signum)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not in the main thread, where signals do not arrive anyway
        yield lambda: False
        return
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def progress_display() -> rich.progress.Progress:
    """Bars with time left; without a terminal, a plain line now and then."""
    console = rich.console.Console(stderr=True)
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("steps"),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left at most"),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.fields[note]}"),
        speed_estimate_period=300,
        console=console,
        disable=not console.is_terminal,
    )


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

    def label(self, dataset: xr.Dataset, status: str) -> xr.Dataset:
        return dataset.assign_attrs(
            status=status, wall_seconds=self.total(), compile_seconds=self.compile
        )


def _resume(
    job: Job, folder: Path, keep_good: bool
) -> tuple[htf.DescentState, xr.Dataset | None]:
    state = htf.start_descent(job.start, job.optimizer)
    checkpoint, records = folder / "checkpoints" / job.name, folder / f"{job.name}{SUFFIX}"
    try:
        state = htf.load_state(checkpoint, like=state)
    except FileNotFoundError:
        return state, None
    dataset = htf.load_results(records)
    ahead = int(dataset.step[-1]) > int(state.step)
    if ahead and not (keep_good and dataset.attrs["status"] == "diverged"):
        dataset = dataset.assign_attrs(status="running")
        dataset.attrs.pop("stop_step", None)
    recorded = [name for name in dataset if "step" in dataset[name].dims]
    return state, dataset[recorded].isel(step=dataset.step <= int(state.step))


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
    (folder / "checkpoints").mkdir(exist_ok=True)
    htf.save_state(folder / "checkpoints" / job.name, state)
