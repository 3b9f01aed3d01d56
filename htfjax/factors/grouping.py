"""Grouping of factors: the matrices of equal nodes stacked into one array each."""

from htfjax.factors.factors import AnyFactors, Factors, GroupedFactors
from htfjax.factors.layout import layout_of, regrouped
from htfjax.factors.stacks import alike, closed, opened, pick


def group(factors: AnyFactors) -> GroupedFactors:
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
    ((layout, stacks),) = alike(factors)
    return closed(layout, stacks)


def as_plain(factors: AnyFactors) -> Factors:
    """Checked factors, ungrouped if they are grouped."""
    layout_of(factors)
    return ungroup(factors) if isinstance(factors, GroupedFactors) else factors


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
    layout, stacks = opened(factors)
    alone = [layout.homes[k] for k in range(layout.tree.num_nodes)]
    return closed(
        regrouped(layout, None),
        [None if stacks[g] is None else pick(stacks[g], [i]) for g, i in alone],
    )
