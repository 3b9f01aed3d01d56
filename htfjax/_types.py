"""Types that signatures share: arrays by dtype and axes, pytrees, what functions accept.

`Float[Array, "R_v"]` and the like are jaxtyping's; tests check them where functions are
called. An argument that a function checks itself is an `object`, or says what it may be.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

import jax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

__all__ = [
    "Array",
    "ArrayLike",
    "Bool",
    "DTypeLike",
    "Dims",
    "Float",
    "Int",
    "Key",
    "Numbers",
    "Params",
    "Precision",
    "PyTree",
    "Shaped",
]

# What reads as an array of numbers: arrays, numbers, and nested lists of them.
Numbers: TypeAlias = ArrayLike | Sequence[Any]
# One number for all modes or nodes, or one each.
Dims: TypeAlias = int | Sequence[int]
# Precision of matrix products: "highest", `jax.lax.Precision.HIGH`, None, ...
Precision: TypeAlias = jax.lax.PrecisionLike
# A pytree of parameters that comes back as the same kind.
Params = TypeVar("Params")
