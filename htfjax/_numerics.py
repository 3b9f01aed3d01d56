"""Norms and products that stay finite, with finite derivatives, at zero."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

__all__ = [
    "product",
    "products_without_one",
    "safe_norm",
    "safe_sqrt",
    "sum_squares",
    "xlogx",
]


def safe_norm(x: jax.Array, axis: int) -> jax.Array:
    """Euclidean norm along an axis, with derivative zero at the zero vector.

    Scaled by the largest entry, so that tiny vectors do not vanish when squared.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=axis, keepdims=True))
    scale = jnp.where(largest == 0, jnp.ones_like(largest), largest)
    root = safe_sqrt(jnp.sum(jnp.square(x / scale), axis=axis))
    return jnp.squeeze(scale, axis=axis) * root


def safe_sqrt(x: jax.Array) -> jax.Array:
    """Square root with value and derivative zero at zero, and below it."""
    positive = x > 0
    root = jnp.sqrt(jnp.where(positive, x, jnp.ones_like(x)))
    return jnp.where(positive, root, jnp.zeros_like(x))


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


def sum_squares(tree: Any) -> jax.Array:
    """Sum of squares of all entries of a pytree's arrays.

    Each array is summed along its first axis first: a CPU keeps the strict order of one
    long sum and cannot vectorize it, but it can add whole rows.
    """
    leaves = jax.tree.leaves(tree)
    dtype = jnp.result_type(*leaves)
    parts = [
        jnp.sum(jnp.sum(jnp.square(jnp.abs(x)), axis=0) if x.ndim > 1 else jnp.square(x))
        for x in leaves
    ]
    return functools.reduce(operator.add, [p.astype(dtype) for p in parts])


def xlogx(p: jax.Array) -> jax.Array:
    """p log p with value and derivative zero at p = 0."""
    zero = p == 0
    safe = jnp.where(zero, jnp.ones_like(p), p)
    return jnp.where(zero, jnp.zeros_like(p), p * jnp.log(safe))
