"""Lines of one run: a quantity of several numbers over steps, path length or time."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from htfjax import _checks
from htfjax.motion.trajectory import Trajectory
from htfjax.plot import style
from htfjax.plot.curves import Curves, Wanted, is_dataset, last_values, with_values
from htfjax.plot.datasets import from_dataset
from htfjax.plot.trajectories import from_trajectory

WIDTH = 1.5


def draw_lines(
    source: Any, wanted: Wanted, *, symbol: str, top: object, largest: bool,
    window: object, linestyle: object, labels: object, ax: object,
) -> Axes:  # fmt: skip
    """Draws the curves of one run, dark to light, and labels their ends.

    Args:
      symbol: of a curve's number, "r" or "k".
      top: curves to draw.
      largest: draw those that end largest, in that order; else the first.
    """
    top = _checks.at_least("top", top, 1)
    labels = _checks.flag("labels", labels)
    linestyle = _checks.one_of("linestyle", linestyle, ("-", "--", ":", "-."))
    shown = style.check_window(window)
    curves = run_curves(source, wanted)
    order = np.arange(len(curves.names))
    if largest:
        order = np.argsort(-last_values(curves.values), kind="stable")
    order = order[:top]
    values = curves.values[:, order]
    names = [f"{symbol} = {curves.names[i]}" for i in order]
    axes = style.axes_for(ax)
    shades = style.colors(len(order))
    # The first last, so that it lies on top.
    for column, color in reversed(list(zip(values.T, shades, strict=True))):
        axes.plot(curves.x, column, linestyle, color=color, lw=WIDTH)
    style.show(axes, curves.x, curves.x_label, shown)
    style.from_zero(axes, values)
    axes.set_ylabel(curves.y_label)
    if labels and len(names) > 1:
        style.label_ends(axes, curves.x, values, names, shades)
    return axes


def run_curves(source: Any, wanted: Wanted) -> Curves:
    """The curves of one run that hold a number.

    Raises:
      TypeError: neither a trajectory nor a dataset. ValueError: nothing to draw.
    """
    if is_dataset(source):
        return with_values(from_dataset(source, wanted)[0])
    _checks.instance(
        "source", source, Trajectory,
        "`descend` and `gradient_flow` give one, and a Dataset of `load_results` will do",
    )  # fmt: skip
    return with_values(from_trajectory(source, wanted, runs=False))
