"""Components and spectra: which numbers are drawn, over what, and what labels say."""

from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import htfjax as htf
from tests.plot import drawn
from tests.plot.drawn import NORMS, STEPS

plot: Any = htf.plot


def curves(ax: Any) -> list[np.ndarray]:
    """What each line shows, the topmost first."""
    return [np.asarray(line.get_ydata()) for line in reversed(ax.lines)]


def positions(ax: Any) -> list[float]:
    return np.asarray(ax.lines[0].get_xdata()).tolist()


def words(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    ("observed", "options", "label"),
    [
        ({4: NORMS, 3: 0 * NORMS}, {}, "local component norm, node 4"),
        ({4: 0 * NORMS, 3: NORMS}, {"node": 3}, "local component norm, node 3"),
        (NORMS, {}, "observed"),
        (NORMS, {"quantity": "local_component_norm"}, "local component norm"),
        ({"size": NORMS}, {}, "size"),
        ({"size": {3: NORMS}, "a": 0}, {"quantity": "size"}, "size, node 3"),
    ],
)
def test_the_components_that_end_largest_are_drawn(observed, options, label) -> None:
    """In that order, whatever was observed in which form."""
    ax = plot.components(drawn.trajectory(observed), top=2, **options)
    np.testing.assert_array_equal(curves(ax), [NORMS[:, 1], NORMS[:, 2]])
    assert positions(ax) == STEPS.tolist()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", label)
    assert words(ax) == ["r = 1", "r = 2"]


ONE = htf.Spectrum(jnp.asarray(NORMS[:, ::-1]), "qr", jnp.ones(4))
DOWN = np.sort(NORMS, axis=1)[:, ::-1]


@pytest.mark.parametrize(
    ("draw", "observed", "label"),
    [
        ("spectra", {6: DOWN}, "observed, node 6"),  # perhaps norms
        ("spectra", DOWN, "singular value"),
        ("spectra", NORMS, "observed"),  # they do not descend
        ("spectra", DOWN[:, 0], "observed"),
        ("spectra", {6: ONE}, "singular value, node 6"),
        ("components", {6: -NORMS}, "observed, node 6"),  # such as rates
        ("components", {6: NORMS[:, 0]}, "observed, node 6"),
        ("components", DOWN, "observed"),
        ("components", {6: ONE}, "singular value, node 6"),
        ("bands", {6: NORMS}, "local component norm, node 6"),
        ("bands", DOWN, "singular value"),
        ("bands", NORMS, "observed"),
    ],
)
def test_labels_name_what_was_observed_or_nothing(draw, observed, label) -> None:
    """A plot of singular values does not call norms so."""
    source = drawn.trajectory(observed)
    if draw == "bands":
        source = jax.tree.map(lambda x: np.stack([x, x]), source)
    ax = getattr(plot, draw)(source)
    assert ax.get_ylabel().split("\n")[0] == label


def test_grouped_norms_of_a_descent_are_those_of_its_nodes() -> None:
    """`NodeValues`, as `observe` stacks them."""
    start = htf.group(htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 2, 0.5))
    norms = htf.local_component_norms(start)
    stacked = jax.tree.map(lambda x: jnp.stack([x] * 4), norms)
    ax = plot.components(drawn.trajectory(stacked), node=4)
    ends = [curve[-1] for curve in curves(ax)]
    np.testing.assert_array_equal(ends, np.sort(norms[4])[::-1])


@pytest.mark.parametrize("node", [3, "0,1", (0, 1)])
def test_a_node_of_a_dataset_is_known_by_number_and_modes(node) -> None:
    ax = plot.components(drawn.run(), node=node)
    np.testing.assert_array_equal(curves(ax)[0], NORMS[:, 1])
    assert ax.get_ylabel() == "local component norm, node 3 {0,1}"


def test_padding_of_a_narrow_node_is_no_component() -> None:
    """The root, drawn by default, has two."""
    ax = plot.components(drawn.run())
    np.testing.assert_array_equal(curves(ax), [2 * NORMS[:, 1], 2 * NORMS[:, 0]])
    assert words(ax) == ["r = 1", "r = 0"]


@pytest.mark.parametrize(("modes", "factor"), [(None, 1), ("0", 1), (0, 1), ((0, 2), 5)])
def test_spectra_of_a_dataset_are_those_of_the_modes(modes, factor) -> None:
    ax = plot.spectra(drawn.run(), node_or_modes=modes)
    values = factor * (NORMS if factor == 5 else NORMS[:, ::-1])
    np.testing.assert_array_equal(curves(ax), values.T)
    assert ax.get_ylabel() == f"singular value, modes {{{'0,2' if factor == 5 else '0'}}}"


def test_a_spectrum_is_drawn_by_its_values() -> None:
    """As `htfjax.spectra` gives it, a mapping, or `htfjax.spectrum` alone."""
    one = htf.Spectrum(jnp.asarray(NORMS[:, ::-1]), "qr", jnp.ones(4))
    for observed in ({2: one}, one):
        ax = plot.spectra(drawn.trajectory(observed))
        np.testing.assert_array_equal(curves(ax), NORMS[:, ::-1].T)
        assert words(ax) == ["k = 1", "k = 2", "k = 3"]


@pytest.mark.parametrize(
    ("against", "x", "label"),
    [
        ("step", [0, 10, 20, 30], "step"),
        ("path_length", [0.0, 1.0, 3.0, 6.0], "path length"),
        ("time", [0.0, 0.5, 1.0, 1.5], "time"),
    ],
)
@pytest.mark.parametrize("source", [drawn.trajectory(NORMS), drawn.run()], ids=["t", "d"])
def test_positions_are_steps_lengths_or_times(source, against, x, label) -> None:
    """Sums of chords and of durations before each record."""
    ax = plot.components(source, against=against)
    assert positions(ax) == x
    assert ax.get_xlabel() == label


@pytest.mark.slow
def test_a_flow_is_drawn_over_time() -> None:
    """Its steps only number the records."""
    _, flow = htf.gradient_flow(
        jnp.ones(2), lambda x: x @ x, times=[0.0, 0.25, 1.0], rtol=1e-3, atol=1e-3,
        observe=lambda x: x,
    )  # fmt: skip
    ax = plot.components(flow)
    assert (positions(ax), ax.get_xlabel()) == ([0.0, 0.25, 1.0], "time")
    assert plot.components(flow, against="step").get_xlabel() == "record"


@pytest.mark.parametrize(
    ("window", "label"),
    [
        ((5, 25), "step (5 to 25 of 0 to 30)"),
        ((0, 20), "step (0 to 20 of 0 to 30)"),
        ((0, 30), "step"),
        ((-1, 40), "step"),
    ],
)
def test_an_axis_that_is_cut_says_so(window, label) -> None:
    ax = plot.components(drawn.trajectory(NORMS), window=window)
    assert ax.get_xlabel() == label
    assert ax.get_xlim() == window


def test_labels_stand_at_the_end_that_is_shown() -> None:
    ax = plot.components(drawn.trajectory(NORMS), window=(0, 20))
    assert [text.xy for text in ax.texts] == [(20, 2.0), (20, 1.0), (20, 0.2)]


def test_of_lines_that_end_together_one_is_labelled() -> None:
    crowd = np.concatenate([NORMS, NORMS + 1e-3], axis=1)
    assert len(words(plot.components(drawn.trajectory(crowd)))) == 3
    assert words(plot.components(drawn.trajectory(crowd), labels=False)) == []


def test_values_start_at_zero_unless_some_are_below() -> None:
    assert plot.components(drawn.trajectory(NORMS)).get_ylim()[0] == 0
    assert plot.components(drawn.trajectory(NORMS - 1)).get_ylim()[0] < -0.5


def test_lines_go_from_dark_to_light() -> None:
    """Their order shows in grey, to any eye."""
    ax = plot.components(drawn.trajectory(NORMS))
    grey = np.array([0.299, 0.587, 0.114])
    shades = [np.asarray(line.get_color())[:3] @ grey for line in reversed(ax.lines)]
    assert shades == sorted(shades)
    assert shades[-1] < 0.8


def test_runs_lie_over_each_other_on_given_axes() -> None:
    _, ax = plt.subplots()
    for style in ("-", "--"):
        assert plot.spectra(drawn.run(), linestyle=style, ax=ax) is ax
    assert [line.get_linestyle() for line in ax.lines] == ["-"] * 3 + ["--"] * 3
