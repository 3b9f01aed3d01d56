"""What the distance of the two marks alone says about the label."""

from typing import Any, NamedTuple

import numpy as np

from htfjax import _checks

__all__ = ["MarkerBaseline", "marker_distance_baseline"]

BIN_COUNTS = (16, 32, 64, 128)


class MarkerBaseline(NamedTuple):
    """How well the marks' distance predicts the label."""

    accuracy: float  # of the best classifier found, on images it was not fitted to
    standard_error: float  # of that accuracy
    total_variation: float  # between the distance histograms of both labels


def marker_distance_baseline(
    distances: Any, labels: Any, *, folds: int = 5, width: float = 2.0
) -> MarkerBaseline:
    """The accuracy on Pathfinder that needs no path: a classifier of the distance alone.

    Every result on Pathfinder stands next to this number and to chance: the distance of
    the marks is a long-range feature itself, and only what exceeds it traces a path.

    The classifier takes the majority label of the interval a distance falls into. The
    intervals hold equally many images of the other folds; of 16, 32, 64 and 128 intervals
    the number is taken that does best within the other folds. Accuracy is over all folds.

    Args:
      distances: (N,), from `marker_distances`.
      labels: (N,) in {0, 1}.
      folds: parts of cross-validation; image i belongs to part (i // 2) mod folds, so that
        two matched neighbours stay together.
      width: of the histogram's intervals for the total variation, half the sum over
        intervals of |share among label 1 - share among label 0|.

    Returns:
      `MarkerBaseline`.

    Raises:
      ValueError: lengths differ, a label is missing, fewer than 4 images a fold.

    Source: the shortcut is a property of Linsley's generator with the paper's parameters.

    Example:
      >>> import numpy as np
      >>> near, far = np.full(100, 26.0), np.arange(100.0)
      >>> shortcut = marker_distance_baseline(np.r_[near, far], np.repeat([1, 0], 100))
      >>> shortcut.accuracy > 0.9, shortcut.total_variation > 0.9
      (True, True)
    """
    x, y = np.asarray(distances, np.float64), np.asarray(labels)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"`distances` and `labels` must be (N,) both, got {x.shape} and {y.shape}."
        )
    folds = _checks.at_least("folds", folds, 2)
    _checks.positive("width", width, strict=True)
    if len(x) < 4 * folds:
        raise ValueError(
            f"`distances` holds {len(x)} images, too few for `folds={folds}`; give at "
            f"least {4 * folds}."
        )
    if set(np.unique(y)) != {0, 1}:
        raise ValueError(f"`labels` must hold both 0 and 1, got {np.unique(y).tolist()}.")
    part = np.arange(len(x)) // 2 % folds
    right = np.concatenate(
        [
            _correct(x[part != f], y[part != f], x[part == f], y[part == f])
            for f in range(folds)
        ]
    )
    accuracy = float(right.mean())
    error = (accuracy * (1 - accuracy) / len(right)) ** 0.5
    return MarkerBaseline(accuracy, error, _total_variation(x, y, width))


def _correct(
    x: np.ndarray, y: np.ndarray, new_x: np.ndarray, new_y: np.ndarray
) -> np.ndarray:
    """Which labels a classifier gets right that was fitted and chosen on (x, y) alone."""
    inner = np.arange(len(x)) // 2 % 4 == 0
    score = {
        count: (_fit(x[~inner], y[~inner], count)(x[inner]) == y[inner]).mean()
        for count in BIN_COUNTS
        if count < len(x)
    }
    best = max(score, key=lambda count: score[count]) if score else 2
    return _fit(x, y, best)(new_x) == new_y


def _fit(x: np.ndarray, y: np.ndarray, count: int) -> Any:
    """The majority label of intervals that hold equally many of x."""
    edges = np.unique(np.quantile(x, np.linspace(0, 1, count + 1)[1:-1]))
    place = np.searchsorted(edges, x, side="right")
    votes = np.bincount(place, 2.0 * y - 1.0, len(edges) + 1)
    # An interval without a majority follows all images.
    majority = np.where(votes == 0, y.mean() >= 0.5, votes > 0)
    return lambda new: majority[np.searchsorted(edges, new, side="right")].astype(int)


def _total_variation(x: np.ndarray, y: np.ndarray, width: float) -> float:
    place = np.floor(x / width).astype(int)
    place -= place.min()
    shares = [
        np.bincount(place[y == label], minlength=place.max() + 1) / np.sum(y == label)
        for label in (0, 1)
    ]
    return float(0.5 * np.abs(shares[0] - shares[1]).sum())
