"""Descent in chunks, between which one can look, save, stop and go on."""

import functools
import itertools
from collections.abc import Callable, Iterator

import optax

from htfjax import _checks
from htfjax._types import Array, Key, PyTree
from htfjax.losses.gradient import Loss
from htfjax.motion.descent import DescentState, check_descent, continue_descent
from htfjax.motion.pieces import told
from htfjax.motion.progress import Asked, Pace, is_asked, telling
from htfjax.motion.trajectory import Observations, Trajectory


def descend_in_chunks(
    state: DescentState,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    until_step: int,
    record_every: int,
    chunk_steps: int,
    observe: Callable[[PyTree], Observations] | None = None,
    key: Key[Array, ""] | None = None,
    progress: Asked = None,
) -> Iterator[tuple[DescentState, Trajectory[Observations, None]]]:
    """Descent until step `until_step`, yielding the state and the records of each chunk.

    Chunks end at multiples of `chunk_steps`, counted from step 0, so a resumed run has
    the chunks, and bit for bit the numbers, of an unbroken one. Stop by leaving the
    loop; `join` puts the pieces together.

    Args:
      state: where to start; `state.step` counts what was done before.
      until_step: the step to reach in all, not the number still to make.
      chunk_steps: steps per chunk, a multiple of `record_every`.
      loss, optimizer, record_every, observe, key: as in `continue_descent`.
      progress: as there, told after every chunk; these are the chunks of the loop.

    Raises:
      TypeError: as `continue_descent`.
      ValueError: `chunk_steps` below 2, or `record_every` does not divide `until_step`,
        `chunk_steps` or the step of `state`.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> loss, optimizer = lambda x: x @ x, htf.group_rmsprop(0.1)
      >>> state = htf.start_descent(jnp.ones(2), optimizer)
      >>> for state, piece in htf.descend_in_chunks(
      ...     state, loss, optimizer, until_step=50, record_every=5, chunk_steps=20):
      ...     print(int(state.step))
      20
      40
      50
    """
    check_descent(state, loss, optimizer, observe, key)
    lengths = chunk_lengths(int(state.step), until_step, record_every, chunk_steps)
    advance = functools.partial(
        continue_descent, loss=loss, optimizer=optimizer, record_every=record_every,
        observe=observe, key=key,
    )  # fmt: skip
    is_asked(progress)
    return _chunks(lengths, state, advance, progress)


def _chunks(
    lengths: list[int],
    state: DescentState,
    advance: Callable[..., tuple[DescentState, Trajectory[Observations, None]]],
    progress: Asked,
) -> Iterator[tuple[DescentState, Trajectory[Observations, None]]]:
    """The chunks of `descend_in_chunks`, whose arguments are checked before the first."""
    pace, until_step = Pace(), int(state.step) + sum(lengths)
    with telling(progress, "descent") as listener:
        for length in lengths:
            state, piece = advance(state, num_steps=length)
            if listener is not None:
                told(listener, piece, until_step, pace)
            yield state, piece


def chunk_lengths(
    start: int, until_step: int, record_every: int, chunk_steps: int
) -> list[int]:
    """Steps of each chunk from `start` to `until_step`; none is a single step.

    Example:
      >>> chunk_lengths(0, 41, 1, 20)
      [20, 21]
    """
    record_every = _checks.at_least("record_every", record_every, 1)
    chunk_steps = _checks.at_least("chunk_steps", chunk_steps, 2)
    until_step = _checks.at_least("until_step", until_step, 0)
    for name, value in (
        ("until_step", until_step),
        ("chunk_steps", chunk_steps),
        ("state.step", start),
    ):
        if value % record_every:
            raise ValueError(
                f"`record_every={record_every}` does not divide `{name}={value}`."
            )
    if start >= until_step:
        return []
    # An end one step from either bound would leave a chunk that is not bit-equal.
    inside = range(start - start % chunk_steps + chunk_steps, until_step, chunk_steps)
    ends = [end for end in inside if end - start > 1 and until_step - end > 1]
    bounds = [start, *ends, until_step]
    return [b - a for a, b in itertools.pairwise(bounds)]
