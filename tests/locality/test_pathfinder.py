"""Pathfinder: its statistics against the reference's, determinism, files and errors.

Reference figures were measured on 4,000 pairs of paths a length from the authors'
generator (LOCALITY 1.4), ink on 24 images a length; a tolerance is four standard errors of
the difference, and half a digit of rounding.
"""

# Wrong types are the point of some rows here.
# pyright: reportArgumentType=false

import functools
import json
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.random import default_rng

from htfjax import locality
from htfjax.locality import paper_pathfinder
from htfjax.locality.tasks.pathfinder.chunk import draw_marked_pairs
from htfjax.locality.tasks.pathfinder.ink import shrink
from htfjax.locality.tasks.pathfinder.paths import draw_distractors, draw_pairs
from htfjax.locality.tasks.pathfinder.stamps import NUM_DEGREES, make_stamps, resampling

LENGTHS = (3, 5, 7, 9)
KEY = jax.random.key(5)
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


@functools.cache
def images(length: int, match: bool = False) -> locality.PathfinderImages:
    """512 images of one length."""
    settings = paper_pathfinder(length, match_distance=match)
    return locality.draw_pathfinder(KEY, settings, 512)


def near(found: float, expected: float, error: float, digit: float) -> None:
    assert abs(found - expected) < 4 * error + digit / 2, (found, expected, error)


# Statistics of the reference.


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


@pytest.mark.parametrize(
    ("continuity", "largest"),
    [pytest.param(1.8, 50, marks=pytest.mark.slow), (3.0, 30), (1.0, 90)],
)
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


# The distance-matched option.


@pytest.mark.parametrize("length", [3, pytest.param(9, marks=pytest.mark.slow)])
def test_matched_distances_alone_say_nothing(length: int) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    found = images(length, match=True)
    distance = locality.marker_distances(found)
    np.testing.assert_array_equal(distance[::2], distance[1::2])
    np.testing.assert_array_equal(found.labels[::2] + found.labels[1::2], 1)
    baseline = locality.marker_distance_baseline(distance, found.labels, width=1.0)
    assert baseline.total_variation <= 0.02
    assert baseline.accuracy <= 0.52
    boosted = HistGradientBoostingClassifier(max_iter=30)
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


# Determinism.


def test_more_images_change_none() -> None:
    settings = paper_pathfinder(3)
    few = locality.draw_pathfinder(KEY, settings, 5)
    many = locality.draw_pathfinder(KEY, settings, 200)
    for name in ("pixels", "labels", "marks", "margins", "distractors"):
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:5])
    assert (many.pixels[128:] != many.pixels[:72]).any()
    other = locality.draw_pathfinder(jax.random.key(6), settings, 5)
    assert (other.pixels != few.pixels).any()


@pytest.mark.slow
def test_processes_change_nothing() -> None:
    settings = paper_pathfinder(3)
    alone = locality.draw_pathfinder(KEY, settings, 260)
    shared = locality.draw_pathfinder(KEY, settings, 260, processes=2)
    for one, two in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one, two)


# Presets.


@pytest.mark.parametrize("size", [32, pytest.param(64, marks=pytest.mark.slow), 128, 256])
def test_lra_presets_can_be_drawn(size: int) -> None:
    found = locality.draw_pathfinder(KEY, locality.lra_pathfinder(size), 128)
    assert found.pixels.shape == (128, size, size)
    assert set(found.margins) == set(found.settings.margins)
    assert (found.marks >= 0).all()
    assert (found.marks < size).all()
    assert found.distractors.mean() > 0.7 * found.settings.num_distractors
    assert 0.003 < found.pixels.mean() / 255 < 0.2


def test_paper_settings() -> None:
    found = [paper_pathfinder(length) for length in LENGTHS]
    assert [s.distractor_length for s in found] == [1, 1, 2, 3]
    assert [s.num_distractors for s in found] == [30, 18, 13, 10]


# Examples and files.


def test_examples_are_normalized_by_the_training_set() -> None:
    found = images(3)
    train = locality.pathfinder_examples(found, slice(0, 400))
    test = locality.pathfinder_examples(found, slice(400, 512), like=train)
    rows = jnp.array([7, 0])
    x, y = jax.jit(type(test).batch)(test, rows)
    assert (x.dtype, y.dtype, test.count) == (jnp.float32, jnp.float32, 112)
    pixels = found.pixels[:400] / 255
    expected = (found.pixels[[407, 400]] / 255 - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(x[..., 0], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(y, found.labels[[407, 400]])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(train))


def test_files_bring_back_what_was_drawn(tmp_path) -> None:
    found = images(3)
    locality.save_pathfinder(tmp_path / "a.npz", found)
    again = locality.load_pathfinder(tmp_path / "a.npz")
    for one, two in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert os.listdir(tmp_path) == ["a.npz"]


def test_images_are_drawn_once(tmp_path, monkeypatch) -> None:
    settings = paper_pathfinder(3)
    first = locality.stored_pathfinder(tmp_path / "new", settings, 4, key=KEY)
    (path,) = (tmp_path / "new").iterdir()
    assert path.name.startswith("pathfinder_150_3_")
    locality.stored_pathfinder(tmp_path / "new", settings, 3, key=KEY)
    assert len(list((tmp_path / "new").iterdir())) == 2

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(
        "htfjax.locality.tasks.pathfinder.examples.draw_pathfinder", forbidden
    )
    again = locality.stored_pathfinder(tmp_path / "new", settings, 4, key=KEY)
    np.testing.assert_array_equal(first.pixels, again.pixels)


@pytest.mark.parametrize("damage", ["half", "empty", "text", "other", "cut"])
def test_a_damaged_file_is_named(tmp_path, damage: str) -> None:
    path = tmp_path / "hurt.npz"
    found = locality.draw_pathfinder(KEY, paper_pathfinder(3), 4)
    locality.save_pathfinder(path, found)
    if damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("not an archive")
    elif damage == "other":
        np.savez(path, a=np.zeros(3))
    else:
        locality.save_pathfinder(path, found._replace(labels=found.labels[:2]))
    with pytest.raises(ValueError, match=r"hurt.npz` is damaged.*draw them again"):
        locality.load_pathfinder(path)


def test_a_newer_file_is_refused(tmp_path) -> None:
    np.savez(tmp_path / "new.npz", header=np.array(json.dumps({"format": 99})))
    with pytest.raises(ValueError, match=r"format 99.*upgrade"):
        locality.load_pathfinder(tmp_path / "new.npz")


# Wrong input.

BAD_SETTINGS = [
    ({"contour_length": 1}, ValueError, "`contour_length=1` must be at least 2"),
    ({"contour_length": 9.0}, TypeError, "`contour_length` must be an integer"),
    ({"output_size": 140}, ValueError, "`output_size=140` must divide `size=300`"),
    ({"padding": 150}, ValueError, "`padding=150` leaves nothing"),
    ({"padding": 0}, ValueError, "`padding=0`"),
    ({"thickness": 1.7}, ValueError, "multiple of 1 / antialias = 0.5"),
    ({"thickness": 0}, ValueError, "`thickness=0`"),
    ({"continuity": 0.5}, ValueError, "`continuity=0.5` must be at least 1"),
    ({"margins": ()}, ValueError, "`margins` is empty"),
    ({"margins": (0,)}, ValueError, "`margins=0`"),
    ({"marker_radius": -1.0}, ValueError, "`marker_radius=-1.0`"),
    ({"max_attempts": 0}, ValueError, "`max_attempts=0`"),
]


@pytest.mark.parametrize(("changes", "kind", "message"), BAD_SETTINGS)
def test_settings_that_cannot_be(changes: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        locality.PathfinderSettings(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed_distance": 80}, r"no place for a first dash: `seed_distance=80`"),
        ({"contour_length": 60, "continuity": 4.0}, "no pixel free .*`padding=22`.*=4.0"),
        ({"contour_length": 60}, "dash 3 .*crosses another in all 3 tries, with `margins"),
        ({"contour_length": 2, "seed_distance": 60, "match_distance": True},
         "too few have a partner"),
    ],
)  # fmt: skip
def test_settings_that_are_never_drawn(changes: dict, message: str) -> None:
    settings = locality.PathfinderSettings(**changes, max_attempts=40)
    with pytest.raises(ValueError, match=message):
        locality.draw_pathfinder(KEY, settings, 1)


CALLS = [
    (
        lambda: locality.draw_pathfinder(KEY, paper_pathfinder(3), 0),
        ValueError,
        "`count=0`",
    ),
    (
        lambda: locality.draw_pathfinder(KEY, paper_pathfinder(3), 1, processes=0),
        ValueError,
        "`processes=0`",
    ),
    (lambda: locality.draw_pathfinder(0, paper_pathfinder(3), 1), TypeError, "`key`"),
    (lambda: locality.draw_pathfinder(KEY, 9, 1), TypeError, "`settings`"),
    (lambda: locality.lra_pathfinder(100), ValueError, "`size=100` is none of"),
    (lambda: locality.marker_distances(3), TypeError, "`images`"),
    (lambda: locality.pathfinder_examples(3), TypeError, "`images`"),
    (
        lambda: locality.pathfinder_examples(images(3), slice(900, 910)),
        ValueError,
        "holds none of the 512 images",
    ),
    (lambda: locality.save_pathfinder("x.npz", 3), TypeError, "`images`"),
    (lambda: locality.load_pathfinder("none.npz"), FileNotFoundError, "none.npz"),
    (
        lambda: locality.marker_distance_baseline([1.0, 2.0], [0, 1, 1]),
        ValueError,
        "`distances` and `labels`",
    ),
    (
        lambda: locality.marker_distance_baseline(np.ones(30), np.ones(30)),
        ValueError,
        "both 0 and 1",
    ),
    (
        lambda: locality.marker_distance_baseline(np.ones(9), np.ones(9)),
        ValueError,
        "at least 20",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), CALLS)
def test_wrong_input_is_answered(call, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
