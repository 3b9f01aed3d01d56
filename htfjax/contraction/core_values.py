"""Singular values of the small matrices that the sweeps leave, and their accuracy."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _numerics
from htfjax.contraction.gram import GramPair
from htfjax.contraction.sweeps import Core

__all__ = ["NOISE", "floor", "values_of_cores", "values_of_grams"]

NOISE = 32  # rounding of one decomposition, in eps: up to 15 measured
Values = tuple[jax.Array, jax.Array]  # (K,) descending, () accuracy


def values_of_cores(cores: list[Core]) -> list[Values]:
    """Singular values of 2^e L K^T, for triples of equal shapes."""
    return _batched(cores, _values_of_core)


def values_of_grams(pairs: list[GramPair]) -> list[Values]:
    """Square roots of the eigenvalues of 2^e M C, for triples of equal shapes."""
    return _batched(pairs, _values_of_grams)


@functools.partial(jax.jit, static_argnames="decompose")
def _batched(triples: list[Any], decompose: Any) -> list[Values]:
    """All in one call of LAPACK."""
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *triples)
    values, accuracies = jax.vmap(decompose)(stacked)
    return [(values[row], accuracies[row]) for row in range(len(triples))]


def _values_of_core(core: Core) -> Values:
    """Singular values of 2^e L K^T."""
    left, right, exponent = core
    product = jnp.matmul(left, right.T, precision="highest")
    values = jnp.linalg.svd(product, compute_uv=False)
    size = _frobenius(left) * _frobenius(right)
    return _numerics.shifted(values, exponent), floor(values, size)


def _values_of_grams(pair: GramPair) -> Values:
    """Square roots of the eigenvalues of 2^e M C."""
    inner, outer, exponent = pair
    if inner is None:
        inner = jnp.eye(outer.shape[0], dtype=outer.dtype)
    values = _root_eigenvalues(inner, outer)
    size = jnp.sqrt(_largest(inner) * _largest(outer))
    lost = jnp.maximum(jnp.asarray(1, values.dtype), _ratio(size, values[0]))
    root_eps = math.sqrt(float(jnp.finfo(values.dtype).eps))
    accuracy = jnp.asarray(4 * root_eps, values.dtype) * lost
    odd = exponent % jnp.int32(2)
    values = values * jnp.where(odd == 1, math.sqrt(2.0), 1.0).astype(values.dtype)
    half = (exponent - odd) // jnp.int32(2)
    return _numerics.shifted(values, half), jax.lax.stop_gradient(accuracy)


def floor(values: jax.Array, size: jax.Array | None = None) -> jax.Array:
    """NOISE eps of the dtype, or eps times the size of what cancelled if that is more."""
    lost = jnp.asarray(0, values.dtype) if size is None else _ratio(size, values[0])
    eps = jnp.asarray(jnp.finfo(values.dtype).eps, values.dtype)
    return jax.lax.stop_gradient(eps * jnp.maximum(jnp.asarray(NOISE, values.dtype), lost))


@jax.custom_jvp
def _root_eigenvalues(inner: jax.Array, outer: jax.Array) -> jax.Array:
    """Roots of the eigenvalues of M C, descending, for positive semidefinite M and C.

    They are those of S^T C S with M = S S^T. Derivatives by perturbation theory; a value
    that is only rounding noise gets derivative zero.
    """
    return _decompose(inner, outer)[0]


@_root_eigenvalues.defjvp
def _root_eigenvalues_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (inner, outer), (d_inner, d_outer) = primals, tangents
    values, vectors = _decompose(inner, outer)
    dual = _matmul(outer, vectors)  # C S z
    squares = jnp.square(values)
    eps = jnp.asarray(jnp.finfo(values.dtype).eps, values.dtype)
    noise = squares <= 8 * eps * squares[0]
    safe = jnp.where(noise, jnp.ones_like(values), values)
    change = jnp.sum(vectors * _matmul(d_outer, vectors), axis=0)
    change += jnp.sum(dual * _matmul(d_inner, dual), axis=0) / jnp.square(safe)
    slope = jnp.where(noise, jnp.zeros_like(values), change / (2 * safe))
    return values, slope


def _decompose(inner: jax.Array, outer: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Root eigenvalues of S^T C S and S z for its eigenvectors z, descending."""
    weights, basis = jnp.linalg.eigh(inner)
    root = basis * jnp.sqrt(jnp.maximum(weights, 0))[None, :]
    squares, vectors = jnp.linalg.eigh(_matmul(root.T, _matmul(outer, root)))
    values = jnp.sqrt(jnp.maximum(squares, 0))
    return values[::-1], _matmul(root, vectors)[:, ::-1]


def _matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right, precision="highest")


def _largest(matrix: jax.Array) -> jax.Array:
    """An upper bound of the largest eigenvalue of a positive semidefinite matrix."""
    return jnp.minimum(jnp.trace(matrix), _frobenius(matrix))


def _frobenius(matrix: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(jax.lax.stop_gradient(matrix))))


def _ratio(size: jax.Array, value: jax.Array) -> jax.Array:
    """size / value; zero where the value is."""
    zero = value == 0
    return jnp.where(zero, 0, size / jnp.where(zero, jnp.ones_like(value), value))
