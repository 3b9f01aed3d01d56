"""Orthonormal bases of the columns of a matrix, with derivatives that are finite.

Left singular vectors of a short matrix A come from the triangular factor of A^T, which is
as accurate as the decomposition of A itself and needs no right vectors: those, that its
derivatives need, are A^T U / S.

A QR decomposition is followed by dQ = (1 - Q Q^T) dA R^+ and dR = Q^T dA, in a gauge of
its own: R does not stay triangular, but A = Q R and Q^T Q = 1 hold along any path, and
nothing here depends on more.
"""

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _lapack
from htfjax.formats.host import Either
from htfjax.instruments.singular import decomposed, inverse, pairs

Two = tuple[jax.Array, jax.Array]
One = tuple[jax.Array]


def left_vectors(matrix: Either) -> tuple[Either, Either]:
    """U (m, k) and s (k,), k = min(m, n), of a matrix (m, n) = U diag(s) V^T."""
    if not isinstance(matrix, np.ndarray):
        return _left_vectors(matrix)
    rows, columns = matrix.shape
    if columns > rows:
        matrix = np.asarray(np.linalg.qr(matrix.T, mode="r")).T
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    return left, values


def orthonormal(matrix: Either) -> tuple[Either, Either]:
    """Q (m, k) with orthonormal columns and R (k, n), k = min(m, n), with A = Q R."""
    on_host = isinstance(matrix, np.ndarray)
    if not on_host:
        return _orthonormal(matrix)
    basis, rest = np.linalg.qr(matrix)
    return basis, rest


@jax.custom_jvp
def _left_vectors(matrix: jax.Array) -> Two:
    rows, columns = matrix.shape
    if columns > rows:
        matrix = _lapack.triangle(matrix.T).T
    left, values, _ = decomposed(matrix)
    return left, values


@_left_vectors.defjvp
def _left_vectors_jvp(primals: One, tangents: One) -> tuple[Two, Two]:
    (matrix,), (change,) = primals, tangents
    left, values = _left_vectors(matrix)
    over = inverse(values, values)
    right = _matmul(matrix.T, left) * over[None, :]
    moved = _matmul(change, right)
    inner = _matmul(left.T, moved)
    even = (inner + inner.T) * inverse(pairs(values, jnp.subtract), values)
    odd = (inner - inner.T) * inverse(pairs(values, jnp.add), values)
    turned = _matmul(left, (even + odd) / 2)
    if matrix.shape[0] > values.shape[0]:  # out of the span of U
        turned += (moved - _matmul(left, inner)) * over[None, :]
    return (left, values), (turned, jnp.diagonal(inner))


@jax.custom_jvp
def _orthonormal(matrix: jax.Array) -> Two:
    return _lapack.qr(matrix)


@_orthonormal.defjvp
def _orthonormal_jvp(primals: One, tangents: One) -> tuple[Two, Two]:
    (matrix,), (change,) = primals, tangents
    basis, rest = _orthonormal(matrix)
    inside = _matmul(basis.T, change)
    if matrix.shape[0] <= matrix.shape[1]:  # Q has all directions
        return (basis, rest), (jnp.zeros_like(basis), inside)
    left, values, right = decomposed(rest)
    outside = _matmul(change - _matmul(basis, inside), right)
    moved = _matmul(outside * inverse(values, values)[None, :], left.T)
    return (basis, rest), (moved, inside)


def _matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right, precision="highest")
