"""The stopping rule: of one run (`find_stop`), and of many lanes record by record."""

from typing import NamedTuple

import numpy as np

from htfjax import _checks
from htfjax._types import Numbers

# Codes of `Stops.cause`.
CAUSES = ("running", "converged", "diverged")


class Stop(NamedTuple):
    """Reason for which a run ends, and its record.

    Example:
      >>> import htfjax as htf
      >>> stop = htf.find_stop([1.0, float("nan")], tolerance=0.1, patience=2)
      >>> isinstance(stop, htf.Stop), stop
      (True, Stop(reason='diverged', record=1))
    """

    reason: str  # "converged" or "diverged"
    record: int


class Stops(NamedTuple):
    """State of the stopping rule for each lane: arrays (lanes,)."""

    cause: np.ndarray  # int8, index into CAUSES
    record: np.ndarray  # int32, where it stopped, -1 while it runs
    end: np.ndarray  # int32, steps made
    in_a_row: np.ndarray  # int32, records below the tolerance at the end so far
    first: np.ndarray  # float64, the first loss, NaN before it is known


def find_stop(
    losses: Numbers, tolerance: float, patience: int, *, divergence: float = 1e4
) -> Stop | None:
    """The first record at which a run should end, None if it should go on.

    Converged: the loss was below `tolerance` at more than `patience` records in a row.
    Diverged: the loss is not finite, or above `divergence` times the first one (if that
    is not zero).

    Args:
      losses: (K,) at least one.
      tolerance: zero or more.
      patience: records, zero or more.
      divergence: above zero; infinite for none.

    Raises:
      TypeError: not real numbers, a `patience` that is not an integer.
      ValueError: losses of another shape, numbers below their least.

    Example:
      >>> import htfjax as htf, numpy as np
      >>> htf.find_stop(np.array([1.0, 0.01, 0.01, 0.01]), tolerance=0.1, patience=2)
      Stop(reason='converged', record=3)
    """
    values = _checks.seen("losses", losses)
    _checks.shape("losses", values, (None,), "(K,)")
    if not values.size:
        raise ValueError("`losses` is empty: nothing was recorded.")
    _checks.positive("tolerance", tolerance)
    patience = _checks.at_least("patience", patience, 0)
    _checks.real("divergence", divergence, least=0, strict=True, infinite=True)
    stops = update_stops(
        no_stops(1), values[None], 0,
        tolerance=float(tolerance), patience=patience, divergence=float(divergence),
    )  # fmt: skip
    cause = int(stops.cause[0])
    return Stop(CAUSES[cause], int(stops.record[0])) if cause else None


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
    values = np.asarray(values, np.float64)
    going, places = stops.cause == 0, np.arange(values.shape[1])
    first = np.where(going, values[:, 0], stops.first) if begin == 0 else stops.first
    with np.errstate(invalid="ignore"):
        high = (values > divergence * first[:, None]) & (first > 0)[:, None]
        below = values < (-np.inf if tolerance is None else tolerance)
    wild = ~np.isfinite(values) | high
    broken = np.maximum.accumulate(np.where(below, -1, places), axis=1)
    carried = np.where(broken < 0, stops.in_a_row[:, None], 0)
    in_a_row = places - broken + carried
    found = np.where(wild, 2, np.where(in_a_row > patience, 1, 0))
    ends = going & found.any(axis=1)
    last = np.where(ends, np.argmax(found > 0, axis=1), len(places) - 1)
    lanes = np.arange(len(values))
    return stops._replace(
        cause=np.where(ends, found[lanes, last], stops.cause).astype(np.int8),
        record=np.where(ends, begin + last, stops.record).astype(np.int32),
        in_a_row=np.where(going, in_a_row[lanes, last], stops.in_a_row).astype(np.int32),
        first=first,
    )
