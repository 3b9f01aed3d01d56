"""Selectors: weight matrices of zeros and ones that pick rows, held as index maps."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from wadler_lindig import AbstractDoc, TextDoc

from htfjax import _checks, _reprs
from htfjax._types import Array, DTypeLike, Float

# What stands at a node: a matrix, a selector, or None for a root of ones.
Weight: TypeAlias = Any


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Selector:
    """The matrix S[i, r] = 1 where i = picks[r], else 0, of shape (num_rows, len(picks)).

    Multiplying by it picks columns: (X S)[:, r] = X[:, picks[r]]. It stands in `Factors`
    in place of a matrix of a fixed node, has no entries to train and nothing to store but
    the map. One above every child of a node writes a full transfer tensor as a diagonal
    one, which is how `htfjax.formats` holds hierarchical Tucker and tensor trains.

    Attributes:
      num_rows: rows of the matrix, the width of its node.
      picks: for every column the row that it picks.

    Raises:
      TypeError, ValueError: picks that are not integers from 0 to num_rows - 1.

    Source: frozen one-child selectors over diagonal nodes give the full hierarchical
    Tucker format.

    Example:
      >>> import htfjax as htf
      >>> htf.Selector(2, (0, 0, 1)).matrix("float32").tolist()
      [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    num_rows: int
    picks: tuple[int, ...]

    def __post_init__(self) -> None:
        rows = _checks.at_least("num_rows", self.num_rows, 1)
        found = _checks.sequence("picks", self.picks, "row numbers")
        picks = tuple(_checks.at_least("picks", pick, 0) for pick in found)
        if not picks or max(picks) >= rows:
            raise ValueError(
                f"`picks={_checks.spell(self.picks)}` must be row numbers from 0 to "
                f"{rows - 1}, at least one."
            )
        object.__setattr__(self, "num_rows", rows)
        object.__setattr__(self, "picks", picks)

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        # Part of the structure of factors, which jitted functions hash at every call.
        return hash((self.num_rows, self.picks))

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix."""
        return self.num_rows, len(self.picks)

    @property
    def ndim(self) -> int:
        """2, as of every matrix."""
        return 2

    def matrix(self, dtype: DTypeLike) -> Float[Array, "K R"]:
        """The matrix, written out."""
        rows = jnp.arange(self.num_rows, dtype=np.int32)
        picks = np.asarray(self.picks, np.int32)
        return (rows[:, None] == picks[None, :]).astype(dtype)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Its shape."""
        return TextDoc(str(self))

    def __str__(self) -> str:
        return f"selector[{self.num_rows},{len(self.picks)}]"

    def __repr__(self) -> str:
        return _reprs.text(self)


def matrix_of(weight: Weight, dtype: DTypeLike) -> Weight:
    """A selector written out in a dtype; other weights as they are."""
    return weight.matrix(dtype) if isinstance(weight, Selector) else weight


def times(left: Weight, weight: Weight) -> Weight:
    """The product of a matrix with a matrix, or the columns that a selector picks."""
    if isinstance(weight, Selector):
        return left[:, list(weight.picks)]
    return jnp.matmul(left, weight, precision="highest")


def identity_selector(count: int) -> Selector:
    """The identity matrix."""
    return Selector(count, tuple(range(count)))


def kronecker_selectors(counts: Sequence[int]) -> tuple[Selector, ...]:
    """One selector per number: column (a_1, ..., a_m), the last fastest, picks row a_j.

    Example:
      >>> [s.picks for s in kronecker_selectors((2, 2))]
      [(0, 0, 1, 1), (0, 1, 0, 1)]
    """
    grid = np.indices(tuple(counts)).reshape(len(counts), -1)
    return tuple(
        Selector(count, tuple(picks.tolist()))
        for count, picks in zip(counts, grid, strict=True)
    )
