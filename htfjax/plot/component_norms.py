"""Plot of local component norms of a node along a run."""

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from htfjax.motion.trajectory import Trajectory
from htfjax.plot.curves import Against, Place, wanted
from htfjax.plot.lines import draw_lines

if TYPE_CHECKING:
    import xarray as xr


def components(
    source: "Trajectory | xr.Dataset",
    *,
    node: Place = None,
    quantity: str | None = None,
    top: int = 10,
    against: Against | None = None,
    window: tuple[float, float] | None = None,
    linestyle: str = "-",
    labels: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws ||sigma_r C_r||, the norms of a node's local components, over a run.

    The components that end largest, darkest first, each labelled `r = index` at its end
    where there is room.

    Args:
      source: a trajectory that observed `htfjax.local_component_norms`, or another mapping
        from nodes to (R_v,), or one array (n,), alone or in a dict by `quantity`; or the
        dataset of one run.
      node: its id, or its modes (of a dataset), such as (0, 1) or "0,1"; the root, or the
        last node observed, by default.
      quantity: name of what is drawn, by default "local_component_norm"; unnamed records
        of a trajectory are labelled "observed" unless they have a list for each node.
      top: components to draw.
      against: "step", "path_length" or "time"; by default steps of a descent, time of a
        flow.
      window: first and last position to show; the axis then says that it is cut.
      linestyle: "-", "--", ":" or "-.", to lay runs over each other.
      labels: whether ends of lines are labelled.
      ax: axes to draw on; new ones by default.

    Returns:
      The axes.

    Raises:
      TypeError: neither a trajectory nor a dataset, traced records, options of other kinds.
      ValueError: an unknown quantity (the nearest name is suggested) or node, several
        runs, no records, nothing but NaN, a window that does not increase.

    Example:
      >>> import htfjax as htf, jax, matplotlib, optax
      >>> matplotlib.use("Agg")
      >>> start = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.3)
      >>> _, trajectory = htf.descend(
      ...     start, htf.squared_norm, optax.sgd(0.1), num_steps=4, record_every=2,
      ...     observe=htf.local_component_norms)
      >>> ax = htf.plot.components(trajectory)
      >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.lines)
      ('step', 'local component norm, node 2', 2)
    """
    asked = wanted(
        ("local_component_norm",), 0, "node", quantity=quantity, place=node, against=against
    )
    return draw_lines(
        source, asked, symbol="r", top=top, largest=True, window=window,
        linestyle=linestyle, labels=labels, ax=ax,
    )  # fmt: skip
