"""Hierarchical Tucker tensors of hiepy."""

import numpy as np

from htfjax import _extras
from htfjax._integers import spell
from htfjax._types import Foreign
from htfjax.exchange.arrays import host_array, parts
from htfjax.exchange.trees import (
    TransferTree,
    check_binary,
    from_transfer_tree,
    to_transfer_tree,
)
from htfjax.factors.factors import AnyFactors, Factors

KIND = "hiepy.HTTensor"


def from_hiepy(tensor: object) -> Factors:
    """Factors of a tensor of hiepy: U_v[i j, c] = sum_ab B_v[a, b, c] U_l[i, a] U_r[j, b].

    Args:
      tensor: a `hiepy.HTTensor`, known by `U`, `B` and `dtree`; hiepy is not imported.
        Components on a device or of a graph are detached and copied.

    Returns:
      Factors in the form of `from_transfer_tensors`; float32 and float64 are kept.

    Raises:
      TypeError: another object, complex components. ValueError: components that do not
        chain, float64 where 64-bit numbers are not enabled.

    Source: Hackbusch and Kuehn 2009.

    Example:
      >>> import types, htfjax as htf, numpy as np
      >>> tree = types.SimpleNamespace(root=(0, 1), children={(0, 1): ((0,), (1,))})
      >>> leaves = {(0,): np.ones((3, 2), "f"), (1,): np.ones((4, 2), "f")}  # or torch's
      >>> transfer = {(0, 1): np.ones((2, 2, 1), "f")}
      >>> tensor = types.SimpleNamespace(U=leaves, B=transfer, dtree=tree)
      >>> float(htf.end_tensor(htf.exchange.from_hiepy(tensor))[2, 3])
      4.0
    """
    leaves, transfer, tree = parts("tensor", tensor, KIND, "U", "B", "dtree")
    root, children = parts("tensor.dtree", tree, "hiepy.DimTree", "root", "children")
    for part, held in (("U", leaves), ("B", transfer), ("dtree.children", children)):
        if not isinstance(held, dict):
            raise TypeError(f"`tensor.{part}` must be a dict of nodes, got {spell(held)}.")
    wrong = [node for node in leaves if not isinstance(node, tuple) or len(node) != 1]
    if wrong:
        raise ValueError(
            f"`tensor.U` has the node {spell(wrong[0])}; a leaf is a tuple of one mode."
        )
    tensors: dict[Foreign, np.ndarray | None] = dict.fromkeys({*children, *leaves, root})
    for part, held in (("U", leaves), ("B", transfer)):
        for node, array in held.items():
            tensors[node] = host_array(f"tensor.{part}[{node}]", array)
    modes = {node: node[0] for node in leaves}
    return from_transfer_tree(
        TransferTree(
            "tensor",
            root,
            children,
            modes,
            tensors,
            {k: f"`tensor.{'U' if k in modes else 'B'}[{k}]`" for k in tensors},
        )
    )


def to_hiepy(factors: AnyFactors) -> Foreign:
    """The same tensor in hiepy, exactly, from a binary tree.

    A node of R components becomes a transfer tensor of R^2 R_parent entries; one-child
    nodes are multiplied out.

    Returns:
      A `hiepy.HTTensor` on the host, in the dtype of the factors.

    Raises:
      ModuleNotFoundError: hiepy is not installed (it needs Python 3.12).
      TypeError, ValueError: malformed or traced factors, nodes of other than two children.

    Source: Hackbusch and Kuehn 2009.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 2, 1.0)
      >>> htf.exchange.to_hiepy(factors).shape
      (3, 3, 3, 3)
    """
    tree, tensors = to_transfer_tree(factors)
    check_binary(tree, KIND)
    hiepy = _extras.load("hiepy", "htfjax.exchange.to_hiepy")
    dimtree = _extras.load("hiepy.utils.dimtree", "htfjax.exchange.to_hiepy")
    torch = _extras.load("torch", "htfjax.exchange.to_hiepy")
    tensors[-1] = tensors[-1][..., None]
    # hiepy names a node by its modes, in the order of its leaves.
    names: list[tuple[int, ...]] = [(n,) for n in range(tree.order)]
    for k in tree.interior:
        names.append(tuple(n for c in tree.children[k] for n in names[c]))
    held = [torch.from_numpy(np.ascontiguousarray(x)) for x in tensors]
    children = {names[k]: tuple(names[c] for c in tree.children[k]) for k in tree.interior}
    return hiepy.HTTensor(
        {names[n]: held[n] for n in range(tree.order)},
        {names[k]: held[k] for k in tree.interior},
        dimtree.DimTree(names[-1], children),
    )
