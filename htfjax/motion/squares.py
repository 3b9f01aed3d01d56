"""Optimizers of sums of squares: what marks them, and the Jacobian of their residuals."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from htfjax._types import PyTree


def of_squares(
    init: optax.TransformInitFn, update: Callable[..., tuple[PyTree, PyTree]]
) -> optax.GradientTransformationExtraArgs:
    """An optimizer that reads `residual_fn`, which losses are asked for beforehand."""
    vars(update)["of_squares"] = True
    return optax.GradientTransformationExtraArgs(init, update)


def needs_squares(optimizer: object) -> bool:
    """Whether an optimizer is one of these."""
    return getattr(getattr(optimizer, "update", None), "of_squares", False)


def jacobian(
    residual_fn: Callable[[PyTree], jax.Array],
    params_of: Callable[[jax.Array], PyTree],
    x: jax.Array,
) -> jax.Array:
    """(M, P) of residual_fn(params_of(x)): row by row where residuals are measured one by
    one, else by whichever mode takes fewer passes."""

    def function(x: jax.Array) -> jax.Array:
        return residual_fn(params_of(x)).astype(x.dtype)

    count, row = jax.eval_shape(function, x).size, getattr(residual_fn, "row", None)
    if row is None:
        mode = jax.jacfwd if x.size <= count else jax.jacrev
        return mode(function)(x)
    return rows(row, params_of, x, jnp.arange(count, dtype=jnp.int32))


def rows(
    row: Callable[[PyTree, jax.Array], jax.Array],
    params_of: Callable[[jax.Array], PyTree],
    x: jax.Array,
    places: jax.Array,
) -> jax.Array:
    """Some rows of the Jacobian of residuals that are measured one by one."""
    gradient = jax.grad(lambda x, place: row(params_of(x), place).astype(x.dtype))
    return jax.vmap(gradient, in_axes=(None, 0))(x, places)


def normal_equations(
    row: Callable[[PyTree, jax.Array], jax.Array],
    params_of: Callable[[jax.Array], PyTree],
    x: jax.Array,
    found: jax.Array,
    *,
    entries: int,
) -> tuple[jax.Array, jax.Array]:
    """J^T J and J^T r of residuals r (M,), with at most so many entries of J at a time."""
    size = max(1, min(found.size, entries // x.size))
    count = -(-found.size // size)
    places = jnp.arange(count * size, dtype=jnp.int32).reshape(count, size)

    def add(
        sums: tuple[jax.Array, jax.Array], block: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        gram, slope = sums
        there = block < found.size
        block = jnp.where(there, block, 0)
        part = jnp.where(there[:, None], rows(row, params_of, x, block), 0)
        gram = gram + jnp.matmul(part.T, part, precision="highest")
        return (gram, slope + jnp.matmul(part.T, found[block], precision="highest")), None

    empty = jnp.zeros((x.size, x.size), x.dtype), jnp.zeros_like(x)
    return jax.lax.scan(add, empty, places)[0]
