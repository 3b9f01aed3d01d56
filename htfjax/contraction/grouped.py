"""Carries out a plan on grouped factors: one batched matrix product per group."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _numerics
from htfjax.contraction.evaluate import visiting_order
from htfjax.contraction.plan import Plan
from htfjax.contraction.stacks import pick
from htfjax.factors.factors import GroupedFactors
from htfjax.factors.layout import layout_of, stacks_with_constants

__all__ = ["grouped_entries", "grouped_sense"]


def grouped_entries(
    plan: Plan, factors: GroupedFactors, indices: jax.Array, precision: Any
) -> jax.Array:
    """Entries of the end tensor, (B,), by the node routes of a plan.

    "dedup" nodes, whose sizes differ within a group, are held as rows; the root reads per
    observation.
    """
    tree, stacks = factors.tree, stacks_with_constants(factors)
    layout = layout_of(factors)
    held: list[jax.Array] = []  # per group: (G, P, R) tables or (G, B, R) rows
    for nodes, stack in zip(factors.groups, stacks, strict=True):
        if not tree.children[nodes[0]]:
            held.append(stack)
            continue
        as_table = nodes[0] != tree.root and plan.routes[nodes[0]] == "table"
        parts = []
        for kids, from_group, places in layout.slots(nodes):
            part = pick(held[from_group], places)
            if not as_table and plan.routes[kids[0]] == "table":
                part = _gather(part, _flat(plan, kids, indices))
            parts.append(part)
        joint = _table(parts) if as_table else _numerics.product(parts)
        if stack is None:
            return jnp.sum(joint[0], axis=1)
        held.append(jnp.matmul(joint, stack, precision=precision))
    return held[-1][0, :, 0]


def grouped_sense(
    factors: GroupedFactors, vectors: Sequence[jax.Array] | jax.Array, precision: Any
) -> jax.Array:
    """Inner products with rank-one tensors of the factors' dtype, (B,)."""
    tree, stacks = factors.tree, stacks_with_constants(factors)
    layout = layout_of(factors)
    held: list[jax.Array] = []
    for nodes, stack in zip(factors.groups, stacks, strict=True):
        if not tree.children[nodes[0]]:
            joint = _vectors_of(vectors, nodes)
        else:
            joint = _numerics.product(
                [pick(held[g], places) for _, g, places in layout.slots(nodes)]
            )
        if stack is None:
            return jnp.sum(joint[0], axis=1)
        held.append(jnp.matmul(joint, stack, precision=precision))
    return held[-1][0, :, 0]


def _vectors_of(
    vectors: Sequence[jax.Array] | jax.Array, modes: Sequence[int]
) -> jax.Array:
    """The vectors of some modes, (G, B, D)."""
    if isinstance(vectors, Sequence):
        return jnp.stack([vectors[n] for n in modes])
    return pick(vectors, list(modes))


def _table(parts: Sequence[jax.Array]) -> jax.Array:
    """Khatri-Rao products of (G, P_1, R), (G, P_2, R), ... -> (G, P_1 P_2 ..., R)."""
    product = parts[0]
    for part in parts[1:]:
        joint = product[:, :, None, :] * part[:, None, :, :]
        product = joint.reshape(joint.shape[0], -1, joint.shape[-1])
    return product


def _flat(plan: Plan, nodes: Sequence[int], indices: jax.Array) -> jax.Array:
    """Which row of its table each observation reads, for every node: (G, B)."""
    modes = np.asarray([visiting_order(plan.tree, k) for k in nodes])  # (G, modes of one)
    dims = [plan.mode_dims[m] for m in modes[0]]
    strides = np.cumprod([1, *dims[:0:-1]])[::-1].astype(np.int32)
    flat = indices[:, modes] * strides[None, None, :]
    return jnp.sum(flat, axis=2, dtype=np.int32).T


def _gather(tables: jax.Array, rows: jax.Array) -> jax.Array:
    """tables (G, P, R) at rows (G, B) -> (G, B, R), as one gather of the flat stack."""
    count, size, width = tables.shape
    offsets = (size * np.arange(count, dtype=np.int32))[:, None]
    flat = tables.reshape(count * size, width)
    return flat[(rows + offsets).ravel()].reshape(count, -1, width)
