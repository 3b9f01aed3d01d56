"""Pool of training runs: one after another here, or side by side in processes."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp

import htfjax as htf

from ..common.display import (
    now_and_then,
    progress_display,
    say_compiling,
    spell_seconds,
)
from ..common.errors import RunError, SimError
from ..common.programs import kept_programs
from . import training
from .options import Point, cost

STOP = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1")
        if hasattr(signal, name)}  # fmt: skip
SINGLE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def choose_workers(config: Any, count: int) -> int:
    """As asked; otherwise one per core, and one on an accelerator."""
    if config.workers is not None:
        return min(config.workers, max(count, 1))
    (device,) = jnp.zeros(()).devices()  # where arrays go now
    if device.platform != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, min(cores, count))


def run_all(points: list[Point], config: Any, build: Callable, folder: Path) -> bool:
    """Trains what is not trained yet, each run into a folder of its own.

    Args:
      points: runs, those that take longest first.
      config: resolved options.
      build: point -> Task; made of a module's function, as processes import it.
      folder: of the runs.

    Returns:
      Whether all are done; False after a signal, with everything saved.

    Raises:
      RunError: a run failed; the others are saved.
    """
    folder.mkdir(exist_ok=True)
    left = [p for p in points if not training.is_finished(p, config, folder)]
    board = _Board(points, left)
    for point in points:
        if point not in left:
            _say_if_it_cannot_go_on(point, folder, board.display.console)
    if left:
        workers = choose_workers(config, len(left))
        with htf.runs.stop_requested() as interrupted, board.display:
            words = (left, config, build, folder, board, interrupted)
            _here(*words) if workers == 1 else _side_by_side(*words, workers)
    if board.errors:
        raise RunError(board.errors[0])
    return board.done == len(points)


def _say_if_it_cannot_go_on(point: Point, folder: Path, console: Any) -> None:
    """A finished run needs its last state only when more epochs are asked for."""
    try:
        htf.runs.check_results(folder / point.name, states=True)
    except (OSError, ValueError) as error:
        text = (
            f"{point.name}: {error}; the run is finished, and only more epochs need it: "
            "restore it from a copy, or leave it"
        )
        console.print(text, soft_wrap=True, highlight=False)


def _here(
    left: list[Point], config: Any, build: Callable, folder: Path, board: "_Board",
    interrupted: Callable[[], bool],
) -> None:  # fmt: skip
    for job in enumerate(left):
        if not _train(job, board.hear, config, build, folder, interrupted):
            break


def _train(
    job: tuple[int, Point], send: Callable[[tuple], Any], config: Any, build: Callable,
    folder: Path, interrupted: Callable[[], bool],
) -> bool:  # fmt: skip
    """Trains one run and tells of it; whether it came to its end."""
    number, point = job
    relay = _Relay(number, send)
    try:
        status = training.train(point, config, build, folder, relay, interrupted)
    except (SimError, ValueError, OSError) as error:
        send(("error", number, f"{point.name}: {error}"))
        return False
    send(("status", number, status))
    return status != "interrupted"


def _side_by_side(
    left: list[Point], config: Any, build: Callable, folder: Path, board: "_Board",
    interrupted: Callable[[], bool], workers: int,
) -> None:  # fmt: skip
    context = multiprocessing.get_context("spawn")
    jobs, said, stop = context.Queue(), context.Queue(), context.Event()
    for job in [*enumerate(left), *[None] * workers]:
        jobs.put(job)
    processes = [
        context.Process(target=_work, args=(jobs, said, stop, config, build, folder))
        for _ in range(workers)
    ]
    try:
        with _for_workers():
            for process in processes:
                process.start()
        while any(process.is_alive() for process in processes) or not said.empty():
            if interrupted() or board.errors:
                stop.set()
            try:
                board.hear(said.get(timeout=0.2))
            except queue.Empty:
                continue
    finally:  # whatever happened here, no worker outlives this process
        jobs.cancel_join_thread()  # jobs that nobody took must not keep it either
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()
    lost = [process.exitcode for process in processes if process.exitcode]
    if lost and not board.errors:
        board.errors.append(
            f"a worker process ended with code {lost[0]} (out of memory? try `--workers "
            "1`); the same command resumes from the last checkpoints"
        )


@contextlib.contextmanager
def _for_workers() -> Iterator[None]:
    """Processes started within the block inherit one thread and no stop signals.

    Signals that reach all processes of a job are held back until a worker ignores them.
    """
    before = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{before or ''} {SINGLE_THREAD}".strip()
    can_mask = hasattr(signal, "pthread_sigmask")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP) if can_mask else set()
    try:
        yield
    finally:
        if can_mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if before is None:
            del os.environ["XLA_FLAGS"]
        else:
            os.environ["XLA_FLAGS"] = before


def _work(
    jobs: Any, said: Any, stop: Any, config: Any, build: Callable, folder: Path
) -> None:
    """The life of a worker process."""
    for number in STOP:  # the parent says when to stop
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with kept_programs():
        while not stop.is_set() and (job := jobs.get()) is not None:
            if not _train(job, said.put, config, build, folder, stop.is_set):
                break


def _die_with_parent() -> None:
    """Ends this process at once when the parent is gone: another command may take over.

    Every file is written whole or not at all, so this is as safe as any kill.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


class _Relay:
    """Stands in for a progress display and passes on what it is told."""

    disable = False

    def __init__(self, number: int, send: Callable[[tuple], Any]) -> None:
        self.number, self.send, self.total = number, send, 1
        self.console = self

    def add_task(self, name: str, *, total: int, note: str) -> int:
        self.total = total
        return 0

    def update(self, task: int, *, completed: int | None = None, note: str = "") -> None:
        share = None if completed is None else completed / self.total
        self.send(("step", self.number, share, note))

    def print(self, text: str, **_: Any) -> None:
        self.send(("say", self.number, text))


class _Board:
    """One display of all runs, with time left from the pace so far."""

    def __init__(self, points: list[Point], left: list[Point]) -> None:
        self.points, self.left, self.errors, self.note = points, left, [], ""
        self.shares = dict.fromkeys(range(len(left)), 0.0)
        self.at_first: dict[int, float] = {}
        self.done = len(points) - len(left)
        self.begun = time.monotonic()
        self.display = progress_display()
        self.say = now_and_then(self.display)
        name = f"{len(points)} runs"
        self.task = self.display.add_task(name, total=1.0, note="compiling")
        if left:
            say_compiling(self.display, name)

    def hear(self, message: tuple) -> None:
        """Takes in a message of a worker."""
        word, number, *rest = message
        if word == "say":
            self.display.console.print(rest[0], soft_wrap=True, highlight=False)
        elif word == "error":
            self.errors.append(rest[0])
        elif word == "status":
            if rest[0] != "interrupted":
                self.done += 1
                self.shares[number] = 1.0
            if rest[0] == "diverged":
                text = f"{self.left[number].name}: the loss is not finite; run stopped"
                self.display.console.print(text, soft_wrap=True, highlight=False)
        else:
            share, note = rest
            self.note = note or self.note
            if share is not None:
                self.shares[number] = share
                self.at_first.setdefault(number, share)
        self._show()

    def _show(self) -> None:
        costs = [cost(point) for point in self.left]
        whole = sum(costs)
        made = sum(c * self.shares[i] for i, c in enumerate(costs))
        new = made - sum(costs[i] * share for i, share in self.at_first.items())
        passed = time.monotonic() - self.begun
        words = [f"{self.done} of {len(self.points)} runs done"]
        if new > 0.02 * whole:
            words.append(f"about {spell_seconds(passed * (whole - made) / new)} left")
        text = ", ".join([*words, self.note] if self.note else words)
        self.display.update(self.task, completed=made / whole, note=text)
        self.say(text)
