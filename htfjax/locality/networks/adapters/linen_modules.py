"""Modules of flax's linen, with their variables or an example to start from."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import flax.errors
import jax

from htfjax import _checks
from htfjax._types import PyTree
from htfjax.locality.networks.adapters import calls

STATISTICS = "batch_stats"


def from_module(module: Any, variables: object, images: jax.Array | None) -> calls.Adapted:
    """A network that starts at `variables`, or as `module.init` of `images` does."""
    if (variables is None) == (images is None):
        raise ValueError(
            "`variables` of a linen module, as `module.init` gives, or `images` to "
            "initialize it by: give one of the two."
        )
    takes = calls.parameters(type(module).__call__)
    if images is not None:

        def init(key: jax.Array) -> tuple[PyTree, PyTree]:
            _checks.key("key", key)
            options = calls.mode(takes, train=False)
            with _told_mode():
                variables = module.init(key, images, **options)
            return _parted(variables, takes)

        return calls.Adapted(init, _apply(module, takes))
    return calls.holding(*_parted(variables, takes), _apply(module, takes))


def _apply(module: Any, takes: Mapping[str, object]) -> calls.Apply:
    def apply(
        params: PyTree,
        statistics: PyTree,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None,
    ) -> tuple[PyTree, PyTree]:
        options: dict[str, Any] = calls.mode(takes, train)
        if "key" in takes:
            options["key"] = key
        moving = [STATISTICS] if train and statistics else False
        # Streams of other names, as that of dropout, fall back on this one.
        rngs = None if key is None else {"params": key}
        try:
            with _told_mode():
                found = module.apply(
                    {"params": params, **statistics}, x, rngs=rngs, mutable=moving,
                    **options,
                )  # fmt: skip
        except flax.errors.InvalidRngError as error:
            raise calls.needed_key("the network draws random numbers") from error
        if not moving:
            return found, statistics
        return found[0], dict(found[1])

    return apply


@contextlib.contextmanager
def _told_mode() -> Iterator[None]:
    """Runs a module; its layers must be told whether they train.

    Raises:
      ValueError: one that is not, as flax says it.
    """
    try:
        yield
    except ValueError as error:
        word = next((w for w in calls.MODES if f'"{w}"' in str(error)), None)
        if word is None or isinstance(error, flax.errors.FlaxError):
            raise
        value = "not train" if not calls.MODES[word] else "train"
        raise ValueError(
            f"`network` has a layer that is not told whether it trains: give `__call__` a "
            f"parameter `train`, and the layer `{word}={value}`."
        ) from error


def _parted(variables: object, takes: Mapping[str, object]) -> tuple[PyTree, PyTree]:
    """Params, and statistics with their collection's name."""
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise TypeError(
            "`variables` of a linen module must be what `module.init` gives, a dictionary "
            f'with "params", got {_checks.spell(variables)}.'
        )
    others = sorted(set(variables) - {"params", STATISTICS})
    if others:
        raise ValueError(
            f'`variables` has collections {others}; a network here has "params" and '
            f'"{STATISTICS}".'
        )
    statistics = {name: variables[name] for name in (STATISTICS,) if name in variables}
    if statistics and not calls.mode(takes, train=True):
        raise ValueError(
            "`network` has batch statistics, but its call takes none of "
            f"{', '.join(calls.MODES)}: give `__call__` one, so that evaluation uses the "
            "running ones."
        )
    return variables["params"], statistics
