"""Classification loss and accuracy, for one logit per image or K."""

import jax
import jax.numpy as jnp
import optax

from htfjax._types import Array, Float, Int, Numbers
from htfjax.locality import inputs as _inputs


def fit_loss(logits: Numbers, y: Numbers) -> Float[Array, ""]:
    """Mean cross-entropy: binary for logits (B,), softmax for (B, K).

    Args:
      logits: (B,) or (B, K), B at least one; those in half precision are summed in float32.
      y: (B,) labels as integers, whole floats or booleans: 0 and 1, or 0 to K - 1.

    Returns:
      In the logits' dtype.

    Raises:
      TypeError: not real numbers. ValueError: other shapes, no images, labels that are
        fractions or out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> round(float(locality.fit_loss(jnp.zeros(2), jnp.array([0.0, 1.0]))), 6)
      0.693147
    """
    logits, y = _checked(logits, y)
    if not len(logits):
        raise ValueError("`logits` are of no images: their mean loss is not defined.")
    return jnp.mean(fit_losses(logits, y)).astype(logits.dtype)


def count_correct(logits: Numbers, y: Numbers) -> Int[Array, ""]:
    """The number of images that are right: the logit's sign, or the largest of K.

    An image with a NaN among its logits is wrong.

    Args, raises: as `fit_loss`, but there may be no images.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> logits, labels = jnp.array([-1.0, 2.0, 0.5]), jnp.array([0.0, 1.0, 0.0])
      >>> int(locality.count_correct(logits, labels))
      2
    """
    return jnp.sum(correct(*_checked(logits, y)), dtype=jnp.int32)


def fit_losses(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Cross-entropy of every image, (B,), of float32 or more; `y` (B,) int32."""
    if jnp.finfo(logits.dtype).bits < 32:
        logits = logits.astype(jnp.float32)
    if logits.ndim == 1:
        return optax.sigmoid_binary_cross_entropy(logits, y.astype(logits.dtype))
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)


def correct(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Whether each image is right, (B,) bool; `y` (B,) int32."""
    if logits.ndim == 1:
        return ((logits > 0) == (y > 0)) & ~jnp.isnan(logits)
    known = ~jnp.any(jnp.isnan(logits), axis=1)
    return (jnp.argmax(logits, axis=1).astype(jnp.int32) == y) & known


def classes_of(logits: jax.Array) -> int:
    """The number of labels."""
    return 2 if logits.ndim == 1 else logits.shape[1]


def _checked(logits: Numbers, y: Numbers) -> tuple[jax.Array, jax.Array]:
    logits = _inputs.check_logits("logits", logits, verb="be")
    return logits, _inputs.whole_labels("y", y, len(logits), classes_of(logits))
