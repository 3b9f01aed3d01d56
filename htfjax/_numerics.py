"""Norms and products that stay finite, with finite derivatives, at zero."""

import functools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from htfjax._types import DTypeLike, PyTree


def safe_norm(x: jax.Array, axis: int) -> jax.Array:
    """Euclidean norm along an axis, with derivative zero at the zero vector.

    Scaled by the largest entry, so that tiny vectors do not vanish when squared.
    """
    if x.dtype == jnp.float16:  # its subnormal numbers are ordinary ones to processors
        return safe_norm(x.astype(jnp.float32), axis).astype(x.dtype)
    scale = _scale(jax.lax.stop_gradient(x), axis)
    root = safe_sqrt(jnp.sum(jnp.square(x / scale), axis=axis))
    return jnp.squeeze(scale, axis=axis) * root


# One call outside of jit, where every operation costs microseconds.
@functools.partial(jax.jit, static_argnums=1, inline=True)
def _scale(x: jax.Array, axis: int) -> jax.Array:
    """The largest magnitude, or a number near it that may be divided by.

    That is one for zero, for what processors take for zero, and for infinity; and 16 times
    less at the end of the range, as compilers multiply by a reciprocal, which is zero
    there. Not a number near the other end for zero: compilers make a / (b c) of a / b / c,
    and b times such a number is zero again.
    """
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True)
    info = jnp.finfo(x.dtype)
    divides = (largest >= info.tiny) & (largest <= info.max)
    scale = jnp.where(divides, largest, jnp.ones_like(largest))
    return jnp.minimum(scale, info.max / 16)


def safe_sqrt(x: jax.Array) -> jax.Array:
    """Square root with value and derivative zero at zero, and below it; NaN stays NaN."""
    vanishes = x <= 0
    root = jnp.sqrt(jnp.where(vanishes, jnp.ones_like(x), x))
    return jnp.where(vanishes, jnp.zeros_like(x), root)


@jax.custom_jvp
def root(x: jax.Array) -> jax.Array:
    """Square root, in the one operation of `jnp.sqrt`, with derivatives of `safe_sqrt`."""
    return jnp.sqrt(x)


@root.defjvp
def _root_slope(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return root(*primals), jax.jvp(safe_sqrt, primals, tangents)[1]


def product(factors: Sequence[jax.Array]) -> jax.Array:
    """Elementwise product of one or more arrays, left to right."""
    return functools.reduce(operator.mul, factors)


def products_without_one(factors: Sequence[jax.Array]) -> list[jax.Array]:
    """For each array the product of all the others; no division, so zeros are fine."""
    ones = jnp.ones_like(factors[0])
    before, after = [ones], [ones]
    for x in factors[:-1]:
        before.append(before[-1] * x)
    for x in reversed(factors[1:]):
        after.append(after[-1] * x)
    return [b * a for b, a in zip(before, reversed(after), strict=True)]


def sum_squares(tree: PyTree) -> jax.Array:
    """Sum of squares of all entries of a pytree's arrays."""
    leaves = jax.tree.leaves(tree)
    dtype = jnp.result_type(*leaves)
    parts = [_folded_sum(jnp.square(jnp.abs(x))) for x in leaves]
    return functools.reduce(operator.add, [p.astype(dtype) for p in parts])


def _folded_sum(x: jax.Array, row: int = 256) -> jax.Array:
    """Sum of all entries: groups of eight rows of a long array are added up, again and
    again.

    A CPU vectorizes such additions but not one long sum, whose order it must keep; and
    errors grow with the number of folds only.
    """
    flat, rest = x.reshape(-1), []
    while flat.size >= 8 * row:
        groups = flat.size // (8 * row)
        if flat.size % (8 * row):
            rest.append(jnp.sum(flat[8 * row * groups :]))
        rows = flat[: 8 * row * groups].reshape(groups, 8, row)
        a, b, c, d, e, f, g, h = (rows[:, i] for i in range(8))
        flat = (((a + b) + (c + d)) + ((e + f) + (g + h))).reshape(-1)
    return functools.reduce(operator.add, [jnp.sum(flat), *rest])


def xlogx(p: jax.Array) -> jax.Array:
    """p log p with value and derivative zero at p = 0."""
    zero = p == 0
    safe = jnp.where(zero, jnp.ones_like(p), p)
    return jnp.where(zero, jnp.zeros_like(p), p * jnp.log(safe))


def two_to(exponent: jax.Array, dtype: DTypeLike) -> jax.Array:
    """2**exponent exactly, clipped to the normal numbers of the dtype."""
    info = jnp.finfo(dtype)
    word = jnp.dtype(f"int{info.bits}")
    biased = jnp.clip(exponent, info.minexp, info.maxexp - 1) + jnp.int32(info.maxexp - 1)
    bits = jnp.left_shift(biased.astype(word), jnp.asarray(info.nmant, word))
    return jax.lax.bitcast_convert_type(bits, dtype)


def shifted(x: jax.Array, exponent: jax.Array) -> jax.Array:
    """x 2**exponent, rounded once at most: two factors reach further than one."""
    half = exponent // jnp.int32(2)
    return x * two_to(half, x.dtype) * two_to(exponent - half, x.dtype)


def normalized(
    x: jax.Array, largest_of: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """x 2**-e and e, () int32, with max |x| 2**-e in [1/2, 1); e is a constant.

    Zeros and arrays that are not finite come back as they are, with e = 0. `largest_of`:
    entries of x among which the largest is, where fewer than all are known.
    """
    among = x if largest_of is None else largest_of
    top = jnp.max(jnp.abs(jax.lax.stop_gradient(among)))
    exponent = _exponents(top)
    exponent = jnp.where((top > 0) & jnp.isfinite(top), exponent, jnp.int32(0))
    # A barrier: compilers would fuse a sweep's whole chain of exponents into one kernel.
    # With jax 0.12 programs of deep trees then take 1.6 times as long to compile.
    exponent = jax.lax.optimization_barrier(exponent)
    return shifted(x, -exponent), exponent


def normalized_columns(x: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """diag(2**rows) x diag(2**-e) and e, int32, with the largest of a column in [1/2, 1).

    x: (..., P, R), rows: (..., P) int32, of any size; e: (..., R), a constant. Columns of
    zeros have e = 0, and what the dtype cannot hold beside the largest row is zero. What
    is not finite stays so.
    """
    top = jnp.max(rows, axis=-1, keepdims=True)
    low = rows - top
    held = low >= jnp.int32(jnp.finfo(x.dtype).minexp)
    factors = jnp.where(held, two_to(low, x.dtype), jnp.zeros((), x.dtype))
    x = x * factors[..., :, None]
    tops = jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axis=-2)
    exponents = _exponents(tops)
    exponents = jnp.where((tops > 0) & jnp.isfinite(tops), exponents, jnp.int32(0))
    info = jnp.finfo(x.dtype)
    exponents = jnp.clip(exponents, 1 - info.maxexp, -info.minexp)  # as `two_to` can
    return x * two_to(-exponents, x.dtype)[..., None, :], exponents + top


def _exponents(x: jax.Array) -> jax.Array:
    """e with x 2**-e in [1/2, 1), int32, for normal x > 0."""
    info = jnp.finfo(x.dtype)
    word = jnp.dtype(f"int{info.bits}")
    bits = jax.lax.bitcast_convert_type(x, word)
    biased = jnp.right_shift(bits, jnp.asarray(info.nmant, word)).astype(jnp.int32)
    return biased - jnp.int32(info.maxexp - 2)
