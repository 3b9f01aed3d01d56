"""Displays of progress: a bar of rich on terminals, of tqdm in notebooks, else lines."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from htfjax import _extras

SECONDS_BETWEEN_LINES = 5.0
# Step and step to reach, and words on the loss and the time that is left.
Show = Callable[[int, int, str], None]


def display(what: str) -> AbstractContextManager[Show] | None:
    """The display that fits where standard error goes; None in a pipe or a file.

    Args:
      what: "descent", for the beginning of the line.
    """
    if _in_notebook():
        tqdm = _module("tqdm.auto")
        return _lines(what) if tqdm is None else _notebook_bar(what, tqdm)
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    rich = _module("rich.progress")
    return _lines(what) if rich is None else _terminal_bar(what, rich)


def words_of(loss: float, seconds_left: float | None) -> str:
    """Loss and time left, as a display says them.

    Example:
      >>> words_of(0.00125, 64.2), words_of(1.0, None)
      ('loss 1.25e-03, 65 s left', 'loss 1.00e+00')
    """
    words = f"loss {loss:.2e}"
    return words if not seconds_left else f"{words}, {math.ceil(seconds_left)} s left"


def _module(name: str) -> ModuleType | None:
    """A module of an extra, None where it is not installed."""
    try:
        return _extras.load(name, "progress=True")
    except ModuleNotFoundError:
        return None


def _in_notebook() -> bool:
    """Whether a notebook shows what is written; a shell of IPython is a terminal."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


@contextlib.contextmanager
def _terminal_bar(what: str, rich: Any) -> Iterator[Show]:
    console = _extras.load("rich.console", "progress=True").Console(stderr=True)
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TextColumn("{task.fields[note]}"),
    )
    with rich.Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None, note="compiling")

        def show(step: int, until_step: int, words: str) -> None:
            bar.update(task, completed=step, total=until_step, note=words)

        yield show


@contextlib.contextmanager
def _notebook_bar(what: str, tqdm: Any) -> Iterator[Show]:
    with tqdm.tqdm(desc=what, unit="step") as bar:

        def show(step: int, until_step: int, words: str) -> None:
            bar.total = until_step
            bar.set_postfix_str(words, refresh=False)
            bar.update(step - bar.n)

        yield show


@contextlib.contextmanager
def _lines(what: str) -> Iterator[Show]:
    """A line now and then, and one at the end."""
    last, latest = time.monotonic(), ""

    def show(step: int, until_step: int, words: str) -> None:
        nonlocal last, latest
        latest = f"{what}: step {step} of {until_step}, {words}\n"
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            sys.stderr.write(latest)
            last, latest = time.monotonic(), ""

    try:
        yield show
    finally:
        sys.stderr.write(latest)
