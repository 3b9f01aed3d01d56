"""Rises of quantities from zero: where each crosses a level, how wide and how far apart.

One definition for every figure, table and summary. It interpolates between records, so
that it does not depend on how often one records, as long as a rise has some records.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from htfjax import _checks, _reprs
from htfjax._types import Float

# A rise with fewer records between 10 and 90 % has no width worth a number.
FEWEST_RECORDS = 4
# A quantity that goes beyond this multiple of its final value did not rise to that value.
HIGHEST = 2.0


class RiseTimes(NamedTuple):
    """Times at which quantities left zero, NaN if never. Arrays (num_quantities,).

    Example:
      >>> import htfjax as htf
      >>> htf.rise_times(range(3), [[0.0], [6.0], [10.0]]).half_rise
      array([1.])
    """

    take_off: np.ndarray  # where it crosses 10 % of the final value
    half_rise: np.ndarray  # 50 %
    width: np.ndarray  # from 10 % to 90 %; NaN with fewer than 4 records in between
    active: np.ndarray  # bool: whether the final value counts at all

    def __repr__(self) -> str:
        return _reprs.text(self)


def crossings(
    positions: ArrayLike, values: ArrayLike, levels: ArrayLike
) -> Float[np.ndarray, "M"]:
    """Last upward crossings of quantities and their levels, NaN where there is none.

    Interpolated linearly in log(value) between the record at or below the level and the
    next one above it; from a value of zero a quantity is there at the later record.

    Args:
      positions: (K,) of the records: steps, times, path lengths or log losses.
      values: (K, M) quantities, zero or more; NaN where there are none.
      levels: (M,) above zero, or one for all; NaN is crossed nowhere.

    Returns:
      float64. A quantity that is above its level throughout, or falls below it for
      good, has no crossing.

    Raises:
      TypeError, ValueError: other shapes, negative values, positions that are not finite,
        levels that are not above zero.

    Example:
      >>> import htfjax as htf
      >>> values = [[1.0, 5.0], [4.0, 5.0], [16.0, 5.0]]
      >>> htf.crossings([0, 10, 20], values, [8.0, 1.0])
      array([15., nan])
    """
    x, y = _records("positions", positions, values)
    heights = np.asarray(_checks.seen("levels", levels), float)
    if heights.ndim:
        _checks.shape("levels", heights, y.shape[1:], "(M,)")
    if np.any(heights <= 0):
        raise ValueError("`levels` must be above zero, or NaN where there are none.")
    return _crossings(x, y, np.broadcast_to(heights, y.shape[1:]))


def rise_times(
    steps: ArrayLike,
    values: ArrayLike,
    *,
    active: float = 1e-2,
    final: ArrayLike | None = None,
) -> RiseTimes:
    """Times at which each quantity rose to its final value.

    Take-off, half-rise and the end of a rise are the last upward crossings of 10, 50 and
    90 % of the final value (`crossings`). A quantity counts when its final value is above
    `active` times the largest. A curve that goes beyond twice its final value, as in
    0 0 100 10 1, did not rise to it: NaN. The width is NaN where fewer than 4 records lie
    between 10 and 90 %; record more often.

    Args:
      steps: (K,) increasing positions of the records: steps, times or path lengths.
      values: (K, M) quantities, of which magnitudes count.
      active: share of the largest final value, from 0 to 1.
      final: (M,) values that quantities rise to, where they are known (the target's
        singular values); by default each one's last that is not NaN, as `load_results`
        pads runs that stopped, which for a run that has not converged is not final.

    Returns:
      Arrays (M,), NaN where a quantity is not active or has not come so far.

    Raises:
      TypeError, ValueError: arrays of other shapes, steps that do not increase.

    Source: definitions of our own, the same in every figure and table.

    Example:
      >>> import htfjax as htf, numpy as np
      >>> steps, rise = np.arange(0, 60, 10), np.array([1e-3, 1e-2, 0.1, 1.0, 10.0, 10.0])
      >>> htf.rise_times(steps, np.stack([rise, 0 * rise], axis=1)).take_off.round(6)
      array([30., nan])
    """
    x, y = _records("steps", steps, np.abs(_checks.seen("values", values)))
    if np.any(np.diff(x) <= 0):
        raise ValueError("`steps` must increase from record to record.")
    _checks.real("active", active, least=0, most=1)
    active = float(active)
    ends = _last_seen(y) if final is None else np.abs(_checks.seen("final", final))
    _checks.shape("final", ends, y.shape[1:], "(M,)")
    ends = np.asarray(ends, float)
    largest = np.max(ends, initial=0.0, where=~np.isnan(ends))  # NaN pads ragged sizes
    counted = ends > active * largest
    low, half, high = (_crossings(x, y, np.where(counted, s * ends, np.nan))
                       for s in (0.1, 0.5, 0.9))  # fmt: skip
    with np.errstate(invalid="ignore"):
        beyond = (x[:, None] >= low) & (y > HIGHEST * ends)
        inside = (x[:, None] >= low) & (x[:, None] <= high)
    passed = beyond.any(axis=0)
    coarse = inside.sum(axis=0) < FEWEST_RECORDS
    return RiseTimes(
        take_off=np.where(passed, np.nan, low),
        half_rise=np.where(passed, np.nan, half),
        width=np.where(passed | coarse, np.nan, high - low),
        active=counted,
    )


def incrementality(rise: RiseTimes) -> float:
    """The index of incrementality: median over rises of (gap to the next) / width.

    Gaps lie between half-rises in the order in which they come, each over the width of
    the earlier one. Above 1, components grow one after another.

    Returns:
      NaN with fewer than two rises, or where no width is known.

    Raises:
      TypeError: not `RiseTimes`. ValueError: fields that are not (M,).

    Source: definition of our own.

    Example:
      >>> import htfjax as htf, numpy as np
      >>> steps = np.arange(0.0, 1000.0)
      >>> curves = 1 / (1 + np.exp(-(steps[:, None] - [200, 500]) / 10))
      >>> round(htf.incrementality(htf.rise_times(steps, curves)), 2)
      6.83
    """
    _checks.instance("rise", rise, RiseTimes, "`rise_times` makes one")
    half = np.asarray(_checks.real_array("rise.half_rise", rise.half_rise), float)
    width = np.asarray(_checks.real_array("rise.width", rise.width), float)
    _checks.shape("rise.half_rise", half, (None,), "(M,)")
    _checks.shape("rise.width", width, half.shape, "(M,)")
    come = np.isfinite(half)
    order = np.argsort(half[come], kind="stable")
    half, width = half[come][order], width[come][order]
    ratios = np.diff(half) / width[:-1]
    known = ratios[np.isfinite(ratios)]
    return float(np.median(known)) if len(known) else float("nan")


def _crossings(x: np.ndarray, y: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """`crossings` of (K,), (K, M) and (M,)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        above = y > levels
        up = ~above[:-1] & above[1:] & ~np.isnan(y[:-1])
        ends_above = _last_seen(y) > levels
        found = np.full(levels.shape, np.nan)
        for i in np.flatnonzero(up.any(axis=0) & ends_above):
            k = int(np.flatnonzero(up[:, i])[-1])
            low, high = np.log(y[k, i]), np.log(y[k + 1, i])
            part = 1.0 if np.isinf(low) else (np.log(levels[i]) - low) / (high - low)
            found[i] = x[k] + part * (x[k + 1] - x[k])
    return found


def _records(name: str, positions: object, values: object) -> tuple[np.ndarray, np.ndarray]:
    """Positions (K,) and values (K, M) as float64."""
    x = np.asarray(_checks.seen(name, positions), float)
    y = np.asarray(_checks.seen("values", values), float)
    if x.ndim != 1 or y.ndim != 2 or len(x) != len(y) or not len(x):
        raise ValueError(
            f"`{name}` has shape {x.shape} and `values` {y.shape}, expected (K,) and "
            f"(K, M) with K of 1 or more{_advice(name, x, y)}."
        )
    if not np.all(np.isfinite(x)):
        raise ValueError(f"`{name}` must be finite.")
    if np.any(y < 0):
        raise ValueError("`values` must be zero or more; take magnitudes first.")
    return x, y


def _advice(name: str, x: np.ndarray, y: np.ndarray) -> str:
    """What to do about some wrong shapes, or ""."""
    if x.ndim == 2 and y.ndim == 1 and len(x) == len(y):
        return f"; `{name}` comes first"
    if x.ndim == y.ndim == 1 and len(x) == len(y):
        return f"; one quantity is `values[:, None]`, and `{name}` comes first"
    if x.ndim == 1 and y.ndim == 2 and len(x) == y.shape[1]:
        return "; records are rows: `values.T`"
    return ""


def _last_seen(values: np.ndarray) -> np.ndarray:
    """The last value that is not NaN; NaN where there is none."""
    last = len(values) - 1 - np.argmax(~np.isnan(values)[::-1], axis=0)
    return values[last, np.arange(values.shape[1])]
