"""Examples: pytrees with `count` and `batch(rows) -> (x, y)`, and what is made of them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["ArrayExamples", "join_examples", "select_examples"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ArrayExamples:
    """Images and labels that are there as arrays.

    Example:
      >>> import jax.numpy as jnp
      >>> examples = ArrayExamples(jnp.ones((6, 4, 4, 1)), jnp.zeros(6))
      >>> examples.count, examples.batch(jnp.array([0, 3]))[0].shape
      (6, (2, 4, 4, 1))
    """

    images: jax.Array  # (N, H, W, C)
    labels: jax.Array  # (N,)

    @property
    def count(self) -> int:
        """How many examples there are."""
        return self.images.shape[0]

    def batch(self, rows: Any) -> tuple[jax.Array, jax.Array]:
        """Examples of the given numbers: x (B, H, W, C), y (B,)."""
        rows = jnp.asarray(rows)
        return self.images[rows], self.labels[rows].astype(self.images.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Joined:
    first: Any
    second: Any

    @property
    def count(self) -> int:
        return self.first.count + self.second.count

    def batch(self, rows: Any) -> tuple[jax.Array, jax.Array]:
        rows = jnp.asarray(rows)
        inside = rows < self.first.count
        x, y = self.first.batch(jnp.minimum(rows, self.first.count - 1))
        u, v = self.second.batch(jnp.maximum(rows - self.first.count, 0))
        return jnp.where(inside[:, None, None, None], x, u), jnp.where(inside, y, v)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Selected:
    examples: Any
    rows: jax.Array  # (N,) int32

    @property
    def count(self) -> int:
        return self.rows.shape[0]

    def batch(self, rows: Any) -> tuple[jax.Array, jax.Array]:
        return self.examples.batch(self.rows[jnp.asarray(rows)])


def join_examples(first: Any, second: Any) -> Any:
    """Examples of the one, then of the other; images of one shape.

    For the control that trains on training and test examples together.

    Raises:
      ValueError: images of different shapes.

    Example:
      >>> import jax.numpy as jnp
      >>> a, b = (ArrayExamples(jnp.full((2, 1, 1, 1), v), jnp.zeros(2)) for v in (1, 2))
      >>> join_examples(a, b).batch(jnp.arange(4))[0].ravel().tolist()
      [1, 1, 2, 2]
    """
    shapes = [
        jax.eval_shape(lambda e=e: e.batch(jnp.zeros(1, jnp.int32))[0]).shape
        for e in (first, second)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"`first` has images of shape {shapes[0][1:]}, `second` of {shapes[1][1:]}."
        )
    return _Joined(first, second)


def select_examples(examples: Any, rows: Any) -> Any:
    """Some of the examples, for validation splits and learning curves.

    Raises:
      ValueError: no rows, or rows that are not there.

    Example:
      >>> import jax.numpy as jnp
      >>> all_ = ArrayExamples(jnp.arange(4.0).reshape(4, 1, 1, 1), jnp.zeros(4))
      >>> select_examples(all_, [3, 1]).batch(jnp.arange(2))[0].ravel().tolist()
      [3.0, 1.0]
    """
    rows = jnp.asarray(rows, jnp.int32)
    if rows.ndim != 1 or rows.size == 0:
        raise ValueError(f"`rows` must be (N,) with N at least 1, got {rows.shape}.")
    if int(rows.min()) < 0 or int(rows.max()) >= examples.count:
        raise ValueError(
            f"`rows` go from {int(rows.min())} to {int(rows.max())}; there are "
            f"{examples.count} examples."
        )
    return _Selected(examples, rows)
