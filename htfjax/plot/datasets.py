"""Datasets of `load_results` as curves: one run, or the runs of all seeds."""

from typing import TYPE_CHECKING, Any

import numpy as np

from htfjax import _checks
from htfjax.plot.curves import LABELS, Curves, Wanted, as_modes, chosen, spelled

if TYPE_CHECKING:
    import xarray as xr

# Dimensions of a quantity that say of what it is; which entry is drawn by default.
PLACES = {"node": -1, "modes": 0}
INCREMENTS = {"path_length": "chord", "time": "duration"}


def from_dataset(
    data: "xr.Dataset", wanted: Wanted, *, over: str | None = None
) -> tuple[Curves, np.ndarray | None]:
    """The curves of a dataset, and the steps that each run made, where they are known.

    Args:
      over: the dimension of runs; None for one run.

    Raises:
      ValueError: no such quantity, node, modes or dimension; axes of which one must choose.
    """
    name = chosen(wanted, data.data_vars, "`source`")
    array = data[name]
    if "step" not in array.dims:
        raise ValueError(
            f"`quantity={name!r}` has dimensions {array.dims} and no `step` to draw it "
            "over."
        )
    if over is not None and over not in array.dims:
        raise ValueError(
            f"`over={over!r}` is no dimension of {name}; there are {array.dims}."
        )
    array = _one_of_each(array, over)
    array, where = _placed(array, wanted)
    inner = [dim for dim in array.dims if dim not in ("step", over)]
    if len(inner) > 1:
        raise ValueError(
            f"`quantity={name!r}` has dimensions {tuple(inner)} at every record; curves "
            f"need one: choose of the others, `source.isel({inner[0]}=0)`."
        )
    names = (wanted.first,)
    if inner:
        dim = inner[0]
        numbers = range(wanted.first, wanted.first + array.sizes[dim])
        names = tuple(array[dim].values.tolist() if dim in array.coords else numbers)
    values = array.transpose(*([over] if over else []), "step", *inner).values
    values = np.asarray(values, np.float64).reshape(*values.shape[: 1 + bool(over)], -1)
    x, label = _positions(data, array, wanted)
    ends = array.coords.get("steps")
    known = None if ends is None or over is None else np.atleast_1d(ends.values)
    return Curves(x, values, names, label, spelled(name) + where), known


def _one_of_each(array: "xr.DataArray", over: str | None) -> "xr.DataArray":
    """The array without the axes of a grid, which must have one value each."""
    before = array.dims[: array.dims.index("step")]
    axes = {str(dim): array.sizes[dim] for dim in before if dim != over}
    many = [dim for dim, size in axes.items() if size != 1]
    if many:
        advice = " or draw `htfjax.plot.bands`" if many == ["seed"] and not over else ""
        choice = ", ".join(f"{dim}=0" for dim in many)
        raise ValueError(
            f"`source` has {', '.join(f'{axes[d]} values of {d!r}' for d in many)}; choose "
            f"one by `source.isel({choice})`{advice}."
        )
    return array.isel(dict.fromkeys(axes, 0))


def _placed(array: "xr.DataArray", wanted: Wanted) -> tuple["xr.DataArray", str]:
    """The array of one node or set of modes, and its name for the label."""
    dims = [dim for dim in PLACES if dim in array.dims]
    if not dims:
        if wanted.place is not None:
            raise ValueError(
                f"`{wanted.place_name}={_checks.spell(wanted.place)}`, but "
                f"{array.name} has dimensions {array.dims}, neither nodes nor modes."
            )
        return array, ""
    dim = dims[0]
    if not array.sizes[dim]:
        raise ValueError(f"`source` is empty: {array.name} has no {dim}.")
    at = _entry(array, dim, wanted)
    labels, ids = _labels(array, dim), array.coords.get("node_id")
    modes = "" if labels is None else f" {{{labels[at]}}}"
    number = f" {int(ids.values[at])}" if dim == "node" and ids is not None else ""
    return array.isel({dim: at}), f", {dim}{number}{modes}"


def _entry(array: "xr.DataArray", dim: str, wanted: Wanted) -> int:
    """Where the node or the modes stand along their dimension."""
    place, labels = wanted.place, _labels(array, dim)
    if place is None:
        return PLACES[dim] % array.sizes[dim]
    ids = array.coords.get("node_id")
    known: list[Any] = [] if labels is None else labels
    asked: Any = place
    if not isinstance(place, int):
        asked = as_modes(place)
    elif dim == "node" and ids is not None:
        known = [int(i) for i in ids.values]
    else:
        asked = str(place)  # of a leaf, whose only mode has its number
    if asked not in known:
        raise ValueError(
            f"`{wanted.place_name}={_checks.spell(place)}` is none of those in `source`: "
            f"{known}."
        )
    return known.index(asked)


def _labels(array: "xr.DataArray", dim: str) -> list[str] | None:
    """Modes of each node, or each set of modes, as results label them."""
    for name in (dim, f"{dim}_label"):
        if name in array.coords and array.coords[name].dims == (dim,):
            return [str(label) for label in array.coords[name].values]
    return None


def _positions(
    data: "xr.Dataset", array: "xr.DataArray", wanted: Wanted
) -> tuple[np.ndarray, str]:
    """Positions (K,) and their label."""
    against = wanted.against or "step"
    if against == "step":
        steps = array["step"].values if "step" in array.coords else None
        numbers = np.arange(array.sizes["step"]) if steps is None else steps
        return np.asarray(numbers, np.float64), "record" if steps is None else "step"
    name = INCREMENTS[against]
    if name not in data:
        raise ValueError(f"`against={against!r}` needs {name!r}, which `source` has not.")
    increments = np.asarray(_one_of_each(data[name], None).values, np.float64)
    sums = np.cumsum(increments) - increments
    return sums, LABELS[against]
