"""Checks of images, labels, logits and examples, the arguments of this folder.

Values are checked where they are concrete; of traced ones, shape and dtype are.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from htfjax import _checks
from htfjax._types import Array, DTypeLike, Int, PyTree


def numbers(name: str, values: object) -> jax.Array:
    """Real numbers as a jax array in their own dtype; arrays of jax are not looked at.

    Raises:
      TypeError: anything else; ValueError: not rectangular.
    """
    if isinstance(values, jax.Array):
        kinds = (jnp.floating, jnp.integer, jnp.bool_)
        if not any(jnp.issubdtype(values.dtype, kind) for kind in kinds):
            raise TypeError(f"`{name}` must be real numbers, got {values.dtype}.")
        return values
    return jnp.asarray(_checks.real_array(name, values))


Function = TypeVar("Function", bound=Callable[..., object])


@runtime_checkable
class Examples(Protocol):
    """A pytree of labelled images, as `ArrayExamples` is one."""

    @property
    def count(self) -> int:
        """The number of examples."""
        ...

    def batch(self, rows: Int[Array, "B"], /) -> tuple[jax.Array, jax.Array]:
        """x (B, H, W, C) and y (B,)."""
        ...


def static_number(name: str, value: Any, **bounds: Any) -> float:
    """A real number that is fixed while compiling; bounds as for `_checks.real`.

    Raises:
      TypeError: not a real number, or a traced one. ValueError: out of bounds.
    """
    if not _checks.concrete(value):
        raise TypeError(f"`{name}` is traced ({value.aval}); it must be a plain number.")
    _checks.real(name, value, **bounds)
    return float(value)


def on_host(name: str, values: object) -> np.ndarray:
    """Real numbers as a NumPy array, for what is computed outside of jit.

    Raises:
      TypeError: as `numbers`, or traced values.
    """
    known = _checks.real_array(name, values)
    if isinstance(known, Tracer):
        raise TypeError(f"`{name}` is traced ({known.aval}); call this outside of jit.")
    return np.asarray(known)


def images(name: str, values: object, *, keep: type | None = None) -> jax.Array:
    """Images (B, H, W, C), B at least one, all numbers finite.

    Floats keep their precision; integers and booleans become the default floating dtype.

    Args:
      keep: integers that stay what they are, `jnp.signedinteger` or `jnp.integer`.

    Raises:
      TypeError: not real numbers. ValueError: another shape, no images, NaN or infinity.
    """
    found = (numbers if _is_placed(values) else _checks.real_array)(name, values)
    if np.ndim(found) != 4 or 0 in np.shape(found):
        raise ValueError(
            f"`{name}` must be images (B, H, W, C), got shape {np.shape(found)}."
        )
    is_float = jnp.issubdtype(found.dtype, jnp.floating)
    if keep is not None and jnp.issubdtype(found.dtype, keep):
        return numbers(name, found)
    dtype = jax.dtypes.canonicalize_dtype(found.dtype if is_float else float)
    if isinstance(found, np.ndarray | Tracer):
        return _checks.finite(name, found, dtype)
    if found.is_fully_addressable:
        _checks.finite(name, found, dtype)
    return _cast(found, dtype)


def _is_placed(values: object) -> bool:
    """Whether values are an array of jax on devices of its own, where it is to stay."""
    return isinstance(values, jax.Array) and _checks.concrete(values)


def _cast(values: jax.Array, dtype: DTypeLike) -> jax.Array:
    return values if values.dtype == dtype else values.astype(dtype)


def image_size(name: str, value: object, least: int = 1) -> tuple[int, int]:
    """Height and width of an image."""
    sides = _checks.as_sequence(value)
    if not isinstance(sides, tuple | list) or len(sides) != 2:
        raise TypeError(f"`{name}={_checks.spell(value)}` must be (height, width).")
    high, wide = (_checks.at_least(name, side, least) for side in sides)
    return high, wide


def integers(name: str, values: object, least: int) -> tuple[int, ...]:
    """A sequence of at least one integer, none below `least`."""
    values = _checks.as_sequence(values)
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise TypeError(
            f"`{name}` must be a sequence of integers, got {_checks.spell(values)}."
        )
    if not values:
        raise ValueError(f"`{name}` is empty.")
    return tuple(_checks.at_least(name, value, least) for value in values)


def whole_labels(name: str, values: object, count: int, classes: int | None) -> jax.Array:
    """Labels (count,) int32 from 0 to classes - 1, given as integers, floats or booleans.

    Raises:
      TypeError: not real numbers. ValueError: another shape, fractions, NaN, out of range.
    """
    if _is_placed(values):
        placed = numbers(name, values)
        if placed.is_fully_addressable:
            whole_labels(name, np.asarray(placed), count, classes)
        _checks.shape(name, placed, (count,), "(B,)")
        return _cast(placed, jnp.int32)
    found = _checks.real_array(name, values)
    _checks.shape(name, found, (count,), "(B,)")
    if not jnp.issubdtype(found.dtype, jnp.integer):
        if isinstance(found, Tracer):
            return found.astype(jnp.int32)
        exact = np.asarray(found, np.float64)
        wrong = np.argwhere(~(np.isfinite(exact) & (exact == np.round(exact))))
        if wrong.size:
            at = wrong[0, 0]
            raise ValueError(f"`{name}[{at}]` is {found[at]}; labels are whole numbers.")
        found = np.clip(exact, -(2.0**53), 2.0**53).astype(np.int64)
    return _checks.labels(name, found, count, classes)


def check_logits(
    name: str,
    given: object,
    count: int | None = None,
    *,
    verb: str = "give",
    single: bool = False,
) -> jax.Array:
    """Floating logits (B,) or (B, K), K at least 2; of `count` images, if that is known.

    Args:
      name: the function that gave them, or the argument itself with `verb="be"`.
      single: only (B,) will do.

    Raises:
      TypeError: not real numbers, nothing or a tuple. ValueError: another shape.
    """
    if verb == "give" and not _is_like_array(given):
        advice = "; give the logits alone, [0] of it" if isinstance(given, tuple) else ""
        raise TypeError(
            f"`{name}` must give logits (B,) or (B, K), got {_kind(given)}{advice}."
        )
    logits = numbers(name, given)
    shape = logits.shape
    if logits.ndim == 2 and shape[1] == 1:
        raise ValueError(
            f"`{name}` must {verb} (B,) for one logit per image, got {shape}; drop the "
            "axis: logits[:, 0]."
        )
    axes = (1,) if single else (1, 2)
    if logits.ndim not in axes or 0 in shape[1:] or count not in (None, *shape[:1]):
        wanted = "(B,)" if single else "(B,) or (B, K)"
        of = "" if count is None else f" for {count} images"
        advice = "; choose one logit" if single and logits.ndim == 2 else ""
        raise ValueError(f"`{name}` must {verb} {wanted}, got {shape}{of}{advice}.")
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        logits = logits.astype(jax.dtypes.canonicalize_dtype(float))
    return logits


def _is_like_array(value: object) -> bool:
    """Whether a value is an array, a number or a list, whatever it holds."""
    return hasattr(value, "__array__") or isinstance(value, list | int | float | complex)


def _kind(value: object) -> str:
    """A value in words, without its numbers, which may be traced."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "None" if value is None else f"an object of type {type(value).__name__}"


def static_function(name: str, value: Function) -> Function:
    """A function that a compiled program can be keyed by."""
    _checks.function(name, value)
    try:
        hash(value)
    except TypeError as error:
        raise TypeError(
            f"`{name}` must be hashable, got {_checks.spell(value)}; wrap it in a "
            "function, and give its arrays as arguments."
        ) from error
    return value


def drawing_function(name: str, value: Callable) -> Callable:
    """`key -> (P, Q)` as a pytree; plain functions become one without leaves."""
    _checks.function(name, value)
    if any(leaf is value for leaf in jax.tree.leaves(value)):
        return jax.tree_util.Partial(value)
    return value


def examples_pytree(name: str, value: Examples, least: int = 1) -> Examples:
    """Examples: a pytree with `count`, at least `least`, and `batch(rows) -> (x, y)`."""
    batch, count = getattr(value, "batch", None), getattr(value, "count", None)
    if not callable(batch) or callable(count) or count is None or isinstance(value, type):
        raise TypeError(
            f"`{name}` must have `count` and `batch(rows)`, as ArrayExamples has; got "
            f"{_checks.spell(value)}."
        )
    if any(leaf is value for leaf in jax.tree.leaves(value)):
        raise TypeError(
            f"`{name}` must be a pytree, so that its arrays are arguments of compiled "
            f"programs: register {type(value).__name__} with jax.tree_util."
        )
    _checks.at_least(f"{name}.count", count, least)
    return value


def image_shape(examples: Examples) -> tuple[int, ...]:
    """The shape (2, H, W, C) of a batch of two."""
    rows = jax.ShapeDtypeStruct((2,), jnp.int32)
    shape = jax.eval_shape(lambda rows: examples.batch(rows)[0], rows).shape
    if len(shape) != 4:
        raise ValueError(
            f"`examples` must give images (B, H, W, C), got shape {shape} for two of them."
        )
    return shape


def floating_dtype(name: str, arrays: PyTree) -> np.dtype:
    """The common floating dtype of a pytree of numbers.

    Raises:
      TypeError: a leaf that is not numbers, or none that is floating.
    """
    dtypes = [numbers(name, leaf).dtype for leaf in jax.tree.leaves(arrays)]
    floats = [d for d in dtypes if jnp.issubdtype(d, jnp.floating)]
    if not floats:
        raise TypeError(f"`{name}` must hold floating arrays, got {_checks.spell(arrays)}.")
    return widest(floats)


def widest(dtypes: Sequence[np.dtype]) -> np.dtype:
    """The dtype that others are promoted to, also where jax is told to promote nothing."""
    with jax.numpy_dtype_promotion("standard"):
        return functools.reduce(jnp.promote_types, dtypes)
