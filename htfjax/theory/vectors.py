"""Trained vectors of every local component, as the laws read them."""

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax.factors.layout import Layout
from htfjax.factors.stacks import Stacks, children_of
from htfjax.instruments.local_components import by_component
from htfjax.trees.mode_tree import ModeTree

Place = int | jax.Array  # of a matrix in a stack; may be traced


def interior_node(tree: ModeTree, value: object, name: str = "node") -> int:
    """The id of an interior node."""
    node = _checks.at_least(name, value, 0)
    if node not in tree.interior:
        raise ValueError(
            f"`{name}={node}` has no local components; interior nodes are "
            f"{tree.interior[0]}..{tree.root}."
        )
    return node


def squared_norms(layout: Layout, stacks: Stacks) -> dict[int, list[jax.Array]]:
    """||w||^2 of the trained vectors w: inner group -> one (G, R_v) array per vector.

    The node's own row comes first, then its children's columns. A node without trained
    vectors has an empty list.
    """
    return by_component(layout, lambda g, axis: jnp.sum(jnp.square(stacks[g]), axis=axis))


def whole_norms(layout: Layout, stacks: Stacks) -> dict[int, jax.Array]:
    """prod ||w|| over ALL vectors of a component, fixed too: inner group -> (G, R_v)."""
    # The root, last, is below nothing.
    columns = [_numerics.safe_norm(x, axis=1) for x in stacks if x is not None]
    found = {}
    for g in layout.inner_groups:
        parts = children_of(layout, layout.groups[g], columns)
        if stacks[g] is not None:
            parts.append(_numerics.safe_norm(stacks[g], axis=2))
        found[g] = _numerics.product(parts)
    return found


def member(stack: jax.Array, place: Place) -> jax.Array:
    """One matrix of a stack; `place` may be traced."""
    if len(stack) == 1:
        return stack[0]
    return jax.lax.dynamic_index_in_dim(stack, place, keepdims=False)


def with_member(stack: jax.Array, place: Place, matrix: jax.Array) -> jax.Array:
    """The stack with another matrix at one place, which may be traced."""
    return matrix[None] if len(stack) == 1 else stack.at[place].set(matrix)


def carriers(layout: Layout, g: int, place: Place) -> list[tuple[int, Place]]:
    """Groups and places of the matrices that hold a node's vectors: its own if it has one,
    then its children's."""
    nodes = layout.groups[g]
    own = [(g, place)] if nodes[0] != layout.tree.root or layout.has_root else []
    below = [
        (h, places[0] if len(nodes) == 1 else jnp.asarray(places)[place])
        for _, h, places in layout.slots(nodes)
    ]
    return own + below
