"""Cells that a completion reads: scaled to size one, weighted, some of them held out."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import Generator

from htfjax import _checks
from htfjax._integers import spell
from htfjax._types import ArrayLike, Numbers
from htfjax.data.observed import Observed, observed
from htfjax.losses.loss import ObservationLoss, observation_loss
from htfjax.losses.measurements import Entries, Weighted
from htfjax.trees.mode_tree import ModeTree

EVEN = 0.5  # of the values' root mean square: what is small


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """Observed cells, all in one array; made by `cells_of`.

    Attributes:
      data: with levels and names.
      indices, targets: (B, N) and (B,), values over `scale`, those to train on first.
      weights: (B,), one over the noise of every value, of mean square one.
      held: (B,) booleans, the cells that are held out.
      scale: root of the mean square of the values to train on.
      noise: what `errors` of noise alone are, None where it is unknown.
    """

    data: Observed
    indices: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    held: np.ndarray
    scale: float
    noise: float | None

    @property
    def dims(self) -> tuple[int, ...]:
        """D_n of every mode."""
        return self.data.mode_dims

    @property
    def trained(self) -> int:
        """Cells to train on."""
        return int(np.sum(~self.held))

    def loss(
        self, tree: ModeTree, *, everything: bool = False, even: bool = False
    ) -> ObservationLoss:
        """Mean of squares on the cells to train on; on all of them in the same program.

        Args:
          even: whether large values weigh less, (w^2 + EVEN^2)^(-1/2) times as much: in
            tensors of many modes a few values hold most of the sum of squares, and
            steps that serve them alone lead away.
        """
        weights = self.weights if everything else np.where(self.held, 0.0, self.weights)
        if even:
            weights = weights / np.hypot(self.targets, EVEN)
        entries = Entries.at(tree, self.dims, self.indices)
        measured = Weighted(entries, jnp.asarray(weights))
        return observation_loss(measured, weights * self.targets)

    def thinned(self, count: int, rng: Generator) -> "Cells":
        """Some of the cells, all of them where they are no more than `count`.

        Every level keeps a cell to train on, and cells held out keep their share.
        """
        if len(self.targets) <= count:
            return self
        order = rng.permutation(len(self.targets))
        share = count / len(self.targets)
        held, trained = (order[self.held[order] == is_held] for is_held in (True, False))
        chosen = [held[: max(2, round(share * len(held)))]]
        chosen.append(trained[: round(share * len(trained))])
        for column in self.indices[trained].T:
            chosen.append(trained[np.unique(column, return_index=True)[1]])
        kept = np.unique(np.concatenate(chosen))
        return dataclasses.replace(
            self,
            indices=self.indices[kept],
            targets=self.targets[kept],
            weights=self.weights[kept],
            held=self.held[kept],
        )

    def errors(self, predictions: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Weighted root mean squares (L,) on cells to train on and on those held out."""
        squares = np.square((np.asarray(predictions) - self.targets) * self.weights)
        means = (squares[..., part].mean(axis=-1) for part in (~self.held, self.held))
        trained, held = map(np.sqrt, means)
        return trained, held


def cells_of(data: object, holdout: float, key: jax.Array, noise: Numbers | None) -> Cells:
    """The cells of whatever `observed` takes or gives.

    Raises:
      TypeError, ValueError: as `observed`; no cells held out; a level that no cell has;
        fewer cells than a tensor of rank one has degrees of freedom; noise that is not
        above zero or of another shape.
    """
    if not isinstance(data, Observed):
        with warnings.catch_warnings():
            # A level without a cell is an error here.
            warnings.filterwarnings("ignore", ".* no (observed )?cell.*", UserWarning)
            try:
                data = observed(data, holdout=holdout, key=key, scaling="none")
            except (TypeError, ValueError) as error:  # `complete` calls it `observed`
                raise type(error)(str(error).replace("`data", "`observed")) from error
    if not len(data.test_targets):
        raise ValueError(
            "`observed` has no cells held out, which choose the ranks; hold some out: "
            "`htfjax.observed(..., holdout=0.1, key=jax.random.key(0))`."
        )
    _check_levels(data)
    _check_count(data)
    values = np.asarray(data.in_units(np.append(data.targets, data.test_targets)))
    held = np.arange(len(values)) >= len(data.targets)
    largest = float(np.max(np.abs(values[~held]))) or 1.0  # whose square may not be held
    scale = largest * float(np.sqrt(np.mean(np.square(values[~held] / largest)))) or 1.0
    indices = np.concatenate([data.indices, data.test_indices])
    spread = _noise(noise, indices, data.mode_dims)
    weights = np.ones(len(values)) if spread is None else 1 / spread
    size = float(np.sqrt(np.mean(weights**2)))
    share = None if spread is None else 1 / (size * scale)
    return Cells(data, indices, values / scale, weights / size, held, scale, share)


def _noise(
    noise: Numbers | None, indices: np.ndarray, dims: tuple[int, ...]
) -> np.ndarray | None:
    """Standard deviations of the values of cells."""
    if noise is None:
        return None
    given = _checks.seen("noise", noise)
    if given.dtype == bool:
        raise TypeError("`noise` must be numbers, standard deviations, got booleans.")
    try:
        spread = np.broadcast_to(given.astype(np.float64), dims)[tuple(indices.T)]
    except ValueError:
        raise ValueError(
            f"`noise` has shape {given.shape}, expected a number, or an array that "
            f"broadcasts to the tensor's {dims}."
        ) from None
    if not np.all((spread > 0) & np.isfinite(spread)):
        raise ValueError(
            "`noise` must be above zero and finite, the standard deviation of every value; "
            "leave it out where it is unknown."
        )
    return np.array(spread)


def _check_levels(data: Observed) -> None:
    """Every level of every mode has a cell to train on."""
    for n, (name, dim) in enumerate(zip(data.mode_names, data.mode_dims, strict=True)):
        seen = np.bincount(data.indices[:, n], minlength=dim)
        if not seen.all():
            level = int(np.argmin(seen))
            label = data.levels[n].tolist()[level]
            raise ValueError(
                f"`observed` has no cell to train on with level {spell(label)} of mode "
                f"{name!r}, so that nothing is known of it; leave the level out."
            )


def _check_count(data: Observed) -> None:
    """As many cells as a tensor of rank one asks for."""
    least = sum(data.mode_dims) - len(data.mode_dims) + 1
    if len(data.targets) < least:
        raise ValueError(
            f"`observed` has {len(data.targets)} cells to train on, and a tensor of rank "
            f"one with dimensions {data.mode_dims} has {least} degrees of freedom: too few "
            "to say anything."
        )
