"""Chains of one-child nodes, multiplied out."""

from typing import Any

import jax
import jax.numpy as jnp

from htfjax.factors.factors import AnyFactors, Factors
from htfjax.factors.grouping import as_plain
from htfjax.factors.stacks import written_out
from htfjax.trees.mode_tree import ModeTree


def collapse_chains(factors: AnyFactors) -> Factors:
    """Multiplies out every one-child node: W^(child) W^(node), the same end tensor.

    A one-child root with trained weights becomes the last matrix of its child, which
    then is the root. Chains touching a fixed node are fixed if all their matrices are.

    Returns:
      Factors on the tree without one-child nodes (a leaf directly under a root stays).

    Raises:
      ValueError: fixed and trained matrices in one chain.

    Source: law A9 (chains of one-child nodes are deep linear factors).

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> tree = htf.ModeTree.from_nested(((0,), 1))
      >>> weights = (jnp.eye(2), jnp.eye(2), 2 * jnp.eye(2), None)
      >>> deep = htf.Factors(tree=tree, weights=weights)
      >>> htf.collapse_chains(deep).tree.nested
      (0, 1)
    """
    plain = written_out(as_plain(factors))
    tree, weights = plain.tree, plain.weights
    nested: list[int | tuple] = list(range(tree.order))
    matrix: list[Any] = [None if w is None else jnp.asarray(w) for w in weights]
    members: list[list[int]] = [[k] for k in range(tree.num_nodes)]
    kept = list(range(tree.order))  # kept[k]: the node that stands for k afterwards
    for k in tree.interior:
        kids = tree.children[k]
        child, below = kids[0], kept[kids[0]]
        if len(kids) > 1 or (k == tree.root and below < tree.order):
            nested.append(tuple(nested[c] for c in kids))
            kept.append(k)
            continue
        nested.append(nested[child])
        kept.append(below)
        members[below].append(k)
        matrix[below] = _times(matrix[below], weights[k])
    order = [*range(tree.order), *(k for k in tree.interior if kept[k] == k)]
    mixed = [
        members[k]
        for k in order
        if len({m in plain.fixed for m in members[k] if weights[m] is not None}) > 1
    ]
    if mixed:
        raise ValueError(f"`fixed` splits the chains {mixed}; fix all of a chain or none.")
    return Factors(
        tree=ModeTree.from_nested(nested[tree.root]),
        weights=tuple(matrix[k] for k in order),
        fixed=tuple(i for i, k in enumerate(order) if members[k][0] in plain.fixed),
    )


def _times(left: jax.Array, right: jax.Array | None) -> jax.Array:
    if right is None:  # a root fixed to ones sums the columns
        return jnp.sum(left, axis=1, keepdims=True)
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
