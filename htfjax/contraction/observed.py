"""Index maps, prepared from observed indices that never change, and dense targets."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax.contraction.evaluate import Distinct, flat_indices, visiting_order
from htfjax.trees.mode_tree import ModeTree

# Dense targets are kept when the tensor is at most this many times the observations;
# beyond, reading single entries of a dense tensor costs less than comparing all.
DENSE_SHARE = 64
LARGEST_DENSE = 2**22


class DenseTargets(NamedTuple):
    """Targets laid out like the flattened end tensor with its modes in tree order."""

    counts: jax.Array  # (prod D_n,) how often each entry is observed
    means: jax.Array  # (prod D_n,) mean of its targets, 0 where it is not observed
    rest: jax.Array  # () sum of squared deviations of repeated targets from their mean


def dense_targets(
    tree: ModeTree, dims: tuple[int, ...], indices: jax.Array, targets: jax.Array
) -> DenseTargets:
    """Counts and mean targets, scattered."""
    flat = flat_indices(indices, visiting_order(tree, tree.root), dims)
    zeros = jnp.zeros((math.prod(dims),), targets.dtype)
    counts = zeros.at[flat].add(1)
    means = zeros.at[flat].add(targets) / jnp.maximum(counts, 1)
    return DenseTargets(counts, means, jnp.sum(jnp.square(targets - means[flat])))


def dense_penalties(
    tree: ModeTree, dims: tuple[int, ...], indices: jax.Array, penalty: str
) -> tuple[str, ...]:
    """Penalties by which all of the tensor may be compared; none where it is no help.

    A penalty of a mean is the mean of penalties up to a constant only for "l2"; for the
    others no index may repeat, which is looked at if one of them is asked for.
    """
    size = math.prod(dims)
    if size > min(LARGEST_DENSE, DENSE_SHARE * indices.shape[0]):
        return ()
    if penalty == "l2":
        return ("l2",)
    flat = flat_indices(indices, visiting_order(tree, tree.root), dims)
    once = _checks.concrete(flat) and len(np.unique(np.asarray(flat))) == len(flat)
    return ("l2", "l1", "huber") if once else ()


def distinct_rows(tree: ModeTree, indices: jax.Array) -> Distinct:
    """The distinct observed sub-tuples of every interior node below the root.

    No flat index over the tensor is formed: a parent numbers pairs of what its children
    numbered, so dimensions may multiply to any size.

    Raises:
      ValueError: indices that are traced, since the sizes depend on them.
    """
    if not _checks.concrete(indices):
        raise ValueError(
            "`plan='exact'` needs concrete indices: make the loss outside of jit, or use "
            "plan='auto'."
        )
    observed = np.asarray(indices)
    rows = {n: observed[:, n].astype(np.int64) for n in range(tree.order)}
    maps: Distinct = {}
    for k in tree.interior[:-1]:
        joint = np.zeros(len(observed), np.int64)
        for child in tree.children[k]:
            joint = joint * (rows[child].max(initial=0) + 1) + rows[child]
            _, joint = np.unique(joint, return_inverse=True)
        _, first, row = np.unique(joint, return_index=True, return_inverse=True)
        rows[k] = row.astype(np.int64)
        maps[k] = (jnp.asarray(first, np.int32), jnp.asarray(row, np.int32))
    return maps


def padded(many: Sequence[Distinct]) -> list[Distinct]:
    """Index maps of several parts in one shape: the shorter list their last row again."""
    longest = {k: max(maps[k][0].shape[0] for maps in many) for k in many[0]}

    def filled(first: jax.Array, count: int) -> jax.Array:
        return jnp.pad(first, (0, count - first.shape[0]), mode="edge")

    return [
        {k: (filled(first, longest[k]), row) for k, (first, row) in maps.items()}
        for maps in many
    ]


def distinct_counts(
    tree: ModeTree, indices: jax.Array, maps: Distinct | None
) -> tuple[int, ...] | None:
    """Numbers of distinct sub-tuples of every node, as far as a plan asks."""
    if maps is None:
        return None
    batch = indices.shape[0]
    return tuple(maps[k][0].shape[0] if k in maps else batch for k in range(tree.num_nodes))
