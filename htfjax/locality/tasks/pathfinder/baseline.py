"""Baselines of Pathfinder: prediction of the label from the two marks alone."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from htfjax import _checks, _extras
from htfjax._types import Numbers
from htfjax.locality import inputs as _inputs
from htfjax.locality.tasks.pathfinder.draw import (
    PathfinderImages,
    check_images,
    checked_marks,
)

BIN_COUNTS = (16, 32, 64, 128)
MOST_INTERVALS = 2**20
TWO_SIDED = 1.959964  # standard errors of a normal 95 % interval

Classifier = Callable[[np.ndarray], np.ndarray]


class MarkerBaseline(NamedTuple):
    """Accuracy of the label predicted from the marks' distance.

    Example:
      >>> import numpy as np
      >>> from htfjax import locality
      >>> distances, labels = np.repeat([26.0, 80.0], 100), np.repeat([1, 0], 100)
      >>> shortcut = locality.marker_distance_baseline(distances, labels)
      >>> isinstance(shortcut, locality.MarkerBaseline), shortcut.accuracy
      (True, 1.0)
    """

    accuracy: float  # of the best classifier found, on images it was not fitted to
    standard_error: float  # of that accuracy
    total_variation: float  # between the distance histograms of both labels


class PositionBaseline(NamedTuple):
    """Accuracy of the label predicted from the positions of both marks.

    Example:
      >>> from htfjax import locality
      >>> found = locality.PositionBaseline(0.70, 0.003, (0.694, 0.706))
      >>> 0.5 < found.interval[0] < found.accuracy  # better than chance
      True
    """

    accuracy: float  # on images that the classifier was not fitted to
    standard_error: float  # of that accuracy
    interval: tuple[float, float]  # of 95 %, normal


def marker_distance_baseline(
    distances: Numbers, labels: Numbers, *, folds: int = 5, width: float = 2.0
) -> MarkerBaseline:
    """The accuracy on Pathfinder that needs no path: a classifier of the distance alone.

    Every result on Pathfinder stands next to this number and to chance: the distance of
    the marks is a long-range feature itself, and only what exceeds it traces a path. Where
    distances are matched it is 50 % by construction, and says nothing of what else the
    marks show: `marker_position_baseline` does.

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
      `MarkerBaseline`; the standard error is over twos of neighbours, which matched images
      are drawn in, and does not contain the choice of the classifier.

    Raises:
      TypeError: not real numbers. ValueError: lengths differ, a distance that is not
        finite, a label is missing, fewer than 4 images per fold.

    Source: the shortcut is a property of Linsley's generator with the paper's parameters.

    Example:
      >>> import numpy as np
      >>> from htfjax import locality
      >>> near, far = np.full(100, 26.0), np.arange(100.0)
      >>> shortcut = locality.marker_distance_baseline(
      ...     np.r_[near, far], np.repeat([1, 0], 100))
      >>> shortcut.accuracy > 0.9, shortcut.total_variation > 0.9
      (True, True)
    """
    x = _inputs.on_host("distances", distances)
    if x.ndim != 1:
        raise ValueError(f"`distances` must be (N,), got shape {x.shape}.")
    _checks.finite("distances", x)
    x = x.astype(np.float64)
    y, folds = _checked_labels(labels, len(x), folds)
    width = _inputs.static_number("width", width, least=0, strict=True)
    if np.ptp(x) / width > MOST_INTERVALS:
        raise ValueError(
            f"`width={width}` makes {np.ptp(x) / width:.3g} intervals of these distances, "
            f"more than {MOST_INTERVALS}."
        )
    right = _cross_validated(_choose_intervals, x, y, folds)
    accuracy, error = _mean_over_twos(right)
    return MarkerBaseline(accuracy, error, _total_variation(x, y, width))


def marker_position_baseline(
    images: PathfinderImages, *, folds: int = 5
) -> PositionBaseline:
    """The accuracy on Pathfinder from all that the two marks show: where they lie.

    Marks are equal discs, so what they show is an unordered pair of places. Images of one
    kind are as likely as their mirror images and their quarter turns, so a pair is told by
    how far each mark lies from the centre along the longer and the shorter way, the mark
    farther out first, and by the distance and the angle between them. Where distances are
    matched (`match_distance`) something is left: paths begin in the middle of the image and
    end where they come to. On 6,000 to 20,000 pairs of paths, standard errors 0.3 to 0.6 %:
    54.5 and 53.4 % with the paper's settings at lengths 3 and 9, but 69 and 68 % on 32 x 32
    pixels at 3 and 5; not matched, 79.1 % at length 9 (the distance alone 78.1 %) and
    70.4 % on 32 x 32 at 5 (61.9 %).

    The classifier is boosted trees (scikit-learn's histogram gradient boosting, 60 trees of
    up to 8 leaves), a number to be exceeded rather than the best possible one.

    Args:
      images: from `draw_pathfinder`; several thousand, or the interval is wide.
      folds: parts of cross-validation, as for `marker_distance_baseline`.

    Returns:
      `PositionBaseline`; the standard error is over twos of neighbours.

    Raises:
      TypeError: not `PathfinderImages`. ValueError: a label is missing, fewer than 4 images
        per fold. ModuleNotFoundError: scikit-learn, of the extra `baselines`, is not
        installed.

    Example:
      >>> import jax
      >>> from htfjax import locality
      >>> settings = locality.paper_pathfinder(3)
      >>> images = locality.draw_pathfinder(jax.random.key(0), settings, 64)
      >>> locality.marker_position_baseline(images).accuracy > 0.5
      True
    """
    check_images("images", images)
    marks = checked_marks("images.marks", images.marks)
    y, folds = _checked_labels(images.labels, len(marks), folds, "images.labels")
    features = _position_features(marks, images.settings.size)
    right = _cross_validated(_boost, features, y, folds)
    accuracy, error = _mean_over_twos(right)
    reach = TWO_SIDED * error
    return PositionBaseline(accuracy, error, (accuracy - reach, accuracy + reach))


def _checked_labels(
    labels: Numbers, count: int, folds: int, name: str = "labels"
) -> tuple[np.ndarray, int]:
    """Labels (N,) int, both 0 and 1 among them, and the number of folds."""
    given = _inputs.on_host(name, labels)
    if given.shape != (count,):
        raise ValueError(
            f"`distances` and `{name}` must be (N,) both, got {count} and {given.shape}."
        )
    y = np.asarray(_inputs.whole_labels(name, given, count, 2)).astype(int)
    folds = _checks.at_least("folds", folds, 2)
    if count < 4 * folds:
        raise ValueError(
            f"`{name}` are of {count} images, too few for `folds={folds}`; give at least "
            f"{4 * folds}."
        )
    if set(np.unique(y)) != {0, 1}:
        raise ValueError(f"`{name}` must hold both 0 and 1, got {np.unique(y).tolist()}.")
    return y, folds


def _cross_validated(
    fit: Callable[[np.ndarray, np.ndarray], Classifier],
    x: np.ndarray,
    y: np.ndarray,
    folds: int,
) -> np.ndarray:
    """Whether each label is predicted by a classifier fitted to the other folds, (N,)."""
    part = np.arange(len(x)) // 2 % folds
    right = np.zeros(len(x), bool)
    for fold in range(folds):
        inside = part == fold
        right[inside] = fit(x[~inside], y[~inside])(x[inside]) == y[inside]
    return right


def _mean_over_twos(right: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error, twos of neighbours being independent of each other."""
    accuracy = float(right.mean())
    # The last image may have no neighbour.
    sums = np.add.reduceat(right - accuracy, np.arange(0, len(right), 2))
    return accuracy, float(np.sqrt(np.sum(sums**2)) / len(right))


def _choose_intervals(x: np.ndarray, y: np.ndarray) -> Classifier:
    """Intervals whose number does best on a quarter of (x, y) kept apart."""
    inner = np.arange(len(x)) // 2 % 4 == 0
    score = {
        count: (_fit(x[~inner], y[~inner], count)(x[inner]) == y[inner]).mean()
        for count in BIN_COUNTS
        if count < len(x)
    }
    best = max(score, key=lambda count: score[count]) if score else 2
    return _fit(x, y, best)


def _fit(x: np.ndarray, y: np.ndarray, count: int) -> Classifier:
    """The majority label of intervals that hold equally many of x."""
    edges = np.unique(np.quantile(x, np.linspace(0, 1, count + 1)[1:-1]))
    place = np.searchsorted(edges, x, side="right")
    votes = np.bincount(place, 2.0 * y - 1.0, len(edges) + 1)
    # An interval without a majority follows all images.
    majority = np.where(votes == 0, y.mean() >= 0.5, votes > 0)
    return lambda new: majority[np.searchsorted(edges, new, side="right")].astype(int)


def _boost(x: np.ndarray, y: np.ndarray) -> Classifier:
    """Boosted trees, the same ones for the same images."""
    ensemble = _extras.load("sklearn.ensemble", "htfjax.locality.marker_position_baseline")
    trees = ensemble.HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.05,
        max_leaf_nodes=8,
        early_stopping=False,
        random_state=0,
    )
    return trees.fit(x, y).predict


def _position_features(marks: np.ndarray, size: int) -> np.ndarray:
    """Invariants of mirror images, quarter turns and the order of the marks, (N, 6)."""
    offset = np.abs(marks - (size - 1) / 2)
    longer, shorter = offset.max(axis=2), offset.min(axis=2)
    outer = np.argsort(-(size * longer + shorter), axis=1)
    longer, shorter = (np.take_along_axis(x, outer, axis=1) for x in (longer, shorter))
    apart = np.abs(marks[:, 0] - marks[:, 1])
    distance = np.hypot(apart[:, 0], apart[:, 1])
    angle = np.arctan2(apart.min(axis=1), apart.max(axis=1))
    return np.column_stack([longer, shorter, distance, angle])


def _total_variation(x: np.ndarray, y: np.ndarray, width: float) -> float:
    place = np.floor(x / width).astype(int)
    place -= place.min()
    shares = [
        np.bincount(place[y == label], minlength=place.max() + 1) / np.sum(y == label)
        for label in (0, 1)
    ]
    return float(0.5 * np.abs(shares[0] - shares[1]).sum())
