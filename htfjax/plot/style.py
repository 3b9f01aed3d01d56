"""Style of all plots: axes, colours, labels of axes that are cut, labels of lines."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array

from htfjax import _checks

SIZE = (6.0, 3.8)
GRID: dict[str, Any] = {"alpha": 0.25}
# Of viridis, from dark to light: the order of lines shows in grey too, and to readers who
# do not tell red from green. Its yellow end is too light on white.
LIGHTEST = 0.88
# Relative luminance up to which lines and letters are seen on white: contrasts of 3 and 4.5
# (WCAG 2), 1.05 over luminance + 0.05.
LINE, LETTER = 0.30, 0.18
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear sRGB
FONT = 8


def axes_for(ax: object, size: tuple[float, float] = SIZE) -> Axes:
    """The axes that were given, or those of a new figure.

    Example:
      >>> mpl.use("Agg")
      >>> _, ax = plt.subplots()
      >>> axes_for(ax) is ax
      True
    """
    if ax is None:
        return plt.subplots(figsize=size, layout="constrained")[1]
    _checks.instance("ax", ax, Axes, "`matplotlib.pyplot.subplots` makes some")
    assert isinstance(ax, Axes)
    return ax


def colors(count: int) -> np.ndarray:
    """Colours of lines that have an order, dark to light, all of them seen on white.

    viridis without its yellow end; what is lighter than a contrast of 3 allows is darkened.

    Args:
      count: number of lines.

    Returns:
      (count, 4) red, green, blue and opacity in [0, 1].

    Example:
      >>> import htfjax as htf
      >>> htf.plot.colors(3).shape
      (3, 4)
    """
    count = _checks.at_least("count", count, 0)
    shades = mpl.colormaps["viridis"](np.linspace(0.0, LIGHTEST, max(count, 2)))[:count]
    return darkened(shades, LINE)


def darkened(shades: np.ndarray, most: float) -> np.ndarray:
    """Colours (K, 4) of the same hue with at most this relative luminance.

    Example:
      >>> darkened(np.array([[1.0, 1.0, 1.0, 1.0]]), 0.0)[0].tolist()
      [0.0, 0.0, 0.0, 1.0]
    """
    rgb = shades[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    light = linear @ np.array(LUMINANCE)
    linear = linear * np.minimum(1.0, most / np.maximum(light, 1e-6))[:, None]
    bent = 1.055 * linear ** (1 / 2.4) - 0.055
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, bent)
    return np.concatenate([rgb, shades[:, 3:]], axis=1)


def check_window(window: Any, name: str = "window") -> tuple[float, float] | None:
    """First and last position to show, in order.

    Example:
      >>> check_window((3, 1))
      Traceback (most recent call last):
      ValueError: `window=(3, 1)` must be two numbers, the first below the last.
    """
    if window is None:
        return None
    pair = _checks.sequence(name, window, "two numbers")
    for value in pair:
        _checks.real(name, value)
    if len(pair) != 2 or not pair[0] < pair[1]:
        raise ValueError(
            f"`{name}={_checks.spell(window)}` must be two numbers, the first below the "
            "last."
        )
    return float(pair[0]), float(pair[1])


def show(ax: Axes, x: np.ndarray, label: str, window: tuple[float, float] | None) -> None:
    """Limits and label of the axis of positions; one that is cut says so."""
    low, high = float(np.nanmin(x)), float(np.nanmax(x))
    if window is not None and (window[0] > low or window[1] < high):
        first, last, least, most = map(_spell, (*window, low, high))
        label += f" ({first} to {last} of {least} to {most})"
    if window is not None or low < high:
        ax.set_xlim(*(window or (low, high)))
    ax.set_xlabel(label)
    ax.locator_params(axis="x", nbins=5)
    ax.grid(**GRID)


def from_zero(ax: Axes, values: np.ndarray) -> None:
    """Starts the axis of values at zero, where none is below."""
    if ax.get_yscale() == "linear" and np.nanmin(values) >= 0:
        ax.set_ylim(bottom=0)


def label_ends(
    ax: Axes, x: np.ndarray, values: np.ndarray, names: Sequence[str], shades: np.ndarray
) -> None:
    """Writes the name of each line beside its end, where there is room for it.

    Lines that come first take precedence; of a crowd that ends in one place the first is
    labelled. Limits of the axes are final by then.

    Args:
      values: (K, lines).
    """
    right = ax.get_xlim()[1]
    room = 1.15 * FONT * ax.figure.dpi / 72 / ax.bbox.height
    taken: list[float] = []
    letters = darkened(to_rgba_array(shades), LETTER)
    for name, column, color in zip(names, values.T, letters, strict=True):
        seen = np.flatnonzero(np.isfinite(column) & (x <= right))
        if not seen.size:
            continue
        end = (x[seen[-1]], column[seen[-1]])
        height = ax.transAxes.inverted().transform(ax.transData.transform(end))[1]
        if not 0 <= height <= 1 or any(abs(height - other) < room for other in taken):
            continue
        taken.append(height)
        ax.annotate(
            name, end, xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=FONT, color=color, annotation_clip=False,
        )  # fmt: skip


def _spell(number: float) -> str:
    """A place on an axis, large ones without a fraction."""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.4g}"
