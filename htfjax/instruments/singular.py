"""Singular values and nuclear norms of matrices, twice differentiable in any precision.

A power of two is divided out first and multiplied back: squares of small values would
leave the range of float32. With A = U S V^T and B = U^T dA V, the singular vectors turn by

    dU = U P + (1 - U U^T) dA V / S,    dV = V Q + (1 - V V^T) dA^T U / S,
    (P + Q)_ij = (B_ij + B_ji) / (s_j - s_i),    (P - Q)_ij = (B_ij - B_ji) / (s_i + s_j).

Where two values agree to rounding, P + Q is left out: it mixes vectors of one value, which
no derivative of the sum of these values depends on. Where a value is zero, terms that
divide by it are left out. Nothing is infinite or NaN for finite matrices.

Mathematics: docs/mathematics/core-values.md.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from htfjax import _lapack, _numerics

NOISE = 32  # rounding of one decomposition, in eps: up to 15 measured
Decomposition = tuple[jax.Array, jax.Array, jax.Array]  # U (.., m, k), s (.., k), V
One = tuple[jax.Array]


def singular_values(matrix: jax.Array) -> jax.Array:
    """Singular values (..., k), descending, of one matrix or of a stack."""
    mantissas, exponents = _normalized(matrix)
    return _numerics.shifted(_values(mantissas), exponents[..., None])


def nuclear_norm(matrix: jax.Array, count: int) -> jax.Array:
    """Sum of the `count` largest singular values, (...); the rest is zero for ever.

    Its second derivatives exist wherever these values are positive, equal or not: none of
    their terms divides by a difference.
    """
    mantissas, exponents = _normalized(matrix)
    return _numerics.shifted(_nuclear(mantissas, count), exponents)


def _normalized(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    one = _numerics.normalized
    return one(matrix) if matrix.ndim == 2 else jax.vmap(one)(matrix)


# A rule of its own, so that values alone are found without vectors, which are several times
# as dear; only derivatives ask for these.
@jax.custom_jvp
def _values(matrix: jax.Array) -> jax.Array:
    return _lapack.singular_values(matrix)


@_values.defjvp
def _values_jvp(primals: One, tangents: One) -> tuple[jax.Array, jax.Array]:
    (matrix,), (change,) = primals, tangents
    left, values, right = decomposed(matrix)
    return values, jnp.sum(left * _matmul(change, right), axis=-2)


# Not by derivatives of the values: equal ones have no second derivatives, their sum has.
@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _nuclear(matrix: jax.Array, count: int) -> jax.Array:
    return jnp.sum(_values(matrix)[..., :count], axis=-1)


@_nuclear.defjvp
def _nuclear_jvp(count: int, primals: One, tangents: One) -> tuple[jax.Array, jax.Array]:
    (matrix,), (change,) = primals, tangents
    slope = _polar(matrix, count) * change
    return _nuclear(matrix, count), jnp.sum(slope, axis=(-2, -1))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _polar(matrix: jax.Array, count: int) -> jax.Array:
    """U V^T of the `count` largest values: the gradient of their sum."""
    left, _, right = decomposed(matrix)
    return _matmul(left[..., :count], _transposed(right[..., :count]))


@_polar.defjvp
def _polar_jvp(count: int, primals: One, tangents: One) -> tuple[jax.Array, jax.Array]:
    # d(U V^T) with P + Q cancelled by hand: what is left divides by sums s_i + s_j only.
    (matrix,), (change,) = primals, tangents
    left, values, right = (x[..., :count] for x in decomposed(matrix))
    inner = _matmul(_transposed(left), _matmul(change, right))
    turned = (inner - _transposed(inner)) * inverse(pairs(values, jnp.add), values)
    over = inverse(values, values)[..., None, :]
    above = (_matmul(change, right) - _matmul(left, inner)) * over
    beside = _matmul(_transposed(change), left) - _matmul(right, _transposed(inner))
    moved = _matmul(_matmul(left, turned) + above, _transposed(right))
    moved += _matmul(left, _transposed(beside * over))
    return _matmul(left, _transposed(right)), moved


@jax.custom_jvp
def decomposed(matrix: jax.Array) -> Decomposition:
    """U (..., m, k), s (..., k) and V (..., n, k) with A = U diag(s) V^T."""
    left, values, right = _lapack.svd(matrix)
    return left, values, _transposed(right)


@decomposed.defjvp
def _decomposed_jvp(primals: One, tangents: One) -> tuple[Decomposition, Decomposition]:
    (matrix,), (change,) = primals, tangents
    left, values, right = decomposed(matrix)
    over, up = _matmul(change, right), _matmul(_transposed(change), left)
    inner = _matmul(_transposed(left), over)
    flipped = _transposed(inner)
    even = (inner + flipped) * inverse(pairs(values, jnp.subtract), values)
    odd = (inner - flipped) * inverse(pairs(values, jnp.add), values)
    share = inverse(values, values)[..., None, :]
    moved = _matmul(left, (even + odd) / 2), _matmul(right, (even - odd) / 2)
    # U and V move out of their span only where they are not square.
    if matrix.shape[-2] > values.shape[-1]:
        moved = moved[0] + (over - _matmul(left, inner)) * share, moved[1]
    if matrix.shape[-1] > values.shape[-1]:
        moved = moved[0], moved[1] + (up - _matmul(right, flipped)) * share
    rates = jnp.diagonal(inner, axis1=-2, axis2=-1)
    return (left, values, right), (moved[0], rates, moved[1])


def pairs(values: jax.Array, combine: Callable[..., jax.Array]) -> jax.Array:
    """combine(s_j, s_i), (..., k, k)."""
    return combine(values[..., None, :], values[..., :, None])


def inverse(x: jax.Array, values: jax.Array) -> jax.Array:
    """1 / x; zero where |x| is no more than the rounding of the largest value."""
    least = NOISE * float(jnp.finfo(x.dtype).eps) * jax.lax.stop_gradient(values[..., 0])
    least = least.reshape(least.shape + (1,) * (x.ndim - least.ndim))
    lost = jnp.abs(x) <= least
    return jnp.where(lost, jnp.zeros_like(x), 1 / jnp.where(lost, jnp.ones_like(x), x))


def _transposed(matrix: jax.Array) -> jax.Array:
    return jnp.swapaxes(matrix, -1, -2)


def _matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right, precision="highest")
