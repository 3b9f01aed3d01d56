"""Plot of a phase diagram: a heat map of what runs end with over two axes of a grid."""

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from htfjax import _checks
from htfjax.plot import style
from htfjax.plot.curves import chosen, is_dataset, last_values, spelled, wanted

if TYPE_CHECKING:
    import xarray as xr

# Cividis: even in lightness, and the same to readers who do not tell red from green.
MAP = "cividis"


class Cells(NamedTuple):
    """A matrix of values with labels."""

    values: np.ndarray  # (rows, columns)
    marked: np.ndarray  # (rows, columns) bool, to hatch
    rows: list[str]
    columns: list[str]
    axes: tuple[str, str]  # labels of rows and columns
    label: str


def phase_diagram(
    source: "xr.Dataset | xr.DataArray",
    *,
    quantity: str | None = None,
    rows: str | None = None,
    columns: str | None = None,
    limits: tuple[float, float] | None = None,
    marked: object = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws the median over seeds of a quantity at the end of every run, by two axes.

    Every cell says its number; cells of which most runs did not converge are hatched.

    Args:
      source: the dataset of a grid of runs, whose axes but two have one value each; or a
        `DataArray` of two dimensions, drawn as it is (its `long_name` or name labels the
        colours, those of coordinates the axes).
      quantity: name of one number per record: "relative_error" or "loss" by default.
      rows, columns: the dimensions; by default in their order.
      limits: least and largest value of the colours; an arrow says that there are others.
      marked: of a `DataArray`, which cells to hatch: (rows, columns) True or False.
      ax: axes to draw on; new ones by default.

    Returns:
      The axes.

    Raises:
      TypeError: neither a Dataset nor a DataArray, options of other kinds.
      ValueError: an unknown quantity (the nearest name is suggested) or dimension, more or
        fewer than two axes, nothing but NaN.

    Example:
      >>> import htfjax as htf, matplotlib, xarray as xr
      >>> matplotlib.use("Agg")
      >>> error = xr.DataArray(
      ...     [[1.0, 0.1], [1.2, 0.9]], dims=("target_rank", "ratio"),
      ...     coords={"target_rank": [1, 3], "ratio": [0.5, 2.0]}, name="relative_error")
      >>> ax = htf.plot.phase_diagram(error)
      >>> ax.get_xlabel(), ax.get_ylabel(), [text.get_text() for text in ax.texts]
      ('ratio', 'target rank', ['1', '0.1', '1.2', '0.9'])
    """
    if limits is not None:
        limits = style.check_window(limits, "limits")
    if _is_array(source):
        if quantity is not None:
            raise ValueError(
                f"`quantity={_checks.spell(quantity)}` is for a Dataset; a DataArray is "
                "one quantity."
            )
        cells = _of_array(source, rows, columns, marked)
    else:
        if not is_dataset(source):
            raise TypeError(
                "`source` must be a Dataset of `load_results` or a DataArray of two "
                f"dimensions, got {_checks.spell(source)}."
            )
        if marked is not None:
            raise ValueError(
                "`marked` is for a DataArray; a Dataset has the state of runs."
            )
        cells = _of_dataset(source, quantity, rows, columns)
    if not np.isfinite(cells.values).any():
        raise ValueError(f"`source` has no finite {cells.label}: there is nothing to draw.")
    return _drawn(cells, limits, style.axes_for(ax))


def _is_array(source: object) -> bool:
    xarray = sys.modules.get("xarray")
    return xarray is not None and isinstance(source, xarray.DataArray)


def _drawn(cells: Cells, limits: tuple[float, float] | None, ax: Axes) -> Axes:
    low, high = limits or (None, None)
    shown = ax.imshow(cells.values, aspect="auto", cmap=MAP, vmin=low, vmax=high)
    ax.set_xticks(range(len(cells.columns)), cells.columns)
    ax.set_yticks(range(len(cells.rows)), cells.rows)
    dark = np.ma.filled(shown.norm(cells.values), 1.0) < 0.5
    words: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": style.FONT}
    # Behind a number no hatch; its cell's own colour.
    shades = shown.cmap(np.ma.filled(shown.norm(cells.values), 1.0))
    for i, j in np.ndindex(cells.values.shape):
        value = cells.values[i, j]
        if not np.isfinite(value):
            ax.text(j, i, "none", color="0.4", **words)
        else:
            color = "white" if dark[i, j] else "black"
            box = {"boxstyle": "round,pad=0.15", "fc": shades[i, j], "ec": "none"}
            ax.text(j, i, f"{value:.2g}", color=color, bbox=box, **words)
        if cells.marked[i, j]:
            corner = (j - 0.5, i - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="///", ec="0.75", lw=0))
    ax.set_ylabel(cells.axes[0])
    ax.set_xlabel(cells.axes[1])
    extend = _extend(cells.values, limits)
    ax.figure.colorbar(shown, ax=ax, label=cells.label, extend=extend)
    return ax


def _extend(values: np.ndarray, limits: tuple[float, float] | None) -> str:
    """Ends of the colours beyond which there are values, drawn as arrows."""
    if limits is None:
        return "neither"
    below, above = np.nanmin(values) < limits[0], np.nanmax(values) > limits[1]
    return {(1, 1): "both", (1, 0): "min", (0, 1): "max"}.get((below, above), "neither")


def _of_array(array: Any, rows: object, columns: object, marked: object) -> Cells:
    dims = [str(dim) for dim in array.dims]
    if len(dims) != 2 or not array.size:
        raise ValueError(f"`source` has dimensions {dict(array.sizes)}; two are drawn.")
    first, second = _dims(dims, rows, columns)
    hatched = np.zeros(array.shape, bool)
    if marked is not None:
        hatched = np.asarray(getattr(marked, "values", marked))
        if hatched.dtype != bool or hatched.shape != array.shape:
            raise ValueError(
                f"`marked` must be True or False for each cell, {array.shape}, got "
                f"{hatched.dtype} of shape {hatched.shape}."
            )
    if (first, second) != tuple(dims):
        hatched = hatched.T
    array = array.transpose(first, second)
    label = array.attrs.get("long_name") or spelled(str(array.name or "value"))
    values = np.asarray(_checks.seen("source", array.values), np.float64)
    return _labelled(array, values, hatched, (first, second), label)


def _of_dataset(data: Any, quantity: object, rows: object, columns: object) -> Cells:
    asked = wanted(("relative_error", "loss"), 0, "node", quantity=quantity, place=None)
    name = chosen(asked, data.data_vars, "`source`")
    array = data[name]
    if "step" not in array.dims or array.dims[-1] != "step":
        raise ValueError(
            f"`quantity={name!r}` has dimensions {array.dims}; a phase diagram needs one "
            "number per record."
        )
    axes = [str(dim) for dim in array.dims if dim not in ("step", "seed")]
    given = [dim for dim in (rows, columns) if dim is not None]
    many = [dim for dim in axes if array.sizes[dim] > 1 or dim in given]
    if len(many) != 2:
        raise ValueError(_wrong_axes({dim: array.sizes[dim] for dim in axes}, many))
    first, second = _dims(many, rows, columns)
    array = array.isel({dim: 0 for dim in axes if dim not in many})
    seeds = [dim for dim in ("seed",) if dim in array.dims]
    array = array.transpose(first, second, *seeds, "step")
    count = array.sizes["seed"] if seeds else 1
    ends = np.asarray(array.values, np.float64).reshape(*array.shape[:2], count, -1)
    values = _medians(last_values(ends[..., None])[..., 0])
    hatched = np.zeros(values.shape, bool)
    if "status" in array.coords:
        status = array.coords["status"].transpose(first, second, *seeds).values
        open_runs = (status != "converged").reshape(*values.shape, count)
        hatched = open_runs.mean(axis=-1) > 0.5
    label = spelled(name) + (f", median of {count} seeds" if count > 1 else "")
    label += "\nhatched: most did not converge" if hatched.any() else ""
    return _labelled(array, values, hatched, (first, second), label)


def _wrong_axes(sizes: dict[str, int], many: list[str]) -> str:
    if len(many) > 2:
        choice = ", ".join(f"{dim}=0" for dim in many[2:])
        return (
            f"`source` has axes {sizes}, and two with several values are drawn; choose of "
            f"the others, for example by `source.isel({choice})`."
        )
    which = f"only the axis {many[0]!r}" if many else "no axis"
    return (
        f"`source` has {which} with several values, and a phase diagram has two: give the "
        "results of a grid over two settings. One run is drawn by "
        "`htfjax.plot.components`, runs of several seeds by `htfjax.plot.bands`."
    )


def _medians(values: np.ndarray) -> np.ndarray:
    """Medians of what is finite over the last axis, NaN where nothing is."""
    known = np.isfinite(values)
    filled = np.where(known | ~known.any(axis=-1, keepdims=True), values, np.nan)
    found = np.full(values.shape[:-1], np.nan)
    some = known.any(axis=-1)
    found[some] = np.nanmedian(filled[some], axis=-1)
    return found


def _dims(known: list[str], rows: object, columns: object) -> tuple[str, str]:
    """Dimensions of rows and columns; those not given in their order."""
    for name, dim in (("rows", rows), ("columns", columns)):
        if dim is not None and not isinstance(dim, str):
            raise TypeError(f"`{name}` must be a dimension, got {_checks.spell(dim)}.")
        if dim is not None and dim not in known:
            raise ValueError(f"`{name}={dim!r}` is none of the axes {known}.")
    if rows is not None and rows == columns:
        raise ValueError(f"`columns={columns!r}` is the dimension of `rows` too.")
    first = str(rows or next(dim for dim in known if dim != columns))
    return first, next(dim for dim in known if dim != first)


def _labelled(
    array: Any, values: np.ndarray, marked: np.ndarray, dims: tuple[str, str], label: str
) -> Cells:
    ticks = [
        [_spell(x) for x in array[dim].values]
        if dim in array.coords
        else [str(i) for i in range(array.sizes[dim])]
        for dim in dims
    ]
    names = [
        str(array[dim].attrs.get("long_name") or dim.replace("_", " ")) for dim in dims
    ]
    return Cells(values, marked, ticks[0], ticks[1], (names[0], names[1]), label)


def _spell(x: Any) -> str:
    return f"{x:.3g}" if isinstance(x, float | np.floating) else str(x)
