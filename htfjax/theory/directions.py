"""The directions of local components in tensor space, and the forces along them."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax.contraction import end_tensor
from htfjax.factors.factors import Factors, GroupedFactors
from htfjax.factors.layout import layout_of, with_constants
from htfjax.instruments.local_components import local_component_norms
from htfjax.theory.vectors import interior_node

__all__ = ["component_forces", "direction_tensors", "with_unit_vectors"]


def direction_tensors(factors: Factors | GroupedFactors, node: int) -> jax.Array:
    """C_r^(v): the end tensor with component r normalized and the others set to zero.

    Every trained vector of LC(v, r) is divided by its norm; W = sum_r sigma_r C_r at
    every interior node (law A5). A component with a zero vector has no direction: C is
    defined as zero there, and so are its derivatives. C is no unit tensor:
    ||C_r|| <= prod of ||W_u|| over the nodes u outside v and its children (law A7).

    Args:
      factors: any tree; the tensor is dense, so of small order.
      node: id of an interior node.

    Returns:
      (R_v, D_0, ..., D_{N-1}).

    Raises:
      TypeError, ValueError: malformed factors, a leaf or no node.

    Source: arXiv:2201.11729, theorem on the growth of local component norms.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 4, 1.0)
      >>> htf.theory.direction_tensors(factors, 2).shape
      (4, 2, 3)
    """
    factors = with_constants(factors)
    node = interior_node(factors.tree, node)
    unit = with_unit_vectors(factors, node)

    def alone(scales: jax.Array) -> jax.Array:
        return end_tensor(_scaled_components(unit, node, scales))

    layout = layout_of(factors)
    return jax.vmap(alone)(jnp.eye(layout.widths[node], dtype=layout.dtype))


def component_forces(
    factors: Factors, loss: Callable[[Factors], jax.Array]
) -> dict[int, jax.Array]:
    """gamma_r^(v) = <-grad L(W), C_r^(v)>, what drives each local component.

    Read off the loss of the factors without a tensor: with unit vectors at v and
    component r scaled by a_r, d loss / d a_r at a = sigma is <grad L(W), C_r>. Zero for a
    component with a zero vector, as its direction is.

    Args:
      factors: any tree.
      loss: scalar function of the factors that depends on their end tensor alone.

    Returns:
      node id -> (R_v,) for every interior node.

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
    factors = with_constants(factors)
    loss = _checks.scalar_valued("loss", _checks.function("loss", loss))
    norms = local_component_norms(factors)
    forces = {}
    for v in factors.tree.interior:
        unit = with_unit_vectors(factors, v)

        def value(scales: jax.Array, unit: Factors = unit, v: int = v) -> jax.Array:
            return loss(_scaled_components(unit, v, scales))

        forces[v] = -jax.grad(value)(norms[v])
    return forces


def with_unit_vectors(factors: Factors, node: int) -> Factors:
    """The trained vectors of all components of `node` divided by their norms.

    All vectors of a component with a zero vector become zero.
    """
    tree, trained = factors.tree, layout_of(factors).trained
    weights = list(factors.weights)
    norms = {}
    for k in (node, *tree.children[node]):
        if trained[k]:
            norms[k] = _numerics.safe_norm(weights[k], axis=1 if k == node else 0)
    if not norms:
        return factors
    alive = jnp.all(jnp.stack(list(norms.values())) > 0, axis=0)
    for k, norm in norms.items():
        scale = jnp.where(alive, 1 / jnp.where(alive, norm, 1), 0)
        weights[k] = weights[k] * (scale[:, None] if k == node else scale[None, :])
    return dataclasses.replace(factors, weights=tuple(weights))


def _scaled_components(factors: Factors, node: int, scales: jax.Array) -> Factors:
    """Component r of `node` times scales[r], by its own row or its first child's column.

    The matrix that carries the scales is not frozen any more: a derivative with respect
    to them must flow, whether the node is fixed or not.
    """
    weights = list(factors.weights)
    carrier = node if weights[node] is not None else factors.tree.children[node][0]
    along = scales[:, None] if carrier == node else scales[None, :]
    weights[carrier] = weights[carrier] * along
    fixed = tuple(k for k in factors.fixed if k != carrier)
    return dataclasses.replace(factors, weights=tuple(weights), fixed=fixed)
