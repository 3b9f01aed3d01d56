"""What the end tensor is compared with: entries, rank-one or matrix measurements.

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
from htfjax import factors as _factors
from htfjax.contraction.entries import check_indices
from htfjax.contraction.sensing import check_vectors
from htfjax.factors import Factors
from htfjax.mode_tree import ModeTree

__all__ = [
    "CompletionLoss",
    "MatrixSensingLoss",
    "MinibatchLoss",
    "SensingLoss",
    "completion_loss",
    "matrix_sensing_loss",
    "minibatch_loss",
    "penalize",
    "residuals",
    "sensing_loss",
]

PENALTIES = ("l2", "l1", "huber")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class CompletionLoss:
    """Mean penalty on observed entries; made by `completion_loss`."""

    indices: jax.Array  # (B, N) int32
    targets: jax.Array  # (B,)
    threshold: jax.Array  # ()
    tree: ModeTree = dataclasses.field(metadata={"static": True})
    mode_dims: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    penalty: str = dataclasses.field(metadata={"static": True})

    def __call__(self, factors: Factors) -> jax.Array:
        """The loss of the factors, ()."""
        return penalize(residuals(self, factors), self.penalty, self.threshold)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class SensingLoss:
    """Mean penalty on rank-one measurements; made by `sensing_loss`."""

    vectors: tuple[jax.Array, ...]  # N arrays (B, D_n)
    targets: jax.Array  # (B,)
    threshold: jax.Array  # ()
    penalty: str = dataclasses.field(metadata={"static": True})

    def __call__(self, factors: Factors) -> jax.Array:
        """The loss of the factors, ()."""
        return penalize(residuals(self, factors), self.penalty, self.threshold)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class MatrixSensingLoss:
    """Mean penalty on matrix measurements; made by `matrix_sensing_loss`."""

    matrices: jax.Array  # (B, D_0, D_1)
    targets: jax.Array  # (B,)
    threshold: jax.Array  # ()
    penalty: str = dataclasses.field(metadata={"static": True})

    def __call__(self, factors: Factors) -> jax.Array:
        """The loss of the factors, ()."""
        return penalize(residuals(self, factors), self.penalty, self.threshold)


ObservationLoss = CompletionLoss | SensingLoss | MatrixSensingLoss


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class MinibatchLoss:
    """A loss on a random part of the observations; made by `minibatch_loss`."""

    loss: ObservationLoss
    batch_size: int = dataclasses.field(metadata={"static": True})

    def __call__(self, factors: Factors, key: jax.Array) -> jax.Array:
        """The loss on the observations that `key` draws, ()."""
        count = self.loss.targets.shape[0]
        rows = jax.random.permutation(key, count)[: self.batch_size]
        return _take(self.loss, rows)(factors)


def completion_loss(
    tree: ModeTree,
    mode_dims: int | Sequence[int],
    indices: Any,
    targets: Any,
    *,
    penalty: str = "l2",
    threshold: Any = 1.0,
) -> CompletionLoss:
    """Completion: mean over b of penalty(W[i_b] - y_b), no factor 1/2.

    Penalties of a residual x: "l2" x^2, "l1" |x|, "huber" (smooth l1) x^2/(2 threshold)
    where |x| < threshold and |x| - threshold/2 outside.

    Repeated indices are allowed: each repetition counts, as in a mean over samples.

    Args:
      tree: mode tree of the factors the loss is for.
      mode_dims: D_n for every mode, or one int for all.
      indices: (B, N) integers.
      targets: (B,) floats.
      penalty: "l2", "l1" or "huber".
      threshold: of "huber", above zero.

    Returns:
      A pytree, callable on factors; data are cast to the factors' dtype on call.

    Raises:
      TypeError: float indices. ValueError: indices out of range or of another shape, no
        observations, targets of the wrong length, NaN or infinite, a bad penalty or
        threshold. Values are checked when they are concrete.

    Source: arXiv:2201.11729, tensor completion (THEORY 3.1).

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> loss = htf.completion_loss(htf.flat(2), 3, [[0, 0], [1, 2]], [1.0, -1.0])
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> float(loss(zero))
      1.0
    """
    _checks.tree(tree)
    dims = _checks.mode_dims(tree.order, mode_dims)
    indices = check_indices(indices, dims)
    targets, threshold = _check_data(targets, indices.shape[0], penalty, threshold)
    return CompletionLoss(indices, targets, threshold, tree, dims, penalty)


def sensing_loss(
    vectors: Sequence[Any], targets: Any, *, penalty: str = "l2", threshold: Any = 1.0
) -> SensingLoss:
    """Rank-one sensing: mean over b of penalty(<W, x_b^0 (x) ... (x) x_b^{N-1}> - y_b).

    Args:
      vectors: N arrays (B, D_n).
      targets: (B,) floats.
      penalty, threshold: as in `completion_loss`.

    Returns:
      A pytree, callable on factors; data are cast to the factors' dtype on call.

    Raises:
      TypeError, ValueError: arrays of other shapes, non-finite data, no observations.

    Source: arXiv:2201.11729, equivalence with networks (THEORY 1.7, 3.2).

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> loss = htf.sensing_loss([jnp.ones((4, 2)), jnp.ones((4, 3))], jnp.ones(4))
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 2, 0.0)
      >>> float(loss(zero))
      1.0
    """
    check_vectors(vectors, tuple(np.shape(x)[-1] if np.ndim(x) else 0 for x in vectors))
    arrays = tuple(_finite(f"vectors[{n}]", x) for n, x in enumerate(vectors))
    targets, threshold = _check_data(targets, len(arrays[0]), penalty, threshold)
    return SensingLoss(arrays, targets, threshold, penalty)


def matrix_sensing_loss(
    matrices: Any, targets: Any, *, penalty: str = "l2", threshold: Any = 1.0
) -> MatrixSensingLoss:
    """Matrix sensing: mean over b of penalty(<W, A_b> - y_b) for factors of order 2.

    Args:
      matrices: (B, D_0, D_1).
      targets: (B,) floats.
      penalty, threshold: as in `completion_loss`.

    Returns:
      A pytree, callable on factors; data are cast to the factors' dtype on call.

    Raises:
      TypeError, ValueError: arrays of other shapes, non-finite data, no observations.

    Source: arXiv:2201.11729, matrix sensing (THEORY 3.1).

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> loss = htf.matrix_sensing_loss(jnp.ones((4, 2, 3)), jnp.ones(4))
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 2, 0.0)
      >>> float(loss(zero))
      1.0
    """
    if np.ndim(matrices) != 3:
        raise ValueError(
            f"`matrices` has shape {np.shape(matrices)}, expected (B, D_0, D_1)."
        )
    array = _finite("matrices", matrices)
    targets, threshold = _check_data(targets, len(array), penalty, threshold)
    return MatrixSensingLoss(array, targets, threshold, penalty)


def minibatch_loss(loss: ObservationLoss, batch_size: int) -> MinibatchLoss:
    """The loss on `batch_size` observations, drawn anew by every key.

    Drawn without replacement within a batch, independently between batches. Pass it with
    a `key` to `continue_descent`.

    Raises:
      TypeError: `loss` is no observation loss.
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


def residuals(loss: ObservationLoss, factors: Factors) -> jax.Array:
    """Predicted minus target values of an observation loss.

    Returns:
      (B,), dtype of the factors.

    Raises:
      TypeError: `loss` is no observation loss.
      ValueError: factors of another tree or other mode dimensions than the loss has.

    Example:
      >>> import htfjax as htf, jax
      >>> loss = htf.completion_loss(htf.flat(2), 3, [[0, 0], [1, 2]], [1.0, -1.0])
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> htf.residuals(loss, zero).tolist()
      [-1.0, 1.0]
    """
    _check_observation_loss(loss)
    return _predict(loss, factors) - loss.targets.astype(_factors.dtype(factors))


def penalize(x: jax.Array, penalty: str = "l2", threshold: Any = 1.0) -> jax.Array:
    """Mean of penalty(x) over residuals x: "l2", "l1" or "huber" (`completion_loss`).

    Raises:
      ValueError: an unknown penalty, a threshold that is not above zero.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> float(htf.penalize(jnp.array([3.0, 0.5]), "huber", 1.0))
      1.3125
    """
    _checks.one_of("penalty", penalty, PENALTIES)
    _checks.positive("threshold", threshold, strict=True)
    if penalty == "l2":
        return jnp.mean(jnp.square(x))
    size = x * jax.lax.stop_gradient(jnp.sign(x))  # |x| with slope 0, not 1, at 0
    if penalty == "l1":
        return jnp.mean(size)
    bound = jnp.asarray(threshold, x.dtype)
    return jnp.mean(jnp.where(size < bound, x * x / (2 * bound), size - bound / 2))


def _predict(loss: ObservationLoss, factors: Factors) -> jax.Array:
    _factors.check(factors)
    if isinstance(loss, SensingLoss):
        return _contraction.sense(factors, loss.vectors)
    dims = _factors.mode_dims(factors)
    if isinstance(loss, MatrixSensingLoss):
        if dims != loss.matrices.shape[1:]:
            raise ValueError(
                f"`matrices` measure {loss.matrices.shape[1:]} matrices, the factors "
                f"have mode dimensions {dims}."
            )
        matrix = _contraction.end_tensor(factors)
        measurements = loss.matrices.astype(matrix.dtype).reshape(-1, matrix.size)
        return jnp.matmul(measurements, matrix.reshape(-1), precision="highest")
    if dims != loss.mode_dims or factors.tree != loss.tree:
        raise ValueError(
            f"`factors` do not fit the loss, which is for mode dimensions {loss.mode_dims} "
            f"on the tree\n{loss.tree}\nThey have {dims} on the tree\n{factors.tree}"
        )
    return _contraction.entries(factors, loss.indices)


def _take(loss: ObservationLoss, rows: jax.Array) -> ObservationLoss:
    """The loss on some of its observations."""
    targets = loss.targets[rows]
    if isinstance(loss, SensingLoss):
        parts = tuple(x[rows] for x in loss.vectors)
        return dataclasses.replace(loss, vectors=parts, targets=targets)
    if isinstance(loss, MatrixSensingLoss):
        return dataclasses.replace(loss, matrices=loss.matrices[rows], targets=targets)
    return dataclasses.replace(loss, indices=loss.indices[rows], targets=targets)


def _check_observation_loss(loss: Any) -> None:
    if not isinstance(loss, ObservationLoss):
        raise TypeError(
            f"`loss` must be an observation loss, got {type(loss).__name__}; make one with "
            "`completion_loss`, `sensing_loss` or `matrix_sensing_loss`."
        )


def _check_data(
    targets: Any, count: int, penalty: str, threshold: Any
) -> tuple[jax.Array, jax.Array]:
    _checks.one_of("penalty", penalty, PENALTIES)
    _checks.positive("threshold", threshold, strict=True)
    if np.shape(targets) != (count,):
        raise ValueError(
            f"`targets` has shape {np.shape(targets)}, expected ({count},): one value "
            "for each observation."
        )
    if count == 0:
        raise ValueError("`targets` is empty: a loss needs at least one observation.")
    return _finite("targets", targets), jnp.asarray(threshold, float)


def _finite(name: str, values: Any) -> jax.Array:
    if _checks.concrete(values):
        array = _checks.real_array(name, values)
        if not np.issubdtype(array.dtype, np.floating):
            array = array.astype(float)
        wrong = np.argwhere(~np.isfinite(array))
        if wrong.size:
            at = ", ".join(map(str, wrong[0]))
            raise ValueError(
                f"`{name}[{at}]` is {array[tuple(wrong[0])]}; remove it, data must be "
                "finite."
            )
        values = array
    return jnp.asarray(values, jax.dtypes.canonicalize_dtype(values.dtype))
