"""Gram matrices of the node tables, from which norms follow without the tensor.

Nodes of a group are one stack of matrices, so that a program has as many steps as the
tree has groups. Every matrix is a mantissa and a power of two: neither small factors nor
an order of a thousand under- or overflow on the way.
"""

import functools
import math
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
from htfjax.factors import Factors, GroupedFactors
from htfjax.grouping import stacked_alike

__all__ = [
    "GramPair",
    "component_grams",
    "environment_grams",
    "gram_pairs",
    "scaled_inner_product",
    "table_grams",
]

GramPair = tuple[Any, jax.Array, jax.Array]  # M or None for the identity, C, exponents


def component_grams(
    factors: GroupedFactors, *, precision: Any = "highest"
) -> dict[int, Scaled]:
    """M_v = Phi_v^T Phi_v for every group of interior nodes, (G, R_v, R_v).

    Phi_v has one column per local component: the product of the children's columns.
    """
    return _rising(factors, factors, precision)[0]


def environment_grams(
    factors: GroupedFactors, *, precision: Any = "highest"
) -> dict[int, Scaled]:
    """E_v^T E_v for every group of interior nodes, (G, R_v, R_v), from the root down.

    The matricization of the end tensor by node v is Phi_v E_v^T: E_v = Psi_v W_v^T holds
    what the rest of the tree multiplies each local component of v with (law D2).
    """
    _, tables = _rising(factors, factors, precision)
    environments, _ = _falling(factors, tables, precision)
    return {
        g: environments[g]
        for g, nodes in enumerate(factors.groups)
        if factors.tree.children[nodes[0]]
    }


def table_grams(factors: GroupedFactors, *, precision: Any = "highest") -> list[Scaled]:
    """G_k = W_k^T M_k W_k for every group, (G, C, C), the root's (1, 1, 1)."""
    return _rising(factors, factors, precision)[1]


def gram_pairs(
    factors: GroupedFactors,
    nodes: Iterable[int] | None = None,
    *,
    precision: Any = "highest",
) -> list[tuple[tuple[int, ...], GramPair]]:
    """M and C per node: the matricization has sigma^2 = eig(M C).

    Of three gauges the smallest: after W_k (G_k with what surrounds it), before W_k (M_k
    with the environment of the node's own components), or, where the rows are few, the
    rows themselves: M is the identity, spelled None, and C = Phi_k E_k^T E_k Phi_k^T. The
    third item is the exponents of M C, (G,).

    Args:
      factors: any tree.
      nodes: the ones wanted, by default all but the root.

    Returns:
      For every group that has some of them: the nodes, and stacks of their M and C.
    """
    components, tables = _rising(factors, factors, precision)
    environments, surroundings = _falling(factors, tables, precision)
    short = _short_components(factors, precision)
    wanted = set(range(factors.tree.root) if nodes is None else nodes)
    pairs: list[tuple[tuple[int, ...], GramPair]] = []
    for g, group in enumerate(factors.groups):
        some = tuple(k for k in group if k in wanted)
        if not some:
            continue
        if group[0] == factors.tree.root:
            pair = None, *tables[g]
        elif g in short:
            phi = short[g]
            pair = None, *_congruent(phi, environments[g], transposed(phi), precision)
        elif factors.stacks[g].shape[1] > factors.stacks[g].shape[2]:
            pair = _joined(tables[g], surroundings[g])
        elif g in components:
            pair = _joined(components[g], environments[g])
        else:
            pair = None, *environments[g]
        pairs.append((some, collected([(group, pair)], some)))
    return pairs


def scaled_inner_product(
    one: Factors | GroupedFactors,
    other: Factors | GroupedFactors,
    *,
    precision: Any = "highest",
) -> tuple[jax.Array, jax.Array]:
    """<W, W'> of two factorizations on one tree: mantissa () and exponent ()."""
    if other is one:  # each stack is made and normalized once
        (left,) = stacked_alike(one)
        right = left
    else:
        left, right = stacked_alike(one, other)
    value, exponent = _rising(left, right, precision)[1][-1]
    return value[0, 0, 0], exponent[0]


def _rising(
    one: GroupedFactors, other: GroupedFactors, precision: Any
) -> tuple[dict[int, Scaled], list[Scaled]]:
    """M_v inside and G_k = W_k^T M_k W'_k (M_leaf = 1) everywhere."""
    components: dict[int, Scaled] = {}
    tables: list[Scaled] = []
    home, lefts = homes(one), scaled_stacks(one)
    rights = lefts if other is one else scaled_stacks(other)
    for g, (nodes, left, right) in enumerate(zip(one.groups, lefts, rights, strict=True)):
        if not one.tree.children[nodes[0]]:
            tables.append(_times(transposed(left), right, precision))
            continue
        components[g] = _product(children_of(one, nodes, tables, home))
        tables.append(_congruent(transposed(left), components[g], right, precision))
    return components, tables


def _falling(
    factors: GroupedFactors, tables: list[Scaled], precision: Any
) -> tuple[dict[int, Scaled], dict[int, Scaled]]:
    """E_k^T E_k (G, R_k, R_k), and (G, R_parent, R_parent) around all but the root.

    At leaves of more rows than columns the first is left out: their gauge is the second.
    """
    stacks, home = scaled_stacks(factors), homes(factors)
    root = _times(stacks[-1], transposed(stacks[-1]), precision)
    environments = {len(stacks) - 1: root}
    surroundings: dict[int, Scaled] = {}
    pieces: dict[int, list[Any]] = {g: [] for g in range(len(stacks))}
    for g in reversed(range(len(stacks))):
        nodes, stack = factors.groups[g], stacks[g]
        inside = bool(factors.tree.children[nodes[0]])
        if g not in environments:
            surroundings[g] = collected(pieces.pop(g), nodes)
            if inside or stack[0].shape[1] <= stack[0].shape[2]:
                environments[g] = _congruent(
                    stack, surroundings[g], transposed(stack), precision
                )
        if inside:
            parts = children_of(factors, nodes, tables, home)
            around = _without_one(environments[g], parts)
            for (kids, below, _), piece in zip(
                slots(factors, nodes, home), around, strict=True
            ):
                pieces[below].append((kids, piece))
    return environments, surroundings


def _short_components(factors: GroupedFactors, precision: Any) -> dict[int, Scaled]:
    """Phi_v (G, P_v, R_v) for the groups of interior nodes that have the fewest rows."""
    tree, home = factors.tree, homes(factors)
    tables: list[Scaled | None] = []
    short: dict[int, Scaled] = {}
    stacks = scaled_stacks(factors)[:-1]
    for nodes, stack in zip(factors.groups[:-1], stacks, strict=True):
        if not tree.children[nodes[0]]:
            tables.append(stack)
            continue
        below = [tables[g] for _, g, _ in slots(factors, nodes, home)]
        heights = [math.inf if table is None else table[0].shape[1] for table in below]
        if math.prod(heights) > min(stack[0].shape[1:]):
            tables.append(None)
            continue
        short[len(tables)] = _rows(children_of(factors, nodes, tables, home))
        tables.append(_times(short[len(tables)], stack, precision))
    return short


def _joined(inner: Scaled, outer: Scaled) -> GramPair:
    return inner[0], outer[0], inner[1] + outer[1]


# The steps of a sweep are jitted: unjitted sweeps then dispatch a few programs a group.
@functools.partial(jax.jit, static_argnames="precision")
def _times(left: Scaled, right: Scaled, precision: Any) -> Scaled:
    """A B."""
    product = jnp.matmul(left[0], right[0], precision=precision)
    return lifted(product, left[1] + right[1])


@functools.partial(jax.jit, static_argnames="precision")
def _congruent(left: Scaled, inner: Scaled, right: Scaled, precision: Any) -> Scaled:
    """A M B."""
    product = jnp.matmul(left[0], inner[0], precision=precision)
    product = jnp.matmul(product, right[0], precision=precision)
    return lifted(product, left[1] + inner[1] + right[1])


@jax.jit
def _product(parts: list[Scaled]) -> Scaled:
    """Elementwise product, one at a time so that no partial product is lost."""
    product = parts[0]
    for part in parts[1:]:
        product = lifted(product[0] * part[0], product[1] + part[1])
    return product


@jax.jit
def _rows(parts: list[Scaled]) -> Scaled:
    """Khatri-Rao product."""
    tables, exponents = zip(*parts, strict=True)
    joint = jax.vmap(lambda *xs: khatri_rao(xs))(*tables)
    return lifted(joint, jnp.sum(jnp.stack(exponents), axis=0, dtype=jnp.int32))


def _without_one(first: Scaled, parts: list[Scaled]) -> list[Scaled]:
    """first times all parts but one, for each; no division, so zeros are fine."""
    before: list[Scaled] = [first]
    after: list[Any] = [None]
    for part in parts[:-1]:
        before.append(_product([before[-1], part]))
    for part in reversed(parts[1:]):
        last = after[-1]
        after.append(part if last is None else _product([part, last]))
    return [
        b if a is None else _product([b, a])
        for b, a in zip(before, reversed(after), strict=True)
    ]
