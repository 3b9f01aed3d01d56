"""Cases of a folder: the places of its grids, each with its runs and what they recorded."""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from .folders import Folder, Part
from .words import case_name, line_name, panel_name

CLOCK_DIMS = ("step", "epoch", "record", "stage")
MOST_LINES = 10
MOST_PANELS = 12


class Case(NamedTuple):
    """One place of a grid, or one part of an experiment.

    Attributes:
      name: of the part and the place, "" where there is nothing to tell apart.
      labels: of the place, by axis.
      cell: its position, by axis.
      dim: dimension of the records.
      positions: (K,) of the records.
      ends: (runs,) last position that a run reached.
      seeds: (runs,) their labels.
      statuses: (runs,) words, "" where none are known.
    """

    part: Part
    name: str
    labels: dict[str, object]
    cell: dict[str, int]
    dim: str
    positions: np.ndarray
    ends: np.ndarray
    seeds: np.ndarray
    statuses: np.ndarray


class Series(NamedTuple):
    """One line of a figure, of every run.

    Attributes:
      place: what the figure shows of the quantity, "" for all of it.
      name: of the line, "" where the quantity is one number.
      rank: place among the lines of the figure.
      values: (runs, K); integers and NaN become floats.
      label: name of its column.
    """

    quantity: str
    place: str
    name: str
    rank: int
    values: np.ndarray
    label: str


def clock_dim(dataset: xr.Dataset) -> str | None:
    """The dimension of records; None where there are none."""
    used = {dim for variable in dataset.data_vars.values() for dim in variable.dims}
    return next((dim for dim in CLOCK_DIMS if dim in used), None)


def cases_of(part: Part) -> list[Case]:
    """The cases of a part that have records."""
    dim = clock_dim(part.dataset)
    if dim is None:
        return []
    sizes = {
        str(d): part.dataset.sizes[d]
        for variable in part.dataset.data_vars.values()
        if dim in variable.dims
        for d in variable.dims[: variable.dims.index(dim)]
        if d != "seed"
    }
    return [
        case
        for cell in np.ndindex(*sizes.values())
        if (case := _case(part, dim, dict(zip(sizes, map(int, cell), strict=True))))
    ]


def _case(part: Part, dim: str, cell: dict[str, int]) -> Case | None:
    """A case; None where none of its runs has begun."""
    dataset = part.dataset
    labels = {
        axis: label_at(dataset, axis, at)
        for axis, at in cell.items()
        if dataset.sizes[axis] > 1
    }
    name = ", ".join(filter(None, (part.name, case_name(labels))))
    count = dataset.sizes[dim]
    positions = dataset[dim].values if dim in dataset.coords else np.arange(count)
    runs = dataset.sizes.get("seed", 1)
    ends, statuses = np.full(runs, positions[-1] if count else 0), np.full(runs, "", "<U12")
    if dim == "step" and "steps" in dataset.coords:
        ends = np.atleast_1d(dataset["steps"].isel(cell, missing_dims="ignore").values)
    if "status" in dataset.variables:
        words = dataset["status"].isel(cell, missing_dims="ignore").values
        statuses = np.atleast_1d(words).astype("<U12")
    seeds = np.atleast_1d(dataset["seed"].values) if "seed" in dataset.coords else None
    begun = ~np.isin(statuses, ("pending", "failed"))
    if not count or not begun.any():
        return None
    return Case(
        part=part, name=name, labels=labels, cell=cell, dim=dim, positions=positions,
        ends=ends, seeds=np.arange(runs) if seeds is None else seeds, statuses=statuses,
    )  # fmt: skip


def label_at(dataset: xr.Dataset, dim: str, at: int) -> object:
    """The label of a place along a dimension, its number where it has none."""
    if dim not in dataset.coords:
        return at
    value = dataset[dim].values[at]
    return value.item() if isinstance(value, np.generic) else value


def quantities_of(dataset: xr.Dataset, dim: str | None) -> list[str]:
    """Names of the numbers that were recorded, or of those without records."""
    return [
        str(name)
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind in "fiub" and (dim in variable.dims or dim is None)
    ]


def begun(case: Case) -> np.ndarray:
    """Runs that have records, as places."""
    return np.flatnonzero(~np.isin(case.statuses, ("pending", "failed")))


def rows_of(case: Case) -> np.ndarray:
    """Records up to the last one that any run reached."""
    return np.flatnonzero(case.positions <= case.ends[begun(case)].max())


def read_values(case: Case, name: str) -> np.ndarray:
    """Values (runs, K, ...) of a quantity, each run kept at its last one.

    Raises:
      ValueError, OSError: a damaged or missing file.
    """
    variable = case.part.dataset[name].isel(case.cell, missing_dims="ignore")
    if "seed" not in variable.dims:
        variable = variable.expand_dims("seed")
    inner = [dim for dim in variable.dims if dim not in ("seed", case.dim)]
    values = variable.transpose("seed", case.dim, *inner).values
    values = values[begun(case)][:, rows_of(case)]
    if values.dtype.kind != "f":
        values = values.astype(float)
    positions, ends = case.positions[rows_of(case)], case.ends[begun(case)]
    over = positions[None, :] > ends[:, None]
    if not over.any():
        return values
    shape = (*over.shape, *(1,) * (values.ndim - 2))
    return held(np.where(over.reshape(shape), np.asarray(np.nan, values.dtype), values))


def held(values: np.ndarray) -> np.ndarray:
    """Values (runs, K, ...) of which each that is NaN is the last one before it."""
    rows = np.arange(values.shape[1]).reshape(1, -1, *(1,) * (values.ndim - 2))
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, rows), axis=1)
    return np.take_along_axis(values, last, axis=1)


def series_of(case: Case, name: str, values: np.ndarray) -> Iterator[Series]:
    """The lines of a quantity: of many numbers those that end highest.

    Args:
      values: as `read_values` gives them.
    """
    inner = _inner(case, name)
    if not inner:
        yield Series(name, "", "", 0, values, name)
        return
    *panels, dim = inner
    for at in list(np.ndindex(*values.shape[2:-1]))[:MOST_PANELS]:
        labels = [
            (panel, label_in(case, panel, i)) for panel, i in zip(panels, at, strict=True)
        ]
        place = ", ".join(panel_name(panel, label) for panel, label in labels)
        column = "".join(f" {panel}={label}" for panel, label in labels)
        for rank, line in enumerate(_lines(case, dim, values[(..., *at, slice(None))])):
            title, label, numbers = line
            yield Series(name, place, title, rank, numbers, f"{name}{column} {dim}={label}")


def _inner(case: Case, name: str) -> list[str]:
    """Dimensions of a quantity within a run and a record."""
    dims = [str(dim) for dim in case.part.dataset[name].dims]
    return dims[dims.index(case.dim) + 1 :]


def label_in(case: Case, dim: str, at: int) -> object:
    """A label along a dimension, which may be another one at another place of a grid."""
    dataset, own = case.part.dataset, f"{dim}_label"
    if dim in dataset.coords or own not in dataset.coords:
        bare = dim == "index" and dim not in dataset.coords
        return at + 1 if bare else label_at(dataset, dim, at)
    labels = dataset[own].isel(case.cell, missing_dims="ignore").values
    return labels[at].item() if labels.ndim == 1 else at


def _lines(
    case: Case, dim: str, values: np.ndarray
) -> list[tuple[str, object, np.ndarray]]:
    """Name, label and numbers (runs, K) of the lines along one dimension."""
    last = np.where(np.isnan(values[:, -1]), -np.inf, values[:, -1])  # (runs, lines)
    if dim == "component" and len(values) > 1:
        # Components have no order that runs share: the k-th is that of the k-th largest.
        order = np.argsort(-last, axis=1, kind="stable")[:, :MOST_LINES]
        ranked = np.take_along_axis(values, order[:, None], axis=2)
        return [
            (line_name(dim, k + 1, True), k + 1, ranked[..., k])
            for k in range(ranked.shape[2])
            if np.isfinite(ranked[..., k]).any()
        ]
    largest = np.argsort(-last.max(axis=0), kind="stable")
    kept = largest[:MOST_LINES] if dim == "component" else np.sort(largest[:MOST_LINES])
    return [
        (line_name(dim, label, False), label, values[..., k])
        for k in map(int, kept)
        if np.isfinite(values[..., k]).any()
        for label in [label_in(case, dim, k)]
    ]


def middle_and_band(values: np.ndarray) -> list[np.ndarray]:
    """Median, 10 and 90 % over runs; of one run its values alone."""
    if len(values) == 1:
        return [values[0]]
    found = np.full((3, values.shape[1]), np.nan)
    gaps = np.isnan(values).any(axis=0)
    # Columns without a gap apart: NumPy takes the others one by one.
    whole = values[:, ~gaps]
    found[:, ~gaps] = np.median(whole, axis=0), *np.quantile(whole, (0.1, 0.9), axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where no run has a value
        part = values[:, gaps]
        found[:, gaps] = (
            np.nanmedian(part, axis=0),
            *np.nanquantile(part, (0.1, 0.9), axis=0),
        )
    return [*found.astype(values.dtype)]


def clocks_of(folder: Folder, case: Case) -> dict[str, np.ndarray]:
    """Path length and flow time (runs, K) of the records, as far as they are known."""
    clocks: dict[str, np.ndarray] = {}
    variables = case.part.dataset.data_vars
    for clock, gaps in (("path", "chord"), ("time", "duration")):
        for name in (clock, gaps):
            if name not in variables or case.dim not in variables[name].dims:
                continue
            empty = np.zeros((0, 0))
            values = folder.attempt(lambda name=name: read_values(case, name), empty)
            if not values.size:
                continue
            clocks[clock] = values if name == clock else _summed(case, values)
            break
    return clocks


def _summed(case: Case, gaps: np.ndarray) -> np.ndarray:
    """Sums of what lies between records; a run that has stopped stands still."""
    positions, ends = case.positions[rows_of(case)], case.ends[begun(case)]
    moves = np.where(positions[None, :] < ends[:, None], np.nan_to_num(gaps), 0)
    start = np.zeros((len(gaps), 1), gaps.dtype)
    # In the precision of the records, as the commands sum them.
    return np.concatenate([start, np.cumsum(moves, axis=1, dtype=gaps.dtype)[:, :-1]], 1)
