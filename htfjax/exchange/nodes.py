"""Nodes of a tree under any names, and the factors that they make."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from htfjax.exchange.arrays import one_dtype
from htfjax.factors.factors import Factors
from htfjax.factors.selector import Selector, Weight
from htfjax.trees.mode_tree import ModeTree


class Node(NamedTuple):
    """A node of a tree that is not numbered yet.

    Attributes:
      weight: a NumPy matrix or a selector, as in `Factors`; None for a root of ones.
      children: names of nodes, in order; none for a leaf.
      mode: of the tensor, for a leaf.
    """

    weight: Weight
    children: tuple[Hashable, ...] = ()
    mode: int = -1


def assembled(nodes: Mapping[Hashable, Node], root: Hashable) -> Factors:
    """Factors of named nodes: leaves are numbered by their modes, others in post-order."""
    # Popped from the right, so that reversed it is post-order from the left.
    stack, seen = [root], list[Hashable]()
    while stack:
        seen.append(stack.pop())
        stack.extend(nodes[seen[-1]].children)
    leaves = [name for name in seen if not nodes[name].children]
    inner = [name for name in reversed(seen) if nodes[name].children]
    ordered = [*sorted(leaves, key=lambda name: nodes[name].mode), *inner]
    number = {name: k for k, name in enumerate(ordered)}
    children = tuple(tuple(number[c] for c in nodes[name].children) for name in ordered)
    weights = [nodes[name].weight for name in ordered]
    held = [k for k, w in enumerate(weights) if isinstance(w, np.ndarray)]
    for k, array in zip(held, one_dtype([weights[k] for k in held]), strict=True):
        weights[k] = jnp.asarray(array)
    fixed = tuple(k for k, w in enumerate(weights) if isinstance(w, Selector))
    return Factors(tuple(weights), ModeTree(children), fixed)
