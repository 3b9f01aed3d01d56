"""Calls of a user's network: what its signature says it takes besides images."""

import inspect
from collections.abc import Callable, Container
from typing import Any, NamedTuple, Protocol

import jax

from htfjax import _checks
from htfjax._types import PyTree

# Words for the mode of a call, and their value in training.
MODES = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
    "inference": False,
}


class Apply(Protocol):
    """`Network.apply` before its arguments and logits are checked."""

    def __call__(
        self,
        params: PyTree,
        statistics: PyTree,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None,
    ) -> tuple[PyTree, PyTree]:
        """(logits, new statistics)."""
        ...


class Adapted(NamedTuple):
    """Start and call of a network, and the weights that it holds."""

    init: Callable[[jax.Array], tuple[PyTree, PyTree]]
    apply: Apply
    held: tuple[PyTree, PyTree] | None = None  # params and statistics


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Parameters by name; none of what has no signature."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def positional(function: Callable[..., Any]) -> list[str]:
    """Names of the positional parameters without defaults."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        name
        for name, p in parameters(function).items()
        if p.kind in kinds and p.default is inspect.Parameter.empty
    ]


def takes_any(function: Callable[..., Any]) -> bool:
    """Whether a function takes any number of positional arguments."""
    kinds = [p.kind for p in parameters(function).values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds


def mode(names: Container[str], train: bool) -> dict[str, bool]:
    """The words of the mode that are among `names`, for a call."""
    return {word: train == value for word, value in MODES.items() if word in names}


def needed_key(why: str) -> ValueError:
    """The error of a call in training without a key."""
    return ValueError(f"`key` is needed in training: {why}.")


def holding(params: PyTree, statistics: PyTree, apply: Apply) -> Adapted:
    """A network that starts at weights which are there, whatever the key."""

    def init(key: jax.Array) -> tuple[PyTree, PyTree]:
        _checks.key("key", key)
        return params, statistics

    return Adapted(init, apply, (params, statistics))


def check_structure(name: str, given: PyTree, wanted: PyTree) -> None:
    """A pytree of the same structure.

    Raises:
      ValueError: another one.
    """
    if jax.tree.structure(given) != jax.tree.structure(wanted):
        raise ValueError(
            f"`{name}` are of another network: expected "
            f"{_checks.spell(jax.tree.structure(wanted))}, got "
            f"{_checks.spell(jax.tree.structure(given))}."
        )


def refuse_extra(kind: str, **given: object) -> None:
    """Arguments that a kind of network has no use for.

    Raises:
      ValueError: one that is there.
    """
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"`{name}` is given, but {kind}; leave it out.")
