"""Factors of a wide tree with the matrices of equal nodes stacked into one array each."""

from typing import Any

import jax.numpy as jnp

from htfjax.factors import factors as _factors
from htfjax.factors.factors import Factors, GroupedFactors

__all__ = ["group", "stacked_alike", "ungroup"]

Groups = tuple[tuple[int, ...], ...]


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
    return _stacked(factors, _groups(factors))


def ungroup(factors: GroupedFactors) -> Factors:
    """The factors that `group` stacked.

    Raises:
      TypeError: factors that are not grouped. TypeError, ValueError: malformed ones.

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
    _factors.check(factors)
    return _factors.as_factors(factors)


def stacked_alike(*many: Factors | GroupedFactors) -> tuple[GroupedFactors, ...]:
    """Checked factorizations of one tree in stacks of the same groups.

    A root of ones is left out, as it was. Grouped factors that agree come back as they
    are.
    """
    for factors in many:
        _factors.check(factors)
    held = {f.groups if isinstance(f, GroupedFactors) else None for f in many}
    if None not in held and len(held) == 1:
        return tuple(f for f in many if isinstance(f, GroupedFactors))
    groups = _groups(*map(_factors.shapes, many))
    return tuple(_stacked(_factors.as_factors(f), groups) for f in many)


def _stacked(factors: Factors, groups: Groups) -> GroupedFactors:
    weights = factors.weights
    return GroupedFactors(
        stacks=tuple(
            None if weights[nodes[0]] is None else jnp.stack([weights[k] for k in nodes])
            for nodes in groups
        ),
        tree=factors.tree,
        groups=groups,
        fixed=factors.fixed,
    )


def _groups(*many: Factors) -> Groups:
    """Node ids of subtrees that are equal in each of `many`, children before parents."""
    tree = many[0].tree
    numbers: dict[Any, int] = {}
    kinds: list[int] = []
    members: dict[int, list[int]] = {}
    for k in range(tree.num_nodes):
        shapes = tuple(getattr(f.weights[k], "shape", None) for f in many)
        fixed = tuple(k in f.fixed for f in many)
        below = tuple(kinds[c] for c in tree.children[k])
        kind = numbers.setdefault((shapes, fixed, below), len(numbers))
        kinds.append(kind)
        members.setdefault(kind, []).append(k)
    order = sorted(members.values(), key=lambda nodes: (tree.height[nodes[0]], nodes[0]))
    return tuple(map(tuple, order))
