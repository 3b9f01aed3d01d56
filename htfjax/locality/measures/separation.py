"""Separation spectrum: how strongly a function couples the contents of two patches."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from htfjax import _checks, _lapack, _reprs
from htfjax._types import Array, Float, Key, Numbers
from htfjax.locality import inputs as _inputs
from htfjax.locality.networks.network import as_logits_fn
from htfjax.locality.regularizer import patches as _patches
from htfjax.locality.regularizer.patches import Patch
from htfjax.locality.regularizer.regularizer import check_key


class Separation(NamedTuple):
    """Singular values by `separation_spectrum`, means over contexts.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> x = jax.random.normal(jax.random.key(0), (5, 4, 4, 1))
      >>> p, q = locality.Patch(0, 0, 1, 1), locality.Patch(3, 3, 1, 1)
      >>> found = locality.separation_spectrum(lambda x: x.sum((1, 2, 3)), x, p, q, num=2)
      >>> isinstance(found, locality.Separation), found.raw.shape, found.grids.shape
      (True, (2,), (5, 2, 2))
    """

    raw: Float[Array, "num"]  # of the grids; one above zero for g(P, rest) h(Q, rest)
    centred: Float[Array, "num"]  # without row and column means; zero for a sum of the two
    null: Float[Array, "shuffles num"]  # of centred grids, their entries in random order
    grids: Float[Array, "contexts num num"]  # the values of f

    def __repr__(self) -> str:
        return _reprs.text(self)


def separation_spectrum(
    logits_fn: Callable[[jax.Array], jax.Array],
    x: Numbers,
    patch: Patch,
    other_patch: Patch,
    *,
    num: int = 32,
    contexts: int | None = None,
    key: Key[Array, ""] | None = None,
    shuffles: int = 32,
    batch_size: int = 128,
) -> Separation:
    """Singular values of F_c[a, b] = f(image c with content a in P and b in Q).

    The pixels outside both patches, the context, are constants in F_c. So for every way of
    dividing the pixels into two sets, one around P and one around Q, the separation rank of
    f is at least the rank of each F_c; rank one in all contexts does not mean that f is
    separable, since g(P, context) h(Q, context) has it too. For a convolutional arithmetic
    circuit whose contents are a basis, and patches that leave no context, F is a
    matricization of its tensor; with a context it is one of the tensor contracted with the
    context's vectors.

    Contents are those of other images of the batch: context c is image c, P takes the
    contents of the `num` images after it and Q those of the `num` images after these,
    cyclically. Of 2 num + 1 images or more none is used twice in a grid.

    The doubly centred grid (row means and column means taken off) holds the interaction
    alone, as in an analysis of variance. What its values would be if the interaction had
    no structure is read off the same numbers in random order, centred again.

    Singular values scale with f; divide by the first, or by the norm, to compare networks.

    Args:
      logits_fn: (B, H, W, C) -> (B,), each image by itself (a network in evaluation mode);
        or a module of nnx or equinox, taken so with its weights.
      x: (B, H, W, C), contexts and contents; signed integers stay what they are, for
        functions of categories, and bytes become the default floating dtype.
      patch: P.
      other_patch: Q, apart from P; of any size.
      num: contents in each patch.
      contexts: how many grids, of the first images of `x`; None is all.
      key: typed key of the random order; None leaves `null` empty.
      shuffles: random orders of each grid.
      batch_size: images given to `logits_fn` at a time.

    Raises:
      ValueError: a patch outside the image, overlapping patches, `num` below 2, fewer
        images than contents or contexts, NaN in them, logits that are not (B,).
      TypeError: `x` are not numbers, `logits_fn` is not a function, not a typed key.

    Source: Cohen and Shashua 2017, arXiv:1605.06743 (separation rank); arXiv:2201.11729.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> x = jax.random.normal(jax.random.key(0), (9, 6, 6, 1))
      >>> p, q = locality.Patch(0, 0, 2, 2), locality.Patch(4, 4, 2, 2)
      >>> def f(x):  # sees P and Q as a product
      ...     return jnp.exp(x.sum((1, 2, 3)))
      >>> found = locality.separation_spectrum(f, x, p, q, num=4)
      >>> found.grids.shape, bool(found.raw[1] < 1e-6 * found.raw[0])
      ((9, 4, 4), True)
    """
    num = _checks.at_least("num", num, 2)
    batch_size = _checks.at_least("batch_size", batch_size, 1)
    logits_fn = as_logits_fn("logits_fn", logits_fn)
    x = _inputs.images("x", x, keep=jnp.signedinteger)
    _check(x, patch, other_patch, num)
    contexts = len(x) if contexts is None else _checks.at_least("contexts", contexts, 1)
    if contexts > len(x):
        raise ValueError(
            f"`contexts={contexts}` exceeds the {len(x)} images of `x`; each context is "
            "one of them."
        )
    shuffles = _checks.at_least("shuffles", shuffles, 1)
    check_key(key)
    grids = _grids(logits_fn, x, patch, other_patch, num, contexts, batch_size)
    centred = _centre(grids)
    return Separation(
        raw=jnp.mean(_values(grids), axis=0),
        centred=jnp.mean(_values(centred), axis=0),
        null=_null(key, centred, shuffles),
        grids=grids,
    )


def _check(x: jax.Array, patch: Patch, other_patch: Patch, num: int) -> None:
    _patches.check_inside("patch", patch, x.shape)
    _patches.check_inside("other_patch", other_patch, x.shape)
    _patches.check_apart(patch, other_patch)
    if len(x) < num:
        raise ValueError(
            f"`x` has {len(x)} images, fewer than `num={num}` contents; give more images "
            "or ask for fewer contents."
        )


def _grids(
    logits_fn: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    patch: Patch,
    other_patch: Patch,
    num: int,
    contexts: int,
    batch_size: int,
) -> jax.Array:
    """(contexts, num, num), images composed as they are needed."""
    insides, others = _patches.crop(x, patch), _patches.crop(x, other_patch)
    cells = contexts * num * num
    batch_size = min(batch_size, cells)
    turns = -(-cells // batch_size)
    # The last batch is filled with cells that are computed again and dropped.
    places = jnp.arange(turns * batch_size, dtype=jnp.int32) % cells

    def turn(places: jax.Array) -> jax.Array:
        context, cell = jnp.divmod(places, num * num)
        a, b = jnp.divmod(cell, num)
        first, second = (context + 1 + a) % len(x), (context + 1 + num + b) % len(x)
        images = _patches.insert(x[context], insides[first], patch)
        logits = logits_fn(_patches.insert(images, others[second], other_patch))
        return _inputs.check_logits("logits_fn", logits, batch_size, single=True)

    values = lax.map(turn, places.reshape(turns, batch_size))
    return values.reshape(-1)[:cells].reshape(contexts, num, num)


def _centre(grids: jax.Array) -> jax.Array:
    grids = grids - jnp.mean(grids, axis=2, keepdims=True)
    return grids - jnp.mean(grids, axis=1, keepdims=True)


def _values(grids: jax.Array) -> jax.Array:
    return _lapack.singular_values(grids)


def _null(key: jax.Array | None, centred: jax.Array, shuffles: int) -> jax.Array:
    """(shuffles, num), or (0, num) without a key."""
    if key is None:
        return jnp.zeros((0, centred.shape[2]), centred.dtype)
    flat = centred.reshape(len(centred), -1)

    def shuffled(key: jax.Array) -> jax.Array:
        mixed = jax.random.permutation(key, flat, axis=1, independent=True)
        return jnp.mean(_values(_centre(mixed.reshape(centred.shape))), axis=0)

    return lax.map(shuffled, jax.random.split(key, shuffles))
