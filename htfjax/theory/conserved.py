"""Conserved quantities of gradient flow, and how far a trajectory drifted from them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from htfjax._types import Array, Float
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout, layout_of
from htfjax.factors.node_values import by_node
from htfjax.factors.stacks import Stacks, alike, opened
from htfjax.theory.vectors import squared_norms


def conserved_quantities(factors: AnyFactors) -> Mapping[int, Float[Array, "L_1 R_v"]]:
    """||w||^2 - ||w'||^2 within every local component: constant along gradient flow.

    w' is the component's first trained vector (the node's own row, or the first child's
    column), w each of the others. A step of descent with ONE step size eta for all
    weights changes the difference by exactly eta^2 times that of the gradient (law F2).

    Args:
      factors: any tree.

    Returns:
      node id -> (L - 1, R_v), L trained vectors per component, for every interior node.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: arXiv:2201.11729, conservation lemma; F1.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0)
      >>> htf.theory.conserved_quantities(factors)[6].shape
      (2, 5)
    """
    layout, stacks = opened(factors)
    return by_node(layout, _differences(layout, stacks))


def conserved_scale(factors: AnyFactors) -> Float[Array, ""]:
    """The largest ||w||^2 of a trained vector, what a drift is measured against.

    Returns:
      Zero if nothing is trained.

    Raises:
      TypeError, ValueError: malformed factors.

    Example:
      >>> import htfjax as htf
      >>> ones = htf.identity_factors(htf.flat(2), 3, 3, 2.0, root="ones")
      >>> float(htf.theory.conserved_scale(ones))
      4.0
    """
    return _largest_square(*opened(factors))


def drift(before: AnyFactors, after: AnyFactors) -> Float[Array, ""]:
    """Change of `conserved_quantities`, over the largest squared norm of the two.

    Zero for the exact flow, so this measures the integrator.

    Args:
      before, after: factors on one tree, two points of one trajectory.

    Raises:
      TypeError, ValueError: malformed factors, two different trees.

    Source: laws F1 and F4.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0)
      >>> float(htf.theory.drift(factors, factors))
      0.0
    """
    first, last = layout_of(before, "before"), layout_of(after, "after")
    if first.tree != last.tree:
        raise ValueError("`before` and `after` are factors of two different trees.")
    if first.widths != last.widths:
        raise ValueError("`before` and `after` are factors of different shapes.")
    if first.dtype != last.dtype:
        raise TypeError("`before` and `after` are factors of different dtypes.")
    pair = alike(before, after)
    one, other = (_differences(*each) for each in pair)
    moved = [jnp.max(jnp.abs(other[g] - x), initial=0) for g, x in one.items()]
    scale = jnp.maximum(*(_largest_square(*each) for each in pair))
    largest = jnp.max(jnp.stack(moved))
    return largest / jnp.where(scale == 0, jnp.ones_like(scale), scale)


def _differences(layout: Layout, stacks: Stacks) -> dict[int, jax.Array]:
    """inner group -> (G, L - 1, R_v)."""
    differences = {}
    for g, squares in squared_norms(layout, stacks).items():
        nodes = layout.groups[g]
        none = jnp.zeros((len(nodes), 0, layout.widths[nodes[0]]), layout.dtype)
        others = [x - squares[0] for x in squares[1:]]
        differences[g] = jnp.stack(others, axis=1) if others else none
    return differences


def _largest_square(layout: Layout, stacks: Stacks) -> jax.Array:
    squares = [jnp.max(s) for xs in squared_norms(layout, stacks).values() for s in xs]
    return jnp.max(jnp.stack([jnp.zeros((), layout.dtype), *squares]))
