"""The locality regularizer: |cos| of a patch's input gradients as another patch changes.

If a network's output is g(outside Q) h(inside Q), or a sum of the two, then the gradient at
a patch P outside Q keeps its direction when the content of Q changes: |cos| between the two
gradients is 1. Lowering it forces an interaction of P and Q. The converse does not hold:
|cos| is 1 for every f = phi(g, h) of one number g(outside Q) and of h(inside Q), although
tanh(g + h) couples P and Q.
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from htfjax import _checks, _reprs
from htfjax._derivatives import only_slope
from htfjax._types import Array, ArrayLike, Float, Int, Key, Numbers, PyTree
from htfjax.locality import inputs as _inputs
from htfjax.locality.networks.network import Network, as_apply, as_logits_fn
from htfjax.locality.regularizer import patches as _patches
from htfjax.locality.regularizer.cosine import mean_abs_cosine
from htfjax.locality.regularizer.patch_draws import check_pair
from htfjax.locality.regularizer.patches import Patch

Statistics = TypeVar("Statistics")  # of a network, a pytree
Fit = Callable[[jax.Array], jax.Array]
Run = Callable[..., tuple[jax.Array, Statistics]]
Apply = Network | Run[Statistics]
# A start value above this means that hardly any unit sees both patches.
BLIND = 0.95
ROUNDING = 1e-2  # what a mean |cos| may exceed 1 by, in half precision
BatchNorms = Literal["reference", "split", "frozen"]
BATCH_NORMS = get_args(BatchNorms)
SECOND = (
    "The gradient in two stages has no derivative: for second derivatives use "
    "`input_gradient_change` for `training_gradient_change`, and `two_stage=False` in "
    "`regularized_loss`."
)


class Measured(NamedTuple):
    """Measurements of a regularized step, besides the value it descends on.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> def apply(weights, statistics, x, *, train, key):
      ...     return jnp.sum(x * weights, axis=(1, 2, 3)), statistics
      >>> value, (_, measured) = locality.regularized_loss(
      ...     apply, jnp.mean, jnp.ones((1, 8, 8, 1)), {}, jnp.ones((4, 8, 8, 1)), None,
      ...     coefficient=0.0)
      >>> isinstance(measured, locality.Measured), measured.logits.shape
      (True, (4,))
    """

    loss: Float[Array, ""]  # without the regularizer
    change: Float[Array, ""]  # mean |cos|, without the coefficient; NaN if skipped
    logits: Float[Array, "B *K"]  # of the images as they are
    unseen: Int[Array, ""]  # images whose gradient at P is zero; 0 if skipped
    uncoupled: Int[Array, ""]  # those, and images whose gradient at P does not turn at all

    def __repr__(self) -> str:
        return _reprs.text(self)


def input_gradient_change(
    logits_fn: Callable[[jax.Array], jax.Array],
    x: Numbers,
    patch: Patch,
    other_patch: Patch,
    *,
    labels: Numbers | None = None,
) -> Float[Array, ""]:
    """Mean over i of |cos(g_i, g'_i)|, the input gradients before and after a swap.

    g = d sum_i z_i / dx restricted to P, at x; g' the same at x', in which Q holds the
    content of the next image of the batch. Of a network in train mode g also holds what an
    image does to the others through batch statistics.

    The value is between 0 and 1 and does not change when the logits are multiplied by a
    number or shifted. Below 1, P and Q interact. At 1 they may too: then P enters through
    one number for each content of the rest, as in tanh(g(P) + h(Q)). Gradients of n numbers
    with unrelated directions give about sqrt(2 / (pi n)), not 0, so values of patches of
    different sizes do not compare. An image whose gradient at P is exactly zero before or
    after the swap shows no interaction and counts as 1, with derivative zero;
    `Measured.unseen` of `regularized_loss` and `ChangeByDistance.unseen` count such images,
    `Measured.uncoupled` those and images whose |cos| is 1 to rounding: all of them where no
    unit sees both patches.

    Differentiable in whatever `logits_fn` closes over, any number of times;
    `training_gradient_change` has the same value and first derivative at less cost.

    Args:
      logits_fn: (B, H, W, C) -> (B,), or (B, K) with `labels`; or a module of nnx or
        equinox, taken in evaluation with its weights.
      x: (B, H, W, C), at least two images; integers become the default floating dtype.
      patch: P, where gradients are read.
      other_patch: Q, whose content is swapped; apart from P.
      labels: (B,) whole numbers, which of K logits each image contributes.

    Raises:
      ValueError: a batch of one, NaN in it, a patch outside the image, overlapping patches,
        a P of a single number (|cos| of two numbers is 1), K logits without labels, labels
        of another length or out of range.
      TypeError: `x` or `labels` are not numbers, `logits_fn` is not a function, patches
        that are not `Patch`.

    Source: arXiv:2201.11729, the explicit regularizer; https://arxiv.org/abs/2201.11729.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
      >>> p, q = locality.Patch(0, 0, 2, 2), locality.Patch(5, 5, 2, 2)
      >>> local = lambda x: jnp.sum(jnp.tanh(x), axis=(1, 2, 3))  # no interaction
      >>> round(float(locality.input_gradient_change(local, x, p, q)), 9)
      1.0
      >>> mirrored = lambda x: local(x * x[:, ::-1, ::-1])  # P meets its mirror image in Q
      >>> bool(locality.input_gradient_change(mirrored, x, p, q) < 0.999)
      True
    """
    both = _both_passes(logits_fn)
    xs = _swapped(x, patch, other_patch)
    grads = jax.grad(lambda xs: _total(both(xs)[0], labels, "logits_fn"))(xs)
    return mean_abs_cosine(*(_patches.crop(g, patch) for g in grads))[0]


def training_gradient_change(
    logits_fn: Callable[[jax.Array], jax.Array],
    x: Numbers,
    patch: Patch,
    other_patch: Patch,
    *,
    labels: Numbers | None = None,
) -> Float[Array, ""]:
    """`input_gradient_change` with an equal gradient in two stages: one line of a loop.

    R depends on the weights through g and g' only. With u = dR/dg and u' = dR/dg' in
    closed form and held constant, dR = d (D f(x)[u] + D f(x')[u']) for f = sum_i z_i, and
    directional derivatives are forward mode: reverse over forward instead of reverse over
    reverse. The flops are equal; on two cores a step of our ResNet18 takes 7 % less.

    Higher derivatives are refused. If the network keeps batch statistics, use
    `regularized_loss`.

    Args, returns, raises: as `input_gradient_change`.

    Source: arXiv:2201.11729 for R; forward over the cotangent of a scalar is the double
    backpropagation of Drucker and LeCun (1992) rearranged.

    Example:
      A plain JAX training loop gains one term:

      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
      >>> y = jnp.array([0.0, 1.0, 1.0, 0.0])
      >>> p, q = locality.Patch(0, 0, 2, 2), locality.Patch(5, 5, 2, 2)
      >>> def logits(w, x):
      ...     return jnp.tanh(x.reshape(x.shape[0], -1) @ w).sum(1)
      >>> def loss(w):
      ...     fit = jnp.mean((logits(w, x) - y) ** 2)
      ...     f = lambda x: logits(w, x)
      ...     return fit + 0.1 * locality.training_gradient_change(f, x, p, q)
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
      ...     fit = jnp.mean((f(x) - y) ** 2)
      ...     return fit + 0.1 * locality.training_gradient_change(f, x, p, q)
      >>> grads = jax.grad(loss)(weights)
    """
    xs = _swapped(x, patch, other_patch)
    weight = jnp.ones((), xs[0].dtype)
    both = _both_passes(logits_fn)
    return _two_stage(both, xs, patch, (labels, "logits_fn"), weight)[1]


def regularized_loss(
    apply: Apply[Statistics],
    fit: Fit,
    params: PyTree,
    statistics: Statistics,
    x: Numbers,
    patches: tuple[Patch, Patch] | None,
    *,
    coefficient: ArrayLike,
    labels: Numbers | None = None,
    batch_norm: BatchNorms = "reference",
    momentum: float = 0.1,
    key: Key[Array, ""] | None = None,
    two_stage: bool = True,
) -> tuple[Float[Array, ""], tuple[Statistics, Measured]]:
    """fit(logits) + coefficient R, for a network with batch statistics.

    A coefficient that is seen to be 0 (not a traced one) skips the regularizer and its
    passes.
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
        `Network.apply` for example; or the `Network`.
      fit: loss of the logits, () from (B,) or (B, K).
      params: weights, a pytree.
      statistics: running statistics, a pytree (empty for networks without any).
      x: (B, H, W, C).
      patches: P and Q; None for a coefficient of 0.
      coefficient: of R.
      labels: (B,) whole numbers, needed for K logits.
      batch_norm: "reference", "split" or "frozen".
      momentum: weight of the new batch in the running statistics, for "split".
      key: typed key for dropout; each pass gets its own.
      two_stage: False takes the gradient of the definition: equal, on two cores 7 %
        slower for a ResNet18, in nine tenths of the memory, and differentiable again.

    Returns:
      The value and (new statistics, `Measured`): use `jax.value_and_grad(has_aux=True)`.

    Raises:
      TypeError, ValueError: as `input_gradient_change`; an unknown `batch_norm`, a
        coefficient that is not finite, a momentum outside [0, 1], an `apply` or `fit` that
        returns something else than is said above.

    Source: arXiv:2201.11729, regularized training.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> def apply(weights, statistics, x, *, train, key):
      ...     return jnp.sum(jnp.tanh(x * weights), axis=(1, 2, 3)), statistics
      >>> x = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
      >>> value, (_, measured) = locality.regularized_loss(
      ...     apply, lambda z: jnp.mean(z**2), jnp.ones((1, 8, 8, 1)), {}, x,
      ...     (locality.Patch(0, 0, 2, 2), locality.Patch(4, 4, 2, 2)), coefficient=0.5)
      >>> bool(value == measured.loss + 0.5 * measured.change)
      True
    """
    _checks.one_of("batch_norm", batch_norm, BATCH_NORMS)
    momentum = _inputs.static_number("momentum", momentum, least=0, most=1)
    two_stage = _checks.flag("two_stage", two_stage)
    keys = _two_keys(key)
    run, fit = checked_apply(apply), checked_fit(fit)
    if is_zero(coefficient):
        x = _inputs.images("x", x)
        logits, after = run(params, statistics, x, train=True, key=keys[0])
        counted(logits, labels, "apply", needed=False)
        loss = fit(logits)
        unknown, none = jnp.full_like(loss, jnp.nan), jnp.zeros((), jnp.int32)
        return loss, (after, Measured(loss, unknown, logits, none, none))
    patch, other_patch = check_pair("patches", patches)
    xs = _swapped(x, patch, other_patch)
    passes = {"reference": _in_turn, "split": _side_by_side, "frozen": _at_rest}[batch_norm]
    both = passes(run, params, statistics, keys, momentum)
    form = _two_stage if two_stage else _definition
    weight = jnp.asarray(coefficient, xs[0].dtype)
    change, penalty, counts, (logits, after) = form(
        both, xs, patch, (labels, "apply"), weight
    )
    if batch_norm == "frozen":
        logits, after = run(params, statistics, xs[0], train=True, key=keys[0])
    loss = fit(logits)
    measured = Measured(loss, change, logits, *counts)
    return loss + penalty.astype(loss.dtype), (after, measured)


def warn_if_blind(change: Numbers, threshold: float = BLIND) -> bool:
    """Warns when the regularizer starts near 1, or as NaN: it cannot help there.

    Mean |cos| is 1 and its gradient vanishes when no unit sees both patches (a receptive
    field smaller than their distance, or a last stride that falls badly), and when the
    network does not see the patch at all. `Measured.uncoupled` and `Measured.unseen` count
    such images of a step, `epoch_records` their shares of an epoch.

    Args:
      change: the regularizer's value at initialization.
      threshold: above it the warning is given.

    Returns:
      Whether it warned.

    Raises:
      TypeError: not a number, or a traced one. ValueError: `change` below 0 or above 1, a
        threshold that is not finite.

    Example:
      >>> from htfjax import locality
      >>> locality.warn_if_blind(0.7)
      False
    """
    threshold = _inputs.static_number("threshold", threshold)
    value = _inputs.on_host("change", change)
    if value.size != 1 or value.dtype == bool:
        raise TypeError(f"`change` must be one number, got {_checks.spell(change)}.")
    value = float(value.reshape(()))
    if value < 0 or value > 1 + ROUNDING:
        raise ValueError(f"`change={value}` must be a mean |cos|, from 0 to 1.")
    if value <= threshold:
        return False
    why = (
        "input gradients are not finite"
        if np.isnan(value)
        else f"above {threshold:g} hardly any unit sees both patches, or the network does "
        "not see the patch at all, so it cannot bring them together. Enlarge the receptive "
        "field (about the patches' distance plus 15 pixels was enough) or move the strides"
    )
    warnings.warn(f"the locality regularizer starts at {value:.4f}: {why}.", stacklevel=2)
    return True


def is_zero(coefficient: Any) -> bool:
    """Whether a coefficient is a finite number that is seen to be zero."""
    _checks.real("coefficient", coefficient)
    return _checks.concrete(coefficient) and float(coefficient) == 0


def checked_apply(apply: Apply[Statistics]) -> Run[Statistics]:
    """A network whose answer is looked at: logits of as many images, and statistics."""
    run = _checks.function("apply", as_apply(apply))

    def checked(
        params: PyTree, statistics: Statistics, x: jax.Array, **options: Any
    ) -> tuple[jax.Array, Statistics]:
        answer = run(params, statistics, x, **options)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise TypeError(
                f"`apply` must return (logits, statistics), got {_checks.spell(answer)}."
            )
        return _inputs.check_logits("apply", answer[0], len(x)), answer[1]

    return checked


def checked_fit(fit: Fit) -> Fit:
    """A loss of the logits whose answer is looked at: one floating number."""
    _checks.function("fit", fit)

    def checked(logits: jax.Array) -> jax.Array:
        loss = _inputs.numbers("fit", fit(logits))
        if loss.shape or not jnp.issubdtype(loss.dtype, jnp.floating):
            raise ValueError(
                f"`fit` must return one floating number, got {loss.dtype} of shape "
                f"{loss.shape}."
            )
        return loss

    return checked


def check_key(key: object) -> None:
    """A typed key, or None."""
    if key is not None:
        _checks.key("key", key)


def _two_keys(key: jax.Array | None) -> tuple:
    check_key(key)
    return (None, None) if key is None else tuple(jax.random.split(key))


def _swapped(x: Numbers, patch: Patch, other_patch: Patch) -> tuple[jax.Array, jax.Array]:
    """Checked images, and the same with contents of Q from the next image."""
    x = _inputs.images("x", x)
    if x.shape[0] < 2:
        raise ValueError(
            "`x` is a batch of one: a patch is swapped with the next image of the batch, "
            "so at least two are needed."
        )
    _patches.check_inside("patch", patch, x.shape)
    _patches.check_inside("other_patch", other_patch, x.shape)
    _patches.check_apart(patch, other_patch)
    check_direction("patch", patch.height, patch.width, x.shape[3])
    return x, _patches.swap_patch(lax.stop_gradient(x), other_patch)


def check_direction(name: str, height: int, width: int, channels: int) -> None:
    """A gradient at a patch of these sides has a direction, not only a sign."""
    if height * width * channels == 1:
        raise ValueError(
            f"`{name}` holds a single number (1 x 1 pixel of 1 channel): |cos| of two "
            "numbers is 1 whatever the network does; use a larger patch."
        )


def _both_passes(logits_fn: Callable[[jax.Array], jax.Array]) -> Callable:
    logits_fn = as_logits_fn("logits_fn", logits_fn)

    def one(x: jax.Array) -> jax.Array:
        return _inputs.check_logits("logits_fn", logits_fn(x), len(x))

    return lambda xs: ((one(xs[0]), one(xs[1])), None)


def _in_turn(
    apply: Callable, params: PyTree, statistics: PyTree, keys: tuple, momentum: float
) -> Callable:
    """Two passes, running statistics handed from the first to the second."""
    del momentum

    def both(xs: tuple) -> tuple:
        first, between = apply(params, statistics, xs[0], train=True, key=keys[0])
        second, after = apply(params, between, xs[1], train=True, key=keys[1])
        return (first, second), (first, after)

    return both


def _side_by_side(
    apply: Callable, params: PyTree, statistics: PyTree, keys: tuple, momentum: float
) -> Callable:
    """One batched pass, statistics per half; their updates composed in order.

    s1 = (1-m) s0 + m b1 and s2 = (1-m) s1 + m b2 = t2 + (1-m) (s1 - s0), where
    t2 = (1-m) s0 + m b2 is what the second half alone makes of s0.
    """

    def both(xs: tuple) -> tuple:
        def half(x: jax.Array, key: jax.Array | None) -> tuple:
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
    apply: Callable, params: PyTree, statistics: PyTree, keys: tuple, momentum: float
) -> Callable:
    """One pass over both halves with running statistics."""
    del keys, momentum

    def both(xs: tuple) -> tuple:
        logits, _ = apply(params, statistics, jnp.concatenate(xs), train=False, key=None)
        halves = jnp.split(logits, 2)
        return (halves[0], halves[1]), (halves[0], statistics)

    return both


def _definition(
    both: Callable, xs: tuple, patch: Patch, which: tuple, weight: jax.Array
) -> tuple:
    """R by the gradient itself, weight R, `Counts` of images, and the passes' rest.

    Args:
      which: labels, and the name of the function that gives logits.
    """

    def total(xs: tuple) -> tuple:
        logits, aux = both(xs)
        return _total(logits, *which), aux

    grads, aux = jax.grad(total, has_aux=True)(xs)
    change, counts = mean_abs_cosine(*(_patches.crop(g, patch) for g in grads))
    return change, weight * change, counts, aux


def _two_stage(
    both: Callable, xs: tuple, patch: Patch, which: tuple, weight: jax.Array
) -> tuple:
    """As `_definition`, but weight R has the gradient of its surrogate.

    The weight goes into the tangents: then the cotangent of every directional derivative
    is 1, its chain back through the network is the one that gave g and g', and the
    compiler merges the two.
    """
    grads = jax.grad(lambda xs: _total(both(xs)[0], *which))(xs)
    crops = tuple(lax.stop_gradient(_patches.crop(g, patch)) for g in grads)
    (change, counts), slopes = jax.value_and_grad(
        lambda pair: mean_abs_cosine(*pair), has_aux=True
    )(crops)
    tangents = tuple(
        _patches.embed(lax.stop_gradient(weight) * slope, patch, x)
        for slope, x in zip(slopes, xs, strict=True)
    )
    _, derivatives, aux = jax.jvp(both, (xs,), (tangents,), has_aux=True)
    slope = only_slope(_total(derivatives, *which), SECOND)
    return change, weight * change + slope, counts, aux


def _total(
    logits: tuple[jax.Array, jax.Array], labels: Numbers | None, source: str
) -> jax.Array:
    """Sum over both passes and all images of the logit that counts."""
    first, second = (jnp.sum(counted(z, labels, source)) for z in logits)
    return first + second


def counted(
    logits: jax.Array, labels: Numbers | None, source: str, *, needed: bool = True
) -> jax.Array:
    """One logit per image: (B,) as it is, (B, K) at the labels.

    Args:
      source: name of the function that gave the logits.
      needed: False lets K logits pass without labels.
    """
    classes = logits.shape[1] if logits.ndim == 2 else None
    if labels is not None:
        labels = _inputs.whole_labels("labels", labels, len(logits), classes)
    if classes is None or (labels is None and not needed):
        return logits
    if labels is None:
        raise ValueError(
            f"`{source}` gives {classes} logits per image; say by `labels` which one "
            "counts."
        )
    return jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
