"""Records of results: the nested type in words, and the numbers in short."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf

WHOLE = 12  # arrays of this size and below are stored entry by entry
PROJECTIONS = 3


def describe(value: Any) -> str:
    """The nested type: containers, dtypes and shapes; whole numbers and words as they are.

    A pytree that is neither of the public kinds nor a plain container goes by its name.
    """
    if isinstance(value, jax.Array):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, np.ndarray | np.generic):
        return f"numpy {value.dtype}{list(value.shape)}"
    if isinstance(value, float):
        return "float"
    if isinstance(value, int | str | None):
        return repr(value)
    name = "" if type(value) in (dict, tuple, list) else type(value).__name__
    if (parts := _parts(value)) is None:
        return name
    inside = ", ".join(f"{label}: {describe(part)}" for label, part in parts)
    return f"{name}[{inside}]" if isinstance(value, list) else f"{name}({inside})"


def leaves(value: Any) -> Iterator[Any]:
    """Arrays and floats in the order in which `describe` names them."""
    if isinstance(value, jax.Array | np.ndarray | np.generic | float):
        yield value
    elif not isinstance(value, int | str | None):
        for _, part in _parts(value) or ():
            yield from leaves(part)


def contracted(value: Any) -> jax.Array:
    """A number that depends on every floating entry of a result."""
    total: Any = 0.0
    for leaf in leaves(value):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            weights = jnp.asarray(_waves(1, leaf.size)[0], leaf.dtype)
            total = total + jnp.sum(weights * jnp.ravel(leaf))
    return total


def numbers(value: Any) -> np.ndarray:
    """Every leaf in short, one after the other, float64."""
    parts = [shortened(np.asarray(leaf, np.float64)) for leaf in leaves(value)]
    return np.concatenate([np.zeros(0), *parts])


def shortened(array: np.ndarray) -> np.ndarray:
    """The entries, or the largest size and a few projections where there are many."""
    flat = array.ravel()
    if flat.size <= WHOLE:
        return flat
    return np.array([np.max(np.abs(flat)), *(_waves(PROJECTIONS, flat.size) @ flat)])


def worst(found: Any, stored: np.ndarray, *, together: bool) -> float:
    """Largest difference to what is stored, relative to the largest entry of its array.

    `together` measures all arrays by the largest of them: of a gradient, what rounding
    leaves of a zero is no number of its own.
    """
    arrays = [np.asarray(leaf) for leaf in leaves(found)]
    ends = np.cumsum([shortened(a).size for a in arrays])
    pieces = np.split(stored, ends[:-1]) if arrays else []
    assert stored.size == (ends[-1] if arrays else 0)
    sizes = [float(np.max(np.abs(piece), initial=0.0)) for piece in pieces]
    errors = [0.0]
    for array, piece, size in zip(arrays, pieces, sizes, strict=True):
        fresh = shortened(array.astype(np.float64))
        difference = np.where(fresh == piece, 0.0, np.abs(fresh - piece))  # equal inf
        difference = np.where(np.isnan(fresh) & np.isnan(piece), 0.0, difference)
        error = float(np.max(difference, initial=0.0))
        if np.isnan(error) or (array.dtype.kind not in "f" and error > 0):
            return np.inf  # whole numbers and truth values are exact
        errors.append(error / ((max(sizes) if together else size) or 1.0))
    return max(errors)


def _parts(value: Any) -> list[tuple[Any, Any]] | None:
    """Names and parts of a container."""
    if isinstance(value, Mapping):
        return [(key, value[key]) for key in sorted(value)]
    if isinstance(value, htf.GroupedFactors):
        return [("ungrouped", htf.ungroup(value))]
    if isinstance(value, htf.Factors):
        return [*enumerate(value.weights), ("fixed", value.fixed)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(name, getattr(value, name)) for name in getattr(value, "_fields")]  # noqa: B009
    if isinstance(value, tuple | list):
        return list(enumerate(value))
    return None


def _waves(count: int, size: int) -> np.ndarray:
    """(count, size) weights of unit length that no symmetry of an array can hide from."""
    places = np.arange(1, size + 1) * np.sqrt(2.0) + 0.5
    waves = np.cos(np.outer(np.sqrt([2.0, 3.0, 5.0, 7.0])[:count], places**1.1))
    return waves / np.linalg.norm(waves, axis=1, keepdims=True)
