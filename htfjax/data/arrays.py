"""Arrays, and pairs of indices and values, as cells: levels count from 0 to D - 1."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from htfjax import _checks
from htfjax.data.cells import Cells, place_of, real_values, refuse_infinite, sparse
from htfjax.data.levels import distinct_names

LARGEST_INDEX = np.iinfo(np.int32).max - 1
# Indices beyond are rather identifiers, whose levels would fill the memory.
LARGEST_DIMENSION = 2**24
VALUE = "value"


def array_cells(data: Any, modes: Sequence[Hashable] | None) -> Cells:
    """The cells of an array, NaN and masked ones too.

    Raises:
      TypeError: not real numbers. ValueError: no or one mode, empty, infinite values.
    """
    values = real_values("data", data)
    check_order("data", values.ndim)
    if not values.size:
        raise ValueError(f"`data` is empty: its shape is {values.shape}.")
    refuse_infinite(values, lambda at: f"`data{place_of(at, values.shape)}`")
    return numbered(*sparse(values), values.shape, modes)


def pair_cells(
    data: tuple[Any, Any], modes: Sequence[Hashable] | None, mode_dims: Any
) -> Cells:
    """The cells of a pair of indices (B, N) and values (B,).

    Raises:
      TypeError: float indices, values that are not real numbers. ValueError: other shapes,
        no cells, one mode, an index out of range, infinite values.
    """
    indices = _checks.seen("data[0]", _checks.integer_array("data[0]", data[0]))
    if indices.ndim != 2:
        raise ValueError(
            f"`data[0]` has shape {indices.shape}, expected indices (B, N) beside values "
            "(B,) in `data[1]`; an array is not given as a tuple."
        )
    check_order("data[0]", indices.shape[1])
    values = real_values("data[1]", data[1])
    _checks.shape("data[1]", values, (len(indices),), "(B,)")
    if not len(indices):
        raise ValueError("`data` is empty: `data[0]` has no rows.")
    refuse_infinite(values, lambda at: f"`data[1][{at}]`")
    dims = _dims(indices, mode_dims)
    return numbered(indices.astype(np.int32), values, dims, modes)


def check_order(name: str, order: int) -> None:
    """At least two modes."""
    if order < 2:
        raise ValueError(
            f"`{name}` has {order} {'mode' if order == 1 else 'modes'}; a tensor to "
            "complete has at least two."
        )


def numbered(
    indices: np.ndarray,
    values: np.ndarray,
    dims: tuple[int, ...],
    modes: Sequence[Hashable] | None,
) -> Cells:
    """Cells of modes whose levels are 0, ..., D_n - 1."""
    default = [f"mode_{n}" for n in range(len(dims))]
    names = distinct_names("modes", default if modes is None else modes, len(dims))
    return Cells(indices, values, tuple(map(np.arange, dims)), names, VALUE)


def _dims(indices: np.ndarray, mode_dims: Any) -> tuple[int, ...]:
    """The mode dimensions, by default the smallest that hold the indices."""
    wrong = np.argwhere((indices < 0) | (indices > LARGEST_INDEX))
    if wrong.size:
        at = tuple(wrong[0])
        raise ValueError(
            f"`data[0]{list(map(int, at))}` is {indices[at]}; indices run from 0 to "
            f"{LARGEST_INDEX}. Columns of a table may have any labels."
        )
    if mode_dims is None:
        return _smallest_dims(indices)
    dims = _checks.mode_dims(indices.shape[1], mode_dims)
    wrong = np.argwhere(indices >= np.asarray(dims))
    if wrong.size:
        row, mode = map(int, wrong[0])
        raise ValueError(
            f"`data[0][{row}, {mode}]` is {indices[row, mode]}, and `mode_dims` gives mode "
            f"{mode} dimension {dims[mode]}: indices run from 0 to {dims[mode] - 1}."
        )
    return dims


def _smallest_dims(indices: np.ndarray) -> tuple[int, ...]:
    dims = tuple(int(top) + 1 for top in indices.max(axis=0))
    for mode, dim in enumerate(dims):
        if dim > LARGEST_DIMENSION:
            raise ValueError(
                f"`data[0]` has index {dim - 1} of mode {mode}; indices count from 0. Give "
                "`mode_dims` if there are so many levels, or a table, whose columns may "
                "have any labels."
            )
    return dims
