"""Modules of flax's nnx: a module with its weights, or a function that builds one."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from htfjax import _checks
from htfjax.locality.networks.adapters import calls
from htfjax.locality.networks.conv_ac import Fixed

Arrays = dict[str, jax.Array]  # dotted names, such as "stages.0.conv.kernel"
# What is trained, what runs along or stays, and random streams.
KINDS = (nnx.Param, (nnx.BatchStat, Fixed), nnx.RngState)


def from_factory(make: Callable[..., Any]) -> calls.Adapted:
    """A network from a function of `nnx.Rngs`."""
    others = [name for name in calls.positional(make) if name != "rngs"]
    by_name = "rngs" in calls.parameters(make)
    if by_name and others:
        raise ValueError(
            f"`network` takes {', '.join(others)} besides `rngs`; give a function of "
            "`rngs` alone, such as `lambda rngs: Net(16, rngs=rngs)`."
        )

    def build(rngs: nnx.Rngs) -> Any:
        # Modules may take it by name alone.
        return make(rngs=rngs) if by_name else make(rngs)

    module = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    _checks.instance("network(rngs)", module, nnx.Module, "it builds the network")

    def init(key: jax.Array) -> tuple[Arrays, Arrays]:
        _checks.key("key", key)
        return _weights(build(nnx.Rngs(key)))

    return calls.Adapted(init, _apply(module))


def from_module(module: nnx.Module) -> calls.Adapted:
    """A network from a module; it starts at the module's weights."""
    return calls.holding(*_weights(module), _apply(module))


def _apply(module: nnx.Module) -> calls.Apply:
    graph, *states, rest = nnx.split(module, *KINDS, ...)
    if nnx.to_flat_state(rest):
        names = [_dotted(path) for path, _ in nnx.to_flat_state(rest)]
        raise ValueError(
            "`network` has variables that are neither Param nor BatchStat nor random "
            f"streams: {names}."
        )
    flat = [nnx.to_flat_state(s) for s in states]
    kinds = [{_dotted(path): (path, type(v)) for path, v in each} for each in flat[:2]]
    streams = [(path, variable) for path, variable in flat[2]]
    takes = calls.parameters(type(module).__call__)

    def apply(
        params: Arrays,
        statistics: Arrays,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None,
    ) -> tuple[Any, Arrays]:
        if streams and train and key is None:
            raise calls.needed_key("the network has random streams, of dropout for example")
        given = []
        for name, arrays, wanted in zip(
            ("params", "statistics"), (params, statistics), kinds, strict=True
        ):
            _check_names(name, arrays, wanted)
            variables = {path: kind(arrays[n]) for n, (path, kind) in wanted.items()}
            given.append(nnx.from_flat_state(variables))
        seeded = nnx.from_flat_state(
            {path: v.replace(_seeded(v, key, n)) for n, (path, v) in enumerate(streams)}
        )
        # Fresh variables, so that this may run inside any number of derivatives.
        copy: Any = nnx.merge(graph, *given, seeded, copy=True)
        copy.set_attributes(
            deterministic=not train, use_running_average=not train, raise_if_not_found=False
        )
        options: dict[str, Any] = calls.mode(takes, train)
        if "key" in takes:
            options["key"] = key
        if "rngs" in takes and key is not None:
            options["rngs"] = nnx.Rngs(key)
        logits = copy(x, **options)
        return logits, _arrays(nnx.split(copy, *KINDS, ...)[2])

    return apply


def _seeded(variable: Any, key: jax.Array | None, number: int) -> jax.Array:
    """Key or counter of a random stream, from the call's key; without one any will do."""
    like = variable.get_value()
    if key is None or not jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jnp.zeros(like.shape, like.dtype)
    own = jax.random.fold_in(key, number)
    return jax.random.split(own, like.shape) if like.shape else own


def _weights(module: object) -> tuple[Arrays, Arrays]:
    _, params, statistics, _, _ = nnx.split(module, *KINDS, ...)
    return _arrays(params), _arrays(statistics)


def _check_names(name: str, given: object, needed: Mapping[str, Any]) -> None:
    """Arrays by the dotted names of a network."""
    if not isinstance(given, Mapping):
        raise TypeError(
            f"`{name}` must be a dictionary of arrays, as `init` gives, got "
            f"{_checks.spell(given)}."
        )
    if set(given) != set(needed):
        odd = sorted(map(str, set(given) ^ set(needed)))
        raise ValueError(
            f"`{name}` are of another network; names that only one of them has: {odd}."
        )


def _dotted(path: tuple) -> str:
    return ".".join(map(str, path))


def _arrays(state: Any) -> Arrays:
    return {_dotted(path): leaf[...] for path, leaf in nnx.to_flat_state(state)}
