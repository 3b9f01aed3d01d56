"""All matricizations by tree nodes at once, reduced by QR to small matrices.

The matricization by node k is (Phi_k W_k) Psi_k^T (law D2). An upward sweep replaces
Phi_k W_k by the triangular factor L_k of its QR decomposition, a downward one Psi_k by
K_k; the orthonormal factors are dropped, so the singular values are those of L_k K_k^T.
Nodes of a group are one stack of matrices. Every matrix is a mantissa and a power of two:
no order under- or overflows.
"""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from htfjax.contraction.end_tensor import khatri_rao
from htfjax.contraction.stacks import (
    Scaled,
    children_of,
    collected,
    homes,
    lifted,
    scaled_stacks,
    slots,
    transposed,
)
from htfjax.factors import GroupedFactors

__all__ = ["Core", "ancestors", "qr_cores", "triangular"]

Core = tuple[jax.Array, jax.Array, jax.Array]  # L, K (same columns), exponents of L K^T


def qr_cores(
    factors: GroupedFactors,
    nodes: Iterable[int] | None = None,
    *,
    precision: Any = "highest",
) -> list[tuple[tuple[int, ...], Core]]:
    """L and K per node: the matricization has the singular values of 2^e L K^T.

    Of the two gauges, before and after W_k, the one with fewer columns.

    Args:
      factors: any tree.
      nodes: the ones wanted, by default all; the root's is (1, 1).

    Returns:
      For every group that has some of them: the nodes, and stacks of their L and K.
    """
    tree = factors.tree
    wanted = set(range(tree.num_nodes) if nodes is None else nodes)
    components, tables = _rising(factors, precision)
    members = _members(factors, ancestors(tree, wanted) | wanted)
    environments, surroundings = _falling(factors, tables, members, precision)
    cores = []
    for g, (group, stack) in enumerate(zip(factors.groups, factors.stacks, strict=True)):
        some = tuple(k for k in members[g] if k in wanted)
        if not some:
            continue
        inside = g in components and group[0] != tree.root
        smaller = inside and stack.shape[1] < stack.shape[2]
        inner = components[g] if smaller else tables[g]
        outer = environments[g] if smaller else surroundings[g]
        left, low = _at(inner, group, some)
        right, high = _at(outer, members[g], some)
        cores.append((some, (left, right, low + high)))
    return cores


def ancestors(tree: Any, nodes: Iterable[int]) -> set[int]:
    """Every node above one of `nodes`."""
    above: set[int] = set()
    for k in nodes:
        parent = tree.parent[k]
        while parent is not None and parent not in above:
            above.add(parent)
            parent = tree.parent[parent]
    return above


@jax.custom_jvp
def triangular(matrix: jax.Array) -> jax.Array:
    """A with rows rotated into as few as its columns: the R of A = Q R.

    The tangent is Q^T dA, with Q held still. That is not the derivative of R, but what
    reads no more than inner products of the columns, as singular values and norms do,
    gets its exact first derivatives, also where A has not full rank.
    """
    return jnp.linalg.qr(matrix, mode="r")


@triangular.defjvp
def _triangular_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (matrix,), (change,) = primals, tangents
    q = jnp.swapaxes(_orthonormal(matrix), -1, -2)
    value = jnp.matmul(q, matrix, precision="highest")
    return value, jnp.matmul(q, change, precision="highest")


@jax.custom_jvp
def _orthonormal(matrix: jax.Array) -> jax.Array:
    return jnp.linalg.qr(matrix, mode="reduced")[0]


@_orthonormal.defjvp
def _orthonormal_jvp(primals: Any, tangents: Any) -> Any:
    del primals, tangents
    raise NotImplementedError(
        "the QR route has first derivatives only; take `method='dense'` (singular "
        "values) or `method='gram'` (norms, distances) for higher ones."
    )


def _rising(
    factors: GroupedFactors, precision: Any
) -> tuple[dict[int, Scaled], list[Scaled]]:
    """Phi_v inside and Phi_k W_k everywhere, each reduced to few rows."""
    components: dict[int, Scaled] = {}
    tables: list[Scaled] = []
    home = homes(factors)
    groups = zip(factors.groups, scaled_stacks(factors)[0], strict=True)
    for g, (nodes, stack) in enumerate(groups):
        if not factors.tree.children[nodes[0]]:
            tables.append(_leaf(stack))
            continue
        first, *others = children_of(factors, nodes, tables, home)
        components[g] = functools.reduce(_fold, others, first)
        tables.append(_times(components[g], stack, precision))
    return components, tables


def _falling(
    factors: GroupedFactors,
    tables: list[Scaled],
    members: list[tuple[int, ...]],
    precision: Any,
) -> tuple[dict[int, Scaled], dict[int, Scaled]]:
    """Psi_k W_k^T inside and Psi_k everywhere, reduced; only for some nodes of a group."""
    (stacks, _), home = scaled_stacks(factors), homes(factors)
    last = len(stacks) - 1
    one = jnp.ones((1, 1, 1), stacks[0][0].dtype), jnp.zeros(1, jnp.int32)
    surroundings: dict[int, Scaled] = {last: one}
    environments: dict[int, Scaled] = {}
    pieces: dict[int, list[Any]] = {g: [] for g in range(len(stacks))}
    for g in reversed(range(len(stacks))):
        nodes = members[g]
        if not nodes:
            continue
        if g != last:
            surroundings[g] = collected(_equally_long(pieces.pop(g)), nodes)
        if not factors.tree.children[nodes[0]]:
            continue
        weights = _at(stacks[g], factors.groups[g], nodes)
        environments[g] = _times(surroundings[g], transposed(weights), precision)
        below = slots(factors, nodes, home)
        if any(members[h] for _, h, _ in below):
            parts = children_of(factors, nodes, tables, home)
            around = _without_one(environments[g], parts)
            for (kids, h, _), piece in zip(below, around, strict=True):
                pieces[h].append((kids, piece))
    return environments, surroundings


def _members(factors: GroupedFactors, needed: set[int]) -> list[tuple[int, ...]]:
    """The needed nodes of every group."""
    return [tuple(k for k in nodes if k in needed) for nodes in factors.groups]


def _at(stacks: Any, held: tuple[int, ...], nodes: tuple[int, ...]) -> Any:
    """Stacks for some of the nodes they hold."""
    return collected([(held, stacks)], nodes)


def _equally_long(pieces: list[Any]) -> list[Any]:
    """Zero rows below what is shorter: equal nodes may differ in what surrounds them."""
    heights = [x.shape[1] for _, (x, _) in pieces]
    if len(set(heights)) == 1:
        return pieces
    return [
        (kids, (jnp.pad(x, ((0, 0), (0, max(heights) - height), (0, 0))), exponents))
        for height, (kids, (x, exponents)) in zip(heights, pieces, strict=True)
    ]


def _without_one(first: Scaled, parts: list[Scaled]) -> list[Scaled]:
    """Khatri-Rao products of `first` and all parts but one, for each."""
    before: list[Scaled] = [first]
    after: list[Any] = [None]
    for part in parts[:-1]:
        before.append(_fold(before[-1], part))
    for part in reversed(parts[1:]):
        after.append(part if after[-1] is None else _fold(part, after[-1]))
    return [
        b if a is None else _fold(b, a)
        for b, a in zip(before, reversed(after), strict=True)
    ]


@jax.jit
def _leaf(stack: Scaled) -> Scaled:
    """W, reduced."""
    return _reduce(stack)


# The steps are jitted: an unjitted sweep then dispatches a few programs a group.
@jax.jit
def _fold(one: Scaled, other: Scaled) -> Scaled:
    """Khatri-Rao product, reduced at once so that no three row counts multiply."""
    joint = jax.vmap(lambda a, b: khatri_rao([a, b]))(one[0], other[0])
    return _reduce(lifted(joint, one[1] + other[1]))


@functools.partial(jax.jit, static_argnames="precision")
def _times(table: Scaled, weight: Scaled, precision: Any) -> Scaled:
    """T W, reduced."""
    product = jnp.matmul(table[0], weight[0], precision=precision)
    return _reduce(lifted(product, table[1] + weight[1]))


def _reduce(table: Scaled) -> Scaled:
    """At most as many rows as columns."""
    stack, exponents = table
    if stack.shape[1] <= stack.shape[2]:
        return stack, exponents
    return triangular(stack), exponents
