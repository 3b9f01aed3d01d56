"""IsSameClass: how pairs are drawn, and where their images stand."""

# Wrong types are the point of some rows here.
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from htfjax import locality


def images(sizes: tuple[int, ...] = (30, 10, 20), side: int = 4) -> locality.Images:
    """Random pictures, classes of different size in no order."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    pixels = rng.integers(0, 256, (len(labels), side, side, 3), dtype=np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    return locality.Images(pixels, labels, "noise", mean=mean, std=std)


N = 60_000


def share_is(found: np.ndarray, expected: float) -> None:
    """A share of independent draws lies within four standard errors."""
    error = (expected * (1 - expected) / found.size) ** 0.5
    assert abs(found.mean() - expected) < 4 * error + 1e-12, (found.mean(), expected)


@pytest.mark.parametrize("other", ["image", "class"])
def test_pairs_are_drawn_as_said(other: str) -> None:
    source = images()
    pairs = locality.same_class_pairs(jax.random.key(3), source, N, other=other)
    classes = source.labels[pairs.rows]
    equal = classes[:, 0] == classes[:, 1]
    np.testing.assert_array_equal(equal, pairs.labels == 1)
    share_is(equal, 1 / 2)
    same, different = classes[equal], classes[~equal]
    for c in range(3):
        share_is(same[:, 0] == c, 1 / 3)  # uniform classes, though sizes differ
    # The two images of a positive pair are drawn with replacement.
    rows = pairs.rows[equal][same[:, 0] == 1]
    share_is(rows[:, 0] == rows[:, 1], 1 / 10)
    # Class 1 first, then an image of class 0: 30 of 50 images, or one class of two.
    first = different[different[:, 0] == 1]
    share_is(first[:, 1] == 0, 30 / 50 if other == "image" else 1 / 2)
    # Class 0 first, then class 2: 20 of the 30 images outside class 0, or one of two.
    share_is((different == (0, 2)).all(axis=1), 2 / 9 if other == "image" else 1 / 6)


def test_every_image_of_a_class_is_as_likely() -> None:
    source = images((5, 5))
    pairs = locality.same_class_pairs(jax.random.key(4), source, N)
    counts = np.bincount(pairs.rows.ravel(), minlength=10)
    assert abs(counts - 2 * N / 10).max() < 5 * (2 * N / 10) ** 0.5


def test_pairs_follow_from_the_key() -> None:
    source = images()
    draw = [locality.same_class_pairs(jax.random.key(k), source, 50) for k in (1, 1, 2)]
    np.testing.assert_array_equal(draw[0].rows, draw[1].rows)
    assert (draw[0].rows != draw[2].rows).any()


@pytest.mark.parametrize(
    ("canvas", "distance"), [((9, 30), 0), ((4, 31), 7), ((10, 30), 22), ((4, 31), 23)]
)
def test_images_stand_where_the_paper_puts_them(canvas, distance) -> None:
    """Against a loop that pastes one image after the other."""
    source = images()
    pairs = locality.same_class_pairs(jax.random.key(0), source, 40)
    examples = locality.same_class_examples(source, pairs, distance=distance, canvas=canvas)
    rows = jnp.array([3, 39, 3])
    x, y = jax.jit(type(examples).batch)(examples, rows)
    assert (x.dtype, y.dtype, examples.count) == (jnp.float32, jnp.float32, 40)
    expected = np.zeros((3, *canvas, 3))
    top, left = (canvas[0] - 4) // 2, canvas[1] // 2 - 4 - distance // 2
    for b, n in enumerate(np.asarray(rows)):
        for s, at in enumerate((left, left + 4 + distance)):
            picture = source.pixels[pairs.rows[n, s]] / 255
            seen = (picture - source.mean) / source.std
            expected[b, top : top + 4, at : at + 4] = seen
    np.testing.assert_allclose(x, expected, atol=2e-6)
    np.testing.assert_array_equal(y, pairs.labels[np.asarray(rows)])


@pytest.mark.parametrize("distance", [0, 40, 160])
def test_the_patches_are_the_images(distance: int) -> None:
    source = images(side=32)
    pairs = locality.same_class_pairs(jax.random.key(0), source, 8)
    examples = locality.same_class_examples(source, pairs, distance=distance)
    x, _ = examples.batch(jnp.arange(8))
    left, right = locality.same_class_patches(examples)
    assert (left.top, left.height, right.width) == (96, 32, 32)
    assert locality.patch_gap(left, right) == distance
    for patch in (left, right):
        box = np.s_[:, patch.top : patch.top + 32, patch.left : patch.left + 32]
        assert (np.abs(x[box]) > 0).mean() > 0.99
        x = x.at[box].set(0)
    assert float(jnp.abs(x).max()) == 0


def test_examples_are_a_pytree_of_arrays() -> None:
    source = images()
    pairs = locality.same_class_pairs(jax.random.key(0), source, 8)
    examples = locality.same_class_examples(source, pairs, distance=2, canvas=(4, 12))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(examples))
    assert examples.pixels.dtype == jnp.uint8
    moved = jax.tree.map(lambda leaf: leaf, examples)
    np.testing.assert_array_equal(moved.batch(jnp.arange(2))[0], examples.batch([0, 1])[0])


def test_the_digits_recipe_fits() -> None:
    train, test = locality.load_digits("train"), locality.load_digits("test")
    assert locality.largest_distance(train, (8, 64)) == 48
    pairs = locality.same_class_pairs(jax.random.key(99), test, 2000, other="class")
    examples = locality.same_class_examples(test, pairs, distance=48, canvas=(8, 64))
    x, _ = examples.batch(jnp.arange(2000))
    assert float(x.max()) == 1.0
    assert float(x[:, :, 8:56].max()) == 0.0


def build(**changes) -> object:
    source = images()
    pairs = changes.pop("pairs", locality.same_class_pairs(jax.random.key(0), source, 8))
    options = {"distance": 2, "canvas": (4, 12)} | changes
    return locality.same_class_examples(source, pairs, **options)


KEY = jax.random.key(0)
WRONG = {
    "distance": (lambda: build(distance=5), ValueError, "the maximum is 4"),
    "paper's": (
        lambda: build(distance=217, canvas=(224, 224)),
        ValueError,
        "the maximum is 216",
    ),
    "negative": (lambda: build(distance=-1), ValueError, "`distance=-1`"),
    "float": (lambda: build(distance=2.0), TypeError, "`distance` must be an integer"),
    "canvas": (lambda: build(canvas=(3, 12)), ValueError, r"at least \(4, 8\)"),
    "rows": (
        lambda: build(pairs=locality.Pairs(np.array([[0, 60]]), np.array([0]))),
        ValueError,
        "points to images 0 to 60 of 60",
    ),
    "shape": (
        lambda: build(pairs=locality.Pairs(np.zeros((3, 3), int), np.zeros(3))),
        ValueError,
        "`pairs` has rows",
    ),
    "one class": (
        lambda: locality.same_class_pairs(KEY, images((9,)), 5),
        ValueError,
        "one class only",
    ),
    "no pairs": (
        lambda: locality.same_class_pairs(KEY, images(), 0),
        ValueError,
        "`count=0`",
    ),
    "word": (
        lambda: locality.same_class_pairs(KEY, images(), 5, other="any"),
        ValueError,
        "`other='any'`",
    ),
    "seed": (lambda: locality.same_class_pairs(0, images(), 5), TypeError, "`key`"),
    "array": (
        lambda: locality.same_class_pairs(KEY, np.zeros(3), 5),
        TypeError,
        "`images`",
    ),
    "patches": (lambda: locality.same_class_patches(3), TypeError, "`examples`"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_answered(name: str) -> None:
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()
