"""A network as two pure functions on plain pytrees."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import nnx

from htfjax import _checks
from htfjax._types import PyTree
from htfjax.locality import inputs as _inputs

Arrays = dict[str, jax.Array]  # dotted names, such as "stages.0.conv.kernel"


class Network(NamedTuple):
    """An architecture; weights and running statistics live outside of it.

    Nothing of flax is left in what the functions take and give, so weights can be
    differentiated any number of times, stacked, checkpointed and edited by name.

    Attributes:
      init: key -> (params, statistics), dictionaries of arrays by dotted name.
      apply: (params, statistics, x, *, train, key=None) -> (logits, new statistics), what
        `regularized_loss` takes: x is (B, H, W, C), logits (B,) or (B, K); `key` is for
        dropout.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> net = locality.strided_net()
      >>> params, statistics = net.init(jax.random.key(0))
      >>> x = jnp.ones((2, 8, 64, 1), jnp.float32)
      >>> logits, _ = net.apply(params, statistics, x, train=False)
      >>> logits.shape
      (2,)
    """

    init: Callable[[jax.Array], tuple[Arrays, Arrays]]
    apply: Callable[..., tuple[jax.Array, Arrays]]


def as_network(make: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """Any flax module called as module(x, train=..., key=...) as a `Network`.

    Args:
      make: builds the module; its `nnx.Param`s become params, its `nnx.BatchStat`s
        statistics. It may hold no other variables (random streams, for example: take the
        key of the call instead).

    Raises:
      TypeError: `make` cannot be called, or does not give a flax module.
      ValueError: variables of another kind.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> class Mean(nnx.Module):
      ...     def __init__(self, rngs):
      ...         self.scale = nnx.Param(jnp.ones((), jnp.float32))
      ...     def __call__(self, x, *, train, key):
      ...         return self.scale[...] * x.mean((1, 2, 3))
      >>> net = as_network(Mean)
      >>> params, statistics = net.init(jax.random.key(0))
      >>> {name: x.shape for name, x in params.items()}, statistics
      ({'scale': ()}, {})
    """
    _checks.function("make", make)
    kinds = (nnx.Param, nnx.BatchStat)
    shapes = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    _checks.instance("make(rngs)", shapes, nnx.Module, "it builds the network")
    graph, *known, rest = nnx.split(shapes, *kinds, ...)
    if nnx.to_flat_state(rest):
        names = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(rest)]
        raise ValueError(
            f"`make` gives a module with variables that are neither Param nor BatchStat: "
            f"{names}."
        )
    paths = [{_dotted(path): path for path, _ in nnx.to_flat_state(s)} for s in known]

    def init(key: jax.Array) -> tuple[Arrays, Arrays]:
        _checks.key("key", key)
        _, params, statistics = nnx.split(make(nnx.Rngs(key)), *kinds)
        return _arrays(params), _arrays(statistics)

    def apply(
        params: Arrays,
        statistics: Arrays,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, Arrays]:
        train = _checks.flag("train", train)
        if key is not None:
            _checks.key("key", key)
        x = _inputs.numbers("x", x)
        for name, given, needed in zip(
            ("params", "statistics"), (params, statistics), paths, strict=True
        ):
            _check_names(name, given, needed)
        states = [
            nnx.from_flat_state({path: kind(arrays[name]) for name, path in each.items()})
            for kind, each, arrays in zip(kinds, paths, (params, statistics), strict=True)
        ]
        # Fresh variables, so that this may run inside any number of derivatives.
        module: Any = nnx.merge(graph, *states, copy=True)
        logits = module(x, train=train, key=key)
        return logits, _arrays(nnx.split(module, *kinds)[2])

    return Network(init, apply)


def count_parameters(params: PyTree) -> int:
    """The number of trained numbers.

    Raises:
      TypeError: a leaf that is not an array or number.

    Example:
      >>> import jax.numpy as jnp
      >>> count_parameters({"a": jnp.ones((2, 3)), "b": jnp.ones(())})
      7
    """
    return sum(_size(leaf) for leaf in jax.tree.leaves(params))


def _size(leaf: object) -> int:
    if isinstance(leaf, jax.ShapeDtypeStruct):  # of `jax.eval_shape`
        return leaf.size
    return _inputs.numbers("params", leaf).size


def _check_names(name: str, given: object, needed: Mapping[str, tuple]) -> None:
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
