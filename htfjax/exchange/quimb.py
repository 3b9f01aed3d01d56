"""Tensor networks of quimb: trees and trains, diagonal nodes by hyperindices."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from htfjax import _checks, _extras
from htfjax._integers import spell
from htfjax._types import Foreign
from htfjax.exchange.arrays import host_array, outgoing, parts
from htfjax.exchange.networks import ROOT, Part, from_parts, in_order
from htfjax.exchange.trees import is_full
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.factors.grouping import as_plain
from htfjax.factors.layout import layout_of
from htfjax.factors.selector import Selector, Weight, matrix_of
from htfjax.trees.mode_tree import ModeTree

KIND = "quimb.tensor.TensorNetwork"


def from_quimb(network: object, *, inds: Sequence[str] | None = None) -> Factors:
    """Factors of a network without loops: the product of its tensors, inner indices summed.

    An index of three tensors or more (a hyperindex) becomes a diagonal node, a tensor of
    several indices a full one under selectors, a tensor of two a weight matrix. Vectors and
    numbers without an outer index are multiplied in, components that do not hang together
    under one root of width one.

    Args:
      network: a `quimb.tensor.TensorNetwork` such as a matrix product state, a tree tensor
        network or what `to_quimb` made; quimb is not imported. Known by `tensor_map`.
      inds: the outer indices in the order of the modes; by default those of the sites where
        the network has sites, else sorted, k2 before k10.

    Returns:
      Factors rooted at the tensor tagged "ROOT", at the last tensor of a chain, or in the
      middle of the tree. float32 and float64 are kept.

    Raises:
      TypeError: another object, complex tensors. ValueError: a loop, whose indices are
        named, `inds` that are not the outer indices, float64 where 64-bit numbers are not
        enabled.

    Source: Gray 2018 (quimb).

    Example:
      >>> import types, htfjax as htf, numpy as np
      >>> def tensor(shape, *inds):  # stands for quimb.tensor.Tensor
      ...     return types.SimpleNamespace(data=np.ones(shape, "f"), inds=inds, tags=())
      >>> state = types.SimpleNamespace(
      ...     tensor_map={0: tensor((3, 2), "k0", "b"), 1: tensor((2, 4), "b", "k1")}
      ... )
      >>> factors = htf.exchange.from_quimb(state)
      >>> factors.tree.nested, float(htf.end_tensor(factors)[2, 3])
      (((0,), 1), 2.0)
    """
    (tensors,) = parts("network", network, KIND, "tensor_map")
    if not isinstance(tensors, dict):
        raise TypeError(
            f"`network.tensor_map` must be a dict of tensors, got {spell(tensors)}."
        )
    held = []
    for number, tensor in tensors.items():
        name = f"network.tensor_map[{number}]"
        data, names = parts(name, tensor, "quimb.tensor.Tensor", "data", "inds")
        tags = frozenset(map(str, getattr(tensor, "tags", ())))
        held.append(Part(host_array(name, data), tuple(map(str, names)), tags))
    outer = _outer(network, held, inds)
    exponent = getattr(network, "exponent", 0.0) or 0.0
    return from_parts(held, outer, 10.0 ** float(exponent))


def _outer(network: object, held: Sequence[Part], inds: object) -> list[str]:
    """The outer indices in the order of the modes."""
    counts = Counter(ind for part in held for ind in part.inds)
    single = [ind for ind, count in counts.items() if count == 1]
    if inds is None:
        found = _site_inds(network)
        if set(found) != set(single) or len(found) != len(single):
            found = in_order(single)
    else:
        found = [str(ind) for ind in _checks.sequence("inds", inds, "names of indices")]
        if len(set(found)) < len(found) or not set(single) <= set(found) <= counts.keys():
            raise ValueError(
                f"`inds={spell(inds)}` must name the outer indices, each once: "
                f"{', '.join(in_order(single))}."
            )
    if not found:
        raise ValueError(
            "`network` has no outer index, so that it is a number: `network.contract()`."
        )
    return found


def _site_inds(network: Foreign) -> list[str]:
    """Indices of the sites in their order, for networks that have one a site."""
    if not hasattr(network, "site_ind") or not hasattr(network, "sites"):
        return []
    return [network.site_ind(site) for site in network.sites]


def to_quimb(factors: AnyFactors) -> Foreign:
    """The same tensor as a network: a tensor for every weight matrix.

    Matrix W_v (R_v, R_parent) has the indices b{v} and b{parent}, the leaf of mode n the
    outer index k{n}. Nodes with several children are hyperindices b{v}; write
    `network.contract(output_inds=["k0", "k1", ...])`. A full transfer tensor, which factors
    hold under selectors, is one tensor with an index for every child.

    Returns:
      A `quimb.tensor.TensorNetwork` of NumPy arrays in the dtype of the factors, tensors
      tagged with their node, "NODE{v}", and the root's with "ROOT" besides.

    Raises:
      ModuleNotFoundError: quimb is not installed.
      TypeError, ValueError: malformed or traced factors.

    Source: Gray 2018.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 2, 1.0)
      >>> htf.exchange.to_quimb(factors).outer_inds()
      ('k0', 'k1', 'k2')
    """
    held = _parts(factors)
    quimb = _extras.load("quimb.tensor", "htfjax.exchange.to_quimb")
    return quimb.TensorNetwork(
        [quimb.Tensor(part.array, part.inds, sorted(part.tags)) for part in held]
    )


def _parts(factors: AnyFactors) -> list[Part]:
    """A part for every node, those of selectors left out that a full tensor takes up."""
    plain, layout = as_plain(factors), layout_of(factors)
    tree, weights, dtype = layout.tree, plain.weights, layout.dtype
    full = [k for k in tree.interior if is_full([weights[c] for c in tree.children[k]])]
    full = [k for k in full if len(tree.children[k]) > 1]
    taken = {child for k in full for child in tree.children[k]}
    held = []
    # In the order of the tree, in which `from_quimb` finds the children of a hyperindex.
    for k in _from_left(tree):
        if k in taken:
            continue
        weight = weights[k]
        array = _array(weight, layout.widths[k], dtype)
        inds = [_index(k, tree.order)]
        if k in full:
            inds = [_index(c, tree.order) for c in tree.children[k]]
            array = array.reshape(*(layout.widths[c] for c in tree.children[k]), -1)
        tags = frozenset({f"NODE{k}"} | ({ROOT} if k == tree.root else set()))
        if k == tree.root:
            array = array[..., 0]
        else:
            inds.append(_index(tree.parent[k], tree.order))
        held.append(Part(array, tuple(inds), tags))
    return held


def _from_left(tree: ModeTree) -> list[int]:
    """Nodes in post-order from the left, leaves among the others."""
    stack, seen = [tree.root], list[int]()
    while stack:
        seen.append(stack.pop())
        stack.extend(tree.children[seen[-1]])
    return seen[::-1]


def _array(weight: Weight, width: int, dtype: np.dtype) -> np.ndarray:
    """A node's matrix as NumPy array, selectors and a root of ones written out."""
    if weight is None:
        weight = np.ones((width, 1), dtype)
    return outgoing(matrix_of(weight, dtype) if isinstance(weight, Selector) else weight)


def _index(node: int, order: int) -> str:
    """The index of a node's rows: outer at a leaf."""
    return f"k{node}" if node < order else f"b{node}"
