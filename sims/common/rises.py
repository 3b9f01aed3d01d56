"""Rises of an ensemble by step, training loss and path length, and how incremental."""

import math
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

import htfjax as htf

CLOCKS = ("step", "loss", "path_length")


def rises(data: xr.Dataset, finals: np.ndarray | None = None) -> xr.Dataset:
    """Rises of every singular value of every run, as `htfjax.rise_times` defines them.

    Args:
      data: loss, chord and singular_value over (..., seed, step, ...).
      finals: (..., seed, index) what singular values rise to: the target's, where known.
        By default each run's own last values, which are final only where it converged.

    Returns:
      take_off (..., seed, index, clock), half_rise and width (..., seed, index) in steps,
      final_rank (..., seed), index_of_increment (..., seed), and coarse (..., seed): rises
      with too few records for a width.
    """
    lead = data.loss.dims[:-1]
    values = data.singular_value.isel(modes=0)
    losses, chords = data.loss.values, data.chord.values
    spectra, steps = values.values, data.step.values
    top = spectra.shape[-1]
    shape = losses.shape[:-1]
    take_off = np.full((*shape, top, len(CLOCKS)), np.nan)
    half, width = np.full((*shape, top), np.nan), np.full((*shape, top), np.nan)
    rank, coarse = np.zeros(shape, int), np.zeros(shape, int)
    increment = np.full(shape, np.nan)
    for run in np.ndindex(shape):
        count = int(data.steps.values[run]) // int(steps[1] - steps[0]) + 1
        seen = np.isfinite(spectra[run][:count, 0])
        if not seen.any():
            continue
        last = int(np.nonzero(seen)[0][-1]) + 1
        spectrum, at = spectra[run][:last], steps[:last]
        final = spectrum[-1] if finals is None else finals[run]
        rise = htf.rise_times(at, spectrum, final=final)
        # In a run that never left its start all values are alike: none of them rose.
        moved = spectrum[-1] > 10 * spectrum[0]
        rise = htf.RiseTimes(
            *(np.where(moved, x, np.nan) for x in rise[:3]), active=rise.active & moved
        )
        half[run], width[run] = rise.half_rise, rise.width
        rank[run] = int(np.sum(moved & (spectrum[-1] > 1e-2 * np.nanmax(final))))
        coarse[run] = int(np.sum(np.isfinite(rise.half_rise) & np.isnan(rise.width)))
        path = np.concatenate([[0.0], np.cumsum(chords[run][: last - 1])])
        take_off[run][:, 0] = rise.take_off
        take_off[run][:, 1] = np.exp(
            np.interp(rise.take_off, at, np.log(losses[run][:last]))
        )
        take_off[run][:, 2] = np.interp(rise.take_off, at, path)
        increment[run] = htf.incrementality(rise)
    found = {
        "take_off": ((*lead, "index", "clock"), take_off),
        "half_rise": ((*lead, "index"), half),
        "width": ((*lead, "index"), width),
        "final_rank": (lead, rank),
        "index_of_increment": (lead, increment),
        "coarse": (lead, coarse),
    }
    coords = {name: data[name] for name in lead if name in data.coords}
    return xr.Dataset(found, coords | {"clock": list(CLOCKS), "status": data.status})


def interval(values: np.ndarray) -> dict[str, Any] | None:
    """Median over seeds with its exact 95 % interval, from order statistics.

    `low` and `high` are None below six runs, which do not bound a median at 95 %;
    `dropped` counts runs without a value.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    bounds = stats.quantile_test(known, p=0.5).confidence_interval(0.95)
    low, high = (float(x) if math.isfinite(x) else None for x in bounds)
    return {
        "median": float(np.median(known)), "low": low, "high": high,
        "runs": len(known), "dropped": int(np.sum(~np.isfinite(values))),
    }  # fmt: skip


def quantiles(values: np.ndarray) -> list[float] | None:
    """10, 50 and 90 % quantiles of what is finite."""
    values = values[np.isfinite(values)]
    return np.quantile(values, (0.1, 0.5, 0.9)).tolist() if len(values) else None
