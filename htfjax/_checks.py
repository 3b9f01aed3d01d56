"""Checks of arguments: they run while tracing and raise errors that say what to do.

Each takes the name of the argument for its message and, where the value is known, returns
it in the form that the caller computes with.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.core import Tracer

from htfjax._integers import at_least, spell
from htfjax._types import ArrayLike, DTypeLike
from htfjax.trees.mode_tree import ModeTree

T = TypeVar("T")
P = ParamSpec("P")
Result = TypeVar("Result")


def concrete(x: object) -> bool:
    """Whether the values of `x` can be looked at (False while tracing)."""
    return not isinstance(x, Tracer)


# Numbers


def real(
    name: str,
    value: object,
    *,
    least: float = -np.inf,
    most: float = np.inf,
    strict: bool = False,
    infinite: bool = False,
) -> None:
    """A real number between two bounds, when visible.

    Args:
      least, most: bounds; `strict`: the lower one is excluded.
      infinite: infinity counts as a number.

    Raises:
      TypeError: not a real number. ValueError: NaN, infinite or out of bounds.
    """
    if isinstance(value, Tracer):
        if value.ndim or not _is_real(value.dtype):
            raise TypeError(f"`{name}` must be a real number, got {value.aval}.")
        return
    number = _number(value)
    if number is None:
        raise TypeError(f"`{name}` must be a real number, got {spell(value)}.")
    inside = number > least if strict else number >= least
    if not (inside and number <= most and (infinite or np.isfinite(number))):
        raise ValueError(f"`{name}={spell(value)}` must be {_bounds(least, most, strict)}.")


def _number(value: Any) -> float | None:
    """A Python, NumPy, pandas or jax real number as a float; None for anything else."""
    if value is None or isinstance(value, str | bytes | bool | np.bool_ | complex):
        return None
    if np.ma.isMaskedArray(value) or isinstance(value, Sequence | dict | set):
        return None
    dtype = getattr(value, "dtype", None)
    if getattr(value, "ndim", 0) or (isinstance(dtype, np.dtype) and not _is_real(dtype)):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond the floats
        return np.inf if value > 0 else -np.inf
    except (TypeError, ValueError):
        return None


def _is_real(dtype: DTypeLike) -> bool:
    """Whether a dtype is one of real numbers, those of other libraries included."""
    kinds = (jax.numpy.floating, np.integer)
    return any(jax.numpy.issubdtype(dtype, kind) for kind in kinds)


def _bounds(least: float, most: float, strict: bool) -> str:
    if np.isfinite(most):
        return f"a number {'above' if strict else 'from'} {least:g} to {most:g}"
    if np.isinf(least):
        return "a finite number"
    if least == 0:
        return f"a finite number, {'above zero' if strict else 'zero or more'}"
    return f"a finite number, {'above' if strict else 'at least'} {least:g}"


def positive(name: str, value: object, *, strict: bool = False) -> None:
    """A finite number that is not negative (or above zero if `strict`), when visible."""
    real(name, value, least=0, strict=strict)


def scalar(
    name: str, value: Any, dtype: DTypeLike, *, least: float = -np.inf, strict: bool = False
) -> jax.Array:
    """A finite real number as an array () of the dtype it is used in.

    Raises:
      As `real`; ValueError: a number that becomes infinite or zero in `dtype`.
    """
    real(name, value, least=least, strict=strict)
    if not concrete(value):
        return jax.numpy.asarray(value, dtype)
    number = float(value)
    with np.errstate(over="ignore", under="ignore"):
        held = np.asarray(number).astype(dtype)
    # Processors take subnormal numbers for zero, those of float16 excepted.
    if np.dtype(dtype) != np.float16 and abs(held) < jax.numpy.finfo(dtype).tiny:
        held = np.zeros_like(held)
    if not np.isfinite(held.astype(np.float64)) or (held == 0) != (number == 0):
        given = number if hasattr(value, "dtype") else value
        raise ValueError(
            f"`{name}={spell(given)}` becomes {held} in {np.dtype(dtype)}; use a number "
            "that the dtype holds, or a wider dtype."
        )
    return jax.numpy.asarray(held)


def tolerance(name: str, value: Any, dtype: DTypeLike) -> jax.Array:
    """A tolerance, zero or more, as an array of a dtype: a number or an array of them."""
    if getattr(value, "ndim", 0):
        return bounded(name, value, dtype)
    positive(name, value)
    return jax.numpy.asarray(float(value) if concrete(value) else value, dtype)


def flag(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be True or False, got {spell(value)}.")
    return bool(value)


# Arrays


def array(name: str, values: object) -> np.ndarray | Tracer:
    """An array of numbers (complex ones too), as NumPy array, or a traced one.

    Foreign byte order and long double are converted; values that are masked or missing
    are refused, because NumPy would make data of them.

    Raises:
      TypeError: masked, missing, or not numbers. ValueError: not rectangular, or long
        doubles that float64 does not hold.
    """
    if isinstance(values, Tracer):
        return values
    if _is_masked(values):
        raise TypeError(
            f"`{name}` is a masked array, whose masked values would become data; drop them "
            f"first, for example `values.compressed()` beside `indices[~values.mask]`."
        )
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"`{name}` must be rectangular: {error}.") from error
    except Exception as error:  # a foreign object's __array__ may raise anything
        raise TypeError(f"`{name}` must be an array, got {spell(values)}.") from error
    if found.dtype.kind == "O":
        found = _from_objects(name, found)
    if not jax.numpy.issubdtype(found.dtype, np.number) and found.dtype != bool:
        raise TypeError(f"`{name}` must hold real numbers, got {found.dtype}.")
    if found.dtype.kind == "f" and found.dtype.itemsize > 8:
        double = found.astype(np.float64)
        if not np.array_equal(double.astype(found.dtype), found, equal_nan=True):
            raise ValueError(
                f"`{name}` has dtype {found.dtype}, and float64 does not hold its values; "
                "round them first: `values.astype(float)`."
            )
        found = double
    if not found.dtype.isnative:
        found = found.astype(found.dtype.newbyteorder("="))
    return found


def _is_masked(values: object) -> bool:
    if isinstance(values, list | tuple):
        return any(_is_masked(v) for v in values)
    return np.ma.isMaskedArray(values) or values is np.ma.masked


def _from_objects(name: str, found: np.ndarray) -> np.ndarray:
    """Integers beyond int64 or pandas' nullable numbers as plain ones, if they are."""
    kinds = {type(v).__name__ for v in found.ravel()[:100_000]}
    missing = kinds & {"NAType", "NaTType", "NoneType"}
    if missing:
        raise TypeError(f"`{name}` has missing values ({missing.pop()}); drop them first.")
    try:
        plain = np.asarray(found.tolist())
    except (ValueError, OverflowError):
        plain = found
    if plain.dtype.kind == "O":
        raise TypeError(f"`{name}` must hold numbers, got objects of type {sorted(kinds)}.")
    return plain


def real_array(name: str, values: object) -> np.ndarray | Tracer:
    """An array of real numbers that one may look at, as NumPy array, or a traced one.

    Raises:
      As `array`; TypeError: complex numbers, strings and other things.
    """
    found = array(name, values)
    if not _is_real(found.dtype) and found.dtype != bool:
        raise TypeError(f"`{name}` must be real numbers, got {found.dtype}.")
    return found


def floating(name: str, values: object, dtype: DTypeLike | None = None) -> jax.Array:
    """A floating array, whose NaN and infinities are left to those who read it.

    jax arrays that have the dtype come back without a look at their values. By default
    half precision becomes float32, integers the default floating dtype.

    Raises:
      As `real_array`; ValueError: finite numbers that `dtype` does not hold.
    """
    found = values if isinstance(values, jax.Array) else real_array(name, values)
    if not _is_real(found.dtype) and found.dtype != bool:
        raise TypeError(f"`{name}` must be real numbers, got {found.dtype}.")
    return cast(name, found, _data_dtype(found.dtype) if dtype is None else dtype)


def cast(name: str, values: np.ndarray | jax.Array, dtype: DTypeLike) -> jax.Array:
    """Real numbers in another dtype; they are looked at only where it holds fewer.

    Raises:
      ValueError: finite numbers that `dtype` does not hold.
    """
    wide = values.dtype.itemsize > np.dtype(dtype).itemsize
    if wide and concrete(values) and values.dtype.kind == "f":
        return jax.numpy.asarray(_held(name, np.asarray(values), dtype))
    return jax.numpy.asarray(values, dtype)


def _held(name: str, found: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Numbers in another dtype, in which what was finite stays so."""
    with np.errstate(over="ignore"):
        held = found.astype(dtype)
    lost = np.isfinite(found) & ~np.isfinite(held.astype(np.float64))
    if lost.any():
        at = tuple(np.argwhere(lost)[0])
        raise ValueError(
            f"`{name}{_place(at)}` is {found[at]}, which {np.dtype(dtype)} does not hold; "
            "scale the data, or enable float64: "
            'jax.config.update("jax_enable_x64", True).'
        )
    return held


def _place(at: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, at))}]" if at else ""


def bounded(
    name: str, values: object, dtype: DTypeLike | None = None, *, least: float = 0,
    strict: bool = False,
) -> jax.Array:  # fmt: skip
    """A floating array of finite numbers from a bound on, when visible.

    Raises:
      As `floating`; ValueError: a value that is NaN, infinite or out of bounds.
    """
    found = floating(name, values, dtype)
    if not concrete(found):
        return found
    seen = np.asarray(found, np.float64)
    inside = np.isfinite(seen) & ((seen > least) if strict else (seen >= least))
    if not inside.all():
        at = tuple(np.argwhere(~inside)[0])
        raise ValueError(
            f"`{name}{_place(at)}` is {seen[at]}; it must be "
            f"{_bounds(least, np.inf, strict)}."
        )
    return found


def seen(name: str, values: object) -> np.ndarray:
    """Real numbers whose values decide what Python does, as NumPy array.

    Raises:
      As `real_array`; TypeError: traced values, which have no values yet.
    """
    found = real_array(name, values)
    if isinstance(found, Tracer):
        raise TypeError(
            f"`{name}` must be concrete, got {found.aval} while tracing; call this on "
            "results, outside jax.jit, jax.vmap and jax.grad."
        )
    return np.asarray(found)


def integer_array(name: str, values: object) -> np.ndarray | Tracer:
    """An array of integers, as NumPy array, or a traced one.

    Raises:
      As `array`; TypeError: anything but integers (floats, even whole ones, booleans).
    """
    found = array(name, values)
    if isinstance(found, np.ndarray) and not found.size and not hasattr(values, "dtype"):
        return found.astype(np.int32)  # [] has no type
    if not jax.numpy.issubdtype(found.dtype, np.integer):
        raise TypeError(f"`{name}` must be integers, got {found.dtype}.")
    return found


def shape(name: str, values: ArrayLike, wanted: tuple[int | None, ...], axes: str) -> None:
    """The shape of an array; None stands for any size.

    Args:
      axes: names of the axes for the message, "(B, N)" for example.
    """
    found = np.shape(values)
    if len(found) != len(wanted) or any(
        w is not None and f != w for f, w in zip(found, wanted, strict=True)
    ):
        sizes = ", ".join("any" if w is None else str(w) for w in wanted)
        sizes += "," * (len(wanted) == 1)
        raise ValueError(f"`{name}` has shape {found}, expected {axes} = ({sizes}).")


def finite(name: str, values: object, dtype: DTypeLike | None = None) -> jax.Array:
    """A floating array without NaN or infinity, before and after the cast to `dtype`.

    By default half precision becomes float32, so that sums over many values are right,
    and all else the default floating dtype or float32, whichever it has.

    Raises:
      As `real_array`; ValueError: a value that is not finite, or too large for `dtype`.
    """
    found = real_array(name, values)
    kind = float_dtype("dtype", dtype) if dtype is not None else _data_dtype(found.dtype)
    if isinstance(found, Tracer):
        return jax.numpy.asarray(found, kind)
    wrong = np.argwhere(~np.isfinite(found.astype(np.float64)))
    if wrong.size:
        at = tuple(wrong[0])
        raise ValueError(
            f"`{name}{_place(at)}` is {found[at]}; remove it, data must be finite."
        )
    return jax.numpy.asarray(_held(name, found, kind))


def _data_dtype(dtype: DTypeLike) -> np.dtype:
    if jax.numpy.issubdtype(dtype, jax.numpy.floating):
        small = np.dtype(np.float32) if jax.numpy.finfo(dtype).bits < 32 else dtype
        return jax.dtypes.canonicalize_dtype(small)
    return jax.dtypes.canonicalize_dtype(float)


def labels(name: str, values: object, count: int, classes: int | None = None) -> jax.Array:
    """Class labels (count,) int32 from 0 to classes - 1, checked where they can be seen.

    Raises:
      TypeError: not integers. ValueError: another shape, or a label out of range.
    """
    found = integer_array(name, values)
    shape(name, found, (count,), "(B,)")
    if concrete(found) and found.size:
        most = np.iinfo(np.int32).max if classes is None else classes - 1
        wrong = np.argwhere((found < 0) | (found > most))
        if wrong.size:
            at = wrong[0, 0]
            raise ValueError(f"`{name}[{at}]` is {found[at]}; labels run from 0 to {most}.")
    return jax.numpy.asarray(found, np.int32)


def float_dtype(name: str, dtype: Any) -> np.dtype:
    """A floating dtype; None is the default one (float64 where x64 is enabled).

    Raises:
      TypeError: not a floating dtype. ValueError: float64 where x64 is not enabled.
    """
    try:
        wanted = None if dtype is None else jax.numpy.dtype(dtype)
    except Exception as error:  # NumPy asks a foreign object for its repr
        raise TypeError(f"`{name}={spell(dtype)}` must be a floating dtype.") from error
    if wanted is not None and not jax.numpy.issubdtype(wanted, jax.numpy.floating):
        raise TypeError(f"`{name}={spell(dtype)}` must be a floating dtype.")
    if wanted is not None and wanted.itemsize not in (2, 4, 8):
        raise TypeError(f"`{name}={spell(dtype)}` must have 16, 32 or 64 bits.")
    resolved = jax.dtypes.canonicalize_dtype(float if wanted is None else wanted)
    if dtype is not float and wanted is not None and resolved != wanted:
        raise ValueError(
            f"`{name}={spell(dtype)}` needs 64-bit numbers, which are off; enable them "
            'with jax.config.update("jax_enable_x64", True) before anything is computed.'
        )
    return resolved


# Other values


def sequence(name: str, values: object, what: str) -> Sequence[Any]:
    """A list, tuple or array of one axis; `what` says of what, for the message."""
    found = as_sequence(values)
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        raise TypeError(f"`{name}` must be a list of {what}, got {spell(values)}.")
    return found


def arrays(name: str, values: object) -> list[object]:
    """A list or tuple of arrays, at least one."""
    if not isinstance(values, list | tuple):
        raise TypeError(f"`{name}` must be a list of arrays, got {spell(values)}.")
    if not values:
        raise ValueError(f"`{name}` is empty: give one array for every mode.")
    return list(values)


def precision(name: str, value: object) -> None:
    """A precision of matrix products, as jax names them."""
    parts = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    if not all(map(_is_precision, parts)):
        raise (ValueError if isinstance(value, str) else TypeError)(
            f"`{name}={spell(value)}` must be 'highest', 'high', 'default' or another "
            "jax.lax.Precision."
        )


def _is_precision(value: object) -> bool:
    if not isinstance(value, str):
        kinds = (jax.lax.Precision, jax.lax.DotAlgorithm, jax.lax.DotAlgorithmPreset)
        return value is None or isinstance(value, kinds)
    try:
        jax.lax.Precision(value)
    except ValueError:
        return value in jax.lax.DotAlgorithmPreset.__members__
    return True


def one_of(name: str, value: object, choices: Sequence[str]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f"`{name}={spell(value)}` is none of {list(choices)}.")
    return str(value)


def instance(name: str, value: object, kind: type | tuple[type, ...], advice: str) -> None:
    """An object of a class; `advice` says how to get one."""
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(k.__name__ for k in kinds)
        article = "an" if names[0] in "AEIO" else "a"
        raise TypeError(
            f"`{name}` must be {article} {names}, got {spell(value)}; {advice}."
        )


def tree(value: object, name: str = "tree") -> None:
    """A mode tree."""
    advice = "`ModeTree.from_nested` makes one from nested tuples"
    instance(name, value, ModeTree, advice)


def function(name: str, value: T) -> T:
    """Something that can be called."""
    if not callable(value):
        raise TypeError(
            f"`{name}` must be callable, got {type(value).__name__} {spell(value)}."
        )
    return value


def scalar_valued(
    name: str, value: Callable[P, Result], *, aux: bool = False
) -> Callable[P, Result]:
    """The function, checked to return a real number () where it is called.

    Args:
      aux: it returns a pair, whose first is the number.
    """

    @functools.wraps(value, updated=())
    def checked(*args: P.args, **kwargs: P.kwargs) -> Result:
        found = value(*args, **kwargs)
        if aux and not (isinstance(found, tuple) and len(found) == 2):
            raise TypeError(f"`{name}` must return a pair, got {spell(found)}.")
        number: Any = found[0] if aux else found  # pyright: ignore[reportIndexIssue]
        dtype = getattr(number, "dtype", None)
        if dtype is None or np.shape(number) or not _is_floating(dtype):
            got = f"{dtype} of shape {np.shape(number)}" if dtype else spell(number)
            raise TypeError(f"`{name}` must return one floating scalar, got {got}.")
        return found

    return checked


def _is_floating(dtype: DTypeLike) -> bool:
    return bool(jax.numpy.issubdtype(dtype, jax.numpy.floating))


def parameters(name: str, value: object) -> None:
    """A pytree of floating arrays (real or complex), at least one.

    Raises:
      TypeError: no arrays, or a leaf of another kind.
    """
    leaves = jax.tree_util.tree_leaves_with_path(value)
    if not leaves:
        raise TypeError(f"`{name}` holds no arrays, got {spell(value)}.")
    for path, leaf in leaves:
        plain = isinstance(leaf, float | complex)
        dtype = getattr(leaf, "dtype", None)
        inexact = dtype is not None and jax.numpy.issubdtype(dtype, jax.numpy.inexact)
        if _is_masked(leaf) or not (plain or inexact):
            at = jax.tree_util.keystr(path)
            got = spell(leaf) if dtype is None else f"an array of {dtype}"
            masked = "a masked array" if _is_masked(leaf) else got
            raise TypeError(f"`{name}{at}` must be a floating array, got {masked}.")


def optimizer(name: str, value: object) -> None:
    """An optax transformation: something with `init` and `update`."""
    parts = (getattr(value, "init", None), getattr(value, "update", None))
    if not all(map(callable, parts)):
        raise TypeError(
            f"`{name}` must be an optax transformation such as "
            f"htfjax.group_rmsprop(1e-2), got {spell(value)}."
        )


def key(name: str, value: object) -> None:
    """A typed random key."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or not jax.numpy.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"`{name}` must be a typed key such as jax.random.key(0), got {spell(value)}."
        )
    if sizes := getattr(value, "shape", ()):
        raise TypeError(
            f"`{name}` must be one key, got keys of shape {sizes}; use jax.vmap over them."
        )


def as_sequence(values: T) -> T | list[Any]:
    """A list in place of an array or series of one axis; anything else as it is."""
    if isinstance(values, str | bytes) or isinstance(values, Tracer):
        return values
    if np.ma.isMaskedArray(values) or getattr(values, "ndim", None) != 1:
        return values
    return np.asarray(values).tolist()


def mode_dims(order: int, dims: object) -> tuple[int, ...]:
    """One dimension per mode; a single int stands for all of them."""
    dims = as_sequence(dims)
    if not isinstance(dims, Sequence) or isinstance(dims, str | bytes):
        return (at_least("mode_dims", dims, 1),) * order
    if len(dims) != order:
        raise ValueError(
            f"`mode_dims={tuple(dims)}` has {len(dims)} entries, expected {order}: one "
            "for each of the modes."
        )
    return tuple(at_least("mode_dims", dim, 1) for dim in dims)


def node(name: str, tree: ModeTree, value: object) -> int:
    """The id of a node of the tree."""
    found = at_least(name, value, 0)
    if found > tree.root:
        raise ValueError(
            f"`{name}={found}` is not a node of the tree; nodes are 0..{tree.root}."
        )
    return found


def node_widths(tree: ModeTree, widths: object, name: str = "widths") -> tuple[int, ...]:
    """R_v for every interior node, ascending: of one int, one per node, or per height."""
    count, heights = len(tree.interior), tree.height[tree.root]
    widths = as_sequence(widths)
    if not isinstance(widths, Sequence) or isinstance(widths, str | bytes):
        return (at_least(name, widths, 1),) * count
    sizes = tuple(at_least(name, width, 1) for width in widths)
    if len(sizes) == count:
        return sizes
    if len(sizes) == heights:
        return tuple(sizes[tree.height[k] - 1] for k in tree.interior)
    raise ValueError(
        f"`{name}={tuple(widths)}` has {len(sizes)} entries; give one int, one per "
        f"interior node ({count}) or one per height ({heights})."
    )
