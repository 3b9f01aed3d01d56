"""Examples: pytrees with `count` and `batch(rows) -> (x, y)`, joined and selected."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks, _pytrees, _reprs
from htfjax._types import Array, Float, Numbers
from htfjax.locality import inputs as _inputs
from htfjax.locality.inputs import Examples


@_pytrees.register_checked
@dataclasses.dataclass(frozen=True, eq=False)
class ArrayExamples:
    """Images and labels held as arrays.

    Args:
      images: (N, H, W, C); floats keep their dtype, bytes and other integers are stored as
        they are and given as the default floating dtype.
      labels: (N,) whole numbers from zero: integers, floats or booleans.

    Raises:
      TypeError: not real numbers. ValueError: other shapes, no images, NaN or infinity,
        labels that are fractions or negative.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> examples = locality.ArrayExamples(jnp.ones((6, 4, 4, 1)), jnp.zeros(6))
      >>> examples.count, examples.batch(jnp.array([0, 3]))[0].shape
      (6, (2, 4, 4, 1))
    """

    images: Any  # (N, H, W, C), an array of jax once made
    labels: Any  # (N,) int32

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __post_init__(self) -> None:
        """Checks what would otherwise fail inside a compiled step."""
        pixels = _inputs.images("images", self.images, keep=jnp.integer)
        labels = _inputs.whole_labels("labels", self.labels, len(pixels), None)
        object.__setattr__(self, "images", pixels)
        object.__setattr__(self, "labels", labels)

    @property
    def count(self) -> int:
        """The number of examples."""
        return self.images.shape[0]

    def batch(self, rows: Numbers) -> tuple[Float[Array, "*B H W C"], Float[Array, "*B"]]:
        """Examples of the given numbers: x (B, H, W, C), y (B,) in x's dtype.

        Labels of images in half precision are float32.

        Raises:
          TypeError: not integers. ValueError: numbers that are not there.
        """
        rows = check_rows(rows, self.count)
        x = self.images[rows]
        if not jnp.issubdtype(x.dtype, jnp.floating):
            x = x.astype(jax.dtypes.canonicalize_dtype(float))
        # Half precision does not hold every label.
        dtype = _inputs.widest([x.dtype, np.dtype(np.float32)])
        return x, self.labels[rows].astype(dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Joined:
    first: Examples
    second: Examples

    def __repr__(self) -> str:
        return _reprs.text(self)

    @property
    def count(self) -> int:
        return self.first.count + self.second.count

    def batch(self, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = check_rows(rows, self.count)
        inside = rows < self.first.count
        x, y = self.first.batch(jnp.minimum(rows, self.first.count - 1))
        u, v = self.second.batch(jnp.maximum(rows - self.first.count, 0))
        return jnp.where(inside[:, None, None, None], x, u), jnp.where(inside, y, v)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Selected:
    examples: Examples
    rows: jax.Array  # (N,) int32

    def __repr__(self) -> str:
        return _reprs.text(self)

    @property
    def count(self) -> int:
        return self.rows.shape[0]

    def batch(self, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.examples.batch(self.rows[check_rows(rows, self.count)])


def join_examples(first: Examples, second: Examples) -> Examples:
    """Examples of the one, then of the other; images of one shape.

    For the control that trains on training and test examples together.

    Raises:
      TypeError: things that are not examples. ValueError: images of different shapes or
        dtypes.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> a = locality.ArrayExamples(jnp.full((2, 1, 1, 1), 1), jnp.zeros(2))
      >>> b = locality.ArrayExamples(jnp.full((2, 1, 1, 1), 2), jnp.zeros(2))
      >>> locality.join_examples(a, b).batch(jnp.arange(4))[0].ravel().tolist()
      [1.0, 1.0, 2.0, 2.0]
    """
    for name, value in (("first", first), ("second", second)):
        _inputs.examples_pytree(name, value)
    one, other = (
        jax.eval_shape(lambda e=e: e.batch(jnp.zeros(1, jnp.int32))[0])
        for e in (first, second)
    )
    if one.shape != other.shape or one.dtype != other.dtype:
        raise ValueError(
            f"`first` has images of shape {one.shape[1:]} and dtype {one.dtype}, `second` "
            f"of {other.shape[1:]} and {other.dtype}."
        )
    return _Joined(first, second)


def select_examples(examples: Examples, rows: Numbers) -> Examples:
    """Some of the examples, for validation splits and learning curves.

    Raises:
      TypeError: rows that are not integers, things that are not examples.
      ValueError: no rows, or rows that are not there.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> all_ = locality.ArrayExamples(jnp.arange(4.0).reshape(4, 1, 1, 1), jnp.zeros(4))
      >>> locality.select_examples(all_, [3, 1]).batch(jnp.arange(2))[0].ravel().tolist()
      [3.0, 1.0]
    """
    _inputs.examples_pytree("examples", examples)
    rows = check_rows(rows, examples.count)
    if rows.ndim != 1 or rows.size == 0:
        raise ValueError(f"`rows` must be (N,) with N at least 1, got {rows.shape}.")
    return _Selected(examples, rows)


@functools.singledispatch
def seen_labels(examples: Examples) -> np.ndarray:
    """Labels (N,) that can be seen without making images; 0, which is always right, for
    those that cannot: traced ones, on other hosts, or of examples of another kind.
    """
    return np.zeros(examples.count, np.int32)


@seen_labels.register
def _(examples: ArrayExamples) -> np.ndarray:
    return _values(examples.labels, examples.count)


@seen_labels.register
def _(examples: _Joined) -> np.ndarray:
    return np.concatenate([seen_labels(examples.first), seen_labels(examples.second)])


@seen_labels.register
def _(examples: _Selected) -> np.ndarray:
    return seen_labels(examples.examples)[_values(examples.rows, examples.count)]


def _values(integers: jax.Array, count: int) -> np.ndarray:
    """Values of an array (count,) that can be seen, otherwise zeros."""
    if not _checks.concrete(integers) or not integers.is_fully_addressable:
        return np.zeros(count, np.int32)
    return np.asarray(integers)


def check_rows(rows: Numbers, count: int) -> jax.Array:
    """Numbers of examples as int32, any shape, in range where that can be seen.

    Raises:
      TypeError: not integers. ValueError: numbers that are not there.
    """
    numbers = _checks.integer_array("rows", rows)
    if _checks.concrete(numbers) and numbers.size:
        least, most = int(np.min(numbers)), int(np.max(numbers))
        if least < 0 or most >= count:
            raise ValueError(
                f"`rows` go from {least} to {most}; there are {count} examples."
            )
    return jnp.asarray(numbers, jnp.int32)
