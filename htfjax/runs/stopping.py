"""The stopping rule, vectorized over the lanes of a block."""

from typing import NamedTuple

import numpy as np

# Codes of `Stops.cause`.
CAUSES = ("running", "converged", "diverged")


class Stops(NamedTuple):
    """State of the stopping rule for each lane: arrays (lanes,)."""

    cause: np.ndarray  # int8, index into CAUSES
    record: np.ndarray  # int32, where it stopped, -1 while it runs
    end: np.ndarray  # int32, steps made
    in_a_row: np.ndarray  # int32, records below the tolerance at the end so far
    first: np.ndarray  # float64, the first loss, NaN before it is known


def no_stops(count: int) -> Stops:
    """Nothing recorded yet.

    Example:
      >>> no_stops(2).record.tolist()
      [-1, -1]
    """
    return Stops(
        cause=np.zeros(count, np.int8),
        record=np.full(count, -1, np.int32),
        end=np.zeros(count, np.int32),
        in_a_row=np.zeros(count, np.int32),
        first=np.full(count, np.nan),
    )


def update_stops(
    stops: Stops,
    values: np.ndarray,
    begin: int,
    *,
    tolerance: float | None,
    patience: int,
    divergence: float = 1e4,
) -> Stops:
    """The rule of `find_stop`, record by record, for many lanes.

    Args:
      values: (lanes, records) of the watched loss from record `begin` on, each record
        once.

    Example:
      >>> stops = update_stops(
      ...     no_stops(2), np.array([[1.0, 0.01, 0.01], [1.0, 0.5, np.inf]]), 0,
      ...     tolerance=0.1, patience=1)
      >>> [CAUSES[c] for c in stops.cause], stops.record.tolist()
      (['converged', 'diverged'], [2, 2])
    """
    cause, record = stops.cause.copy(), stops.record.copy()
    in_a_row, first = stops.in_a_row.copy(), stops.first.copy()
    going = cause == 0
    for i, column in enumerate(np.asarray(values, np.float64).T):
        first = np.where(going & (begin + i == 0), column, first)
        with np.errstate(invalid="ignore"):
            wild = ~np.isfinite(column) | (column > divergence * first) & (first > 0)
            below = np.zeros_like(going) if tolerance is None else column < tolerance
        in_a_row = np.where(going, np.where(below, in_a_row + 1, 0), in_a_row)
        found = np.where(wild, 2, np.where(in_a_row > patience, 1, 0))
        found = np.where(going, found, 0)
        cause = np.where(found > 0, found, cause).astype(np.int8)
        record = np.where(found > 0, begin + i, record).astype(np.int32)
        going &= found == 0
    return stops._replace(
        cause=cause, record=record, in_a_row=in_a_row.astype(np.int32), first=first
    )
