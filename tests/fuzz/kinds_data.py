"""Calls of a user's own data, and the kinds of their parameters."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

import htfjax as htf
from tests.fuzz.calls import Call, Form, Kind, Wrong, always
from tests.fuzz.kinds import (
    INDICES,
    STRANGE,
    WORD,
    choice,
    number,
    reals,
    wrongs,
)
from tests.fuzz.kinds_objects import (
    DIM_LIST,
    DIMS,
    FACTORS,
    FLAT_TREE,
    KEY,
    TREE,
    TREES,
    factors,
    key,
)

__all__ = ["DATA_CALLS"]

# Each entry differs from the others, and float16 holds all.
VALUES = np.arange(12.0).reshape(DIMS) / 4
PAIR = (np.argwhere(VALUES >= 0), VALUES.ravel())


def frame() -> pd.DataFrame:
    columns = dict(zip("abc", PAIR[0].T, strict=True))
    return pd.DataFrame(columns | {"rating": PAIR[1]})


def array() -> xr.DataArray:
    return xr.DataArray(VALUES, dims=("a", "b", "c"))


def record() -> htf.Observed:
    return htf.observed(VALUES, modes=["a", "b", "c"], holdout=0.25, key=key())


def with_entry(pair: tuple[Any, Any], part: int, value: Any) -> tuple[Any, Any]:
    """A pair with another first entry in one of its parts."""
    changed = [np.array(pair[0]), np.array(pair[1])]
    changed[part] = changed[part].astype(np.result_type(changed[part], value))
    changed[part].flat[0] = value
    return changed[0], changed[1]


ARRAY = reals(
    finite=False, axes=3, free=True
).but(
    without="masked",  # a missing value
    wrong=wrongs(
        ("infinite", lambda v: np.where(np.array(v) == 0, np.inf, v)),
        ("empty", lambda v: np.array(v)[:0]),
        ("one_axis", lambda v: np.ravel(v)),
        ("number", always(1.0)),
        ("all_missing", lambda v: np.full(np.shape(v), np.nan)),
        ("bools", lambda v: np.array(v) > 0),
        ("triple", always((1, 2, 3))),
    ),
)
ARRAY = dataclasses.replace(
    # A tuple is a pair.
    ARRAY,
    equal=(
        *(form for form in ARRAY.equal if form.label != "tuple"),
        Form("masked", lambda v: np.ma.array(v, mask=np.zeros(np.shape(v), bool))),
        Form("xarray", lambda v: xr.DataArray(v, dims=("a", "b", "c"))),
    ),
)
PAIRS = Kind(
    "pair of indices and values",
    (
        *STRANGE,
        WORD,
        *wrongs(
            ("floats", lambda v: (v[0] * 1.0, v[1])),
            ("negative", lambda v: with_entry(v, 0, -1)),
            ("high", lambda v: with_entry(v, 0, 99)),
            ("beyond_int32", lambda v: with_entry(v, 0, 2**32)),
            ("masked_indices", lambda v: (np.ma.array(v[0], mask=v[0] == 1), v[1])),
            ("vector", lambda v: (v[0][0], v[1])),
            ("one_mode", lambda v: (v[0][:, :1], v[1])),
            ("infinite", lambda v: with_entry(v, 1, np.inf)),
            ("complex", lambda v: (v[0], v[1] + 0j)),
            ("words", lambda v: (v[0], v[1].astype(str))),
            ("bools", lambda v: (v[0], v[1] > 1)),
            ("short", lambda v: (v[0], v[1][1:])),
            ("column", lambda v: (v[0], v[1][:, None])),
            ("empty", lambda v: (v[0][:0], v[1][:0])),
            ("nothing", always(())),
            ("nones", always((None, None))),
        ),
        Wrong("two_modes", lambda v: (v[0][:, :2], v[1]), ("mode_dims",)),
    ),
    (
        Form("lists", lambda v: (v[0].tolist(), v[1].tolist())),
        Form("jax", lambda v: (jnp.asarray(v[0]), jnp.asarray(v[1]))),
        Form("int16", lambda v: (v[0].astype(np.int16), v[1])),
        Form("shuffled", lambda v: (v[0][::-1], v[1][::-1])),
        Form("twice", lambda v: (np.repeat(v[0], 2, axis=0), np.repeat(v[1], 2))),
    ),
)
FRAMES = Kind(
    "table",
    (
        *STRANGE,
        WORD,
        *wrongs(
            ("rows", lambda v: v[:0]),
            ("words", lambda v: v.assign(rating="high")),
            ("infinite", lambda v: v.assign(rating=np.inf)),
            ("missing", lambda v: v.assign(rating=np.nan)),
            ("bools", lambda v: v.assign(rating=True)),
            ("complex", lambda v: v.assign(rating=1j)),
            ("dates", lambda v: v.assign(rating=pd.Timestamp("2020-01-01"))),
            ("no_level", lambda v: v.assign(b=None)),
            ("mixed_levels", lambda v: v.assign(b=["x", *range(len(v) - 1)])),
            ("lists", lambda v: v.assign(b=[[1]] * len(v))),
            ("same_columns", lambda v: v.set_axis(["a", "a", "c", "rating"], axis=1)),
            ("deep_columns", lambda v: pd.concat({"t": v}, axis=1)),
            ("levels_in_index", lambda v: v.set_index(["a", "b"])),
            ("dataset", lambda v: xr.Dataset({"t": array()})),
        ),
        Wrong("one_column", lambda v: v[["rating"]], ("modes",)),
    ),
    (
        Form("shuffled", lambda v: v[::-1]),
        Form("index", lambda v: v.set_axis(range(len(v), 0, -1))),
    ),
)
COLUMN = Kind(
    "column",
    (
        *STRANGE,
        WORD,
        *wrongs(("number", always(1.5)), ("list", lambda v: [v]), ("mode", always("a"))),
    ),
).but(without="none")
NAMES = Kind(
    "names of modes",
    (
        *STRANGE,
        WORD,
        *wrongs(
            ("few", lambda v: v[:1]),
            ("numbers", lambda v: [1.5] * len(v)),
            ("twice", lambda v: [v[0]] * len(v)),
            ("nones", lambda v: [None] * len(v)),
            ("lists", lambda v: [[x] for x in v]),
            ("unreadable", lambda v: [STRANGE[1].make(v)] * len(v)),
            ("empty", always([])),
            ("two_axes", lambda v: np.array([v])),
            ("value", lambda v: [*v[:-1], "value"]),
        ),
    ),
    (
        Form("tuple", tuple),
        Form("numpy", np.array),
        Form("series", pd.Series),
        Form("index", pd.Index),
    ),
).but(without="none")
SHARE = number(0).but(wrong=wrongs(("one", always(1)), ("nearly_all", always(0.99))))
# Where another kind of data is given, there is nothing that it could name.
UNUSED = Kind("nothing", (*STRANGE, WORD, *wrongs(("three", always(3))))).but(
    without="none"
)


def of_data(**given: Any) -> dict[str, Any]:
    return {"holdout": 0.25, "key": key(), "scaling": "standardize"} | given


SHARED = {
    "holdout": SHARE,
    "key": KEY,
    "scaling": choice("standardize", "none"),
    "values": UNUSED,
    "modes": NAMES,
    "mode_dims": UNUSED,
}
LABELS = Kind(
    "labels",
    (
        *STRANGE,
        WORD,
        *wrongs(
            ("few", lambda v: {"a": v["a"]}),
            ("near", lambda v: {"A": v["a"], "b": v["b"], "c": v["c"]}),
            ("unknown", lambda v: v | {"c": [99] * len(v["c"])}),
            ("words", lambda v: v | {"b": ["x"] * len(v["b"])}),
            ("longer", lambda v: v | {"b": [*v["b"], 0]}),
            ("one", lambda v: v | {"a": 1}),
            ("nones", lambda v: v | {"a": [None] * len(v["a"])}),
            ("lists", lambda v: v | {"a": [[0]] * len(v["a"])}),
            ("masked", lambda v: v | {"a": np.ma.array(v["a"], mask=True)}),
            ("halves", lambda v: v | {"a": [0.5] * len(v["a"])}),
            ("columns", lambda v: v | {"a": np.array(v["a"])[:, None]}),
            ("unreadable", lambda v: v | {"a": [STRANGE[1].make(v)] * len(v["a"])}),
        ),
    ),
    (
        Form("frame", pd.DataFrame),
        Form("numpy", lambda v: {k: np.array(x) for k, x in v.items()}),
        Form("floats", lambda v: {k: np.array(x, float) for k, x in v.items()}),
        Form("tuples", lambda v: {k: tuple(x) for k, x in v.items()}),
        Form("more", lambda v: v | {"rating": [1.0]}),
    ),
)
# Infinite predictions are what a diverged run has.
FIELD = reals(finite=False, axes=3)
CORNERS = np.array([[0, 0, 0], [1, 2, 1]])


def read_loss(loss: Any) -> Any:
    return loss(factors())


def of_tree(name: str) -> Call:
    return Call(
        lambda tree, **options: getattr(record(), name)(tree, **options),
        lambda: {"tree": TREE, "penalty": "huber"},
        {
            "tree": TREES.but(wrong=(Wrong("order", always(FLAT_TREE)),)),
            "penalty": choice("l2", "l1", "huber"),
        },
        read_loss,
    )


DATA_CALLS: dict[str, Call] = {
    "observed": Call(
        htf.observed,
        lambda: of_data(data=VALUES, modes=["a", "b", "c"]),
        SHARED | {"data": ARRAY},
    ),
    "observed of a pair": Call(
        htf.observed,
        lambda: of_data(data=PAIR, modes=["a", "b", "c"], mode_dims=DIMS),
        SHARED | {"data": PAIRS, "mode_dims": DIM_LIST.but(without="none")},
    ),
    "observed of a table": Call(
        htf.observed,
        lambda: of_data(data=frame(), values="rating", modes=["a", "b", "c"]),
        SHARED
        | {
            "data": FRAMES,
            "values": COLUMN,
            "modes": NAMES,
        },
    ),
    "observed of a labelled array": Call(
        htf.observed,
        lambda: of_data(data=array(), modes=["a", "b", "c"]),
        SHARED
        | {
            "data": Kind(
                "labelled array",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("empty", lambda v: v[:0]),
                        ("infinite", lambda v: v + np.inf),
                        ("complex", lambda v: v + 0j),
                        ("words", lambda v: v.astype(str)),
                        ("missing", lambda v: v.where(v < 0)),
                        ("twice", lambda v: v.assign_coords(b=[1, 1, 2])),
                        ("no_label", lambda v: v.assign_coords(b=[1.0, 2.0, np.nan])),
                    ),
                    Wrong("vector", lambda v: v[0, 0], ("modes",)),
                    Wrong("stacked", lambda v: v.stack(x=("a", "b")), ("modes",)),
                ),
                (Form("float32", lambda v: v.astype(np.float32), exact=False),),
            )
        },
    ),
    "Observed.loss": of_tree("loss"),
    "Observed.test_loss": of_tree("test_loss"),
    "Observed.test_error": Call(
        lambda factors: record().test_error(factors),
        lambda: {"factors": factors()},
        {"factors": FACTORS},
    ),
    "Observed.in_units": Call(
        lambda values: record().in_units(values),
        lambda: {"values": VALUES},
        {"values": reals(finite=False, axes=3, free=True)},
    ),
    "Observed.labels": Call(
        lambda indices: record().labels(indices),
        lambda: {"indices": CORNERS},
        {"indices": INDICES},
    ),
    "Observed.codes": Call(
        lambda labels: record().codes(labels),
        lambda: {"labels": {"a": [0, 1], "b": [2, 0], "c": [1, 1]}},
        {"labels": LABELS},
    ),
    "Observed.decode": Call(
        lambda values: record().decode(values),
        lambda: {"values": VALUES},
        {"values": FIELD},
    ),
    "Observed.decode of entries": Call(
        lambda values, indices: record().decode(values, indices),
        lambda: {"values": np.array([0.5, -1.0]), "indices": CORNERS},
        {
            "values": reals(finite=False),
            "indices": INDICES.but(
                wrong=(Wrong("longer", lambda v: np.concatenate([v, v]), ("values",)),)
            ).or_none(),
        },
    ),
}
