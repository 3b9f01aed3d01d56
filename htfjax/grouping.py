"""Factors of a wide tree with the matrices of equal nodes stacked into one array each."""

from typing import Any

import jax.numpy as jnp

from htfjax import factors as _factors
from htfjax.factors import Factors, GroupedFactors

__all__ = ["group", "ungroup"]


def group(factors: Factors | GroupedFactors) -> GroupedFactors:
    """Stacks the matrices of nodes whose whole subtrees have equal shapes.

    The nodes of a level of a perfect tree become one array, so compile time and program
    size follow the number of levels. Accepted wherever factors are; `descend` moves the
    stacks.

    Raises:
      TypeError, ValueError: malformed factors, or grouped ones.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(8), 3, 2, 1.0)
      >>> [None if s is None else s.shape for s in htf.group(factors).stacks]
      [(8, 3, 2), (4, 2, 2), (2, 2, 2), (1, 2, 1)]
    """
    if isinstance(factors, GroupedFactors):
        raise TypeError("`factors` are GroupedFactors already.")
    _factors.check(factors)
    groups = _groups(factors)
    return GroupedFactors(
        stacks=tuple(
            None
            if factors.weights[nodes[0]] is None
            else jnp.stack([factors.weights[k] for k in nodes])
            for nodes in groups
        ),
        tree=factors.tree,
        groups=groups,
        fixed=factors.fixed,
    )


def ungroup(factors: GroupedFactors) -> Factors:
    """The factors that `group` stacked.

    Raises:
      TypeError: factors that are not grouped.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(8), 3, 2, 1.0)
      >>> htf.ungroup(htf.group(factors)).weights[9].shape
      (2, 2)
    """
    if not isinstance(factors, GroupedFactors):
        raise TypeError(
            f"`factors` must be GroupedFactors, got {type(factors).__name__}; `group` "
            "makes them."
        )
    return _factors.as_factors(factors)


def _groups(factors: Factors) -> tuple[tuple[int, ...], ...]:
    """Node ids of equal subtrees, children before parents."""
    tree = factors.tree
    numbers: dict[Any, int] = {}
    kinds: list[int] = []
    members: dict[int, list[int]] = {}
    for k, weight in enumerate(factors.weights):
        shape = None if weight is None else weight.shape
        below = tuple(kinds[c] for c in tree.children[k])
        kind = numbers.setdefault((shape, k in factors.fixed, below), len(numbers))
        kinds.append(kind)
        members.setdefault(kind, []).append(k)
    order = sorted(members.values(), key=lambda nodes: (tree.height[nodes[0]], nodes[0]))
    return tuple(map(tuple, order))
