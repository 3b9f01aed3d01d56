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
    options: type, words: Sequence[str], quick: Mapping[str, Any] | None,
    more: type | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """`tyro.cli` for the options, which have the switch where `quick` has values for it.

    Args:
      more: dataclass of options that stand beside them, all of which have defaults.
    """
    if quick is None and more is None:
        return functools.partial(tyro.cli, options)
    # A subclass for the command line alone: neither folders nor runs know of the rest.
    wider = dataclasses.make_dataclass(
        options.__name__, [] if quick is None else [_switch(quick)],
        bases=(options,) if more is None else (more, options), frozen=True,
    )  # fmt: skip
    wider.__doc__, wider.__module__ = options.__doc__, options.__module__
    small = quick if quick is not None and SWITCH in words else {}
    return functools.partial(tyro.cli, wider, default=wider(**required(options), **small))


def _switch(quick: Mapping[str, Any]) -> tuple[str, Any, bool]:
    """The field of `--quick`."""
    listed = ", ".join(f"{flag(name)} {_spell(value)}" for name, value in quick.items())
    hint = tyro.conf.arg(help=f"A small version, for options that are not given: {listed}.")
    return "quick", Annotated[tyro.conf.FlagCreatePairsOff[bool], hint], False


def required(options: type) -> dict[str, Any]:
    """Options without a default, which the command line has to give."""
    return {
        field.name: tyro.MISSING
        for field in dataclasses.fields(options)
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    }


def narrowed(asked: Any, options: type) -> Any:
    """Those of the options that are of a class, as that class."""
    names = [field.name for field in dataclasses.fields(options)]
    return options(**{name: getattr(asked, name) for name in names})


def _spell(value: Any) -> str:
    """A value as it is typed."""
    return shlex.join(map(str, value if isinstance(value, tuple) else (value,)))
