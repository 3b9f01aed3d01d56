"""Carries out a plan: values of the end tensor at indices."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _numerics
from htfjax.contraction.end_tensor import khatri_rao, permuted_end_tensor
from htfjax.contraction.plan import Plan
from htfjax.factors.factors import Factors
from htfjax.trees.mode_tree import ModeTree

__all__ = ["Distinct", "flat_indices", "planned_entries", "visiting_order"]

# Entries up to which rows are kept for the derivative: they fit a core's own cache.
KEPT = 2**17
# Width above which they are kept too: reading them again would be fused into adding up
# their cotangents, which jax 0.10 does four times slower on a CPU.
WIDE = 64
# For every interior node below the root: which observations stand first for a distinct
# sub-tuple (u_v,), and the row of each observation among them (B,).
Distinct = dict[int, tuple[jax.Array, jax.Array]]


def planned_entries(
    plan: Plan,
    factors: Factors,
    indices: jax.Array,
    distinct: Distinct | None,
    precision: Any,
) -> jax.Array:
    """Entries of the end tensor, (B,), by the routes of a plan."""
    if plan.root != "gather":
        values, axes = permuted_end_tensor(factors, precision=precision)
        return values[flat_indices(indices, axes, plan.mode_dims)]
    tree, held = factors.tree, {}
    for k in range(tree.num_nodes):
        weight, kids = factors.weights[k], tree.children[k]
        if not kids:
            held[k] = weight
            continue
        route = "rows" if k == tree.root else plan.routes[k]
        if route == "table":
            joint = khatri_rao([held.pop(c) for c in kids])
        else:
            use = None if route == "rows" else _first(distinct, k)
            below = {c: held.pop(c) for c in kids}
            joint = _joint_rows(plan, below, indices, distinct, use)
        if k == tree.root:
            return (
                joint.sum(axis=1)
                if weight is None
                else jnp.matmul(joint, weight[:, 0], precision=precision)
            )
        held[k] = jnp.matmul(joint, weight, precision=precision)
    raise AssertionError("a tree ends with its root")


def flat_indices(
    indices: jax.Array, modes: Sequence[int], dims: Sequence[int]
) -> jax.Array:
    """Row-major positions of sub-tuples among all combinations of some modes, (B,)."""
    flat, stride = jnp.zeros_like(indices[:, 0]), 1
    for mode in reversed(modes):
        flat = flat + indices[:, mode] * np.int32(stride)
        stride *= dims[mode]
    return flat


def visiting_order(tree: ModeTree, node: int) -> list[int]:
    """Modes under a node in the order in which its table's rows run over them."""
    modes, stack = [], [node]
    while stack:
        k = stack.pop()
        if k < tree.order:
            modes.append(k)
        stack.extend(reversed(tree.children[k]))
    return modes


def _joint_rows(
    plan: Plan,
    held: dict[int, jax.Array],
    indices: jax.Array,
    distinct: Distinct | None,
    use: jax.Array | None,
) -> jax.Array:
    """The Hadamard product of the children's rows.

    Many narrow rows read from tables are read again backwards rather than kept: reading
    then costs less than writing them out and holding them.
    """

    def joint(held: dict[int, jax.Array]) -> jax.Array:
        return _numerics.product(
            [_read(plan, held[c], c, indices, distinct, use) for c in held]
        )

    count = plan.batch if use is None else use.shape[0]
    width = next(iter(held.values())).shape[1]
    if count * width <= KEPT or width > WIDE or all(plan.routes[c] == "rows" for c in held):
        return joint(held)
    return jax.checkpoint(joint)(held)


def _read(
    plan: Plan,
    held: jax.Array,
    child: int,
    indices: jax.Array,
    distinct: Distinct | None,
    use: jax.Array | None,
) -> jax.Array:
    """The child's rows for each observation, or for the observations in `use`."""
    route = plan.routes[child]
    if route == "rows":
        return held
    if route == "dedup":
        row = _row(distinct, child)
        return held[row if use is None else row[use]]
    chosen = indices if use is None else indices[use]
    modes = visiting_order(plan.tree, child)
    return held[flat_indices(chosen, modes, plan.mode_dims)]


def _first(distinct: Distinct | None, node: int) -> jax.Array:
    assert distinct is not None
    return distinct[node][0]


def _row(distinct: Distinct | None, node: int) -> jax.Array:
    assert distinct is not None
    return distinct[node][1]
