"""Plot of the locality of a network: change of input gradients over patch distance."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from htfjax import _checks
from htfjax.locality.measures.gradient_distance import ChangeByDistance
from htfjax.plot import style
from htfjax.plot.curves import is_dataset

if TYPE_CHECKING:
    import xarray as xr

LEVEL = 0.95
NEEDED = ("patch_distance", "pair")
STYLES = ("-", ":", "--", "-.")


def locality(
    source: "ChangeByDistance | xr.Dataset",
    *,
    label: str | None = None,
    color: Any = None,
    labels: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws the mean |cos| of input gradients over the distance of two patches.

    1 where one patch does not feel what stands in the other. Bars are 95 % intervals of the
    mean over pairs of patches, by Student's t.

    Args:
      source: from `htfjax.locality.gradient_change_by_distance`, or a dataset with `change`
        over patch_distance and pair, and one line for each `state` if it has that
        dimension, the last one solid.
      label: of the lines, for a legend, followed by the state.
      color: of the lines, as matplotlib takes it.
      labels: whether ends of lines are labelled.
      ax: axes to draw on; new ones by default.

    Returns:
      The axes.

    Raises:
      TypeError: neither of both. ValueError: a dataset without `change`, no pairs, nothing
        but NaN.

    Example:
      >>> import htfjax as htf, matplotlib, numpy as np
      >>> matplotlib.use("Agg")
      >>> change = np.array([[0.5, 0.7], [0.9, 1.0]])
      >>> found = htf.locality.ChangeByDistance(np.array([0, 4]), change, np.zeros((2, 2)))
      >>> ax = htf.plot.locality(found)
      >>> [round(float(y), 2) for y in ax.lines[0].get_ydata()]
      [0.6, 0.95]
    """
    if label is not None and not isinstance(label, str):
        raise TypeError(f"`label` must be a text, got {_checks.spell(label)}.")
    labels = _checks.flag("labels", labels)
    shade = style.colors(1)[0] if color is None else _color(color)
    x, states = _changes(source)
    axes = style.axes_for(ax)
    means = []
    # The last state is solid: the end is what a reader looks for first.
    lines = reversed((STYLES * len(states))[: len(states)])
    for (name, pairs), line in zip(states.items(), lines, strict=True):
        means.append(pairs.mean(axis=1))
        words = ", ".join(word for word in (label, name) if word)
        bars: dict[str, Any] = {"ls": line, "color": shade, "lw": 1.4, "capsize": 2}
        axes.errorbar(x, means[-1], _reach(pairs), label=words or None, **bars)
    axes.set_xlabel("free pixels between patches")
    axes.set_ylabel("mean |cos|")
    axes.set_ylim(0, 1.05)
    axes.grid(**style.GRID)
    if labels and len(states) > 1:
        shades = np.array([shade] * len(states))
        style.label_ends(axes, x, np.stack(means, axis=1), list(states), shades)
    return axes


def _color(color: Any) -> Any:
    """A colour as matplotlib computes with it."""
    try:
        return to_rgba(color)
    except Exception as error:  # it asks a foreign object for its repr
        raise ValueError(
            f"`color={_checks.spell(color)}` is no colour that matplotlib knows."
        ) from error


def _changes(source: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Distances (D,), and the pairs' values (D, pairs) of each state by its name."""
    if is_dataset(source):
        distances, states = _of_dataset(source)
    else:
        advice = (
            "`gradient_change_by_distance` gives one, and a Dataset with `change` will do"
        )
        _checks.instance("source", source, ChangeByDistance, advice)
        distances = _checks.seen("source.distance", source.distance)
        states = {"": _checks.seen("source.change", source.change)}
    for pairs in states.values():
        _checks.shape("source.change", pairs, (len(distances), None), "(D, pairs)")
        if not pairs.size:
            raise ValueError(f"`source` is empty: its change has shape {pairs.shape}.")
    if not any(np.isfinite(pairs.mean(axis=1)).any() for pairs in states.values()):
        raise ValueError("`source` has no finite change: there is nothing to draw.")
    return distances, states


def _of_dataset(data: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    if "change" not in data or not set(NEEDED) <= set(data["change"].dims):
        raise ValueError(
            f"`source` has no `change` over patch_distance and pair; it holds "
            f"{[*data.data_vars]}."
        )
    change = data["change"]
    others = [dim for dim in change.dims if dim not in (*NEEDED, "state")]
    if any(change.sizes[dim] != 1 for dim in others):
        raise ValueError(
            f"`source` has several values of {others}; choose one by "
            f"`source.isel({others[0]}=0)`."
        )
    change = change.isel(dict.fromkeys(others, 0))
    distances = np.asarray(change["patch_distance"].values)
    if "state" not in change.dims:
        return distances, {"": change.transpose(*NEEDED).values}
    names = [str(name) for name in change["state"].values]
    arrays = change.transpose("state", *NEEDED).values
    return distances, dict(zip(names, arrays, strict=True))


def _reach(pairs: np.ndarray) -> np.ndarray:
    """Half the interval of each mean; NaN, which draws no bar, of a single pair."""
    from scipy import stats  # half a second to import

    count = pairs.shape[1]
    if count < 2:
        return np.full(len(pairs), np.nan)
    error = np.std(pairs, axis=1, ddof=1) / np.sqrt(count)
    return stats.t.ppf(0.5 + LEVEL / 2, count - 1) * error
