"""Core values: singular values of the small matrices that sweeps leave, their accuracy.

Mathematics: docs/mathematics/core-values.md.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _lapack, _numerics
from htfjax._types import DTypeLike
from htfjax.instruments.gram import GramPair
from htfjax.instruments.qr_sweep import Core
from htfjax.instruments.singular import NOISE, decomposed, nuclear_norm, singular_values

Values = tuple[jax.Array, jax.Array]  # (G, K) descending, (G,) accuracy
Pair = tuple[Any, jax.Array]  # M or None for the identity, and C
Eigenvectors = tuple[jax.Array, jax.Array, jax.Array]  # w, q and e of `_eigenvectors`


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
    # sigma = sqrt(w) 2^(e / 2): an odd exponent leaves a factor sqrt(2).
    odd = exponents % jnp.int32(2)
    more = jnp.where(odd == 1, math.sqrt(2.0), 1.0).astype(values.dtype)
    half = (exponents - odd) // jnp.int32(2)
    return _numerics.shifted(values * more[:, None], half[:, None]), accuracy


def nuclear_norm_of_core(core: Core, count: int) -> jax.Array:
    """Sum of the `count` largest singular values of 2^e L K^T, () for a stack of one."""
    left, right, exponent, *_ = one = jax.tree.map(lambda x: x[0], core)
    product = _matmul(left, right.T)
    total = nuclear_norm(product, count) + jnp.sum(_excess(one, product)[:count])
    return _numerics.shifted(total, exponent)


def _values_of_core(core: Core) -> tuple[jax.Array, jax.Array]:
    """Singular values of 2^e L K^T."""
    product = _matmul(core.left, core.right.T)
    values = singular_values(product) + _excess(core, product)
    # What each component adds, whatever its columns' scales in L and in K.
    size = jnp.sum(_column_norms(core.left) * _column_norms(core.right))
    return _numerics.shifted(values, core.exponents), floor(values, size)


def _excess(core: Core, product: jax.Array) -> jax.Array:
    """Change of each value of L K^T = U S V^T by the excess of the Gram matrices, (K,).

    To first order (u^T L E_K L^T u + v^T K E_L K^T v) / 2 s: zero, and all that the second
    derivatives need, since the excess has no first ones.
    """
    if core.left_excess is None:
        return jnp.zeros(min(product.shape), product.dtype)
    left, values, right = decomposed(product)
    above, below = _matmul(core.left.T, left), _matmul(core.right.T, right)
    total = jnp.sum(above * _matmul(core.right_excess, above), axis=0)
    total += jnp.sum(below * _matmul(core.left_excess, below), axis=0)
    # Vectors of values that are rounding noise are arbitrary, and so would be the quotient.
    eps = jnp.asarray(NOISE * jnp.finfo(values.dtype).eps, values.dtype)
    noise = values <= eps * values[:1]
    safe = jnp.where(noise, jnp.ones_like(values), values)
    return jnp.where(noise, jnp.zeros_like(values), total / (2 * safe))


def _accuracy_of_grams(
    inner: jax.Array | None, outer: jax.Array, values: jax.Array
) -> jax.Array:
    """Accuracy lost by square roots, more where factors cancel, ()."""
    # What rounding is relative to: ||M|| ||C||, or what the components add, whichever is
    # the smaller bound. Above the largest value where components cancel.
    size = jnp.sqrt(_largest(outer))
    if inner is not None:
        both = jnp.sqrt(jnp.maximum(jnp.diagonal(inner), 0))
        both *= jnp.sqrt(jnp.maximum(jnp.diagonal(outer), 0))
        size = jnp.minimum(size * jnp.sqrt(_largest(inner)), jnp.sum(both))
    lost = jnp.maximum(jnp.asarray(1, values.dtype), _ratio(size, values[0]))
    reached = jnp.asarray(gram_accuracy(outer.shape[0], values.dtype), values.dtype)
    return jax.lax.stop_gradient(reached * lost)


def gram_accuracy(width: int, dtype: DTypeLike) -> float:
    """(4 + sqrt(R)) sqrt(eps): half the digits, in matrices of size R."""
    return (4 + math.sqrt(width)) * math.sqrt(float(jnp.finfo(dtype).eps))


def floor(values: jax.Array, size: jax.Array | None = None) -> jax.Array:
    """NOISE eps of the dtype, or eps times the size of what cancelled if that is more."""
    lost = jnp.asarray(0, values.dtype) if size is None else _ratio(size, values[0])
    eps = jnp.asarray(jnp.finfo(values.dtype).eps, values.dtype)
    return jax.lax.stop_gradient(eps * jnp.maximum(jnp.asarray(NOISE, values.dtype), lost))


# Rules of its own: what jax derives of a Cholesky factor or of eigenvectors divides by
# eigenvalues and their differences, which are zero where ranks are low.
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
    return jnp.sqrt(_lapack.singular_values(middle))


@_root_eigenvalues.defjvp
def _root_eigenvalues_jvp(primals: Pair, tangents: Pair) -> tuple[jax.Array, jax.Array]:
    (inner, outer), changes = primals, tangents
    squares, right, left = _eigenvectors(inner, outer)
    values, noise = _safe_roots(squares)
    alpha, beta = _couplings(right, left, *changes)
    rates = jnp.diagonal(alpha, axis1=1, axis2=2)
    if beta is not None:
        rates += squares * jnp.diagonal(beta, axis1=1, axis2=2)
    # d sqrt(w) = dw / 2 sqrt(w), of noise zero; the value of noise is kept all the same.
    still = jax.lax.stop_gradient(jnp.sqrt(squares))
    rates = jnp.where(noise, jnp.zeros_like(rates), rates / (2 * values))
    return jnp.where(noise, still, values), rates


@jax.custom_jvp
def _eigenvectors(inner: jax.Array | None, outer: jax.Array) -> Eigenvectors:
    """Eigenvalues w (G, R) of M C, descending, its eigenvectors q and those e of C M.

    q^T C q = w, M e = q, C q = w e and e_i^T q_j = 1 if i = j, else 0. Columns of e are
    zero where w is rounding noise, unless M is the identity. M and C may be singular.
    """
    if inner is None:
        squares, vectors = _descending(outer)
        return squares, vectors, vectors
    sizes, basis = _lapack.eigh(inner)
    roots = jnp.sqrt(jnp.maximum(sizes, 0))[:, :, None]
    root = basis * _transposed(roots)
    squares, vectors = _descending(_matmul(_transposed(root), _matmul(outer, root)))
    right = _matmul(root, vectors)
    values, noise = _safe_roots(squares)
    # e = S^-T z loses digits where M is small, e = C q / w where w is. Along each
    # eigenvector of M the one is taken that divides by the larger number, relative to
    # the largest of its kind.
    over = jnp.where(roots == 0, jnp.zeros_like(roots), 1 / jnp.where(roots == 0, 1, roots))
    one, other = over * vectors, _matmul(_transposed(basis), _matmul(outer, right))
    other = other / jnp.square(values)[:, None, :]
    firm = roots * squares[:, None, :1] >= squares[:, None, :] * roots[:, -1:]
    left = _matmul(basis, jnp.where(firm, one, other))
    return squares, right, jnp.where(noise[:, None, :], jnp.zeros_like(left), left)


@_eigenvectors.defjvp
def _eigenvectors_jvp(primals: Pair, tangents: Pair) -> tuple[Eigenvectors, Eigenvectors]:
    """With a_ij = q_i^T dC q_j and b_ij = e_i^T dM e_j perturbation theory has

        dw_i = a_ii + w_i b_ii,   dq_i = sum_j q_j g_ji,   de_i = -sum_j e_j g_ij,
        g_ji = (a_ji + w_i b_ji) / (w_i - w_j),   g_ii = b_ii / 2,

    and what lies outside the span of these vectors where M or C is singular. Where w_i and
    w_j agree to rounding, g_ji = (w b_ji - a_ji) / 4 w: what couples them is left out, and
    the sum of their roots has its second derivative.
    """
    (inner, outer), (d_inner, d_outer) = primals, tangents
    squares, right, left = _eigenvectors(inner, outer)
    roots, noise = _safe_roots(squares)
    alpha, beta = _couplings(right, left, d_inner, d_outer)
    beta = jnp.zeros_like(alpha) if beta is None else beta
    scaled = beta * squares[:, None, :]
    gaps = squares[:, None, :] - squares[:, :, None]
    eps = NOISE * float(jnp.finfo(squares.dtype).eps)
    # As the difference of two eigenvalues is known to eps times the largest.
    near = jnp.abs(gaps) <= eps * squares[:, :1, None]
    means = 4 * (roots[:, None, :] * roots[:, :, None])
    turned = (scaled - alpha) / means
    turned = jnp.where(near, turned, (alpha + scaled) / jnp.where(near, 1, gaps))
    same = jnp.eye(squares.shape[1], dtype=bool)[None]
    turned = jnp.where(same, beta / 2, turned)
    if inner is not None:
        # Vectors of noise are arbitrary: `_outside` adds all that is not along the others.
        turned = jnp.where(noise[:, :, None], jnp.zeros_like(turned), turned)
    moved = _matmul(right, turned), -_matmul(left, _transposed(turned))
    if inner is not None:
        rest = _outside(primals, tangents, right, left, jnp.square(roots), noise)
        moved = moved[0] + rest[0], moved[1] + rest[1]
        moved = moved[0], jnp.where(noise[:, None, :], jnp.zeros_like(left), moved[1])
    rates = jnp.diagonal(alpha + scaled, axis1=1, axis2=2)
    return (squares, right, left), (rates, *moved)


def _outside(
    primals: Pair,
    tangents: Pair,
    right: jax.Array,
    left: jax.Array,
    weights: jax.Array,
    noise: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Parts of dq and de outside the vectors whose eigenvalues are not noise.

    (1 - sum_j q_j e_j^T) (M dC q_i + w_i dM e_i) / w_i, and the like for e. Zero where no
    eigenvalue is noise: rounding would be divided by small ones.
    """
    (inner, outer), (d_inner, d_outer) = primals, tangents
    apart = jnp.any(noise, axis=1)[:, None, None] & ~noise[:, None, :]
    one = _matmul(d_outer, right) / weights[:, None, :]
    other = _matmul(d_inner, left)
    rises = _matmul(inner, one) + other
    falls = one + _matmul(outer, other) / weights[:, None, :]
    kept = jnp.where(noise[:, None, :], jnp.zeros_like(right), right)
    rises -= _matmul(kept, _matmul(_transposed(left), rises))
    falls -= _matmul(left, _matmul(_transposed(kept), falls))
    zeros = jnp.zeros_like(rises)
    return jnp.where(apart, rises, zeros), jnp.where(apart, falls, zeros)


def _couplings(
    right: jax.Array, left: jax.Array, d_inner: jax.Array | None, d_outer: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """q^T dC q and, unless M is the identity, e^T dM e."""
    alpha = _matmul(_transposed(right), _matmul(d_outer, right))
    if d_inner is None:
        return alpha, None
    return alpha, _matmul(_transposed(left), _matmul(d_inner, left))


def _descending(matrices: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues, zero or more, and eigenvectors of positive semidefinite matrices."""
    squares, vectors = _lapack.eigh(matrices)
    return jnp.maximum(squares, 0)[:, ::-1], vectors[:, :, ::-1]


def _safe_roots(squares: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Roots, one where they are only noise; and where that is."""
    eps = jnp.asarray(jnp.finfo(squares.dtype).eps, squares.dtype)
    # Of squares: values are cut at almost 3 sqrt(eps).
    noise = squares <= 8 * eps * squares[:, :1]
    return jnp.sqrt(jnp.where(noise, jnp.ones_like(squares), squares)), noise


def _root(matrices: jax.Array) -> jax.Array:
    """S with S S^T = M, by Cholesky: R eps of each column's own square is added to it.

    Where that is not enough for one of the stack, which rounding may have left slightly
    indefinite, all are taken from eigenvectors instead, at several times the cost.
    """
    # Scaled to the diagonal 1, so that what is added is relative to each column, however
    # unequal they are; a zero column stays zero.
    scales = jnp.sqrt(jnp.diagonal(matrices, axis1=1, axis2=2))
    safe = jnp.where(scales == 0, jnp.ones_like(scales), scales)
    angles = matrices / (safe[:, :, None] * safe[:, None, :])
    width = matrices.shape[-1]
    added = width * jnp.finfo(matrices.dtype).eps * jnp.eye(width, dtype=matrices.dtype)
    triangular = _lapack.cholesky(angles + added[None])
    # Where it fails, LAPACK's factor comes back as NaN.
    return jax.lax.cond(
        jnp.all(jnp.isfinite(triangular)),
        lambda: scales[:, :, None] * triangular,
        lambda: _spectral_root(matrices),
    )


def _spectral_root(matrices: jax.Array) -> jax.Array:
    weights, basis = _lapack.eigh(matrices)
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
