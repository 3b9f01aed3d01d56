"""The end tensor read as a matrix: its singular values, ranks and entropies."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax import factors as _factors
from htfjax.contraction import end_tensor
from htfjax.factors import Factors

__all__ = [
    "effective_rank",
    "entanglement_entropy",
    "hierarchical_rank",
    "matricize",
    "nuclear_norm",
    "numerical_rank",
    "rank_within",
    "singular_values",
    "weight_singular_values",
]

METHODS = ("auto", "dense")


def matricize(tensor: jax.Array, row_modes: Sequence[int]) -> jax.Array:
    """The matricization whose rows are indexed by `row_modes`.

    Args:
      tensor: (D_0, ..., D_{N-1}).
      row_modes: distinct modes, in the order in which they index rows; columns are the
        remaining modes, ascending. Both in C order.

    Returns:
      (product of the rows' dimensions, product of the others).

    Raises:
      ValueError: a mode that the tensor does not have, or a repeated one.

    Source: arXiv:2201.11729, section 2 (matricization).

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> htf.matricize(jnp.zeros((2, 3, 4)), (0, 2)).shape
      (8, 3)
    """
    rows = _check_modes("row_modes", row_modes, tensor.ndim)
    columns = [mode for mode in range(tensor.ndim) if mode not in rows]
    height = math.prod(tensor.shape[mode] for mode in rows)
    return jnp.transpose(tensor, (*rows, *columns)).reshape(height, -1)


def singular_values(
    factors: Factors, node_or_modes: int | Sequence[int], method: str = "auto"
) -> jax.Array:
    """Singular values of a matricization of the end tensor, descending.

    Args:
      factors: any tree.
      node_or_modes: a node id (its modes are the rows), or the rows' modes, which need
        not be those of a node.
      method: "auto" or "dense" (contract the whole tensor, then decompose).

    Returns:
      For node v, min(P_v, P_rest, R_v, R_parent(v)) values: no more can be nonzero
      (law D3). For a list of modes, min(P_rows, P_rest).

    Raises:
      TypeError, ValueError: malformed factors, an unknown node, mode or method.

    Source: arXiv:2201.11729, hierarchical tensor rank; laws D1-D3.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 4, 3, 1.0)
      >>> htf.singular_values(factors, 4).shape, htf.singular_values(factors, (0, 2)).shape
      ((3,), (16,))
    """
    _factors.check(factors)
    _checks.one_of("method", method, METHODS)
    modes, count = _rows_and_rank(factors, node_or_modes)
    matrix = matricize(end_tensor(factors), modes)
    return jnp.linalg.svd(matrix, compute_uv=False)[:count]


def weight_singular_values(factors: Factors) -> dict[int, jax.Array]:
    """Singular values of every weight matrix, descending: the layers of a deep product.

    Returns:
      node id -> (min of its matrix's dimensions,).

    Raises:
      TypeError, ValueError: malformed factors.

    Example:
      >>> import htfjax as htf
      >>> tree = htf.ModeTree.from_nested(((0,), 1))
      >>> deep = htf.identity_factors(tree, 3, 3, 0.5, root="ones")
      >>> htf.weight_singular_values(deep)[2].tolist()
      [0.5, 0.5, 0.5]
    """
    factors = _factors.with_constants(factors)
    return {
        k: jnp.linalg.svd(weight, compute_uv=False)
        for k, weight in enumerate(factors.weights)
        if weight is not None
    }


def nuclear_norm(factors: Factors, node_or_modes: int | Sequence[int]) -> jax.Array:
    """Sum of the singular values of a matricization, ().

    Args, raises: as `singular_values`.

    Example:
      >>> import htfjax as htf
      >>> deep = htf.identity_factors(htf.flat(2), 3, 3, 1.0, root="ones")
      >>> float(htf.nuclear_norm(deep, (0,)))
      3.0
    """
    return jnp.sum(singular_values(factors, node_or_modes))


def effective_rank(s: jax.Array, floor: float | None = None) -> jax.Array:
    """exp of the entropy of s / sum s: between 1 and the rank, equal to it if s is flat.

    Args:
      s: (..., K) singular values, any scale.
      floor: values at or below `floor` times the largest are cut first, since noise
        counts: by default K times the dtype's epsilon.

    Returns:
      (...,); 0 for all zeros, where derivatives are finite; NaN where s is not finite.

    Source: Roy and Vetterli 2007; law D7.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> round(float(htf.effective_rank(jnp.array([2.0, 2.0, 0.0]))), 5)
      2.0
    """
    s = _cut(s, floor)
    entropy, zero = _entropy(s)
    return jnp.where(zero, jnp.zeros_like(entropy), jnp.exp(entropy))


def entanglement_entropy(s: jax.Array, floor: float | None = None) -> jax.Array:
    """Entropy of s^2 / sum s^2 in nats: 0 for rank one, log K for K equal values.

    Args, returns: as `effective_rank`, without the exponential.

    Source: Schmidt decomposition across the matricization's two sides.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> round(float(htf.entanglement_entropy(jnp.array([3.0, 3.0]))), 5)
      0.69315
    """
    return _entropy(jnp.square(_cut(s, floor)))[0]


def numerical_rank(s: jax.Array, rtol: float | None = None) -> jax.Array:
    """How many singular values exceed `rtol` times the largest, by default K epsilon.

    Args:
      s: (..., K) singular values.

    Returns:
      (...,) int32; -1 where s is not finite.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> int(htf.numerical_rank(jnp.array([3.0, 1e-3, 1e-9]), 1e-6))
      2
    """
    rank = jnp.sum(_cut(s, rtol) > 0, axis=-1, dtype=jnp.int32)
    return jnp.where(jnp.all(jnp.isfinite(s), axis=-1), rank, jnp.int32(-1))


def rank_within(s: jax.Array, error: float | jax.Array) -> jax.Array:
    """The least rank of a matrix within Frobenius distance `error` (Eckart-Young).

    The smallest r with sqrt(sum_{k>r} s_k^2) <= error.

    Args:
      s: (..., K) singular values, descending.
      error: zero or more, in the units of s.

    Returns:
      (...,) int32; -1 where s is not finite.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> int(htf.rank_within(jnp.array([5.0, 0.4, 0.3]), 0.6))
      1
    """
    s = jnp.asarray(s)
    largest = _largest(s)
    scale = jnp.where(largest == 0, jnp.ones_like(largest), largest)
    scaled = s / scale
    tails = jnp.sqrt(jnp.cumsum(jnp.square(scaled[..., ::-1]), axis=-1))
    above = tails > jnp.asarray(error, s.dtype) / scale
    rank = jnp.sum(above, axis=-1, dtype=jnp.int32)
    return jnp.where(jnp.all(jnp.isfinite(s), axis=-1), rank, jnp.int32(-1))


def hierarchical_rank(factors: Factors, rtol: float | None = None) -> dict[int, jax.Array]:
    """Numerical rank of the end tensor's matricization by every node but the root.

    Returns:
      node id -> () int32.

    Raises:
      TypeError, ValueError: malformed factors, or a tensor too large to contract.

    Source: arXiv:2201.11729, hierarchical tensor rank (THEORY 1.5).

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 4, 3, 1.0)
      >>> int(htf.hierarchical_rank(factors, 1e-4)[4])
      3
    """
    _factors.check(factors)
    return {
        v: numerical_rank(singular_values(factors, v), rtol)
        for v in range(factors.tree.root)
    }


def _rows_and_rank(
    factors: Factors, node_or_modes: int | Sequence[int]
) -> tuple[tuple[int, ...], int]:
    """The rows' modes and how many singular values to return."""
    tree, rows = factors.tree, _factors.widths(factors)
    bounds = []
    node_or_modes = _checks.as_sequence(node_or_modes)
    if isinstance(node_or_modes, Sequence):
        modes = _check_modes("node_or_modes", node_or_modes, tree.order)
    else:
        node = _checks.at_least("node_or_modes", node_or_modes, 0)
        if node > tree.root:
            raise ValueError(
                f"`node_or_modes={node}` is no node of the tree; nodes are "
                f"0..{tree.root}, a mode set is a tuple."
            )
        modes, parent = tree.modes[node], tree.parent[node]
        bounds = [rows[node], 1 if parent is None else rows[parent]]
    inside = math.prod(rows[mode] for mode in modes)
    outside = math.prod(rows[m] for m in range(tree.order) if m not in modes)
    return modes, min(inside, outside, *bounds)


def _check_modes(name: str, modes: Sequence[int], order: int) -> tuple[int, ...]:
    if not isinstance(_checks.as_sequence(modes), Sequence):
        raise TypeError(f"`{name}` must be a sequence of modes, got {modes!r}.")
    found = tuple(_checks.at_least(name, mode, 0) for mode in _checks.as_sequence(modes))
    if len(set(found)) != len(found) or any(mode >= order for mode in found):
        raise ValueError(
            f"`{name}={found}` must be distinct modes of a tensor of order {order}, "
            f"each between 0 and {order - 1}."
        )
    return found


def _cut(s: jax.Array, floor: Any) -> jax.Array:
    """s over its largest value, zeros in place of what is at or below `floor`.

    The scale keeps squares within range. What is not finite becomes NaN, not zero: a run
    that diverged has no rank.
    """
    s = jnp.asarray(s)
    if floor is None:
        floor = s.shape[-1] * jnp.finfo(s.dtype).eps
    largest = _largest(s)
    scaled = s / jnp.where(largest == 0, jnp.ones_like(largest), largest)
    return jnp.where(scaled <= jnp.asarray(floor, s.dtype), jnp.zeros_like(s), scaled)


def _largest(s: jax.Array) -> jax.Array:
    return jnp.max(s, axis=-1, keepdims=True)


def _entropy(weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Entropy of weights / sum, and where the sum is zero (entropy 0 there)."""
    total = jnp.sum(weights, axis=-1, keepdims=True)
    zero = total == 0
    p = weights / jnp.where(zero, jnp.ones_like(total), total)
    return -jnp.sum(_numerics.xlogx(p), axis=-1), zero[..., 0]
