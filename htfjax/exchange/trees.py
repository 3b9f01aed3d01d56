"""Trees of full transfer tensors, as tensap, hiepy and htucker hold them."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from htfjax._types import Foreign
from htfjax.exchange.arrays import outgoing
from htfjax.exchange.nodes import Node, assembled
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.factors.selector import Selector, identity_selector, kronecker_selectors
from htfjax.formats.transfer_tensors import check_size, to_transfer_tensors
from htfjax.trees.mode_tree import ModeTree


class TransferTree(NamedTuple):
    """Transfer tensors on a tree whose nodes have another library's names.

    Attributes:
      name: of the argument, for errors.
      root: its node.
      children: of every node that has some, in the order of its tensor's axes.
      modes: of every leaf.
      tensors: (D, k) at a leaf, or None for the identity; (k_1, ..., k_m, k) inside, where
        the root may leave out its last axis.
      spelled: how the library calls the tensor of a node.
    """

    name: str
    root: Foreign
    children: Mapping[Foreign, Sequence[Foreign]]
    modes: Mapping[Foreign, int]
    tensors: Mapping[Foreign, np.ndarray | None]
    spelled: Mapping[Foreign, str]


def from_transfer_tree(tree: TransferTree) -> Factors:
    """Factors of the same tensor, with a selector over every child of several.

    One-child nodes stay what they are. Leaves without a matrix have the selector itself.

    Raises:
      ValueError: nodes that do not form a tree, or shapes that do not chain.
    """
    order = _post_order(tree)
    nodes: dict[Hashable, Node] = {}
    columns: dict[Hashable, int | None] = {}
    for node in order:
        tensor, kids = tree.tensors[node], tuple(tree.children.get(node, ()))
        if not kids:
            _check_leaf(tree, node)
            columns[node] = None if tensor is None else tensor.shape[1]
            nodes[node] = Node(tensor, mode=tree.modes[node])
            continue
        full = _inner_tensor(tree, node, [columns[c] for c in kids])
        columns[node] = full.shape[-1]
        kids = _selected(nodes, kids, full.shape[:-1])
        nodes[node] = Node(full.reshape(-1, full.shape[-1]), kids)
    return assembled(nodes, tree.root)


def _post_order(tree: TransferTree) -> list[Hashable]:
    """Children before parents; every leaf of a mode once, and nothing else."""
    stack, seen = [tree.root], dict[Hashable, None]()
    while stack:
        node = stack.pop()
        if node in seen:
            raise ValueError(
                f"`{tree.name}`: node {node} is reached twice from the root {tree.root}; "
                "every node must have one parent."
            )
        seen[node] = None
        stack.extend(tree.children.get(node, ()))
    leaves = [node for node in seen if not tree.children.get(node, ())]
    if set(leaves) != set(tree.modes) or tree.root in leaves:
        raise ValueError(
            f"`{tree.name}`: below the root {tree.root} the nodes "
            f"{sorted(leaves, key=str)} have no children, and modes are given to "
            f"{sorted(tree.modes, key=str)}; leaves and modes must be one for one."
        )
    return list(reversed(seen))


def _check_leaf(tree: TransferTree, node: Hashable) -> None:
    tensor = tree.tensors[node]
    if tensor is not None and (tensor.ndim != 2 or 0 in tensor.shape):
        raise ValueError(
            f"{tree.spelled[node]} has shape {tensor.shape}, expected a matrix (D, k) for "
            f"mode {tree.modes[node]}."
        )


def _inner_tensor(
    tree: TransferTree, node: Hashable, ranks: Sequence[int | None]
) -> np.ndarray:
    """The tensor of a node with children of these ranks, its own rank as the last axis."""
    tensor, at_root = tree.tensors[node], node == tree.root
    wanted = [*("D" if k is None else str(k) for k in ranks), "1" if at_root else "k"]
    if tensor is None:
        raise ValueError(
            f"{tree.spelled[node]} is missing, expected ({', '.join(wanted)})."
        )
    full = tensor
    if at_root and tensor.ndim == len(ranks):
        full = tensor[..., None]
    fits = full.ndim == len(wanted) and 0 not in full.shape
    fits = fits and not (at_root and full.shape[-1] > 1)
    if not fits or any(k not in (None, d) for k, d in zip(ranks, full.shape, strict=False)):
        raise ValueError(
            f"{tree.spelled[node]} has shape {tensor.shape}, expected "
            f"({', '.join(wanted)}): the ranks of its children, then its own."
        )
    check_size(tree.name, full.shape)
    return full


def _selected(
    nodes: dict[Hashable, Node], kids: tuple[Hashable, ...], ranks: Sequence[int]
) -> tuple[Hashable, ...]:
    """The children of a full tensor, each under its selector, which is added to `nodes`."""
    found = []
    for kid, selector in zip(kids, selectors(ranks), strict=True):
        if nodes[kid].weight is None:
            nodes[kid] = nodes[kid]._replace(weight=selector)
            found.append(kid)
        elif len(kids) == 1:
            found.append(kid)
        else:
            nodes["over", kid] = Node(selector, (kid,))
            found.append(("over", kid))
    return tuple(found)


def selectors(ranks: Sequence[int]) -> tuple[Selector, ...]:
    """Those over the children of a full tensor; the identity over one child."""
    if len(ranks) == 1:
        return (identity_selector(ranks[0]),)
    return kronecker_selectors(ranks)


def to_transfer_tree(factors: AnyFactors) -> tuple[ModeTree, list[np.ndarray]]:
    """Transfer tensors of factors as NumPy arrays, one per node of the tree returned.

    The tree has no one-child nodes; the root's tensor has no axis of its own.

    Raises:
      TypeError, ValueError: as `to_transfer_tensors`; traced factors.
    """
    transfer = to_transfer_tensors(factors)
    tensors = [outgoing(x) for x in transfer.tensors]
    tensors[-1] = tensors[-1][..., 0]
    return transfer.tree, tensors


def check_order(tree: ModeTree, kind: str) -> None:
    """Two modes or more, where a library knows no vectors."""
    if tree.order == 1:
        raise ValueError(
            f"`factors` are of order 1, and a {kind} has two modes at least; "
            "`htfjax.end_tensor` gives the vector."
        )


def check_binary(tree: ModeTree, kind: str) -> None:
    """A tree of two modes or more with two children at every node."""
    check_order(tree, kind)
    other = [k for k in tree.interior if len(tree.children[k]) != 2]
    if other:
        raise ValueError(
            f"`factors`: the node of modes {tree.modes[other[0]]} of {tree.nested} has "
            f"{len(tree.children[other[0]])} children, and a {kind} has two at every node; "
            "`htfjax.formats.hierarchical_svd` of the end tensor takes a binary tree."
        )


def from_root(tree: ModeTree) -> list[int]:
    """Nodes with parents before children, those of one level from left to right."""
    found = [tree.root]
    for node in found:
        found.extend(tree.children[node])
    return found


def is_full(selected: Sequence[object]) -> bool:
    """Whether weights of children are the selectors of a full transfer tensor."""
    ranks = [w.num_rows for w in selected if isinstance(w, Selector)]
    if len(ranks) < len(selected):
        return False
    sizes = {len(w.picks) for w in selected if isinstance(w, Selector)}
    return sizes == {math.prod(ranks)} and tuple(selected) == selectors(ranks)
