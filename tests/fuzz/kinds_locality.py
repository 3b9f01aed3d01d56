"""Kinds of every parameter of `htfjax.locality`: wrong values and equal forms.

`CALLS` holds, for every public function and class that checks, a small right call and the
kind of each parameter; wrong values must be answered by a TypeError or ValueError that
names the parameter, equal forms by an equal result.
"""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from flax import nnx

import htfjax as htf
from htfjax import locality
from htfjax.locality import Patch
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

__all__ = ["CALLS", "Call", "Form", "Kind", "Wrong", "names_parameter"]

NAN, INF = float("nan"), float("inf")
KEY = jax.random.key(0)


def wrongs(**makes: Make) -> tuple[Wrong, ...]:
    """Wrong values by label."""
    return tuple(Wrong(label, make) for label, make in makes.items())


def forms(exact: bool = True, **makes: Make) -> tuple[Form, ...]:
    """Equal forms by label."""
    return tuple(Form(label, make, exact) for label, make in makes.items())


def of(name: str, *wrong: Any, **equal: Make) -> Kind:
    """A kind by its wrong values and equal forms."""
    return Kind(name, STRANGE, forms(**equal)).besides(*wrong)


STRANGE = (
    Wrong("none", always(None)),
    Wrong("object", lambda _: Unreadable()),
    Wrong("dict", lambda _: {}),
    Wrong("set", always({1})),
    Wrong("bytes", always(b"ab")),
)


# Numbers

NOT_NUMBERS = (
    *STRANGE,
    *wrongs(
        function=always(len), word=always("nonsense"), digits=always("3"),
        true=always(True), complex=always(1j), list=lambda v: [v],
        array=lambda v: np.full(2, v), masked=always(np.ma.masked), nan=always(NAN),
        masked0=lambda v: np.ma.array(v, mask=True), na=always(pd.NA),
        infinite=always(INF), key=always(KEY), date=always(np.datetime64("2020-01-01")),
    ),
)  # fmt: skip


def integer(least: int) -> Kind:
    """A whole number of at least `least`."""
    more = wrongs(below=always(least - 1), far_below=always(-(2**40)),
                  half=always(least + 0.5), float=float)  # fmt: skip
    equal = forms(int64=np.int64, uint8=np.uint8, numpy0=np.array,
                  jax=lambda v: jnp.asarray(v, jnp.int32))  # fmt: skip
    return Kind(f"integer from {least}", (*NOT_NUMBERS, *more), equal)


def real(*outside: float) -> Kind:
    """A finite number; `outside` are numbers out of bounds."""
    equal = forms(numpy=np.float64, numpy0=lambda v: np.array(v, float),
                  jax=lambda v: jnp.asarray(v, float))  # fmt: skip
    return Kind("number", NOT_NUMBERS, equal).besides(*outside)


def integers(least: int) -> Kind:
    """A sequence of whole numbers; the right value is a tuple."""
    more = wrongs(
        empty=always(()), below=lambda v: (least - 1, *v[1:]), one=always(2),
        halves=lambda v: tuple(x + 0.5 for x in v), words=lambda v: ("a",) * len(v),
        floats=lambda v: np.array(v, float), nones=lambda v: (None,) * len(v),
        word=always("12"), two_axes=lambda v: np.array([v]),
        masked=lambda v: np.ma.array(v, mask=True),
    )  # fmt: skip
    equal = forms(list=list, int64=lambda v: np.array(v, np.int64), series=pd.Series,
                  numpy_ints=lambda v: tuple(map(np.int32, v)),
                  jax=lambda v: jnp.asarray(v, jnp.int32))  # fmt: skip
    return Kind("integers", (*STRANGE, *more), equal)


# Places may be traced, and stay the arrays that they are.
TRACEABLE = dataclasses.replace(integer(0), equal=tuple(
    dataclasses.replace(f, exact=f.label != "jax") for f in integer(0).equal
))  # fmt: skip
FLAG = of("flag", "yes", 1, 0.0, [True], numpy=np.bool_)
SIZE = of("height and width", 8, "88", (8,), (8, 8, 8), (8, 0), (8.5, 8), (8, None),
          list=list, numpy=np.array)  # fmt: skip
WORD = of("word", "nonsense", 3, ["auto"], "", numpy=np.str_)
TEXT = of("text", 3)
PRECISION = of("precision", "nonsense", 3, ("high",)).or_none()


# Things

KEYS = of("key", 0, "key", jax.random.PRNGKey(0), jax.random.split(KEY))
FUNCTION = of("function", 3, "f")
ANYTHING = Kind("anything")
PATCH = of("patch", (0, 0, 2, 2), "patch", 3, Patch)
EXAMPLES = of("examples", 3, "examples", [1, 2], locality.ArrayExamples)
PATH = of("path", 3, 1.5, ["x"]).but(without="bytes")


# Arrays


def masked(values: Any) -> Any:
    """The same with its first entry masked."""
    plain = np.array(values)
    mask = np.zeros(plain.shape, bool)
    mask.flat[0] = True
    return np.ma.array(plain, mask=mask)


def with_entry(values: Any, value: float) -> np.ndarray:
    """A copy as floats whose first entry is another."""
    copy = np.array(values, np.float64)
    copy.flat[0] = value
    return copy


NOT_ARRAYS = (
    *STRANGE,
    *wrongs(
        function=always(len), word=always("text"), masked=masked,
        complex=lambda v: np.array(v) + 0j, words=lambda v: np.array(v).astype(str),
        objects=lambda v: np.full(np.shape(v), None), ragged=always([[1.0], [1.0, 2.0]]),
        missing=lambda v: np.full(np.shape(v), pd.NA),
        dates=lambda v: np.zeros(np.shape(v), "datetime64[s]"),
        keys=lambda v: jax.random.split(KEY, max(1, len(v))),
        generator=lambda v: (x for x in v), extra_axis=lambda v: np.array(v)[None],
        number=always(1.0),
    ),
)  # fmt: skip
LAYOUTS = forms(
    numpy=np.array, list=lambda v: np.array(v).tolist(), jax=jnp.asarray,
    float64=lambda v: np.array(v, np.float64), fortran=np.asfortranarray,
    big_endian=lambda v: np.array(v, float).astype(">f8"),
    long=lambda v: np.array(v, np.longdouble),
)  # fmt: skip
# Of whole values these hold all digits; what is computed from them may be float32.
SMALL = forms(
    False, float32=lambda v: np.array(v, np.float32), uint8=lambda v: np.array(v, np.uint8),
    int64=lambda v: np.array(v, np.int64), jax_int=lambda v: jnp.asarray(v, jnp.int32),
)  # fmt: skip
WHOLE_FORMS = forms(
    int64=lambda v: np.array(v, np.int64), uint8=lambda v: np.array(v, np.uint8),
    big_endian=lambda v: np.array(v, ">i4"), list=lambda v: np.array(v).tolist(),
    jax=lambda v: jnp.asarray(v, jnp.int32), series=lambda v: pd.Series(np.array(v)),
)  # fmt: skip


def array(*, whole: bool = True) -> Kind:
    """Real numbers of the shape of the right value; `whole` ones have integer forms."""
    return Kind("real numbers", NOT_ARRAYS, (*LAYOUTS, *(SMALL if whole else ())))


def images() -> Kind:
    """Images (B, H, W, C), of any number."""
    more = wrongs(nan=lambda v: with_entry(v, NAN), infinite=lambda v: with_entry(v, INF),
                  none_there=lambda v: np.array(v)[:0], jax_nan=lambda v: jnp.asarray(
                      with_entry(v, NAN)), no_channels=lambda v: np.array(v)[..., 0],
                  )  # fmt: skip
    return dataclasses.replace(array(), name="images").but(wrong=more)


def labels(classes: int) -> Kind:
    """Labels (B,) from 0 to classes - 1."""
    more = wrongs(
        one=lambda v: np.array(v)[:1], short=lambda v: np.array(v)[:-1],
        column=lambda v: np.array(v)[:, None], negative=lambda v: np.array(v) - 9,
        beyond_int32=lambda v: np.array(v, np.int64) + 2**32,
        halves=lambda v: np.array(v) + 0.5,
        nan=lambda v: with_entry(v, NAN), infinite=lambda v: with_entry(v, INF),
        high=lambda v: np.array(v) + classes, cats=lambda v: ["cat"] * len(v),
        jax_high=lambda v: jnp.asarray(np.array(v) + float(2 * classes)),
    )  # fmt: skip
    equal = (*WHOLE_FORMS, *forms(
        float64=lambda v: np.array(v, float), float32=lambda v: np.array(v, np.float32),
        float16=lambda v: np.array(v, np.float16),
        bfloat16=lambda v: jnp.asarray(v, jnp.bfloat16),
    ))  # fmt: skip
    return Kind(f"labels of {classes}", (*NOT_ARRAYS, *more), equal)


ROWS = Kind("rows", NOT_ARRAYS, WHOLE_FORMS).but(
    without="extra_axis number",
    wrong=wrongs(high=lambda v: [0, 99], negative=lambda v: [-1, 0],
                 floats=lambda v: np.array(v, float), nan=lambda v: with_entry(v, NAN),
                 bools=lambda v: np.array(v) > 0),
)  # fmt: skip
CATEGORIES = Kind("categories", NOT_ARRAYS, WHOLE_FORMS[:3]).but(
    wrong=wrongs(shifted=lambda v: v + 1, below=lambda v: v - 1, bytes=lambda v: v + 253,
                 floats=lambda v: np.array(v, float),
                 jax_high=lambda v: jnp.asarray(v + 1)),
)  # fmt: skip


# What the calls are made of


def images_of(count: int = 4, size: int = 6, channels: int = 1) -> np.ndarray:
    """Whole numbers, so that bytes hold them."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 9, (count, size, size, channels)).astype(np.float64)


def one_logit(x: jax.Array) -> jax.Array:
    """A function that couples all pixels."""
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
    total = jnp.sum(x, axis=(1, 2, 3), keepdims=True)
    return jnp.sum(jnp.sin(x + 0.1 * total), axis=(1, 2, 3))


def apply(
    params: Any, statistics: Any, x: jax.Array, *, train: bool, key: Any = None
) -> tuple[jax.Array, Any]:
    """A network with one weight and nothing that runs along."""
    del train, key
    return params["scale"] * one_logit(x), statistics


class Unhashable:
    """A network that no compiled program can be keyed by."""

    __hash__: Any = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """As `apply`."""
        return apply(*arguments, **options)


def fit(logits: jax.Array) -> jax.Array:
    """A loss."""
    return jnp.mean(jnp.square(logits))


class Mean(nnx.Module):
    """The smallest network."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """One weight."""
        del rngs
        self.scale = nnx.Param(jnp.ones((), jnp.float32))

    def __call__(self, x: jax.Array, *, train: bool, key: Any) -> jax.Array:
        """(B, H, W, C) to (B,)."""
        del train, key
        return self.scale[...] * x.mean((1, 2, 3))


X = images_of()
Y = np.array([0, 1, 1, 0])
P, Q = Patch(0, 0, 2, 2), Patch(3, 3, 2, 2)
PARAMS = {"scale": jnp.asarray(0.5)}
DATA = locality.ArrayExamples(X, Y)
DRAW = locality.EitherOrder(P, Q)
PICTURES = locality.Images(
    np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4, 1), np.arange(6) % 2, "squares"
)
PAIRS = locality.same_class_pairs(KEY, PICTURES, 8)
PLACED = locality.same_class_examples(PICTURES, PAIRS, distance=2, canvas=(4, 12))
FACTORS = htf.gaussian_factors(KEY, htf.perfect(4), 3, 2, 1.0)
CODES = np.array([[[[0], [1]], [[2], [0]]], [[[1], [1]], [[0], [2]]]])
LOGITS = np.array([-1.0, 2.0, 0.5, -3.0])
THREE = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
SETTINGS = locality.lra_pathfinder(32, contour_length=3, num_distractors=2)
MARKS = np.random.default_rng(1).integers(4, 28, (40, 2, 2))
DRAWN = locality.PathfinderImages(
    pixels=np.arange(40 * 32 * 32, dtype=np.uint8).reshape(40, 32, 32),
    labels=(np.arange(40) // 2 % 2).astype(np.uint8), marks=MARKS,
    margins=np.ones(40, np.uint8), distractors=np.ones(40, int), drawn=40, thrown_away=3,
    settings=SETTINGS,
)  # fmt: skip
DISTANCES = np.abs(MARKS[:, 0, 0] - MARKS[:, 1, 0]).astype(float)
STARTED = locality.start_training(PARAMS, {}, DATA)
OUTSIDE = Patch(5, 5, 2, 2)
ON_P = Patch(1, 1, 2, 2)

LOGITS_KIND = array(whole=False).but(without="extra_axis").besides(LOGITS[None], says="y")
IMAGES_KIND = images().besides(X[:1])
BOTH_PATCHES = {"patch": PATCH.besides(OUTSIDE, Patch(2, 2, 2, 2)),
                "other_patch": PATCH.besides(OUTSIDE, ON_P)}  # fmt: skip
CHANGE = {"logits_fn": FUNCTION, "x": IMAGES_KIND, **BOTH_PATCHES,
          "labels": labels(2**31).or_none()}  # fmt: skip
NETWORK_OPTIONS = {
    "channels": integer(1), "num_logits": integer(1), "dropout": real(-0.1, 1.0),
    "method": WORD, "precision": PRECISION,
}  # fmt: skip
NETWORK_BASE = {"channels": 1, "num_logits": 2, "dropout": 0.0, "method": "matmul",
                "precision": "highest"}  # fmt: skip
STEP = {
    "apply": FUNCTION.besides(lambda *a, **k: 3), "fit": FUNCTION.besides(lambda z: z),
    "params": ANYTHING, "statistics": ANYTHING, "x": images(), "coefficient": real(),
    "labels": labels(2**31).or_none(), "key": KEYS.or_none(),
}  # fmt: skip
STEP_BASE = {"apply": apply, "fit": fit, "params": PARAMS, "statistics": {}, "x": X,
             "coefficient": 0.5, "labels": Y, "key": KEY}  # fmt: skip
STATE = {"apply": FUNCTION.besides(Unhashable()),
         "params": ANYTHING, "statistics": ANYTHING, "examples": EXAMPLES}  # fmt: skip
STATE_BASE = {"apply": apply, "params": PARAMS, "statistics": {}, "examples": DATA}
PATHFINDER = {
    "contour_length": integer(2), "size": integer(8).besides(40_000),
    "output_size": integer(1).besides(7), "padding": integer(1).besides(16),
    "seed_distance": integer(1), "paddle_length": integer(1),
    "thickness": real(0.0, -1.0, 0.3), "margins": integers(1).besides((300,)),
    "continuity": real(0.0, 0.5), "marker_radius": real(0.0), "antialias": integer(1),
    "distractor_length": integer(0), "num_distractors": integer(-1),
    "path_contrast": real(0.0), "distractor_contrast": real(0.0),
    "segment_retries": integer(0), "distractor_retries": integer(0),
    "max_attempts": integer(1), "match_distance": FLAG,
}  # fmt: skip
CHANGES = {name: PATHFINDER[name] for name in ("thickness", "margins", "match_distance")}
CHANGES["colour"] = of("value", 3).or_none()


def _shapes(network: locality.Network) -> Any:
    """What a network is told by, without its functions."""
    return jax.tree.map(lambda x: x.shape, jax.eval_shape(network.init, KEY))


def _fields(x: Any) -> list[Any]:
    """The fields of a dataclass, static ones too."""
    return [getattr(x, field.name) for field in dataclasses.fields(x)]


def _conv_ac(images: Any, **arguments: Any) -> Any:
    return locality.ConvAC(**arguments)(images)


def _contract(vectors: Any) -> Any:
    return locality.ConvAC(FACTORS, (2, 2, 1), 1, representation="one_hot").contract(
        vectors
    )


def _batch(examples: Any, rows: Any) -> Any:
    return examples.batch(rows)


def _run_network(x: Any, train: Any, key: Any, params: Any, statistics: Any) -> Any:
    return locality.as_network(Mean).apply(params, statistics, x, train=train, key=key)


def _one_step(params: Any, key: Any) -> Any:
    loss = locality.training_loss(apply, DATA, batch_size=2, coefficient=0.5, patches=DRAW)
    return loss(params, key)[0]


VECTORS = [np.eye(3)[:2] for _ in range(4)]


def _call(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    kinds: dict[str, Kind],
    *,
    read: Callable[[Any], Any] = lambda result: result,
    slow: bool = False,
) -> Call:
    return Call(function, lambda: dict(arguments), kinds, read, slow)


CALLS: dict[str, Call] = {
    "ConvAC": _call(
        _conv_ac,
        {"images": CODES, "factors": FACTORS, "image_shape": (2, 2, 1), "patch": 1,
         "representation": "one_hot", "tree": None, "key": None, "precision": "highest"},
        {"images": CATEGORIES,
         "factors": of("factors", 3, "factors").besides([np.ones((3, 2))], says="tree"),
         "image_shape": integers(1).besides((3, 2, 1), (2, 2), says="factors"),
         "patch": of("patch", 0, 1.5, "a", (1, 2, 3), 3, pair=lambda v: (v, v),
                     numpy=np.int64),
         "representation": WORD, "tree": ANYTHING, "key": ANYTHING,
         "precision": PRECISION},
    ),
    "ConvAC.contract": _call(
        _contract, {"vectors": VECTORS},
        {"vectors": of("vectors", 3, VECTORS[:2], [np.eye(2)[:2]] * 4, tuple=tuple)},
    ),
    "ArrayExamples": _call(
        locality.ArrayExamples, {"images": X, "labels": Y},
        {"images": images(), "labels": labels(2**31)},
        read=lambda e: [e.count, *e.batch([0, 1])],
    ),
    "ArrayExamples.batch": _call(
        _batch, {"examples": DATA, "rows": [0, 2]}, {"examples": ANYTHING, "rows": ROWS}
    ),
    "SameClassExamples.batch": _call(
        _batch, {"examples": PLACED, "rows": [0, 2]},
        {"examples": ANYTHING, "rows": ROWS},
    ),
    "EitherOrder": _call(
        locality.EitherOrder, {"first": P, "second": Q},
        {"first": PATCH.besides(Patch(0, 0, 3, 2)), "second": PATCH},
    ),
    "RandomPatches": _call(
        locality.RandomPatches,
        {"image_size": (8, 9), "patch_size": 2, "distance": 1, "exactly": False},
        {"image_size": SIZE, "patch_size": integer(1).besides(6),
         "distance": integer(0).besides(6), "exactly": FLAG},
        read=_fields,
    ),
    "Patch": _call(
        Patch, {"top": 1, "left": 2, "height": 3, "width": 4},
        {"top": TRACEABLE, "left": TRACEABLE, "height": integer(1), "width": integer(1)},
        read=_fields,
    ),
    "Images": _call(
        locality.Images,
        {"pixels": X, "labels": Y, "name": "squares", "white": 9, "mean": (0.5,),
         "std": (2.0,)},
        {"pixels": images().besides(X - 1, X + 250, X + 0.5),
         "labels": labels(256), "name": TEXT, "white": integer(1).besides(256),
         "mean": of("numbers", "a", (1.0, 2.0), (NAN,), ("a",), list=list,
                    one=lambda v: v[0]),
         "std": of("numbers", 0.0, (-1.0,), (1.0, 2.0), (INF,), numpy=np.array)},
        read=lambda i: [i.pixels, i.labels, i.white, i.mean, i.std],
    ),
    "as_network": _call(locality.as_network, {"make": Mean},
                       {"make": FUNCTION.besides(lambda rngs: 3)}, slow=True),
    "Network.apply": _call(
        _run_network,
        {"x": X.astype(np.float32), "train": True, "key": KEY,
         "params": {"scale": np.float32(1)}, "statistics": {}},
        {"x": of("value", "x", X.astype(complex)), "train": FLAG,
         "key": KEYS.or_none(), "params": of("value", {}, {"other": 1.0}, [1]),
         "statistics": of("value", {"mean": 1.0}).but(without="dict")},
    ),
    "convolve": _call(
        locality.convolve,
        {"x": X, "kernel": np.ones((2, 3, 3, 1)), "stride": 1, "padding": 1,
         "method": "matmul", "precision": None},
        {"x": array(), "kernel": array().besides(np.ones((2, 3, 3, 2))),
         "stride": integer(1), "padding": integer(0), "method": WORD,
         "precision": PRECISION},
    ),
    "count_correct": _call(
        locality.count_correct, {"logits": LOGITS, "y": Y},
        {"logits": LOGITS_KIND.besides(LOGITS[:, None], LOGITS[:, None, None]),
         "y": labels(2)},
    ),
    "count_correct of classes": _call(
        locality.count_correct, {"logits": THREE, "y": [2, 0]},
        {"logits": LOGITS_KIND.besides(THREE[:, :1]), "y": labels(3)},
    ),
    "fit_loss": _call(
        locality.fit_loss, {"logits": LOGITS, "y": Y},
        {"logits": LOGITS_KIND.besides(LOGITS[:, None], LOGITS[:0], says="y"),
         "y": labels(2)},
    ),
    "fit_loss of classes": _call(
        locality.fit_loss, {"logits": THREE, "y": [2, 0]},
        {"logits": LOGITS_KIND.besides(THREE[:, :1]), "y": labels(3)},
    ),
    "count_parameters": _call(
        locality.count_parameters, {"params": {"a": np.ones((2, 3))}},
        {"params": Kind("parameters", equal=forms(
            jax=lambda v: jax.tree.map(jnp.asarray, v))).besides({"a": "text"}, {"a": 1j})},
    ),
    "draw_pathfinder": _call(
        locality.draw_pathfinder,
        {"key": KEY, "settings": SETTINGS, "count": 2, "processes": 1},
        {"key": KEYS, "settings": of("value", 3, {}), "count": integer(1),
         "processes": integer(1)},
        slow=True,
    ),
    "either_order": _call(
        locality.either_order, {"key": KEY, "first": P, "second": Q},
        {"key": KEYS, "first": PATCH, "second": PATCH.besides(Patch(3, 3, 2, 3))},
    ),
    "epoch_records": _call(
        locality.epoch_records, {"params": STARTED},
        {"params": of("value", PARAMS, 3, (PARAMS, {}))},
    ),
    "evaluate": _call(
        locality.evaluate, STATE_BASE | {"batch_size": 3},
        STATE | {"batch_size": integer(1)},
    ),
    "gradient_change_by_distance": _call(
        locality.gradient_change_by_distance,
        {"key": KEY, "logits_fn": one_logit, "x": X, "patch_size": 2, "distances": (0, 2),
         "pairs": 2},
        {"key": KEYS, "logits_fn": FUNCTION.besides(lambda x: x), "x": IMAGES_KIND,
         "patch_size": integer(1).besides(1, 4),
         "distances": integers(0).besides((3,), says="distance"),
         "pairs": integer(1)},
        slow=True,
    ),
    "gradient_norm_loss": _call(locality.gradient_norm_loss, STEP_BASE, STEP, slow=True),
    "grid_tensor": _call(
        locality.grid_tensor,
        {"f": lambda x: x[0] * x[1], "templates": [[1.0, 2.0], [3.0, 4.0, 5.0]],
         "batch_size": 4},
        {"f": FUNCTION.besides(lambda x: x[0][:1]),
         "templates": of("templates", 3, "ab", [], [1.0, 2.0], [["a"], ["b"]], [[], [1.0]],
                         tuple=tuple, numpy=lambda v: [np.array(t) for t in v]),
         "batch_size": integer(1)},
    ),
    "hold": _call(locality.hold, {"optimizer": optax.sgd(0.1)},
                 {"optimizer": of("value", 3, "sgd", optax.sgd)}, slow=True),
    "input_gradient_change": _call(
        locality.input_gradient_change,
        {"logits_fn": one_logit, "x": X, "patch": P, "other_patch": Q, "labels": Y},
        CHANGE | {"logits_fn": FUNCTION.besides(lambda x: x)},
    ),
    "training_gradient_change": _call(
        locality.training_gradient_change,
        {"logits_fn": one_logit, "x": X, "patch": P, "other_patch": Q, "labels": Y},
        CHANGE, slow=True,
    ),
    "regularized_loss": _call(
        locality.regularized_loss,
        STEP_BASE | {"patches": (P, Q), "batch_norm": "reference", "momentum": 0.1,
                     "two_stage": True},
        STEP | {"x": IMAGES_KIND, "patches": of("patches", P, (P,)).besides(
                (P, ON_P), (P, None), says="patch other_patch"),
                "batch_norm": WORD, "momentum": real(-0.1, 1.1), "two_stage": FLAG},
        slow=True,
    ),
    "join_examples": _call(
        locality.join_examples, {"first": DATA, "second": DATA},
        {"first": EXAMPLES, "second": EXAMPLES.besides(PLACED)},
        read=lambda e: e.batch([0, 5]),
    ),
    "join_patches": _call(
        locality.join_patches,
        {"patches": np.arange(8.0).reshape(1, 4, 2), "image_shape": (2, 4, 1),
         "patch": (1, 2)},
        {"patches": array(),
         "image_shape": integers(1).besides((2, 4), (3, 5, 1), says="patch"),
         "patch": of("patch", 0, 1.5, "a", (1, 2, 3), list=list, numpy=np.array)},
    ),
    "split_patches": _call(
        locality.split_patches, {"images": X, "patch": 2},
        {"images": array(),
         "patch": of("patch", 0, 1.5, "a", (1, 2, 3), pair=lambda v: (v, v),
                     numpy=np.int32)},
    ),
    "largest_distance": _call(
        locality.largest_distance, {"images": PICTURES, "canvas": (4, 12)},
        {"images": of("value", 3, X), "canvas": SIZE.besides((3, 12), (4, 7))},
    ),
    "load_digits": _call(
        locality.load_digits, {"split": "test", "shuffle": 1},
        {"split": WORD, "shuffle": integer(0)},
        read=lambda i: [i.pixels, i.labels],
    ),
    "lra_pathfinder": _call(
        locality.lra_pathfinder, {"size": 32, "margins": (2,)},
        {"size": integer(1).besides(33)} | CHANGES,
    ),
    "paper_pathfinder": _call(
        locality.paper_pathfinder, {"contour_length": 5, "margins": (2,)},
        {"contour_length": integer(2)} | CHANGES,
    ),
    "PathfinderSettings": _call(
        locality.PathfinderSettings,
        {n: getattr(SETTINGS, n) for n in PATHFINDER} | {"max_attempts": 100},
        PATHFINDER,
    ),
    "marker_distance_baseline": _call(
        locality.marker_distance_baseline,
        {"distances": DISTANCES, "labels": DRAWN.labels, "folds": 2, "width": 2.0},
        {"distances": array(whole=False).besides(
            with_entry(DISTANCES, NAN), DISTANCES[:-1], says="labels"),
         "labels": labels(2).besides(np.ones(40)),
         "folds": integer(2).besides(11), "width": real(0.0, -1.0, 1e-300)},
    ),
    "marker_position_baseline": _call(
        locality.marker_position_baseline, {"images": DRAWN, "folds": 2},
        {"images": of("images", 3, X, DRAWN._replace(marks=MARKS[:, 0]),
                      DRAWN._replace(labels=np.ones(40))),
         "folds": integer(2).besides(11)},
        slow=True,
    ),
    "marker_distances": _call(
        locality.marker_distances, {"images": DRAWN},
        {"images": of("images", 3, X, DRAWN._replace(marks=MARKS * 0.5),
                      DRAWN._replace(marks=MARKS[:, 0]),
                      lists=lambda v: v._replace(marks=MARKS.tolist()))},
    ),
    "max_pool": _call(
        locality.max_pool, {"x": X, "size": 3, "stride": 2, "padding": 1},
        {"x": array(), "size": integer(1).besides(9, says="x"), "stride": integer(1),
         "padding": integer(0).besides(3)},
    ),
    "mean_change": _call(
        locality.mean_change,
        STATE_BASE | {"patches": DRAW, "key": KEY, "batch_size": 2, "train": False,
                      "num_batches": 2},
        STATE | {"patches": FUNCTION, "key": KEYS, "batch_size": integer(2), "train": FLAG,
                 "num_batches": integer(1).or_none()},
    ),
    "patch_gap": _call(locality.patch_gap, {"patch": P, "other": Q},
                      {"patch": PATCH, "other": PATCH}),
    "pathfinder_examples": _call(
        locality.pathfinder_examples, {"images": DRAWN, "rows": slice(0, 8), "like": None},
        {"images": of("value", 3, X),
         "rows": of("rows", 3, [0, 1], slice(90, 99), slice("a")).or_none(),
         "like": of("value", 3, DATA).or_none()},
        read=lambda e: e.batch([0, 1]),
    ),
    "random_patches": _call(
        locality.random_patches,
        {"key": KEY, "image_size": (8, 9), "patch_size": 2, "distance": 1,
         "exactly": False},
        {"key": KEYS, "image_size": SIZE, "patch_size": integer(1).besides(6),
         "distance": integer(0).besides(6), "exactly": FLAG},
    ),
    "resnet": _call(
        locality.resnet, NETWORK_BASE | {"depth": 18, "width": 0.125},
        NETWORK_OPTIONS | {"depth": integer(1).besides(19), "width": real(0.0, 1e-3)},
        slow=True,
    ),
    "residual_net": _call(
        locality.residual_net, NETWORK_BASE | {"widths": (2,)},
        NETWORK_OPTIONS | {"widths": integers(1)}, slow=True,
    ),
    "strided_net": _call(
        locality.strided_net, NETWORK_BASE | {"widths": (2,), "strides": (2,)},
        NETWORK_OPTIONS | {"widths": integers(1), "strides": integers(1).besides((2, 2))},
        slow=True, read=_shapes,
    ),
    "same_class_pairs": _call(
        locality.same_class_pairs,
        {"key": KEY, "images": PICTURES, "count": 5, "other": "class"},
        {"key": KEYS, "images": of("value", 3, X), "count": integer(1), "other": WORD},
    ),
    "same_class_examples": _call(
        locality.same_class_examples,
        {"images": PICTURES, "pairs": PAIRS, "distance": 2, "canvas": (4, 12)},
        {"images": of("value", 3, X),
         "pairs": of("pairs", 3, PAIRS._replace(rows=PAIRS.rows + 90),
                     PAIRS._replace(rows=PAIRS.rows * 0.5),
                     PAIRS._replace(labels=PAIRS.labels + 1),
                     PAIRS._replace(labels=PAIRS.labels[:-1]),
                     lists=lambda v: v._replace(rows=v.rows.tolist())),
         "distance": integer(0).besides(5), "canvas": SIZE.besides((3, 12))},
        read=lambda e: e.batch([0, 1]),
    ),
    "same_class_patches": _call(locality.same_class_patches, {"examples": PLACED},
                               {"examples": of("value", 3, DATA, PICTURES)}),
    "select_examples": _call(
        locality.select_examples, {"examples": DATA, "rows": [0, 2]},
        {"examples": EXAMPLES, "rows": ROWS.besides([])},
        read=lambda e: e.batch([0, 1]),
    ),
    "separation_spectrum": _call(
        locality.separation_spectrum,
        {"logits_fn": one_logit, "x": X, "patch": P, "other_patch": Q, "num": 2,
         "contexts": 2, "key": None, "shuffles": 2, "batch_size": 8},
        {"logits_fn": FUNCTION.besides(lambda x: x),
         "x": dataclasses.replace(images(), equal=(*LAYOUTS, *SMALL[1:])), **BOTH_PATCHES,
         "num": integer(2).besides(5), "contexts": integer(1).besides(5).or_none(),
         "key": KEYS.or_none(), "shuffles": integer(1), "batch_size": integer(1)},
    ),
    "start_training": _call(
        locality.start_training, {"params": PARAMS, "statistics": {}, "examples": DATA},
        {"params": of("value", {}, {"a": "text"}, {"a": np.arange(3)}),
         "statistics": ANYTHING, "examples": EXAMPLES},
    ),
    "steps_per_epoch": _call(
        locality.steps_per_epoch, {"count": 9, "batch_size": 4},
        {"count": integer(1), "batch_size": integer(1)},
    ),
    "swap_patch": _call(locality.swap_patch, {"x": X, "patch": Q},
                       {"x": array(), "patch": PATCH.besides(OUTSIDE)}),
    "training_loss": _call(
        locality.training_loss,
        {"apply": apply, "examples": DATA, "coefficient": 0.5, "patches": DRAW,
         "batch_size": 2, "penalty": "input_gradient_change", "batch_norm": "reference",
         "momentum": 0.1, "patience": 3},
        {"apply": STATE["apply"], "examples": EXAMPLES, "coefficient": real(-1.0),
         "patches": FUNCTION, "batch_size": integer(1).besides(1, 3, 9), "penalty": WORD,
         "batch_norm": WORD, "momentum": real(-0.1, 1.1),
         "patience": integer(0).or_none()},
        read=_fields,
    ),
    "TrainingLoss": _call(
        _one_step, {"params": STARTED, "key": KEY},
        {"params": of("value", PARAMS, 3), "key": KEYS}, slow=True,
    ),
    "warn_if_blind": _call(
        locality.warn_if_blind, {"change": 0.5, "threshold": 0.9},
        {"change": real(-0.1, 1.5).but(without="nan list array"), "threshold": real()},
    ),
}  # fmt: skip
FILE_CALLS: dict[str, Call] = {
    "download_cifar10": _call(locality.download_cifar10, {"folder": "x"}, {"folder": PATH}),
    "load_cifar10": _call(locality.load_cifar10, {"folder": "x", "split": "test"},
                         {"folder": PATH, "split": WORD}),
}  # fmt: skip

CALLS |= FILE_CALLS
