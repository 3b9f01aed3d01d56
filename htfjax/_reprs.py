"""Representations of objects in a dozen lines: structure, shapes, dtypes and few numbers.

A class takes them by a `__repr__` that returns `text(self)`. Shown are its fields, or what
its `__pdoc__` gives: the hook of `wadler_lindig`, which lays the text out. Arrays stand as
`f32[8,64]`, and only short ones are read. Nothing fails, whatever a field holds: jax
unflattens pytrees with tracers, shapes and plain objects for leaves.
"""

import dataclasses
import functools
import itertools
import operator
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from wadler_lindig import (
    AbstractDoc,
    BreakDoc,
    TextDoc,
    array_summary,
    bracketed,
    comma,
    pdoc,
    pformat,
)

from htfjax._integers import spell
from htfjax.trees.mode_tree import ModeTree

WIDTH, MOST_LINES = 88, 12
MOST_ITEMS = 6  # of a container
MOST_DEPTH = 6  # of containers in each other
MOST_CHARACTERS = 60  # of a text, and of what is not known here
MOST_NODES = 24  # of a tree that is spelled
MOST_READ = 2**16  # entries of an array whose ends are shown
# Equal items in a row that are counted, not repeated: arrays alike, and others.
ALIKE, EQUAL = 2, 5


def text(self: object) -> str:
    """A representation, in at most 12 lines; the `__repr__` of classes.

    Example:
      >>> text([np.zeros((8, 64)), np.zeros((8, 64)), "a", None])
      "[2 x f64[8,64](numpy), 'a', None]"
    """
    try:
        lines = pformat(doc(self), width=WIDTH).splitlines()
    except Exception:  # nesting beyond Python's recursion limit
        lines = [f"<{type(self).__name__}>"]
    return "\n".join(_folded(lines))


def doc(value: object, depth: int = 0) -> AbstractDoc:
    """A representation that has not been laid out yet."""
    return pdoc(value, custom=functools.partial(_custom, depth=depth))


def record(value: object, /, **fields: object) -> AbstractDoc:
    """The class of an object and some fields; those that are None or empty are left out."""
    docs = [
        TextDoc(f"{name}=") + doc(field)
        for name, field in fields.items()
        if field is not None and not _is_empty(field)
    ]
    return _bracketed(f"{type(value).__name__}(", docs, ")")


def changed(value: Any) -> dict[str, object]:
    """Fields of a dataclass whose values are not the default ones, by name."""
    fields = {
        f.name: (getattr(value, f.name), f.default) for f in dataclasses.fields(value)
    }
    return {n: x for n, (x, usual) in fields.items() if not _same(x, usual)}


def wrapped(value: object, content: object) -> AbstractDoc:
    """The class of an object and what it holds."""
    return TextDoc(f"{type(value).__name__}(") + doc(content) + TextDoc(")")


def total(value: object, terms: Iterable[object]) -> AbstractDoc:
    """The class of an object that is a sum, and its terms."""
    plus = BreakDoc(" ") + TextDoc("+ ")
    docs = _capped(map(doc, terms))
    return bracketed(TextDoc(f"{type(value).__name__}("), docs, plus, TextDoc(")"), 2)


def times(weight: object, value: object) -> AbstractDoc:
    """A number times an object; 1 is left out."""
    one = isinstance(weight, int | float) and weight == 1
    return doc(value) if one else doc(weight) + TextDoc(" * ") + doc(value)


def ends(value: object) -> AbstractDoc:
    """An array (K,) and its first and last number, where they can be read.

    Example:
      >>> pformat(ends(np.array([2.0, 0.5, 1 / 128])))
      'f64[3](numpy) from 2 to 0.007812'
    """
    found = ends_of(value)
    if found is None:
        return doc(value)
    return TextDoc(f"{array(value)} from {found[0]} to {found[1]}")


def ends_of(value: object) -> tuple[str, str] | None:
    """First and last number of an array (K,), None where they cannot be read."""
    if getattr(value, "ndim", 0) != 1 or (found := _read(value)) is None or not found.size:
        return None
    return _figure(found[0].item()), _figure(found[-1].item())


def number(value: Any) -> Any:
    """An array () as Python's number, None where it cannot be read."""
    found = None if getattr(value, "ndim", 1) else _read(value)
    return None if found is None else found.item()


def sizes(values: Any) -> Any:
    """One number for sizes that are all the same, as functions take them.

    Example:
      >>> sizes((8, 8, 8)), sizes((8, 4))
      (8, (8, 4))
    """
    return values[0] if len(set(values)) == 1 else values


def digits(values: object) -> object:
    """Numbers as text of four digits; other things as they are.

    Example:
      >>> pformat(doc(digits((0.123456, 2, None))))
      '(0.1235, 2, None)'
    """
    if isinstance(values, tuple):
        return tuple(map(digits, values))
    return TextDoc(f"{values:.4g}") if isinstance(values, float) else values


def as_range(numbers: Sequence[int]) -> Sequence[int]:
    """Whole numbers as a range, if they are one of more than a few."""
    if len(numbers) > MOST_ITEMS:
        found = range(numbers[0], numbers[0] + len(numbers))
        return found if all(map(operator.eq, numbers, found)) else numbers
    return numbers


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in short.

    Example:
      >>> ranges((0, 1, 2, 3, 6, 8, 9))
      '0 to 3, 6, 8 to 9'
    """
    found = []
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        (_, first), *rest = run
        found.append(f"{first} to {rest[-1][1]}" if rest else f"{first}")
    more = ["..."] if len(found) > MOST_ITEMS else []
    return ", ".join(found[:MOST_ITEMS] + more)


def array(value: Any) -> str:
    """Dtype and shape of anything that has them.

    Example:
      >>> array(jax.ShapeDtypeStruct((8, 64), "bfloat16"))
      'bf16[8,64]'
    """
    name = str(value.dtype).rsplit(".", 1)[-1]
    kind = "numpy" if isinstance(value, np.ndarray) else None
    return array_summary(value.shape, name, kind).text


def _folded(lines: list[str]) -> list[str]:
    """At most 12 lines: what stands deepest in brackets becomes an ellipsis."""
    while len(lines) > MOST_LINES:
        depths = [len(line) - len(line.lstrip()) for line in lines]
        deepest = max(depths)
        end = len(lines) - depths[::-1].index(deepest)
        start = end - 1
        while start and depths[start - 1] == deepest:
            start -= 1
        if not 0 < start < end < len(lines):
            return [*lines[: MOST_LINES - 1], "..."]
        folded = f"{lines[start - 1]}...{lines[end].lstrip()}"
        lines = [*lines[: start - 1], folded, *lines[end + 1 :]]
    return lines


def _custom(value: object, depth: int) -> AbstractDoc | None:
    """What `wadler_lindig` is to show, None for its own way."""
    try:
        return _shown(value, depth)
    except Exception:
        return TextDoc(f"<{type(value).__name__}>")


def _shown(value: Any, depth: int) -> AbstractDoc | None:
    if hasattr(type(value), "__pdoc__"):
        return _own(value)
    if isinstance(value, ModeTree):
        small = value.num_nodes <= MOST_NODES
        return TextDoc(str(value.nested) if small else repr(value))
    if _is_array(value):
        plain = number(value)
        return TextDoc(array(value) if plain is None else _figure(plain))
    if _is_plain(value):
        return _container(value, depth)
    known = types.FunctionType | functools.partial | type | tuple
    if isinstance(value, known) or dataclasses.is_dataclass(value):
        return None
    if type(value).__repr__ is object.__repr__:  # it would show an address
        return TextDoc(f"<{type(value).__name__}>")
    return TextDoc(spell(value, MOST_CHARACTERS))


def _own(value: Any) -> AbstractDoc:
    """What a class shows, or its fields as they are where that fails."""
    try:
        return value.__pdoc__(custom=functools.partial(_custom, depth=0))
    except Exception:
        named = getattr(value, "_fields", None)
        names = named or [field.name for field in dataclasses.fields(value)]
        return record(value, **{name: getattr(value, name, None) for name in names})


def _container(value: Any, depth: int) -> AbstractDoc:
    """A plain tuple, list or dict."""
    left, right = {tuple: "()", list: "[]", dict: "{}"}[type(value)]
    if depth >= MOST_DEPTH and value:
        return TextDoc(f"{left}...{right}")
    if isinstance(value, dict):
        docs = _capped((_entry(*pair, depth) for pair in value.items()), len(value))
    else:
        docs = _capped(_runs(value, depth), len(value))
    alone = isinstance(value, tuple) and len(value) == 1
    return _bracketed(left, docs, f",{right}" if alone else right)


def _entry(name: object, value: object, depth: int) -> AbstractDoc:
    return doc(name, depth + 1) + TextDoc(": ") + doc(value, depth + 1)


def _runs(values: Sequence[object], depth: int) -> Iterator[AbstractDoc]:
    """Items; of several in a row that look the same one, with their number."""
    for _, run in itertools.groupby(values, _look):
        same = list(run)
        if len(same) >= (ALIKE if _is_array(same[0]) else EQUAL):
            yield TextDoc(f"{len(same)} x ") + doc(same[0], depth + 1)
        else:
            yield from (doc(x, depth + 1) for x in same)


def _look(value: Any) -> object:
    """A key that is equal for values that look the same."""
    if _is_array(value) and value.shape:
        return "array", value.shape, value.dtype, isinstance(value, np.ndarray)
    if value is None or isinstance(value, bool | int | float | str):
        return type(value), value
    return object()


def _same(value: object, usual: object) -> bool:
    """Whether two plain values are equal; anything else, traced numbers too, is not."""
    plain = value is None or isinstance(value, bool | int | float | str | tuple)
    return plain and type(value) is type(usual) and value == usual


def _capped(docs: Iterable[AbstractDoc], count: int | None = None) -> list[AbstractDoc]:
    """The first documents and, where there are more, the number of all items."""
    shown = list(itertools.islice(docs, MOST_ITEMS + 1))
    if len(shown) <= MOST_ITEMS:
        return shown
    rest = "..." if count is None else f"... {count} in all"
    return [*shown[:MOST_ITEMS], TextDoc(rest)]


def _bracketed(begin: str, docs: Sequence[AbstractDoc], end: str) -> AbstractDoc:
    """Few documents on lines of their own, many as they fit; all on one if they do."""
    if len(docs) <= MOST_ITEMS:
        return bracketed(TextDoc(begin), docs, comma, TextDoc(end), indent=2)
    first, *rest = docs
    filled = functools.reduce(operator.add, [(comma + x).group() for x in rest], first)
    nested = (BreakDoc("") + filled).nest(2) + BreakDoc("")
    return (TextDoc(begin) + nested + TextDoc(end)).group()


def _is_array(value: object) -> bool:
    """Whether it has shape and dtype, as arrays, tracers and shapes of jax have."""
    return isinstance(getattr(value, "shape", None), tuple) and hasattr(value, "dtype")


def _is_plain(value: object) -> bool:
    return type(value) in (tuple, list, dict)


def _is_empty(value: object) -> bool:
    return isinstance(value, tuple | list | Mapping) and not len(value)


def _read(value: object) -> np.ndarray | None:
    """A short array, None where its values cannot be looked at now."""
    known = isinstance(value, np.ndarray | np.generic | jax.Array)
    if not known or isinstance(value, Tracer) or value.size > MOST_READ:
        return None
    try:
        return np.asarray(value)
    except Exception:  # deleted, of another process, a random key, a forbidden transfer
        return None


def _figure(plain: object) -> str:
    return f"{plain:.4g}" if isinstance(plain, float | complex) else str(plain)
