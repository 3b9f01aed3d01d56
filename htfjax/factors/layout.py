"""Layout of factors: the tree, every shape, the dtype and what is trained, found once.

Functions that take factors open with `layout_of`, which checks them and keeps the layout
with them; all that follows from shapes alone (plans, costs, rank bounds) takes the layout.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax.factors.factors import Factors, GroupedFactors, as_factors
from htfjax.trees.mode_tree import ModeTree

__all__ = [
    "Layout",
    "as_array",
    "known",
    "layout_of",
    "mode_dims",
    "shapes",
    "stacks_with_constants",
    "widths",
    "with_constants",
]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What factors are apart from their values; static and hashable.

    Attributes:
      tree: the mode tree.
      widths: R_k for every node, the mode dimension D_k at leaves.
      weights_dtype: the dtype that the weight matrices have where they are.
      trained: for every node whether its matrix is: present and not fixed.
      has_root: whether the root has a matrix; without one it is fixed to ones.
      groups: node ids of the stacks, children before parents; groups of one for plain
        factors.
    """

    tree: ModeTree
    widths: tuple[int, ...]
    weights_dtype: Any
    trained: tuple[bool, ...]
    has_root: bool
    groups: tuple[tuple[int, ...], ...]

    @property
    def dtype(self) -> Any:
        """The one dtype of all weight matrices, as jax holds it."""
        return jax.dtypes.canonicalize_dtype(self.weights_dtype)

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
        found = zip(self.sides, self.widths, self.columns, strict=True)
        return tuple(min(*sides, width, above) for sides, width, above in found)

    @functools.cached_property
    def homes(self) -> dict[int, tuple[int, int]]:
        """node -> its group and its place in it."""
        return {
            node: (g, i)
            for g, nodes in enumerate(self.groups)
            for i, node in enumerate(nodes)
        }

    def slots(self, nodes: Sequence[int]) -> list[tuple[tuple[int, ...], int, list[int]]]:
        """Per child slot of alike nodes: the children, their group, their places in it."""
        children = zip(*(self.tree.children[k] for k in nodes), strict=True)
        return [
            (kids, self.homes[kids[0]][0], [self.homes[c][1] for c in kids])
            for kids in children
        ]

    def sides_of(self, modes: Any) -> tuple[int, int]:
        """Rows and columns of the matricization with some modes as rows."""
        height = math.prod(self.dims[mode] for mode in modes)
        return height, self.size // height


def layout_of(factors: Any, name: str = "factors") -> Layout:
    """The layout of factors, which are checked where it is not known yet.

    Args:
      name: of the argument, for messages.

    Raises:
      TypeError: not `Factors`, masked or mixed or non-floating weights.
      ValueError: a missing or surplus matrix, inconsistent shapes, unknown fixed nodes.
    """
    if not isinstance(factors, Factors | GroupedFactors):
        raise TypeError(f"`{name}` must be htfjax.Factors, got {type(factors).__name__}.")
    # Factors cannot change, so what was found once holds.
    if "layout" in vars(factors):
        return vars(factors)["layout"]
    plain = shapes(factors, name)
    _check(plain, name)
    grouped = isinstance(factors, GroupedFactors)
    found = _layout(
        plain.tree,
        _rows(plain),
        plain.weights[plain.tree.root] is not None,
        next(w.dtype for w in plain.weights if w is not None),
        plain.fixed,
        factors.groups if grouped else None,
    )
    known(factors, found)
    return found


def known(factors: Any, layout: Layout) -> Any:
    """The factors, with a layout that need not be looked for again."""
    vars(factors)["layout"] = layout
    return factors


@functools.lru_cache(maxsize=256)
def _layout(
    tree: ModeTree,
    widths: tuple[int, ...],
    has_root: bool,
    dtype: Any,
    fixed: tuple[int, ...],
    groups: tuple[tuple[int, ...], ...] | None,
) -> Layout:
    """The layout of sound factors: one for all of equal shapes, whatever becomes of them
    on their way through transformations."""
    data = set(fixed) if has_root else {*fixed, tree.root}
    return Layout(
        tree=tree,
        widths=widths,
        weights_dtype=dtype,
        trained=tuple(k not in data for k in range(tree.num_nodes)),
        has_root=has_root,
        groups=groups or tuple((k,) for k in range(tree.num_nodes)),
    )


def widths(factors: Factors | GroupedFactors) -> tuple[int, ...]:
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


def mode_dims(factors: Factors | GroupedFactors) -> tuple[int, ...]:
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


def stacks_with_constants(factors: GroupedFactors) -> tuple[Any, ...]:
    """Checked stacks, through whose fixed ones no derivative flows.

    Raises:
      TypeError, ValueError: stacks that do not fit the tree.
    """
    layout_of(factors)
    return tuple(
        jax.lax.stop_gradient(stack) if nodes[0] in factors.fixed else stack
        for nodes, stack in zip(factors.groups, factors.stacks, strict=True)
    )


def with_constants(factors: Factors | GroupedFactors, name: str = "factors") -> Factors:
    """Checked, ungrouped factors through whose fixed matrices no derivative flows."""
    layout, factors = layout_of(factors, name), as_factors(factors)
    weights = tuple(
        jax.lax.stop_gradient(weight) if k in factors.fixed else weight
        for k, weight in enumerate(map(as_array, factors.weights))
    )
    alone = tuple((k,) for k in range(layout.tree.num_nodes))
    constant = dataclasses.replace(factors, weights=weights)
    return known(
        constant, dataclasses.replace(layout, groups=alone, weights_dtype=layout.dtype)
    )


def shapes(factors: Factors | GroupedFactors, name: str = "factors") -> Factors:
    """Factors of shapes and dtypes alone, without an operation per node."""
    if not isinstance(factors, GroupedFactors):
        return factors
    if "layout" not in vars(factors):
        _check_groups(factors, name)
    weights: list[Any] = [None] * factors.tree.num_nodes
    for nodes, stack in zip(factors.groups, factors.stacks, strict=True):
        if stack is None:
            continue
        if getattr(stack, "ndim", None) != 3 or stack.shape[0] != len(nodes):
            raise ValueError(
                f"{_part(name, 'stacks')} holds {_describe(stack)} for {len(nodes)} nodes."
            )
        for node in nodes:
            weights[node] = jax.ShapeDtypeStruct(stack.shape[1:], stack.dtype)
    return Factors(tree=factors.tree, weights=tuple(weights), fixed=factors.fixed)


def _check(factors: Factors, name: str) -> None:
    tree, weights = factors.tree, factors.weights
    _checks.tree(tree, "tree" if name == "factors" else f"{name}.tree")
    if not isinstance(weights, tuple):
        raise TypeError(
            f"{_part(name, 'weights')} must be a tuple of matrices, got a "
            f"{type(weights).__name__}."
        )
    if len(weights) != tree.num_nodes:
        raise ValueError(
            f"{_part(name, 'weights')} has {len(weights)} matrices, the tree has "
            f"{tree.num_nodes} nodes."
        )
    for k, weight in enumerate(weights):
        if weight is None and k == tree.root:
            continue
        if getattr(weight, "ndim", None) != 2:
            raise ValueError(
                f"{_part(name, f'weights[{k}]')} must be a matrix, got {_describe(weight)}"
                + ("; only the root may be None." if weight is None else ".")
            )
        if isinstance(weight, np.ndarray):
            _check_numpy(weight, _part(name, f"weights[{k}]"))
    _check_dtypes(factors, name)
    _check_widths(factors, name)
    fixed = _part(name, "fixed")
    if not isinstance(factors.fixed, tuple):
        raise TypeError(
            f"{fixed} must be a tuple of node ids, got {_checks.spell(factors.fixed)}."
        )
    nodes = range(tree.num_nodes)
    unknown = [k for k in factors.fixed if type(k) is not int or k not in nodes]
    if unknown:
        raise ValueError(f"{fixed} names {unknown}; nodes are 0..{tree.root}.")


def _part(name: str, part: str) -> str:
    """A part of factors, as errors name it."""
    return f"`{part}`" if name == "factors" else f"`{name}.{part}`"


def _check_numpy(weight: np.ndarray, name: str) -> None:
    """A NumPy matrix that becomes a jax array of the same values."""
    if np.ma.isMaskedArray(weight):
        raise TypeError(
            f"{name} is a masked array, whose masked values would become weights; fill "
            "them first: `weight.filled(0)`."
        )
    if not weight.dtype.isnative:
        raise TypeError(
            f"{name} has foreign byte order ({weight.dtype}); convert it with "
            "`weight.astype(weight.dtype.newbyteorder('='))`."
        )


def _check_groups(factors: GroupedFactors, name: str) -> None:
    """Groups that hold every node once, and one stack for each."""
    _checks.tree(factors.tree, "tree" if name == "factors" else f"{name}.tree")
    stacks, groups, fixed = factors.stacks, factors.groups, factors.fixed
    if not isinstance(fixed, tuple):
        raise TypeError(
            f"{_part(name, 'fixed')} must be a tuple of node ids, got "
            f"{_checks.spell(fixed)}."
        )
    if not isinstance(stacks, tuple) or not isinstance(groups, tuple):
        raise TypeError(
            f"{_part(name, 'stacks')} and {_part(name, 'groups')} must be tuples, got "
            f"{_checks.spell(stacks)} and {_checks.spell(groups)}; `group` makes them."
        )
    nodes = [k for nodes in groups for k in (nodes if isinstance(nodes, tuple) else ())]
    nodes = [k if type(k) is int else -1 for k in nodes]
    if () in groups or sorted(nodes) != list(range(factors.tree.num_nodes)):
        raise ValueError(
            f"{_part(name, 'groups')} must hold every node 0..{factors.tree.root} once, "
            f"got {_checks.spell(groups)}; `group` makes them."
        )
    if len(stacks) != len(groups):
        raise ValueError(
            f"{_part(name, 'stacks')} has {len(stacks)} arrays, there are {len(groups)} "
            "groups."
        )
    place = {k: g for g, nodes in enumerate(groups) for k in nodes}
    below = factors.tree.children
    for g, nodes in enumerate(groups):
        kinds = {tuple(place[c] for c in below[k]) for k in nodes}
        if len(kinds) > 1 or any(h >= g for kind in kinds for h in kind):
            raise ValueError(
                f"{_part(name, 'groups')} must be of nodes with alike children, whose "
                f"groups stand before, got {_checks.spell(nodes)} at place {g}; `group` "
                "makes them."
            )
    split = [nodes for nodes in groups if len({k in fixed for k in nodes}) > 1]
    if split:
        raise ValueError(
            f"{_part(name, 'fixed')} splits the groups {split}; fix all nodes of a group "
            "or none."
        )


def _rows(factors: Factors) -> tuple[int, ...]:
    """R_k for every node; that of a root of ones is its children's number of columns."""
    rows = []
    for k, weight in enumerate(factors.weights):
        if weight is None:
            weight = factors.weights[factors.tree.children[k][0]]
            rows.append(weight.shape[1])
        else:
            rows.append(weight.shape[0])
    return tuple(rows)


def _check_dtypes(factors: Factors, name: str) -> None:
    dtypes = {k: w.dtype for k, w in enumerate(factors.weights) if w is not None}
    if len(set(dtypes.values())) > 1:
        raise TypeError(f"{_part(name, 'weights')} mix dtypes {dtypes}; cast them to one.")
    only = next(iter(dtypes.values()))
    if not jnp.issubdtype(only, jnp.floating) or only.itemsize > 8:
        raise TypeError(
            f"{_part(name, 'weights')} must be floating of 64 bits at most, got {only}."
        )


def _check_widths(factors: Factors, name: str) -> None:
    rows = _rows(factors)
    for k, weight in enumerate(factors.weights):
        if weight is None:
            continue
        parent = factors.tree.parent[k]
        columns = 1 if parent is None else rows[parent]
        if weight.shape[1] != columns:
            raise ValueError(
                f"{_part(name, f'weights[{k}]')} has shape {weight.shape}, expected "
                f"({weight.shape[0]}, {columns}): "
                + (
                    "the root has one column."
                    if parent is None
                    else f"node {parent} above it has {columns} local components."
                )
            )
        if 0 in weight.shape:
            raise ValueError(f"{_part(name, f'weights[{k}]')} is empty: {weight.shape}.")


def as_array(weight: Any) -> jax.Array | None:
    return None if weight is None else jnp.asarray(weight)


def _describe(weight: Any) -> str:
    shape = getattr(weight, "shape", None)
    return _checks.spell(weight) if shape is None else f"an array of shape {shape}"
