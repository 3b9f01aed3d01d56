"""Plot of the singular values of a matricization along a run."""

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from htfjax.motion.trajectory import Trajectory
from htfjax.plot.curves import Against, Place, wanted
from htfjax.plot.lines import draw_lines

if TYPE_CHECKING:
    import xarray as xr


def spectra(
    source: "Trajectory | xr.Dataset",
    *,
    node_or_modes: Place = None,
    quantity: str | None = None,
    top: int = 10,
    against: Against | None = None,
    window: tuple[float, float] | None = None,
    linestyle: str = "-",
    labels: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws the largest singular values of a matricization over the steps of a run.

    The first is the darkest; each is labelled `k = number` at its end where there is room.

    Args:
      source: a trajectory that observed `htfjax.spectra`, or a mapping from nodes, a
        `Spectrum` or one array (n,), alone or in a dict by `quantity`; or the dataset of
        one run.
      node_or_modes: a node's id, or modes (of a dataset), such as (0, 1) or "0,1"; by
        default the first modes of a dataset, the last node that a trajectory observed.
      quantity: name of what is drawn, by default "singular_value"; unnamed records of
        a trajectory are labelled "observed" unless they descend like singular values.
      top: singular values to draw.
      against, window, linestyle, labels, ax: as in `components`.

    Returns:
      The axes.

    Raises:
      TypeError, ValueError: as `components`.

    Example:
      >>> import functools, htfjax as htf, jax, matplotlib, optax
      >>> matplotlib.use("Agg")
      >>> start = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.3)
      >>> _, trajectory = htf.descend(
      ...     start, htf.squared_norm, optax.sgd(0.1), num_steps=4, record_every=2,
      ...     observe=functools.partial(htf.singular_values, node_or_modes=(0,)))
      >>> ax = htf.plot.spectra(trajectory, top=1, against="path_length")
      >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.lines)
      ('path length', 'singular value', 1)
    """
    asked = wanted(
        ("singular_value",), 1, "node_or_modes", quantity=quantity, place=node_or_modes,
        against=against,
    )  # fmt: skip
    return draw_lines(
        source, asked, symbol="k", top=top, largest=False, window=window,
        linestyle=linestyle, labels=labels, ax=ax,
    )  # fmt: skip
