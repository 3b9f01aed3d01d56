"""All runs of a network simulation as one labelled dataset, and what they say."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from ..common.single import wall_seconds
from .options import AXES, Point, Runs
from .training import read_records

# Test examples are the same for every seed, so new seeds do not undo a choice made on them.
UNCHOSEN = (
    "nothing here: arms stand side by side on the test examples, as by the authors; taking "
    "the best of them takes it by test accuracy on the images it is scored on"
)
SETTINGS = (
    "the cpu preset's coefficients and recipe were chosen by test accuracy of other seeds "
    "on these test images; `--validation-size` keeps examples for choosing a coefficient"
)
LEVEL = 0.95  # of intervals over seeds
SCALARS = ("train_accuracy", "test_accuracy", "validation_accuracy", "test_loss", "change",
           "change_test", "change_at_start", "epochs")  # fmt: skip


def collect(runs: Runs, folder: Path, axis: str) -> xr.Dataset:
    """Dataset over (axis, arm, train_size, canvas, network, seed), epochs beside it.

    Runs that are pending, or not at their end, are NaN, but for their epochs so far.

    Raises:
      RunError: a folder of another run. ValueError, OSError: a damaged or missing file.
    """
    labels = {axis: sorted(runs.values)} | {
        name: list(dict.fromkeys(_label(p, name) for p in runs.points)) for name in AXES
    }
    labels["arm"] = list(runs.arms)
    for name in ("train_size", "seed"):
        labels[name] = sorted(labels[name])
    shape = tuple(len(x) for x in labels.values())
    status, seconds = np.full(shape, "pending", object), np.full(shape, np.nan)
    found = {}
    for point in runs.points:
        run = read_records(folder / point.name, point.label)
        if run is None:
            continue
        place = tuple(
            x.index(point.value if name == axis else _label(point, name))
            for name, x in labels.items()
        )
        status[place], seconds[place] = run.status.item(), wall_seconds(folder / point.name)
        run, stop = run.squeeze("seed"), run.stop_step.item()
        # After the step at which it stopped, training stands still.
        found[place] = run if stop < 0 else run.sel(step=slice(0, stop))
    length = max((len(run.step) for run in found.values()), default=1)
    ends = {name: np.full(shape, np.nan) for name in SCALARS}
    course = {name: np.full((*shape, length), np.nan)
              for name in ("train_accuracy", "fit_loss", "penalty")}  # fmt: skip
    for place, run in found.items():
        if "test_accuracy" in run:
            for name in SCALARS:
                ends[name][place] = np.atleast_1d(run[name].values)[-1]
        for name, values in course.items():
            values[place][: len(run.step)] = run[name].values
    dims = tuple(labels)
    variables: dict[str, Any] = {f"{name}_of_epoch": ((*dims, "epoch"), values)
                                 for name, values in course.items()}  # fmt: skip
    variables |= {name: (dims, values) for name, values in ends.items()}
    variables |= {"status": (dims, status.astype(str)), "wall_seconds": (dims, seconds)}
    return xr.Dataset(variables, coords=labels | {"epoch": np.arange(length)})


def summarize(data: xr.Dataset, axis: str, *, choose: bool) -> dict[str, Any]:
    """Mean, deviation and t interval of every cell, and gaps to coefficient 0.

    Args:
      choose: whether to choose coefficients by their validation examples.
    """
    ends = data[[*SCALARS, "status"]]
    rows, cells = [], ends.stack(cell=[axis, *AXES[:-1]]).transpose("cell", "seed")
    for i in range(cells.sizes["cell"]):
        cell = cells.isel(cell=i)
        labels = dict(zip((axis, *AXES[:-1]), cell.cell.item(), strict=True))
        row: dict[str, Any] = {name: _plain(x) for name, x in labels.items()}
        for name in SCALARS:
            row[name] = spread(cell[name].values)
        words, counts = np.unique(cell.status.values, return_counts=True)
        row["runs"] = {str(w): int(c) for w, c in zip(words, counts, strict=True)}
        rows.append(row)
    chosen = _choose(rows, axis) if choose else None
    return {
        "axis": axis,
        "rows": rows,
        "gaps": gaps(data, axis),
        "coefficient_chosen_on": "validation examples" if chosen is not None else
        UNCHOSEN,
        "settings_chosen_on": SETTINGS,
        "chosen": chosen,
        "wall_seconds_of_runs": _finite(float(np.nansum(data.wall_seconds.values))),
    }  # fmt: skip


def gaps(data: xr.Dataset, axis: str) -> list[dict[str, Any]]:
    """Test accuracy of every arm less that of coefficient 0, over the same seeds.

    Runs of one seed share start, data and order, so the t interval is that of the mean of
    their differences. It holds for other seeds on the same test examples: what was chosen
    by looking at these, and which they are, is not in it.
    """
    if "coefficient 0" not in data.arm.values:
        return []
    rows = []
    plain = data.test_accuracy.sel(arm="coefficient 0")
    for arm in data.arm.values:
        if arm == "coefficient 0":
            continue
        other = data.test_accuracy.sel(arm=arm)
        for cell in np.ndindex(*plain.shape[:-1]):
            a, b = plain.values[cell], other.values[cell]
            both = np.isfinite(a) & np.isfinite(b)
            count = int(both.sum())
            if not count:
                continue
            found = spread(b[both] - a[both])
            labels = {
                str(dim): _plain(plain[dim].values[k])
                for dim, k in zip(plain.dims[:-1], cell, strict=True)
            }
            rows.append(labels | {"arm": str(arm), "gap": found["mean"], "seeds": count,
                                  "standard_error": found["standard_error"],
                                  "interval": found["interval"]})  # fmt: skip
    return rows


def spread(values: np.ndarray) -> dict[str, Any]:
    """Mean, standard deviation over n - 1, standard error, t interval, number, values."""
    known = values[np.isfinite(values)]
    count = len(known)
    deviation = float(np.std(known, ddof=1)) if count > 1 else math.nan
    return {
        "mean": _finite(float(np.mean(known))) if count else None,
        "deviation": _finite(deviation),
        "standard_error": _finite(deviation / math.sqrt(count)) if count > 1 else None,
        "interval": t_interval(known),
        "count": count,
        "values": [_finite(float(v)) for v in values],
    }


def t_interval(values: np.ndarray) -> list[float] | None:
    """The 95 % interval of the mean of a few normal values, by Student's t; two at least.

    With five values it is 2.78 standard errors to either side, with four 3.18: a bare
    standard error says less than half of what is not known.
    """
    count = len(values)
    if count < 2:
        return None
    mean, error = np.mean(values), np.std(values, ddof=1) / math.sqrt(count)
    reach = stats.t.ppf(0.5 + LEVEL / 2, count - 1) * error
    return [float(mean - reach), float(mean + reach)]


def _choose(rows: list[dict[str, Any]], axis: str) -> list[dict[str, Any]]:
    """Of the coefficients of each cell the one with the best validation accuracy.

    Coefficients of which not all seeds came to their end are left out.
    """
    best: dict[tuple, dict[str, Any]] = {}
    for row in rows:
        score = row["validation_accuracy"]["mean"]
        whole = row["validation_accuracy"]["count"] == len(
            row["validation_accuracy"]["values"]
        )
        if not whole or not row["arm"].startswith("coefficient"):
            continue
        cell = tuple(row[name] for name in (axis, *AXES[1:-1]))
        if cell not in best or score > best[cell]["validation_accuracy"]["mean"]:
            best[cell] = row
    names = (axis, "arm", *AXES[1:-1])
    return [
        {name: row[name] for name in names}
        | {k: row[k]["mean"] for k in ("validation_accuracy", "test_accuracy")}
        for row in best.values()
    ]


def _label(point: Point, name: str) -> Any:
    return point.arm.label if name == "arm" else getattr(point, name)


def _plain(x: Any) -> Any:
    return x.item() if isinstance(x, np.generic) else x


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None
