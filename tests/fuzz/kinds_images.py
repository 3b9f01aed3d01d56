"""Kinds of numbers, labels, patches and images: wrong values and equal forms."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from htfjax import locality
from htfjax.locality import Patch
from tests.fuzz.calls import Call, Form, Kind, Make, Unreadable, Wrong, always

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


X = images_of()
Y = np.array([0, 1, 1, 0])
P, Q = Patch(0, 0, 2, 2), Patch(3, 3, 2, 2)
DATA = locality.ArrayExamples(X, Y)


def call(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    kinds: dict[str, Kind],
    *,
    read: Callable[[Any], Any] = lambda result: result,
    slow: bool = False,
) -> Call:
    return Call(function, lambda: dict(arguments), kinds, read, slow)
