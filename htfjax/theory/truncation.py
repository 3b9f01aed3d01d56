"""Keeping the largest local components, and how far that moves the end tensor."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax.factors.factors import Factors, GroupedFactors
from htfjax.factors.layout import layout_of, with_constants
from htfjax.instruments.local_components import local_component_norms
from htfjax.theory.vectors import interior_node, whole_norms

__all__ = ["truncate", "truncation_bounds"]


def truncate(factors: Factors | GroupedFactors, ranks: int | Mapping[int, int]) -> Factors:
    """The factors with all but the `ranks[v]` largest local components of v set to zero.

    Every vector of a dropped component becomes zero, so rank [W; v] <= ranks[v] for
    every truncated node, and the same for each of its children. Ties keep lower indices.

    Args:
      factors: any tree.
      ranks: components to keep, zero or more: one int for all interior nodes, or a
        mapping from node id; nodes it leaves out are kept whole.

    Returns:
      `Factors` of the same shapes.

    Raises:
      TypeError, ValueError: malformed factors, a leaf, a negative rank; a node that
        holds no trained matrix to set to zero.

    Source: arXiv:2201.11729, from small components to low rank; D6.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 4, 5, 1.0)
      >>> low = htf.theory.truncate(factors, 2)
      >>> int(htf.numerical_rank(htf.singular_values(low, (0, 1)), 1e-5))
      2
    """
    factors = with_constants(factors)
    kept = _kept(factors, ranks)
    weights = list(factors.weights)
    for v, mask in kept.items():
        carriers = [k for k in (v, *factors.tree.children[v]) if _trained(factors, k)]
        if not carriers:
            raise ValueError(
                f"`ranks` asks to truncate node {v}, whose matrices are all fixed; leave "
                "it out."
            )
        for k in carriers:
            weights[k] = weights[k] * (mask[:, None] if k == v else mask[None, :])
    return dataclasses.replace(factors, weights=tuple(weights))


def truncation_bounds(
    factors: Factors | GroupedFactors, ranks: int | Mapping[int, int]
) -> dict[int, jax.Array]:
    """||W - W truncated at v|| <= (sum of dropped norms) prod ||W_u||_F, u outside.

    The product runs over the matrices, fixed ones included, of all nodes but v and its
    children. A root of ones counts as sqrt(R_root) if it has one child and as one if it has
    several, since sum_r prod_c x_cr <= prod_c ||x_c|| for two factors or more. The sum
    runs over the components that `truncate` drops, with the norms of fixed vectors counted
    too.

    Truncating several nodes errs by at most the sum of their bounds; with B the largest of
    the norms in the products and m_v their number at v it is enough for an error e that
    every node drops at most e B^(-m_v) / (number of interior nodes). The bound also holds
    for the tail of the singular values of [W; v].

    Args, raises: as `truncate`.

    Returns:
      node id -> (), for the nodes of `ranks`.

    Source: arXiv:2201.11729, from small components to low rank; law D6.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 4, 5, 1.0)
      >>> low = htf.theory.truncate(factors, 2)
      >>> bounds = htf.theory.truncation_bounds(factors, 2)
      >>> bool(htf.distance(factors, low) <= sum(bounds.values()))
      True
    """
    factors = with_constants(factors)
    sizes = whole_norms(factors)
    matrix_norms: list[Any] = [
        None if w is None else _numerics.safe_norm(w.ravel(), axis=0)
        for w in factors.weights
    ]
    layout = layout_of(factors)
    root, dtype = layout.tree.root, layout.dtype
    if matrix_norms[root] is None:
        alone = len(factors.tree.children[root]) == 1
        width = layout.widths[root] if alone else 1
        matrix_norms[root] = jnp.sqrt(jnp.asarray(width, dtype))
    bounds = {}
    for v, mask in _kept(factors, ranks).items():
        near = (v, *factors.tree.children[v])
        outside = [n for k, n in enumerate(matrix_norms) if k not in near]
        tail = jnp.sum((1 - mask) * sizes[v])
        bounds[v] = _numerics.product([tail, *outside])
    return bounds


def _kept(factors: Factors, ranks: int | Mapping[int, int]) -> dict[int, jax.Array]:
    """For every node to be truncated 1 where a component stays, 0 where it goes."""
    tree = factors.tree
    if not isinstance(ranks, Mapping):
        count = _checks.at_least("ranks", ranks, 0)
        ranks = dict.fromkeys(tree.interior, count)
    norms = local_component_norms(factors)
    kept = {}
    for node, count in ranks.items():
        v = interior_node(tree, node, "ranks")
        count = _checks.at_least(f"ranks[{v}]", count, 0)
        order = jnp.argsort(-jax.lax.stop_gradient(norms[v]), stable=True)
        places = jnp.argsort(order, stable=True)
        kept[v] = jnp.asarray(places < count, norms[v].dtype)
    return kept


def _trained(factors: Factors, k: int) -> Any:
    return layout_of(factors).trained[k]
