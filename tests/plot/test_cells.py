"""Phase diagrams and locality: values of cells, marks, intervals."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import Rectangle

import htfjax as htf
from tests.plot import drawn

plot: Any = htf.plot


def numbers(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def hatched(ax: Any) -> list[tuple[float, float]]:
    """Columns and rows of the cells that are hatched."""
    marks = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_hatch()]
    return [(p.get_x() + 0.5, p.get_y() + 0.5) for p in marks]


def test_cells_are_medians_over_seeds_of_the_last_record() -> None:
    """0.1 rank + ratio + 1, the median of three seeds; rank 2 mostly did not converge."""
    ax = plot.phase_diagram(drawn.grid())
    assert numbers(ax) == ["1.6", "2.1", "3.1", "1.7", "2.2", "3.2"]
    assert hatched(ax) == [(0, 1), (1, 1), (2, 1)]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("ratio", "target rank")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.5", "1", "2"]
    assert "relative error, median of 3 seeds" in ax.figure.axes[1].get_ylabel()


def test_axes_may_be_exchanged() -> None:
    ax = plot.phase_diagram(drawn.grid(), columns="target_rank")
    assert numbers(ax) == ["1.6", "1.7", "2.1", "2.2", "3.1", "3.2"]
    assert hatched(ax) == [(1, 0), (1, 1), (1, 2)]


def test_an_array_is_drawn_as_it_is() -> None:
    array = xr.DataArray([[0.5, np.nan]], dims=("a", "b"), attrs={"long_name": "share"})
    marked = np.array([[True, False]])
    ax = plot.phase_diagram(array, marked=marked, limits=(0.0, 0.25))
    assert numbers(ax) == ["0.5", "none"]
    assert hatched(ax) == [(0, 0)]
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "share"
    assert ax.images[0].get_clim() == (0.0, 0.25)
    turned = plot.phase_diagram(array, marked=marked, rows="b")
    assert hatched(turned) == [(0, 0)]
    assert numbers(turned) == ["0.5", "none"]


@pytest.mark.parametrize(
    ("limits", "ends"), [((0, 1), "neither"), ((0, 0.5), "max"), ((0.3, 0.5), "both")]
)
def test_colours_that_are_cut_have_an_arrow(limits, ends) -> None:
    array = xr.DataArray([[0.25, 0.75]], dims=("a", "b"))
    ax = plot.phase_diagram(array, limits=limits)
    assert ax.images[0].colorbar.extend == ends


CHANGE = np.array([[0.5, 0.7, 0.6], [0.9, 1.0, 0.8]])


def test_locality_is_the_mean_over_pairs_within_its_interval() -> None:
    """Student's t with two degrees of freedom: 4.303 standard errors."""
    unseen = jnp.zeros((2, 3), int)
    found = htf.locality.ChangeByDistance(np.array([0, 4]), jnp.asarray(CHANGE), unseen)
    ax = plot.locality(found)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.6, 0.9])
    (bars,) = (c for c in ax.collections if len(c.get_paths()) == 2)
    low, high = (p.vertices[:, 1] for p in bars.get_paths())
    np.testing.assert_allclose(np.ptp(low), 2 * 4.3027 * 0.1 / np.sqrt(3), rtol=1e-4)
    np.testing.assert_allclose(high.mean(), 0.9)
    assert ax.get_xlabel() == "free pixels between patches"


def test_states_of_a_dataset_are_lines_the_last_one_solid() -> None:
    data = xr.Dataset(
        {"change": (("state", "patch_distance", "pair"), np.stack([CHANGE, CHANGE / 2]))},
        coords={"state": ["before", "after"], "patch_distance": [0, 4]},
    )
    ax = plot.locality(data, label="plain")
    lines = [line for line in ax.lines if line.get_linestyle() != "None"]
    assert [line.get_linestyle() for line in lines] == [":", "-"]
    np.testing.assert_allclose(lines[1].get_ydata(), [0.3, 0.45])
    assert [text.get_text() for text in ax.texts] == ["before", "after"]
    assert ax.get_legend_handles_labels()[1] == ["plain, before", "plain, after"]
