"""The mean absolute cosine between rows, safe at zero and at extreme sizes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from htfjax import _numerics

# A |cos| this many roundings below one is one.
ROUNDINGS = 8


class Counts(NamedTuple):
    """Numbers of pairs of rows, () int32."""

    unseen: jax.Array  # with a zero row
    uncoupled: jax.Array  # with a zero row, or in one direction up to rounding


def mean_abs_cosine(g: jax.Array, h: jax.Array) -> tuple[jax.Array, Counts]:
    """Mean over the batch of |<g_i, h_i>| / (|g_i| |h_i|), and how many had a zero in it.

    A zero row has no direction that could change, so its pair counts as 1, with zero
    derivative: were it 0, a network that does not see the patch would look as if it were
    the most strongly coupled one. Rows that are not finite give NaN.

    Returns:
      () and `Counts`.
    """
    g, h = (x.reshape(x.shape[0], -1) for x in (g, h))
    g_size, h_size = (jnp.max(jnp.abs(x), axis=1) for x in (g, h))
    known = jnp.isfinite(jnp.maximum(g_size, h_size))
    zero = lax.stop_gradient((jnp.minimum(g_size, h_size) == 0) & known)
    g, h = _to_unit_size(g, g_size), _to_unit_size(h, h_size)
    norms = _numerics.safe_norm(g, axis=1) * _numerics.safe_norm(h, axis=1)
    ones = jnp.ones_like(norms)
    cosines = jnp.sum(g * h, axis=1) / jnp.where(zero, ones, norms)
    sizes = jnp.where(zero, ones, jnp.abs(cosines))
    still = lax.stop_gradient(sizes) >= 1 - ROUNDINGS * jnp.finfo(sizes.dtype).eps
    counts = (jnp.sum(which, dtype=jnp.int32) for which in (zero, still))
    return jnp.mean(sizes), Counts(*counts)


def _to_unit_size(rows: jax.Array, size: jax.Array) -> jax.Array:
    """Rows divided by their largest entry, so that tiny gradients do not underflow.

    The cosine does not depend on the scale, so holding it constant keeps derivatives exact.
    """
    size = lax.stop_gradient(size)[:, None]
    return rows / jnp.where(size == 0, jnp.ones_like(size), size)
