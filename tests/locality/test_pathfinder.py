"""Pathfinder: statistics against the reference generator's, determinism, files, errors.

The reference's figures (LOCALITY 1.4) come from 4,000 images a length: each is compared
within four standard errors of both samples.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from htfjax import locality

THEIRS = 4000
# length -> mean and deviation of the marks' distance for label 1, for label 0, accuracy of
# the distance alone, pairs thrown away over pairs kept.
REFERENCE = {
    3: ((26.2, 1.8), (36.1, 14.8), 0.937, 0.15),
    5: ((46.7, 3.3), (53.4, 17.4), 0.900, 0.30),
    7: ((66.5, 5.2), (71.9, 18.2), 0.842, 0.59),
    9: ((85.5, 7.8), (89.6, 19.6), 0.784, 1.05),
}


def compare(length: int, count: int) -> None:
    images = locality.draw_pathfinder(
        jax.random.key(length), locality.paper_pathfinder(length), count
    )
    ones, zeros, accuracy, rejected = REFERENCE[length]
    distances = locality.marker_distances(images)
    balance = abs(images.labels.mean() - 0.5)
    assert balance < 4 * 0.5 / math.sqrt(count)
    for label, (mean, deviation) in ((1, ones), (0, zeros)):
        ours = distances[images.labels == label]
        error = deviation * math.sqrt(2 / count + 2 / THEIRS) + 0.05  # printed to 0.1
        assert abs(ours.mean() - mean) < 4 * error
        assert abs(ours.std() - deviation) < 4 * error
    baseline = locality.marker_distance_baseline(distances, images.labels)
    error = math.sqrt(accuracy * (1 - accuracy) * (1 / count + 1 / THEIRS))
    assert abs(baseline.accuracy - accuracy) < 4 * error + 0.015  # another classifier
    ratio = images.thrown_away / images.drawn
    share = rejected / (1 + rejected)
    error = math.sqrt(share * (1 - share) * (1 / count + 1 / THEIRS))
    assert abs(ratio / (1 + ratio) - share) < 4 * error + 0.005
    assert images.distractors.mean() > 0.98 * images.settings.num_distractors


def test_statistics_are_the_references() -> None:
    compare(5, 1280)


@pytest.mark.slow
@pytest.mark.parametrize("length", list(REFERENCE))
def test_statistics_of_all_lengths(length: int) -> None:
    compare(length, THEIRS)


def test_ink_is_the_references() -> None:
    """Mean and deviation of pixels over 24 images: .0042/.039 at length 3, .0054/.0446."""
    for length, mean, deviation in ((3, 0.0042, 0.039), (9, 0.0054, 0.0446)):
        pixels = locality.draw_pathfinder(
            jax.random.key(0), locality.paper_pathfinder(length), 128
        ).pixels
        assert pixels.shape == (128, 150, 150)
        values = pixels / 255
        assert values.mean() == pytest.approx(mean, rel=0.12)
        assert values.std() == pytest.approx(deviation, rel=0.12)
        assert 0.7 < values.max() <= 1.0


def test_images_follow_from_key_and_number_alone() -> None:
    settings = locality.lra_pathfinder(32, contour_length=5)
    key = jax.random.key(3)
    few = locality.draw_pathfinder(key, settings, 100)
    many = locality.draw_pathfinder(key, settings, 260)
    np.testing.assert_array_equal(few.pixels, many.pixels[:100])
    shared = locality.draw_pathfinder(key, settings, 260, processes=2)
    for name in ("pixels", "labels", "marks"):
        np.testing.assert_array_equal(getattr(many, name), getattr(shared, name))
    other = locality.draw_pathfinder(jax.random.key(4), settings, 100)
    assert not np.array_equal(other.pixels, few.pixels)


def test_marks_stand_on_ink_and_inside_the_padding() -> None:
    images = locality.draw_pathfinder(jax.random.key(0), locality.paper_pathfinder(5), 64)
    assert images.marks.min() >= 22 - 3
    assert images.marks.max() < 300 - 22 + 3
    for pixels, marks in zip(images.pixels, images.marks, strict=True):
        for row, column in marks // 2:
            assert pixels[row, column] > 128


def test_matched_distances_say_nothing() -> None:
    """Total variation of the histograms at most 0.02, the baseline at most 52 %."""
    settings = locality.lra_pathfinder(32, contour_length=5, match_distance=True)
    images = locality.draw_pathfinder(jax.random.key(0), settings, 6400)
    baseline = locality.marker_distance_baseline(
        locality.marker_distances(images), images.labels
    )
    assert baseline.total_variation <= 0.02
    assert baseline.accuracy <= 0.52
    assert images.labels.mean() == 0.5


def test_the_baseline_finds_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 4000)
    noise = rng.normal(50, 10, 4000)
    assert abs(locality.marker_distance_baseline(noise, labels).accuracy - 0.5) < 0.03
    # Two normal distributions two deviations apart: Phi(1) = 0.8413.
    found = locality.marker_distance_baseline(noise + 20 * labels, labels)
    assert found.accuracy == pytest.approx(0.8413, abs=0.02)


def test_examples_are_normalized_like_the_training_images() -> None:
    images = locality.draw_pathfinder(jax.random.key(0), locality.lra_pathfinder(32, contour_length=3), 64)  # noqa: E501  # fmt: skip
    train = locality.pathfinder_examples(images, slice(0, 40))
    test = locality.pathfinder_examples(images, slice(40, 64), like=train)
    x, y = jax.jit(type(test).batch)(test, jnp.array([3, 0]))
    seen = images.pixels[:40] / 255
    expected = (images.pixels[[43, 40]] / 255 - seen.mean()) / seen.std()
    np.testing.assert_allclose(x[..., 0], expected, atol=1e-4)
    np.testing.assert_array_equal(y, images.labels[[43, 40]])


def test_files_come_back_or_are_named(tmp_path: Path) -> None:
    settings = locality.lra_pathfinder(32, contour_length=3)
    images = locality.draw_pathfinder(jax.random.key(0), settings, 8)
    path = tmp_path / "some.npz"
    locality.save_pathfinder(path, images)
    again = locality.load_pathfinder(path)
    assert again.settings == settings
    for name in ("pixels", "labels", "marks", "margins", "distractors"):
        np.testing.assert_array_equal(getattr(again, name), getattr(images, name))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"some\.npz.*damaged"):
        locality.load_pathfinder(path)
    header = json.dumps({"format": 99})
    np.savez(path, header=np.array(header))
    with pytest.raises(ValueError, match="format 99"):
        locality.load_pathfinder(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contour_length": 1}, "`contour_length"),
        ({"padding": 150}, "`padding=150` leaves nothing"),
        ({"output_size": 70}, "must divide"),
        ({"thickness": 1.3}, "`thickness=1.3` must be a multiple"),
        ({"continuity": 0.5}, "`continuity=0.5`"),
        ({"margins": ()}, "`margins` is empty"),
        ({"marker_radius": 0.0}, "`marker_radius"),
    ],
)
def test_settings_that_cannot_be_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        dataclasses.replace(locality.PathfinderSettings(), **change)


def test_a_setting_that_cannot_be_drawn_says_what_fails() -> None:
    """Bounded tries, then the constraint."""
    crowded = locality.paper_pathfinder(40, size=60, output_size=60, max_attempts=20)
    with pytest.raises(ValueError, match="`") as caught:
        locality.draw_pathfinder(jax.random.key(0), crowded, 2)
    assert any(w in str(caught.value) for w in ("contour_length", "size", "padding"))


def test_unknown_sizes_and_keys() -> None:
    with pytest.raises(ValueError, match="`size=100`"):
        locality.lra_pathfinder(100)
    with pytest.raises(TypeError, match="`settings` must be"):
        locality.draw_pathfinder(jax.random.key(0), 5, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`count"):
        locality.draw_pathfinder(jax.random.key(0), locality.paper_pathfinder(3), 0)
