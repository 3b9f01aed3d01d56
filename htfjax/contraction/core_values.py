"""Singular values of the small matrices that the sweeps leave, and their accuracy."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _numerics
from htfjax.contraction.gram import GramPair
from htfjax.contraction.sweeps import Core

__all__ = ["NOISE", "floor", "gram_accuracy", "values_of_cores", "values_of_grams"]

NOISE = 32  # rounding of one decomposition, in eps: up to 15 measured
Values = tuple[jax.Array, jax.Array]  # (G, K) descending, (G,) accuracy


@jax.jit
def values_of_cores(core: Core) -> Values:
    """Singular values of 2^e L K^T, of a stack in one call of LAPACK."""
    return jax.vmap(_values_of_core)(core)


@jax.jit
def values_of_grams(pair: GramPair) -> Values:
    """Square roots of the eigenvalues of 2^e M C; M is the identity where it is None."""
    inner, outer, exponents = pair
    values = _root_eigenvalues(inner, outer)
    accuracy = jax.vmap(_accuracy_of_grams)(inner, outer, values)
    odd = exponents % jnp.int32(2)
    more = jnp.where(odd == 1, math.sqrt(2.0), 1.0).astype(values.dtype)
    half = (exponents - odd) // jnp.int32(2)
    return _numerics.shifted(values * more[:, None], half[:, None]), accuracy


def _values_of_core(core: Core) -> tuple[jax.Array, jax.Array]:
    """Singular values of 2^e L K^T."""
    left, right, exponent = core
    product = jnp.matmul(left, right.T, precision="highest")
    values = jnp.linalg.svd(product, compute_uv=False)
    # What each component adds, whatever its columns' scales in L and in K.
    size = jnp.sum(_column_norms(left) * _column_norms(right))
    return _numerics.shifted(values, exponent), floor(values, size)


def _accuracy_of_grams(
    inner: jax.Array | None, outer: jax.Array, values: jax.Array
) -> jax.Array:
    """What roots lose, and more where factors cancel, ()."""
    size = jnp.sqrt(_largest(outer))
    if inner is not None:
        both = jnp.sqrt(jnp.maximum(jnp.diagonal(inner), 0))
        both *= jnp.sqrt(jnp.maximum(jnp.diagonal(outer), 0))
        size = jnp.minimum(size * jnp.sqrt(_largest(inner)), jnp.sum(both))
    lost = jnp.maximum(jnp.asarray(1, values.dtype), _ratio(size, values[0]))
    reached = jnp.asarray(gram_accuracy(outer.shape[0], values.dtype), values.dtype)
    return jax.lax.stop_gradient(reached * lost)


def gram_accuracy(width: int, dtype: Any) -> float:
    """(4 + sqrt(R)) sqrt(eps): half the digits, in matrices of size R."""
    return (4 + math.sqrt(width)) * math.sqrt(float(jnp.finfo(dtype).eps))


def floor(values: jax.Array, size: jax.Array | None = None) -> jax.Array:
    """NOISE eps of the dtype, or eps times the size of what cancelled if that is more."""
    lost = jnp.asarray(0, values.dtype) if size is None else _ratio(size, values[0])
    eps = jnp.asarray(jnp.finfo(values.dtype).eps, values.dtype)
    return jax.lax.stop_gradient(eps * jnp.maximum(jnp.asarray(NOISE, values.dtype), lost))


@jax.custom_jvp
def _root_eigenvalues(inner: jax.Array | None, outer: jax.Array) -> jax.Array:
    """Roots of the eigenvalues of M C, descending, for positive semidefinite stacks.

    They are those of S^T C S with M = S S^T, whose singular values they are too: LAPACK
    finds these without vectors. Derivatives by perturbation theory; a value that is only
    rounding noise gets derivative zero.
    """
    middle = outer
    if inner is not None:
        root = _root(inner)
        middle = _matmul(_transposed(root), _matmul(outer, root))
    return jnp.sqrt(jnp.linalg.svd(middle, compute_uv=False))


@_root_eigenvalues.defjvp
def _root_eigenvalues_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (inner, outer), (d_inner, d_outer) = primals, tangents
    middle, root = outer, None
    if inner is not None:
        root = _spectral_root(inner)
        middle = _matmul(_transposed(root), _matmul(outer, root))
    squares, vectors = jnp.linalg.eigh(middle)
    squares, vectors = jnp.maximum(squares, 0)[:, ::-1], vectors[:, :, ::-1]
    values = jnp.sqrt(squares)
    eps = jnp.asarray(jnp.finfo(values.dtype).eps, values.dtype)
    noise = squares <= 8 * eps * squares[:, :1]
    safe = jnp.where(noise, jnp.ones_like(values), values)
    if root is not None:
        vectors = _matmul(root, vectors)
    change = jnp.sum(vectors * _matmul(d_outer, vectors), axis=1)
    if root is not None:
        dual = _matmul(outer, vectors)  # C S z
        change += jnp.sum(dual * _matmul(d_inner, dual), axis=1) / jnp.square(safe)
    return values, jnp.where(noise, jnp.zeros_like(values), change / (2 * safe))


def _root(matrices: jax.Array) -> jax.Array:
    """S with S S^T = M, by Cholesky: R eps of each column's own square is added to it.

    Where that is not enough for one of the stack, which rounding may have left slightly
    indefinite, all are taken from eigenvectors instead, at several times the cost.
    """
    scales = jnp.sqrt(jnp.diagonal(matrices, axis1=1, axis2=2))
    safe = jnp.where(scales == 0, jnp.ones_like(scales), scales)
    angles = matrices / (safe[:, :, None] * safe[:, None, :])
    width = matrices.shape[-1]
    added = width * jnp.finfo(matrices.dtype).eps * jnp.eye(width, dtype=matrices.dtype)
    triangular = jnp.linalg.cholesky(angles + added[None])
    return jax.lax.cond(
        jnp.all(jnp.isfinite(triangular)),
        lambda: scales[:, :, None] * triangular,
        lambda: _spectral_root(matrices),
    )


def _spectral_root(matrices: jax.Array) -> jax.Array:
    weights, basis = jnp.linalg.eigh(matrices)
    return basis * jnp.sqrt(jnp.maximum(weights, 0))[:, None, :]


def _transposed(stack: jax.Array) -> jax.Array:
    return jnp.swapaxes(stack, 1, 2)


def _matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right, precision="highest")


def _largest(matrix: jax.Array) -> jax.Array:
    """An upper bound of the largest eigenvalue of a positive semidefinite matrix."""
    return jnp.minimum(jnp.trace(matrix), _frobenius(matrix))


def _frobenius(matrix: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(jax.lax.stop_gradient(matrix))))


def _column_norms(matrix: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(jax.lax.stop_gradient(matrix)), axis=0))


def _ratio(size: jax.Array, value: jax.Array) -> jax.Array:
    """size / value; zero where the value is."""
    zero = value == 0
    return jnp.where(zero, 0, size / jnp.where(zero, jnp.ones_like(value), value))
