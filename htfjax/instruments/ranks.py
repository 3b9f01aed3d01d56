"""Ranks and entropies of singular values, and the matricizations that have them."""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks, _numerics
from htfjax._types import Array, ArrayLike, Float, Int, Numbers
from htfjax.factors.factors import AnyFactors
from htfjax.factors.node_values import by_node
from htfjax.factors.stacks import opened
from htfjax.instruments import singular
from htfjax.instruments.rank_bound import check_modes


def matricize(tensor: Numbers, row_modes: Sequence[int]) -> Float[Array, "P_rows P_rest"]:
    """The matricization whose rows are indexed by `row_modes`.

    Args:
      tensor: (D_0, ..., D_{N-1}).
      row_modes: distinct modes, in the order in which they index rows; columns are the
        remaining modes, ascending. Both in C order.

    Returns:
      (product of the rows' dimensions, product of the others).

    Raises:
      TypeError: masked values, or not numbers.
      ValueError: a mode that the tensor does not have, or a repeated one.

    Source: arXiv:2201.11729, section 2 (matricization).

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> htf.matricize(jnp.zeros((2, 3, 4)), (0, 2)).shape
      (8, 3)
    """
    is_key = isinstance(tensor, jax.Array) and jnp.issubdtype(
        tensor.dtype, jax.dtypes.extended
    )
    if is_key or not isinstance(tensor, jax.Array):
        tensor = jnp.asarray(_checks.array("tensor", tensor))
    rows = check_modes("row_modes", row_modes, tensor.ndim)
    columns = [mode for mode in range(tensor.ndim) if mode not in rows]
    height = math.prod(tensor.shape[mode] for mode in rows)
    return jnp.transpose(tensor, (*rows, *columns)).reshape(height, -1)


def weight_singular_values(factors: AnyFactors) -> Mapping[int, Float[Array, "K"]]:
    """Singular values of every weight matrix, descending: the layers of a deep product.

    Returns:
      node id -> as many values as the smaller dimension of its matrix.

    Raises:
      TypeError, ValueError: malformed factors.

    Example:
      >>> import htfjax as htf
      >>> tree = htf.ModeTree.from_nested(((0,), 1))
      >>> deep = htf.identity_factors(tree, 3, 3, 0.5, root="ones")
      >>> htf.weight_singular_values(deep)[2].tolist()
      [0.5, 0.5, 0.5]
    """
    layout, stacks = opened(factors)
    return by_node(
        layout,
        {
            g: singular.singular_values(stack)
            for g, stack in enumerate(stacks)
            if stack is not None
        },
    )


def effective_rank(s: Numbers, floor: Numbers | None = None) -> Float[Array, "..."]:
    """exp of the entropy of s / sum s: between 1 and the rank, equal to it if s is flat.

    Args:
      s: (..., K) singular values, any scale.
      floor: values at or below `floor` times the largest are cut first, since noise
        counts: by default K times the dtype's epsilon.

    Returns:
      (...,); 0 for all zeros, where derivatives are finite; NaN where s is not finite.

    Raises:
      TypeError: values that are not real numbers. ValueError: no values, negative ones, a
        floor that is negative or not finite.

    Source: Roy and Vetterli 2007; law D7.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> round(float(htf.effective_rank(jnp.array([2.0, 2.0, 0.0]))), 5)
      2.0
    """
    s = _cut(*_checked(s, "floor", floor))
    entropy, zero = _entropy(s)
    return jnp.where(zero, jnp.zeros_like(entropy), jnp.exp(entropy))


def entanglement_entropy(s: Numbers, floor: Numbers | None = None) -> Float[Array, "..."]:
    """Entropy of s^2 / sum s^2 in nats: 0 for rank one, log K for K equal values.

    Args, returns, raises: as `effective_rank`, without the exponential.

    Source: Schmidt decomposition across the matricization's two sides.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> round(float(htf.entanglement_entropy(jnp.array([3.0, 3.0]))), 5)
      0.69315
    """
    return _entropy(jnp.square(_cut(*_checked(s, "floor", floor))))[0]


def numerical_rank(s: Numbers, rtol: Numbers | None = None) -> Int[Array, "..."]:
    """Number of singular values above `rtol` times the largest, by default K epsilon.

    Args:
      s: (..., K) singular values.
      rtol: a number, or an array that broadcasts against s.

    Returns:
      (...,) int32; -1 where s is not finite.

    Raises:
      TypeError, ValueError: as `effective_rank`.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> int(htf.numerical_rank(jnp.array([3.0, 1e-3, 1e-9]), 1e-6))
      2
    """
    s, rtol = _checked(s, "rtol", rtol)
    return count_above(s, rtol)


def count_above(s: jax.Array, rtol: ArrayLike | None) -> jax.Array:
    """`numerical_rank` of values that are known to be singular values."""
    rank = jnp.sum(_cut(s, rtol) > 0, axis=-1, dtype=jnp.int32)
    return jnp.where(jnp.all(jnp.isfinite(s), axis=-1), rank, jnp.int32(-1))


def rank_within(s: Numbers, error: Numbers) -> Int[Array, "..."]:
    """The least rank of a matrix within Frobenius distance `error` (Eckart-Young).

    The smallest r with sqrt(sum_{k>r} s_k^2) <= error.

    Args:
      s: (..., K) singular values, descending.
      error: zero or more, in the units of s.

    Returns:
      (...,) int32; -1 where s is not finite.

    Raises:
      TypeError, ValueError: as `effective_rank`; values that are not descending.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> int(htf.rank_within(jnp.array([5.0, 0.4, 0.3]), 0.6))
      1
    """
    s, _ = _checked(s, "error", None)
    error = _checks.tolerance("error", error, s.dtype)
    if _checks.concrete(s) and np.any(np.asarray(s)[..., 1:] > np.asarray(s)[..., :-1]):
        raise ValueError(f"`s` must be descending, got {_checks.spell(s)}.")
    largest = _largest(s)
    scale = jnp.where(largest == 0, jnp.ones_like(largest), largest)
    scaled = s / scale
    tails = jnp.sqrt(jnp.cumsum(jnp.square(scaled[..., ::-1]), axis=-1))
    above = tails > error / scale
    rank = jnp.sum(above, axis=-1, dtype=jnp.int32)
    return jnp.where(jnp.all(jnp.isfinite(s), axis=-1), rank, jnp.int32(-1))


def _checked(values: object, name: str, cut: object) -> tuple[jax.Array, jax.Array | None]:
    """Singular values and what is cut off them, checked where they can be seen."""
    s = _checks.floating("s", values)
    if not s.ndim or not s.shape[-1]:
        raise ValueError(f"`s` has shape {s.shape}, expected (..., K) singular values.")
    if _checks.concrete(s) and np.any(np.asarray(s) < 0):
        raise ValueError(
            f"`s` has negative values, got {_checks.spell(s)}; singular values are zero or "
            "more."
        )
    return s, None if cut is None else _checks.tolerance(name, cut, s.dtype)


def _cut(s: jax.Array, floor: ArrayLike | None) -> jax.Array:
    """s over its largest value, zeros in place of what is at or below `floor`.

    The scale keeps squares within range. What is not finite becomes NaN, not zero: a run
    that diverged has no rank. A power of two goes first: second derivatives of a quotient
    divide by the third power of its divisor.
    """
    rows = s.reshape(-1, s.shape[-1])
    s = jax.vmap(_numerics.normalized)(rows)[0].reshape(s.shape)
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
