"""Plot of bands over seeds: median and quantiles of a quantity of many runs."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from htfjax import _checks
from htfjax.motion.trajectory import Trajectory
from htfjax.plot import style
from htfjax.plot.curves import (
    Curves,
    Place,
    Wanted,
    held,
    is_dataset,
    last_values,
    wanted,
    with_values,
)
from htfjax.plot.datasets import from_dataset
from htfjax.plot.trajectories import from_trajectory

if TYPE_CHECKING:
    import xarray as xr

WIDTH = 1.6
SHADE = 0.25


def bands(
    source: "Trajectory | xr.Dataset",
    *,
    quantity: str | None = None,
    node_or_modes: Place = None,
    over: str = "seed",
    quantiles: tuple[float, float] = (0.1, 0.9),
    top: int = 6,
    window: tuple[float, float] | None = None,
    labels: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws the median and a band between two quantiles of a quantity over many runs.

    A quantity of several numbers has a band for each of the largest, ordered in every run
    by where it ends: the k-th band is that of the k-th largest. Runs that stopped keep
    their last value, so that a band is over the same runs everywhere; runs that have not
    begun are left out.

    Args:
      source: a trajectory of many runs, as `jax.vmap` gives it, an axis of runs before that
        of records; or a dataset with a dimension `over`, its other axes of one value each.
      quantity: name of what is drawn; by default "singular_value" or
        "local_component_norm", or what the trajectory observed.
      node_or_modes: as in `spectra`.
      over: the dataset's dimension of runs.
      quantiles: lower and upper edge of the band, between 0 and 1.
      top: bands to draw.
      window, labels, ax: as in `components`.

    Returns:
      The axes.

    Raises:
      TypeError, ValueError: as `components`; a source of one run, no dimension `over`,
        quantiles that are not between 0 and 1 in order.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp, matplotlib, optax
      >>> matplotlib.use("Agg")
      >>> def run(start):
      ...     return htf.descend(
      ...         start, lambda x: x @ x, optax.sgd(0.1), num_steps=4, record_every=2)[1]
      >>> ax = htf.plot.bands(jax.vmap(run)(jnp.ones((5, 3))), quantity="loss")
      >>> ax.get_xlabel(), ax.get_ylabel()
      ('step', 'loss\\nmedian and 10 to 90 % of 5 runs')
    """
    defaults = ("singular_value", "local_component_norm")
    asked = wanted(defaults, 1, "node_or_modes", quantity=quantity, place=node_or_modes)
    top = _checks.at_least("top", top, 1)
    labels = _checks.flag("labels", labels)
    if not isinstance(over, str):
        raise TypeError(
            f"`over` must be the name of a dimension, got {_checks.spell(over)}."
        )
    edges, shown = _edges(quantiles), style.check_window(window)
    curves = _ordered(_curves(source, asked, over))
    values = curves.values[..., :top]
    low, middle, high = np.quantile(values, (edges[0], 0.5, edges[1]), axis=0)
    count = values.shape[-1]
    axes, shades = style.axes_for(ax), style.colors(count)
    for k in range(count):
        color = shades[k]
        axes.fill_between(curves.x, low[:, k], high[:, k], color=color, alpha=SHADE, lw=0)
        axes.plot(curves.x, middle[:, k], color=color, lw=WIDTH)
    style.show(axes, curves.x, curves.x_label, shown)
    style.from_zero(axes, values)
    span = f"{100 * edges[0]:g} to {100 * edges[1]:g} %"
    runs = "1 run" if len(values) == 1 else f"{len(values)} runs"
    axes.set_ylabel(f"{curves.y_label}\nmedian and {span} of {runs}")
    if labels and count > 1:
        names = [f"k = {k + 1}" for k in range(count)]
        style.label_ends(axes, curves.x, middle, names, shades)
    return axes


def _edges(quantiles: object) -> tuple[float, float]:
    """Both edges of a band, between 0 and 1."""
    edges = style.check_window(quantiles, "quantiles")
    if edges is None or edges[0] < 0 or edges[1] > 1:
        raise ValueError(
            f"`quantiles={_checks.spell(quantiles)}` must be two numbers between 0 and 1."
        )
    return edges


def _curves(source: Any, wanted: Wanted, over: str) -> Curves:
    """Curves (runs, K, n) of the runs that have begun, each kept at its last value."""
    if not is_dataset(source):
        advice = (
            "`jax.vmap` of `descend` gives one, and a Dataset of `load_results` will do"
        )
        _checks.instance("source", source, Trajectory, advice)
        curves, ends = from_trajectory(source, wanted, runs=True), None
    else:
        curves, ends = from_dataset(source, wanted, over=over)
    values = curves.values
    if ends is not None:
        # Integers have no NaN: what was not reached is known by the steps of the run.
        values = np.where((curves.x <= ends[:, None])[..., None], values, np.nan)
        values = values[ends > 0] if (ends > 0).any() else values
    curves = with_values(curves._replace(values=values))
    begun = np.isfinite(curves.values).any(axis=(1, 2))
    reached = np.flatnonzero(np.isfinite(curves.values).any(axis=(0, 2)))
    last = int(reached[-1]) + 1
    kept = held(curves.values[begun])[:, :last]
    return curves._replace(values=kept, x=curves.x[:last])


def _ordered(curves: Curves) -> Curves:
    """Every run's curves in the order of their ends, the largest first."""
    ends = np.nan_to_num(last_values(curves.values), nan=-np.inf)
    order = np.argsort(-ends, axis=-1, kind="stable")
    values = np.take_along_axis(curves.values, order[:, None], axis=-1)
    return curves._replace(values=values)
