"""The trained vectors of every local component, as the laws read them."""

from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax.factors.factors import Factors
from htfjax.factors.layout import layout_of
from htfjax.trees.mode_tree import ModeTree

__all__ = ["interior_node", "squared_norms", "whole_norms"]


def interior_node(tree: ModeTree, node: Any, name: str = "node") -> int:
    """The id of an interior node."""
    node = _checks.at_least(name, node, 0)
    if node not in tree.interior:
        raise ValueError(
            f"`{name}={node}` has no local components; interior nodes are "
            f"{tree.interior[0]}..{tree.root}."
        )
    return node


def squared_norms(factors: Factors) -> dict[int, list[jax.Array]]:
    """||w||^2 of the trained vectors w: node -> one (R_v,) array per vector.

    The node's own row comes first, then its children's columns. A node without trained
    vectors has an empty list.
    """
    tree, trained = factors.tree, layout_of(factors).trained
    found = {}
    for v in tree.interior:
        own = [jnp.sum(jnp.square(factors.weights[v]), axis=1)] if trained[v] else []
        found[v] = own + [
            jnp.sum(jnp.square(factors.weights[c]), axis=0)
            for c in tree.children[v]
            if trained[c]
        ]
    return found


def whole_norms(factors: Factors) -> dict[int, jax.Array]:
    """prod ||w|| over ALL vectors of a component, fixed ones included: node -> (R_v,)."""
    found = {}
    for v in factors.tree.interior:
        parts = [
            _numerics.safe_norm(factors.weights[c], axis=0)
            for c in factors.tree.children[v]
        ]
        if factors.weights[v] is not None:
            parts.append(_numerics.safe_norm(factors.weights[v], axis=1))
        found[v] = _numerics.product(parts)
    return found
