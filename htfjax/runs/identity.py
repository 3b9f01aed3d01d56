"""Identity of settings and values: JSON values by which a folder tells them apart."""

import dataclasses
import enum
import json
import os
from collections.abc import Sequence

import numpy as np

from htfjax.trees.mode_tree import ModeTree


def described(value: object) -> object:
    """A value as JSON values, classes by their qualified names.

    Raises:
      TypeError: a value without a name of its own.

    Example:
      >>> described((1, np.dtype("float32"), None))
      [1, 'float32', None]
    """
    if isinstance(value, ModeTree):
        return described(value.nested)
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return [described(v) for v in value]
    if (fields := fields_of(value)) is not None:
        return named(value, {name: described(v) for name, v in fields.items()})
    name = getattr(value, "__qualname__", "<")
    if callable(value) and "<" not in name:  # no lambda, no function inside another
        return f"{value.__module__}.{name}"
    raise TypeError(f"a {type(value).__name__} has no name of its own")


def text(value: object) -> str:
    """`described` as a text: 1, 1.0 and True, which are equal, have different ones."""
    return json.dumps(described(value))


def fields_of(value: object) -> dict[str, object] | None:
    """Fields of an instance of a dataclass or of a named tuple, None for anything else."""
    if isinstance(value, tuple) and (names := getattr(value, "_fields", None)):
        return dict(zip(names, value, strict=True))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return None
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def named(value: object, fields: dict[str, object]) -> dict[str, object]:
    """Described fields beside the name of their class, without its module.

    The module of a script has several names.
    """
    return {"class": type(value).__qualname__, **fields}


def labels(values: Sequence[object]) -> list[str | float]:
    """Labels of the values of an axis: numbers and texts as they are, others spelled.

    Example:
      >>> labels((0.5, 1)), labels((8, (8, 4))), labels((None, "None"))
      ([0.5, 1], ['8', '(8, 4)'], ['null', '"None"'])
    """
    numbers = [v for v in values if isinstance(v, int | float)]
    if len(numbers) == len(values):
        return [*numbers]
    spelled = [_spell(v) for v in values]
    return [*spelled] if len(set(spelled)) == len(values) else [text(v) for v in values]


def _spell(value: object) -> str:
    if isinstance(value, ModeTree):
        return repr(value.nested)
    plain = described(value)
    if isinstance(plain, str):  # of a text, an enum, a path or a function
        return plain
    spelled = repr(value)
    # Of some objects it shows an address, of others it takes several lines.
    return text(value) if " at 0x" in spelled or "\n" in spelled else spelled
