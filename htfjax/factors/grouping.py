"""Factors of a wide tree with the matrices of equal nodes stacked into one array each."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from htfjax.factors.factors import Factors, GroupedFactors, as_factors
from htfjax.factors.layout import Layout, known, layout_of

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
    return _stacked(factors, _groups(layout_of(factors)))


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
    layout_of(factors)
    return as_factors(factors)


def stacked_alike(*many: Factors | GroupedFactors) -> tuple[GroupedFactors, ...]:
    """Checked factorizations of one tree in stacks of the same groups.

    A root of ones is left out, as it was. Grouped factors that agree come back as they
    are.
    """
    layouts = [layout_of(factors) for factors in many]
    held = {f.groups if isinstance(f, GroupedFactors) else None for f in many}
    if None not in held and len(held) == 1:
        return tuple(f for f in many if isinstance(f, GroupedFactors))
    groups = _groups(*layouts)
    return tuple(_stacked(as_factors(f), groups) for f in many)


def _stacked(factors: Factors, groups: Groups) -> GroupedFactors:
    weights = factors.weights
    grouped = GroupedFactors(
        stacks=tuple(
            None if weights[nodes[0]] is None else jnp.stack([weights[k] for k in nodes])
            for nodes in groups
        ),
        tree=factors.tree,
        groups=groups,
        fixed=factors.fixed,
    )
    layout = layout_of(factors)
    # The stacks are jax's arrays, of the dtype that it makes of NumPy's now.
    return known(
        grouped, dataclasses.replace(layout, groups=groups, weights_dtype=layout.dtype)
    )


def _groups(*layouts: Layout) -> Groups:
    """Node ids of subtrees that are equal in all layouts, children before parents."""
    tree = layouts[0].tree
    numbers: dict[Any, int] = {}
    kinds: list[int] = []
    members: dict[int, list[int]] = {}
    for k in range(tree.num_nodes):
        here = tuple(
            (x.widths[k], x.columns[k], x.trained[k], k == tree.root and x.has_root)
            for x in layouts
        )
        below = tuple(kinds[c] for c in tree.children[k])
        kind = numbers.setdefault((here, below), len(numbers))
        kinds.append(kind)
        members.setdefault(kind, []).append(k)
    order = sorted(members.values(), key=lambda nodes: (tree.height[nodes[0]], nodes[0]))
    return tuple(map(tuple, order))
