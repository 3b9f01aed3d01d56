"""Display of progress on the screen, and time as people say it."""

import contextlib
import contextvars
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import rich.console
import rich.progress

SECONDS_BETWEEN_LINES = 20.0  # where there is no terminal

_opening = contextvars.ContextVar("opening", default="")


@contextlib.contextmanager
def opening(line: str) -> Iterator[None]:
    """A line that the first display within the block opens with; nothing without one."""
    token = _opening.set(line)
    try:
        yield
    finally:
        _opening.reset(token)


def progress_display(*, steps: bool = False) -> rich.progress.Progress:
    """Bars, with steps and the time that is left or with per cent; off without a terminal.

    A task has a field `note`, which ends its line.
    """
    console = rich.console.Console(stderr=True, markup=False)
    if line := _opening.get():
        console.print(line, soft_wrap=True, highlight=False)
        _opening.set("")
    percent = (rich.progress.TaskProgressColumn(), rich.progress.TimeElapsedColumn())
    counted = (
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("steps"),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left at most"),
        rich.progress.TimeRemainingColumn(),
    )
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        *(counted if steps else percent),
        rich.progress.TextColumn("{task.fields[note]}"),
        speed_estimate_period=300,
        console=console,
        disable=not console.is_terminal,
    )


def now_and_then(display: rich.progress.Progress) -> Callable[[str], None]:
    """Prints a line every 20 seconds at most, where there is no terminal."""
    said = time.monotonic()

    def say(line: str) -> None:
        nonlocal said
        if display.disable and time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            display.console.print(line, soft_wrap=True, highlight=False)

    return say


def say_compiling(display: Any, name: str) -> None:
    """A line where there is no terminal; a terminal shows it as the note of a task."""
    if display.disable:
        display.console.print(f"{name}: compiling", soft_wrap=True, highlight=False)


def spell_seconds(seconds: float) -> str:
    """A time as people say it.

    Example: 65 is "1 min 5 s".
    """
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
