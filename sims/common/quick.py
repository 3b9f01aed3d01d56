"""Switch `--quick`: other defaults, for the options that are not given."""

import dataclasses
import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import tyro

from .settings import flag

SWITCH = "--quick"


def reader(
    options: type, words: Sequence[str], quick: Mapping[str, Any] | None
) -> Callable[..., Any]:
    """`tyro.cli` for the options, which have the switch where `quick` has values for it."""
    if quick is None:
        return functools.partial(tyro.cli, options)
    listed = ", ".join(f"{flag(name)} {_spell(value)}" for name, value in quick.items())
    hint = tyro.conf.arg(help=f"A small version, for options that are not given: {listed}.")
    switch = ("quick", Annotated[tyro.conf.FlagCreatePairsOff[bool], hint], False)
    # A subclass for the command line alone: neither folders nor runs know of the switch.
    wider = dataclasses.make_dataclass(
        options.__name__, [switch], bases=(options,), frozen=True
    )
    wider.__doc__, wider.__module__ = options.__doc__, options.__module__
    default = wider(**required(options), **(quick if SWITCH in words else {}))
    return functools.partial(tyro.cli, wider, default=default)


def required(options: type) -> dict[str, Any]:
    """Options without a default, which the command line has to give."""
    return {
        field.name: tyro.MISSING
        for field in dataclasses.fields(options)
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    }


def without_switch(asked: Any, options: type) -> Any:
    """The options of a command as its own class."""
    names = [field.name for field in dataclasses.fields(options)]
    return options(**{name: getattr(asked, name) for name in names})


def _spell(value: Any) -> str:
    """A value as it is typed."""
    return shlex.join(map(str, value if isinstance(value, tuple) else (value,)))
