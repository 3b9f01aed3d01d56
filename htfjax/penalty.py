"""What a residual costs, and which data a loss accepts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks

__all__ = ["check_data", "penalize", "pointwise"]

PENALTIES = ("l2", "l1", "huber")


def penalize(x: jax.Array, penalty: str = "l2", threshold: Any = 1.0) -> jax.Array:
    """Mean of penalty(x) over residuals x: "l2", "l1" or "huber" (`completion_loss`).

    Raises:
      ValueError: an unknown penalty, a threshold that is not above zero.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> float(htf.penalize(jnp.array([3.0, 0.5]), "huber", 1.0))
      1.3125
    """
    return jnp.mean(pointwise(x, penalty, threshold))


def pointwise(x: jax.Array, penalty: str, threshold: Any) -> jax.Array:
    """penalty(x) of every residual."""
    _checks.one_of("penalty", penalty, PENALTIES)
    _checks.positive("threshold", threshold, strict=True)
    if penalty == "l2":
        return jnp.square(x)
    size = x * jax.lax.stop_gradient(jnp.sign(x))  # |x| with slope 0, not 1, at 0
    if penalty == "l1":
        return size
    bound = jnp.asarray(threshold, x.dtype)
    return jnp.where(size < bound, x * x / (2 * bound), size - bound / 2)


def check_data(
    targets: Any, count: int, penalty: str, threshold: Any
) -> tuple[jax.Array, jax.Array]:
    """Targets (count,) and threshold of a loss, checked where they can be seen."""
    _checks.one_of("penalty", penalty, PENALTIES)
    _checks.positive("threshold", threshold, strict=True)
    if np.shape(targets) != (count,):
        raise ValueError(
            f"`targets` has shape {np.shape(targets)}, expected ({count},): one value "
            "for each observation."
        )
    if count == 0:
        raise ValueError("`targets` is empty: a loss needs at least one observation.")
    return _checks.finite("targets", targets), jnp.asarray(threshold, float)
