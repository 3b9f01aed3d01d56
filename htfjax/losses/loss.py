"""Losses: a measurement of factors, data to compare it with, and a penalty; minibatches.

A loss is a pytree. Its data are leaves, so a jitted function that takes a loss as an
argument is traced once for all data of one shape, and `vmap` runs over data.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypedDict, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax._platforms import Platform, check_platform, default_platform
from htfjax._types import Array, ArrayLike, Dims, Float, Int, Key, Numbers, PyTree
from htfjax.contraction.end_tensor import flat_end_tensor
from htfjax.contraction.observed import DenseTargets, dense_penalties, dense_targets
from htfjax.contraction.plan import Plan
from htfjax.contraction.rates import ADVICE
from htfjax.contraction.sensing import check_vectors
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout, layout_of
from htfjax.factors.stacks import Stacks, opened
from htfjax.losses.gradient import check_key, prepared
from htfjax.losses.measurements import (
    Dense,
    Entries,
    Measurement,
    Planning,
    RankOne,
    check_measurement,
    parts_of,
)
from htfjax.losses.penalty import Penalty, check_data, mean_penalty, pointwise, working
from htfjax.losses.squares import NO_SQUARES
from htfjax.losses.sums import Summable
from htfjax.trees.mode_tree import TreeLike

Result = TypeVar("Result")  # a pytree of floating arrays


class Observing(Summable, abc.ABC):
    """A mean over observations, which lie in one part or, on several devices, in many."""

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """B, of all parts."""

    @property
    @abc.abstractmethod
    def first(self) -> "ObservationLoss":
        """A part, or its shapes."""

    @abc.abstractmethod
    def __call__(self, factors: AnyFactors) -> Float[Array, ""]:
        """The loss of the factors."""

    @abc.abstractmethod
    def take(self, rows: Int[Array, "b"]) -> "Observing":
        """The loss on some of its observations."""

    @abc.abstractmethod
    def summed(self, function: Callable[..., Result], *arguments: PyTree) -> Result:
        """function(part, *arguments), summed over the parts.

        A part is an `ObservationLoss`, or has what this asks for: `measurement`,
        `checked(predictions)` and `compare(predictions)`, its share of the mean.
        """

    @abc.abstractmethod
    def residuals_of(self, factors: AnyFactors) -> Float[Array, "B"]:
        """Predictions minus targets."""

    @abc.abstractmethod
    def check_squares(self) -> None:
        """A penalty that squares."""

    def residual_vector(
        self, factors: AnyFactors, key: Key[Array, ""] | None = None
    ) -> Float[Array, "B"]:
        """Residuals over sqrt(B), whose sum of squares is the loss.

        Raises:
          TypeError: another penalty than "l2".
        """
        del key  # nothing is drawn
        self.check_squares()
        found = self.residuals_of(factors)
        return found / np.asarray(np.sqrt(self.count), found.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ObservationLoss(Observing):
    """Mean penalty on measurements minus targets; made by `observation_loss` and others."""

    measurement: Any  # see `Measurement`
    targets: jax.Array  # (B,)
    threshold: jax.Array  # ()
    penalty: Penalty = dataclasses.field(metadata={"static": True})
    kept: DenseTargets | None = None  # of a `prepared` loss: it does not follow targets

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Fields; the threshold where the penalty has one."""
        huber = self.penalty == "huber"
        return _reprs.record(
            self,
            measurement=self.measurement,
            targets=self.targets,
            penalty=self.penalty,
            threshold=self.threshold if huber else None,
        )

    def __call__(self, factors: AnyFactors) -> Float[Array, ""]:
        """The loss of the factors."""
        layout, stacks = opened(factors)
        if not self.masks:
            return self.compare(self.measurement.predict(layout, stacks))

        def mean(plan: Plan, stacks: Stacks) -> jax.Array:
            if plan.root == "masked":
                return self._masked(layout, stacks)
            return self.compare(self.measurement.read(plan, layout, stacks))

        return self.measurement.by_plan(layout, stacks, mean, masked=True)

    @property
    def count(self) -> int:
        """B."""
        return self.targets.shape[0]

    @property
    def first(self) -> "ObservationLoss":
        """Itself."""
        return self

    @property
    def masks(self) -> bool:
        """Whether comparing the whole tensor with dense targets may pay, and is exact."""
        return self.penalty in getattr(self.measurement, "dense", ())

    @property
    def dense(self) -> DenseTargets | None:
        """The targets of entries as a dense array, if it `masks`."""
        if self.kept is not None or not self.masks:
            return self.kept
        rows = self.measurement
        return dense_targets(rows.tree, rows.mode_dims, rows.indices, self.targets)

    def compare(self, predictions: Float[Array, "B"]) -> Float[Array, ""]:
        """Mean penalty on predictions minus targets."""
        return mean_penalty(self.residuals(predictions), self.penalty, self.threshold)

    def residuals(self, predictions: Float[Array, "B"]) -> Float[Array, "B"]:
        """Predictions minus targets, in float32 where predictions have 16 bits."""
        predictions = self.checked(predictions)
        dtype = working(predictions.dtype)
        return predictions.astype(dtype) - _checks.cast("targets", self.targets, dtype)

    def residuals_of(self, factors: AnyFactors) -> Float[Array, "B"]:
        """Predictions minus targets."""
        return self.residuals(self.measurement.predict(*opened(factors)))

    def residual_at(self, factors: AnyFactors, place: Int[Array, ""]) -> Float[Array, ""]:
        """One number of `residual_vector`, without the others."""
        one = self.take(place[None])
        found = one.residuals_of(factors)[0]
        return found / np.asarray(np.sqrt(self.count), found.dtype)

    def check_squares(self) -> None:
        """A penalty that squares."""
        if self.penalty != "l2":
            raise TypeError(NO_SQUARES.format(what=f"its penalty is {self.penalty!r}"))

    def checked(self, predictions: object) -> jax.Array:
        """Predictions (B,), floating."""
        if not isinstance(predictions, jax.Array | np.ndarray | np.generic):
            raise TypeError(
                f"`measurement` predicts {_checks.spell(predictions)}, expected an array "
                f"(B,) = {self.targets.shape}, one for each of the `targets`."
            )
        if jnp.shape(predictions) != self.targets.shape:
            raise ValueError(
                f"`measurement` predicts values of shape {jnp.shape(predictions)}, "
                f"expected (B,) = {self.targets.shape}, one for each of the `targets`."
            )
        if not jnp.issubdtype(predictions.dtype, jnp.floating):
            raise TypeError(
                f"`measurement` predicts {predictions.dtype}, expected floating numbers."
            )
        return jnp.asarray(predictions)

    def take(self, rows: Int[Array, "b"]) -> "ObservationLoss":
        """The loss on some of its observations."""
        return dataclasses.replace(
            self,
            measurement=self.measurement.take(rows),
            targets=self.targets[rows],
            kept=None,
        )

    def parts(self, rows: np.ndarray) -> Iterator["ObservationLoss"]:
        """The loss on every row of places of observations, one after another."""
        taken = parts_of(self.measurement, [*map(jnp.asarray, rows)])
        for measurement, row in zip(taken, rows, strict=True):
            yield dataclasses.replace(
                self, measurement=measurement, targets=self.targets[row]
            )

    def summed(self, function: Callable[..., Result], *arguments: PyTree) -> Result:
        """That of its only part, itself."""
        return function(self, *arguments)

    def _masked(self, layout: Layout, stacks: Stacks) -> jax.Array:
        """Sum over all entries of count x penalty(W - mean target), without a gather."""
        dense = self.dense
        assert dense is not None
        values, _ = flat_end_tensor(layout, stacks)
        dtype = working(values.dtype)
        counts, means, rest = (_checks.cast("targets", x, dtype) for x in dense)
        costs = pointwise(values.astype(dtype) - means, self.penalty, self.threshold)
        return (jnp.sum(counts * costs) + rest) / np.asarray(len(self.targets), dtype)


@prepared.register
def _(loss: ObservationLoss) -> ObservationLoss:
    return dataclasses.replace(loss, kept=loss.dense)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class MinibatchLoss(Summable):
    """A loss on a random part of the observations; made by `minibatch_loss`."""

    loss: Observing
    batch_size: int = dataclasses.field(metadata={"static": True})

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __call__(
        self, factors: AnyFactors, key: Key[Array, ""] | None = None
    ) -> Float[Array, ""]:
        """The loss on the observations that `key` draws."""
        return self.drawn(key)(factors)

    def residual_vector(
        self, factors: AnyFactors, key: Key[Array, ""] | None = None
    ) -> Float[Array, "b"]:
        """Residuals of the observations that `key` draws, as of `ObservationLoss`."""
        return self.drawn(key).residual_vector(factors)

    def drawn(self, key: Any) -> Observing:
        """The loss on the observations that `key` draws."""
        check_key(key)
        rows = jax.random.permutation(key, self.loss.count)[: self.batch_size]
        return self.loss.take(rows)


def observation_loss(
    measurement: Measurement,
    targets: Numbers,
    *,
    penalty: Penalty = "l2",
    threshold: ArrayLike = 1.0,
) -> ObservationLoss:
    """Mean over b of penalty(predictions_b - y_b), for any measurement.

    Args:
      measurement: a pytree with `predict(layout, stacks)` and `take(rows)`; the example of
        `htfjax.losses.Measurement` is one of a user's own.
      targets: (B,) floats.
      penalty, threshold: as in `completion_loss`.

    Returns:
      A pytree, callable on factors, and as good as any other for minibatches, scaled
      gradients (if predictions are linear in the end tensor) and ensembles.

    Raises:
      TypeError: no measurement, or one that is not a pytree; masked or complex data.
        ValueError: no observations, non-finite data, a bad penalty or threshold; on call,
        predictions of another shape than the targets.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> vectors = htf.losses.RankOne((jnp.ones((4, 2)), jnp.ones((4, 3))))
      >>> loss = htf.observation_loss(vectors, jnp.ones(4), penalty="huber")
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 2, 0.0)
      >>> float(loss(zero))
      0.5
    """
    check_measurement(measurement)
    if jax.tree_util.all_leaves([measurement]):
        raise TypeError(
            f"`measurement` must be a pytree, but {type(measurement).__name__} is not "
            "registered as one; `jax.tree_util.register_dataclass` does it."
        )
    given = _checks.real_array("targets", targets)
    count = len(given) if given.ndim else 0
    targets, threshold = check_data(targets, count, penalty, threshold)
    return ObservationLoss(measurement, targets, threshold, penalty)


class CompletionOptions(TypedDict, total=False):
    """Options of `completion_loss`, for functions that hand them on."""

    penalty: Penalty
    threshold: ArrayLike
    plan: Planning | Plan
    platform: Platform | None


def completion_loss(
    tree: TreeLike,
    mode_dims: Dims,
    indices: Numbers,
    targets: Numbers,
    *,
    penalty: Penalty = "l2",
    threshold: ArrayLike = 1.0,
    plan: Planning | Plan = "auto",
    platform: Platform | None = None,
) -> ObservationLoss:
    """Completion: mean over b of penalty(W[i_b] - y_b), no factor 1/2.

    Penalties of a residual x: "l2" x^2, "l1" |x|, "huber" (smooth l1) x^2/(2 threshold)
    where |x| < threshold and |x| - threshold/2 outside.

    Repeated indices are allowed: each repetition counts, as in a mean over samples.

    Args:
      tree: mode tree of the factors the loss is for, nested modes or their text.
      mode_dims: D_n for every mode, or one int for all.
      indices: (B, N) integers.
      targets: (B,) floats; half precision is read as float32.
      penalty: "l2", "l1" or "huber".
      threshold: of "huber", above zero.
      plan: how to contract. "auto" picks the cheapest way for the factors it is called
        on, in arrays whose shapes depend on the number of observations only, so that one
        program serves all data of a shape. "exact" also finds the distinct observed
        sub-tuples, which pays when they are few. A `Plan` is carried out as it is.
      platform: plans for "cpu", "cuda" or "tpu"; by default for the platform that the
        program is lowered for, which traces every plan where they differ.

    Returns:
      A pytree, callable on factors; data are cast to the factors' dtype on call, or to
      float32 where that has 16 bits.

    Raises:
      TypeError: float indices, masked or complex data. ValueError: indices out of range or
        of another shape, no observations, targets of the wrong length, NaN, infinite or
        beyond the dtype, a bad penalty or threshold, a plan for other data, an unknown
        platform. Values are checked when they are concrete.

    Source: arXiv:2201.11729, tensor completion.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> loss = htf.completion_loss(htf.flat(2), 3, [[0, 0], [1, 2]], [1.0, -1.0])
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> float(loss(zero))
      1.0
    """
    entries = Entries.at(tree, mode_dims, indices, plan=plan, platform=platform)
    targets, threshold = check_data(targets, entries.indices.shape[0], penalty, threshold)
    tree, dims = entries.tree, entries.mode_dims
    dense = dense_penalties(tree, dims, entries.indices, penalty)
    entries = dataclasses.replace(entries, dense=dense)
    return ObservationLoss(entries, targets, threshold, penalty)


def sensing_loss(
    vectors: Numbers,
    targets: Numbers,
    *,
    penalty: Penalty = "l2",
    threshold: ArrayLike = 1.0,
) -> ObservationLoss:
    """Rank-one sensing: mean over b of penalty(<W, x_b^0 (x) ... (x) x_b^{N-1}> - y_b).

    Args:
      vectors: N arrays (B, D_n), or one array (N, B, D): one leaf, not N, which programs
        of many modes on grouped factors need.
      targets: (B,) floats.
      penalty, threshold: as in `completion_loss`.

    Returns:
      A pytree, callable on factors; data are cast as those of `completion_loss`.

    Raises:
      TypeError, ValueError: arrays of other shapes, masked, complex or non-finite data, no
        observations, a bad penalty or threshold.

    Source: arXiv:2201.11729, equivalence with networks.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> loss = htf.sensing_loss([jnp.ones((4, 2)), jnp.ones((4, 3))], jnp.ones(4))
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 2, 0.0)
      >>> float(loss(zero))
      1.0
    """
    held = check_vectors(vectors)
    held = (
        tuple(_checks.finite(f"vectors[{n}]", x) for n, x in enumerate(held))
        if isinstance(held, tuple)
        else _checks.finite("vectors", held)
    )
    _check_axes(held, targets)
    targets, threshold = check_data(targets, len(held[0]), penalty, threshold)
    return ObservationLoss(RankOne(held), targets, threshold, penalty)


def matrix_sensing_loss(
    matrices: Numbers,
    targets: Numbers,
    *,
    penalty: Penalty = "l2",
    threshold: ArrayLike = 1.0,
) -> ObservationLoss:
    """Matrix sensing: mean over b of penalty(<W, A_b> - y_b) for factors of order 2.

    Args:
      matrices: (B, D_0, D_1).
      targets: (B,) floats.
      penalty, threshold: as in `completion_loss`.

    Returns:
      A pytree, callable on factors; data are cast as those of `completion_loss`.

    Raises:
      TypeError, ValueError: arrays of other shapes, masked, complex or non-finite data, no
        observations, a bad penalty or threshold.

    Source: arXiv:2201.11729, matrix sensing.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> loss = htf.matrix_sensing_loss(jnp.ones((4, 2, 3)), jnp.ones(4))
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 2, 0.0)
      >>> float(loss(zero))
      1.0
    """
    array = _checks.finite("matrices", matrices)
    if array.ndim != 3:
        raise ValueError(f"`matrices` has shape {array.shape}, expected (B, D_0, D_1).")
    targets, threshold = check_data(targets, len(array), penalty, threshold)
    return ObservationLoss(Dense(array), targets, threshold, penalty)


def minibatch_loss(loss: Observing, batch_size: int) -> MinibatchLoss:
    """The loss on `batch_size` observations, drawn anew by every key.

    Drawn without replacement within a batch, independently between batches. Pass it with
    a `key` to `continue_descent`.

    Raises:
      TypeError: `loss` is not an observation loss.
      ValueError: a batch size below 1 or above the number of observations.

    Example:
      >>> import htfjax as htf, jax
      >>> loss = htf.completion_loss(htf.flat(2), 3, [[0, 0], [1, 2]], [1.0, -1.0])
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> float(htf.minibatch_loss(loss, 1)(zero, jax.random.key(1)))
      1.0
    """
    _check_observation_loss(loss)
    size = _checks.at_least("batch_size", batch_size, 1)
    count = loss.targets.shape[-1] if isinstance(loss, ObservationLoss) else loss.count
    if size > count:
        raise ValueError(f"`batch_size={size}` is more than the {count} observations.")
    return MinibatchLoss(loss, size)


def loss_plan(
    loss: Observing, factors: AnyFactors, *, platform: Platform | None = None
) -> Plan:
    """The plan by which a loss contracts factors of these widths.

    `print(htf.loss_plan(loss, factors).explain())` shows the alternatives at every node.
    Of a sharded loss it is the plan of each device.

    Args:
      platform: of the program; by default the loss's own, else the default device's.

    Raises:
      TypeError: not a completion loss.
      ValueError: factors of another tree or other mode dimensions than the loss has, or of
        other widths than its plan has; an unknown platform.

    Example:
      >>> import htfjax as htf, jax
      >>> loss = htf.completion_loss(htf.flat(2), 3, [[0, 0], [1, 2]], [1.0, -1.0])
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> htf.loss_plan(loss, zero).routes
      ('table', 'table')
    """
    part = loss.first if isinstance(loss, Observing) else loss
    if not isinstance(getattr(part, "measurement", None), Entries):
        raise TypeError(
            f"`loss` must measure entries, got {_checks.spell(loss)}; `completion_loss` "
            "makes one."
        )
    named = None if platform is None else check_platform(platform, ADVICE)
    plans = part.measurement.plans(layout_of(factors), masked=part.masks)
    return plans[named or part.measurement.platform or default_platform()]


def residuals(loss: Observing, factors: AnyFactors) -> Float[Array, "B"]:
    """Predicted minus target values of an observation loss.

    Returns:
      In the dtype of the factors, float32 where that has 16 bits.

    Raises:
      TypeError: `loss` is not an observation loss.
      ValueError: factors of another tree or other mode dimensions than the loss has.

    Example:
      >>> import htfjax as htf, jax
      >>> loss = htf.completion_loss(htf.flat(2), 3, [[0, 0], [1, 2]], [1.0, -1.0])
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> htf.residuals(loss, zero).tolist()
      [-1.0, 1.0]
    """
    _check_observation_loss(loss)
    return loss.residuals_of(factors)


def _check_axes(vectors: tuple[jax.Array, ...] | jax.Array, targets: Numbers) -> None:
    """No single array whose first axis, not the second, is as long as the targets."""
    if isinstance(vectors, tuple):
        return
    if np.shape(targets) == vectors.shape[:1] != vectors.shape[1:2]:
        raise ValueError(
            f"`vectors` has shape {vectors.shape} beside {len(vectors)} `targets`, "
            "expected (N, B, D), modes first; `jnp.moveaxis(x, 1, 0)` turns (B, N, D) "
            "into it."
        )


def _check_observation_loss(loss: object) -> None:
    if not isinstance(loss, Observing):
        raise TypeError(
            f"`loss` must be an observation loss, got {type(loss).__name__}; make one with "
            "`completion_loss`, `sensing_loss`, `matrix_sensing_loss` or "
            "`observation_loss`."
        )
