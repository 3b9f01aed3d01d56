"""Types that signatures share: arrays by dtype and axes, pytrees, what functions accept.

`Float[Array, "R_v"]` and the like are jaxtyping's; tests check them where functions are
called. An argument that a function checks itself is an `object`, or says what it may be.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

__all__ = [
    "Array",
    "Bool",
    "DTypeLike",
    "Float",
    "Int",
    "Key",
    "Numbers",
    "Precision",
    "PyTree",
    "Shaped",
]

# What reads as an array of numbers: arrays, numbers, and nested lists of them.
Numbers: TypeAlias = ArrayLike | Sequence[Any]
# Precision of matrix products: "highest", `jax.lax.Precision.HIGH`, None, ...
Precision: TypeAlias = jax.lax.PrecisionLike
