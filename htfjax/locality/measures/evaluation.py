"""Accuracy, loss and locality of a trained network on examples, batch by batch."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from htfjax import _checks, _reprs
from htfjax._types import Array, Float, Key, PyTree
from htfjax.locality import inputs as _inputs
from htfjax.locality.inputs import Examples
from htfjax.locality.labels import check_labels
from htfjax.locality.logits import classes_of, correct, fit_losses
from htfjax.locality.networks.network import as_apply
from htfjax.locality.regularizer.patch_draws import Draw, check_draw
from htfjax.locality.regularizer.regularizer import (
    Apply,
    checked_apply,
    input_gradient_change,
)


class Evaluation(NamedTuple):
    """Accuracy and loss of a network on examples.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> def apply(w, statistics, x, *, train, key=None):
      ...     return w * x.sum((1, 2, 3)), statistics
      >>> examples = locality.ArrayExamples(jnp.ones((5, 1, 1, 1)), jnp.ones(5))
      >>> seen = locality.evaluate(apply, jnp.array(1.0), {}, examples, batch_size=2)
      >>> isinstance(seen, locality.Evaluation), float(seen.accuracy)
      (True, 1.0)
    """

    accuracy: Float[Array, ""]  # share of images that are right
    loss: Float[Array, ""]  # mean cross-entropy

    def __repr__(self) -> str:
        return _reprs.text(self)


def evaluate(
    apply: Apply[PyTree],
    params: PyTree,
    statistics: PyTree,
    examples: Examples,
    *,
    batch_size: int = 256,
) -> Evaluation:
    """Accuracy and loss over all examples, in eval mode.

    Batch statistics are the running ones, so the size of the batches does not matter.

    Args:
      apply: `Network.apply`, or the `Network`.
      params, statistics: of the network.
      examples: a pytree with `count` and `batch(rows)`.
      batch_size: images at once.

    Returns:
      `Evaluation`; images with NaN logits are wrong.

    Raises:
      TypeError: an `apply` that cannot be called or hashed, things that are not examples.
      ValueError: `batch_size` below one, logits that are neither (B,) nor (B, K), labels
        that they do not have.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> def apply(w, statistics, x, *, train, key=None):
      ...     return w * x.sum((1, 2, 3)), statistics
      >>> x = jnp.array([-1.0, 1.0, 2.0, 3.0, -4.0]).reshape(5, 1, 1, 1)
      >>> examples = locality.ArrayExamples(x, jnp.array([0, 1, 1, 0, 0]))
      >>> seen = locality.evaluate(apply, jnp.array(1.0), {}, examples, batch_size=2)
      >>> float(seen.accuracy)
      0.8
    """
    apply = _inputs.static_function("apply", as_apply(apply))
    _inputs.examples_pytree("examples", examples)
    batch_size = min(_checks.at_least("batch_size", batch_size, 1), examples.count)
    check_labels(apply, params, statistics, examples)
    return _evaluate(params, statistics, examples, apply=apply, batch_size=batch_size)


@functools.partial(jax.jit, static_argnames=("apply", "batch_size"))
def _evaluate(
    params: PyTree,
    statistics: PyTree,
    examples: Examples,
    *,
    apply: Apply[PyTree],
    batch_size: int,
) -> Evaluation:
    count = examples.count

    def batch(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = start + jnp.arange(batch_size, dtype=jnp.int32)
        x, y = examples.batch(jnp.minimum(rows, count - 1))
        logits, _ = checked_apply(apply)(params, statistics, x, train=False, key=None)
        y = _inputs.whole_labels("y", y, len(logits), classes_of(logits))
        counted = rows < count  # the last batch is filled up with a repeated image
        losses = fit_losses(logits, y)
        right = jnp.sum(correct(logits, y) & counted, dtype=jnp.int32)
        return right, jnp.sum(jnp.where(counted, losses, jnp.zeros_like(losses)))

    starts = jnp.arange(0, count, batch_size, dtype=jnp.int32)
    right, losses = lax.map(batch, starts)
    total = jnp.asarray(count, losses.dtype)
    return Evaluation(jnp.sum(right).astype(losses.dtype) / total, jnp.sum(losses) / total)


def mean_change(
    apply: Apply[PyTree],
    params: PyTree,
    statistics: PyTree,
    examples: Examples,
    patches: Draw,
    *,
    key: Key[Array, ""],
    batch_size: int = 64,
    train: bool = False,
    num_batches: int | None = None,
) -> Float[Array, ""]:
    """The regularizer's value, mean over batches, each with patches of its own.

    Args:
      apply, params, statistics, examples: as in `evaluate`.
      patches: `patches(key) -> (P, Q)`, a pytree or a function.
      key: typed key of the patches.
      batch_size: images at once; those beyond whole batches are left out.
      train: read it with statistics of the batch, as training does, instead of the
        running ones.
      num_batches: only the first ones.

    Raises:
      TypeError: as `evaluate`; `patches` is not a function, not a typed key.
      ValueError: fewer than two examples, a batch of one; as `input_gradient_change`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> def apply(w, statistics, x, *, train, key=None):
      ...     return jnp.tanh(w * x).sum((1, 2, 3)), statistics  # no interaction
      >>> x = jax.random.normal(jax.random.key(0), (8, 4, 8, 1))
      >>> p, q = locality.Patch(0, 0, 4, 2), locality.Patch(0, 6, 4, 2)
      >>> examples = locality.ArrayExamples(x, jnp.zeros(8))
      >>> change = locality.mean_change(apply, jnp.array(1.0), {}, examples,
      ...     locality.EitherOrder(p, q), key=jax.random.key(1), batch_size=4)
      >>> round(float(change), 9)
      1.0
    """
    apply = _inputs.static_function("apply", as_apply(apply))
    _inputs.examples_pytree("examples", examples, 2)
    patches = _inputs.drawing_function("patches", patches)
    check_draw(patches, _inputs.image_shape(examples))
    _checks.key("key", key)
    train = _checks.flag("train", train)
    batch_size = min(_checks.at_least("batch_size", batch_size, 2), examples.count)
    whole = examples.count // batch_size
    if num_batches is not None:
        whole = min(whole, _checks.at_least("num_batches", num_batches, 1))
    check_labels(apply, params, statistics, examples, single=False)
    return _mean_change(
        params, statistics, examples, patches, key,
        apply=apply, batch_size=batch_size, train=train, whole=whole,
    )  # fmt: skip


@functools.partial(jax.jit, static_argnames=("apply", "batch_size", "train", "whole"))
def _mean_change(
    params: PyTree, statistics: PyTree, examples: Examples, patches: Draw, key: jax.Array,
    *, apply: Apply[PyTree], batch_size: int, train: bool, whole: int,
) -> jax.Array:  # fmt: skip
    def batch(inputs: tuple) -> jax.Array:
        start, key = inputs
        x, y = examples.batch(start + jnp.arange(batch_size, dtype=jnp.int32))
        p, q = patches(key)

        def logits(x: jax.Array) -> jax.Array:
            return checked_apply(apply)(params, statistics, x, train=train, key=None)[0]

        return input_gradient_change(logits, x, p, q, labels=y)

    starts = jnp.arange(whole, dtype=jnp.int32) * jnp.int32(batch_size)
    return jnp.mean(lax.map(batch, (starts, jax.random.split(key, whole))))
