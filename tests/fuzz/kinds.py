"""Kinds: what each parameter of each public function takes, in which forms, and what not.

`CALLS` holds, for every public name, a small right call and the kind of each parameter.
A kind makes other values from the right one: `right` ones, `equal` ones (the same value in
another form, whose result must be the same: bit for bit, or to 1e-6 where the form has
another dtype) and `wrong` ones, which must be answered by a TypeError or ValueError that
names the parameter.
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
import optax
import pandas as pd

import htfjax as htf
from tests.fuzz.calls import (
    Call,
    Form,
    Kind,
    Make,
    Unreadable,
    Wrong,
    always,
    names_parameter,
)

__all__ = [
    "CALLS",
    "Call",
    "Form",
    "Kind",
    "Wrong",
    "names_parameter",
]

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
    Form("big_endian", lambda v: _big_endian(np.array(v))),
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


def _big_endian(array: np.ndarray) -> np.ndarray:
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


# Objects of the package

TREE = htf.ModeTree.from_nested(((0, 1), 2))
DIMS = (2, 3, 2)
WIDTHS = (2, 3)
POINTS = np.array([[0, 1, 0], [1, 2, 1], [1, 0, 1], [0, 1, 0]])
TARGETS = np.array([1.0, -0.5, 2.0, 0.25])
FLAT_TREE = htf.ModeTree.from_nested((0, 1))


def key() -> jax.Array:
    return jax.random.key(0)


def factors(tree: htf.ModeTree = TREE, dims: Any = DIMS, widths: Any = WIDTHS) -> Any:
    """Weights with few digits, so that other dtypes hold them too."""
    start = htf.gaussian_factors(key(), tree, dims, widths, 1.0)
    return jax.tree.map(lambda w: jnp.round(w * 8) / 8, start)


def deep() -> htf.Factors:
    """A matrix factorization of depth three."""
    tree = htf.ModeTree.from_nested(((0,), 1))
    return htf.identity_factors(tree, 3, 3, 0.5, root="ones")


def level_matrices() -> list[np.ndarray]:
    return [np.full((3, 2), 0.5), np.full((2, 4), 0.25), np.full((4, 1), 1.0)]


def with_weight(held: htf.Factors, k: int, make: Make) -> htf.Factors:
    weights = list(held.weights)
    weights[k] = make(weights[k])
    return dataclasses.replace(held, weights=tuple(weights))


def weight_wrong(label: str, make: Make) -> Wrong:
    def wrong(held: htf.Factors) -> htf.Factors:
        return with_weight(held, 1, make)

    return Wrong(label, wrong, ("weights",))


def to_numpy(held: Any) -> Any:
    return jax.tree.map(np.asarray, held)


FACTORS = Kind(
    "factors",
    (
        *STRANGE,
        WORD,
        Wrong("weights", lambda f: f.weights),
        Wrong("tree", lambda f: f.tree),
        Wrong("numbers", always(1.0)),
        Wrong("no_tree", lambda f: dataclasses.replace(f, tree=((0, 1), 2)), ("tree",)),
        Wrong("few", lambda f: dataclasses.replace(f, weights=f.weights[1:]), ("weights",)),
        Wrong("nothing", lambda f: dataclasses.replace(f, weights=None), ("weights",)),
        weight_wrong("missing", always(None)),
        weight_wrong("vector", lambda w: w[0]),
        weight_wrong("columns", lambda w: jnp.concatenate([w, w], axis=1)),
        weight_wrong("ints", lambda w: jnp.ones(w.shape, jnp.int32)),
        weight_wrong("float32", lambda w: w.astype(jnp.float32)),
        weight_wrong("complex", lambda w: w.astype(complex)),
        weight_wrong("masked", masked),
        weight_wrong("big_endian", lambda w: _big_endian(np.array(w))),
        weight_wrong("words", always("nonsense")),
        weight_wrong("lists", lambda w: np.array(w).tolist()),
        Wrong("fixed", lambda f: dataclasses.replace(f, fixed=(99,)), ("fixed",)),
        Wrong("fixed_one", lambda f: dataclasses.replace(f, fixed=1), ("fixed",)),
    ),
    (
        Form("numpy", to_numpy),
        Form("grouped", htf.group, exact=False),
        Form("float32", lambda f: jax.tree.map(lambda w: w.astype(np.float32), f), False),
    ),
)


def named(name: str) -> Kind:
    """Factors under another name than `factors`."""
    says = {k: (f"{name}.{k}",) for k in ("weights", "tree", "fixed")}
    wrong = tuple(
        dataclasses.replace(w, says=tuple(s for n in w.says for s in says[n]))
        for w in FACTORS.wrong
    )
    alone = tuple(f for f in FACTORS.equal if f.label == "numpy")
    return dataclasses.replace(FACTORS, wrong=wrong, equal=alone)


GROUPED = dataclasses.replace(
    FACTORS,
    name="grouped factors",
    wrong=(
        *STRANGE,
        WORD,
        Wrong("plain", htf.ungroup),
        Wrong("few", lambda f: dataclasses.replace(f, stacks=f.stacks[1:]), ("stacks",)),
        Wrong("no_groups", lambda f: dataclasses.replace(f, groups=()), ("groups",)),
        Wrong("no_stacks", lambda f: dataclasses.replace(f, stacks=None), ("stacks",)),
        Wrong("no_tree", lambda f: dataclasses.replace(f, tree=None), ("tree",)),
        Wrong("matrix", lambda f: dataclasses.replace(
            f, stacks=(f.stacks[0][0], *f.stacks[1:])), ("stacks",)),
        Wrong("fixed", lambda f: dataclasses.replace(f, fixed=(99,)), ("fixed",)),
    ),
    equal=(Form("numpy", to_numpy),),
)  # fmt: skip
PLAIN = FACTORS.but(wrong=(Wrong("grouped", htf.group),))
PLAIN = dataclasses.replace(
    PLAIN, equal=tuple(f for f in PLAIN.equal if f.label != "grouped")
)
FLOAT64_FACTORS = dataclasses.replace(
    FACTORS, equal=tuple(f for f in FACTORS.equal if f.label != "float32")
)
TREES = Kind(
    "tree",
    (
        *STRANGE,
        WORD,
        Wrong("hole", always((0, ()))),
        Wrong("part", lambda t: str(t.nested)[:-1]),
        Wrong("factors", lambda t: factors()),
        Wrong("one", always(3)),
    ),
    (
        Form("nested", lambda t: t.nested),
        Form("lists", lambda t: list(t.nested)),
        Form("spelled", lambda t: str(t.nested)),
    ),
)
KEY = Kind(
    "key",
    (
        *STRANGE,
        WORD,
        Wrong("zero", always(0)),
        Wrong("old_style", lambda _: jax.random.PRNGKey(0)),
        Wrong("two", lambda _: jax.random.split(key(), 2)),
        Wrong("numbers", lambda _: np.zeros(2, np.uint32)),
        Wrong("generator", lambda _: np.random.default_rng(0)),
    ),
)
DTYPE = Kind(
    "dtype",
    (
        *STRANGE,
        *wrongs(
            ("word", always("x")),
            ("ints", always(int)),
            ("complex", always(complex)),
            ("bools", always(bool)),
            ("strings", always(str)),
            ("three", always(3)),
            ("long", always(np.longdouble)),
            ("eight_bits", always(jnp.float8_e4m3fn)),
        ),
    ),
    (
        Form("word", lambda d: np.dtype(d).name),
        Form("numpy", lambda d: np.dtype(d)),
        Form("scalar", lambda d: np.dtype(d).type),
    ),
    (Form("half", always(jnp.float16)), Form("bfloat16", always(jnp.bfloat16))),
).but(without="none")
PRECISION = Kind(
    "precision",
    (*STRANGE, WORD, *wrongs(("one", always(1)), ("list", lambda v: [v]))),
    (
        Form("enum", lambda _: jax.lax.Precision.HIGHEST),
        Form("pair", lambda _: ("highest", "highest")),
    ),
    (Form("high", always("high")), Form("default", always("default"))),
).but(without="none")
FUNCTION = Kind(
    "function",
    (
        NONE,
        OBJECT,
        WORD,
        *wrongs(("number", always(1.0)), ("list", lambda v: [v]), ("dict", lambda v: {})),
    ),
)
SCALAR_LOSS = FUNCTION.but(
    wrong=wrongs(
        ("vector", lambda _: lambda p: jnp.ones(3)),
        ("nothing", lambda _: lambda p: None),
        ("words", lambda _: lambda p: "nonsense"),
        ("complex", lambda _: lambda p: jnp.asarray(1j)),
        ("whole", lambda _: lambda p: jnp.asarray(1)),
        ("pair", lambda _: lambda p: (jnp.asarray(1.0), 2)),
    )
)
OPTIMIZER = Kind(
    "optimizer",
    (
        NONE,
        OBJECT,
        WORD,
        *wrongs(
            ("number", always(0.1)),
            ("function", always(optax.sgd)),
            ("dict", lambda _: {}),
            ("pair", lambda o: (o.init, 1)),
        ),
    ),
)
PARAMS = Kind(
    "params",
    (
        NONE,
        OBJECT,
        WORD,
        *wrongs(
            ("ints", lambda p: jnp.ones(2, jnp.int32)),
            ("bools", lambda p: jnp.ones(2, bool)),
            ("empty", lambda p: []),
            ("masked", lambda p: masked(np.ones(2))),
            ("words", lambda p: {"a": "b"}),
            ("keys", lambda p: jax.random.key(0)),
            ("function", always(len)),
        ),
    ),
    (Form("numpy", to_numpy),),
)


def total_square(params: Any) -> Any:
    return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(params))


def of_tensor(held: Any) -> jax.Array:
    return jnp.sum(jnp.square(htf.end_tensor(held) - 0.5))


SGD = optax.sgd(0.125)
RATES = htf.Rates(1e11, 1e10, 2e9, 1e-6)


def completion(**options: Any) -> Any:
    return htf.completion_loss(TREE, DIMS, POINTS, TARGETS, **options)


def plan() -> htf.Plan:
    return htf.contraction_plan(TREE, DIMS, WIDTHS, 4, rates=RATES)


def not_ours(right: str) -> tuple[Wrong, ...]:
    return (
        *STRANGE,
        WORD,
        *wrongs(("number", always(1.0)), ("loss", always(total_square))),
        Wrong("another", lambda v: htf.flat(2) if right != "tree" else factors()),
    )


PLAN = Kind(
    "plan",
    (
        *not_ours("plan"),
        Wrong("other_batch", lambda p: dataclasses.replace(p, batch=99)),
        Wrong("other_dims", lambda p: dataclasses.replace(p, mode_dims=(9, 9, 9))),
        Wrong("other_widths", lambda p: dataclasses.replace(p, widths=(9, 9))),
    ),
)
PLATFORM = choice("cpu", "cuda", "tpu")
OBSERVATION_LOSS = Kind(
    "observation loss",
    (*not_ours("loss"), Wrong("minibatch", lambda v: htf.minibatch_loss(v, 1))),
)
ANY = Kind("anything")  # containers of records: pytrees are rebuilt by their constructors

PENALTY = choice("l2", "l1", "huber")
ROOT = choice("trained", "ones")
METHOD = choice("auto", "dense", "qr", "gram")
START = {
    "key": KEY,
    "tree": TREES,
    "mode_dims": positive_wholes("mode dimensions", one=False),
    "widths": positive_wholes("widths", one=False),
    "root": ROOT,
    "dtype": DTYPE,
}
DIM_LIST = positive_wholes("mode dimensions", one=False)


def start_arguments(**more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {
        "key": key(),
        "tree": TREE,
        "mode_dims": DIMS,
        "widths": WIDTHS,
        "root": "trained",
        "dtype": jnp.float32,
        **more,
    }


def of_factors(function: Callable[..., Any], **more: tuple[Any, Kind]) -> Call:
    """A call of factors and other arguments, given as pairs of value and kind."""
    return Call(
        function,
        lambda: {"factors": factors(), **{k: v for k, (v, _) in more.items()}},
        {"factors": FACTORS, **{k: kind for k, (_, kind) in more.items()}},
    )


def of_pair(function: Callable[..., Any], **more: tuple[Any, Kind]) -> Call:
    return Call(
        function,
        lambda: {
            "one": factors(),
            "other": factors(),
            **{k: v for k, (v, _) in more.items()},
        },
        {
            "one": named("one"),
            "other": named("other"),
            **{k: kind for k, (_, kind) in more.items()},
        },
    )


def of_values(function: Callable[..., Any], **pairs: tuple[Any, Kind]) -> Call:
    """A call of plain values, given as pairs of value and kind."""
    return Call(
        function,
        lambda: {k: v for k, (v, _) in pairs.items()},
        {k: kind for k, (_, kind) in pairs.items()},
    )


# Calls


def read_tree(tree: htf.ModeTree) -> Any:
    return tree.children


TREE_CALLS = {
    "ModeTree": Call(
        htf.ModeTree,
        lambda: {"children": ((), (), (), (0, 1), (3, 2))},
        {
            "children": Kind(
                "children",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("one", always(1)),
                        ("empty", always(())),
                        ("floats", always(((), (), (0.0, 1.0)))),
                        ("words", always(((), (), ("0", "1")))),
                        ("strings", always(("", "", "01"))),
                        ("high", always(((), (), (0, 3)))),
                        ("negative", always(((), (), (0, -1)))),
                        ("order", always(((0, 1), (), ()))),
                        ("bools", always(((), (), (False, True)))),
                    ),
                ),
                (
                    Form("lists", lambda v: [list(k) for k in v]),
                    Form("numpy", lambda v: [np.array(k, int) for k in v]),
                ),
            )
        },
        read_tree,
    ),
    "ModeTree.from_nested": Call(
        htf.ModeTree.from_nested,
        lambda: {"nested": ((0, 1), 2)},
        {
            "nested": Kind(
                "nested",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("one", always(0)),
                        ("empty", always(())),
                        ("hole", always((0, ()))),
                        ("floats", always((0.0, 1.0))),
                        ("twice", always((0, 0))),
                        ("missing", always((0, 2))),
                        ("negative", always((0, -1))),
                        ("bools", always((False, True))),
                        ("words", always(("0", "1"))),
                        ("nan", always((0, float("nan")))),
                    ),
                ),
                (
                    Form("lists", lambda v: [list(v[0]), 2]),
                    Form("numpy", lambda v: (np.array(v[0]), np.int64(2))),
                    Form("range", lambda v: (range(2), 2)),
                ),
            )
        },
        read_tree,
    ),
    "as_tree": Call(
        htf.as_tree,
        lambda: {"tree": TREE, "name": "tree"},
        {"tree": TREES, "name": ANY},
        read_tree,
    ),
    "caterpillar": of_values(htf.caterpillar, order=(4, whole(1))),
    "flat": of_values(htf.flat, order=(3, whole(1))),
    "interleaved": of_values(htf.interleaved, order=(5, whole(1))),
    "perfect": of_values(htf.perfect, order=(4, whole(1)), arity=(2, whole(1))),
    "square_patches": of_values(
        htf.square_patches, side=(3, whole(1)), patch=(2, whole(2))
    ),
    "pooled": of_values(
        htf.pooled,
        order=(4, whole(1)),
        window=((2, 2), positive_wholes("windows").but(without="many")),
        pattern=("adjacent", choice("adjacent", "half")),
    ),
}

FACTOR_CALLS = {
    "group": Call(htf.group, lambda: {"factors": factors()}, {"factors": PLAIN}),
    "ungroup": Call(
        htf.ungroup, lambda: {"factors": htf.group(factors())}, {"factors": GROUPED}
    ),
    "collapse_chains": Call(
        htf.collapse_chains, lambda: {"factors": deep()}, {"factors": FACTORS}
    ),
    "mode_dims": of_factors(htf.mode_dims),
    "widths": of_factors(htf.widths),
    "gaussian_factors": Call(
        htf.gaussian_factors,
        start_arguments(std=0.5, mean=0.25),
        START
        | {
            "std": number(0).but(wrong=wrongs(("overflow", always(1e300)),
                                              ("underflow", always(1e-300)))),
            "mean": number().but(wrong=wrongs(("overflow", always(-1e300)))),
        },
    ),
    "identity_factors": Call(
        htf.identity_factors,
        lambda: {k: v for k, v in start_arguments(scale=0.5)().items() if k != "key"},
        {k: v for k, v in START.items() if k != "key"}
        | {"scale": number(0).but(wrong=wrongs(("overflow", always(1e300))))},
    ),
    "balanced_factors": Call(
        htf.balanced_factors,
        start_arguments(scale=0.5),
        START | {"scale": number(0).but(wrong=wrongs(("overflow", always(1e300))))},
        slow=True,
    ),
}  # fmt: skip

# Plans are made by `contraction_plan`, which checks sizes one by one.
PLAN_SIZES = Kind("sizes", (*STRANGE, WORD, Wrong("many", lambda v: (*v, *v))))

CONTRACTION_CALLS = {
    "Rates": Call(
        htf.Rates,
        lambda: {
            "flops": 1e11,
            "stream_bytes": 1e10,
            "gather_bytes": 2e9,
            "step_seconds": 0.5,
            "row_seconds": 0.25,
        },
        {name: dataclasses.replace(number(0, strict=True), equal=())
         for name in ("flops", "stream_bytes", "gather_bytes")}
        | {name: dataclasses.replace(number(0), equal=())
           for name in ("step_seconds", "row_seconds")},
        lambda rates: rates.flops,
    ),
    "contraction_plan": of_values(
        htf.contraction_plan,
        tree=(TREE, TREES),
        mode_dims=(DIMS, DIM_LIST),
        widths=(WIDTHS, positive_wholes("widths", one=False)),
        batch=(4, whole(0)),
        distinct=(
            (2, 3, 2, 3, 4),
            positive_wholes("counts", one=False).or_none().but(without="zero"),
        ),
        masked=(False, FLAG),
        rates=(RATES, Kind("rates", not_ours("rates")).or_none()),
        platform=("cpu", PLATFORM.or_none()),
        force=("rows", choice("rows", "table", "gather").or_none()),
    ),
    "platform_rates": of_values(htf.platform_rates, platform=("cpu", PLATFORM)),
    "end_tensor": of_factors(htf.end_tensor, precision=("highest", PRECISION)),
    "entries": of_factors(
        htf.entries,
        indices=(POINTS, INDICES),
        plan=(plan(), PLAN.or_none()),
        platform=("cpu", PLATFORM.or_none()),
        precision=("highest", PRECISION),
    ),
    "sense": Call(
        htf.sense,
        lambda: {
            "factors": factors(),
            "vectors": [np.full((4, d), 0.5) for d in DIMS],
            "precision": "highest",
        },
        {
            "factors": FACTORS,
            "vectors": list_of(reals(finite=False, axes=2)),
            "precision": PRECISION,
        },
    ),
    "distance": of_pair(
        htf.distance, method=("qr", choice("qr", "gram")), precision=("highest", PRECISION)
    ),
    "inner_product": of_pair(htf.inner_product, precision=("highest", PRECISION)),
    "squared_norm": of_factors(htf.squared_norm, precision=("highest", PRECISION)),
    "Plan": Call(
        htf.Plan,
        lambda: dict(vars(plan())),
        {
            "tree": TREES,
            "mode_dims": PLAN_SIZES,
            "widths": PLAN_SIZES,
            "batch": whole(0),
            "routes": Kind("routes", (*STRANGE, WORD, Wrong("words", always(("x",) * 4)))),
            "root": choice("gather"),
            "costs": Kind("costs", (*STRANGE, WORD, Wrong("numbers", always((1,) * 5)))),
            "distinct": Kind("counts", (OBJECT, WORD, Wrong("few", always((1,))))),
        },
        lambda held: held.seconds,
    ),
    "Plan.width": Call(
        htf.Plan.width, lambda: {"self": plan(), "node": 3}, {"node": node()}
    ),
    "Plan.count": Call(
        htf.Plan.count,
        lambda: {"self": plan(), "node": 3, "route": "table"},
        {"node": node(), "route": choice("table", "rows")},
    ),
    "Plan.explain": Call(
        htf.Plan.explain,
        lambda: {"self": plan(), "measured": plan().costs},
        {
            "measured": Kind(
                "costs",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("few", lambda c: c[1:]),
                        ("numbers", always((1,) * 5)),
                        ("nan", lambda c: (*c[:-1], (("gather", float("nan")),))),
                    ),
                ),
            ).or_none()
        },
    ),
}  # fmt: skip
LOSS_DATA = {
    "targets": reals(),
    "penalty": PENALTY,
    "threshold": number(0, strict=True).but(
        wrong=wrongs(("beyond", always(np.longdouble("1e-400"))))
    ),
}


def loss_arguments(**first: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {**first, "targets": TARGETS, "penalty": "huber", "threshold": 0.5}


def read_loss(tree: htf.ModeTree = TREE, dims: Any = DIMS, widths: Any = WIDTHS) -> Make:
    return lambda loss: loss(factors(tree, dims, widths))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Halved:
    """Half of some entries: a measurement of a user's own."""

    def predict(self, layout: Any, stacks: Any) -> jax.Array:
        return htf.losses.Entries.at(TREE, DIMS, POINTS).predict(layout, stacks) / 2

    def take(self, rows: jax.Array) -> "Halved":
        raise NotImplementedError


ENTRIES = {
    "tree": TREES,
    "mode_dims": DIM_LIST,
    "indices": INDICES,
    "plan": choice("auto", "exact").but(
        wrong=(Wrong("other_plan", lambda _: dataclasses.replace(plan(), batch=99)),)
    ),
    "platform": PLATFORM.or_none(),
}

LOSS_CALLS = {
    "random_indices": of_values(
        htf.random_indices,
        key=(key(), KEY),
        mode_dims=(DIMS, DIM_LIST.but(without="many")),
        count=(4, whole(1)),
        order=(3, whole(1).or_none()),
    ),
    "random_vectors": of_values(
        htf.random_vectors,
        key=(key(), KEY),
        mode_dims=(DIMS, DIM_LIST.but(without="many")),
        count=(4, whole(1)),
        dtype=(jnp.float32, DTYPE),
        order=(3, whole(1).or_none()),
    ),
    "random_matrices": of_values(
        htf.random_matrices,
        key=(key(), KEY),
        mode_dims=((2, 3), DIM_LIST),
        count=(4, whole(1)),
        dtype=(jnp.float32, DTYPE),
    ),
    "unobserved_indices": of_values(
        htf.unobserved_indices,
        indices=(POINTS, INDICES),
        mode_dims=(DIMS, DIM_LIST.but(without="many")),
    ),
    "completion_loss": Call(
        htf.completion_loss,
        loss_arguments(
            tree=TREE, mode_dims=DIMS, indices=POINTS, plan="auto", platform="cpu"
        ),
        LOSS_DATA | ENTRIES,
        read_loss(),
    ),
    "sensing_loss": Call(
        htf.sensing_loss,
        loss_arguments(vectors=[np.full((4, d), 0.5) for d in DIMS]),
        # A loss without factors cannot know how many vectors there should be.
        LOSS_DATA | {"vectors": list_of(reals(axes=2)).but(without="few many")},
        read_loss(),
    ),
    "matrix_sensing_loss": Call(
        htf.matrix_sensing_loss,
        loss_arguments(matrices=np.full((4, 2, 3), 0.5)),
        # Another number of matrices is another number than that of the targets.
        LOSS_DATA | {"matrices": reals(axes=3).but(without="longer empty")},
        read_loss(FLAT_TREE, (2, 3), 2),
    ),
    "observation_loss": Call(
        htf.observation_loss,
        loss_arguments(
            measurement=htf.losses.RankOne(tuple(np.full((4, d), 0.5) for d in DIMS))
        ),
        # How many targets there should be is known where factors are.
        LOSS_DATA | {"measurement": Kind("measurement", not_ours("measurement"))},
        read_loss(),
    ),
    "losses.Entries.at": Call(
        htf.losses.Entries.at,
        lambda: {
            "tree": TREE, "mode_dims": DIMS, "indices": POINTS, "plan": "auto",
            "platform": "cpu",
        },
        ENTRIES,
        lambda entries: htf.observation_loss(entries, TARGETS)(factors()),
    ),
    "losses.Measurement of a user": Call(
        lambda factors: htf.observation_loss(Halved(), TARGETS)(factors),
        lambda: {"factors": factors()},
        {"factors": FACTORS},
    ),
    "losses.RankOne": Call(
        htf.losses.RankOne,
        lambda: {"vectors": tuple(np.full((4, d), 0.5) for d in DIMS)},
        {"vectors": list_of(reals(finite=False, axes=2))},
        lambda held: htf.observation_loss(held, TARGETS)(factors()),
    ),
    "losses.Dense": Call(
        htf.losses.Dense,
        lambda: {"matrices": np.full((4, 2, 3), 0.5)},
        {"matrices": reals(finite=False, axes=3)},
        lambda held: htf.observation_loss(held, TARGETS)(factors(FLAT_TREE, (2, 3), 2)),
    ),
    "CompletionLoss.__call__": Call(
        lambda factors: completion()(factors), lambda: {"factors": factors()},
        {"factors": FACTORS},
    ),
    "SensingLoss.__call__": Call(
        lambda factors: htf.sensing_loss([np.full((4, d), 0.5) for d in DIMS], TARGETS)(
            factors
        ),
        lambda: {"factors": factors()},
        {"factors": FACTORS},
    ),
    "MatrixSensingLoss.__call__": Call(
        lambda factors: htf.matrix_sensing_loss(np.full((4, 3, 3), 0.5), TARGETS)(factors),
        lambda: {"factors": deep()},
        {"factors": FACTORS},
    ),
    "PopulationLoss.__call__": Call(
        lambda factors: htf.population_loss(deep())(factors),
        lambda: {"factors": htf.identity_factors(deep().tree, 3, 3, 0.25, root="ones")},
        {"factors": FACTORS},
    ),
    "MinibatchLoss.__call__": Call(
        lambda factors, key: htf.minibatch_loss(completion(), 2)(factors, key),
        lambda: {"factors": factors(), "key": key()},
        {"factors": FACTORS, "key": KEY},
    ),
    "ScaledLoss.__call__": Call(
        lambda factors: htf.scaled_loss(completion())(factors),
        lambda: {"factors": factors()},
        {"factors": FACTORS},
        slow=True,
    ),
    "loss_plan": Call(
        htf.loss_plan,
        lambda: {"loss": completion(), "factors": factors(), "platform": "cpu"},
        {
            "loss": OBSERVATION_LOSS,
            "factors": FLOAT64_FACTORS,
            "platform": PLATFORM.or_none(),
        },
        lambda held: held.routes,
    ),
    "minibatch_loss": Call(
        htf.minibatch_loss,
        lambda: {"loss": completion(), "batch_size": 2},
        {
            "loss": OBSERVATION_LOSS,
            "batch_size": whole(1).but(wrong=wrongs(("high", always(5)))),
        },
        lambda loss: loss(factors(), key()),
    ),
    "residuals": Call(
        htf.residuals,
        lambda: {"loss": completion(), "factors": factors()},
        {"loss": OBSERVATION_LOSS, "factors": FACTORS},
    ),
    "penalize": of_values(
        htf.penalize,
        x=(
            TARGETS,
            reals(finite=False, free=True).but(wrong=wrongs(("empty", always([])))),
        ),
        penalty=("huber", PENALTY),
        threshold=(0.5, number(0, strict=True)),
    ),
    "population_loss": Call(
        htf.population_loss,
        lambda: {"target_factors": factors(), "method": "gram"},
        {"target_factors": named("target_factors"), "method": choice("gram", "qr")},
        read_loss(),
        slow=True,
    ),
    "magnitude": Call(
        htf.magnitude, lambda: {"factors": factors()}, {"factors": FLOAT64_FACTORS}
    ),
    "scaled_loss": Call(
        htf.scaled_loss,
        lambda: {"loss": completion()},
        {"loss": OBSERVATION_LOSS.but(without="minibatch")},
        read_loss(),
        slow=True,
    ),
    "scaled_value_and_grad": dataclasses.replace(
        Call(
            htf.scaled_value_and_grad,
            lambda: {"loss": completion(), "factors": factors()},
            {"loss": OBSERVATION_LOSS, "factors": PLAIN.but(without="grouped")},
        ),
        slow=True,
    ),
}  # fmt: skip

INSTRUMENT_CALLS = {
    "component_contributions": of_factors(htf.component_contributions),
    "growth_rates": Call(
        htf.growth_rates,
        lambda: {"params": factors(), "loss": of_tensor, "to_factors": None},
        {
            "params": PARAMS,
            "loss": SCALAR_LOSS,
            "to_factors": FUNCTION.or_none().but(
                wrong=(Wrong("no_factors", lambda _: lambda p: p.weights[0]),)
            ),
        },
    ),
    "local_component_norms": of_factors(htf.local_component_norms),
    "unbalancedness": Call(
        htf.unbalancedness,
        lambda: {"factors": deep(), "kind": "matrix"},
        {"factors": FACTORS, "kind": choice("components", "matrix")},
    ),
    "weight_vector_norms": of_factors(htf.weight_vector_norms),
    "weight_singular_values": of_factors(htf.weight_singular_values),
    "effective_rank": of_values(
        htf.effective_rank,
        s=([2.0, 1.0, 0.5], SINGULAR),
        floor=(0.125, number(0).or_none().but(without="array list")),
    ),
    "entanglement_entropy": of_values(
        htf.entanglement_entropy,
        s=([2.0, 1.0, 0.5], SINGULAR),
        floor=(0.125, tolerance().or_none()),
    ),
    "numerical_rank": of_values(
        htf.numerical_rank,
        s=([2.0, 1.0, 0.5], SINGULAR),
        rtol=(0.375, tolerance().or_none()),
    ),
    "rank_within": of_values(
        htf.rank_within, s=([2.0, 1.0, 0.5], DESCENDING), error=(0.75, tolerance())
    ),
    "hierarchical_rank": of_factors(
        htf.hierarchical_rank,
        rtol=(0.125, number(0).or_none()),
        method=("qr", METHOD),
    ),
    "matricize": of_values(
        htf.matricize,
        tensor=(
            np.arange(24.0).reshape(2, 3, 4),
            reals(finite=False, axes=3, free=True).but(without="complex"),
        ),
        row_modes=((0, 2), MODES),
    ),
    "nuclear_norm": of_factors(htf.nuclear_norm, node_or_modes=((0, 1), NODE_OR_MODES)),
    "singular_values": of_factors(
        htf.singular_values,
        node_or_modes=((0, 1), NODE_OR_MODES),
        method=("auto", METHOD),
    ),
    "spectrum": of_factors(
        htf.spectrum,
        node_or_modes=((0, 1), NODE_OR_MODES),
        accuracy=(0.125, number(0).or_none()),
        method=("auto", METHOD),
    ),
    "spectra": of_factors(
        htf.spectra, accuracy=(0.125, number(0).or_none()), method=("auto", METHOD)
    ),
    "rank_bound": of_factors(htf.rank_bound, modes=((0, 2), MODES)),
    "NodeValues.__getitem__": Call(
        htf.NodeValues.__getitem__,
        lambda: {"self": htf.component_contributions(factors()), "node": 3},
        {
            "node": Kind(
                "node",
                tuple(dataclasses.replace(w, kinds=(KeyError,)) for w in node().wrong),
                WHOLES_AS,
            )
        },
    ),
}

# Their accuracy is that of the dtype.
for _name in ("spectrum", "spectra"):
    INSTRUMENT_CALLS[_name] = dataclasses.replace(
        INSTRUMENT_CALLS[_name],
        kinds={**INSTRUMENT_CALLS[_name].kinds, "factors": FLOAT64_FACTORS},
    )

DESCENT = {
    "loss": SCALAR_LOSS,
    "optimizer": OPTIMIZER,
    "num_steps": whole(1),
    "record_every": whole(1),
    "observe": FUNCTION.or_none(),
}


def state() -> htf.DescentState:
    return htf.start_descent(jnp.ones(2), SGD)


def trajectory(pieces: int = 1) -> Any:
    here, found = state(), []
    for _ in range(pieces):
        here, piece = htf.continue_descent(
            here, total_square, SGD, num_steps=4, record_every=2
        )
        found.append(piece)
    return found


STATE = Kind(
    "state",
    (
        NONE,
        OBJECT,
        WORD,
        *wrongs(
            ("params", lambda s: s.params),
            ("tuple", tuple),
            ("dict", lambda s: s._asdict()),
            ("number", always(1.0)),
        ),
        Wrong("no_params", lambda s: s._replace(params=None)),
        Wrong("int_params", lambda s: s._replace(params=jnp.ones(2, jnp.int32))),
        Wrong("no_step", lambda s: s._replace(step=None)),
        Wrong("step_word", lambda s: s._replace(step="a")),
        Wrong("another_start", lambda s: s._replace(
            opt_state=optax.adam(0.1).init(s.params)), ("optimizer", "state")),
    ),
    (Form("numpy", to_numpy),),
)  # fmt: skip
RISES = np.array([[0.0, 0.0], [1.0, 0.5], [5.0, 1.0], [9.0, 1.0], [10.0, 1.0]])

DESCENT_CALLS = {
    "group_rmsprop": Call(
        htf.group_rmsprop,
        lambda: {"learning_rate": 0.5, "decay": 0.5, "eps": 0.25},
        {
            "learning_rate": number(0).but(without="function"),
            "decay": number(0).but(wrong=wrongs(("one", always(1.0)))),
            "eps": number(0),
        },
        lambda optimizer: optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))[0],
    ),
    "scale_by_group_rms": Call(
        htf.scale_by_group_rms,
        lambda: {"decay": 0.5, "eps": 0.25},
        {
            "decay": number(0).but(wrong=wrongs(("one", always(1.0)))),
            "eps": number(0),
        },
        lambda optimizer: optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))[0],
    ),
    "find_stop": of_values(
        htf.find_stop,
        losses=(
            [1.0, 0.5, 0.25, 0.125],
            reals(finite=False, free=True).but(
                wrong=wrongs(("column", lambda v: np.array(v)[:, None]),
                             ("empty", always([])), ("number", always(1.0)))
            ),
        ),
        tolerance=(0.375, number(0)),
        patience=(1, whole(0)),
        divergence=(16.0, number(0, strict=True).but(without="infinite")),
    ),
    "join": Call(
        htf.join,
        lambda: {"pieces": trajectory(2)},
        {
            "pieces": Kind(
                "trajectories",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("empty", always([])),
                        ("gap", lambda p: [p[0], p[0]]),
                        ("backwards", lambda p: p[::-1]),
                        ("numbers", always([1, 2])),
                        ("one", lambda p: p[0]),
                        ("states", lambda p: [state()]),
                        ("iterator", iter),
                    ),
                ),
                (Form("tuple", tuple), Form("numpy", to_numpy)),
            )
        },
    ),
    "rise_times": of_values(
        htf.rise_times,
        steps=(
            [0.0, 1.0, 2.0, 3.0, 4.0],
            reals().but(wrong=wrongs(("decreasing", lambda v: v[::-1]))),
        ),
        values=(RISES, reals(finite=False, axes=2)),
        active=(0.125, number(0)),
    ),
    "start_descent": Call(
        htf.start_descent,
        lambda: {"params": jnp.ones(2), "optimizer": SGD},
        {"params": PARAMS, "optimizer": OPTIMIZER},
    ),
    "continue_descent": Call(
        htf.continue_descent,
        lambda: {
            "state": state(),
            "loss": total_square,
            "optimizer": SGD,
            "num_steps": 4,
            "record_every": 2,
            "observe": None,
            "key": None,
        },
        DESCENT | {"state": STATE, "key": KEY.or_none()},
        slow=True,
    ),
    "descend": Call(
        htf.descend,
        lambda: {
            "params": jnp.ones(2),
            "loss": total_square,
            "optimizer": SGD,
            "num_steps": 4,
            "record_every": 2,
            "observe": None,
            "key": None,
        },
        DESCENT | {"params": PARAMS, "key": KEY.or_none()},
        slow=True,
    ),
    "descend_in_chunks": Call(
        htf.descend_in_chunks,
        lambda: {
            "state": state(),
            "loss": total_square,
            "optimizer": SGD,
            "until_step": 4,
            "record_every": 2,
            "chunk_steps": 2,
            "observe": None,
            "key": None,
        },
        {k: kind for k, kind in DESCENT.items() if k != "num_steps"}
        | {
            "state": STATE,
            "until_step": whole(0),
            "chunk_steps": whole(2),
            "key": KEY.or_none(),
        },
        list,
        slow=True,
    ),
    "gradient_flow": Call(
        htf.gradient_flow,
        lambda: {
            "params": jnp.ones(2),
            "loss": total_square,
            "times": np.array([0.0, 0.25, 0.5]),
            "rtol": 0.125,
            "atol": 0.125,
            "observe": None,
            "integrate": None,
            "clock": "time",
            "solver": "explicit",
            "stop_loss": 0.0,
            "stop_grad_norm": 0.0,
            "interpolate": False,
            "max_steps": 16,
            "differentiate": "reverse",
        },
        {
            "params": PARAMS,
            "loss": SCALAR_LOSS,
            "times": reals().but(
                without="longer", wrong=wrongs(("decreasing", lambda v: v[::-1]))
            ),
            "rtol": number(0),
            "atol": number(0),
            "observe": FUNCTION.or_none(),
            "integrate": FUNCTION.or_none(),
            "clock": choice("time", "arc", "rescaled"),
            "solver": choice("auto", "explicit", "implicit", "stabilized"),
            "stop_loss": number(0).or_none(),
            "stop_grad_norm": number(0).or_none(),
            "interpolate": FLAG,
            "differentiate": choice("reverse", "forward"),
            "max_steps": whole(1),
        },
        slow=True,
    ),
}  # fmt: skip


def figure_axes() -> Any:
    from matplotlib.figure import Figure

    return Figure().subplots()


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
READ_PATH = dataclasses.replace(
    PATH,
    wrong=(
        *PATH.wrong,
        Wrong("missing", lambda p: p + "-not", kinds=(FileNotFoundError,)),
    ),
)


def dataset() -> Any:
    import xarray as xr

    return xr.Dataset({"loss": ("step", [1.0, 0.5])})


DRAWING_CALLS = {
    "draw_tree": Call(
        htf.draw_tree,
        lambda: {"drawn": factors(), "ax": figure_axes()},
        {
            "drawn": named("drawn").but(without="tree"),
            "ax": Kind(
                "axes", (OBJECT, WORD, *wrongs(("number", always(1)), ("list", always([]))))
            ),
        },
        lambda axes: [text.get_text() for text in axes.texts],
    ),
}

LEVELS = list_of(reals(finite=False, axes=2).but(without="longer"))
THEORY_FACTORS = {"factors": FACTORS}


def of_theory(function: Callable[..., Any], **more: tuple[Any, Kind]) -> Call:
    return of_factors(function, **more)


TIME = reals(free=True).but(
    without="none", wrong=(NONE, *wrongs(("negative", lambda v: -1 - np.array(v))))
)
ABOVE_ZERO = TIME.but(wrong=wrongs(("zero", lambda v: 0 * np.array(v))))
SIGNED = TIME.but(without="negative")
CURVE = np.array([0.125, 0.25])

THEORY_CALLS = {
    "theory.blow_up_time": of_values(
        htf.theory.blow_up_time,
        start=(CURVE, ABOVE_ZERO),
        force=(CURVE, SIGNED),
        length=(3, whole(1)),
    ),
    "theory.constant_force_norm": of_values(
        htf.theory.constant_force_norm,
        time=(CURVE, TIME),
        start=(CURVE, ABOVE_ZERO),
        force=(CURVE, SIGNED),
        length=(3, whole(1)),
    ),
    "theory.rank_one_blow_up_time": of_values(
        htf.theory.rank_one_blow_up_time,
        start=(CURVE, ABOVE_ZERO),
        norm=(CURVE, TIME),
        num_matrices=(3, whole(1)),
    ),
    "theory.rank_one_limit": of_values(
        htf.theory.rank_one_limit, norm=(CURVE, TIME), num_matrices=(3, whole(1))
    ),
    "theory.rank_one_scale": of_values(
        htf.theory.rank_one_scale,
        time=(CURVE, TIME),
        start=(CURVE, ABOVE_ZERO),
        norm=(CURVE, TIME),
        num_matrices=(3, whole(1)),
    ),
    "theory.conserved_quantities": of_theory(htf.theory.conserved_quantities),
    "theory.conserved_scale": of_theory(htf.theory.conserved_scale),
    "theory.drift": Call(
        htf.theory.drift,
        lambda: {
            "before": factors(),
            "after": jax.tree.map(lambda w: w / 2, factors()),
        },
        {"before": named("before"), "after": named("after")},
    ),
    "theory.component_forces": of_theory(
        htf.theory.component_forces, loss=(of_tensor, SCALAR_LOSS)
    ),
    "theory.direction_tensors": of_theory(htf.theory.direction_tensors, node=(3, node(3))),
    "theory.balanced_growth": of_theory(
        htf.theory.balanced_growth, loss=(of_tensor, SCALAR_LOSS)
    ),
    "theory.exact_growth": of_theory(
        htf.theory.exact_growth, loss=(of_tensor, SCALAR_LOSS)
    ),
    "theory.growth_bounds": of_theory(
        htf.theory.growth_bounds,
        loss=(of_tensor, SCALAR_LOSS),
        eps=(0.5, number(0).or_none()),
    ),
    "theory.nested_rank_bound": of_theory(
        htf.theory.nested_rank_bound, modes=((0, 2), MODES)
    ),
    "theory.node_rank_bounds": of_theory(
        htf.theory.node_rank_bounds, rtol=(0.125, number(0).or_none())
    ),
    "theory.degree": of_theory(htf.theory.degree),
    "theory.normalize": of_theory(htf.theory.normalize, norm=(2.0, number(0))),
    "theory.rescale_component": of_theory(
        htf.theory.rescale_component,
        node=(3, node(3)),
        component=(1, whole(0).but(wrong=wrongs(("high", always(9))))),
        scales=(
            (4.0, 0.5, 0.5),
            Kind(
                "numbers",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("one", always(1.0)),
                        ("few", always((1.0,))),
                        ("complex", always((1j, -1j, 1))),
                        ("nan", always((float("nan"), 1.0, 1.0))),
                        ("product", always((2.0, 1.0, 1.0))),
                        ("words", always(("1", "1", "1"))),
                        ("masked", lambda v: np.ma.array(v, mask=True)),
                        ("two_axes", lambda v: np.array([v])),
                    ),
                ),
                (
                    Form("list", list),
                    Form("numpy", np.array),
                    Form("jax", jnp.asarray),
                    Form("float32", lambda v: np.array(v, np.float32)),
                ),
            ),
        ),
    ),
    "theory.to_factors": Call(
        htf.theory.to_factors,
        lambda: {"tree": htf.perfect(4), "matrices": level_matrices()},
        {"tree": TREES, "matrices": LEVELS},
    ),
    "theory.shared_conserved_quantities": Call(
        htf.theory.shared_conserved_quantities,
        lambda: {"tree": htf.perfect(4), "matrices": level_matrices()},
        {"tree": TREES, "matrices": LEVELS},
    ),
    "theory.truncate": of_theory(
        htf.theory.truncate, ranks=(1, whole(0).but(without="dict"))
    ),
    "theory.truncation_bounds": of_theory(
        htf.theory.truncation_bounds, ranks=(1, whole(0).but(without="dict"))
    ),
}

CALLS: dict[str, Call] = (
    TREE_CALLS
    | FACTOR_CALLS
    | CONTRACTION_CALLS
    | LOSS_CALLS
    | INSTRUMENT_CALLS
    | DESCENT_CALLS
    | DRAWING_CALLS
    | THEORY_CALLS
)
