"""Gram matrices of the node tables, from which norms follow without the tensor.

Nodes of a group are one stack of matrices, so that a program has as many steps as the
tree has groups. Every matrix is a mantissa and a power of two: neither small factors nor
an order of a thousand under- or overflow on the way, nor does it matter how components
share their size between matrices (`scaled_stacks`).

Mathematics: docs/mathematics/gram.md.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from htfjax._types import Precision
from htfjax.contraction.end_tensor import khatri_rao
from htfjax.factors.layout import Layout
from htfjax.factors.stacks import Opened, Stacks, children_of, collected
from htfjax.instruments.scaled_stacks import (
    Scaled,
    lifted,
    lifted_grams,
    scaled_stacks,
    transposed,
)

Lift = Callable[[jax.Array, jax.Array], Scaled]
Piece = tuple[tuple[int, ...], Scaled]  # nodes and their stack
GramPair = tuple[Any, jax.Array, jax.Array]  # M or None for the identity, C, exponents


class _Rising(NamedTuple):
    """Results of the sweep from the leaves to the root, by groups."""

    tables: list[Scaled]  # G_k = W_k^T M_k W'_k, with M = 1 at leaves
    components: dict[int, Scaled]  # M_v, where it was made of the children's G
    rows: dict[int, Scaled]  # Phi_v of the first side, where it has few rows


def component_grams(
    layout: Layout, stacks: Stacks, *, precision: Precision = "highest"
) -> tuple[dict[int, Scaled], dict[int, Scaled]]:
    """M_v = Phi_v^T Phi_v and E_v^T E_v for every group of interior nodes, (G, R_v, R_v).

    Phi_v has one column per local component: the product of the children's columns. The
    matricization of the end tensor by node v is Phi_v E_v^T: E_v = Psi_v W_v^T holds what
    the rest of the tree multiplies each component with (law D2). What a component has in
    one of the two more and in the other less is as `scaled_stacks` chooses.
    """
    scaled, _ = scaled_stacks(layout, stacks)
    rising = _rising(layout, scaled, None, precision)
    environments, _ = _falling(layout, scaled, rising.tables, precision)
    few = {
        g: _times(transposed(phi), phi, precision, lifted_grams)
        for g, phi in rising.rows.items()
    }
    # In the order of groups: the union has those of few rows last.
    inside = dict(sorted((rising.components | few).items()))
    return inside, {g: environments[g] for g in inside}


def log2_squares(
    layout: Layout, stacks: Stacks, *, precision: Precision = "highest"
) -> list[jax.Array]:
    """log2 ||Phi_k W_k||_F^2 of the nodes of every group, (G,), -inf where it is zero."""
    scaled, taken = scaled_stacks(layout, stacks)
    tables = _rising(layout, scaled, None, precision).tables
    return [_log2_trace(*one, powers) for one, powers in zip(tables, taken, strict=True)]


@jax.jit
def _log2_trace(grams: jax.Array, exponents: jax.Array, powers: jax.Array) -> jax.Array:
    """log2 trace(D G D) of D = 2^powers, whatever the powers."""
    # Powers of columns may lie further apart than the dtype reaches: terms are logarithms,
    # and added up relative to the largest.
    diagonals = jnp.maximum(jnp.diagonal(grams, axis1=1, axis2=2), 0)
    terms = jnp.log2(diagonals) + (2 * powers).astype(grams.dtype)
    top = jnp.max(terms, axis=1)
    zero = top == -jnp.inf
    # -inf - -inf would be NaN, also in the derivative of the branch that is not taken.
    safe = jnp.where(zero, jnp.zeros_like(top), top)
    rest = jnp.sum(jnp.exp2(terms - safe[:, None]), axis=1)
    rest = jnp.where(zero, jnp.ones_like(top), rest)
    return top + jnp.log2(rest) + exponents.astype(grams.dtype)


def gram_pairs(
    layout: Layout,
    stacks: Stacks,
    nodes: Iterable[int] | None = None,
    *,
    precision: Precision = "highest",
) -> list[tuple[tuple[int, ...], GramPair]]:
    """M and C per node: the matricization has sigma^2 = eig(M C).

    Of three gauges the smallest: after W_k (G_k with what surrounds it), before W_k (M_k
    with the environment of the node's own components), or, where the rows are few, the
    rows themselves: M is the identity, spelled None, and C = Phi_k E_k^T E_k Phi_k^T. The
    third item is the exponents of M C, (G,).

    Args:
      layout, stacks: of any tree.
      nodes: the ones wanted, by default all but the root.

    Returns:
      For every group that has some of them: the nodes, and stacks of their M and C.
    """
    scaled, _ = scaled_stacks(layout, stacks)
    tables, components, rows = _rising(layout, scaled, None, precision)
    environments, surroundings = _falling(layout, scaled, tables, precision)
    wanted = set(range(layout.tree.root) if nodes is None else nodes)
    pairs: list[tuple[tuple[int, ...], GramPair]] = []
    for g, group in enumerate(layout.groups):
        some = tuple(k for k in group if k in wanted)
        if not some:
            continue
        if group[0] == layout.tree.root:
            # The matricization by the root is one column: its one value is the norm.
            pair = None, *tables[g]
        elif g in rows:
            phi = rows[g]
            pair = (
                None,
                *_congruent(phi, environments[g], transposed(phi), precision, lifted_grams),
            )
        elif layout.widths[group[0]] > layout.columns[group[0]]:
            # After W_k, where the matrices are R_parent wide.
            pair = _joined(tables[g], surroundings[g])
        elif g in components:
            # Before W_k, where they are R_k wide.
            pair = _joined(components[g], environments[g])
        else:
            # A leaf before W_k: Phi is the identity.
            pair = None, *environments[g]
        pairs.append((some, collected([(group, pair)], some)))
    return pairs


def scaled_inner_product(
    one: Opened, other: Opened, *, precision: Precision = "highest"
) -> tuple[jax.Array, jax.Array]:
    """<W, W'> of two factorizations in the same groups: mantissa () and exponent ()."""
    left, _ = scaled_stacks(*one)
    # Those of one with itself are made and normalized once.
    right = None if other is one else scaled_stacks(*other)[0]
    value, exponent = _rising(one[0], left, right, precision).tables[-1]
    return value[0, 0, 0], exponent[0]


def _rising(
    layout: Layout, lefts: list[Scaled], rights: list[Scaled] | None, precision: Precision
) -> _Rising:
    """G_k = W_k^T M_k W'_k for every group, from M_v, the product of the children's G.

    Where the tables T_k = Phi_k W_k have the fewest rows, from these: G_k = T_k^T T'_k then
    costs less and squares nothing twice.

    Args:
      rights: scaled stacks of the second side, None where it is the first.
    """
    found = _Rising([], {}, {})
    held: list[tuple[Scaled, ...] | None] = []  # T_k of both sides, where rows are few
    # Only the Gram matrix of a side with itself is symmetric, with its largest entry on the
    # diagonal.
    lift = lifted_grams if rights is None else lifted
    sides = zip(lefts, strict=True) if rights is None else zip(lefts, rights, strict=True)
    for g, (nodes, own) in enumerate(zip(layout.groups, sides, strict=True)):
        tables: tuple[Scaled, ...] | None = own
        if layout.below(nodes[0]):  # a leaf's table is its matrix, as Phi is the identity
            phis = _few_rows(layout, nodes, held, own)
            tables = phis and tuple(
                _times(phi, w, precision, lifted) for phi, w in zip(phis, own, strict=True)
            )
            if phis:
                found.rows[g] = phis[0]
        held.append(tables)
        if tables:
            gram = _times(transposed(tables[0]), tables[-1], precision, lift)
        else:
            inside = _product(children_of(layout, nodes, found.tables), lift)
            found.components[g] = inside
            gram = _congruent(transposed(own[0]), inside, own[-1], precision, lift)
        found.tables.append(gram)
    return found


def _few_rows(
    layout: Layout,
    nodes: Sequence[int],
    rows: Sequence[tuple[Scaled, ...] | None],
    own: tuple[Scaled, ...],
) -> tuple[Scaled, ...] | None:
    """Phi_v of both sides where its rows are at most those of W_v and its columns."""
    below = [rows[g] for _, g, _ in layout.slots(nodes)]
    # A child of which no table is held has too many rows.
    heights = [math.inf if held is None else held[0][0].shape[1] for held in below]
    if math.prod(heights) > min(min(w.shape[1:]) for w, _ in own):
        return None
    sides = zip(*children_of(layout, nodes, rows), strict=True)
    return tuple(_rows(list(parts)) for parts in sides)


def _falling(
    layout: Layout, stacks: list[Scaled], tables: list[Scaled], precision: Precision
) -> tuple[dict[int, Scaled], dict[int, Scaled]]:
    """E_k^T E_k (G, R_k, R_k), and (G, R_parent, R_parent) around all but the root.

    At leaves of more rows than columns the first is left out: their gauge is the second.
    """
    root = _times(stacks[-1], transposed(stacks[-1]), precision, lifted_grams)
    environments = {len(stacks) - 1: root}
    surroundings: dict[int, Scaled] = {}
    pieces: dict[int, list[tuple[tuple[int, ...], Scaled]]] = {
        g: [] for g in range(len(stacks))
    }
    # Groups stand with children before parents: reversed, the parents of all nodes of a
    # group have been visited, and `pieces` holds what they left for it.
    for g in reversed(range(len(stacks))):
        nodes, stack = layout.groups[g], stacks[g]
        inside = bool(layout.below(nodes[0]))
        if g not in environments:
            surroundings[g] = collected(pieces.pop(g), nodes)
            if inside or stack[0].shape[1] <= stack[0].shape[2]:
                environments[g] = _congruent(
                    stack, surroundings[g], transposed(stack), precision, lifted_grams
                )
        if inside:
            parts = children_of(layout, nodes, tables)
            # One piece per child slot; a group collects its members' from all slots.
            around = _without_one(environments[g], parts)
            for (kids, below, _), piece in zip(layout.slots(nodes), around, strict=True):
                pieces[below].append((kids, piece))
    return environments, surroundings


def _joined(inner: Scaled, outer: Scaled) -> GramPair:
    return inner[0], outer[0], inner[1] + outer[1]


# The steps of a sweep are jitted: unjitted sweeps then dispatch a few programs per group.
@functools.partial(jax.jit, static_argnames=("precision", "lift"))
def _times(left: Scaled, right: Scaled, precision: Precision, lift: Lift) -> Scaled:
    """A B."""
    product = jnp.matmul(left[0], right[0], precision=precision)
    return lift(product, left[1] + right[1])


@functools.partial(jax.jit, static_argnames=("precision", "lift"))
def _congruent(
    left: Scaled, inner: Scaled, right: Scaled, precision: Precision, lift: Lift
) -> Scaled:
    """A M B."""
    product = jnp.matmul(left[0], inner[0], precision=precision)
    product = jnp.matmul(product, right[0], precision=precision)
    return lift(product, left[1] + inner[1] + right[1])


@functools.partial(jax.jit, static_argnames="lift")
def _product(parts: list[Scaled], lift: Lift) -> Scaled:
    """Elementwise product, one at a time so that no partial product is lost."""
    # Mantissas are below one: a product of many without lifting in between would underflow.
    product = parts[0]
    for part in parts[1:]:
        product = lift(product[0] * part[0], product[1] + part[1])
    return product


@jax.jit
def _rows(parts: list[Scaled]) -> Scaled:
    """Khatri-Rao product, one at a time so that no partial product is lost."""
    product = parts[0]
    for part in parts[1:]:
        joint = khatri_rao([product[0], part[0]])
        product = lifted(joint, product[1] + part[1])
    return product


def _without_one(first: Scaled, parts: list[Scaled]) -> list[Scaled]:
    """A Gram matrix times all of some but one, for each; no division: zeros are fine."""
    # Products of all before and of all after each; None stands for the empty one, which
    # would cost a product and an exponent.
    before: list[Scaled] = [first]
    after: list[Scaled | None] = [None]
    for part in parts[:-1]:
        before.append(_product([before[-1], part], lifted_grams))
    for part in reversed(parts[1:]):
        last = after[-1]
        after.append(part if last is None else _product([part, last], lifted_grams))
    return [
        b if a is None else _product([b, a], lifted_grams)
        for b, a in zip(before, reversed(after), strict=True)
    ]
