"""A network as two pure functions on plain pytrees."""

import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from htfjax import _checks
from htfjax._types import Array, Float, Numbers, PyTree
from htfjax.locality import inputs as _inputs
from htfjax.locality.networks.adapters import calls, functions

Channels = Literal["last", "first"]
KINDS = (
    "a module of flax (nnx or linen) or equinox, a function that builds an nnx module from "
    "`rngs`, a pair (init, apply), apply(params, x) with `variables`, or a function of "
    "images"
)


class Network(NamedTuple):
    """An architecture; weights and running statistics live outside of it.

    What the functions take and give is a pytree of arrays, so weights can be
    differentiated any number of times, stacked, checkpointed and edited.

    Attributes:
      init: key -> (params, statistics), of our own networks dictionaries of arrays by
        dotted name.
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

    init: Callable[[jax.Array], tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[jax.Array, Any]]

    def logits_fn(
        self, params: PyTree, statistics: PyTree
    ) -> Callable[[Numbers], Float[Array, "B *K"]]:
        """x -> logits in evaluation, the `logits_fn` that measures take.

        Args:
          params, statistics: of this network.

        Example:
          >>> import jax, jax.numpy as jnp
          >>> from htfjax import locality
          >>> net = locality.as_network(lambda w, x: w * x.sum((1, 2, 3)), jnp.array(2.0))
          >>> f = net.logits_fn(*net.init(jax.random.key(0)))
          >>> float(f(jnp.ones((1, 2, 2, 1)))[0])
          8.0
        """
        return lambda x: self.apply(params, statistics, x, train=False)[0]


def as_network(
    network: object,
    variables: PyTree = None,
    *,
    images: Numbers | None = None,
    channels: Channels | None = None,
) -> Network:
    """A user's own network as a `Network`.

    | given | `init(key)` | params, statistics |
    |---|---|---|
    | nnx module | its own weights | dictionaries of `nnx.Param` and of `nnx.BatchStat` |
    | function of `rngs` that builds one | new weights | the same |
    | linen module, with `variables` | these | "params", a dictionary of "batch_stats" |
    | linen module, with `images` | new weights | the same |
    | equinox module, its state as `variables` | its own weights | its arrays; the state |
    | pair (init, apply), `images` if init takes some | new weights | as init gives |
    | apply(params, x), params as `variables` | these | as given, none |
    | function of images | nothing | none, none |

    Equinox modules take one image, channels first; they are mapped over the batch, with
    the axis name of their batch statistics, and `equinox.combine(params, module)` puts
    weights back. Whether a call trains is said by those of train, training, is_training,
    deterministic, use_running_average and inference that the network's call takes, and by
    the attributes of nnx and equinox layers. Keys of dropout reach random streams of nnx
    and linen and parameters `key`, `rng` or `rngs`. A pair's second function is
    apply(params, x), apply(params, rng, x), apply(params, state, x) or apply(params, state,
    rng, x), by the names of its parameters; those that haiku transforms are known by their
    type.

    Args:
      network: see above.
      variables: see above.
      images: (B, H, W, C), an example to initialize by; values do not matter.
      channels: where the network wants them, "last" or "first". By default "first" for
        equinox, else "last". `Network.apply` always takes (B, H, W, C).

    Returns:
      `Network`, whose logits are checked: (B,), or (B, K) for K classes.

    Raises:
      TypeError: none of these kinds, variables of another kind.
      ValueError: state that is neither trained nor statistics, batch statistics or dropout
        that the network's call gives no hold on, missing or needless `variables` or
        `images`. By the functions of the result: logits of another shape, `params` of
        another network, no key where dropout needs one.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> from htfjax import locality
      >>> class Mean(nnx.Module):
      ...     def __init__(self, rngs):
      ...         self.scale = nnx.Param(jnp.ones((), jnp.float32))
      ...     def __call__(self, x):
      ...         return self.scale[...] * x.mean((1, 2, 3))
      >>> net = locality.as_network(Mean)
      >>> params, statistics = net.init(jax.random.key(0))
      >>> {name: x.shape for name, x in params.items()}, statistics
      ({'scale': ()}, {})
    """
    if channels is not None:
        _checks.one_of("channels", channels, get_args(Channels))
    example = None if images is None else _inputs.images("images", images)
    if isinstance(network, Network):
        calls.refuse_extra("`network` is a Network already", variables=variables,
                           images=images, channels=channels)  # fmt: skip
        return network
    first = channels == "first" or (channels is None and _is_equinox(network))
    if example is not None and first:
        example = _channels_first(example)
    return _checked(_adapted(network, variables, example), first)


def as_logits_fn(name: str, given: Any) -> Callable[..., Any]:
    """A function of images; modules that hold their weights become one, in evaluation.

    Args:
      name: the argument, for the message.
    """
    if isinstance(given, Network):
        raise TypeError(
            f"`{name}` is a Network, which holds no weights; give "
            "`network.logits_fn(params, statistics)`."
        )
    _refuse_class(name, given)
    if _is_a(given, "flax.linen"):
        raise TypeError(
            f"`{name}` is a linen module ({type(given).__name__}), which holds no weights; "
            "give `as_network(module, variables).logits_fn(params, statistics)`."
        )
    if not _is_nnx(given) and not _is_equinox(given):
        return _checks.function(name, given)
    adapted = _adapted(given, None, None)
    network = _checked(adapted, _is_equinox(given))
    assert adapted.held is not None
    return network.logits_fn(*adapted.held)


def as_apply(apply: Any) -> Any:
    """`Network.apply` of a network; other functions as they are.

    Raises:
      TypeError: a module, which is no function of its weights.
    """
    if isinstance(apply, Network):
        return apply.apply
    _refuse_class("apply", apply)
    if _is_nnx(apply) or _is_equinox(apply) or _is_a(apply, "flax.linen"):
        raise TypeError(
            f"`apply` is a module ({type(apply).__name__}); `as_network` makes of it a "
            "network whose weights are arguments."
        )
    return apply


def count_parameters(params: PyTree) -> int:
    """The number of trained numbers.

    Raises:
      TypeError: a leaf that is not an array or number.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> locality.count_parameters({"a": jnp.ones((2, 3)), "b": jnp.ones(())})
      7
    """
    return sum(_size(leaf) for leaf in jax.tree.leaves(params))


def _size(leaf: object) -> int:
    if isinstance(leaf, jax.ShapeDtypeStruct):  # of `jax.eval_shape`
        return leaf.size
    return _inputs.numbers("params", leaf).size


def _adapted(network: Any, variables: PyTree, images: jax.Array | None) -> calls.Adapted:
    """Start and call by the kind of network; an import is of what is imported already."""
    if _is_nnx(network):
        from htfjax.locality.networks.adapters import nnx_modules

        calls.refuse_extra(
            "an nnx module holds its own weights", variables=variables, images=images
        )
        return nnx_modules.from_module(network)
    if _is_a(network, "flax.linen"):
        from htfjax.locality.networks.adapters import linen_modules

        return linen_modules.from_module(network, variables, images)
    if _is_equinox(network):
        from htfjax.locality.networks.adapters import equinox_modules

        calls.refuse_extra("an equinox module holds its own weights", images=images)
        return equinox_modules.from_module(network, variables)
    builds = callable(network) and _builds_module(network)
    if not builds:
        _refuse_class("network", network)
    pair = _pair(network)
    if pair is not None:
        calls.refuse_extra("the first function of the pair makes them", variables=variables)
        return functions.from_pair(*pair, type(network).__name__, images)
    if not callable(network):
        raise TypeError(f"`network` must be {KINDS}; got {_checks.spell(network)}.")
    calls.refuse_extra("a function needs no example", images=images)
    if builds:
        from htfjax.locality.networks.adapters import nnx_modules

        calls.refuse_extra("`network` builds a module with weights", variables=variables)
        return nnx_modules.from_factory(network)
    if variables is not None:
        return functions.from_function(network, variables)
    return functions.from_logits(network)


def _checked(adapted: calls.Adapted, first: bool) -> Network:
    """The network with its arguments and logits checked, on images with channels last."""

    def apply(
        params: PyTree,
        statistics: PyTree,
        x: Numbers,
        *,
        train: bool,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        train = _checks.flag("train", train)
        if key is not None:
            _checks.key("key", key)
        x = _inputs.numbers("x", x)
        _checks.shape("x", x, (None,) * 4, "(B, H, W, C)")
        given = _channels_first(x) if first else x
        logits, after = adapted.apply(params, statistics, given, train=train, key=key)
        return _inputs.check_logits("network", logits, len(x)), after

    return Network(adapted.init, apply)


def _channels_first(x: jax.Array) -> jax.Array:
    return jnp.moveaxis(x, -1, 1)


def _is_a(network: object, library: str) -> bool:
    """Whether a network is a `Module` of a library, which is then imported already."""
    module: Any = sys.modules.get(library)
    return module is not None and isinstance(network, module.Module)


def _refuse_class(name: str, given: object) -> None:
    """Classes of modules, whose call makes an instance and not logits.

    Raises:
      TypeError: one.
    """
    kinds = [sys.modules.get(n) for n in ("flax.linen", "flax.nnx", "equinox")]
    bases = tuple(library.Module for library in kinds if library is not None)
    if isinstance(given, type) and issubclass(given, bases):
        raise TypeError(
            f"`{name}` is a class, {given.__name__}; give an instance, "
            f"`{given.__name__}(...)`."
        )


def _is_nnx(network: object) -> bool:
    return _is_a(network, "flax.nnx")


def _is_equinox(network: object) -> bool:
    """Whether a network is a module of equinox, not one of its transformed functions."""
    ours = type(network).__module__.startswith("equinox._")
    return _is_a(network, "equinox") and not ours


def _pair(network: Any) -> tuple[PyTree, PyTree] | None:
    """`init` and `apply` of a pair of functions."""
    if isinstance(network, tuple | list):
        both = tuple(network)
    else:
        both = getattr(network, "init", None), getattr(network, "apply", None)
    return both if len(both) == 2 and all(map(callable, both)) else None


def _builds_module(function: Callable[..., Any]) -> bool:
    """Whether a function builds an nnx module from `rngs`, by this name or by trying it."""
    if "rngs" in calls.parameters(function):
        return True
    nnx: Any = sys.modules.get("flax.nnx")
    if nnx is None:
        return False
    try:
        return isinstance(nnx.eval_shape(lambda: function(nnx.Rngs(0))), nnx.Module)
    except Exception:  # what a function of images does with `rngs` is its own business
        return False
