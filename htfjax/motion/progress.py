"""Progress of descents, flows and grids: told to a function, or shown on the screen."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from htfjax import _checks
from htfjax._types import PyTree
from htfjax.motion.displays import display, words_of


class StepProgress(NamedTuple):
    """How far a descent, a flow or a grid of runs is.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp, optax
      >>> _ = htf.descend(
      ...     jnp.ones(2), lambda x: x @ x, optax.sgd(0.25), num_steps=4, record_every=2,
      ...     progress=lambda now: print(now.step, now.until_step, now.loss))
      2 4 0.125
      4 4 0.0078125
    """

    step: int  # updates made, of a flow the number of the record reached
    until_step: int  # the step to reach, of a grid the steps of all its runs at most
    loss: float  # the latest, of a grid the median of the runs at work
    seconds_left: float | None  # by the pace so far; None before there is one


Listener: TypeAlias = Callable[[StepProgress], object]
Asked: TypeAlias = bool | Listener | None


def is_asked(progress: object) -> bool:
    """Whether `progress` asks for anything.

    Raises:
      TypeError: neither True, False, None nor a function.

    Example:
      >>> is_asked(None), is_asked(print)
      (False, True)
    """
    if isinstance(progress, bool | np.bool_):
        return bool(progress)
    if progress is None:
        return False
    if not callable(progress) or isinstance(progress, type):
        raise TypeError(
            "`progress` must be True, or a function that takes a `StepProgress`, got "
            f"{_checks.spell(progress)}."
        )
    return True


def check_concrete(*arguments: PyTree) -> None:
    """Refuses arguments that have no values yet.

    Raises:
      TypeError: a traced leaf.
    """
    if not all(map(_checks.concrete, jax.tree.leaves(arguments))):
        raise TypeError(
            "`progress` needs concrete arguments: inside of jax.jit, jax.vmap and jax.grad "
            "nothing runs yet that could be watched; leave `progress` out there, or call "
            "this outside."
        )


@contextlib.contextmanager
def telling(progress: Asked, what: str) -> Iterator[Listener | None]:
    """The function to tell of progress while the context is open; None for nobody.

    Args:
      what: "descent", for displays.
    """
    asked = is_asked(progress)
    if asked and callable(progress):
        yield progress
        return
    shown = display(what) if asked else None
    if shown is None:
        yield None
        return
    with shown as show:
        yield lambda now: show(
            now.step, now.until_step, words_of(now.loss, now.seconds_left)
        )


class Pace:
    """Seconds that are left, by the pace since the first call.

    What came before is not counted, because it compiled too.

    Example:
      >>> pace = Pace()
      >>> pace.seconds_left(0.5, 1.0) is None, pace.seconds_left(1.0, 1.0)
      (True, 0.0)
    """

    def __init__(self) -> None:
        self.first: tuple[float, float] | None = None

    def seconds_left(self, done: float, total: float) -> float | None:
        """The time for what is left of `total`; None while there is no pace."""
        now = time.monotonic()
        if done >= total:
            return 0.0
        if self.first is None:
            self.first = (now, done)
        begun, before = self.first
        return None if done <= before else (now - begun) * (total - done) / (done - before)


# Listeners of flows at work. A program that calls the host must not hold the function to
# call, or each would be compiled anew: it holds `tell`, and is given a ticket.
_listeners: dict[int, Callable[[float, float], None]] = {}
_tickets = itertools.count()


def tell(ticket: Any, position: Any, loss: Any) -> None:
    """Called by a compiled flow at a record."""
    listener = _listeners.get(int(ticket))
    if listener is not None:
        listener(float(position), float(loss))


@contextlib.contextmanager
def ticket_of(listener: Listener | None, times: Any) -> Iterator[np.ndarray | None]:
    """A ticket by which `tell` finds the listener of a flow; None for nobody.

    Args:
      times: positions of the records, (K,).

    Raises:
      TypeError: traced positions. What the listener raised, once the flow has ended.
    """
    if listener is None:
        yield None
        return
    check_concrete(times)
    positions, pace, reached = np.asarray(times, np.float64), Pace(), -1
    errors: list[BaseException] = []

    def at_record(position: float, loss: float) -> None:
        nonlocal reached
        record = int(np.argmin(np.abs(positions - position)))
        if errors or record <= reached:  # calls of a device may overtake each other
            return
        reached = record
        left = pace.seconds_left(position, float(positions[-1]))
        try:
            listener(StepProgress(record, len(positions) - 1, loss, left))
        except BaseException as error:
            errors.append(error)

    ticket = next(_tickets)
    _listeners[ticket] = at_record
    try:
        yield np.asarray(ticket, np.int32)
        jax.effects_barrier()
    finally:
        del _listeners[ticket]
    if errors:
        raise errors[0]
