"""Directions of local components in tensor space, and the forces along them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax._types import Array, Float
from htfjax.contraction.end_tensor import contracted
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout
from htfjax.factors.node_values import by_node
from htfjax.factors.stacks import Stacks, closed, opened
from htfjax.instruments.local_components import vector_norms
from htfjax.theory.vectors import Place, carriers, interior_node, member, with_member


def direction_tensors(factors: AnyFactors, node: int) -> Float[Array, "R_v ..."]:
    """C_r^(v): the end tensor with component r normalized and the others set to zero.

    Every trained vector of LC(v, r) is divided by its norm; W = sum_r sigma_r C_r at
    every interior node (law A5). A component with a zero vector has no direction: C is
    defined as zero there, and so are its derivatives. C is not a unit tensor:
    ||C_r|| <= prod of ||W_u|| over the nodes u outside v and its children (law A7).

    Args:
      factors: any tree; the tensor is dense, so of small order.
      node: id of an interior node.

    Returns:
      (R_v, D_0, ..., D_{N-1}).

    Raises:
      TypeError, ValueError: malformed factors, a leaf, or an id that is not a node.

    Source: arXiv:2201.11729, theorem on the growth of local component norms.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 4, 1.0)
      >>> htf.theory.direction_tensors(factors, 2).shape
      (4, 2, 3)
    """
    layout, stacks = opened(factors)
    node = interior_node(layout.tree, node)
    g, place = layout.homes[node]
    unit = with_unit_vectors(layout, stacks, g, place)

    def alone(scales: jax.Array) -> jax.Array:
        return contracted(layout, _scaled_components(layout, unit, g, place, scales))

    return jax.vmap(alone)(jnp.eye(layout.widths[node], dtype=layout.dtype))


def component_forces(
    factors: AnyFactors, loss: Callable[[Any], jax.Array]
) -> Mapping[int, Float[Array, "R_v"]]:
    """gamma_r^(v) = <-grad L(W), C_r^(v)>, what drives each local component.

    Read off the loss of the factors without a tensor: with unit vectors at v and
    component r scaled by a_r, d loss / d a_r at a = sigma is <grad L(W), C_r>. Zero for a
    component with a zero vector, as its direction is.

    Args:
      factors: any tree.
      loss: scalar function of the factors that depends on their end tensor alone.

    Returns:
      node id -> forces, for every interior node.

    Raises:
      TypeError, ValueError: malformed factors, a loss that is not a scalar function.

    Source: arXiv:2201.11729, theorem on the growth of local component norms; law E2.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 4, 1.0)
      >>> loss = lambda f: htf.end_tensor(f).sum()
      >>> htf.theory.component_forces(factors, loss)[2].shape
      (4,)
    """
    layout, stacks = opened(factors)
    return by_node(layout, forces(layout, stacks, loss))


def forces(
    layout: Layout, stacks: Stacks, loss: Callable[[Any], jax.Array]
) -> dict[int, jax.Array]:
    """`component_forces` of opened factors: inner group -> (G, R_v)."""
    loss = _checks.scalar_valued("loss", _checks.function("loss", loss))
    norms = vector_norms(layout, stacks)

    def force(g: int, place: Place, norms: jax.Array) -> jax.Array:
        unit = with_unit_vectors(layout, stacks, g, place)
        carrier, _ = carriers(layout, g, place)[0]
        # A derivative with respect to the scales must flow, whether what carries them is
        # fixed or not.
        still = set(layout.groups[carrier])
        fixed = tuple(k for k in layout.fixed if k not in still)
        free = dataclasses.replace(layout, fixed=fixed)

        def value(scales: jax.Array) -> jax.Array:
            scaled = _scaled_components(layout, unit, g, place, scales)
            return loss(closed(free, scaled))

        return -jax.grad(value)(norms)

    pulls = {}
    for g, xs in norms.items():
        sizes = _numerics.product(xs)
        if len(sizes) == 1:
            pulls[g] = force(g, 0, sizes[0])[None]
            continue
        places = jnp.arange(len(sizes))
        pulls[g] = jax.lax.map(lambda x, g=g: force(g, *x), (places, sizes))
    return pulls


def with_unit_vectors(layout: Layout, stacks: Stacks, g: int, place: Place) -> Stacks:
    """The trained vectors of all components of one node divided by their norms.

    All vectors of a component with a zero vector become zero.
    """
    moving = [
        (h, at, int(not i and h == g))
        for i, (h, at) in enumerate(carriers(layout, g, place))
        if layout.trained[layout.groups[h][0]]
    ]
    if not moving:
        return stacks
    changed = list(stacks)
    norms = [_numerics.safe_norm(member(changed[h], at), axis=row) for h, at, row in moving]
    alive = jnp.all(jnp.stack(norms) > 0, axis=0)
    for (h, at, row), norm in zip(moving, norms, strict=True):
        scale = jnp.where(alive, 1 / jnp.where(alive, norm, 1), 0)
        along = scale[:, None] if row else scale[None, :]
        changed[h] = with_member(changed[h], at, member(changed[h], at) * along)
    return tuple(changed)


def _scaled_components(
    layout: Layout, stacks: Stacks, g: int, place: Place, scales: jax.Array
) -> Stacks:
    """Component r of a node times scales[r], by its own row or its first child's column."""
    h, at = carriers(layout, g, place)[0]
    along = scales[:, None] if h == g else scales[None, :]
    changed = with_member(stacks[h], at, member(stacks[h], at) * along)
    return *stacks[:h], changed, *stacks[h + 1 :]
