"""Calls and kinds: what a function is tried with, and how an answer is judged."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

import htfjax as htf

__all__ = [
    "Call",
    "Form",
    "Kind",
    "Make",
    "Unreadable",
    "Wrong",
    "always",
    "names_parameter",
]

Make = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Form:
    """Another right value.

    Attributes:
      exact: an equal one gives the same bits; else the same numbers to 1e-6.
    """

    label: str
    make: Make
    exact: bool = True


@dataclasses.dataclass(frozen=True)
class Wrong:
    """A wrong value, made from the right one.

    Attributes:
      says: what the message may name in backticks in place of the parameter.
      kinds: exceptions that answer it.
    """

    label: str
    make: Make
    says: tuple[str, ...] = ()
    kinds: tuple[type[Exception], ...] = (TypeError, ValueError)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a parameter takes."""

    name: str
    wrong: tuple[Wrong, ...] = ()
    equal: tuple[Form, ...] = ()
    right: tuple[Form, ...] = ()

    def but(self, *, without: str = "", wrong: tuple[Wrong, ...] = ()) -> "Kind":
        """This kind without some wrong values (labels, spaced) and with others."""
        left = tuple(w for w in self.wrong if w.label not in without.split())
        return dataclasses.replace(self, wrong=(*left, *wrong))

    def or_none(self) -> "Kind":
        """The kind of a parameter that may be left out."""
        return self.but(without="none")

    def besides(self, *values: Any, says: str = "") -> "Kind":
        """This kind with other wrong values; `says`: names that may stand for it."""
        more = (Wrong(_label(v), always(v), tuple(says.split())) for v in values)
        return self.but(wrong=tuple(more))


@dataclasses.dataclass(frozen=True)
class Call:
    """A right call: a function, fresh arguments by name, and the kind of each.

    Attributes:
      read: what is done with the result, to have all of it.
      slow: seconds rather than milliseconds a call.
    """

    function: Callable[..., Any]
    arguments: Callable[[], dict[str, Any]]
    kinds: Mapping[str, Kind]
    read: Callable[[Any], Any] = lambda result: _by_node(result)
    slow: bool = False

    def __call__(self, **changed: Any) -> Any:
        """The call with some arguments changed."""
        return self.read(self.function(**(self.arguments() | changed)))


def names_parameter(message: str, parameter: str, wrong: Wrong) -> bool:
    """Whether a message names the parameter (or what may stand for it) in backticks."""
    return any(f"`{name}" in message for name in (parameter, *wrong.says))


class Unreadable:
    """An object that is nothing, and whose repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def always(value: Any) -> Make:
    return lambda _: value


def _by_node(result: Any) -> Any:
    """Mappings as dicts and grouped factors as plain ones, wherever they are inside."""
    kinds = (Mapping, htf.GroupedFactors)

    def plain(x: Any) -> Any:
        if isinstance(x, htf.GroupedFactors):
            return htf.ungroup(x)
        return dict(x) if isinstance(x, Mapping) else x

    return jax.tree.map(plain, result, is_leaf=lambda x: isinstance(x, kinds))


def _label(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = type(value).__name__
    return "none" if value is None else text[:60]
