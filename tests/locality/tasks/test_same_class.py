"""IsSameClass: statistics of pairs, and canvases pixel by pixel."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from htfjax import locality

NO_KEY: Any = 0
ANOTHER: Any = "x"


def numbered(count: int = 60, classes: int = 3, channels: int = 1) -> locality.Images:
    """Images filled with their own number."""
    pixels = np.zeros((count, 4, 3, channels), np.uint8)
    pixels += np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    mean, std = (0.2,) * channels, (0.5,) * channels
    return locality.Images(
        pixels, np.arange(count) % classes, "numbered", mean=mean, std=std
    )


@pytest.mark.parametrize("other", ["image", "class"])
def test_pairs_have_the_promised_statistics(other: Any) -> None:
    """Labels by a fair coin; classes and images uniform; both sides in negatives."""
    images, count = numbered(), 20_000
    pairs = locality.same_class_pairs(jax.random.key(1), images, count, other=other)
    classes = images.labels[pairs.rows]
    np.testing.assert_array_equal(classes[:, 0] == classes[:, 1], pairs.labels == 1)
    spread = 4 * np.sqrt(0.25 / count)
    assert abs(pairs.labels.mean() - 0.5) < spread
    for label in (0, 1):
        rows = pairs.rows[pairs.labels == label]
        for side in (0, 1):
            counts = np.bincount(rows[:, side], minlength=60)
            expected = len(rows) / 60
            # chi-square with 59 degrees of freedom: 1 in 10,000 lies above 109
            assert np.sum((counts - expected) ** 2 / expected) < 109
    same = pairs.rows[pairs.labels == 1]
    twins = (same[:, 0] == same[:, 1]).mean()
    assert abs(twins - 1 / 20) < 5 * np.sqrt(0.05 / len(same))


def test_pairs_follow_from_the_key() -> None:
    one, again, other = (
        locality.same_class_pairs(jax.random.key(k), numbered(), 50) for k in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.rows, again.rows)
    assert not np.array_equal(one.rows, other.rows)


@pytest.mark.parametrize(
    ("canvas", "distance", "top", "left", "right"),
    [
        ((4, 20), 14, 0, 0, 17),
        ((4, 20), 0, 0, 7, 10),
        ((9, 21), 5, 2, 5, 13),
    ],
)
def test_both_images_stand_where_they_should(
    canvas: tuple, distance: int, top: int, left: int, right: int
) -> None:
    images = numbered(channels=2)
    pairs = locality.same_class_pairs(jax.random.key(0), images, 6)
    examples = locality.same_class_examples(images, pairs, distance=distance, canvas=canvas)
    x, y = jax.jit(type(examples).batch)(examples, jnp.array([4, 1]))
    expected = np.zeros((2, *canvas, 2), np.float32)
    for i, row in enumerate((4, 1)):
        for column, number in zip((left, right), pairs.rows[row], strict=True):
            value = (number / 255 - 0.2) / 0.5
            expected[i, top : top + 4, column : column + 3] = value
    np.testing.assert_allclose(x, expected, atol=1e-6)
    np.testing.assert_array_equal(y, pairs.labels[[4, 1]])
    boxes = locality.same_class_patches(examples)
    assert [(int(b.top), int(b.left)) for b in boxes] == [(top, left), (top, right)]
    assert [(b.height, b.width) for b in boxes] == [(4, 3)] * 2


def test_the_papers_canvas() -> None:
    """32 x 32 images on 224 x 224: first column W // 2 - 32 - d // 2, at most 160 apart."""
    pixels = np.ones((4, 32, 32, 3), np.uint8)
    images = locality.Images(pixels, np.array([0, 0, 1, 1]), "ones")
    pairs = locality.same_class_pairs(jax.random.key(0), images, 3)
    assert locality.largest_distance(images, (224, 224)) == 160
    for distance in (0, 40, 80, 120, 160):
        examples = locality.same_class_examples(images, pairs, distance=distance)
        x, _ = examples.batch(jnp.arange(1))
        columns = np.flatnonzero(np.asarray(x)[0, 112, :, 0])
        assert columns[0] == 112 - 32 - distance // 2
        assert columns[-1] == columns[0] + 2 * 32 + distance - 1
    with pytest.raises(ValueError, match="the maximum is 160"):
        locality.same_class_examples(images, pairs, distance=161)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda i, p: locality.same_class_pairs(jax.random.key(0), i, 0), "`count"),
        (lambda i, p: locality.same_class_pairs(NO_KEY, i, 5), "key"),
        (lambda i, p: locality.same_class_pairs(jax.random.key(0), i, 5, other=ANOTHER),
         "`other="),
        (lambda i, p: locality.same_class_pairs(jax.random.key(0), numbered(4, 1), 5),
         "one class"),
        (lambda i, p: locality.same_class_examples(numbered(3), p, distance=0),
         "points to images"),
        (lambda i, p: locality.same_class_examples(i, p, distance=0, canvas=(3, 20)),
         "smaller than two"),
        (lambda i, p: locality.same_class_examples(i, p, distance=15, canvas=(4, 20)),
         "maximum is 14"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call: Any, words: str) -> None:
    images = numbered()
    pairs = locality.same_class_pairs(jax.random.key(0), images, 50)
    with pytest.raises((ValueError, TypeError), match=words):
        call(images, pairs)
