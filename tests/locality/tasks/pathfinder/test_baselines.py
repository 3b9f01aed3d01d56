"""Baselines of Pathfinder: what distances and positions of the marks say."""

import numpy as np
import pytest
from numpy.random import default_rng

from htfjax import locality
from htfjax.locality import paper_pathfinder
from htfjax.locality.tasks.pathfinder.chunk import draw_marked_pairs
from htfjax.locality.tasks.pathfinder.stamps import make_stamps
from tests.locality.tasks.pathfinder.drawn import images


@pytest.mark.slow
@pytest.mark.parametrize("length", [3, 9])
def test_matched_distances_alone_say_nothing(length: int) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    found = images(length, match=True)
    distance = locality.marker_distances(found)
    np.testing.assert_array_equal(distance[::2], distance[1::2])
    np.testing.assert_array_equal(found.labels[::2] + found.labels[1::2], 1)
    baseline = locality.marker_distance_baseline(distance, found.labels, width=1.0)
    assert baseline.total_variation <= 0.02
    assert baseline.accuracy <= 0.52
    boosted = ensemble.HistGradientBoostingClassifier(max_iter=30)
    train, test = slice(0, 256), slice(256, 512)
    boosted.fit(distance[train, None], found.labels[train])
    assert boosted.score(distance[test, None], found.labels[test]) <= 0.52
    # Otherwise it says a lot.
    usual = images(length)
    open_ = locality.marker_distance_baseline(
        locality.marker_distances(usual), usual.labels
    )
    assert open_.accuracy > 0.7


def with_marks(marks: np.ndarray, labels: np.ndarray) -> locality.PathfinderImages:
    """Images of which only the marks are there."""
    none = np.zeros(len(labels), int)
    settings = paper_pathfinder(9, match_distance=True)
    return locality.PathfinderImages(
        np.zeros((len(labels), 1, 1), np.uint8), labels, marks, none, none, 1, 0, settings
    )


def test_matched_neighbours_have_no_error_of_chance() -> None:
    """One of every two is right whatever the distance says: 50 % exactly, not +- 2 %."""
    found = images(3, match=True)
    baseline = locality.marker_distance_baseline(
        locality.marker_distances(found), found.labels
    )
    assert (baseline.accuracy, baseline.standard_error) == (0.5, 0.0)


@pytest.mark.slow
def test_the_baseline_of_positions_sees_where_marks_lie() -> None:
    """Marks far from the centre are found where distances are equal; chance is chance."""
    rng = default_rng(0)
    labels = rng.integers(0, 2, 1200)
    middle = 150 + np.where(labels[:, None] == 1, 90, 20) * rng.choice([-1, 1], (1200, 2))
    marks = middle[:, None] + np.array([[0, 15], [0, -15]])
    baseline = locality.marker_position_baseline(with_marks(marks, labels))
    assert baseline.accuracy > 0.99
    assert locality.marker_distance_baseline(np.full(1200, 30.0), labels).accuracy < 0.6
    chance = locality.marker_position_baseline(with_marks(marks, rng.permutation(labels)))
    low, high = chance.interval
    assert low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.959964 * 0.5 / 1200**0.5, rel=0.15)


@pytest.mark.slow
def test_the_baseline_of_positions_does_not_see_turns() -> None:
    """Mirror images, quarter turns and the order of the marks change nothing."""
    rng = default_rng(1)
    marks, labels = rng.integers(0, 300, (120, 2, 2)), rng.integers(0, 2, 120)
    turned = np.stack([299 - marks[:, ::-1, 1], marks[:, ::-1, 0]], axis=2)
    wanted, found = (
        locality.marker_position_baseline(with_marks(same, labels), folds=2)
        for same in (marks, turned)
    )
    assert found == wanted


@pytest.mark.slow
def test_matched_marks_still_say_something() -> None:
    """Of paths of nine dashes at equal distances: 53.4 % with standard error 0.3 %."""
    settings = paper_pathfinder(9, match_distance=True)
    stamps = make_stamps(settings, 3)
    found, _, _ = draw_marked_pairs(default_rng(9), stamps, settings, 20_000)
    marks = np.stack(np.divmod(found.places, stamps.stride), axis=2)
    baseline = locality.marker_position_baseline(with_marks(marks, found.labels))
    assert 0.525 < baseline.accuracy < 0.545
    assert baseline.interval[0] > 0.52
