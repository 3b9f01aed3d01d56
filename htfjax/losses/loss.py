"""Losses on any observations: entries, rank-one or matrix measurements, minibatches.

A loss is a pytree. Its data are leaves, so a jitted function that takes a loss as an
argument is traced once for all data of one shape, and `vmap` runs over data.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax import contraction as _contraction
from htfjax.contraction.sensing import check_vectors
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import layout_of
from htfjax.losses.completion import CompletionLoss, observed_entries
from htfjax.losses.penalty import Penalty, check_data, mean_penalty, working
from htfjax.losses.sums import Summable

__all__ = [
    "MatrixSensingLoss",
    "MinibatchLoss",
    "SensingLoss",
    "matrix_sensing_loss",
    "minibatch_loss",
    "residuals",
    "sensing_loss",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class SensingLoss(Summable):
    """Mean penalty on rank-one measurements; made by `sensing_loss`."""

    vectors: tuple[jax.Array, ...] | jax.Array  # N arrays (B, D_n), or (N, B, D)
    targets: jax.Array  # (B,)
    threshold: jax.Array  # ()
    penalty: Penalty = dataclasses.field(metadata={"static": True})

    def __call__(self, factors: AnyFactors) -> jax.Array:
        """The loss of the factors, ()."""
        return mean_penalty(residuals(self, factors), self.penalty, self.threshold)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class MatrixSensingLoss(Summable):
    """Mean penalty on matrix measurements; made by `matrix_sensing_loss`."""

    matrices: jax.Array  # (B, D_0, D_1)
    targets: jax.Array  # (B,)
    threshold: jax.Array  # ()
    penalty: Penalty = dataclasses.field(metadata={"static": True})

    def __call__(self, factors: AnyFactors) -> jax.Array:
        """The loss of the factors, ()."""
        return mean_penalty(residuals(self, factors), self.penalty, self.threshold)


ObservationLoss = CompletionLoss | SensingLoss | MatrixSensingLoss


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class MinibatchLoss(Summable):
    """A loss on a random part of the observations; made by `minibatch_loss`."""

    loss: ObservationLoss
    batch_size: int = dataclasses.field(metadata={"static": True})

    def __call__(self, factors: AnyFactors, key: jax.Array) -> jax.Array:
        """The loss on the observations that `key` draws, ()."""
        return self.drawn(key)(factors)

    def drawn(self, key: Any) -> ObservationLoss:
        """The loss on the observations that `key` draws."""
        _checks.key("key", key)
        count = self.loss.targets.shape[0]
        rows = jax.random.permutation(key, count)[: self.batch_size]
        return _take(self.loss, rows)


def sensing_loss(
    vectors: Sequence[Any] | jax.Array,
    targets: Any,
    *,
    penalty: Penalty = "l2",
    threshold: Any = 1.0,
) -> SensingLoss:
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
    return SensingLoss(held, targets, threshold, penalty)


def matrix_sensing_loss(
    matrices: Any, targets: Any, *, penalty: Penalty = "l2", threshold: Any = 1.0
) -> MatrixSensingLoss:
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
    return MatrixSensingLoss(array, targets, threshold, penalty)


def minibatch_loss(loss: ObservationLoss, batch_size: int) -> MinibatchLoss:
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
    if size > loss.targets.shape[-1]:
        raise ValueError(
            f"`batch_size={size}` is more than the {loss.targets.shape[-1]} observations."
        )
    return MinibatchLoss(loss, size)


def residuals(loss: ObservationLoss, factors: AnyFactors) -> jax.Array:
    """Predicted minus target values of an observation loss.

    Returns:
      (B,), dtype of the factors, float32 where that has 16 bits.

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
    predictions = _predict(loss, factors)
    dtype = working(predictions.dtype)
    return predictions.astype(dtype) - _checks.cast("targets", loss.targets, dtype)


def _check_axes(vectors: Any, targets: Any) -> None:
    """No single array whose first axis, not the second, is as long as the targets."""
    if isinstance(vectors, tuple):
        return
    if np.shape(targets) == vectors.shape[:1] != vectors.shape[1:2]:
        raise ValueError(
            f"`vectors` has shape {vectors.shape} beside {len(vectors)} `targets`, "
            "expected (N, B, D), modes first; `jnp.moveaxis(x, 1, 0)` turns (B, N, D) "
            "into it."
        )


def _predict(loss: ObservationLoss, factors: AnyFactors) -> jax.Array:
    if isinstance(loss, CompletionLoss):
        return observed_entries(loss, factors)
    if isinstance(loss, SensingLoss):
        return _contraction.sense(factors, loss.vectors)
    dims = layout_of(factors).dims
    if dims != loss.matrices.shape[1:]:
        raise ValueError(
            f"`matrices` measure {loss.matrices.shape[1:]} matrices, the factors have mode "
            f"dimensions {dims}."
        )
    matrix = _contraction.end_tensor(factors)
    held = _checks.cast("matrices", loss.matrices, matrix.dtype)
    measurements = held.reshape(-1, matrix.size)
    return jnp.matmul(measurements, matrix.reshape(-1), precision="highest")


def _take(loss: ObservationLoss, rows: jax.Array) -> ObservationLoss:
    """The loss on some of its observations."""
    targets = loss.targets[rows]
    if isinstance(loss, SensingLoss):
        parts = (
            tuple(x[rows] for x in loss.vectors)
            if isinstance(loss.vectors, tuple)
            else loss.vectors[:, rows]
        )
        return dataclasses.replace(loss, vectors=parts, targets=targets)
    if isinstance(loss, MatrixSensingLoss):
        return dataclasses.replace(loss, matrices=loss.matrices[rows], targets=targets)
    # What was prepared for all observations, dense targets and plan, is not for a part.
    return dataclasses.replace(
        loss,
        indices=loss.indices[rows],
        targets=targets,
        dense=None,
        distinct=None,
        plan=None,
    )


def _check_observation_loss(loss: Any) -> None:
    if not isinstance(loss, ObservationLoss):
        raise TypeError(
            f"`loss` must be an observation loss, got {type(loss).__name__}; make one with "
            "`completion_loss`, `sensing_loss` or `matrix_sensing_loss`."
        )
