"""Kinds of `htfjax.plot`."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import htfjax as htf
from htfjax import locality, plot
from tests.fuzz import kinds
from tests.fuzz.calls import Call, Form, Kind, always
from tests.fuzz.kinds import wrongs
from tests.fuzz.kinds_objects import factors, named

__all__ = ["CALLS"]

NORMS = np.array([[1.0, 2.0], [3.0, 4.0]])
FIELDS = ("losses", "grad_norms", "step_lengths", "chords", "durations")


def trajectory(runs: int = 0) -> htf.Trajectory:
    """A descent of two records, or many runs of it."""
    numbers: Any = np.ones(2)
    fields = dict.fromkeys(FIELDS, numbers) | {"steps": np.array([0, 2])}
    one = htf.Trajectory(**fields, observed={3: NORMS}, report=None)
    return jax.tree.map(lambda x: np.stack([x] * runs), one) if runs else one


def grid() -> xr.Dataset:
    return xr.Dataset(
        {"loss": (("rank", "ratio", "step"), np.arange(8.0).reshape(2, 2, 2))},
        coords={"rank": [1, 2], "ratio": [0.5, 1.0], "step": [0, 2]},
    )


def figure_axes() -> Any:
    return Figure().subplots()


def change() -> Any:
    return locality.ChangeByDistance(np.array([0, 4]), NORMS / 4, np.zeros((2, 2)))


def shown(axes: Any) -> list[Any]:
    """Numbers and words of a plot."""
    lines = [np.asarray(line.get_ydata(), float) for line in axes.lines]
    texts = [text.get_text() for text in axes.texts]
    return [*lines, *texts, axes.get_xlabel(), axes.get_ylabel(), axes.get_xlim()]


SOURCE = Kind(
    "records",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("one", always(1)),
            ("class", type),
            ("numbers", lambda _: NORMS),
            ("list", lambda s: [s]),
            ("none_observed", lambda _: dataclasses.replace(trajectory(), observed=None)),
            ("no_records", lambda _: xr.Dataset()),
            ("nan", lambda _: xr.Dataset({"loss": ("step", [np.nan])})),
        ),
    ),
)
NAME = Kind("name", tuple(w for w in (*kinds.STRANGE, kinds.WORD) if w.label != "none"))
TEXT = Kind("text", tuple(w for w in kinds.STRANGE if w.label != "none"))
PLACE = Kind(
    "node",
    (
        kinds.OBJECT,
        kinds.WORD,
        *wrongs(("float", always(1.0)), ("negative", always(-1)), ("another", always(9)),
                ("pair", always((7, 8))), ("floats", always((0.5,))), ("dict", always({}))),
    ),
    kinds.WHOLES_AS,
)  # fmt: skip
PAIR = Kind(
    "two numbers",
    (
        kinds.OBJECT,
        kinds.WORD,
        *wrongs(("one", always(1.0)), ("three", always((0, 0.25, 0.5))),
                ("empty", always(())), ("backwards", lambda v: v[::-1]),
                ("equal", lambda v: (v[0], v[0])), ("nan", always((0.0, np.nan))),
                ("infinite", always((0.0, np.inf))), ("words", always(("a", "b")))),
    ),
    (Form("list", list), Form("numpy", np.array)),
)  # fmt: skip
AXES = Kind(
    "axes",
    (kinds.OBJECT, kinds.WORD, *wrongs(("number", always(1)), ("list", always([])))),
)
LABELS = {"labels": kinds.FLAG, "ax": AXES}
LINES = {
    "source": SOURCE,
    "quantity": NAME,
    "top": kinds.whole(1),
    "against": kinds.choice("step", "path_length", "time").or_none(),
    "window": PAIR,
    "linestyle": kinds.choice("-", "--", ":", "-.").but(without="upper"),
    **LABELS,
}


def of_lines() -> dict[str, Any]:
    return {
        "source": trajectory(),
        "quantity": None,
        "top": 2,
        "against": "step",
        "window": (0.0, 1.0),
        "linestyle": "-",
        "labels": True,
        "ax": figure_axes(),
    }


CALLS: dict[str, Call] = {
    "plot.colors": Call(plot.colors, lambda: {"count": 3}, {"count": kinds.whole()}),
    "plot.components": Call(
        plot.components, lambda: of_lines() | {"node": 3}, LINES | {"node": PLACE}, shown
    ),
    "plot.spectra": Call(
        plot.spectra,
        lambda: of_lines() | {"node_or_modes": 3},
        LINES | {"node_or_modes": PLACE},
        shown,
    ),
    "plot.bands": Call(
        plot.bands,
        lambda: {
            "source": trajectory(3),
            "quantity": None,
            "node_or_modes": 3,
            "over": "seed",
            "quantiles": (0.25, 0.75),
            "top": 2,
            "window": (0.0, 1.0),
            "labels": True,
            "ax": figure_axes(),
        },
        {name: LINES[name] for name in ("source", "quantity", "top", "window")}
        | LABELS
        | {
            "node_or_modes": PLACE,
            # Another word is the dimension of some other dataset.
            "over": Kind("dimension", kinds.STRANGE),
            "quantiles": PAIR.but(wrong=wrongs(("percent", always((10, 90))))),
        },
        shown,
    ),
    "plot.phase_diagram": Call(
        plot.phase_diagram,
        lambda: {
            "source": grid(),
            "quantity": "loss",
            "rows": "rank",
            "columns": "ratio",
            "limits": (0.0, 4.0),
            "marked": None,
            "ax": figure_axes(),
        },
        {
            "source": SOURCE,
            "quantity": NAME,
            "rows": NAME,
            "columns": NAME,
            "limits": PAIR,
            "marked": Kind("marks", (kinds.WORD, *wrongs(("one", always(1))))),
            "ax": AXES,
        },
        shown,
    ),
    "plot.locality": Call(
        plot.locality,
        lambda: {
            "source": change(),
            "label": None,
            "color": "k",
            "labels": True,
            "ax": figure_axes(),
        },
        {
            "source": SOURCE.but(without="none_observed"),
            "label": TEXT,
            "color": Kind("colour", (kinds.OBJECT, kinds.WORD)),
            **LABELS,
        },
        shown,
    ),
    "plot.tree": Call(
        plot.tree,
        lambda: {"drawn": factors(), "ax": figure_axes()},
        {"drawn": named("drawn").but(without="tree"), "ax": AXES},
        lambda axes: [text.get_text() for text in axes.texts],
    ),
}
