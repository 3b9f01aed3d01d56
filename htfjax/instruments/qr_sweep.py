"""QR sweep: all matricizations by tree nodes at once, reduced to small matrices.

The matricization by node k is (Phi_k W_k) Psi_k^T (law D2). An upward sweep replaces
Phi_k W_k by the triangular factor L_k of its QR decomposition, a downward one Psi_k by
K_k; the orthonormal factors are dropped, so the singular values are those of L_k K_k^T.
Nodes of a group are one stack of matrices. Every matrix is a mantissa and a power of two:
no order under- or overflows.

Derivatives. With Q held still, A = Q R becomes R = Q^T A and an excess of its Gram matrix,
E = A^T (1 - Q Q^T) A: A^T A = R^T R + E whatever A becomes. E and its first derivatives
are zero where Q is that of A, its second derivatives are not, and no inverse is needed
where A has not full rank. What is read off the sweep depends on A^T A alone, so a sweep
that follows E through its products has exact second derivatives.

Mathematics: docs/mathematics/qr-sweep.md.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

import jax
import jax.numpy as jnp

from htfjax import _lapack, _numerics
from htfjax._types import Precision
from htfjax.contraction.end_tensor import khatri_rao
from htfjax.factors.layout import Layout
from htfjax.factors.stacks import Part, Stacks, children_of, collected
from htfjax.instruments.scaled_stacks import Scaled, normalized, scaled_stacks, transposed
from htfjax.trees.mode_tree import ModeTree

Cores = list[tuple[tuple[int, ...], "Core"]]
Piece = tuple[tuple[int, ...], "Table"]  # nodes and their tables
Read = TypeVar("Read")  # a pytree of arrays
One = tuple[jax.Array]
Two = tuple[jax.Array, jax.Array]


class Table(NamedTuple):
    """A stack of tables, reduced: their Gram matrices are 4^e (R^T R + E)."""

    stack: jax.Array  # R, (G, P, C)
    exponents: jax.Array  # e, (G,) int32
    excess: (
        jax.Array | None
    )  # E, (G, C, C) zeros with second derivatives; None if not followed


class Core(NamedTuple):
    """Core of a matricization: 2^e L K^T has its singular values."""

    left: jax.Array  # L, (G, P, C)
    right: jax.Array  # K, (G, Q, C)
    exponents: jax.Array  # e, (G,) int32
    left_excess: Any  # of L and of K, as in `Table`: both or none
    right_excess: Any


def read_off_cores(
    read: Callable[[Cores], Read],
    layout: Layout,
    stacks: Stacks,
    nodes: Sequence[int],
    *,
    precision: Precision = "highest",
) -> Read:
    """read(cores) with first and second derivatives.

    Args:
      read: a function of L K^T and the Gram matrices of L and K, in arrays. It is given,
        for every group that has some of the nodes, these and stacks of their cores.
      layout, stacks: of any tree.
      nodes: the ones wanted; the root's L and K are (1, 1).
    """
    return _read(read, layout, tuple(nodes), precision, stacks)


# A rule of its own only to know whether derivatives are taken: the excess costs as many
# matrices as the sweep. What is not an array is static, hence `nondiff_argnums`.
@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _read(
    read: Callable[[Cores], Read],
    layout: Layout,
    nodes: tuple[int, ...],
    precision: Precision,
    stacks: Stacks,
) -> Read:
    return read(_cores(layout, stacks, nodes, False, precision))


@_read.defjvp
def _read_jvp(
    read: Callable[[Cores], Read],
    layout: Layout,
    nodes: tuple[int, ...],
    precision: Precision,
    primals: tuple[Stacks],
    tangents: tuple[Stacks],
) -> tuple[Read, Read]:
    # The excess is followed where derivatives are taken only.
    def followed(stacks: Stacks) -> Read:
        return read(_cores(layout, stacks, nodes, True, precision))

    return jax.jvp(followed, primals, tangents)


def _cores(
    layout: Layout, stacks: Stacks, nodes: Iterable[int], follow: bool, precision: Precision
) -> Cores:
    """L and K per node: of the two gauges, before and after W_k, that of fewer columns."""
    tree, wanted = layout.tree, set(nodes)
    scaled, _ = scaled_stacks(layout, stacks)
    components, tables = _rising(layout, scaled, follow, precision)
    # Downward only along the paths from the root to these nodes; upward everything is
    # needed, since siblings are part of what surrounds a node.
    needed = ancestors(tree, wanted) | wanted
    members = [tuple(k for k in group if k in needed) for group in layout.groups]
    environments, surroundings = _falling(layout, scaled, tables, members, precision)
    cores = []
    for g, group in enumerate(layout.groups):
        some = tuple(k for k in members[g] if k in wanted)
        if not some:
            continue
        # A leaf has no table before W_k, and the root's core is its norm, (1, 1).
        inside = g in components and group[0] != tree.root
        smaller = inside and layout.widths[group[0]] < layout.columns[group[0]]
        inner = components[g] if smaller else tables[g]
        outer = environments[g] if smaller else surroundings[g]
        left, low, more = _at(inner, group, some)
        right, high, beside = _at(outer, members[g], some)
        cores.append((some, Core(left, right, low + high, more, beside)))
    return cores


def ancestors(tree: ModeTree, nodes: Iterable[int]) -> set[int]:
    """Every node above one of `nodes`."""
    above: set[int] = set()
    for k in nodes:
        parent = tree.parent[k]
        while parent is not None and parent not in above:
            above.add(parent)
            parent = tree.parent[parent]
    return above


@jax.custom_jvp
def _reduced(matrix: jax.Array) -> Two:
    """R of A = Q R, as many rows as A has columns, and E, which is zero."""
    width = matrix.shape[-1]
    excess = jnp.zeros((*matrix.shape[:-2], width, width), matrix.dtype)
    return _lapack.triangle(matrix), excess


@_reduced.defjvp
def _reduced_jvp(primals: One, tangents: One) -> tuple[Two, Two]:
    (matrix,), (change,) = primals, tangents
    # Q stays where it is, for derivatives of this rule too: R = Q^T A is linear in A.
    basis = _lapack.qr(jax.lax.stop_gradient(matrix))[0]
    turned = jnp.swapaxes(basis, -1, -2)
    # dE = A^T (1 - Q Q^T) dA + its transpose. The first factor is zero, so dE is, but its
    # derivative is not, which `_remainder` knows.
    half = _matmul(jnp.swapaxes(_remainder(matrix), -1, -2), change)
    excess = half + jnp.swapaxes(half, -1, -2)
    # Q^T A, not the R of another decomposition: signs of its rows are those of Q.
    value = _matmul(turned, matrix), jnp.zeros_like(excess)
    return value, (_matmul(turned, change), excess)


@jax.custom_jvp
def _remainder(matrix: jax.Array) -> jax.Array:
    """(1 - Q Q^T) A with Q held still: zero, its derivative is not."""
    return jnp.zeros_like(matrix)


@_remainder.defjvp
def _remainder_jvp(primals: One, tangents: One) -> Two:
    (matrix,), (change,) = primals, tangents
    basis = _orthonormal(matrix)
    # Second derivatives end here: a third one would have to move Q (`_orthonormal`).
    inside = _matmul(basis, _matmul(jnp.swapaxes(basis, -1, -2), change))
    return jnp.zeros_like(matrix), change - inside


@jax.custom_jvp
def _orthonormal(matrix: jax.Array) -> jax.Array:
    return _lapack.qr(matrix)[0]


@_orthonormal.defjvp
def _orthonormal_jvp(primals: One, tangents: One) -> NoReturn:
    del primals, tangents
    raise NotImplementedError(
        "the QR route has first and second derivatives; take `method='dense'` (singular "
        "values) or `method='gram'` (norms, distances) for higher ones."
    )


def _rising(
    layout: Layout, stacks: list[Scaled], follow: bool, precision: Precision
) -> tuple[dict[int, Table], list[Table]]:
    """Phi_v inside and Phi_k W_k everywhere, each reduced to few rows."""
    components: dict[int, Table] = {}
    tables: list[Table] = []
    for g, (nodes, stack) in enumerate(zip(layout.groups, stacks, strict=True)):
        if not layout.below(nodes[0]):
            tables.append(_leaf(stack, follow))
            continue
        # Folded one by one, each reduced at once: row counts stay below R^2.
        first, *others = children_of(layout, nodes, tables)
        components[g] = functools.reduce(_fold, others, first)
        tables.append(_times(components[g], stack, precision))
    return components, tables


def _falling(
    layout: Layout,
    stacks: list[Scaled],
    tables: list[Table],
    members: list[tuple[int, ...]],
    precision: Precision,
) -> tuple[dict[int, Table], dict[int, Table]]:
    """Psi_k W_k^T inside and Psi_k everywhere, reduced; only for some nodes of a group."""
    last = len(stacks) - 1
    one = jnp.ones((1, 1, 1), stacks[0][0].dtype)
    excess = None if tables[0].excess is None else jnp.zeros_like(one)
    surroundings = {last: Table(one, jnp.zeros(1, jnp.int32), excess)}
    environments: dict[int, Table] = {}
    pieces: dict[int, list[Piece]] = {g: [] for g in range(len(stacks))}
    # From the root down, since groups stand with children before parents.
    for g in reversed(range(len(stacks))):
        nodes = members[g]
        if not nodes:
            continue
        if g != last:
            surroundings[g] = collected(_equally_long(pieces.pop(g)), nodes)
        if not layout.below(nodes[0]):
            continue
        weights = _at(stacks[g], layout.groups[g], nodes)
        environments[g] = _times(surroundings[g], transposed(weights), precision)
        below = layout.slots(nodes)
        if any(members[h] for _, h, _ in below):
            parts = children_of(layout, nodes, tables)
            around = _without_one(environments[g], parts)
            for (kids, h, _), piece in zip(below, around, strict=True):
                pieces[h].append((kids, piece))
    return environments, surroundings


def _at(stacks: Part, held: tuple[int, ...], nodes: tuple[int, ...]) -> Part:
    """Stacks for some of the nodes they hold."""
    return collected([(held, stacks)], nodes)


def _equally_long(pieces: list[Piece]) -> list[Piece]:
    """Zero rows below what is shorter: equal nodes may differ in what surrounds them."""
    # Zero rows change neither L K^T nor a Gram matrix.
    heights = [table.stack.shape[1] for _, table in pieces]
    if len(set(heights)) == 1:
        return pieces
    padded = [
        jnp.pad(table.stack, ((0, 0), (0, max(heights) - height), (0, 0)))
        for height, (_, table) in zip(heights, pieces, strict=True)
    ]
    return [
        (kids, table._replace(stack=stack))
        for stack, (kids, table) in zip(padded, pieces, strict=True)
    ]


def _without_one(first: Table, parts: list[Table]) -> list[Table]:
    """Khatri-Rao products of `first` and all parts but one, for each."""
    # The order of factors in a fold is a matter of rows only, which no result depends on.
    before: list[Table] = [first]
    after: list[Table | None] = [None]
    for part in parts[:-1]:
        before.append(_fold(before[-1], part))
    for part in reversed(parts[1:]):
        after.append(part if after[-1] is None else _fold(part, after[-1]))
    return [
        b if a is None else _fold(b, a)
        for b, a in zip(before, reversed(after), strict=True)
    ]


# The steps are jitted: an unjitted sweep then dispatches a few programs per group.
@functools.partial(jax.jit, static_argnames="follow")
def _leaf(stack: Scaled, follow: bool) -> Table:
    """W, reduced."""
    count, _, width = stack[0].shape
    excess = jnp.zeros((count, width, width), stack[0].dtype) if follow else None
    return _reduce(Table(*stack, excess))


@jax.jit
def _fold(one: Table, other: Table) -> Table:
    """Khatri-Rao product, reduced at once so that no three row counts multiply."""
    joint = khatri_rao([one.stack, other.stack])
    excess = None
    if one.excess is not None and other.excess is not None:
        # Gram matrices multiply entry by entry.
        grams = _gram(one.stack), _gram(other.stack) + other.excess
        excess = grams[0] * other.excess + one.excess * grams[1]
    return _reduce(_lifted(joint, one.exponents + other.exponents, excess))


@functools.partial(jax.jit, static_argnames="precision")
def _times(table: Table, weight: Scaled, precision: Precision) -> Table:
    """T W, reduced."""
    product = jnp.matmul(table.stack, weight[0], precision=precision)
    excess = None
    if table.excess is not None:  # (T W)^T (T W) gains W^T E W
        excess = _matmul(jnp.swapaxes(weight[0], 1, 2), _matmul(table.excess, weight[0]))
    return _reduce(_lifted(product, table.exponents + weight[1], excess))


def _lifted(stack: jax.Array, exponents: jax.Array, excess: jax.Array | None) -> Table:
    """The same tables, normalized."""
    stack, more = normalized(stack)
    if excess is not None:  # of a Gram matrix, so twice the power
        excess = _numerics.shifted(excess, (-2 * more)[:, None, None])
    return Table(stack, exponents + more, excess)


def _reduce(table: Table) -> Table:
    """At most as many rows as columns."""
    # With fewer rows there is nothing to gain, and a wide matrix has no square R.
    if table.stack.shape[1] <= table.stack.shape[2]:
        return table
    if table.excess is None:
        return table._replace(stack=_lapack.triangle(table.stack))
    stack, more = _reduced(table.stack)
    return table._replace(stack=stack, excess=table.excess + more)


def _gram(stack: jax.Array) -> jax.Array:
    return _matmul(jnp.swapaxes(stack, 1, 2), stack)


def _matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right, precision="highest")
