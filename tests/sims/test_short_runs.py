"""Figures of runs that are too short to show the effect: they say so, others do not."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from sims import component_dynamics
from sims.figures import dynamics, ensembles, networks
from sims.figures.short import say_too_short

SAID = "too short to show the effect: "


def panel(losses: list[float], status: str = "capped") -> xr.Dataset:
    """A run of the matrix panel with these losses."""
    steps = 10 * np.arange(len(losses))
    values = np.linspace(0.1, 1.0, len(losses))[None, :, None, None] * [1.0, 0.5]
    return xr.Dataset(
        {
            "loss": (("seed", "step"), [losses]),
            "train_mse": (("seed", "step"), [losses]),
            "singular_value": (("seed", "step", "modes", "index"), values),
            "status": (("seed",), [status]),
        },
        {"step": steps, "modes": ["0"], "seed": [0]},
        {"panel": "mf", "tree": "(0, 1)"},
    )


@pytest.mark.parametrize(
    ("losses", "status", "short"),
    [
        ([1.0, 0.99, 0.95], "capped", True),
        ([1.0, 0.99, 0.5], "capped", False),
        ([1.0, np.nan, np.nan], "running", True),
        ([1e-6, 1e-6, 1e-6], "converged", False),
    ],
)
def test_dynamics(losses: list[float], status: str, short: bool) -> None:
    """A tenth of the loss, unless it was fitted from the start."""
    fig = dynamics.dynamics([panel(losses, status)], dynamics.View())
    said = SAID + "no training loss has fallen by a tenth" if short else ""
    assert fig.get_suptitle() == said
    plt.close(fig)


@pytest.mark.parametrize(("error", "short"), [(0.9, True), (None, True), (0.4, False)])
def test_phase_diagram(error: float | None, short: bool) -> None:
    """One cell that is found is enough."""
    row = {"model": "mf", "target_rank": 1, "final_rank": 1.0, "not_converged": 1.0}
    rows = [row | {"ratio": 1.0, "relative_error": 1.0}]
    rows += [row | {"ratio": 2.0, "relative_error": error}]
    data = xr.Dataset(coords={"model": ["mf"], "target_rank": [1], "ratio": [1.0, 2.0]})
    fig = ensembles.phase(data, {"rows": rows})
    assert fig.get_suptitle().startswith(SAID) is short
    plt.close(fig)


@pytest.mark.parametrize(("ends", "grown"), [([1.9, 0.1], False), ([2.1, 0.1], True)])
def test_component_dynamics(ends: list[float], grown: bool) -> None:
    """The largest norm at the end against the largest at the start."""
    part = xr.Dataset({"sigma": (("record", "component"), [[0.5, 1.0], ends])})
    assert component_dynamics._has_grown(part) is grown


@pytest.mark.parametrize(("fitted", "short"), [(0.98, True), (1.0, False), (np.nan, True)])
def test_networks(fitted: float, short: bool) -> None:
    """Of arms that have not fitted their examples nothing can be said."""
    shape = {"distance": 2, "arm": 1, "train_size": 1, "canvas": 1, "network": 1, "seed": 1}
    coords: dict[str, Any] = {
        "distance": [0, 4], "arm": ["coefficient 0"], "train_size": [8],
        "canvas": ["8x8"], "network": ["tiny"], "seed": [0],
    }  # fmt: skip
    ones = np.ones(tuple(shape.values()))
    names = ("test_accuracy", "train_accuracy", "change_test")
    data = xr.Dataset({name: (tuple(shape), fitted * ones) for name in names}, coords)
    fig = networks.accuracies(data, "distance", label="distance")
    assert fig.get_suptitle().startswith(SAID) is short
    plt.close(fig)


def test_a_title_is_kept() -> None:
    fig = plt.figure()
    fig.suptitle("seeds")
    say_too_short(fig, "nothing rose")
    assert fig.get_suptitle() == f"{SAID}nothing rose\nseeds"
    plt.close(fig)
