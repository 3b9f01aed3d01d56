"""Pathfinder's statistics against the reference's.

Reference figures were measured on 4,000 pairs of paths a length from the authors'
generator (LOCALITY 1.4), ink on 24 images a length; a tolerance is four standard errors of
the difference, and half a digit of rounding.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.random import default_rng

from htfjax import locality
from htfjax.locality import paper_pathfinder
from htfjax.locality.tasks.pathfinder.chunk import draw_marked_pairs
from htfjax.locality.tasks.pathfinder.ink import shrink
from htfjax.locality.tasks.pathfinder.paths import draw_distractors, draw_pairs
from htfjax.locality.tasks.pathfinder.stamps import NUM_DEGREES, make_stamps, resampling
from tests.locality.tasks.pathfinder.drawn import LENGTHS, images

REFERENCE = 4000  # pairs
PAIRS = 6000  # ours


class Expected(NamedTuple):
    """What the authors' generator does at one length."""

    same: tuple[float, float]  # distance of the marks for label 1: mean, deviation
    other: tuple[float, float]  # for label 0
    rejected: float  # pairs thrown away for each one kept
    baseline: float  # accuracy from the distance alone
    distractors: int
    mean: float  # of pixels in [0, 1]
    std: float


EXPECTED = {
    3: Expected((26.2, 1.8), (36.1, 14.8), 0.15, 0.937, 30, 0.0042, 0.039),
    5: Expected((46.7, 3.3), (53.4, 17.4), 0.30, 0.900, 18, 0.0034, 0.036),
    7: Expected((66.5, 5.2), (71.9, 18.2), 0.59, 0.842, 13, 0.0046, 0.041),
    9: Expected((85.5, 7.8), (89.6, 19.6), 1.05, 0.784, 10, 0.0054, 0.0446),
}


@functools.cache
def marked(length: int) -> Any:
    """Pairs with marks, distances, and how many pairs came off and did not."""
    settings = paper_pathfinder(length)
    stamps = make_stamps(settings, 3)
    found, drawn, thrown = draw_marked_pairs(default_rng(length), stamps, settings, PAIRS)
    row, column = np.divmod(found.places, stamps.stride)
    distance = np.hypot(row[:, 0] - row[:, 1], column[:, 0] - column[:, 1])
    return found, distance, drawn, thrown


def near(found: float, expected: float, error: float, digit: float) -> None:
    assert abs(found - expected) < 4 * error + digit / 2, (found, expected, error)


# Statistics of the reference.


@pytest.mark.slow
@pytest.mark.parametrize("length", LENGTHS)
def test_distances_of_the_marks(length: int) -> None:
    found, distance, _, _ = marked(length)
    for label, (mean, std) in ((1, EXPECTED[length].same), (0, EXPECTED[length].other)):
        own = distance[found.labels == label]
        error = std * (1 / len(own) + 2 / REFERENCE) ** 0.5
        near(own.mean(), mean, error, 0.1)
        near(own.std(), std, error / 2**0.5, 0.1)


@pytest.mark.parametrize("length", LENGTHS)
def test_pairs_thrown_away(length: int) -> None:
    _, _, drawn, thrown = marked(length)
    ratio = EXPECTED[length].rejected
    error = (ratio * (1 + ratio) * (1 / drawn + 1 / REFERENCE)) ** 0.5
    near(thrown / drawn, ratio, error, 0.01)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_distance_predicts_the_label_as_in_the_reference(length: int) -> None:
    found, distance, _, _ = marked(length)
    baseline = locality.marker_distance_baseline(distance, found.labels, width=0.25)
    share = EXPECTED[length].baseline
    error = (share * (1 - share) * (1 / PAIRS + 1 / REFERENCE)) ** 0.5
    near(baseline.accuracy, share, error, 0.001)
    # The best possible classifier on samples is right in (1 + total variation) / 2.
    assert baseline.accuracy < (1 + baseline.total_variation) / 2


@pytest.mark.parametrize("length", LENGTHS)
def test_labels_are_balanced_and_mean_what_they_say(length: int) -> None:
    found, _, _, _ = marked(length)
    assert abs(found.labels.mean() - 0.5) < 4 * 0.5 / PAIRS**0.5
    first, last = found.pairs.anchor[:, :, 0], found.pairs.anchor[:, :, -1]
    begins = found.places[:, :1] == first
    ends = found.places[:, 1:] == last
    assert (begins.sum(axis=1) == 1).all()
    assert ends.any(axis=1).all()
    # As in the reference, both last dashes may end on one pixel, but hardly ever do.
    clear = ends.sum(axis=1) == 1
    assert clear.mean() > 0.999
    same = begins.argmax(axis=1) == ends.argmax(axis=1)
    np.testing.assert_array_equal(same[clear], found.labels[clear] == 1)
    assert abs(begins.argmax(axis=1).mean() - 0.5) < 4 * 0.5 / PAIRS**0.5


@pytest.mark.slow
@pytest.mark.parametrize(("continuity", "largest"), [(1.8, 50), (3.0, 30), (1.0, 90)])
def test_turns_stay_below_their_limit(continuity: float, largest: float) -> None:
    """Turns read off the heads of dashes, and their weights off the whole distribution."""
    settings = paper_pathfinder(5, continuity=continuity)
    stamps = make_stamps(settings, 3)
    pairs, _ = draw_pairs(default_rng(0), stamps, settings, 3000)
    angle = np.rad2deg(stamps.angle[pairs.dash])
    turn = (np.diff(angle, axis=2) + 180) % 360 - 180
    assert abs(turn).max() < largest
    assert abs(turn).max() > 0.8 * largest
    assert abs(turn.mean()) < 1.0
    # On an empty image cos^2(c t): deviation in units of pi / (2 c).
    grid = np.linspace(-1, 1, 4001)
    density = np.cos(grid * np.pi / 2) ** 2
    expected = largest * (grid**2 @ density / density.sum()) ** 0.5
    assert abs(turn[:, 0, 0].std() / expected - 1) < 0.05


def test_dashes_of_a_path_follow_each_other() -> None:
    """The next dash begins about six pixels after the last one, and all are five long."""
    settings = paper_pathfinder(9)
    stamps = make_stamps(settings, 3)
    pairs, _ = draw_pairs(default_rng(0), stamps, settings, 500)
    tail, head = ends_of(stamps, pairs)
    gap = np.linalg.norm(tail[:, :, 1:] - head[:, :, :-1], axis=-1)
    assert abs(gap.mean() - 6) < 0.2
    assert 3 < gap.min() < gap.max() < 9  # ends are whole pixels
    seeds = np.linalg.norm(tail[:, 0, 0] - tail[:, 1, 0], axis=-1)
    assert abs(seeds - 27).max() < 0.75  # rounded to whole pixels
    assert 22 < head.min() < head.max() < 278


def ends_of(stamps: Any, paths: Any) -> tuple[np.ndarray, np.ndarray]:
    """Tails and heads of dashes, (..., 2), as they are drawn, five pixels apart."""
    anchor = np.stack(np.divmod(paths.anchor, stamps.stride), axis=-1) - stamps.frame
    angle = stamps.angle[paths.dash]
    along = 5 * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    first = (paths.dash < NUM_DEGREES)[..., None]
    return np.where(first, anchor, anchor - along), np.where(first, anchor + along, anchor)


def test_dashes_keep_away_from_each_other() -> None:
    """No distractor comes near any dash: at least four pixels between centre lines."""
    settings = paper_pathfinder(9)
    stamps = make_stamps(settings, 3)
    rng = default_rng(1)
    pairs, _ = draw_pairs(rng, stamps, settings, 120)
    placed = draw_distractors(rng, stamps, settings, pairs)
    share = np.linspace(0, 1, 6)[:, None]
    lines = []
    for paths in (pairs, placed):
        tail, head = (
            e.reshape(len(pairs.anchor), -1, 1, 2) for e in ends_of(stamps, paths)
        )
        lines.append(tail + share * (head - tail))  # (n, dashes, 6, 2)
    for target, dashes in zip(lines[0], lines[1], strict=True):
        apart = dashes[:, None, :, None] - target[None, :, None, :]
        assert np.linalg.norm(apart, axis=-1).min() > 4


@pytest.mark.parametrize("length", LENGTHS)
def test_ink_and_distractors(length: int) -> None:
    found, expected = images(length), EXPECTED[length]
    assert found.distractors.max() == expected.distractors
    assert found.distractors.mean() > expected.distractors - 0.05
    pixels = found.pixels / 255
    mean = pixels.mean(axis=(1, 2))
    # Two significant digits were kept of the reference's means and deviations.
    near(mean.mean(), expected.mean, mean.std() / 24**0.5, 1e-4)
    square = (pixels**2).mean(axis=(1, 2))
    error = square.std() / 24**0.5 / (2 * expected.std)
    near(pixels.std(), expected.std, error, 1e-4 if length == 9 else 1e-3)


def test_marks_shine() -> None:
    """A mark is a disc of radius 3 in an image twice as large: bright in its middle."""
    found = images(9)
    for n in range(64):
        for row, column in found.marks[n] // 2:
            assert found.pixels[n, row, column] > 150
    assert found.pixels.max(axis=(1, 2)).min() > 180


def test_shrinking_is_a_triangle_filter() -> None:
    """Against weights applied to both axes of every pixel, as matrices."""
    rng = default_rng(0)
    pictures = np.zeros((3, 60, 60), np.uint8)
    pictures[:, 8:52, 8:52] = rng.integers(0, 200, (3, 44, 44))
    for factor in (1, 2, 3):
        weights = np.eye(60) if factor == 1 else resampling(60, 60 // factor, "triangle")
        gain = 255 / pictures.max(axis=(1, 2), keepdims=True)
        expected = np.einsum("ia,nab,jb->nij", weights, pictures * gain, weights)
        assert abs(shrink(pictures, factor) - expected).max() <= 0.5 + 1e-6
