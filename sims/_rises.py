"""Take-offs of an ensemble by step, training loss and path length, and how incremental."""

import math
from typing import Any

import numpy as np
import xarray as xr

import htfjax as htf

CLOCKS = ("step", "loss", "path_length")


def rises(data: xr.Dataset) -> xr.Dataset:
    """Rises of every singular value of every run.

    Args:
      data: loss, chord and singular_value over (..., seed, step, ...).

    Returns:
      take_off (..., seed, index, clock), half_rise and width (..., seed, index) in steps,
      final_rank (..., seed), index_of_increment (..., seed): the median over rises of
      (steps to the next half-rise) / (10-90 % width, at least a record).
    """
    lead = data.loss.dims[:-1]
    values = data.singular_value.isel(modes=0)
    losses, chords = data.loss.values, data.chord.values
    spectra, steps = values.values, data.step.values
    top = spectra.shape[-1]
    shape = losses.shape[:-1]
    take_off = np.full((*shape, top, len(CLOCKS)), np.nan)
    half, width = np.full((*shape, top), np.nan), np.full((*shape, top), np.nan)
    rank = np.zeros(shape, int)
    increment = np.full(shape, np.nan)
    for run in np.ndindex(shape):
        count = int(data.steps.values[run]) // int(steps[1] - steps[0]) + 1
        seen = np.isfinite(spectra[run][:count, 0])
        if not seen.any():
            continue
        last = int(np.nonzero(seen)[0][-1]) + 1
        spectrum, at = spectra[run][:last], steps[:last]
        rise = htf.rise_times(at, spectrum)
        # In a run that never left its start all values are alike: none of them rose.
        moved = spectrum[-1] > 10 * spectrum[0]
        rise = htf.RiseTimes(*(np.where(moved, x, np.nan) for x in rise))
        half[run], width[run] = rise.half_rise, rise.width
        rank[run] = int(np.sum(np.isfinite(rise.take_off)))
        path = np.concatenate([[0.0], np.cumsum(chords[run][: last - 1])])
        for i, moment in enumerate(rise.take_off):
            if np.isfinite(moment):
                r = int(np.searchsorted(at, moment))
                take_off[run][i] = (moment, losses[run][r], path[r])
        increment[run] = increments(rise, int(steps[1] - steps[0]))
    found = {
        "take_off": ((*lead, "index", "clock"), take_off),
        "half_rise": ((*lead, "index"), half),
        "width": ((*lead, "index"), width),
        "final_rank": (lead, rank),
        "index_of_increment": (lead, increment),
    }
    coords = {name: data[name] for name in lead if name in data.coords}
    return xr.Dataset(found, coords | {"clock": list(CLOCKS), "status": data.status})


def increments(rise: Any, record: int) -> float:
    """Median over rises of gap to the next half-rise / width; NaN below two rises."""
    order = np.argsort(np.nan_to_num(rise.half_rise, nan=np.inf), kind="stable")
    half, width = rise.half_rise[order], rise.width[order]
    half, width = half[np.isfinite(half)], width[np.isfinite(half)]
    if len(half) < 2:
        return math.nan
    return float(np.median(np.diff(half) / np.maximum(width[:-1], record)))


def interval(values: np.ndarray, rng: np.random.Generator) -> dict[str, Any] | None:
    """Median over seeds with a 95 % bootstrap interval."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    draws = rng.choice(values, (2000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return {
        "median": float(np.median(values)), "low": float(low), "high": float(high),
        "runs": len(values),
    }  # fmt: skip


def quantiles(values: np.ndarray) -> list[float] | None:
    """10, 50 and 90 % quantiles of what is finite."""
    values = values[np.isfinite(values)]
    return np.quantile(values, (0.1, 0.5, 0.9)).tolist() if len(values) else None
