"""The mean absolute cosine between rows, safe at zero and at extreme sizes."""

import jax
import jax.numpy as jnp
from jax import lax

from htfjax import _numerics

__all__ = ["mean_abs_cosine"]


def mean_abs_cosine(g: jax.Array, h: jax.Array) -> jax.Array:
    """Mean over the batch of |<g_i, h_i>| / (|g_i| |h_i|), zero where a norm is zero."""
    g, h = (_to_unit_size(x.reshape(x.shape[0], -1)) for x in (g, h))
    norms = _numerics.safe_norm(g, axis=1) * _numerics.safe_norm(h, axis=1)
    zero = norms == 0
    cosines = jnp.sum(g * h, axis=1) / jnp.where(zero, jnp.ones_like(norms), norms)
    return jnp.mean(jnp.abs(jnp.where(zero, jnp.zeros_like(norms), cosines)))


def _to_unit_size(rows: jax.Array) -> jax.Array:
    """Rows divided by their largest entry, so that tiny gradients do not underflow.

    The cosine does not feel the scale, so holding it constant keeps derivatives exact.
    """
    size = lax.stop_gradient(jnp.max(jnp.abs(rows), axis=1, keepdims=True))
    return rows / jnp.where(size == 0, jnp.ones_like(size), size)
