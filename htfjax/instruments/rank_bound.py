"""Rank bound: the largest rank that a tree and its widths allow a matricization."""

import math
from collections.abc import Iterable, Sequence

from htfjax import _checks
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout, layout_of

INSIDE, OUTSIDE, CUT = range(3)  # where a node's index lies


def rank_bound(factors: AnyFactors, modes: Sequence[int]) -> int:
    """The vertex min-cut between some modes and the others: no rank is larger.

    Minimum over sets of indices (r_v with R_v values, i_n with D_n) whose removal parts
    the rows' modes from the columns' in the tree, of the product of their sizes. On a
    tree one pass from the leaves to the root finds it. Generic factors reached it in
    every small case tried, which is not a theorem.

    Args:
      factors: any tree; only shapes matter.
      modes: distinct modes, those of the rows.

    Returns:
      A Python int: it may exceed 64 bits.

    Raises:
      TypeError, ValueError: malformed factors, unknown or repeated modes.

    Source: law D4; min-cut bound as in Levine et al., arXiv:1704.01552.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 8, 5, 1.0)
      >>> htf.rank_bound(factors, (0, 1)), htf.rank_bound(factors, (0, 2))
      (5, 25)
    """
    layout = layout_of(factors)
    return min_cut(layout, check_modes("modes", modes, layout.tree.order))


def min_cut(layout: Layout, modes: Sequence[int]) -> int:
    """`rank_bound` from shapes alone, of modes that have been checked."""
    tree, rows, inside = layout.tree, layout.widths, set(modes)
    best: list[tuple[float | int, ...]] = []
    for k, kids in enumerate(tree.children):
        if not kids:
            free = (1, math.inf) if k in inside else (math.inf, 1)
            best.append((*free, rows[k]))
            continue
        costs = [best[c] for c in kids]
        best.append(
            (
                _product(min(c[INSIDE], c[CUT]) for c in costs),
                _product(min(c[OUTSIDE], c[CUT]) for c in costs),
                rows[k] * _product(min(c) for c in costs),
            )
        )
    return int(min(best[tree.root]))


def check_modes(name: str, modes: Sequence[int], order: int) -> tuple[int, ...]:
    """Distinct modes between 0 and order - 1, in the order given."""
    listed = _checks.sequence(name, modes, "modes")
    distinct = tuple(_checks.at_least(name, mode, 0) for mode in listed)
    if len(set(distinct)) != len(distinct) or any(mode >= order for mode in distinct):
        raise ValueError(
            f"`{name}={distinct}` must be distinct modes of a tensor of order {order}, "
            f"each between 0 and {order - 1}."
        )
    return distinct


def _product(costs: Iterable[float]) -> float | int:
    """Exact unless a side is impossible; then infinite, without touching the integers."""
    factors = list(costs)
    return math.inf if math.inf in factors else math.prod(factors)
