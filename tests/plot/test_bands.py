"""Bands over seeds: medians and quantiles of the runs that have begun."""

from typing import Any

import jax
import numpy as np
import pytest

import htfjax as htf
from tests.plot import drawn

plot: Any = htf.plot

# Losses of the three runs that have begun, the first kept at its last.
LOSSES = np.array([[5, 4, 4, 4], [9, 8, 7, 6], [9, 9, 9, 8]])


def edges(ax: Any, k: int = 0) -> np.ndarray:
    """Both edges of a band at each position, (2, K)."""
    corners = np.asarray(ax.collections[k].get_paths()[0].vertices)
    xs = np.unique(corners[:, 0])
    each = [corners[corners[:, 0] == x, 1] for x in xs]
    return np.array([[ys.min(), ys.max()] for ys in each]).T


@pytest.mark.parametrize("quantity", ["loss", "count"])
def test_runs_that_stopped_keep_their_last_value(quantity) -> None:
    """Zeros that stand for integers that were not reached are no values either."""
    ax = plot.bands(drawn.seeds(), quantity=quantity, quantiles=(0.0, 1.0))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), np.median(LOSSES, axis=0))
    np.testing.assert_array_equal(edges(ax), [LOSSES.min(axis=0), LOSSES.max(axis=0)])
    assert ax.get_ylabel() == f"{quantity}\nmedian and 0 to 100 % of 3 runs"
    assert ax.get_xlabel() == "step"


def test_edges_are_quantiles() -> None:
    ax = plot.bands(drawn.seeds(), quantity="loss", quantiles=(0.25, 0.75))
    # Of 4, 6, 8 at the end: halfway between neighbours.
    np.testing.assert_allclose(edges(ax)[:, -1], [5.0, 7.0])


def test_components_are_ordered_in_every_run_by_their_ends() -> None:
    """A component has no number that seeds share."""
    norms = np.stack([drawn.NORMS, drawn.NORMS[:, ::-1]])
    many = jax.tree.map(lambda x: np.stack([x, x]), drawn.trajectory(None))
    many = drawn.trajectory(norms, **{n: getattr(many, n) for n in FIELDS})
    ax = plot.bands(many, top=2)
    wanted = np.stack([drawn.NORMS[:, 1], drawn.NORMS[:, 2]])
    np.testing.assert_array_equal([line.get_ydata() for line in ax.lines], wanted)
    assert [text.get_text() for text in ax.texts] == ["k = 1", "k = 2"]


FIELDS = ("steps", "losses", "grad_norms", "step_lengths", "chords", "durations")


def test_a_band_of_one_seed_is_its_line() -> None:
    ax = plot.bands(drawn.run())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), drawn.NORMS[:, 1])
    assert ax.get_ylabel() == ("singular value, modes {0}\nmedian and 10 to 90 % of 1 run")
