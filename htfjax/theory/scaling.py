"""Homogeneity: what scaling the weights does, and weights scaled to a norm."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from htfjax import _checks
from htfjax.factors.factors import Factors, GroupedFactors
from htfjax.factors.layout import layout_of, with_constants
from htfjax.instruments.gram import scaled_inner_product
from htfjax.theory.vectors import interior_node

__all__ = ["degree", "normalize", "rescale_component"]


def degree(factors: Factors | GroupedFactors) -> int:
    """|T|, the number of trained matrices: W(a theta) = a^|T| W(theta).

    A root of ones and fixed nodes do not count. sigma_r^(v) scales by a^L, L its number
    of trained vectors; the gradient by a^(|T| - 1).

    Raises:
      TypeError, ValueError: malformed factors.

    Source: laws A2 and E5.

    Example:
      >>> import htfjax as htf, jax
      >>> htf.theory.degree(
      ...     htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0))
      7
    """
    return sum(layout_of(factors).trained)


def normalize(factors: Factors | GroupedFactors, norm: Any) -> Factors:
    """All trained matrices times one factor, so that ||W||_F = norm.

    The factor is (norm / ||W||)^(1/|T|), with ||W|| from Gram matrices in scaled
    arithmetic: no tensor is formed and nothing underflows. A zero tensor stays zero.

    Args:
      factors: any tree with a trained matrix.
      norm: the Frobenius norm wanted, zero or more; may be traced.

    Raises:
      TypeError, ValueError: malformed factors, a negative norm, nothing trained.

    Source: law A2 (homogeneity).

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0)
      >>> round(float(htf.squared_norm(htf.theory.normalize(factors, 2.0))), 4)
      4.0
    """
    factors = with_constants(factors)
    wanted = _checks.scalar("norm", norm, layout_of(factors).dtype, least=0)
    power = degree(factors)
    if not power:
        raise ValueError("`factors` has no trained matrix that could be scaled.")
    mantissa, exponent = scaled_inner_product(factors, factors)
    dtype = layout_of(factors).dtype
    zero = mantissa <= 0
    two = jnp.asarray(math.log(2), dtype)
    log_norm = (jnp.log(jnp.where(zero, 1, mantissa)) + exponent.astype(dtype) * two) / 2
    none = wanted == 0
    ratio = jnp.exp((jnp.log(jnp.where(none, 1, wanted)) - log_norm) / power)
    scale = jnp.where(none, 0, jnp.where(zero, 1, ratio))
    trained = layout_of(factors).trained
    weights = tuple(
        w * scale if t else w for w, t in zip(factors.weights, trained, strict=True)
    )
    return dataclasses.replace(factors, weights=weights)


def rescale_component(
    factors: Factors | GroupedFactors, node: int, component: int, scales: Sequence[Any]
) -> Factors:
    """The vectors of one local component times numbers whose product should be one.

    With prod scales = 1 (signs allowed) neither W nor sigma of this component changes,
    but norms at the parent and the children do: local component norms are no functions
    of the end tensor.

    Args:
      factors: any tree.
      node, component: which component; `component` between 0 and R_v - 1.
      scales: one number per vector, the node's own row first (unless the root is fixed
        to ones), then its children's columns.

    Raises:
      TypeError, ValueError: malformed factors, no such component, scales in the wrong
        number or, when visible, of a product that is not one.

    Source: law A3.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0)
      >>> other = htf.theory.rescale_component(factors, 6, 0, (4.0, 0.5, 0.5))
      >>> bool(htf.distance(factors, other) < 1e-5)
      True
    """
    factors = with_constants(factors)
    node = interior_node(factors.tree, node)
    width = layout_of(factors).widths[node]
    component = _checks.at_least("component", component, 0)
    if component >= width:
        raise ValueError(f"`component={component}`: node {node} has {width} of them.")
    weights = list(factors.weights)
    places = [k for k in (node, *factors.tree.children[node]) if weights[k] is not None]
    given = _checks.sequence("scales", scales, "numbers")
    if len(given) != len(places):
        raise ValueError(
            f"`scales` has {len(given)} numbers, component {component} of node {node} "
            f"has {len(places)} vectors: nodes {places}."
        )
    held = [
        _checks.scalar(f"scales[{i}]", scale, weights[0].dtype)
        for i, scale in enumerate(given)
    ]
    if all(map(_checks.concrete, given)):
        product = math.prod(float(s) for s in given)
        slack = 100 * float(jnp.finfo(weights[0].dtype).eps)
        if not abs(product - 1) <= slack:
            raise ValueError(f"`scales` multiply to {product}, expected one.")
    for k, scale in zip(places, held, strict=True):
        at = (component,) if k == node else (slice(None), component)
        weights[k] = weights[k].at[at].multiply(scale)
    return dataclasses.replace(factors, weights=tuple(weights))
