"""Progress of an ensemble, counted over all its blocks."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from wadler_lindig import AbstractDoc

from htfjax import _reprs
from htfjax.motion.progress import Asked, StepProgress, telling
from htfjax.runs.block import Chunk
from htfjax.runs.folder import read_status
from htfjax.runs.session import process_zero
from htfjax.runs.status import ended

IN_ALL = ("wall_seconds_in_all", "compile_seconds_in_all")
CHANGED = (
    "numbers computed again differ from those on disk: `build` or the machine is another "
    "one than before"
)


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of an ensemble.

    Attributes:
      runs, done, active, failed: numbers of runs; `done` counts diverged ones too.
      steps, steps_in_all: made in this session and before; the second at most.
      executed: steps made in this session, repeated ones counted again.
      steps_per_second: of this session.
      seconds_left: at that rate, at most; None before the first chunk.
      losses: smallest, median and largest loss of the active runs, None where there are
        none.
      wall_seconds, device_seconds, compile_seconds: of this session.
      changed: files that a repeated chunk would have written differently; 0 means that
        everything repeated was bit for bit the same.
      messages: what to tell the user, each once: files found damaged or lost.
      state: "running", "interrupted" or "finished".

    Example:
      >>> import htfjax as htf, tempfile
      >>> setting = htf.problems.Completion(mode_dims=3, widths=4, observed=40)
      >>> grid = htf.runs.Grid(setting, seeds=range(2))
      >>> out = tempfile.mkdtemp()
      >>> *_, last = htf.runs.run(grid, out, until_step=20, record_every=10)
      >>> isinstance(last, htf.runs.Progress), last.done, last.runs, last.steps
      (True, 2, 2, 40)
    """

    runs: int
    done: int
    active: int
    failed: int
    steps: int
    steps_in_all: int
    executed: int
    steps_per_second: float
    seconds_left: float | None
    losses: tuple[float, float, float] | None
    wall_seconds: float
    device_seconds: float
    compile_seconds: float
    changed: int
    messages: tuple[str, ...]
    state: str

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """What changes while one waits, the state first; numbers of four digits."""
        names = ("state", "runs", "done", "active", "failed", "steps", "steps_in_all",
                 "steps_per_second", "seconds_left", "losses", "messages")  # fmt: skip
        fields = {name: _reprs.digits(getattr(self, name)) for name in names}
        return _reprs.record(self, **fields)


def watched(
    work: Generator[Progress, None, None], progress: Asked
) -> Generator[Progress, None, None]:
    """The progress of an ensemble, which is also shown, or told to a function."""
    # Other processes are at the same chunk; one display is enough.
    own = progress if process_zero() else None
    with telling(own, "runs") as listener, contextlib.closing(work):
        for now in work:
            if listener is not None:
                loss = math.nan if now.losses is None else now.losses[1]
                listener(StepProgress(now.steps, now.steps_in_all, loss, now.seconds_left))
            yield now


class Clock:
    """Wall, device and compile seconds of a session, and of those before it."""

    def __init__(self, out: Path) -> None:
        self.begun: float = time.monotonic()
        self.compile: float = 0.0
        self.device: float = 0.0
        self.before: dict[str, float] = {name: read_status(out, name) for name in IN_ALL}

    @property
    def wall(self) -> float:
        """Seconds since the session began."""
        return time.monotonic() - self.begun

    def in_all(self) -> dict[str, float]:
        """Wall and compile seconds of all sessions."""
        now = dict(zip(IN_ALL, (self.wall, self.compile), strict=True))
        return {name: self.before[name] + seconds for name, seconds in now.items()}

    @classmethod
    @contextlib.contextmanager
    def running(cls, out: Path) -> Iterator["Clock"]:
        clock, spans = cls(out), list[tuple[float, float]]()

        def listen(event: str, duration_secs: float, **_: object) -> None:
            """Events come as they end, inner ones first: what they share counts once."""
            if not event.startswith("/jax/core/compile"):
                return
            end = time.monotonic()
            begin = end - duration_secs
            while spans and spans[-1][0] >= begin:
                spans.pop()
            spans.append((max(begin, spans[-1][1]) if spans else begin, end))
            clock.compile = sum(last - first for first, last in spans)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield clock
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)


class Tally:
    """Counts over all blocks of a session."""

    def __init__(
        self, runs: int, until_step: int, clock: Clock, messages: Sequence[str]
    ) -> None:
        self.runs: int = runs
        self.until_step: int = until_step
        self.clock: Clock = clock
        self.messages: tuple[str, ...] = tuple(messages)
        self.blocks: dict[tuple[str, int], Chunk] = {}
        self.made: int = 0
        self.changed: int = 0
        self.latest: Chunk | None = None

    def add(self, block: tuple[str, int], chunk: Chunk) -> None:
        before = self.blocks.get(block)
        if chunk.changed and not (before and before.changed):
            self.messages += (CHANGED,)
        self.messages += chunk.messages
        self.blocks[block], self.latest = chunk, chunk
        self.made += chunk.steps
        self.clock.device += chunk.seconds

    def progress(self, state: str) -> Progress:
        done = active = failed = steps = left = 0
        for chunk in self.blocks.values():
            stops = chunk.stops
            over = ended(stops.cause, stops.end, self.until_step)
            done += int(over.sum())
            failed += int((stops.cause == 2).sum())
            steps += int(stops.end.sum())
            left += int((self.until_step - stops.end)[~over].sum())
            if chunk is self.latest and state == "running":
                active = int((~over).sum())
        seen = sum(len(chunk.stops.cause) for chunk in self.blocks.values())
        left += (self.runs - seen) * self.until_step
        messages, self.messages = self.messages, ()
        wall = self.clock.wall
        rate = self.made / wall if wall > 0 else 0.0
        losses = None
        if self.latest is not None and np.isfinite(self.latest.losses).any():
            finite = self.latest.losses[np.isfinite(self.latest.losses)]
            losses = (
                float(finite.min()), float(np.median(finite)), float(finite.max())
            )  # fmt: skip
        return Progress(
            runs=self.runs, done=done, active=active, failed=failed, steps=steps,
            steps_in_all=steps + left, executed=self.made, steps_per_second=rate,
            seconds_left=left / rate if rate else None, losses=losses, wall_seconds=wall,
            device_seconds=self.clock.device, compile_seconds=self.clock.compile,
            changed=sum(chunk.changed for chunk in self.blocks.values()),
            messages=messages, state=state,
        )  # fmt: skip
