"""Wrong calls of plots: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr

import htfjax as htf
from tests import mistakes
from tests.plot import drawn
from tests.plot.drawn import NORMS

plot: Any = htf.plot
T = drawn.trajectory
NAN = np.full((4, 2), np.nan)
MANY = jax.tree.map(lambda x: np.stack([x, x]), T(NORMS))

MISTAKES = [
    # Sources
    ("no_source", lambda: plot.components(None), TypeError, "`source` Trajectory None"),
    ("losses", lambda: plot.spectra(np.ones(3)), TypeError, "`source` Trajectory array"),
    ("pair", lambda: plot.components((1, T(NORMS))), TypeError, "`source` Trajectory"),
    ("array", lambda: plot.components(drawn.run().loss), TypeError, "`source` Trajectory"),
    ("bands_of_list", lambda: plot.bands([T(NORMS)]), TypeError, "`source` Trajectory"),
    ("no_dataset", lambda: plot.phase_diagram(T(NORMS)), TypeError, "`source` Dataset"),
    ("no_change", lambda: plot.locality(T(NORMS)), TypeError, "`source` ChangeByDistance"),
    ("no_change_in", lambda: plot.locality(drawn.run()), ValueError, "`source` `change`"),
    ("no_tree", lambda: plot.tree(None), TypeError, "`drawn` ModeTree Factors"),
    ("tree_axes", lambda: plot.tree((0, 1), ax=3), TypeError, "`ax` an Axes, 3"),
    ("no_axes", lambda: plot.components(T(NORMS), ax=3), TypeError, "`ax` Axes 3"),
    # Quantities
    ("misspelled", lambda: plot.spectra(drawn.run(), quantity="singular_values"),
     ValueError, "`quantity='singular_values'` mean 'singular_value'?"),
    ("unlike", lambda: plot.spectra(drawn.run(), quantity="zzz"),
     ValueError, "`quantity='zzz'` 'loss' 'chord'"),
    ("misspelled_observed", lambda: plot.components(T({"norms": NORMS, "b": NORMS}),
     quantity="norm"), ValueError, "`quantity='norm'` `source.observed` 'norms'?"),
    ("several_observed", lambda: plot.components(T({"a": NORMS, "b": NORMS})),
     ValueError, "`source` 'local_component_norm' 'a' 'b' `quantity`"),
    ("nothing_observed", lambda: plot.components(T(None)), ValueError,
     "`source` `observe=htfjax.local_component_norms`"),
    ("number", lambda: plot.components(T(NORMS), quantity=3), TypeError, "`quantity` 3"),
    ("no_steps", lambda: plot.components(drawn.run().isel(step=0)), ValueError,
     "`quantity='local_component_norm'` `step`"),
    ("two_axes", lambda: plot.components(T(np.ones((4, 2, 2)))), ValueError,
     "`source` (4, 2, 2) (4, 'n')"),
    ("complex", lambda: plot.components(T(1j * NORMS)), TypeError, "`source. real complex"),
    # Nodes
    ("node", lambda: plot.components(T({3: NORMS}), node=5), ValueError, "`node=5` [3]"),
    ("node_of_run", lambda: plot.components(drawn.run(), node=9),
     ValueError, "`node=9` [3, 4]"),
    ("node_of_array", lambda: plot.components(T(NORMS), node=3), ValueError, "`node=3`"),
    ("modes", lambda: plot.spectra(drawn.run(), node_or_modes=(1, 2)),
     ValueError, "`node_or_modes=(1, 2)` '0,2'"),
    ("float_node", lambda: plot.components(drawn.run(), node=3.0), TypeError, "`node` 3.0"),
    # Nothing to draw
    ("nan", lambda: plot.components(T(NAN)), ValueError, "`source` finite NaN diverge"),
    ("nan_run", lambda: plot.spectra(drawn.run() * np.nan), ValueError, "`source` NaN"),
    ("nan_bands", lambda: plot.bands(drawn.seeds().isel(seed=[3]), quantity="loss"),
     ValueError, "`source` finite loss"),
    ("nan_cells", lambda: plot.phase_diagram(xr.DataArray(NAN)), ValueError, "`source`"),
    ("empty", lambda: plot.components(T(np.zeros((4, 0)))), ValueError, "`source` empty"),
    ("no_nodes", lambda: plot.components(T({"a": {}})), ValueError, "`source` empty"),
    ("no_records", lambda: plot.components(jax.tree.map(lambda x: x[:0], T(NORMS))),
     ValueError, "`source` empty"),
    # Runs
    ("many", lambda: plot.components(MANY), ValueError, "`source` (2, 4) bands"),
    ("one", lambda: plot.bands(T(NORMS)), ValueError, "`source` (4,) vmap"),
    ("many_seeds", lambda: plot.components(drawn.seeds(), quantity="loss"), ValueError,
     "`source` 4 'seed' `source.isel(seed=0)` bands"),
    ("over", lambda: plot.bands(drawn.seeds(), quantity="loss", over="sed"),
     ValueError, "`over='sed'` 'seed'"),
    ("cells_of_seeds", lambda: plot.phase_diagram(drawn.seeds()), ValueError, "`source`"),
    ("cells_of_one_run", lambda: plot.phase_diagram(drawn.run(), quantity="loss"),
     ValueError, "`source` no axis `htfjax.plot.components` `htfjax.plot.bands`"),
    ("cells_of_one_axis", lambda: plot.phase_diagram(drawn.grid().isel(ratio=[0])),
     ValueError, "`source` only axis 'target_rank'"),
    ("cells_of_three_axes", lambda: plot.phase_diagram(
        drawn.grid().expand_dims(width=2)), ValueError,
     "`source` 'width': 2 `source.isel(ratio=0)`"),
    ("rows", lambda: plot.phase_diagram(drawn.grid(), rows="rank"),
     ValueError, "`rows='rank'` 'target_rank'"),
    ("marked", lambda: plot.phase_diagram(drawn.grid(), marked=NAN),
     ValueError, "`marked` DataArray"),
    # Options
    ("against", lambda: plot.components(T(NORMS), against="steps"),
     ValueError, "`against='steps'` 'step'"),
    ("top", lambda: plot.components(T(NORMS), top=0), ValueError, "`top=0` 1"),
    ("window", lambda: plot.components(T(NORMS), window=(3, 1)), ValueError, "`window="),
    ("window_one", lambda: plot.components(T(NORMS), window=3), TypeError, "`window` 3"),
    ("style", lambda: plot.components(T(NORMS), linestyle="solid"),
     ValueError, "`linestyle='solid'` '--'"),
    ("quantiles", lambda: plot.bands(drawn.seeds(), quantiles=(10, 90)),
     ValueError, "`quantiles=(10, 90)` 0 1"),
    ("limits", lambda: plot.phase_diagram(drawn.grid(), limits=(1, 0)),
     ValueError, "`limits=(1, 0)`"),
    ("color", lambda: plot.locality(htf.locality.ChangeByDistance(
        np.arange(2), np.ones((2, 2)), None), color="greenish"), ValueError, "`color="),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_mistakes_are_named(call, kind, words) -> None:
    mistakes.assert_named(call, kind, words)


def test_traced_records_are_refused() -> None:
    """A plot needs numbers."""

    def draw(norms: jax.Array) -> jax.Array:
        plot.components(T(norms))
        return norms

    with pytest.raises(TypeError, match=r"`source\.\w+` must be concrete"):
        jax.jit(draw)(NORMS)
