"""The locality regularizer: how little a patch's input gradient feels another patch.

If a network's output splits as g(outside Q) h(inside Q), or as a sum of the two, then the
gradient at a patch P outside Q keeps its direction when the content of Q changes: |cos|
between the two gradients is 1. Lowering it forces an interaction of P and Q.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from htfjax import _checks
from htfjax.locality import patches as _patches
from htfjax.locality.cosine import mean_abs_cosine
from htfjax.locality.patches import Patch

__all__ = [
    "Measured",
    "input_gradient_change",
    "regularized_loss",
    "training_gradient_change",
    "warn_if_blind",
]

# A start value above this means that hardly any unit sees both patches.
BLIND = 0.95
BATCH_NORMS = ("reference", "split", "frozen")


class Measured(NamedTuple):
    """What a regularized step saw besides the value it descends on."""

    loss: jax.Array  # () the loss without the regularizer
    change: jax.Array  # () mean |cos|, not multiplied by the coefficient; NaN if skipped
    logits: jax.Array  # (B,) or (B, K), of the images as they are


def input_gradient_change(
    logits_fn: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    patch: Patch,
    other_patch: Patch,
    *,
    labels: jax.Array | None = None,
) -> jax.Array:
    """Mean over i of |cos(g_i, g'_i)|, the input gradients before and after a swap.

    g = d sum_i z_i / dx restricted to P, at x; g' the same at x', in which Q holds the
    content of the next image of the batch. Low values mean that P and Q interact. The
    value is between 0 and 1 and does not change when the logits are scaled. A sample
    whose gradient is exactly zero counts as 0, with zero derivative.

    Differentiable in whatever `logits_fn` closes over, any number of times;
    `training_gradient_change` has the same value and first derivative at less cost.

    Args:
      logits_fn: (B, H, W, C) -> (B,), or (B, K) with `labels`.
      x: (B, H, W, C), at least two images.
      patch: P, where gradients are read.
      other_patch: Q, whose content is swapped; apart from P.
      labels: (B,) int, which of K logits each image contributes.

    Returns:
      ().

    Raises:
      ValueError: a batch of one, a patch outside the image, overlapping patches, K logits
        without labels, labels out of range.
      TypeError: `x` holds integers.

    Source: arXiv:2201.11729, the explicit regularizer; https://arxiv.org/abs/2201.11729.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
      >>> p, q = Patch(0, 0, 2, 2), Patch(5, 5, 2, 2)
      >>> local = lambda x: jnp.sum(jnp.tanh(x), axis=(1, 2, 3))  # no interaction
      >>> round(float(input_gradient_change(local, x, p, q)), 9)
      1.0
      >>> mirrored = lambda x: local(x * x[:, ::-1, ::-1])  # P meets its mirror image in Q
      >>> bool(input_gradient_change(mirrored, x, p, q) < 0.999)
      True
    """
    _check(x, patch, other_patch)
    both = _both_passes(logits_fn)
    xs = (x, _patches.swap_patch(lax.stop_gradient(x), other_patch))
    grads = jax.grad(lambda xs: _total(both(xs)[0], labels))(xs)
    return mean_abs_cosine(*(_patches.crop(g, patch) for g in grads))


def training_gradient_change(
    logits_fn: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    patch: Patch,
    other_patch: Patch,
    *,
    labels: jax.Array | None = None,
) -> jax.Array:
    """`input_gradient_change` with an equal gradient in two stages: one line of a loop.

    R depends on the weights through g and g' only. With u = dR/dg and u' = dR/dg' in
    closed form and held constant, dR = d (D f(x)[u] + D f(x')[u']) for f = sum_i z_i, and
    directional derivatives are forward mode: reverse over forward instead of reverse over
    reverse. The flops are equal; on two cores a step of our ResNet18 takes 7 % less.

    Higher derivatives are not those of R. If the network keeps batch statistics, use
    `regularized_loss`.

    Args, returns, raises: as `input_gradient_change`.

    Source: arXiv:2201.11729 for R; forward over the cotangent of a scalar is the double
    backpropagation of Drucker and LeCun (1992) rearranged.

    Example:
      A plain JAX training loop gains one term:

      >>> import jax, jax.numpy as jnp
      >>> x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
      >>> y = jnp.array([0.0, 1.0, 1.0, 0.0])
      >>> p, q = Patch(0, 0, 2, 2), Patch(5, 5, 2, 2)
      >>> def logits(w, x):
      ...     return jnp.tanh(x.reshape(x.shape[0], -1) @ w).sum(1)
      >>> def loss(w):
      ...     fit = jnp.mean((logits(w, x) - y) ** 2)
      ...     return fit + 0.1 * training_gradient_change(lambda x: logits(w, x), x, p, q)
      >>> jax.grad(loss)(0.1 * jax.random.normal(jax.random.key(1), (64, 3))).shape
      (64, 3)

      So does one of Flax; `copy=True` lets the module live inside the inner derivatives:

      >>> from flax import nnx
      >>> net = nnx.Sequential(nnx.Conv(1, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.relu,
      ...                      nnx.Conv(4, 4, (3, 3), strides=4, rngs=nnx.Rngs(1)),
      ...                      jnp.sin, lambda h: h.sum((1, 2, 3)))
      >>> graphdef, weights = nnx.split(net, nnx.Param)
      >>> x, y = x.astype(jnp.float32), y.astype(jnp.float32)
      >>> def loss(weights):
      ...     f = lambda x: nnx.merge(graphdef, weights, copy=True)(x)
      ...     return jnp.mean((f(x) - y) ** 2) + 0.1 * training_gradient_change(f, x, p, q)
      >>> grads = jax.grad(loss)(weights)
    """
    _check(x, patch, other_patch)
    xs = (x, _patches.swap_patch(lax.stop_gradient(x), other_patch))
    return _two_stage(_both_passes(logits_fn), xs, patch, labels, jnp.ones((), x.dtype))[1]


def regularized_loss(
    apply: Callable[..., tuple[jax.Array, Any]],
    fit: Callable[[jax.Array], jax.Array],
    params: Any,
    statistics: Any,
    x: jax.Array,
    patches: tuple[Patch, Patch],
    *,
    coefficient: Any,
    labels: jax.Array | None = None,
    batch_norm: str = "reference",
    momentum: float = 0.1,
    key: jax.Array | None = None,
    two_stage: bool = True,
) -> tuple[jax.Array, tuple[Any, Measured]]:
    """fit(logits) + coefficient R, for a network with batch statistics.

    A coefficient that is the Python number 0 skips the regularizer and its passes.
    Otherwise `batch_norm` says how R's passes treat batch normalization:

    - "reference": as the paper's code. x, then x', each in train mode with its own batch
      statistics; running statistics are updated twice, the second time on swapped images.
      So arms with and without R differ in them: use a tiny coefficient, not 0, as control.
    - "split": the same value, gradient and running statistics from one batched pass with
      statistics per half (`momentum` undoes the order of the updates). For devices that
      large batches keep busier; on two CPU cores a ResNet18 step takes as long, and two
      thirds of the time to compile.
    - "frozen": R sees running statistics, as evaluation will; gradients are then per
      sample, not of the batch, and the running statistics are updated once, in every arm.
      The value differs from the paper's.

    Args:
      apply: `apply(params, statistics, x, train=, key=) -> (logits, new statistics)`, a
        `Network.apply` for example.
      fit: loss of the logits, () from (B,) or (B, K).
      params: weights, a pytree.
      statistics: running statistics, a pytree (empty for networks without any).
      x: (B, H, W, C).
      patches: P and Q.
      coefficient: of R.
      labels: (B,) int, needed for K logits.
      batch_norm: "reference", "split" or "frozen".
      momentum: weight of the new batch in the running statistics, for "split".
      key: typed key for dropout; each pass gets its own.
      two_stage: False takes the gradient of the definition: equal, on two cores 7 %
        slower for a ResNet18, in nine tenths of the memory.

    Returns:
      The value and (new statistics, `Measured`): use `jax.value_and_grad(has_aux=True)`.

    Raises:
      ValueError: as `input_gradient_change`, or an unknown `batch_norm`.

    Source: arXiv:2201.11729, regularized training.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def apply(weights, statistics, x, *, train, key):
      ...     return jnp.sum(jnp.tanh(x * weights), axis=(1, 2, 3)), statistics
      >>> x = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
      >>> value, (_, measured) = regularized_loss(
      ...     apply, lambda z: jnp.mean(z**2), jnp.ones((1, 8, 8, 1)), {}, x,
      ...     (Patch(0, 0, 2, 2), Patch(4, 4, 2, 2)), coefficient=0.5)
      >>> bool(value == measured.loss + 0.5 * measured.change)
      True
    """
    _checks.one_of("batch_norm", batch_norm, BATCH_NORMS)
    keys = (None, None) if key is None else tuple(jax.random.split(key))
    if isinstance(coefficient, int | float) and coefficient == 0:
        logits, after = apply(params, statistics, x, train=True, key=keys[0])
        loss = fit(logits)
        return loss, (after, Measured(loss, jnp.full_like(loss, jnp.nan), logits))
    patch, other_patch = patches
    _check(x, patch, other_patch)
    xs = (x, _patches.swap_patch(lax.stop_gradient(x), other_patch))
    passes = {"reference": _in_turn, "split": _side_by_side, "frozen": _at_rest}[batch_norm]
    both = passes(apply, params, statistics, keys, momentum)
    form = _two_stage if two_stage else _definition
    weight = jnp.asarray(coefficient, x.dtype)
    change, penalty, (logits, after) = form(both, xs, patch, labels, weight)
    if batch_norm == "frozen":
        logits, after = apply(params, statistics, x, train=True, key=keys[0])
    loss = fit(logits)
    return loss + penalty.astype(loss.dtype), (after, Measured(loss, change, logits))


def warn_if_blind(change: Any, threshold: float = BLIND) -> bool:
    """Warns when the regularizer starts near 1: it cannot help there.

    Mean |cos| is 1 and its gradient vanishes when no unit sees both patches (a receptive
    field smaller than their distance, or a last stride that falls badly).

    Args:
      change: the regularizer's value at initialization.
      threshold: above it the warning is given.

    Returns:
      Whether it warned.

    Example:
      >>> warn_if_blind(0.7)
      False
    """
    if not float(change) > threshold:
        return False
    warnings.warn(
        f"the locality regularizer starts at {float(change):.4f}, above {threshold}: "
        "hardly any unit sees both patches, so it cannot bring them together. Enlarge the "
        "receptive field (about the patches' distance plus 15 pixels was enough) or move "
        "the strides.",
        stacklevel=2,
    )
    return True


def _check(x: jax.Array, patch: Patch, other_patch: Patch) -> None:
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"`x` must be a floating array (B, H, W, C), got {x.dtype} of shape {x.shape}."
        )
    if x.shape[0] < 2:
        raise ValueError(
            "`x` is a batch of one: a patch is swapped with the next image of the batch, "
            "so at least two are needed."
        )
    _patches.check_inside("patch", patch, x.shape)
    _patches.check_inside("other_patch", other_patch, x.shape)
    _patches.check_apart(patch, other_patch)


def _both_passes(logits_fn: Callable[[jax.Array], jax.Array]) -> Callable:
    return lambda xs: ((logits_fn(xs[0]), logits_fn(xs[1])), None)


def _in_turn(
    apply: Callable, params: Any, statistics: Any, keys: tuple, momentum: float
) -> Callable:
    """Two passes, running statistics handed from the first to the second."""
    del momentum

    def both(xs: tuple) -> tuple:
        first, between = apply(params, statistics, xs[0], train=True, key=keys[0])
        second, after = apply(params, between, xs[1], train=True, key=keys[1])
        return (first, second), (first, after)

    return both


def _side_by_side(
    apply: Callable, params: Any, statistics: Any, keys: tuple, momentum: float
) -> Callable:
    """One batched pass, statistics per half; their updates composed in order.

    s1 = (1-m) s0 + m b1 and s2 = (1-m) s1 + m b2 = t2 + (1-m) (s1 - s0), where
    t2 = (1-m) s0 + m b2 is what the second half alone makes of s0.
    """

    def both(xs: tuple) -> tuple:
        def half(x: jax.Array, key: Any) -> tuple:
            return apply(params, statistics, x, train=True, key=key)

        key = None if keys[0] is None else jnp.stack(keys)
        logits, each = jax.vmap(half, in_axes=(0, None if key is None else 0))(
            jnp.stack(xs), key
        )
        after = jax.tree.map(
            lambda s, t: t[1] + (1 - momentum) * (t[0] - s), statistics, each
        )
        return (logits[0], logits[1]), (logits[0], after)

    return both


def _at_rest(
    apply: Callable, params: Any, statistics: Any, keys: tuple, momentum: float
) -> Callable:
    """One pass over both halves with running statistics."""
    del keys, momentum

    def both(xs: tuple) -> tuple:
        logits, _ = apply(params, statistics, jnp.concatenate(xs), train=False, key=None)
        halves = jnp.split(logits, 2)
        return (halves[0], halves[1]), (halves[0], statistics)

    return both


def _definition(
    both: Callable, xs: tuple, patch: Patch, labels: Any, weight: jax.Array
) -> tuple:
    """R by the gradient itself, weight R, and what the passes returned besides."""

    def total(xs: tuple) -> tuple:
        logits, aux = both(xs)
        return _total(logits, labels), aux

    grads, aux = jax.grad(total, has_aux=True)(xs)
    change = mean_abs_cosine(*(_patches.crop(g, patch) for g in grads))
    return change, weight * change, aux


def _two_stage(
    both: Callable, xs: tuple, patch: Patch, labels: Any, weight: jax.Array
) -> tuple:
    """R, weight R with the gradient of its surrogate, and what the passes returned besides.

    The weight goes into the tangents: then the cotangent of every directional derivative
    is 1, its chain back through the network is the one that gave g and g', and the
    compiler merges the two.
    """
    grads = jax.grad(lambda xs: _total(both(xs)[0], labels))(xs)
    crops = tuple(lax.stop_gradient(_patches.crop(g, patch)) for g in grads)
    change, slopes = jax.value_and_grad(lambda pair: mean_abs_cosine(*pair))(crops)
    tangents = tuple(
        _patches.embed(lax.stop_gradient(weight) * slope, patch, x)
        for slope, x in zip(slopes, xs, strict=True)
    )
    _, derivatives, aux = jax.jvp(both, (xs,), (tangents,), has_aux=True)
    surrogate = _total(derivatives, labels)
    # Value weight R, derivative that of the surrogate.
    return change, weight * change + (surrogate - lax.stop_gradient(surrogate)), aux


def _total(logits: tuple[jax.Array, jax.Array], labels: Any) -> jax.Array:
    """Sum over both passes and all images of the logit that counts."""
    return sum(
        (jnp.sum(counted(z, labels)) for z in logits), jnp.zeros((), logits[0].dtype)
    )


def counted(logits: jax.Array, labels: Any) -> jax.Array:
    """One logit an image: (B,) as it is, (B, K) at the labels."""
    if logits.ndim == 1:
        return logits
    if logits.ndim != 2:
        raise ValueError(f"`logits_fn` must give (B,) or (B, K), got {logits.shape}.")
    if labels is None:
        raise ValueError(
            f"`logits_fn` gives {logits.shape[1]} logits an image; say by `labels` which "
            "one counts."
        )
    labels = jnp.asarray(labels)
    if _checks.concrete(labels) and not bool(
        jnp.all((labels >= 0) & (labels < logits.shape[1]))
    ):
        raise ValueError(
            f"`labels` must be in 0 ... {logits.shape[1] - 1}, got "
            f"{int(labels.min())} ... {int(labels.max())}."
        )
    return jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
