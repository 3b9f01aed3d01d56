"""Cells of a tensor with their values: real numbers, finite, one for each cell."""

import decimal
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np

from htfjax import _checks
from htfjax._integers import spell

NUMBERS = (numbers.Real, decimal.Decimal)


class Cells(NamedTuple):
    """Observed cells, the levels of their modes, and the names of all."""

    indices: np.ndarray  # (B, N) int32
    values: np.ndarray  # (B,) float64
    levels: tuple[np.ndarray, ...]  # (D_n,) labels of mode n
    mode_names: tuple[str, ...]
    value_name: str
    # Modes that no one chose, whose levels are floating numbers with fractions.
    doubtful: tuple[str, ...] = ()

    @property
    def mode_dims(self) -> tuple[int, ...]:
        """D_n of every mode."""
        return tuple(map(len, self.levels))


def real_values(name: str, values: Any) -> np.ndarray:
    """Real numbers as float64, NaN where one is masked or missing.

    Raises:
      TypeError: text, booleans, complex numbers, dates, traced values.
      ValueError: not rectangular, long doubles or integers that float64 does not hold.
    """
    if np.ma.isMaskedArray(values):
        missing = np.ma.getmaskarray(values)
        return np.where(missing, np.nan, real_values(name, _unmasked(values, missing)))
    if isinstance(values, list):
        values = _from_lists(name, values)
    if isinstance(values, np.ndarray) and values.dtype == object:
        return _from_objects(name, values)
    found = _checks.seen(name, values)
    if found.dtype == bool:
        raise TypeError(
            f"`{name}` must hold real numbers, got booleans; if 0 and 1 are meant, "
            "convert them: `.astype(float)`."
        )
    refuse_rounded(found, lambda at: f"`{name}{place_of(at, found.shape)}`")
    return found.astype(np.float64)


def refuse_rounded(values: np.ndarray, place: Callable[[int], str]) -> None:
    """Integers that float64 holds; `place` says where the one with a number stands.

    Raises:
      ValueError: one beyond 2^53 that would be rounded.
    """
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8:
        return
    sizes = np.abs(values).astype(np.uint64)
    rounded = sizes.astype(np.float64)
    # 2^64 itself, to which the largest are rounded, is no uint64.
    back = np.where(rounded < 2.0**64, rounded, 0.0).astype(np.uint64)
    wrong = np.flatnonzero(back != sizes)
    if wrong.size:
        _refuse_rounded(place(int(wrong[0])), int(values.flat[wrong[0]]))


def _refuse_rounded(where: str, value: int) -> NoReturn:
    raise ValueError(
        f"{where} is {spell(value)}, which float64 would round (it holds all integers "
        "up to 2^53); subtract an offset, or round them yourself: `.astype(float)`."
    )


def _unmasked(values: np.ma.MaskedArray, missing: np.ndarray) -> np.ndarray:
    """The array below a mask, with zeros where integers are masked."""
    below = np.ma.getdata(values)
    if below.dtype.kind in "iu":
        return np.where(missing, below.dtype.type(0), below)
    return below


def place_of(at: int, shape: tuple[int, ...]) -> str:
    """Where the entry with a number stands, as one writes it: "[1, 0]"."""
    return str([int(i) for i in np.unravel_index(at, shape)])


def _from_lists(name: str, values: list) -> Any:
    """Nested lists as an array; what cannot be one is left to the checks of arrays."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be rectangular: {error}. A pair of indices and values is a "
            "tuple, `(indices, values)`."
        ) from error


def _from_objects(name: str, values: np.ndarray) -> np.ndarray:
    """Python numbers as float64, NaN for None and pandas' NA."""
    plain = np.empty(values.shape, np.float64)
    for at, value in np.ndenumerate(values):
        if type(value).__name__ in ("NoneType", "NAType"):
            plain[at] = np.nan
        elif isinstance(value, NUMBERS) and not isinstance(value, bool):
            plain[at] = _as_float(value)
            if isinstance(value, numbers.Integral) and np.isfinite(plain[at]):
                if int(plain[at]) != value:
                    _refuse_rounded(f"`{name}{list(at)}`", int(value))
        else:
            raise TypeError(
                f"`{name}` must hold real numbers, got {spell(value)} at {list(at)}."
            )
    return plain


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond the floats
        return np.inf if value > 0 else -np.inf


def refuse_infinite(values: np.ndarray, place: Callable[[int], str]) -> None:
    """Values without infinities; `place` says where the one with a number stands."""
    wrong = np.flatnonzero(np.isinf(values))
    if wrong.size:
        at = int(wrong[0])
        raise ValueError(
            f"{place(at)} is {values.flat[at]} in float64; values must be finite, and NaN "
            "where they are missing."
        )


def sparse(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices (B, N) and values (B,) of the entries of an array that are not missing."""
    there = ~np.isnan(values)
    return np.argwhere(there).astype(np.int32), values[there]


def check_names(cells: Cells) -> None:
    """The values are not called like a mode, so that both can be columns of a table."""
    if cells.value_name in cells.mode_names:
        raise ValueError(
            f"`modes` {list(cells.mode_names)} and the values must have different names, "
            f"and the values are called {cells.value_name!r}; rename one."
        )


def without_missing(cells: Cells) -> Cells:
    """The cells whose value is not NaN.

    Raises:
      ValueError: none of them.
    """
    there = ~np.isnan(cells.values)
    if not there.any():
        raise ValueError("`data` has no observed cell: all of its values are missing.")
    return cells._replace(indices=cells.indices[there], values=cells.values[there])


def distinct(cells: Cells) -> tuple[Cells, str]:
    """Every cell once, in C order, with the mean of its values.

    Returns:
      The cells, and what to warn of where values of one cell differ, or "".
    """
    if _ascends(cells.indices):  # those of an array do, and it may be large
        return cells, ""
    order = np.lexsort(cells.indices.T[::-1])
    indices, values = cells.indices[order], cells.values[order]
    first = np.ones(len(order), bool)
    first[1:] = np.any(indices[1:] != indices[:-1], axis=1)
    starts = np.flatnonzero(first)
    low, high = (reduce.reduceat(values, starts) for reduce in (np.minimum, np.maximum))
    counts = np.diff(starts, append=len(values))
    # Shares are added, as a sum may overflow; the mean of equal values is that value.
    shares = np.add.reduceat(values / np.repeat(counts, counts), starts)
    means = np.where(low == high, low, shares)
    kept = cells._replace(indices=indices[starts], values=means)
    return kept, _disagreement(low, high)


def _ascends(indices: np.ndarray) -> bool:
    """Whether each row comes after the one before in C order, and differs from it."""
    steps = np.diff(indices, axis=0)
    first = np.argmax(steps != 0, axis=1)
    return bool(np.all(np.take_along_axis(steps, first[:, None], axis=1) > 0))


def _disagreement(low: np.ndarray, high: np.ndarray) -> str:
    spread = (high - low)[high > low]
    if not spread.size:
        return ""
    cells = "1 cell" if len(spread) == 1 else f"{len(spread)} cells"
    return (
        f"`data` has {cells} with values that differ, by up to {spread.max():g} (median "
        f"{np.median(spread):g}); each is set to their mean."
    )
