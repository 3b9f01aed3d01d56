"""IsSameClass: whether two images far apart on an empty canvas show the same class."""

import dataclasses
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from htfjax import _checks, _reprs
from htfjax._types import Array, Float, Key, Numbers
from htfjax.locality import inputs as _inputs
from htfjax.locality.regularizer.patches import Patch, Place
from htfjax.locality.tasks import images as _images
from htfjax.locality.tasks import streams
from htfjax.locality.tasks.examples import check_rows
from htfjax.locality.tasks.images import Images

Other = Literal["image", "class"]


class Pairs(NamedTuple):
    """Pairs of images by number, and whether both are of one class.

    Example:
      >>> import jax
      >>> from htfjax import locality
      >>> digits = locality.load_digits("train")
      >>> pairs = locality.same_class_pairs(jax.random.key(0), digits, 6)
      >>> isinstance(pairs, locality.Pairs), pairs.rows.shape, pairs.labels.shape
      (True, (6, 2), (6,))
    """

    rows: np.ndarray  # (N, 2) int32: the left and the right image
    labels: np.ndarray  # (N,) uint8: 1 where the classes are equal

    def __repr__(self) -> str:
        return _reprs.text(self)


def same_class_pairs(
    key: Key[Array, ""], images: Images, count: int, *, other: Other = "image"
) -> Pairs:
    """Pairs of images; a fair coin per pair says whether both are of one class.

    Same class: a uniform class and two uniform images of it, with replacement, so both may
    be one image. Different classes: a uniform class, a uniform image of it, and

    - `other="image"`: a uniform image of all other classes, on the right (the paper);
    - `other="class"`: a uniform image of a uniform other class, on a random side (the
      digits recipe).

    The same pairs serve every distance. Labels are balanced by the coin only.

    Args:
      key: typed random key; equal keys give equal pairs on every machine.
      images: what to pair; at least two classes.
      count: how many pairs.
      other: how the second image of a negative pair is drawn.

    Raises:
      ValueError: fewer than two classes, no pairs, another word for `other`.
      TypeError: not a typed key, or not `Images`.

    Source: arXiv:2201.11729, IsSameClass.

    Example:
      >>> import jax
      >>> from htfjax import locality
      >>> digits = locality.load_digits("train")
      >>> pairs = locality.same_class_pairs(jax.random.key(77), digits, 800, other="class")
      >>> classes = digits.labels[pairs.rows]
      >>> bool(((classes[:, 0] == classes[:, 1]) == pairs.labels).all())
      True
    """
    _images.check_images("images", images)
    count = _checks.at_least("count", count, 1)
    _checks.one_of("other", other, get_args(Other))
    rng = streams.stream(streams.key_words(key))
    order = np.argsort(images.labels, kind="stable")
    _, starts, sizes = np.unique(
        images.labels[order], return_index=True, return_counts=True
    )
    num_classes = len(sizes)
    if num_classes < 2:
        raise ValueError(
            f"`images` ({images.name}) holds one class only; pairs need at least two."
        )
    labels = rng.integers(0, 2, count, dtype=np.uint8)
    chosen = rng.integers(0, num_classes, count)
    first = starts[chosen] + rng.integers(0, sizes[chosen])
    same = starts[chosen] + rng.integers(0, sizes[chosen])
    if other == "class":
        shifted = (chosen + rng.integers(1, num_classes, count)) % num_classes
        different = starts[shifted] + rng.integers(0, sizes[shifted])
        swapped = rng.integers(0, 2, count).astype(bool)
    else:
        # A uniform place among those outside the class: skip the class's own stretch.
        different = rng.integers(0, len(order) - sizes[chosen])
        different += np.where(different >= starts[chosen], sizes[chosen], 0)
        swapped = np.zeros(count, bool)
    second = np.where(labels == 1, same, different)
    rows = np.stack([first, second], axis=1)
    rows = np.where(swapped[:, None], rows[:, ::-1], rows)
    return Pairs(order[rows].astype(np.int32), labels)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SameClassExamples:
    """Pairs of images on a canvas, composed from bytes when a batch is asked for.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> digits = locality.load_digits("test")
      >>> pairs = locality.same_class_pairs(jax.random.key(0), digits, 10)
      >>> examples = locality.same_class_examples(
      ...     digits, pairs, distance=4, canvas=(8, 20))
      >>> isinstance(examples, locality.SameClassExamples), examples.count
      (True, 10)
      >>> examples.batch(jnp.arange(3))[0].shape
      (3, 8, 20, 1)
    """

    pixels: jax.Array  # (M, h, w, C) uint8
    rows: jax.Array  # (N, 2) int32
    labels: jax.Array  # (N,) uint8
    scale: jax.Array  # (C,) float32; a network sees pixels * scale + shift
    shift: jax.Array  # (C,) float32
    distance: Place  # a leaf, so that other distances retrace nothing
    canvas: tuple[int, int] = dataclasses.field(metadata={"static": True})
    name: str = dataclasses.field(metadata={"static": True})

    def __repr__(self) -> str:
        return _reprs.text(self)

    @property
    def count(self) -> int:
        """The number of examples."""
        return self.rows.shape[0]

    def batch(self, rows: Numbers) -> tuple[Float[Array, "*B H W C"], Float[Array, "*B"]]:
        """Examples of the given numbers: x (B, H, W, C), y (B,) in {0, 1}, float32.

        Works under jit, where numbers are not checked.

        Raises:
          TypeError: not integers. ValueError: numbers that are not there.
        """
        rows = check_rows(rows, self.count)
        left, right = (
            self.pixels[side].astype(jnp.float32) * self.scale[None, None, None]
            + self.shift[None, None, None]
            for side in jnp.moveaxis(self.rows[rows], -1, 0)
        )
        (top, first), (_, second) = _corners((left.shape[1], left.shape[2]), self)
        empty = jnp.zeros((*left.shape[:1], *self.canvas, left.shape[3]), left.dtype)
        zero, top, first, second = (
            jnp.asarray(at, jnp.int32) for at in (0, top, first, second)
        )
        x = lax.dynamic_update_slice(empty, left, (zero, top, first, zero))
        x = lax.dynamic_update_slice(x, right, (zero, top, second, zero))
        return x, self.labels[rows].astype(jnp.float32)


def same_class_examples(
    images: Images, pairs: Pairs, *, distance: int, canvas: tuple[int, int] = (224, 224)
) -> SameClassExamples:
    """Both images of each pair on an empty canvas, `distance` empty columns between them.

    Vertically centred; the left image begins at column W // 2 - w - distance // 2. Empty
    is zero, which is the mean colour of normalized images. The images stay on the device
    as bytes; a batch is composed inside jit.

    Args:
      images: what the pairs point to.
      pairs: from `same_class_pairs`.
      distance: free columns between the images, at most `largest_distance`.
      canvas: (H, W); the paper's is 224 x 224 (largest distance 160), the digits recipe's
        8 x 64 (largest 48).

    Returns:
      `SameClassExamples`, a pytree whose arrays are leaves: `count` examples, and
      `batch(rows)` gives x (B, H, W, C) and y (B,) in float32.

    Raises:
      TypeError: not `Images` or `Pairs`, numbers that are not integers.
      ValueError: a distance that does not fit the canvas (the error names the largest), a
        canvas smaller than the images, pairs that point outside the images.

    Source: arXiv:2201.11729, IsSameClass.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> digits = locality.load_digits("test")
      >>> pairs = locality.same_class_pairs(jax.random.key(99), digits, 100, other="class")
      >>> examples = locality.same_class_examples(
      ...     digits, pairs, distance=48, canvas=(8, 64))
      >>> x, y = jax.jit(type(examples).batch)(examples, jnp.arange(5))
      >>> x.shape, x.dtype, y.shape
      ((5, 8, 64, 1), dtype('float32'), (5,))
    """
    _images.check_images("images", images)
    rows, labels = _checked_pairs(pairs)
    if not 0 <= rows.min() <= rows.max() < len(images.labels):
        raise ValueError(
            f"`pairs` points to images {rows.min()} to {rows.max()} of "
            f"{len(images.labels)}; were they drawn from other images?"
        )
    height, width = _inputs.image_size("canvas", canvas)
    distance = _checks.at_least("distance", distance, 0)
    box_height, box_width = images.pixels.shape[1:3]
    largest = largest_distance(images, (height, width))
    if distance > largest:
        raise ValueError(
            f"`distance={distance}` does not fit two {box_height} x {box_width} images on "
            f"a canvas of {height} x {width}; the maximum is {largest}."
        )
    channels = images.pixels.shape[3]
    mean, std = (
        np.broadcast_to(np.array(values, np.float64), (channels,))
        for values in (images.mean, images.std)
    )
    return SameClassExamples(
        pixels=jnp.asarray(images.pixels),
        rows=jnp.asarray(rows, jnp.int32),
        labels=jnp.asarray(labels, jnp.uint8),
        scale=jnp.asarray(1 / (images.white * std), jnp.float32),
        shift=jnp.asarray(-mean / std, jnp.float32),
        distance=distance,
        canvas=(height, width),
        name=images.name,
    )


def largest_distance(images: Images, canvas: tuple[int, int]) -> int:
    """The largest number of free columns between two images on a canvas, W - 2 w.

    Raises:
      TypeError: not `Images`, a canvas that is not two integers. ValueError: the canvas
        does not hold two images side by side.

    Example:
      >>> from htfjax import locality
      >>> locality.largest_distance(locality.load_digits("test"), (8, 64))
      48
    """
    _images.check_images("images", images)
    box_height, box_width = images.pixels.shape[1:3]
    height, width = _inputs.image_size("canvas", canvas)
    if height < box_height or width < 2 * box_width:
        raise ValueError(
            f"`canvas={(height, width)}` is smaller than two {box_height} x {box_width} "
            f"images side by side; it must be at least ({box_height}, {2 * box_width})."
        )
    return width - 2 * box_width


def same_class_patches(examples: SameClassExamples) -> tuple[Patch, Patch]:
    """The boxes of the left and the right image: the two patches of the regularizer.

    Raises:
      TypeError: not `SameClassExamples`.

    Source: arXiv:2201.11729, IsSameClass (one box is P, the other Q; see `either_order`).

    Example:
      >>> import jax
      >>> from htfjax import locality
      >>> digits = locality.load_digits("test")
      >>> pairs = locality.same_class_pairs(jax.random.key(0), digits, 4)
      >>> examples = locality.same_class_examples(
      ...     digits, pairs, distance=16, canvas=(16, 64))
      >>> left, right = locality.same_class_patches(examples)
      >>> left.left, right.left, left.top
      (16, 40, 4)
    """
    advice = "`same_class_examples` makes them"
    _checks.instance("examples", examples, SameClassExamples, advice)
    height, width = examples.pixels.shape[1:3]
    (top, first), (_, second) = _corners((height, width), examples)
    return Patch(top, first, height, width), Patch(top, second, height, width)


def _checked_pairs(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, 2) and labels (N,) in {0, 1}, N at least one."""
    advice = "`same_class_pairs` draws them"
    _checks.instance("pairs", pairs, Pairs, advice)
    rows = _inputs.on_host("pairs.rows", _checks.integer_array("pairs.rows", pairs.rows))
    if rows.ndim != 2 or rows.shape[1] != 2 or not len(rows):
        raise ValueError(f"`pairs.rows` has shape {rows.shape}; expected (N, 2).")
    given = _inputs.on_host("pairs.labels", pairs.labels)
    return rows, np.asarray(_inputs.whole_labels("pairs.labels", given, len(rows), 2))


def _corners(
    box: tuple[int, int], examples: SameClassExamples
) -> tuple[tuple[Place, Place], tuple[Place, Place]]:
    """(top, left) of both images."""
    height, width = examples.canvas
    first = width // 2 - box[1] - examples.distance // 2
    top = (height - box[0]) // 2
    return (top, first), (top, first + box[1] + examples.distance)
