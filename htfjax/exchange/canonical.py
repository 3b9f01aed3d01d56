"""Canonical decompositions: the components of factors on a flat tree."""

import numpy as np

from htfjax.exchange.arrays import outgoing
from htfjax.exchange.trees import is_full
from htfjax.factors.factors import AnyFactors
from htfjax.factors.grouping import as_plain
from htfjax.factors.layout import Layout, layout_of
from htfjax.factors.selector import Selector, Weight
from htfjax.trees.mode_tree import without_chains


def components(factors: AnyFactors) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """w (R,) and matrices (D_n, R) of factors that are a CP decomposition, else None.

    Their tree is flat, one-child nodes left out, and the components of its root are not
    the entries of a full tensor. Chains of one-child nodes are multiplied out.
    """
    plain, layout = as_plain(factors), layout_of(factors)
    tree, weights = layout.tree, plain.weights
    short = without_chains(tree)
    if len(short.interior) > 1:
        return None
    several = (k for k in tree.interior if len(tree.children[k]) > 1)
    top = next(several, tree.root)
    below = [weights[c] for c in tree.children[top]]
    if is_full(below) and len(below[0].picks) > max(w.num_rows for w in below):
        return None
    columns = [_chain(layout, weights, n, top) for n in range(tree.order)]
    return _chain(layout, weights, top, None)[:, 0], columns


def _chain(
    layout: Layout, weights: tuple[Weight, ...], node: int, end: int | None
) -> np.ndarray:
    """The product of weights from a node up to, not with, another one."""
    found = _written_out(layout, weights, node)
    while (node := layout.tree.parent[node]) != end:
        found = found @ _written_out(layout, weights, node)
    return found


def _written_out(layout: Layout, weights: tuple[Weight, ...], node: int) -> np.ndarray:
    """A node's matrix as NumPy array, selectors and a root of ones included."""
    weight = weights[node]
    if weight is None:
        weight = np.ones((layout.widths[node], 1), layout.dtype)
    if isinstance(weight, Selector):
        weight = weight.matrix(layout.dtype)
    return outgoing(weight)
