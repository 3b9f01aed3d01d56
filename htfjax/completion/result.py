"""Result of a completion: factors in the user's units, their ranks and an honest error."""

import dataclasses
import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.special import gammaincinv
from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax._types import Float, Numbers
from htfjax.completion.lanes import exact_fit
from htfjax.completion.search import Trial
from htfjax.contraction.end_tensor import end_tensor
from htfjax.contraction.entries import entries
from htfjax.data.labelled import labelled_array
from htfjax.data.observed import Observed
from htfjax.factors.factors import Factors
from htfjax.trees.mode_tree import ModeTree

if TYPE_CHECKING:
    import xarray as xr

Verdict = Literal["exact", "approximate", "not enough data"]
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Bounds that hold a number with a confidence of 95 %."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Completion:
    """A completed tensor; made by `complete`.

    Attributes:
      factors: in the form of `formats.from_transfer_tensors`, (`"descent"`: diagonal ones),
        whose end tensor is in the user's units.
      tree: the mode tree, without one-child nodes.
      ranks: hierarchical ranks by node id, of every node but the root.
      heldout_error: root of the mean squared error on the cells held out, in the user's
        units, before these were fitted too.
      interval: of the same on all cells that are not observed, 95 %, if cells were
        observed at random; where some errors are much larger than others, less (85 % where
        a tenth of 60 errors is three times as large).
      relative_error: `heldout_error` over the root mean square of the observed values.
      heldout_predictions: (M,) values of the cells held out, `data.test_indices`, likewise
        before these were fitted, and in the user's units.
      verdict: "exact" (error below the root of the dtype's precision, relative to the
        observed values and to those held out, and the cells leave no way to change a
        tensor of these ranks), "not enough data" (one rank
        more everywhere has more degrees of freedom than there are cells to train on, or
        the cells do leave a way: `interval` has no upper end then; or errors of twice the
        values' size are expected elsewhere), or "approximate".
      degrees_of_freedom: of tensors of these ranks.
      observations: cells that were fitted, those held out included.
      history: what every stage of the search found best.
      data: the cells, with levels and names.

    Example:
      >>> import htfjax as htf, jax, numpy as np
      >>> mine = np.add.outer(np.arange(6.0), np.arange(5.0))
      >>> mine[2, 3] = mine[4, 1] = np.nan
      >>> found = htf.complete(mine, tree=(0, 1), key=jax.random.key(0))
      >>> isinstance(found, htf.Completion), found.ranks, found.degrees_of_freedom
      (True, {0: 2, 1: 2}, 18)
      >>> found.predict([[2, 3], [4, 1]]).round(4).tolist()
      [5.0, 5.0]
      >>> float(found.decode().sel(mode_0=2, mode_1=3).round(4))
      5.0
    """

    factors: Factors
    tree: ModeTree
    ranks: dict[int, int]
    heldout_error: float
    interval: Interval
    relative_error: float
    heldout_predictions: np.ndarray
    verdict: Verdict
    degrees_of_freedom: int
    observations: int
    history: tuple[Trial, ...]
    data: Observed

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """The verdict first, numbers in short."""
        low, high = (float(f"{x:.3g}") for x in self.interval)
        return _reprs.record(
            self,
            verdict=self.verdict,
            tree=self.tree,
            ranks=tuple(self.ranks.values()),
            heldout_error=float(f"{self.heldout_error:.3g}"),
            interval=(low, high),
            relative_error=float(f"{self.relative_error:.3g}"),
            degrees_of_freedom=self.degrees_of_freedom,
            observations=self.observations,
        )

    def predict(self, indices: Numbers) -> Float[np.ndarray, "B"]:
        """Values of cells, in the user's units.

        Args:
          indices: (B, N) integers; `.data.codes` gives them for labels.

        Raises:
          TypeError, ValueError: indices that `entries` refuses.
        """
        _checks.seen("indices", indices)
        return np.asarray(entries(self.factors, indices))

    def decode(self) -> "xr.DataArray":
        """All values with labels, from which `.sel` picks.

        Raises:
          ValueError: a tensor of more than 2**31 entries. ImportError: no xarray.
        """
        data, values = self.data, np.asarray(end_tensor(self.factors))
        return labelled_array(values, data.mode_names, data.levels, data.value_name)


def error_interval(errors: np.ndarray, expected: float | None = None) -> Interval:
    """Bounds of a root mean square by a sample of errors, and by what a fit expects.

    The mean of squares is taken as a multiple of chi^2 with as many degrees of freedom as
    its own variance tells (Satterthwaite), at most those of normal errors. The sample has
    chosen the fit, and is small: where the fit expects another mean of squares on cells
    that were not observed, the interval holds both.
    """
    squares = np.square(errors)
    mean, count = float(squares.mean()), len(squares)
    if not mean or count < 2:
        return Interval(0.0, math.inf if count < 2 else 0.0)
    spread = float(squares.var(ddof=1)) / count
    freedom = min(count, 2 * mean**2 / spread) if spread else count
    least = most = mean
    if expected is not None:
        least, most = min(mean, expected), max(mean, expected)
    freedom = max(1.0, freedom)
    tails = (1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2
    low, high = (
        math.sqrt(square * freedom / (2 * gammaincinv(freedom / 2, tail)))
        for square, tail in zip((least, most), tails, strict=True)
    )
    return Interval(float(low), float(high))


def verdict_of(relative: float, short: bool, *, determined: bool = True) -> Verdict:
    """What a relative held-out error means."""
    if relative < exact_fit() and determined:
        return "exact"
    return "not enough data" if short or not determined else "approximate"
