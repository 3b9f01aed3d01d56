"""The one check that mode trees need, apart from the others because trees know no jax."""

import operator
from typing import Any

__all__ = ["at_least"]


def at_least(name: str, value: Any, least: int) -> int:
    """`value` as an int that is at least `least`.

    Raises:
      TypeError: not an integer (booleans and floats are not). ValueError: too small.
    """
    if isinstance(value, bool | float) or not hasattr(value, "__index__"):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if operator.index(value) < least:
        raise ValueError(f"`{name}={value}` must be at least {least}.")
    return operator.index(value)
