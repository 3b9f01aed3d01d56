"""The one check that mode trees need, apart from the others because trees know no jax."""

import operator
from typing import Any

__all__ = ["at_least"]


def at_least(name: str, value: Any, least: int) -> int:
    """`value` as an int that is at least `least`.

    Raises:
      TypeError: not an integer (booleans and floats are not). ValueError: too small.
    """
    try:
        # Booleans and arrays of one entry have an index too.
        plain = not (isinstance(value, bool) or getattr(value, "ndim", 0))
        plain = plain and not hasattr(value, "mask")  # NumPy's masked numbers
        number = operator.index(value) if plain else None
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if number < least:
        raise ValueError(f"`{name}={value}` must be at least {least}.")
    return number
