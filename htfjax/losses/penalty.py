"""Penalties on residuals (l2, l1, Huber), and the checks of a loss's data."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._types import Array, ArrayLike, DTypeLike, Float, Numbers

Penalty = Literal["l2", "l1", "huber"]
PENALTIES = get_args(Penalty)


def penalize(
    x: Numbers, *, penalty: Penalty = "l2", threshold: ArrayLike = 1.0
) -> Float[Array, ""]:
    """Mean of penalty(x) over residuals x: "l2", "l1" or "huber" (`completion_loss`).

    Args:
      x: (...,) at least one residual; half precision is read as float32.
      penalty, threshold: as in `completion_loss`.

    Raises:
      TypeError: residuals or a threshold that are not real numbers.
      ValueError: an unknown penalty, a threshold that is not above zero, no residuals.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> float(htf.penalize(jnp.array([3.0, 0.5]), penalty="huber"))
      1.3125
    """
    checked = _checks.floating("x", x)
    if not checked.size:
        raise ValueError("`x` is empty: a mean needs at least one residual.")
    _checks.one_of("penalty", penalty, PENALTIES)
    _checks.positive("threshold", threshold, strict=True)
    return mean_penalty(checked, penalty, threshold)


def mean_penalty(x: jax.Array, penalty: Penalty, threshold: ArrayLike) -> jax.Array:
    """Mean of penalty(x) over checked residuals."""
    return jnp.mean(pointwise(x, penalty, threshold))


def pointwise(x: jax.Array, penalty: Penalty, threshold: ArrayLike) -> jax.Array:
    """penalty(x) of every residual."""
    if penalty == "l2":
        return jnp.square(x)
    size = x * jax.lax.stop_gradient(jnp.sign(x))  # |x| with slope 0, not 1, at 0
    if penalty == "l1":
        return size
    bound = _checks.scalar("threshold", threshold, x.dtype, least=0, strict=True)
    return jnp.where(size < bound, x * x / (2 * bound), size - bound / 2)


def check_data(
    targets: Numbers, count: int, penalty: str, threshold: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """Targets (count,) and threshold of a loss, checked where they can be seen."""
    _checks.one_of("penalty", penalty, PENALTIES)
    scale = _checks.scalar(
        "threshold", threshold, jnp.result_type(float), least=0, strict=True
    )
    array = _checks.real_array("targets", targets)
    if np.shape(array) != (count,):
        raise ValueError(
            f"`targets` has shape {np.shape(array)}, expected ({count},): one value "
            "for each observation."
        )
    if count == 0:
        raise ValueError("`targets` is empty: a loss needs at least one observation.")
    return _checks.finite("targets", array), scale


def working(dtype: DTypeLike) -> np.dtype:
    """The dtype of residuals of factors: float32 for those of half precision.

    Sums over many values, and counts, are not held by 16 bits.
    """
    return np.dtype(np.float32) if jnp.finfo(dtype).bits < 32 else np.dtype(dtype)
