"""Evaluation of a plan: values of the end tensor at indices."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _numerics
from htfjax._platforms import PLATFORMS, by_platform
from htfjax._types import Precision
from htfjax.contraction.end_tensor import flat_end_tensor, khatri_rao
from htfjax.contraction.plan import Plan
from htfjax.factors.layout import Layout
from htfjax.factors.stacks import Stacks, children_of
from htfjax.trees.mode_tree import ModeTree

# Entries up to which rows are kept for the derivative: they fit a core's own cache.
KEPT = 2**17
# Rows of a table up to which accelerators read it by a product with one-hot rows: backwards
# a gather is a scatter, one row at a time on TPUs, and on GPUs by atomic additions, whose
# order and last digits change from run to run.
ONE_HOT = 256
GATHERS: dict[str, str] = dict.fromkeys(PLATFORMS, "gather")
PRODUCTS = GATHERS | {"cuda": "product", "tpu": "product"}
# For every interior node below the root: which observations stand first for a distinct
# sub-tuple (u_v,), and the row of each observation among them (B,).
Distinct = dict[int, tuple[jax.Array, jax.Array]]


@functools.partial(jax.jit, static_argnames=("plan", "layout", "precision"), inline=True)
def planned_entries(
    plan: Plan,
    layout: Layout,
    stacks: Stacks,
    indices: jax.Array,
    distinct: Distinct | None,
    precision: Precision,
) -> jax.Array:
    """Entries of the end tensor, (B,), by the routes of a plan."""
    if plan.root != "gather":
        values, axes = flat_end_tensor(layout, stacks, precision)
        return values[flat_indices(indices, axes, layout.dims)]
    read = _Reading(plan, layout, indices, distinct)
    held: list[jax.Array] = []  # per group: tables (G, P, R), or rows (G, B or u, R)
    for g, (nodes, stack) in enumerate(zip(layout.groups, stacks, strict=True)):
        if not layout.below(nodes[0]):
            held.append(stack)
            continue
        if read.route(g) == "table":
            joint = khatri_rao(children_of(layout, nodes, held))
        else:
            joint = read.joint(g, held)
        if stack is None:
            return jnp.sum(joint[0], axis=1)
        held.append(jnp.matmul(joint, stack, precision=precision))
    return held[-1][0, :, 0]


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


@dataclasses.dataclass(frozen=True)
class _Reading:
    """Reading of a node's rows off its children's values."""

    plan: Plan
    layout: Layout
    indices: jax.Array
    distinct: Distinct | None

    def route(self, g: int) -> str:
        """Route of the nodes of a group: table, distinct rows or one row per sample.

        Their tables are equally large, their distinct sub-tuples are not: several nodes
        are held as rows where the plan finds each its own distinct ones.
        """
        nodes = self.layout.groups[g]
        if nodes[0] == self.plan.tree.root:
            return "rows"
        routes = {self.plan.routes[k] for k in nodes}
        if routes == {"table"} or len(nodes) == 1:
            return routes.pop()
        return "rows"

    def joint(self, g: int, held: list[jax.Array]) -> jax.Array:
        """The Hadamard product of the rows of the children of a group.

        Many rows read from tables are read again backwards rather than kept:
        reading then costs less than writing them out and holding them.
        """
        nodes = self.layout.groups[g]
        slots = self.layout.slots(nodes)
        use = self.maps(nodes[0])[0] if self.route(g) == "dedup" else None

        def joint(parts: list[jax.Array]) -> jax.Array:
            read = [
                self.rows(part, h, kids, use)
                for part, (kids, h, _) in zip(parts, slots, strict=True)
            ]
            return _numerics.product(read)

        parts = children_of(self.layout, nodes, held)
        count = self.plan.batch if use is None else use.shape[0]
        width = parts[0].shape[2]
        small = len(nodes) * count * width <= KEPT
        if small or all(self.route(h) == "rows" for _, h, _ in slots):
            return joint(parts)
        return jax.checkpoint(joint)(parts)

    def rows(
        self, part: jax.Array, g: int, nodes: Sequence[int], use: jax.Array | None
    ) -> jax.Array:
        """The rows of some nodes for each observation, or for the observations in `use`."""
        route = self.route(g)
        if route == "rows":
            return part
        if route == "dedup":
            row = self.maps(nodes[0])[1]
            return part[:, row if use is None else row[use]]
        chosen = self.indices if use is None else self.indices[use]
        rows = _table_rows(self.layout, nodes, chosen)
        methods = PRODUCTS if part.shape[1] <= ONE_HOT else GATHERS
        return by_platform(methods, _read, part, rows)

    def maps(self, node: int) -> tuple[jax.Array, jax.Array]:
        """Observations that stand for the distinct sub-tuples, and the row of each."""
        assert self.distinct is not None
        return self.distinct[node]


def _table_rows(layout: Layout, nodes: Sequence[int], indices: jax.Array) -> jax.Array:
    """Row of its table that each observation reads, for every node: (G, B)."""
    modes = [visiting_order(layout.tree, k) for k in nodes]
    if len(nodes) == 1:
        return flat_indices(indices, modes[0], layout.dims)[None]
    dims = [layout.dims[m] for m in modes[0]]
    strides = np.cumprod([1, *dims[:0:-1]])[::-1].astype(np.int32)
    flat = indices[:, np.asarray(modes)] * strides[None, None, :]
    return jnp.sum(flat, axis=2, dtype=np.int32).T


def _read(method: str, tables: jax.Array, rows: jax.Array) -> jax.Array:
    """tables (G, P, R) at rows (G, B) -> (G, B, R)."""
    if method == "gather":
        return _gathered(tables, rows)
    # Exact: of every sum one term is not zero, and the highest precision keeps it.
    chosen = jax.nn.one_hot(rows, tables.shape[1], dtype=tables.dtype)
    return jnp.matmul(chosen, tables, precision="highest")


def _gathered(tables: jax.Array, rows: jax.Array) -> jax.Array:
    """tables (G, P, R) at rows (G, B) -> (G, B, R), as one gather of the flat stack."""
    count, size, width = tables.shape
    if count == 1:
        return tables[0][rows[0]][None]
    offsets = (size * np.arange(count, dtype=np.int32))[:, None]
    flat = tables.reshape(count * size, width)
    return flat[(rows + offsets).ravel()].reshape(count, -1, width)
