"""Modules of equinox, which take one image, and their state."""

from typing import Any

import equinox as eqx
import jax

from htfjax import _checks
from htfjax._types import PyTree
from htfjax.locality.networks.adapters import calls

STATE = (
    "`variables` is missing: `network` keeps batch statistics; give the state that "
    "`equinox.nn.make_with_state` makes."
)


def from_module(module: Any, state: object) -> calls.Adapted:
    """A network that starts at the module's weights, its state as statistics."""
    start, rest = eqx.partition(module, eqx.is_inexact_array)
    if state is not None:
        _checks.instance("variables", state, eqx.nn.State, "`make_with_state` makes one")
    norms = _parts(module, eqx.nn.BatchNorm)
    if norms and state is None:
        raise ValueError(STATE)
    axis = _one_axis(norms)
    takes = calls.parameters(type(module).__call__)
    drops = any(d.p for d in _parts(module, eqx.nn.Dropout))
    if drops and "key" not in takes:
        raise ValueError("`network` has dropout, but its call takes no `key`.")

    def apply(
        params: PyTree,
        statistics: PyTree,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None,
    ) -> tuple[PyTree, PyTree]:
        calls.check_structure("params", params, start)
        if drops and train and key is None:
            raise calls.needed_key("the network has dropout")
        whole = eqx.nn.inference_mode(eqx.combine(params, rest), value=not train)
        keys = key if key is None else jax.random.split(key, len(x))
        words = calls.mode(takes, train)

        def one(x: jax.Array, key: jax.Array | None, state: Any) -> tuple[PyTree, PyTree]:
            options: dict[str, Any] = words | ({"key": key} if "key" in takes else {})
            if state is None:
                return whole(x, **options), None
            return whole(x, state, **options)

        # Setting a state makes it useless; what was given stays as it is.
        own = None if state is None else jax.tree.map(lambda leaf: leaf, statistics)
        logits, after = jax.vmap(
            one, in_axes=(0, 0 if keys is not None else None, None), out_axes=(0, None),
            axis_name=axis,
        )(x, keys, own)  # fmt: skip
        return logits, after if train and state is not None else statistics

    return calls.holding(start, {} if state is None else state, apply)


def _parts(module: Any, kind: type) -> list[Any]:
    leaves = jax.tree.leaves(module, is_leaf=lambda x: isinstance(x, kind))
    return [x for x in leaves if isinstance(x, kind)]


def _one_axis(norms: list[Any]) -> Any:
    """The name of the batch axis, over which statistics are taken."""
    names = {n.axis_name for n in norms}
    if len(names) > 1 or any(not isinstance(n, str) for n in names):
        raise ValueError(
            f"`network` takes batch statistics over axes {sorted(map(str, names))}; images "
            "are on one, so one name is needed."
        )
    return next(iter(names), None)
