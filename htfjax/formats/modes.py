"""Products along one mode: a matrix on it, or a vector that contracts it."""

import dataclasses

import jax
import jax.numpy as jnp

from htfjax import _checks
from htfjax._types import Numbers
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.factors.grouping import as_plain
from htfjax.factors.layout import Layout, layout_of
from htfjax.factors.selector import Weight, matrix_of, times
from htfjax.trees.mode_tree import ModeTree


def mode_product(factors: AnyFactors, matrix: Numbers, mode: int) -> Factors:
    """Factors of W x_n A: the leaf's matrix becomes A W_n.

    Args:
      matrix: A, (E, D_n); cast to the factors' dtype.
      mode: n.

    Returns:
      Factors whose mode n has dimension E; the leaf is fixed if it was.

    Raises:
      TypeError, ValueError: malformed factors, a matrix of another shape, an unknown mode.

    Source: law A6.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 2, 1.0)
      >>> htf.mode_dims(htf.formats.mode_product(factors, jnp.ones((6, 4)), 1))
      (4, 6, 4)
    """
    plain, layout = _plain(factors)
    mode = _mode(layout, mode)
    held = _checks.floating("matrix", matrix, layout.dtype)
    dim = layout.dims[mode]
    if held.ndim != 2 or held.shape[1] != dim or not held.shape[0]:
        raise ValueError(
            f"`matrix` has shape {held.shape}, expected (E, {dim}) for mode {mode} of "
            f"dimension {dim}."
        )
    weights = list(plain.weights)
    weights[mode] = times(held, weights[mode])
    return dataclasses.replace(plain, weights=tuple(weights))


def contract_mode(factors: AnyFactors, vector: Numbers, mode: int) -> Factors:
    """Factors of W x_n x, of one order less: sum over i_n of W[..., i_n, ...] x[i_n].

    What is left of the leaf scales the components of the node over it. The modes after n
    move up by one; the tree keeps its form, one-child nodes included that arise.

    Args:
      vector: x, (D_n,); cast to the factors' dtype. A unit vector takes a slice.
      mode: n.

    Raises:
      TypeError, ValueError: malformed factors, factors of order 1 (`sense` gives the
        number), a vector of another length, an unknown mode.

    Source: Kressner and Tobler, htucker (tensor times vector).

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(3), (2, 3, 4), 2, 1.0)
      >>> htf.mode_dims(htf.formats.contract_mode(factors, jnp.ones(3), 1))
      (2, 4)
    """
    plain, layout = _plain(factors)
    mode = _mode(layout, mode)
    tree = layout.tree
    if tree.order == 1:
        raise ValueError(
            "`factors` are of order 1, so that contracting the mode leaves a number: "
            "`sense(factors, [vector[None]])` gives it."
        )
    held = _checks.floating("vector", vector, layout.dtype)
    _checks.shape("vector", held, (layout.dims[mode],), "(D_n,)")
    node, row = mode, times(held[None], plain.weights[mode])
    gone = {mode}
    while len(tree.children[node := tree.parent[node]]) == 1:
        row = times(row, plain.weights[node])
        gone.add(node)
    weights = list(plain.weights)
    weights[node] = row[0][:, None] * _as_matrix(weights[node], layout, node)
    smaller, kept = _without(tree, gone)
    fixed = tuple(i for i, k in enumerate(kept) if k in plain.fixed)
    return Factors(tuple(weights[k] for k in kept), smaller, fixed)


def _plain(factors: AnyFactors) -> tuple[Factors, Layout]:
    return as_plain(factors), layout_of(factors)


def _mode(layout: Layout, mode: int) -> int:
    found = _checks.at_least("mode", mode, 0)
    if found >= layout.tree.order:
        raise ValueError(
            f"`mode={found}` must be a mode of a tensor of order {layout.tree.order}, from "
            f"0 to {layout.tree.order - 1}."
        )
    return found


def _as_matrix(weight: Weight, layout: Layout, node: int) -> jax.Array:
    """The weights of a node, ones and selectors written out."""
    if weight is None:
        return jnp.ones((layout.widths[node], 1), layout.dtype)
    return matrix_of(weight, layout.dtype)


def _without(tree: ModeTree, gone: set[int]) -> tuple[ModeTree, list[int]]:
    """The tree without some nodes, modes numbered anew, and the nodes that are kept."""
    kept = [k for k in range(tree.num_nodes) if k not in gone]
    number = {k: i for i, k in enumerate(kept)}
    children = tuple(
        tuple(number[c] for c in tree.children[k] if c not in gone) for k in kept
    )
    return ModeTree(children), kept
