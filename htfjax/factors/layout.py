"""Layout of factors: the tree, every shape, the dtype and what is trained, found once.

Functions that take factors check them and keep the layout with them; all that follows from
shapes alone (plans, costs, rank bounds) takes the layout.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import TypeVar

import jax
import numpy as np
from wadler_lindig import AbstractDoc

from htfjax import _reprs
from htfjax.factors.checks import check_factors, rows, shapes
from htfjax.factors.factors import AnyFactors, Factors, GroupedFactors
from htfjax.factors.selector import Selector
from htfjax.trees.mode_tree import ModeTree

Groups = tuple[tuple[int, ...], ...]
Kind = TypeVar("Kind", bound=AnyFactors)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Structure of factors without their values; static and hashable.

    Attributes:
      tree: the mode tree.
      widths: R_k for every node, the mode dimension D_k at leaves.
      weights_dtype: the dtype that the weight matrices have where they are.
      fixed: ids of the nodes that are data.
      has_root: whether the root has a matrix; without one it is fixed to ones.
      groups: node ids of the stacks, children before parents and the root alone at the
        end; groups of one for plain factors.
      grouped: whether they are `GroupedFactors`.
      selectors: nodes whose matrices are selectors, and these, ascending; none where they
        are grouped, as stacks hold matrices.
    """

    tree: ModeTree
    widths: tuple[int, ...]
    weights_dtype: np.dtype
    fixed: tuple[int, ...]
    has_root: bool
    groups: Groups
    grouped: bool = False
    selectors: tuple[tuple[int, Selector], ...] = ()

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Mode dimensions and widths apart, groups by their number."""
        return _reprs.record(
            self,
            tree=self.tree,
            mode_dims=_reprs.sizes(self.dims),
            widths=_reprs.sizes(self.inner_widths),
            weights_dtype=str(self.weights_dtype),
            fixed=self.fixed,
            has_root=self.has_root,
            groups=self.groups if self.grouped else None,
            selectors=tuple(k for k, _ in self.selectors),
        )

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        # Layouts are static arguments of jitted functions, hashed at every call.
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return hash(tuple(fields))

    @property
    def dtype(self) -> np.dtype:
        """The one dtype of all weight matrices, as jax holds it."""
        return jax.dtypes.canonicalize_dtype(self.weights_dtype)

    @functools.cached_property
    def trained(self) -> tuple[bool, ...]:
        """For every node whether its matrix is: present and not fixed."""
        data = set(self.fixed) if self.has_root else {*self.fixed, self.tree.root}
        return tuple(k not in data for k in range(self.tree.num_nodes))

    @property
    def dims(self) -> tuple[int, ...]:
        """D_0, ..., D_{N-1}."""
        return self.widths[: self.tree.order]

    @property
    def inner_widths(self) -> tuple[int, ...]:
        """Numbers of local components of the interior nodes, ascending."""
        return self.widths[self.tree.order :]

    @functools.cached_property
    def columns(self) -> tuple[int, ...]:
        """R_parent(k) for every node, 1 for the root."""
        return tuple(1 if p is None else self.widths[p] for p in self.tree.parent)

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """P_k, entries of the modes under every node: Python integers of any length."""
        sizes = list(self.dims)
        for kids in self.tree.children[len(sizes) :]:
            sizes.append(math.prod(sizes[c] for c in kids))
        return tuple(sizes)

    @property
    def size(self) -> int:
        """Entries of the end tensor."""
        return self.sizes[-1]

    @functools.cached_property
    def sides(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns, P_k and P_rest, of the matricization by every node."""
        return tuple((size, self.size // size) for size in self.sizes)

    @functools.cached_property
    def counts(self) -> tuple[int, ...]:
        """Singular values that can be positive, min(P_k, P_rest, R_k, R_parent(k))."""
        limits = zip(self.sides, self.widths, self.columns, strict=True)
        return tuple(min(*sides, width, above) for sides, width, above in limits)

    @functools.cached_property
    def homes(self) -> dict[int, tuple[int, int]]:
        """node -> its group and its place in it."""
        return {
            node: (g, i)
            for g, nodes in enumerate(self.groups)
            for i, node in enumerate(nodes)
        }

    @functools.cached_property
    def inner_groups(self) -> tuple[int, ...]:
        """The groups of interior nodes."""
        return tuple(g for g, nodes in enumerate(self.groups) if self.below(nodes[0]))

    def below(self, node: int) -> tuple[int, ...]:
        """The children of a node."""
        return self.tree.children[node]

    def slots(self, nodes: Sequence[int]) -> list[tuple[tuple[int, ...], int, list[int]]]:
        """Per child slot of alike nodes: the children, their group, their places in it."""
        children = zip(*(self.tree.children[k] for k in nodes), strict=True)
        return [
            (kids, self.homes[kids[0]][0], [self.homes[c][1] for c in kids])
            for kids in children
        ]

    def sides_of(self, modes: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of the matricization with some modes as rows."""
        height = math.prod(self.dims[mode] for mode in modes)
        return height, self.size // height


def layout_of(factors: object, name: str = "factors") -> Layout:
    """The layout of factors, which are checked where it is not known yet.

    Args:
      name: of the argument, for messages.

    Raises:
      TypeError: not `Factors`, masked or mixed or non-floating weights.
      ValueError: a missing or surplus matrix, inconsistent shapes, unknown fixed nodes.
    """
    if not isinstance(factors, AnyFactors):
        raise TypeError(f"`{name}` must be htfjax.Factors, got {type(factors).__name__}.")
    # Factors cannot change, so what was found once holds.
    if "layout" in vars(factors):
        return vars(factors)["layout"]
    plain = shapes(factors, name)
    check_factors(plain, name)
    layout = _found(factors, plain)
    known(factors, layout)
    return layout


def known(factors: Kind, layout: Layout) -> Kind:
    """The factors, with a layout that need not be looked for again."""
    vars(factors)["layout"] = layout
    return factors


def _found(factors: AnyFactors, plain: Factors) -> Layout:
    """The layout of factors that are sound, given their shapes matrix by matrix."""
    grouped = isinstance(factors, GroupedFactors)
    return _layout(
        plain.tree,
        rows(plain),
        next(w.dtype for w in plain.weights if hasattr(w, "dtype")),
        plain.fixed,
        plain.weights[plain.tree.root] is not None,
        factors.groups if grouped else None,
        tuple((k, w) for k, w in enumerate(plain.weights) if isinstance(w, Selector)),
    )


@functools.lru_cache(maxsize=256)
def _layout(
    tree: ModeTree,
    widths: tuple[int, ...],
    dtype: np.dtype,
    fixed: tuple[int, ...],
    has_root: bool,
    groups: Groups | None,
    selectors: tuple[tuple[int, Selector], ...] = (),
) -> Layout:
    """One layout for all factors of equal shapes, whatever becomes of them on their way
    through transformations."""
    alone = tuple((k,) for k in range(tree.num_nodes))
    grouped = groups is not None
    return Layout(tree, widths, dtype, fixed, has_root, groups or alone, grouped, selectors)


def regrouped(layout: Layout, groups: Groups | None) -> Layout:
    """The layout of the same factors in jax's arrays: of `groups`, or plain for None."""
    # Not cached: `layout.dtype` follows the x64 switch of the moment.
    return _layout(
        layout.tree,
        layout.widths,
        layout.dtype,
        layout.fixed,
        layout.has_root,
        groups,
        layout.selectors if groups is None else (),
    )


def widths(factors: AnyFactors) -> tuple[int, ...]:
    """R_k for every node id: the mode dimension at leaves, local components inside.

    Raises:
      TypeError, ValueError: malformed factors.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> matrices = (jnp.ones((3, 2)), jnp.ones((3, 2)), None)
      >>> htf.widths(htf.Factors(tree=htf.flat(2), weights=matrices))
      (3, 3, 2)
    """
    return layout_of(factors).widths


def mode_dims(factors: AnyFactors) -> tuple[int, ...]:
    """Dimensions D_0, ..., D_{N-1} of the end tensor.

    Raises:
      TypeError, ValueError: malformed factors.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> matrices = (jnp.ones((3, 2)), jnp.ones((3, 2)), None)
      >>> htf.mode_dims(htf.Factors(tree=htf.flat(2), weights=matrices))
      (3, 3)
    """
    return layout_of(factors).dims
