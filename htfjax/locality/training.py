"""Training a network on examples in epochs of minibatches, through the one step function.

The loss draws its batches from the key of the step, so `continue_descent` with a key runs
it; what epochs need to hand on (running statistics, the order of this epoch, sums over it)
is carried beside the weights.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import jax
import jax.numpy as jnp
import optax
from jax import lax

from htfjax import _checks, _reprs
from htfjax._types import Array, ArrayLike, Bool, Float, Int, Key, PyTree, Shaped
from htfjax.locality import inputs as _inputs
from htfjax.locality.inputs import Examples
from htfjax.locality.labels import check_labels
from htfjax.locality.logits import count_correct, fit_loss
from htfjax.locality.networks.network import as_apply
from htfjax.locality.regularizer import patches as _patches
from htfjax.locality.regularizer.gradient_norm import gradient_norm_loss
from htfjax.locality.regularizer.patch_draws import Draw, check_draw
from htfjax.locality.regularizer.regularizer import (
    BATCH_NORMS,
    Apply,
    BatchNorms,
    is_zero,
    regularized_loss,
)
from htfjax.losses.gradient import Carrying, check_key

Penalty = Literal["input_gradient_change", "input_gradient_norm"]
PENALTIES = get_args(Penalty)
Tree = TypeVar("Tree")


class EpochSums(NamedTuple):
    """Sums over the images of an epoch, each at the weights of its own step.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> examples = locality.ArrayExamples(jnp.ones((6, 4, 4, 1)), jnp.zeros(6))
      >>> start = locality.start_training({"w": jnp.ones(3)}, {}, examples)
      >>> isinstance(start.carried.current, locality.EpochSums)
      True
      >>> int(start.carried.current.correct)
      0
    """

    correct: Int[Array, ""]
    loss: Float[Array, ""]  # without penalty
    penalty: Float[Array, ""]  # not multiplied by the coefficient; NaN without one
    unseen: Int[Array, ""]  # images without an input gradient, see `Measured`
    uncoupled: Int[Array, ""]  # images without an interaction of the patches, likewise

    def __repr__(self) -> str:
        return _reprs.text(self)


class Course(NamedTuple):
    """State of training that is carried beside the weights.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> examples = locality.ArrayExamples(jnp.ones((6, 4, 4, 1)), jnp.zeros(6))
      >>> start = locality.start_training({"w": jnp.ones(3)}, {}, examples)
      >>> isinstance(start.carried, locality.Course), int(start.carried.epochs)
      (True, 0)
    """

    statistics: PyTree  # running statistics of the network
    order: Int[Array, "N"]  # the examples in the order of this epoch
    position: Int[Array, ""]  # steps made in this epoch
    current: EpochSums  # of this epoch so far
    last: EpochSums  # of the last complete epoch
    epochs: Int[Array, ""]  # complete ones
    perfect: Int[Array, ""]  # of them in a row with every image right
    held: Bool[Array, ""]  # whether the last step made no update
    failed: Bool[Array, ""]  # whether a loss was not finite

    def __repr__(self) -> str:
        return _reprs.text(self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class TrainingLoss:
    """The loss of one step of training; see `training_loss`.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> def apply(w, statistics, x, *, train, key=None):
      ...     return w * x.sum((1, 2, 3)), statistics
      >>> examples = locality.ArrayExamples(jnp.ones((6, 4, 4, 1)), jnp.zeros(6))
      >>> loss = locality.training_loss(apply, examples, coefficient=0, batch_size=2)
      >>> isinstance(loss, locality.TrainingLoss), loss.batch_size
      (True, 2)
    """

    examples: Examples
    patches: Draw | None  # a pytree; None without the locality regularizer
    coefficient: ArrayLike | None  # None without a penalty
    apply: Apply[PyTree] = dataclasses.field(metadata={"static": True})
    batch_size: int = dataclasses.field(metadata={"static": True})
    penalty: Penalty = dataclasses.field(metadata={"static": True})
    batch_norm: BatchNorms = dataclasses.field(metadata={"static": True})
    momentum: float = dataclasses.field(metadata={"static": True})
    patience: int | None = dataclasses.field(metadata={"static": True})

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __call__(
        self, params: Carrying, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, ""], Course]:
        """Value at the step's batch and the new `Course`.

        Raises:
          TypeError: `params` not from `start_training`, not a typed key.
          ValueError: a label that the network has no logit for, where it can be seen.
        """
        value, _, course = self._step(params, key, differentiate=False)
        return value, course

    def value_and_grad(
        self, params: Carrying, key: Key[Array, ""] | None = None
    ) -> tuple[tuple[Float[Array, ""], Course], PyTree]:
        """((value, new `Course`), gradient by the weights), in fewer passes than
        `jax.value_and_grad` of the loss takes.

        Raises: as the call.
        """
        value, grads, course = self._step(params, key, differentiate=True)
        return (value, course), grads

    def check_weights(self, params: Carrying) -> None:
        """Labels that the network at these weights has a logit for: asked before a descent,
        as its compiled steps do not see labels.

        Raises:
          TypeError: `params` not from `start_training`. ValueError: a label out of range.
        """
        weights, course = _checked_params(params)
        check_labels(self.apply, weights, course.statistics, self.examples)

    def _step(self, params: Carrying, key: Any, differentiate: bool) -> tuple:
        """Value, gradient (() unless it is asked for) and the new `Course`."""
        weights, course = _checked_params(params)
        check_key(key)
        self.check_weights(params)
        full, part = divmod(self.examples.count, self.batch_size)
        branches = [self._batch(weights, key, self.batch_size, differentiate)]
        if part:
            branches.append(self._batch(weights, key, part, differentiate))
        branches.append(_stay(weights if differentiate else ()))
        last = course.position == full if part else jnp.zeros((), bool)
        index = jnp.where(self._stopped(course), len(branches) - 1, last.astype(jnp.int32))
        return lax.switch(index, branches, course)

    def _stopped(self, course: Course) -> jax.Array:
        if self.patience is None:
            return course.failed
        return course.failed | (course.perfect > self.patience)

    def _batch(
        self, weights: PyTree, key: jax.Array, size: int, differentiate: bool
    ) -> Callable:
        """The branch that takes `size` images from the order of the epoch."""
        for_order, for_patches, for_net = jax.random.split(key, 3)

        def branch(course: Course) -> tuple:
            everyone = jnp.arange(self.examples.count, dtype=jnp.int32)
            order = lax.cond(
                course.position == 0,
                lambda order: jax.random.permutation(for_order, everyone),
                lambda order: order,
                course.order,
            )
            start = course.position * jnp.int32(self.batch_size)
            rows = lax.dynamic_slice(order, (start,), (size,))
            x, y = self.examples.batch(rows)

            def objective(weights: PyTree) -> tuple:
                return self._objective(
                    weights, course.statistics, x, y, for_patches, for_net,
                    two_stage=differentiate,
                )  # fmt: skip

            # Differentiated here, inside the branch, where the compiler shares its passes.
            if differentiate:
                found, grads = jax.value_and_grad(objective, has_aux=True)(weights)
            else:
                found, grads = objective(weights), ()
            value, (statistics, seen) = found
            size_ = jnp.asarray(size, value.dtype)
            sums = EpochSums(
                count_correct(seen.logits, y),
                seen.loss * size_,
                seen.change * size_,
                seen.unseen,
                seen.uncoupled,
            )
            steps = steps_per_epoch(self.examples.count, self.batch_size)
            moved = _advance(course, sums, statistics, order, steps)
            return value, grads, _unless_failed(course, moved, value)

        return branch

    def _objective(
        self, weights: PyTree, statistics: PyTree, x: jax.Array, y: jax.Array,
        for_patches: jax.Array, key: jax.Array, two_stage: bool,
    ) -> tuple:  # fmt: skip
        def fit(logits: jax.Array) -> jax.Array:
            return fit_loss(logits, y)

        if self.coefficient is not None and self.penalty == "input_gradient_norm":
            return gradient_norm_loss(
                self.apply, fit, weights, statistics, x, labels=y,
                coefficient=self.coefficient, key=key,
            )  # fmt: skip
        return regularized_loss(
            self.apply, fit, weights, statistics, x,
            None if self.patches is None else self.patches(for_patches),
            coefficient=0 if self.coefficient is None else self.coefficient, labels=y,
            batch_norm=self.batch_norm, momentum=self.momentum, key=key,
            two_stage=two_stage,
        )  # fmt: skip


def training_loss(
    apply: Apply[PyTree],
    examples: Examples,
    *,
    coefficient: float = 0.0,
    patches: Draw | None = None,
    batch_size: int = 64,
    penalty: Penalty = "input_gradient_change",
    batch_norm: BatchNorms = "reference",
    momentum: float = 0.1,
    patience: int | None = 20,
) -> TrainingLoss:
    """Mean loss of a minibatch plus coefficient times a penalty, in epochs.

    Every epoch is a permutation of the examples cut into batches, the last one smaller if
    they do not come out even. Order, patches and dropout of step t follow from
    fold_in(key, t). One logit is trained by binary cross-entropy, K by softmax.

    Training stops by itself: once every image was right in more than `patience` epochs in
    a row (running over the epoch, each batch before its update), or once a loss is not
    finite, steps change nothing more. That needs the optimizer wrapped by `hold`.

    A pytree: other examples of the same shape, patches and coefficients (none of them
    zero) retrace nothing.

    Args:
      apply: `Network.apply`, or the `Network`.
      examples: a pytree with `count` and `batch(rows) -> (x, y)`.
      coefficient: of the penalty; 0 leaves it out, with its passes.
      patches: `patches(key) -> (P, Q)`, a pytree such as `EitherOrder` or `RandomPatches`,
        or a function.
      batch_size: images per step.
      penalty: "input_gradient_change", or the control "input_gradient_norm".
      batch_norm, momentum: as in `regularized_loss`.
      patience: as above; None never stops.

    Raises:
      TypeError: an `apply` that cannot be called or hashed, things that are not examples,
        numbers of another kind.
      ValueError: a batch of one (also as what is left of an epoch), more images per step
        than examples, no patches for the regularizer, patches that overlap or lie outside
        the images, unknown words, a negative coefficient, a momentum outside [0, 1]. By the
        loss: labels that the network has no logit for.

    Source: arXiv:2201.11729, experiments: batches of 64, patience 20.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp, numpy as np, optax
      >>> from htfjax import locality
      >>> def apply(w, statistics, x, *, train, key=None):
      ...     return (jnp.tanh(x.reshape(x.shape[0], -1) @ w["a"]) @ w["b"]), statistics
      >>> pairs = locality.ArrayExamples(
      ...     jax.random.normal(jax.random.key(0), (20, 4, 8, 1)), jnp.arange(20) % 2)
      >>> p, q = locality.Patch(0, 0, 4, 2), locality.Patch(0, 6, 4, 2)
      >>> loss = locality.training_loss(
      ...     apply, pairs, batch_size=8, coefficient=0.1,
      ...     patches=locality.EitherOrder(p, q))
      >>> w = {"a": jax.random.normal(jax.random.key(1), (32, 16)) / 6, "b": jnp.ones(16)}
      >>> optimizer = locality.hold(optax.sgd(0.3, momentum=0.9))
      >>> state = htf.start_descent(locality.start_training(w, {}, pairs), optimizer)
      >>> state, trajectory = htf.continue_descent(
      ...     state, loss, optimizer, num_steps=90, record_every=3,
      ...     observe=locality.epoch_records, key=jax.random.key(2))
      >>> float(trajectory.observed["train_accuracy"][-1])
      1.0
    """
    _checks.one_of("penalty", penalty, PENALTIES)
    _checks.one_of("batch_norm", batch_norm, BATCH_NORMS)
    _checks.positive("coefficient", coefficient)
    momentum = _inputs.static_number("momentum", momentum, least=0, most=1)
    apply = _inputs.static_function("apply", as_apply(apply))
    _inputs.examples_pytree("examples", examples, 2)
    batch_size = _checks.at_least("batch_size", batch_size, 1)
    if patience is not None:
        patience = _checks.at_least("patience", patience, 0)
    count = examples.count
    if batch_size > count:
        raise ValueError(f"`batch_size={batch_size}` exceeds the {count} examples.")
    if batch_size == 1 or count % batch_size == 1:
        made = "makes batches" if batch_size == 1 else f"leaves, of {count} examples, one"
        raise ValueError(
            f"`batch_size={batch_size}` {made} of a single image: batch statistics and the "
            "swap of patches need at least two."
        )
    regular = not is_zero(coefficient)
    if patches is not None:
        patches = _inputs.drawing_function("patches", _patches.traced_places(patches))
        check_draw(patches, _inputs.image_shape(examples))
    if regular and penalty == "input_gradient_change" and patches is None:
        raise ValueError("`patches` is needed: `EitherOrder` or `RandomPatches`.")
    return TrainingLoss(
        examples=examples,
        patches=patches if regular and penalty == "input_gradient_change" else None,
        coefficient=coefficient if regular else None,
        apply=apply,
        batch_size=batch_size,
        penalty=penalty,
        batch_norm=batch_norm,
        momentum=momentum,
        patience=patience,
    )


def start_training(params: PyTree, statistics: PyTree, examples: Examples) -> Carrying:
    """Weights and a `Course` at the start of the first epoch, for `start_descent`.

    Args:
      params, statistics: from `Network.init`.
      examples: what will be trained on.

    Raises:
      TypeError: parameters that are not arrays of numbers, or of which none is floating;
        things that are not examples.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> examples = locality.ArrayExamples(jnp.ones((6, 4, 4, 1)), jnp.zeros(6))
      >>> start = locality.start_training({"w": jnp.ones(3)}, {}, examples)
      >>> start.trained["w"].shape, start.carried.order.shape
      ((3,), (6,))
    """
    dtype = _inputs.floating_dtype("params", params)
    _inputs.examples_pytree("examples", examples)
    zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
    unknown = jnp.full((), jnp.nan, dtype)
    course = Course(
        statistics=statistics,
        order=jnp.arange(examples.count, dtype=jnp.int32),
        position=zero,
        current=EpochSums(zero, jnp.zeros((), dtype), jnp.zeros((), dtype), zero, zero),
        last=EpochSums(zero, unknown, unknown, zero, zero),
        epochs=zero,
        perfect=zero,
        held=no,
        failed=no,
    )
    return Carrying(params, course)


def epoch_records(params: Carrying) -> dict[str, Shaped[Array, ""]]:
    """Records of the last complete epoch: an `observe` for `continue_descent`.

    Returns:
      train_accuracy (running over the epoch), fit_loss, penalty, unseen (share of images
      without an input gradient where the penalty looks, see `Measured`), uncoupled (share
      without an interaction of the patches; at 1 no unit sees both, and the regularizer
      cannot help), epochs, perfect, failed. The first five are NaN before the end of the
      first epoch.

    Raises:
      TypeError: `params` not from `start_training`.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> examples = locality.ArrayExamples(jnp.ones((6, 4, 4, 1)), jnp.zeros(6))
      >>> start = locality.start_training({"w": jnp.ones(3)}, {}, examples)
      >>> records = locality.epoch_records(start)
      >>> int(records["epochs"]), float(records["train_accuracy"])
      (0, nan)
    """
    course = _checked_params(params).carried
    count = jnp.asarray(course.order.size, course.last.loss.dtype)

    def share(number: jax.Array) -> jax.Array:
        known = number.astype(count.dtype) / count
        return jnp.where(course.epochs == 0, jnp.full_like(known, jnp.nan), known)

    return {
        "train_accuracy": share(course.last.correct),
        "fit_loss": course.last.loss / count,
        "penalty": course.last.penalty / count,
        "unseen": share(course.last.unseen),
        "uncoupled": share(course.last.uncoupled),
        "epochs": course.epochs,
        "perfect": course.perfect,
        "failed": course.failed,
    }


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches of an epoch, the last one perhaps smaller.

    Raises:
      TypeError: not integers. ValueError: numbers below one.

    Example:
      >>> from htfjax import locality
      >>> locality.steps_per_epoch(800, 64)
      13
    """
    count = _checks.at_least("count", count, 1)
    return -(-count // _checks.at_least("batch_size", batch_size, 1))


def hold(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """An optimizer that stands still, with its whole state, once training has stopped.

    Momentum and weight decay would move weights even where the gradient is zero.

    Raises:
      TypeError: not an optax transformation.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from htfjax import locality
      >>> examples = locality.ArrayExamples(jnp.ones((6, 4, 4, 1)), jnp.zeros(6))
      >>> start = locality.start_training({"w": jnp.ones(3)}, {}, examples)
      >>> optimizer = locality.hold(optax.sgd(0.1, momentum=0.9))
      >>> stopped = start.carried._replace(held=jnp.array(True))
      >>> slope = {"w": jnp.ones(3)}
      >>> state = optimizer.init(start.trained)
      >>> steps, _ = optimizer.update(slope, state, start.trained, carried=stopped)
      >>> steps["w"].tolist()
      [0.0, 0.0, 0.0]
    """
    _checks.optimizer("optimizer", optimizer)
    inner = optax.with_extra_args_support(optimizer)

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, *,
        carried: object = None, **extra: Any,
    ) -> tuple[PyTree, PyTree]:  # fmt: skip
        if not isinstance(carried, Course):
            raise TypeError(
                "`carried` must be the Course of `start_training`, got "
                f"{_checks.spell(carried)}; `continue_descent` hands it on."
            )
        return lax.cond(
            carried.held,
            lambda: (jax.tree.map(jnp.zeros_like, updates), state),
            lambda: inner.update(updates, state, params, **extra),
        )

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _checked_params(params: object) -> Carrying:
    """Weights and `Course` as `start_training` gives them."""
    if not isinstance(params, Carrying) or not isinstance(params.carried, Course):
        raise TypeError(
            f"`params` must be what `start_training` gives, got {_checks.spell(params)}."
        )
    _check_course("params.carried", params.carried)
    return params


def _check_course(name: str, course: Course) -> None:
    """Shapes and dtypes of what epochs are read off."""
    order = _checks.integer_array(f"{name}.order", course.order)
    _checks.shape(f"{name}.order", order, (None,), "(N,)")
    epochs = _checks.integer_array(f"{name}.epochs", course.epochs)
    _checks.shape(f"{name}.epochs", epochs, (), "()")
    for part in ("current", "last"):
        sums = getattr(course, part)
        _checks.instance(f"{name}.{part}", sums, EpochSums, "`start_training` makes one")
        for field, value in sums._asdict().items():
            number = _checks.real_array(f"{name}.{part}.{field}", value)
            _checks.shape(f"{name}.{part}.{field}", number, (), "()")


def _stay(weights: PyTree) -> Callable:
    """The branch of training that has stopped."""

    def branch(course: Course) -> tuple:
        value = course.last.loss / jnp.asarray(course.order.size, course.last.loss.dtype)
        zeros = jax.tree.map(jnp.zeros_like, weights)
        return value, zeros, course._replace(held=jnp.ones((), bool))

    return branch


def _advance(
    course: Course, sums: EpochSums, statistics: PyTree, order: jax.Array, steps: int
) -> Course:
    """One batch later; at the end of an epoch its sums are closed."""
    current = EpochSums(*(a + b for a, b in zip(course.current, sums, strict=True)))
    ended = course.position == steps - 1
    one, zero = jnp.int32(1), jnp.int32(0)
    right = current.correct == order.size

    def either(a: Tree, b: Tree) -> Tree:
        return jax.tree.map(lambda a, b: jnp.where(ended, a, b), a, b)

    return Course(
        statistics=statistics,
        order=order,
        position=either(zero, course.position + one),
        current=either(jax.tree.map(jnp.zeros_like, current), current),
        last=either(current, course.last),
        epochs=course.epochs + ended.astype(jnp.int32),
        perfect=either(jnp.where(right, course.perfect + one, zero), course.perfect),
        held=jnp.zeros((), bool),
        failed=course.failed,
    )


def _unless_failed(course: Course, moved: Course, value: jax.Array) -> Course:
    """The new course, or the old one marked as failed."""
    bad = ~jnp.isfinite(value)
    kept = course._replace(held=bad, failed=bad)
    return jax.tree.map(lambda a, b: jnp.where(bad, a, b), kept, moved)
