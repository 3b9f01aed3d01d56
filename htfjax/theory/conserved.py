"""What gradient flow conserves, and how far a computed trajectory drifted from it."""

from typing import Any

import jax
import jax.numpy as jnp

from htfjax.factors.factors import Factors, GroupedFactors
from htfjax.factors.layout import layout_of, with_constants
from htfjax.theory.vectors import squared_norms

__all__ = ["conserved_quantities", "conserved_scale", "drift"]


def conserved_quantities(factors: Factors | GroupedFactors) -> dict[int, jax.Array]:
    """||w||^2 - ||w'||^2 within every local component: constant along gradient flow.

    w' is the component's first trained vector (the node's own row, or the first child's
    column), w each of the others. A step of descent with ONE step size eta for all
    weights changes the difference by exactly eta^2 times that of the gradient (law F2).

    Args:
      factors: any tree.

    Returns:
      node id -> (L - 1, R_v), L trained vectors a component, for every interior node.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: arXiv:2201.11729, conservation lemma; F1.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0)
      >>> htf.theory.conserved_quantities(factors)[6].shape
      (2, 5)
    """
    factors = with_constants(factors)
    found = {}
    for v, squares in squared_norms(factors).items():
        if len(squares) < 2:
            width = layout_of(factors).widths[v]
            found[v] = jnp.zeros((0, width), layout_of(factors).dtype)
        else:
            found[v] = jnp.stack(squares[1:]) - squares[0][None, :]
    return found


def conserved_scale(factors: Factors | GroupedFactors) -> jax.Array:
    """The largest ||w||^2 of a trained vector, what a drift is measured against.

    Returns:
      () array; zero if nothing is trained.

    Raises:
      TypeError, ValueError: malformed factors.

    Example:
      >>> import htfjax as htf
      >>> ones = htf.identity_factors(htf.flat(2), 3, 3, 2.0, root="ones")
      >>> float(htf.theory.conserved_scale(ones))
      4.0
    """
    factors = with_constants(factors)
    squares = [jnp.max(s) for each in squared_norms(factors).values() for s in each]
    return jnp.max(jnp.stack([jnp.zeros((), layout_of(factors).dtype), *squares]))


def drift(before: Any, after: Any) -> jax.Array:
    """How far `conserved_quantities` moved, over the largest squared norm of the two.

    Zero for the exact flow, so this measures the integrator.

    Args:
      before, after: factors on one tree, two points of one trajectory.

    Returns:
      () array.

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
    if before.tree != after.tree:
        raise ValueError("`before` and `after` are factors of two different trees.")
    if first.widths != last.widths:
        raise ValueError("`before` and `after` are factors of different shapes.")
    if first.dtype != last.dtype:
        raise TypeError("`before` and `after` are factors of different dtypes.")
    one, other = conserved_quantities(before), conserved_quantities(after)
    moved = [jnp.max(jnp.abs(other[v] - x), initial=0) for v, x in one.items()]
    scale = jnp.maximum(conserved_scale(before), conserved_scale(after))
    largest = jnp.max(jnp.stack(moved))
    return largest / jnp.where(scale == 0, jnp.ones_like(scale), scale)
