"""Kinds of numbers, lists, arrays and paths: right, equal and wrong values of each.

A kind makes other values from the right one: `right` ones, `equal` ones (the same value in
another form, whose result must be the same: bit for bit, or to 1e-6 where the form has
another dtype) and `wrong` ones, which must be answered by a TypeError or ValueError that
names the parameter. The other files of these names hold `CALLS`: for every public name, a
small right call and the kind of each parameter.
"""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
import fractions
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from tests.fuzz.calls import Form, Kind, Make, Unreadable, Wrong, always

# Values of any kind that are hardly ever right

NONE = Wrong("none", always(None))
OBJECT = Wrong("object", lambda _: Unreadable())
WORD = Wrong("word", always("nonsense"))
COMPLEX = Wrong("complex", always(1j))
STRANGE = (
    NONE,
    OBJECT,
    Wrong("dict", lambda _: {}),
    Wrong("set", always({1})),
    Wrong("bytes", always(b"ab")),
    Wrong("function", always(len)),
)


def wrongs(*pairs: tuple[str, Make]) -> tuple[Wrong, ...]:
    return tuple(Wrong(*pair) for pair in pairs)


# Numbers

NOT_NUMBERS = (
    *STRANGE,
    WORD,
    COMPLEX,
    *wrongs(
        ("true", always(True)),
        ("nan", always(float("nan"))),
        ("digits", always("1")),
        ("array", lambda v: np.full(2, v)),
        ("list", lambda v: [v]),
        ("masked", always(np.ma.masked)),
        ("masked0", lambda v: np.ma.array(v, mask=True)),
        ("numpy_true", always(np.bool_(True))),
        ("na", always(pd.NA)),
        ("date", always(np.datetime64("2020-01-01"))),
        ("key", lambda _: jax.random.key(0)),
    ),
)
NUMBERS_AS = (
    Form("numpy", np.float64),
    Form("numpy0", lambda v: np.array(v, np.float64)),
    Form("jax", lambda v: jnp.asarray(v, jnp.float64)),
    Form("fraction", fractions.Fraction),
    Form("float32", np.float32, exact=False),
    Form("jax32", lambda v: jnp.asarray(v, jnp.float32), exact=False),
    Form("float16", np.float16, exact=False),
    Form("long", np.longdouble),
)
WHOLES_AS = (
    Form("int64", np.int64),
    Form("int32", np.int32),
    Form("uint8", np.uint8),
    Form("numpy0", np.array),
    Form("jax", lambda v: jnp.asarray(v, jnp.int32)),
    Form("series", lambda v: pd.Series([v]).iloc[0]),
)


def number(least: float = -np.inf, *, strict: bool = False) -> Kind:
    """A finite real number from a bound on."""
    wrong = list(wrongs(("infinite", always(np.inf)), ("minus_infinite", always(-np.inf))))
    if np.isfinite(least):
        wrong += wrongs(("below", always(least - 1)), ("tiny", always(least - 1e-9)))
    if strict:
        wrong += wrongs(("bound", always(least)))
    return Kind(f"number from {least}", (*NOT_NUMBERS, *wrong), NUMBERS_AS)


def whole(least: int = 0, *, small: bool = True) -> Kind:
    """An integer from a bound on."""
    more = wrongs(
        ("below", always(least - 1)),
        ("far_below", always(-(2**40))),
        ("half", lambda v: v + 0.5),
        ("float", float),
        ("infinite", always(np.inf)),
    )
    forms = WHOLES_AS if small else tuple(f for f in WHOLES_AS if f.label != "uint8")
    return Kind(f"integer from {least}", (*NOT_NUMBERS, *more), forms)


FLAG = Kind(
    "flag",
    (*STRANGE, WORD, *wrongs(("one", always(1)), ("zero", always(0.0)))),
    (Form("numpy", np.bool_),),
    (Form("true", always(True)), Form("false", always(False))),
)


def choice(*words: str) -> Kind:
    """One of a few words."""
    more = wrongs(
        ("upper", lambda v: str(v).upper()),
        ("one", always(1)),
        ("list", lambda v: [v]),
        ("empty", always("")),
    )
    right = tuple(Form(word, always(word)) for word in words)
    forms = (Form("numpy_str", lambda v: np.str_(v)),)
    return Kind(f"one of {words}", (*STRANGE, WORD, *more), forms, right)


def tolerance() -> Kind:
    """A number, zero or more, or an array of them."""
    return number(0).but(without="array list")


# Lists of integers


def as_list_forms(*, repeated: bool = False) -> tuple[Form, ...]:
    forms = (
        Form("list", list),
        Form("tuple", tuple),
        Form("int64", lambda v: np.array(v, np.int64)),
        Form("uint8", lambda v: np.array(v, np.uint8)),
        Form("jax", lambda v: jnp.asarray(v, jnp.int32)),
        Form("series", pd.Series),
        Form("strided", lambda v: np.repeat(np.array(v), 2)[::2]),
        Form("numpy_ints", lambda v: [np.int32(x) for x in v]),
        Form("big_endian", lambda v: np.array(v, ">i4")),
    )
    return (*forms, Form("one", lambda v: v[0])) if repeated else forms


def positive_wholes(name: str, *, one: bool = True) -> Kind:
    """One integer above zero, or one for each mode or node; the right value is a tuple."""
    more = wrongs(
        ("zero", lambda v: (0, *v[1:])),
        ("negative", lambda v: (-1, *v[1:])),
        ("halves", lambda v: tuple(x + 0.5 for x in v)),
        ("floats", lambda v: np.array(v, float)),
        ("words", lambda v: ("a",) * len(v)),
        ("many", lambda v: (*v, *v, *v)),
        ("empty", always(())),
        ("two_axes", lambda v: np.array([v, v])),
        ("true", always(True)),
        ("half", always(1.5)),
        ("minus", always(-1)),
        ("nan", always(float("nan"))),
        ("masked", lambda v: np.ma.array(v, mask=[True] + [False] * (len(v) - 1))),
        ("nones", lambda v: (None,) * len(v)),
    )
    return Kind(name, (*STRANGE, WORD, COMPLEX, *more), as_list_forms(repeated=one)).but(
        without="set"
    )


MODES = Kind(
    "modes",
    (
        *STRANGE,
        WORD,
        COMPLEX,
        *wrongs(
            ("one", always(1)),
            ("high", lambda v: (*v, 99)),
            ("negative", always((-1,))),
            ("twice", lambda v: (*v, v[0])),
            ("floats", lambda v: tuple(map(float, v))),
            ("words", always(("0", "1"))),
            ("two_axes", lambda v: np.array([v])),
            ("masked", lambda v: np.ma.array(v, mask=True)),
            ("bools", lambda v: np.zeros(4, bool)),
        ),
    ),
    as_list_forms(),
)


def node(least: int = 0) -> Kind:
    """The id of a node."""
    return whole(least).but(wrong=wrongs(("high", always(99))))


NODE_OR_MODES = MODES.but(
    without="one", wrong=wrongs(("no_node", always(99)), ("minus", always(-1)),
                                ("half", always(4.5)))
)  # fmt: skip

# Arrays


def masked(values: Any) -> Any:
    array = np.array(values)
    mask = np.zeros(array.shape, bool)
    mask.flat[0] = True
    return np.ma.array(array, mask=mask)


def changed(values: Any, value: Any) -> np.ndarray:
    """A copy as floats whose last entry is another."""
    array = np.array(values, float)
    array.flat[-1] = value
    return array


NOT_ARRAYS = (
    *STRANGE,
    WORD,
    *wrongs(
        ("masked", masked),
        ("complex", lambda v: np.array(v) + 0j),
        ("words", lambda v: np.array(v).astype(str)),
        ("objects", lambda v: np.full(np.shape(v), None)),
        ("missing", lambda v: np.full(np.shape(v), pd.NA)),
        ("dates", lambda v: np.zeros(np.shape(v), "datetime64[s]")),
        ("ragged", lambda v: [[1.0], [1.0, 2.0]]),
        ("keys", lambda v: jax.random.split(jax.random.key(0), max(1, len(v)))),
        ("generator", lambda v: (x for x in v)),
    ),
)
LAYOUTS = (
    Form("numpy", np.array),
    Form("list", lambda v: np.array(v).tolist()),
    Form("tuple", lambda v: _tuples(np.array(v).tolist())),
    Form("jax", jnp.asarray),
    Form("fortran", lambda v: np.asfortranarray(v)),
    Form("strided", lambda v: np.repeat(np.array(v), 2, axis=-1)[..., ::2]),
    Form("reversed", lambda v: np.array(v)[::-1].copy()[::-1]),
    Form("read_only", lambda v: _read_only(np.array(v))),
    Form("big_endian", lambda v: big_endian(np.array(v))),
)
REAL_DTYPES = (
    Form("float32", lambda v: np.array(v, np.float32), exact=False),
    Form("jax32", lambda v: jnp.asarray(v, jnp.float32), exact=False),
    Form("float16", lambda v: np.array(v, np.float16), exact=False),
    Form("bfloat16", lambda v: jnp.asarray(v, jnp.bfloat16), exact=False),
    Form("long", lambda v: np.array(v, np.longdouble)),
)
INT_DTYPES = (
    Form("int32", lambda v: np.array(v, np.int32)),
    Form("uint8", lambda v: np.array(v, np.uint8)),
    Form("uint64", lambda v: np.array(v, np.uint64)),
    Form("jax32", lambda v: jnp.asarray(v, jnp.int32)),
    Form("big_endian32", lambda v: np.array(v, ">i4")),
)


def _tuples(values: Any) -> Any:
    return tuple(map(_tuples, values)) if isinstance(values, list) else values


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def big_endian(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder(">"))


def pandas_of(values: Any) -> Any:
    array = np.array(values)
    return pd.Series(array) if array.ndim == 1 else pd.DataFrame(array)


def reals(*, finite: bool = True, axes: int = 1, free: bool = False) -> Kind:
    """Real numbers (...,): `free` shapes, or those of the right value alone."""
    more = list(wrongs(("words_in_lists", lambda v: [["a"]])))
    if not free:
        more += wrongs(
            ("extra_axis", lambda v: np.array(v)[None]),
            ("no_axis", always(1.0)),
            ("longer", lambda v: np.concatenate([np.array(v)] * 2)),
            ("empty", lambda v: np.array(v)[:0]),
        )
    if finite:
        more += wrongs(
            ("nan", lambda v: changed(v, np.nan)),
            ("infinite", lambda v: changed(v, np.inf)),
            ("jax_nan", lambda v: jnp.asarray(changed(v, np.nan))),
        )
    forms = (*LAYOUTS, *REAL_DTYPES)
    forms = (*forms, Form("pandas", pandas_of)) if axes <= 2 else forms
    name = f"{'finite ' * finite}real numbers of {axes} axes"
    return Kind(name, (*NOT_ARRAYS, *more), forms)


INDICES = Kind(
    "indices",
    (
        *NOT_ARRAYS,
        *wrongs(
            ("floats", lambda v: np.array(v, float)),
            ("bools", lambda v: np.array(v) > 0),
            ("high", lambda v: np.array(v) + 99),
            ("negative", lambda v: np.array(v) - 99),
            ("jax_high", lambda v: jnp.asarray(np.array(v) + 99)),
            ("beyond_int32", lambda v: np.array(v) + 2**32),
            ("columns", lambda v: np.array(v)[:, :-1]),
            ("vector", lambda v: np.array(v)[0]),
            ("three_axes", lambda v: np.array(v)[None]),
            ("nan", lambda v: changed(v, np.nan)),
        ),
    ),
    (*LAYOUTS, *INT_DTYPES, Form("pandas", pandas_of)),
)
SINGULAR = reals(finite=False, free=True).but(
    wrong=wrongs(("negative", lambda v: -np.array(v)), ("number", always(1.0)),
                 ("empty", always([])))
)  # fmt: skip
DESCENDING = SINGULAR.but(wrong=wrongs(("ascending", lambda v: np.array(v)[::-1])))


def list_of(kind: Kind, *, says: str = "") -> Kind:
    """A list of arrays: a wrong one holds one wrong array, or not a list."""

    def first(make: Make) -> Make:
        return lambda v: [make(v[0]), *v[1:]]

    def each(make: Make) -> Make:
        return lambda v: [make(x) for x in v]

    inner = tuple(dataclasses.replace(w, make=first(w.make)) for w in kind.wrong)
    outer = wrongs(
        ("few", lambda v: v[:-1]),
        ("many", lambda v: [*v, v[-1]]),
        ("no_list", lambda v: {"a": v}),
        ("list_none", always(None)),
        ("list_word", always("nonsense")),
        ("iterator", iter),
        ("list_empty", lambda v: []),
    )
    forms = tuple(Form(f.label, each(f.make), f.exact) for f in kind.equal)
    return Kind(f"list of {kind.name}", (*inner, *outer), (*forms, Form("tuples", tuple)))


# Paths


def path_arguments(name: str, write: Callable[[str], Any] | None) -> dict[str, Any]:
    """A fresh path, with something written there."""
    path = os.path.join(tempfile.mkdtemp(prefix="htfjax-kinds-"), name)
    if write is not None:
        write(path)
    return {"path": path}


PATH = Kind(
    "path",
    (
        *(w for w in STRANGE if w.label != "bytes"),
        *wrongs(("number", always(1.5)), ("one", always(1)), ("list", lambda p: [p])),
    ),
    (Form("pathlib", Path),),
)
