"""Truncation to the largest local components, and how far it moves the end tensor."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks, _numerics
from htfjax._types import Array, Float
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Kind, Layout
from htfjax.factors.node_values import node_values
from htfjax.factors.stacks import Stacks, closed, collected, opened
from htfjax.instruments.local_components import vector_norms
from htfjax.theory.vectors import interior_node, whole_norms

Piece = tuple[tuple[int, ...], jax.Array]  # nodes and their stack


def truncate(factors: Kind, ranks: int | Mapping[int, int]) -> Kind:
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
    layout, stacks = opened(factors)
    asked = _asked(layout, ranks)
    for v in asked:
        if not any(layout.trained[k] for k in (v, *layout.below(v))):
            raise ValueError(
                f"`ranks` asks to truncate node {v}, whose matrices are all fixed; leave "
                "it out."
            )
    rows = _kept(layout, stacks, asked)
    columns: dict[int, list[Piece]] = {g: [] for g in range(len(stacks))}
    for g, mask in rows.items():
        for kids, h, _ in layout.slots(layout.groups[g]):
            columns[h].append((kids, mask))
    changed = list(stacks)
    for g, nodes in enumerate(layout.groups):
        if not layout.trained[nodes[0]]:
            continue
        if g in rows:
            changed[g] = changed[g] * rows[g][:, :, None]
        if columns[g]:
            changed[g] = changed[g] * collected(columns[g], nodes)[:, None, :]
    return closed(layout, changed)


def truncation_bounds(
    factors: AnyFactors, ranks: int | Mapping[int, int]
) -> Mapping[int, Float[Array, ""]]:
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
      node id -> bound, for the nodes of `ranks`.

    Source: arXiv:2201.11729, from small components to low rank; law D6.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 4, 5, 1.0)
      >>> low = htf.theory.truncate(factors, 2)
      >>> bounds = htf.theory.truncation_bounds(factors, 2)
      >>> bool(htf.distance(factors, low) <= sum(bounds.values()))
      True
    """
    layout, stacks = opened(factors)
    asked = _asked(layout, ranks)
    sizes, outside = whole_norms(layout, stacks), _norms_outside(layout, stacks)
    bounds, groups = [], []
    for g, mask in _kept(layout, stacks, asked).items():
        nodes = layout.groups[g]
        some = tuple(k for k in nodes if k in asked)
        if some:
            tails = jnp.sum((1 - mask) * sizes[g], axis=1) * outside[g]
            bounds.append(collected([(nodes, tails)], some))
            groups.append(some)
    found = node_values(bounds, groups)
    return found if layout.grouped else dict(found)


def _norms_outside(layout: Layout, stacks: Stacks) -> dict[int, jax.Array]:
    """prod ||W_u||_F over all nodes u but v and its children: inner group -> (G,)."""
    sizes: list[Any] = [
        None if x is None else _numerics.safe_norm(x.reshape(len(x), -1), axis=1)
        for x in stacks
    ]
    root = layout.tree.root
    if sizes[-1] is None:
        alone = len(layout.below(root)) == 1
        width = layout.widths[root] if alone else 1
        sizes[-1] = jnp.sqrt(jnp.asarray([width], layout.dtype))
    norms = jnp.concatenate(sizes)
    order = [k for nodes in layout.groups for k in nodes]
    found = {}
    for g in layout.inner_groups:
        near = [{v, *layout.below(v)} for v in layout.groups[g]]
        apart = np.asarray([[k in kin for k in order] for kin in near])
        found[g] = jnp.prod(jnp.where(apart, 1, norms[None, :]), axis=1)
    return found


def _asked(layout: Layout, ranks: int | Mapping[int, int]) -> dict[int, int]:
    """Components to keep of every node that is to be truncated."""
    if not isinstance(ranks, Mapping):
        count = _checks.at_least("ranks", ranks, 0)
        ranks = dict.fromkeys(layout.tree.interior, count)
    asked = {}
    for node, count in ranks.items():
        v = interior_node(layout.tree, node, "ranks")
        asked[v] = _checks.at_least(f"ranks[{v}]", count, 0)
    return asked


def _kept(layout: Layout, stacks: Stacks, asked: Mapping[int, int]) -> dict[int, jax.Array]:
    """1 where a component stays, 0 where it goes: inner group -> (G, R_v)."""
    kept = {}
    for g, vectors in vector_norms(layout, stacks).items():
        norms = jax.lax.stop_gradient(_numerics.product(vectors))
        counts = [asked.get(k, norms.shape[1]) for k in layout.groups[g]]
        order = jnp.argsort(-norms, axis=1, stable=True)
        places = jnp.argsort(order, axis=1, stable=True)
        kept[g] = jnp.asarray(places < np.asarray(counts)[:, None], norms.dtype)
    return kept
