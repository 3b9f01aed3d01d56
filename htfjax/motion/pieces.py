"""Pieces of a descent that is watched: progress is told between them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from htfjax.motion.progress import Listener, Pace, StepProgress, check_concrete
from htfjax.motion.trajectory import Trajectory, join

MOST_PIECES = 100


def piece_lengths(num_steps: int, record_every: int) -> list[int]:
    """Steps of each piece: about a hundred, of one length if one divides the records.

    Every other length is another program. None is a single step, which the compiler would
    unroll, with other last digits.

    Example:
      >>> piece_lengths(8, 2), piece_lengths(7, 1)
      ([2, 2, 2, 2], [2, 2, 3])
    """
    records, least = num_steps // record_every, 1 if record_every > 1 else 2
    size = max(least, -(-records // MOST_PIECES))
    size = next((n for n in range(size, 2 * size) if records % n == 0), size)
    count, rest = divmod(records, size)
    sizes = [size] * count
    if rest >= least or not sizes:
        sizes.append(rest)
    else:
        sizes[-1] += rest
    return [n * record_every for n in sizes if n]


def watched(
    advance: Callable[..., tuple], state: jax.Array | tuple, lengths: list[int],
    listener: Listener,
) -> tuple:  # fmt: skip
    """The state and the trajectory of a descent in pieces, each told of.

    Args:
      advance: (state, steps) -> (state, trajectory).
    """
    pieces: list[Trajectory] = []
    pace, until_step = Pace(), None
    for length in lengths:
        state, piece = advance(state, length)
        if until_step is None:
            # Traced after all where the loss closes over something traced.
            check_concrete(piece)
            until_step = int(piece.steps[0]) + sum(lengths)
        pieces.append(piece)
        told(listener, piece, until_step, pace)
    whole = join(pieces)
    return state, jax.tree.map(jnp.asarray, whole)


def told(listener: Listener, piece: Trajectory, until_step: int, pace: Pace) -> None:
    """Tells of the end of a piece."""
    step, loss = int(piece.steps[-1]), float(np.asarray(piece.losses[-1]))
    listener(StepProgress(step, until_step, loss, pace.seconds_left(step, until_step)))
