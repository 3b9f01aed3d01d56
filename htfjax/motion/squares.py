"""Optimizers of sums of squares: what marks them, and the Jacobian of their residuals."""

from collections.abc import Callable

import jax
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


def jacobian(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """(M, P), by whichever mode takes fewer passes."""
    count = jax.eval_shape(function, x).size
    mode = jax.jacfwd if x.size <= count else jax.jacrev
    return mode(function)(x)
