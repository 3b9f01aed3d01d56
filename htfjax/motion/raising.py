"""Checks inside of solvers: what equinox does where one fails in a compiled program."""

import contextlib
from collections.abc import Iterator

from equinox import _errors

CHOICE = "EQX_ON_ERROR"


@contextlib.contextmanager
def filled_with_nan() -> Iterator[None]:
    """Traces failed checks of equinox as NaN in place of an error.

    An error is raised by a call back to Python: GPUs would wait for it, TPUs have none, and
    a program with one can neither be kept in a cache nor be compiled for another machine.
    equinox chooses by an environment variable, for all programs of a process, so that the
    choice is changed here while one is traced; that for its debugger is left alone.
    """
    chosen = getattr(_errors, CHOICE)
    if chosen == "raise":
        setattr(_errors, CHOICE, "nan")
    try:
        yield
    finally:
        setattr(_errors, CHOICE, chosen)
