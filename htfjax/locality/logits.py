"""What logits are worth: their loss and how many are right, for one logit or K."""

import jax
import jax.numpy as jnp
import optax

__all__ = ["count_correct", "fit_loss"]


def fit_loss(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross-entropy: binary for logits (B,), softmax for (B, K).

    Example:
      >>> import jax.numpy as jnp
      >>> round(float(fit_loss(jnp.zeros(2), jnp.array([0.0, 1.0]))), 6)
      0.693147
    """
    return jnp.mean(fit_losses(logits, y))


def fit_losses(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Cross-entropy of every image, (B,)."""
    if logits.ndim == 1:
        return optax.sigmoid_binary_cross_entropy(logits, y.astype(logits.dtype))
    return optax.softmax_cross_entropy_with_integer_labels(logits, y.astype(jnp.int32))


def count_correct(logits: jax.Array, y: jax.Array) -> jax.Array:
    """How many images are right: the logit's sign, or the largest of K.

    Example:
      >>> import jax.numpy as jnp
      >>> int(count_correct(jnp.array([-1.0, 2.0, 0.5]), jnp.array([0.0, 1.0, 0.0])))
      2
    """
    return jnp.sum(correct(logits, y), dtype=jnp.int32)


def correct(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Whether each image is right, (B,) bool."""
    if logits.ndim == 1:
        return (logits > 0) == (y > 0)
    return jnp.argmax(logits, axis=1).astype(jnp.int32) == y.astype(jnp.int32)
