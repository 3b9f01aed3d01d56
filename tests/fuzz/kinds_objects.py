"""Kinds of objects of the package: trees, factors, keys, dtypes, losses, optimizers."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import htfjax as htf
from tests.fuzz.calls import Call, Form, Kind, Make, Wrong, always
from tests.fuzz.kinds import (
    NONE,
    OBJECT,
    STRANGE,
    WORD,
    big_endian,
    choice,
    masked,
    positive_wholes,
    wrongs,
)

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
        weight_wrong("big_endian", lambda w: big_endian(np.array(w))),
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
# Of containers, whose construction validates nothing and changes nothing.
MODE_TREE = dataclasses.replace(TREES, name="mode tree", equal=())
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
