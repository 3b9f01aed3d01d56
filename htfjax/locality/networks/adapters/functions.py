"""Functions: pairs (init, apply), apply(params, x) and functions of images alone."""

from collections.abc import Callable
from typing import Any

import jax

from htfjax import _checks
from htfjax._types import PyTree
from htfjax.locality import inputs as _inputs
from htfjax.locality.networks.adapters import calls

STATES = ("state", "statistics", "batch_stats")
KEYS = ("rng", "key")
FORMS = (
    "apply(params, x), apply(params, rng, x), apply(params, state, x) or "
    "apply(params, state, rng, x)"
)


def from_pair(
    init: Callable[..., Any], apply: Callable[..., Any], kind: str, images: Any
) -> calls.Adapted:
    """A network from a pair of functions.

    Args:
      kind: name of the pair's type. Of haiku's the types say what `apply` takes, of others
        its parameters' names.
    """
    stateful, keyed = _form(apply, kind)
    by_example = len(calls.positional(init)) > 1 or (
        calls.takes_any(init) and images is not None
    )
    if by_example and images is None:
        raise ValueError(
            "`images` is missing: `init` of the pair takes (key, x), so it needs images to "
            "initialize by."
        )
    if not by_example:
        calls.refuse_extra("`init` of the pair takes a key alone", images=images)

    def start(key: jax.Array) -> tuple[PyTree, PyTree]:
        _checks.key("key", key)
        found = init(key, images) if by_example else init(key)
        if not stateful:
            return found, {}
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                "`network.init` must return (params, state), as its `apply` takes both, "
                f"got {_checks.spell(found)}."
            )
        return found

    takes = calls.parameters(apply)

    def run(
        params: PyTree,
        statistics: PyTree,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None,
    ) -> tuple[PyTree, PyTree]:
        before = (statistics,) if stateful else ()
        found = apply(
            params, *before, *((key,) if keyed else ()), x, **calls.mode(takes, train)
        )
        if not stateful:
            return found, statistics
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                "`network.apply` must return (logits, state), as it takes a state, got "
                f"{_checks.spell(found)}."
            )
        return found[0], found[1] if train else statistics

    return calls.Adapted(start, run)


def from_function(apply: Callable[..., Any], variables: Any) -> calls.Adapted:
    """A network from apply(params, x)."""
    if len(calls.positional(apply)) != 2 and not calls.takes_any(apply):
        raise ValueError(
            "`network` is given with `variables`, so it must be apply(params, x), got "
            f"parameters {list(calls.parameters(apply))}."
        )
    for leaf in jax.tree.leaves(variables):
        _inputs.numbers("variables", leaf)
    takes = calls.parameters(apply)

    def run(
        params: PyTree,
        statistics: PyTree,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None,
    ) -> tuple[PyTree, PyTree]:
        calls.check_structure("params", params, variables)
        return apply(params, x, **_options(takes, train, key)), statistics

    return calls.holding(variables, {}, run)


def from_logits(logits_fn: Callable[..., Any]) -> calls.Adapted:
    """A network without parameters, from a function of images."""
    takes = calls.parameters(logits_fn)
    needed = [n for n in calls.positional(logits_fn) if n not in (*KEYS, *calls.MODES)]
    if len(needed) > 1:
        raise ValueError(
            f"`variables` is missing: `network` takes {', '.join(needed)}. Give the params "
            "of apply(params, x) as `variables`; without them it is a function of images."
        )

    def run(
        params: PyTree,
        statistics: PyTree,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None,
    ) -> tuple[PyTree, PyTree]:
        del params
        return logits_fn(x, **_options(takes, train, key)), statistics

    return calls.holding({}, {}, run)


def _options(takes: dict[str, Any], train: bool, key: jax.Array | None) -> dict[str, Any]:
    return calls.mode(takes, train) | {name: key for name in KEYS if name in takes}


def _form(apply: Callable[..., Any], kind: str) -> tuple[bool, bool]:
    """Whether `apply` takes a state, and whether a key."""
    if kind in ("Transformed", "TransformedWithState"):
        made_by = getattr(apply, "__qualname__", "")
        return kind == "TransformedWithState", not made_by.startswith("without_apply_rng")
    middle = calls.positional(apply)[1:-1]
    stateful = bool(middle) and middle[0] in STATES
    rest = middle[1:] if stateful else middle
    keyed = bool(rest) and rest[0] in KEYS
    if len(calls.positional(apply)) < 2 or rest[keyed:]:
        raise ValueError(
            f"`network` is a pair, whose second function must be {FORMS}, got parameters "
            f"{list(calls.parameters(apply))}."
        )
    return stateful, keyed
