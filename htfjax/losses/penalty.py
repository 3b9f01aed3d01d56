"""What a residual costs, and which data a loss accepts."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks

__all__ = ["Penalty", "check_data", "mean_penalty", "penalize", "pointwise", "working"]

Penalty = Literal["l2", "l1", "huber"]
PENALTIES = get_args(Penalty)


def penalize(x: Any, penalty: Penalty = "l2", threshold: Any = 1.0) -> jax.Array:
    """Mean of penalty(x) over residuals x: "l2", "l1" or "huber" (`completion_loss`).

    Args:
      x: (...,) at least one residual; half precision is read as float32.
      penalty, threshold: as in `completion_loss`.

    Raises:
      TypeError: residuals or a threshold that are not real numbers.
      ValueError: an unknown penalty, a threshold that is not above zero, no residuals.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> float(htf.penalize(jnp.array([3.0, 0.5]), "huber", 1.0))
      1.3125
    """
    x = _checks.floating("x", x)
    if not x.size:
        raise ValueError("`x` is empty: a mean needs at least one residual.")
    _checks.one_of("penalty", penalty, PENALTIES)
    _checks.positive("threshold", threshold, strict=True)
    return mean_penalty(x, penalty, threshold)


def mean_penalty(x: jax.Array, penalty: str, threshold: Any) -> jax.Array:
    """Mean of penalty(x) over checked residuals."""
    return jnp.mean(pointwise(x, penalty, threshold))


def pointwise(x: jax.Array, penalty: str, threshold: Any) -> jax.Array:
    """penalty(x) of every residual."""
    if penalty == "l2":
        return jnp.square(x)
    size = x * jax.lax.stop_gradient(jnp.sign(x))  # |x| with slope 0, not 1, at 0
    if penalty == "l1":
        return size
    bound = _checks.scalar("threshold", threshold, x.dtype, least=0, strict=True)
    return jnp.where(size < bound, x * x / (2 * bound), size - bound / 2)


def check_data(
    targets: Any, count: int, penalty: str, threshold: Any
) -> tuple[jax.Array, jax.Array]:
    """Targets (count,) and threshold of a loss, checked where they can be seen."""
    _checks.one_of("penalty", penalty, PENALTIES)
    scale = _checks.scalar(
        "threshold", threshold, jnp.result_type(float), least=0, strict=True
    )
    found = _checks.real_array("targets", targets)
    if np.shape(found) != (count,):
        raise ValueError(
            f"`targets` has shape {np.shape(found)}, expected ({count},): one value "
            "for each observation."
        )
    if count == 0:
        raise ValueError("`targets` is empty: a loss needs at least one observation.")
    return _checks.finite("targets", found), scale


def working(dtype: Any) -> np.dtype:
    """The dtype of residuals of factors: float32 for those of half precision.

    Sums over many values, and counts, are not held by 16 bits.
    """
    return np.dtype(np.float32) if jnp.finfo(dtype).bits < 32 else np.dtype(dtype)
