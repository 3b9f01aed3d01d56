"""Transfer tensors: the textbook hierarchical Tucker format, and factors in its place.

At a node v with children c_1, ..., c_m and ranks k, the format has a full tensor B_v,

    U_v[i, b] = sum over a of B_v[a_1, ..., a_m, b] prod_j U_{c_j}[i_j, a_j],

where a factorization has a diagonal one: its components r are multiplied one by one. One
component for every (a_1, ..., a_m) makes the two the same, with B_v unfolded as the weight
matrix of v and a selector above every child that picks its own a_j.

Mathematics: docs/mathematics/formats.md.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax.contraction.end_tensor import LARGEST_SIZE, khatri_rao
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.factors.grouping import as_plain
from htfjax.factors.layout import Layout, layout_of
from htfjax.factors.selector import Selector, Weight, kronecker_selectors, matrix_of, times
from htfjax.formats.host import on_host, widest
from htfjax.trees.mode_tree import ModeTree, without_chains

# What stands over a child: the row that each component picks, or a matrix.
Link = np.ndarray | jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class TransferTensors:
    """The hierarchical Tucker format as textbooks have it: a pytree.

    A leaf n has the matrix (D_n, k_n), a node inside the tensor (k_c1, ..., k_cm, k_v) with
    one axis per child, in their order, and k_root = 1.

    Attributes:
      tensors: one per node id, ascending.
      tree: the mode tree (static), without one-child nodes.

    Source: Hackbusch and Kuehn 2009; Grasedyck 2010.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 5, 3, 1.0)
      >>> htf.formats.to_transfer_tensors(factors).ranks
      (3, 3, 3, 3, 3, 3, 1)
    """

    tensors: tuple[jax.Array, ...]
    tree: ModeTree = dataclasses.field(metadata={"static": True})

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Fields, the tree first."""
        return _reprs.record(self, tree=self.tree, tensors=self.tensors)

    @property
    def ranks(self) -> tuple[int, ...]:
        """k of every node, 1 at the root."""
        return tuple(x.shape[-1] for x in self.tensors)

    @property
    def storage(self) -> int:
        """Number of entries of all tensors."""
        return sum(math.prod(x.shape) for x in self.tensors)


def from_transfer_tensors(transfer: TransferTensors) -> Factors:
    """Factors of the same end tensor, with a selector above every child.

    Returns:
      Factors whose tree has a one-child node over every node but the root, fixed to a
      selector; their matrices hold the entries of `transfer` and no others.

    Raises:
      TypeError, ValueError: another object, or shapes that do not chain.

    Source: frozen one-child selectors and diagonal nodes are the full format.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> transfer = htf.formats.TransferTensors(
      ...     (jnp.eye(3), jnp.eye(4), jnp.ones((3, 4, 1))), htf.flat(2)
      ... )
      >>> factors = htf.formats.from_transfer_tensors(transfer)
      >>> factors.tree.nested, float(htf.end_tensor(factors).sum())
      (((0,), (1,)), 12.0)
    """
    return joined(check_transfer(transfer))


def joined(transfer: TransferTensors) -> Factors:
    """`from_transfer_tensors` of what has been checked."""
    tree, tensors = transfer.tree, transfer.tensors
    spread, node_of, over = with_chain_nodes(tree)
    weights: list[Weight] = [None] * spread.num_nodes
    for k, tensor in enumerate(tensors):
        weights[node_of[k]] = tensor.reshape(-1, tensor.shape[-1])
        if len(tree.children[k]) > 1:
            selectors = kronecker_selectors(tensor.shape[:-1])
            for child, selector in zip(tree.children[k], selectors, strict=True):
                weights[over[child]] = selector
    return Factors(tuple(weights), spread, tuple(sorted(over.values())))


def with_chain_nodes(tree: ModeTree) -> tuple[ModeTree, list[int], dict[int, int]]:
    """The tree with a one-child node over every child of several.

    Returns:
      The tree, the id there of every node, and for a child the id of the node over it.
    """
    nested: list[Weight] = list(range(tree.order))
    for k in tree.interior:
        kids = tree.children[k]
        nested.append(tuple((nested[c],) if len(kids) > 1 else nested[c] for c in kids))
    spread = ModeTree.from_nested(nested[tree.root])
    node_of, over = [*range(tree.num_nodes)], {}
    node_of[tree.root] = spread.root
    for k in reversed(tree.interior):
        for child, place in zip(tree.children[k], spread.children[node_of[k]], strict=True):
            node_of[child] = place
            if len(tree.children[k]) > 1:
                over[child] = place
                node_of[child] = spread.children[place][0]
    return spread, node_of, over


def to_transfer_tensors(factors: AnyFactors) -> TransferTensors:
    """The textbook format of factors: B_v[a, b] = sum_r prod_j S_{c_j}[a_j, r] W_v[r, b].

    S_c is the product of the matrices of the one-child nodes over c, the identity where
    there are none: a node of R components and m children is then a diagonal tensor of R^m
    times R_parent entries.

    Raises:
      TypeError, ValueError: malformed factors; tensors of more than 2**31 entries.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 2, 1.0)
      >>> transfer = htf.formats.to_transfer_tensors(factors)
      >>> [x.shape for x in transfer.tensors]
      [(4, 2), (4, 2), (4, 2), (2, 2, 2, 1)]
    """
    plain = as_plain(factors)
    layout = layout_of(plain)
    tree, textbook = layout.tree, without_chains(layout.tree)
    tensors: list[jax.Array] = []
    for k in _standing(tree):
        matrix, chain = _own_and_chain(plain, layout, k)
        if k < tree.order:
            tensors.append(matrix)
            continue
        links = []
        for child in tree.children[k]:
            below = child
            while len(tree.children[below]) == 1:
                below = tree.children[below][0]
            own, over = _own_and_chain(plain, layout, below)
            links.append(_link(own.shape[1], over))
        for weight in chain if len(tensors) == textbook.root else ():
            matrix = times(matrix, weight)
        tensors.append(_coupled(links, matrix))
    return TransferTensors(tuple(tensors), textbook)


def _standing(tree: ModeTree) -> list[int]:
    """Nodes that `without_chains` leaves, in the order of its ids."""
    several = [k for k in tree.interior if len(tree.children[k]) > 1]
    return [*range(tree.order), *(several or [tree.root])]


def _own_and_chain(
    plain: Factors, layout: Layout, node: int
) -> tuple[jax.Array, list[Weight]]:
    """The matrix of a node that stands, and the weights over it up to the next one.

    A selector at a leaf belongs to what is over it: the leaf's own matrix is the identity.
    """
    tree, weights = layout.tree, list(plain.weights)
    if weights[tree.root] is None:
        weights[tree.root] = jnp.ones((layout.widths[-1], 1), layout.dtype)
    alone, chain = tree.order == 1, []
    above = tree.parent[node]
    while above is not None and len(tree.children[above]) == 1:
        if not (alone and above == tree.root):
            chain.append(weights[above])
        above = tree.parent[above]
    own = weights[node]
    if isinstance(own, Selector) and node < tree.order:
        return jnp.eye(own.num_rows, dtype=layout.dtype), [own, *chain]
    return jnp.asarray(matrix_of(own, layout.dtype), layout.dtype), chain


def _link(rank: int, weights: Sequence[Weight]) -> tuple[int, Link]:
    """The product of weights over a child: rows, and a matrix or what columns pick."""
    found: Link = np.arange(rank)
    for weight in weights:
        if isinstance(found, np.ndarray) and isinstance(weight, Selector):
            found = found[list(weight.picks)]
        elif isinstance(found, np.ndarray):
            found = jnp.asarray(weight)[found]
        else:
            found = times(found, weight)
    return rank, found


def _coupled(links: Sequence[tuple[int, Link]], matrix: jax.Array) -> jax.Array:
    """sum_r prod_j S_j[a_j, r] W[r, b], (k_1, ..., k_m, R_parent)."""
    shape = (*(rank for rank, _ in links), matrix.shape[1])
    check_size("factors", shape)
    picks = [link for _, link in links if isinstance(link, np.ndarray)]
    if len(picks) == len(links):
        flat = np.ravel_multi_index(picks, shape[:-1])
        held = on_host(matrix)
        if isinstance(held, np.ndarray):
            tensor = np.zeros((math.prod(shape[:-1]), shape[-1]), held.dtype)
            np.add.at(tensor, flat, held)
            return jnp.asarray(tensor.reshape(shape))
        tensor = jnp.zeros((math.prod(shape[:-1]), shape[-1]), matrix.dtype)
        return tensor.at[flat].add(matrix).reshape(shape)
    dense = [
        jnp.eye(rank, dtype=matrix.dtype)[:, link] if isinstance(link, np.ndarray) else link
        for rank, link in links
    ]
    return jnp.matmul(khatri_rao(dense), matrix, precision="highest").reshape(shape)


def check_size(name: str, shape: Sequence[int]) -> None:
    """A tensor that may be made."""
    size = math.prod(shape)
    if size > LARGEST_SIZE:
        raise ValueError(
            f"`{name}`: a transfer tensor of shape {tuple(shape)} has {size} entries, at "
            f"least {4 * size} bytes, and {LARGEST_SIZE} entries are allowed: `truncate` "
            "leaves fewer components."
        )


def check_transfer(transfer: object, name: str = "transfer") -> TransferTensors:
    """Transfer tensors whose shapes chain, all of one floating dtype."""
    advice = "`to_transfer_tensors` makes them of factors"
    _checks.instance(name, transfer, TransferTensors, advice)
    assert isinstance(transfer, TransferTensors)
    tree = transfer.tree
    _checks.tree(tree, f"{name}.tree")
    if without_chains(tree) != tree:
        raise ValueError(
            f"`{name}.tree={tree.nested}` has one-child nodes; leave them out: their "
            "matrices multiply those of their children."
        )
    tensors = transfer.tensors
    if not isinstance(tensors, tuple) or len(tensors) != tree.num_nodes:
        raise ValueError(
            f"`{name}.tensors` must be a tuple of {tree.num_nodes}, one for every node, "
            f"got {_checks.spell(tensors)}."
        )
    held = [_checks.floating(f"{name}.tensors[{k}]", x) for k, x in enumerate(tensors)]
    dtype = widest(*held)
    for k, tensor in enumerate(held):
        kids = tree.children[k]
        below = tuple(held[c].shape[-1] for c in kids)
        axes = len(kids) + 1 if kids else 2
        wanted = (*below, 1) if k == tree.root else (*below, "k") if kids else ("D", "k")
        fits = tensor.ndim == axes and 0 not in tensor.shape
        fits = fits and (not kids or tensor.shape[:-1] == below)
        if not fits or (k == tree.root and tensor.shape[-1] != 1):
            raise ValueError(
                f"`{name}.tensors[{k}]` has shape {tensor.shape}, expected "
                f"({', '.join(map(str, wanted))})"
                + (": the ranks of its children, then its own." if kids else ".")
            )
    return TransferTensors(tuple(x.astype(dtype) for x in held), tree)
