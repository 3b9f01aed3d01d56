"""Locality of a network: input gradients' change against the distance of two patches."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from htfjax import _checks, _reprs
from htfjax._types import Array, Float, Int, Key, Numbers
from htfjax.locality import inputs as _inputs
from htfjax.locality.networks.network import as_logits_fn
from htfjax.locality.regularizer import patches as _patches
from htfjax.locality.regularizer.cosine import mean_abs_cosine
from htfjax.locality.regularizer.regularizer import check_direction


class ChangeByDistance(NamedTuple):
    """Mean |cos| of pairs of patches at each distance; `change.mean(1)` is the curve.

    Example:
      >>> import numpy as np
      >>> from htfjax import locality
      >>> change = np.array([[0.5, 0.7], [0.9, 1.0]])  # two distances, two pairs each
      >>> found = locality.ChangeByDistance(np.array([0, 4]), change, np.zeros((2, 2)))
      >>> found.change.mean(1).round(2).tolist()
      [0.6, 0.95]
    """

    distance: np.ndarray  # (D,) free pixels between the patches
    change: Float[Array, "D pairs"]  # of each pair, a mean over the images
    unseen: Int[Array, "D pairs"]  # images whose gradient at P is zero: they count 1

    def __repr__(self) -> str:
        return _reprs.text(self)


def gradient_change_by_distance(
    key: Key[Array, ""],
    logits_fn: Callable[[jax.Array], jax.Array],
    x: Numbers,
    patch_size: int,
    distances: Sequence[int],
    *,
    pairs: int = 16,
) -> ChangeByDistance:
    """`input_gradient_change` of random pairs of patches at exact distances.

    1 where P's gradient does not feel Q's content, lower where they interact: a local
    network's curve rises to 1 with the distance. The gradient at the images themselves is
    taken once, so this costs 1 + D pairs gradients of the batch.

    Args:
      key: typed key of the patches' places.
      logits_fn: (B, H, W, C) -> (B,), a network in evaluation mode for example; or a
        module of nnx or equinox, taken so with its weights.
      x: (B, H, W, C), at least two images; integers become the default floating dtype.
      patch_size: side of the square patches.
      distances: free pixels between P and Q, along the axis where they are farthest apart.
      pairs: drawn for each distance.

    Raises:
      ValueError: a distance that does not fit (the error names the largest), a batch of
        one, NaN in it, patches of a single number, logits that are not (B,), no distances.
      TypeError: `x` are not numbers, not a typed key, distances that are not integers.

    Source: arXiv:2201.11729, the explicit regularizer read as a measure.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> def blurred(x):  # couples neighbours only
      ...     return jnp.square(x + jnp.roll(x, 1, axis=2)).sum((1, 2, 3))
      >>> x = jax.random.normal(jax.random.key(0), (3, 16, 16, 1))
      >>> found = locality.gradient_change_by_distance(
      ...     jax.random.key(1), blurred, x, 2, (0, 4))
      >>> [bool(c > 0.999) for c in found.change.mean(1)]
      [False, True]
    """
    _checks.key("key", key)
    pairs = _checks.at_least("pairs", pairs, 1)
    logits_fn = as_logits_fn("logits_fn", logits_fn)
    x = _inputs.images("x", x)
    if len(x) < 2:
        raise ValueError("`x` is a batch of one: contents come from the next image.")
    patch_size = _checks.at_least("patch_size", patch_size, 1)
    distances = _inputs.integers("distances", distances, 0)
    for distance in distances:
        _patches.check_room((x.shape[1], x.shape[2]), patch_size, distance)
    check_direction("patch_size", patch_size, patch_size, x.shape[3])

    def total(x: jax.Array) -> jax.Array:
        logits = logits_fn(x)
        return jnp.sum(_inputs.check_logits("logits_fn", logits, len(x), single=True))

    before, (_, high, wide, _) = jax.grad(total)(x), x.shape

    def one(pair: tuple) -> tuple[jax.Array, jax.Array]:
        p, q = pair
        after = jax.grad(total)(_patches.swap_patch(x, q))
        change, counts = mean_abs_cosine(_patches.crop(before, p), _patches.crop(after, p))
        return change, counts.unseen

    # All pairs go through one loop, so the network is compiled once, not once per distance.
    def draw(key: jax.Array, distance: int) -> tuple:
        def one(key: jax.Array) -> tuple:
            return _patches.random_patches(
                key, (high, wide), patch_size, distance=distance, exactly=True
            )

        return jax.vmap(one)(jax.random.split(key, pairs))

    keys = jax.random.split(key, len(distances))
    drawn = [
        jax.jit(draw, static_argnums=1)(k, d) for d, k in zip(distances, keys, strict=True)
    ]
    each = lax.map(one, jax.tree.map(lambda *each: jnp.concatenate(each), *drawn))
    change, unseen = (values.reshape(-1, pairs) for values in each)
    return ChangeByDistance(np.asarray(distances), change, unseen)
