"""Legibility: texts on each other or cut, and colours that are too faint."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.tools import legibility
from htfjax import plot
from sims.figures.networks import courses


def figure() -> tuple[Figure, Axes]:
    fig, ax = plt.subplots(figsize=(4, 3), layout="constrained")
    ax.set(xlabel="step", ylabel="loss", title="one run")
    return fig, ax


def test_a_plain_figure_is_legible() -> None:
    fig, ax = figure()
    for shade in plot.colors(7):
        ax.plot([0, 1], [0, 1], color=shade, label="a line")
    ax.legend()
    ax.grid(alpha=0.25)
    assert legibility.faults(fig) == []
    plt.close(fig)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda ax: [ax.text(0.5, 0.5, word) for word in ("here", "there")],
         ["'here' and 'there' overlap"]),
        (lambda ax: ax.text(0.9, 0.5, "far beyond the edge"),
         ["'far beyond the edge' is cut by the edge"]),
        (lambda ax: ax.text(0.2, 0.5, "pale", color="0.7"),
         ["text 'pale' has a contrast of 2.1 on a light page",
          "text 'pale' has a contrast of 3.3 on a dark page"]),
        (lambda ax: ax.plot([0, 1], [0, 1], color="yellow", label="sun"),
         ["line 'sun' has a contrast of 1.1 on a light page",
          "line 'sun' has a contrast of 1.2 on a dark page"]),
        (lambda ax: ax.scatter([0, 1], [0, 1], color="0.8", label="dust"),
         ["points 'dust' has a contrast of 1.6 on a light page",
          "points 'dust' has a contrast of 2.3 on a dark page"]),
    ],
)  # fmt: skip
def test_faults_are_named(draw: Callable[[Axes], object], said: list[str]) -> None:
    fig, ax = figure()
    if "edge" in said[0]:
        plt.close(fig)
        fig, ax = plt.subplots(figsize=(4, 3))
    draw(ax)
    found = legibility.faults(fig)
    assert found == said
    plt.close(fig)


def test_what_is_not_drawn_does_not_count() -> None:
    fig, ax = figure()
    ax.text(0.5, 0.5, "hidden").set_visible(False)
    ax.plot([0, 1], [0, 1], color="0.5", lw=3, alpha=0.3)  # lies under thin lines
    ax.set_xlim(0.0, 0.3)
    assert legibility.faults(fig) == []
    plt.close(fig)


def test_contrast_is_that_of_the_guidelines() -> None:
    assert legibility.contrast((255, 255, 255), (255, 255, 255)) == 1.0
    assert legibility.contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(
        4.54, abs=0.01
    )


def test_many_arms_have_room_under_one_panel() -> None:
    """Six ways of training at one path length, three panels in one narrow column."""
    arms = ["coefficient 0", "coefficient 2", "two passes", "dropout=0.2",
            "weight decay=1e-3", "gradient norm=10"]  # fmt: skip
    labels = {"path_length": [5], "arm": arms, "train_size": [4000], "canvas": ["32x32"],
              "network": ["strided"], "seed": [10], "epoch": range(3)}  # fmt: skip
    values = (tuple(labels), np.full([len(x) for x in labels.values()], 0.5))
    names = ("train_accuracy", "fit_loss", "penalty")
    data = xr.Dataset({f"{name}_of_epoch": values for name in names}, labels)
    fig = courses(data, "path_length")
    assert legibility.faults(fig) == []
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == arms
    plt.close(fig)
