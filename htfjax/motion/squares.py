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
    gradient = jax.grad(lambda x, place: row(params_of(x), place).astype(x.dtype))
    return jax.vmap(gradient, in_axes=(None, 0))(x, jnp.arange(count, dtype=jnp.int32))
