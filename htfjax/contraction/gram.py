"""Gram matrices of the node tables, from which norms follow without the tensor.

Inside, every matrix is a mantissa and a power of two, so that neither small factors nor
an order of a thousand under- or overflows on the way.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _numerics
from htfjax import factors as _factors
from htfjax.contraction.grouped import homes, pick, slots
from htfjax.factors import Factors, GroupedFactors

__all__ = [
    "GramPair",
    "component_grams",
    "environment_grams",
    "gram_pairs",
    "scaled_inner_product",
    "table_grams",
]

Grams = dict[int, jax.Array]
Scaled = tuple[jax.Array, jax.Array]  # mantissa, exponent () int32
GramPair = tuple[Any, jax.Array, jax.Array]  # M or None for the identity, C, exponent


def component_grams(factors: Factors, *, precision: Any = "highest") -> Grams:
    """M_v = Phi_v^T Phi_v for every interior node, (R_v, R_v), from the leaves up.

    Phi_v has one column per local component: the product of the children's columns.
    """
    factors = _factors.with_constants(factors)
    return _plain(_rising(factors, factors, precision)[0])


def environment_grams(factors: Factors, *, precision: Any = "highest") -> Grams:
    """E_v^T E_v for every interior node, (R_v, R_v), from the root down.

    The matricization of the end tensor by node v is Phi_v E_v^T: E_v = Psi_v W_v^T holds
    what the rest of the tree multiplies each local component of v with (law D2).
    """
    factors = _factors.with_constants(factors)
    _, grams = _rising(factors, factors, precision)
    environments, _ = _falling(factors, grams, precision)
    return _plain({v: environments[v] for v in factors.tree.interior})


def table_grams(factors: Factors, *, precision: Any = "highest") -> dict[int, Scaled]:
    """G_k = W_k^T M_k W_k for every node, the root's (1, 1), as mantissa and exponent."""
    factors = _factors.with_constants(factors)
    return _rising(factors, factors, precision)[1]


def gram_pairs(factors: Factors, *, precision: Any = "highest") -> dict[int, GramPair]:
    """M and C per node below the root: the matricization has sigma^2 = eig(M C).

    Of the two gauges, before and after W_k, the smaller: M_k with the environment of the
    node's own components, or G_k with that of its parent's. At a leaf M is the identity,
    spelled None. The third item is the exponent of M C.
    """
    factors = _factors.with_constants(factors)
    tree, rows = factors.tree, _factors.widths(factors)
    components, grams = _rising(factors, factors, precision)
    environments, surroundings = _falling(factors, grams, precision)
    pairs: dict[int, GramPair] = {}
    for k in range(tree.root):
        if rows[k] > rows[tree.parent[k]]:
            (inner, low), (outer, high) = grams[k], surroundings[k]
            pairs[k] = inner, outer, low + high
        elif k < tree.order:
            outer, high = environments[k]
            pairs[k] = None, outer, high
        else:
            (inner, low), (outer, high) = components[k], environments[k]
            pairs[k] = inner, outer, low + high
    return pairs


def scaled_inner_product(
    one: Factors | GroupedFactors,
    other: Factors | GroupedFactors,
    *,
    precision: Any = "highest",
) -> Scaled:
    """<W, W'> of two factorizations on one tree: mantissa () and exponent.

    Where both are grouped alike, a group is one batched product.
    """
    if isinstance(one, GroupedFactors) and isinstance(other, GroupedFactors):
        if one.groups == other.groups:
            return _grouped_inner_product(one, other, precision)
    one, other = _factors.with_constants(one), _factors.with_constants(other)
    value, exponent = _rising(one, other, precision)[1][one.tree.root]
    return value[0, 0], exponent


def _grouped_inner_product(
    one: GroupedFactors, other: GroupedFactors, precision: Any
) -> Scaled:
    """`_rising` with the Gram matrices of a group in one stack, (G, R, R')."""
    home, held = homes(one), []
    leaf = functools.partial(_leaf, precision=precision)
    congruent = functools.partial(_congruent, precision=precision)
    pairs = zip(one.groups, _full_stacks(one), _full_stacks(other), strict=True)
    for nodes, left, right in pairs:
        if not one.tree.children[nodes[0]]:
            held.append(jax.vmap(leaf)(left, right))
            continue
        parts = [
            jax.tree.map(lambda x, places=places: pick(x, places), held[g])
            for _, g, places in slots(one, nodes, home)
        ]
        inner = jax.vmap(_product)(parts)
        held.append(jax.vmap(congruent)(jnp.swapaxes(left, 1, 2), inner, right))
    value, exponent = held[-1]
    return value[0, 0, 0], exponent[0]


def _full_stacks(factors: GroupedFactors) -> list[jax.Array]:
    """The stacks, with a root of ones written out."""
    width = _factors.widths(factors)[factors.tree.root]
    ones = jnp.ones((1, width, 1), _factors.dtype(factors))
    return [ones if s is None else s for s in _factors.stacks_with_constants(factors)]


def _rising(
    one: Factors, other: Factors, precision: Any
) -> tuple[dict[int, Scaled], dict[int, Scaled]]:
    """M_v inside and G_k = W_k^T M_k W'_k (M_leaf = 1) everywhere."""
    components: dict[int, Scaled] = {}
    grams: dict[int, Scaled] = {}
    columns = root_column(one), root_column(other)
    for k, kids in enumerate(one.tree.children):
        left, right = one.weights[k], other.weights[k]
        if k == one.tree.root:
            left, right = columns
        if kids:
            components[k] = _product([grams[c] for c in kids])
            grams[k] = _congruent(left.T, components[k], right, precision)
        else:
            grams[k] = _leaf(left, right, precision)
    return components, grams


def _falling(
    factors: Factors, grams: dict[int, Scaled], precision: Any
) -> tuple[dict[int, Scaled], dict[int, Scaled]]:
    """E_k^T E_k (R_k, R_k), and (R_parent, R_parent) around all nodes but the root.

    At a leaf of more rows than columns the first is left out: its gauge is the second.
    """
    tree, rows = factors.tree, _factors.widths(factors)
    row = root_column(factors).T
    environments = {tree.root: _leaf(row, row, precision)}
    surroundings: dict[int, Scaled] = {}
    for v in reversed(tree.interior):
        kids = tree.children[v]
        for child, around in zip(
            kids, _without_one(environments[v], [grams[c] for c in kids]), strict=True
        ):
            weight = factors.weights[child]
            surroundings[child] = around
            if child >= tree.order or rows[child] <= rows[v]:
                environments[child] = _congruent(weight, around, weight.T, precision)
    return environments, surroundings


def root_column(factors: Factors) -> jax.Array:
    """The root's matrix (R_root, 1), written out where it is fixed to ones."""
    weight = factors.weights[factors.tree.root]
    if weight is None:
        width = _factors.widths(factors)[factors.tree.root]
        return jnp.ones((width, 1), _factors.dtype(factors))
    return weight


# The steps of a sweep are jitted: unjitted sweeps then dispatch a few programs a node.
@functools.partial(jax.jit, static_argnames="precision")
def _leaf(left: jax.Array, right: jax.Array, precision: Any) -> Scaled:
    """left^T right."""
    left, low = _numerics.normalized(left)
    right, high = _numerics.normalized(right)
    return _lift(jnp.matmul(left.T, right, precision=precision), low + high)


@functools.partial(jax.jit, static_argnames="precision")
def _congruent(left: jax.Array, inner: Scaled, right: jax.Array, precision: Any) -> Scaled:
    """left M right."""
    left, low = _numerics.normalized(left)
    right, high = _numerics.normalized(right)
    product = jnp.matmul(
        jnp.matmul(left, inner[0], precision=precision), right, precision=precision
    )
    return _lift(product, inner[1] + low + high)


@jax.jit
def _product(parts: list[Scaled]) -> Scaled:
    """Elementwise product, one at a time so that no partial product is lost."""
    product = parts[0]
    for part in parts[1:]:
        product = _lift(product[0] * part[0], product[1] + part[1])
    return product


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


def _lift(matrix: jax.Array, exponent: jax.Array) -> Scaled:
    mantissa, more = _numerics.normalized(matrix)
    return mantissa, exponent + more


def _plain(grams: dict[int, Scaled]) -> Grams:
    return {k: _numerics.shifted(x, e) for k, (x, e) in grams.items()}
