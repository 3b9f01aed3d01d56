"""Homogeneity: what scaling the weights does, and weights scaled to a norm."""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from htfjax import _checks
from htfjax._types import ArrayLike
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Kind, layout_of
from htfjax.factors.stacks import alike, closed, opened
from htfjax.instruments.gram import scaled_inner_product
from htfjax.theory.vectors import carriers, interior_node


def degree(factors: AnyFactors) -> int:
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


def normalize(factors: Kind, norm: ArrayLike) -> Kind:
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
    layout, stacks = opened(factors)
    dtype = layout.dtype
    wanted = _checks.scalar("norm", norm, dtype, least=0)
    power = sum(layout.trained)
    if not power:
        raise ValueError("`factors` has no trained matrix that could be scaled.")
    (pair,) = alike(factors)
    mantissa, exponent = scaled_inner_product(pair, pair)
    zero = mantissa <= 0
    two = jnp.asarray(math.log(2), dtype)
    log_norm = (jnp.log(jnp.where(zero, 1, mantissa)) + exponent.astype(dtype) * two) / 2
    none = wanted == 0
    ratio = jnp.exp((jnp.log(jnp.where(none, 1, wanted)) - log_norm) / power)
    scale = jnp.where(none, 0, jnp.where(zero, 1, ratio))
    pairs = zip(layout.groups, stacks, strict=True)
    scaled = [x * scale if layout.trained[nodes[0]] else x for nodes, x in pairs]
    return closed(layout, scaled)


def rescale_component(
    factors: Kind, node: int, component: int, scales: Sequence[ArrayLike]
) -> Kind:
    """The vectors of one local component times numbers whose product should be one.

    With prod scales = 1 (signs allowed) neither W nor sigma of this component changes,
    but norms at the parent and the children do: local component norms are not functions
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
    layout, stacks = opened(factors)
    node = interior_node(layout.tree, node)
    width = layout.widths[node]
    component = _checks.at_least("component", component, 0)
    if component >= width:
        raise ValueError(f"`component={component}`: node {node} has {width} of them.")
    homes = carriers(layout, *layout.homes[node])
    places = [layout.groups[h][int(at)] for h, at in homes]
    given = _checks.sequence("scales", scales, "numbers")
    if len(given) != len(places):
        raise ValueError(
            f"`scales` has {len(given)} numbers, component {component} of node {node} "
            f"has {len(places)} vectors: nodes {places}."
        )
    held = [
        _checks.scalar(f"scales[{i}]", scale, layout.dtype) for i, scale in enumerate(given)
    ]
    if all(map(_checks.concrete, given)):
        product = math.prod(float(s) for s in given)
        slack = 100 * float(jnp.finfo(layout.dtype).eps)
        if not abs(product - 1) <= slack:
            raise ValueError(f"`scales` multiply to {product}, expected one.")
    changed = list(stacks)
    for k, (h, place), scale in zip(places, homes, held, strict=True):
        at = (place, component) if k == node else (place, slice(None), component)
        changed[h] = changed[h].at[at].multiply(scale)
    return closed(layout, changed)
