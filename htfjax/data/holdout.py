"""Holdout: the random cells that are kept from training, to test on."""

import jax
import numpy as np

from htfjax import _checks
from htfjax._integers import spell

BLOCK = 2**16  # cells that are looked at together, so that lists stay small


def check_share(name: str, value: object) -> float:
    """A share of the cells, at least 0 and below 1.

    Raises:
      TypeError: not a real number. ValueError: out of range.
    """
    _checks.real(name, value, least=0)
    number = float(value)  # pyright: ignore[reportArgumentType]
    if number >= 1:
        raise ValueError(
            f"`{name}={spell(value)}` must be below 1, a share of the observed cells; 0.1 "
            "holds out a tenth."
        )
    return number


def held_out(
    key: jax.Array,
    indices: np.ndarray,
    dims: tuple[int, ...],
    holdout: float,
    advice: str = "",
) -> tuple[np.ndarray, str]:
    """Which cells to hold out: a random share, of no level all.

    Args:
      indices: (B, N), distinct cells.
      holdout: the share, above 0.
      advice: how else the data may be meant, said where no cell can be held out.

    Returns:
      (B,) booleans, and what to warn of where fewer are held out than asked, or "".

    Raises:
      ValueError: nothing would be left to train on, or no cell can be held out.
    """
    cells = len(indices)
    wanted = max(1, round(holdout * cells))
    if wanted >= cells:
        raise ValueError(
            f"`holdout={holdout:g}` of {cells} observed cells leaves none to train on; "
            "hold out fewer."
        )
    chosen = _draw(np.asarray(jax.random.permutation(key, cells)), indices, dims, wanted)
    if not chosen:
        raise ValueError(
            f"`holdout={holdout:g}`: no cell can be held out, because each of the {cells} "
            f"is the only cell of some level; use holdout=0.{advice and ' ' + advice}"
        )
    mask = np.zeros(cells, bool)
    mask[chosen] = True
    few = (
        f"`holdout={holdout:g}` asks for {wanted} of {cells} cells, and {len(chosen)} are "
        "held out, so that every level keeps a cell to train on."
    )
    return mask, few if len(chosen) < wanted else ""


def _draw(
    order: np.ndarray, indices: np.ndarray, dims: tuple[int, ...], wanted: int
) -> list[int]:
    """The first cells in a random order whose levels all keep another cell."""
    left = [
        np.bincount(column, minlength=dim).tolist()
        for column, dim in zip(indices.T, dims, strict=True)
    ]
    chosen: list[int] = []
    for begin in range(0, len(order), BLOCK):
        block = order[begin : begin + BLOCK]
        # Python's lists: NumPy takes longer for one number at a time.
        for cell, levels in zip(block.tolist(), indices[block].tolist(), strict=True):
            counts = [of_level[code] for of_level, code in zip(left, levels, strict=True)]
            if min(counts) > 1:
                chosen.append(cell)
                for of_level, code in zip(left, levels, strict=True):
                    of_level[code] -= 1
            if len(chosen) == wanted:
                return chosen
    return chosen
