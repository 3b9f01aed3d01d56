"""Integers and their errors, apart from the other checks because trees know no jax."""

import operator
from typing import Any


def spell(value: object, most: int = 80) -> str:
    """A value as an error shows it: short, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a foreign object's repr may do anything
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}... ({type(value).__name__})"


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
        raise TypeError(f"`{name}` must be an integer, got {spell(value)}.")
    if number < least:
        raise ValueError(f"`{name}={value}` must be at least {least}.")
    return number
