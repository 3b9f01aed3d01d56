"""Types that signatures share: arrays by dtype and axes, pytrees, numbers, JSON.

`Float[Array, "R_v"]` and the like are jaxtyping's; tests check them where functions are
called. An argument that a function checks itself is an `object`, or says what it may be.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import jax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

if TYPE_CHECKING:
    # A pytree may be any object. jaxtyping's name means that too, by an expression that
    # type checkers cannot resolve: to them it, and what it occurs in, is of unknown type.
    PyTree: TypeAlias = Any
    # An object of another library, which is not there when types are checked.
    Foreign: TypeAlias = PyTree
else:
    from jaxtyping import PyTree

    Foreign = object

__all__ = [
    "Array", "ArrayLike", "Bool", "DTypeLike", "Dims", "Float", "Foreign", "Int",
    "JsonObject", "Key", "Numbers", "Params", "PathLike", "Precision", "PyTree", "Shaped",
]  # fmt: skip

# What reads as an array of numbers: arrays, numbers, and nested lists of them.
Numbers: TypeAlias = ArrayLike | Sequence[Any]
# A JSON object as `json.loads` reads it.
JsonObject: TypeAlias = dict[str, Any]
PathLike: TypeAlias = str | os.PathLike[str]
# One number for all modes or nodes, or one each.
Dims: TypeAlias = int | Sequence[int]
# Precision of matrix products: "highest", `jax.lax.Precision.HIGH`, None, ...
Precision: TypeAlias = jax.lax.PrecisionLike
# A pytree of parameters that comes back as the same kind.
Params = TypeVar("Params")
