"""Law G1: the locality regularizer."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

import htfjax as htf
from htfjax import locality

Case: TypeAlias = htf.theory.laws.Case
LEFT, RIGHT = locality.Patch(0, 0, 2, 2), locality.Patch(0, 2, 2, 2)


@htf.theory.laws.law(
    "G1", "the regularizer is 1 for products and sums, at most 1, scale invariant"
)
def regularizer(case: Case) -> tuple[Any, Any]:
    """Of a product and a sum of functions of the halves, and of a mixture of both."""
    rng = case.rng
    a, b = (jnp.asarray(rng.standard_normal((4, 3))) for _ in range(2))
    images = jnp.asarray(rng.standard_normal((5, 2, 4, 1)))

    def halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        left, right = x[:, :, :2, 0].reshape(-1, 4), x[:, :, 2:, 0].reshape(-1, 4)
        return jnp.tanh(left @ a), jnp.tanh(right @ b)

    def product(x: jax.Array) -> jax.Array:
        left, right = halves(x)
        return jnp.sum(left, axis=1) * (2 + jnp.sum(right, axis=1))

    def added(x: jax.Array) -> jax.Array:
        left, right = halves(x)
        return jnp.sum(left, axis=1) + jnp.sum(right, axis=1)

    def mixed(x: jax.Array) -> jax.Array:
        left, right = halves(x)
        return jnp.sum(left * right, axis=1)

    def value(f: Callable[[jax.Array], jax.Array]) -> float:
        return float(locality.input_gradient_change(f, images, LEFT, RIGHT))

    between = value(mixed)
    scaled = value(lambda x: -3.0 * mixed(x) + 5.0)
    left = [value(product), value(added), between, scaled - between]
    most = htf.theory.laws.Between(0, 0.1 if case.broken else 1)
    return left, [1.0, 1.0, most, 0.0]


LAWS = (regularizer,)
