"""Gram matrices of the node tables, from which norms follow without the tensor."""

from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _numerics
from htfjax import factors as _factors
from htfjax.factors import Factors

__all__ = ["component_grams", "environment_grams"]

Grams = dict[int, jax.Array]


def component_grams(factors: Factors, *, precision: Any = "highest") -> Grams:
    """M_v = Phi_v^T Phi_v for every interior node, (R_v, R_v), from the leaves up.

    Phi_v has one column per local component: the product of the children's columns.
    """
    return _rising(_factors.with_constants(factors), precision)[0]


def environment_grams(factors: Factors, *, precision: Any = "highest") -> Grams:
    """E_v^T E_v for every interior node, (R_v, R_v), from the root down.

    The matricization of the end tensor by node v is Phi_v E_v^T: E_v = Psi_v W_v^T holds
    what the rest of the tree multiplies each local component of v with (law D2).
    """
    factors = _factors.with_constants(factors)
    tree, weights = factors.tree, factors.weights
    _, grams = _rising(factors, precision)
    column = weights[tree.root]
    if column is None:
        width = _factors.widths(factors)[tree.root]
        column = jnp.ones((width, 1), _factors.dtype(factors))
    environments = {tree.root: jnp.matmul(column, column.T, precision=precision)}
    for v in reversed(tree.interior):
        kids = tree.children[v]
        others = _numerics.products_without_one([grams[c] for c in kids])
        for child, other in zip(kids, others, strict=True):
            if child >= tree.order:
                around = environments[v] * other
                inner = jnp.matmul(weights[child], around, precision=precision)
                environments[child] = jnp.matmul(
                    inner, weights[child].T, precision=precision
                )
    return environments


def _rising(factors: Factors, precision: Any) -> tuple[Grams, Grams]:
    """M_v inside and G_k = W_k^T M_k W_k (M_leaf = 1) everywhere below the root."""
    components: Grams = {}
    grams: Grams = {}
    for k, kids in enumerate(factors.tree.children):
        weight = factors.weights[k]
        if kids:
            components[k] = _numerics.product([grams[c] for c in kids])
        if k == factors.tree.root:
            break
        inner = weight
        if kids:
            inner = jnp.matmul(components[k], weight, precision=precision)
        grams[k] = jnp.matmul(weight.T, inner, precision=precision)
    return components, grams
