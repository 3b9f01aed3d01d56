"""Checks that run while tracing and raise errors a reader can act on."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from htfjax._integers import at_least
from htfjax.mode_tree import ModeTree

__all__ = [
    "as_sequence",
    "at_least",
    "concrete",
    "float_dtype",
    "key",
    "mode_dims",
    "one_of",
    "positive",
    "real_array",
    "tree",
]


def concrete(x: Any) -> bool:
    """Whether the values of `x` can be looked at (False while tracing)."""
    return not isinstance(x, Tracer)


def positive(name: str, value: Any, *, strict: bool = False) -> None:
    """A real number that is not negative (or above zero if `strict`), when visible."""
    if not concrete(value):
        return
    if np.ndim(value) or isinstance(value, str | bytes | complex) or value is None:
        raise TypeError(f"`{name}` must be a real number, got {value!r}.")
    number = float(value)
    if not np.isfinite(number) or number < 0 or (strict and number == 0):
        bound = "above zero" if strict else "zero or more"
        raise ValueError(f"`{name}={value}` must be a finite number, {bound}.")


def tree(value: Any) -> None:
    """A mode tree."""
    if not isinstance(value, ModeTree):
        raise TypeError(
            f"`tree` must be a ModeTree, got {value!r}; `ModeTree.from_nested` makes one "
            "from nested tuples."
        )


def real_array(name: str, values: Any) -> Any:
    """An array of real numbers that one may look at, as NumPy array, or a traced one."""
    if not concrete(values):
        return values
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"`{name}` must be rectangular: {error}.") from error
    if array.dtype.kind not in "biuf" and not jax.numpy.issubdtype(
        array.dtype, jax.numpy.floating
    ):
        raise TypeError(f"`{name}` must be real numbers, got {array.dtype}.")
    return array


def one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    """One of a few words."""
    if value not in choices:
        raise ValueError(f"`{name}={value!r}` is none of {list(choices)}.")


def key(name: str, value: Any) -> None:
    """A typed random key."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or not jax.numpy.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"`{name}` must be a typed key such as jax.random.key(0), got {value!r}."
        )
    if np.ndim(value):
        raise TypeError(
            f"`{name}` must be one key, got keys of shape {np.shape(value)}; use jax.vmap "
            "over them."
        )


def as_sequence(values: Any) -> Any:
    """A list in place of a NumPy array of one axis; anything else as it is."""
    return values.tolist() if isinstance(values, np.ndarray) else values


def mode_dims(order: int, dims: Any) -> tuple[int, ...]:
    """One dimension a mode; a single int stands for all of them."""
    dims = as_sequence(dims)
    if not isinstance(dims, Sequence):
        return (at_least("mode_dims", dims, 1),) * order
    if len(dims) != order:
        raise ValueError(
            f"`mode_dims={tuple(dims)}` has {len(dims)} entries, expected {order}: one "
            "for each of the modes."
        )
    return tuple(at_least("mode_dims", dim, 1) for dim in dims)


def float_dtype(name: str, dtype: Any) -> np.dtype:
    """A floating dtype; None is the default one (float64 where x64 is enabled)."""
    resolved = jax.dtypes.canonicalize_dtype(float if dtype is None else dtype)
    if not jax.numpy.issubdtype(resolved, jax.numpy.floating):
        raise TypeError(f"`{name}={dtype}` must be a floating dtype.")
    return resolved
