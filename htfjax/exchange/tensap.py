"""Tree-based tensors of tensap."""

import numpy as np

from htfjax import _checks, _extras
from htfjax._types import Foreign
from htfjax.exchange.arrays import host_array, listed, parts
from htfjax.exchange.trees import (
    TransferTree,
    check_order,
    from_root,
    from_transfer_tree,
    to_transfer_tree,
)
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.trees.mode_tree import ModeTree

KIND = "tensap.TreeBasedTensor"


def from_tensap(tensor: object) -> Factors:
    """Factors of a tree-based tensor: U_v[i, b] = sum_a B_v[a, b] prod_j U_{c_j}[i_j, a_j].

    Args:
      tensor: a `tensap.TreeBasedTensor` of any tree, known by `tensors` and `tree`; tensap
        is not imported. Leaves may be inactive (without a matrix, as those of a train).

    Returns:
      Factors in the form of `from_transfer_tensors`; one-child nodes stay, inactive leaves
      become selectors. float32 and float64 are kept.

    Raises:
      TypeError: another object, complex tensors. ValueError: tensors that do not chain, a
        root of rank above one (several tensors in one), float64 where 64-bit numbers are
        not enabled.

    Source: Nouy 2017 (tree-based formats).

    Example:
      >>> import types, htfjax as htf, numpy as np
      >>> tree = types.SimpleNamespace(
      ...     adjacency_matrix=np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]]),
      ...     dim2ind=np.array([2, 3]),
      ... )
      >>> arrays = np.ones((2, 2), "f"), np.ones((3, 2), "f"), np.ones((4, 2), "f")
      >>> tensors = [types.SimpleNamespace(data=x) for x in arrays]
      >>> tensor = types.SimpleNamespace(tensors=tensors, tree=tree)
      >>> float(htf.end_tensor(htf.exchange.from_tensap(tensor))[2, 3])
      4.0
    """
    held, tree = parts("tensor", tensor, KIND, "tensors", "tree")
    edges, leaves = parts(
        "tensor.tree", tree, "tensap.DimensionTree", "adjacency_matrix", "dim2ind"
    )
    tensors = dict(enumerate(listed("tensor.tensors", held, "tensors"), 1))
    edges = _checks.integer_array("tensor.tree.adjacency_matrix", edges)
    leaves = _checks.integer_array("tensor.tree.dim2ind", leaves)
    count = len(tensors)
    if edges.shape != (count, count) or not np.isin(edges, (0, 1)).all():
        raise ValueError(
            f"`tensor.tree.adjacency_matrix` has shape {edges.shape}, expected zeros and "
            f"ones of shape ({count}, {count}): `tensor.tensors` are {count}."
        )
    modes = {int(node): mode for mode, node in enumerate(np.ravel(leaves))}
    roots = [node for node in tensors if not edges[:, node - 1].any()]
    if (
        len(roots) != 1
        or len(modes) != np.size(leaves)
        or not modes.keys() <= tensors.keys()
    ):
        raise ValueError(
            f"`tensor.tree` has the roots {roots} and the leaves {leaves}; it must have "
            f"one root, and one leaf from 1 to {count} for every mode."
        )
    return from_transfer_tree(
        TransferTree(
            "tensor",
            roots[0],
            {k: [int(c) + 1 for c in np.flatnonzero(edges[k - 1])] for k in tensors},
            modes,
            {k: _array(k, value, k in modes) for k, value in tensors.items()},
            {k: f"`tensor.tensors[{k - 1}]`" for k in tensors},
        )
    )


def _array(node: int, value: Foreign, leaf: bool) -> np.ndarray | None:
    """The data of a node's tensor; an inactive leaf, which holds none, is None."""
    name = f"tensor.tensors[{node - 1}]"
    data = getattr(value, "data", value)
    if leaf and np.size(data) == 0:
        return None
    return host_array(name, data)


def to_tensap(factors: AnyFactors) -> Foreign:
    """The same tensor in tensap, exactly, on the same tree without one-child nodes.

    A node of R components and m children becomes a tensor of R^m R_parent entries.

    Returns:
      A `tensap.TreeBasedTensor` in the dtype of the factors, nodes numbered from the root.

    Raises:
      ModuleNotFoundError: tensap is not installed.
      TypeError, ValueError: malformed or traced factors, those of order 1, tensors of more
        than 2**31 entries.

    Source: Nouy 2017.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 2, 1.0)
      >>> int(htf.exchange.to_tensap(factors).storage())
      32
    """
    tree, tensors = to_transfer_tree(factors)
    check_order(tree, KIND)
    tensap = _extras.load("tensap", "htfjax.exchange.to_tensap")
    order = from_root(tree)
    edges, leaves = _edges(tree, order)
    held = [np.ascontiguousarray(tensors[k]) for k in order]
    return tensap.TreeBasedTensor(held, tensap.DimensionTree(leaves, edges))


def _edges(tree: ModeTree, order: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Adjacency matrix of the nodes in this order, and places, from 1, of the leaves."""
    place = {node: i for i, node in enumerate(order)}
    edges = np.zeros((len(order), len(order)), int)
    for node in order:
        for child in tree.children[node]:
            edges[place[node], place[child]] = 1
    return edges, np.array([place[n] + 1 for n in range(tree.order)])
