"""Factors: one weight matrix on every node of a mode tree, plain or stacked in groups."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from wadler_lindig import AbstractDoc

from htfjax import _reprs
from htfjax._tables import table
from htfjax.factors.selector import Selector, Weight
from htfjax.trees.mode_tree import ModeTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """The weight matrices of a hierarchical tensor factorization: a pytree.

    `weights[k]` has shape (R_k, R_parent(k)), where R_k is the mode dimension at a leaf,
    the number of local components of the node inside, and R_parent(root) = 1. All have
    one floating dtype. A root fixed to all ones is `weights[root] = None`; its width is
    read off its children.

    Nodes in `fixed` carry data: no derivative flows to their matrices, descent leaves
    them as they are, and local components count trained vectors only. The matrix of one
    may be a `Selector`; those over the children of a node give the full hierarchical
    Tucker and tensor-train formats exactly (`htfjax.formats`).

    Construction validates nothing, because unflattening a pytree runs it; the functions
    that take factors check shapes and dtypes when they are entered.

    Attributes:
      weights: one matrix per node id, ascending.
      tree: the mode tree (static).
      fixed: ids of the nodes that are data (static).

    Source: arXiv:2201.11729, section 3 (weight matrices, end tensor).

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> tree = htf.ModeTree.from_nested((0, 1))
      >>> ones = htf.Factors(tree=tree, weights=(jnp.ones((3, 2)), jnp.ones((4, 2)), None))
      >>> htf.widths(ones), htf.mode_dims(ones)
      ((3, 4, 2), (3, 4))
    """

    weights: tuple[Weight, ...]
    tree: ModeTree = dataclasses.field(metadata={"static": True})
    fixed: tuple[int, ...] = dataclasses.field(default=(), metadata={"static": True})

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Fields, the tree first."""
        return _reprs.record(self, tree=self.tree, weights=self.weights, fixed=self.fixed)

    def _repr_html_(self) -> str:
        """A table of nodes, those of one height, shape and dtype in one row."""
        return table(self, "Factors", HEAD, _alike(self))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class GroupedFactors:
    """Factors whose equal nodes are stacked; made by `group`, undone by `ungroup`.

    Attributes:
      stacks: for every group an array (number of nodes, R_k, R_parent(k)), or None for a
        root of ones.
      tree: the mode tree (static).
      groups: node ids of every group, children before parents (static).
      fixed: ids of the nodes that are data (static).

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 2, 1.0)
      >>> isinstance(htf.group(factors), htf.GroupedFactors)
      True
    """

    stacks: tuple[Any, ...]  # arrays; None for a root of ones
    tree: ModeTree = dataclasses.field(metadata={"static": True})
    groups: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    fixed: tuple[int, ...] = dataclasses.field(default=(), metadata={"static": True})

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Fields, the tree first; a stack begins with the number of its nodes."""
        return _reprs.record(self, tree=self.tree, stacks=self.stacks, fixed=self.fixed)

    def _repr_html_(self) -> str:
        """A table of groups."""
        rows = (
            _row(self, nodes, stack)
            for nodes, stack in zip(self.groups, self.stacks, strict=True)
        )
        return table(self, "GroupedFactors", HEAD, rows)


AnyFactors = Factors | GroupedFactors

HEAD = ("nodes", "height", "weights", "")  # of the tables


def _alike(factors: Factors) -> Iterator[tuple[str, ...]]:
    """Rows of the nodes that have one height, shape and dtype, each row as `_row`."""
    tree, rows = factors.tree, dict[tuple, list[int]]()
    for k, w in enumerate(factors.weights):
        look = None if w is None else (w.shape, getattr(w, "dtype", None))
        rows.setdefault((tree.height[k], look, k in factors.fixed), []).append(k)
    for nodes in rows.values():
        yield _row(factors, nodes, factors.weights[nodes[0]])


def _row(factors: AnyFactors, nodes: Iterable[int], weights: Weight) -> tuple[str, ...]:
    """Nodes, their height, dtype and shape, and what becomes of their matrices."""
    first, *_ = nodes
    height = str(factors.tree.height[first])
    if weights is None:
        return _reprs.ranges(nodes), height, "ones", "fixed"
    if isinstance(weights, Selector):
        return _reprs.ranges(nodes), height, str(weights), "fixed"
    kind = "fixed" if first in factors.fixed else "trained"
    return _reprs.ranges(nodes), height, _reprs.array(weights), kind
