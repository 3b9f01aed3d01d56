"""One weight matrix on every node of a mode tree."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax.trees.mode_tree import ModeTree

__all__ = ["Factors", "GroupedFactors", "collapse_chains", "mode_dims", "widths"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """The weight matrices of a hierarchical tensor factorization: a pytree.

    `weights[k]` has shape (R_k, R_parent(k)), where R_k is the mode dimension at a leaf,
    the number of local components of the node inside, and R_parent(root) = 1. All have
    one floating dtype. A root fixed to all ones is `weights[root] = None`; its width is
    read off its children.

    Nodes in `fixed` carry data: no derivative flows to their matrices, descent leaves
    them as they are, and local components count trained vectors only. Frozen one-child
    selectors give the full hierarchical Tucker and tensor-train formats exactly.

    Construction validates nothing, because unflattening a pytree runs it; the functions
    that take factors check shapes and dtypes when they are entered.

    Attributes:
      weights: one matrix per node id, ascending.
      tree: the mode tree (static).
      fixed: ids of the nodes that are data (static).

    Source: arXiv:2201.11729, section 3 (weight matrices, end tensor).

    Example:
      >>> import jax.numpy as jnp
      >>> tree = ModeTree.from_nested((0, 1))
      >>> ones = Factors(tree=tree, weights=(jnp.ones((3, 2)), jnp.ones((4, 2)), None))
      >>> widths(ones), mode_dims(ones)
      ((3, 4, 2), (3, 4))
    """

    weights: tuple[Any, ...]  # arrays; None for a root of ones
    tree: ModeTree = dataclasses.field(metadata={"static": True})
    fixed: tuple[int, ...] = dataclasses.field(default=(), metadata={"static": True})


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
      >>> isinstance(htf.group(factors), GroupedFactors)
      True
    """

    stacks: tuple[Any, ...]
    tree: ModeTree = dataclasses.field(metadata={"static": True})
    groups: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    fixed: tuple[int, ...] = dataclasses.field(default=(), metadata={"static": True})


def as_factors(factors: Factors | GroupedFactors) -> Factors:
    """Ungrouped factors: slices of the stacks, or the factors as they are."""
    if not isinstance(factors, GroupedFactors):
        return factors
    weights: list[Any] = [None] * factors.tree.num_nodes
    for nodes, stack in zip(factors.groups, factors.stacks, strict=True):
        for i, node in enumerate(nodes):
            weights[node] = None if stack is None else stack[i]
    return Factors(tree=factors.tree, weights=tuple(weights), fixed=factors.fixed)


def stacks_with_constants(factors: GroupedFactors) -> tuple[Any, ...]:
    """Checked stacks, through whose fixed ones no derivative flows.

    Raises:
      TypeError, ValueError: stacks that do not fit the tree.
    """
    check(factors)
    return tuple(
        jax.lax.stop_gradient(stack) if nodes[0] in factors.fixed else stack
        for nodes, stack in zip(factors.groups, factors.stacks, strict=True)
    )


def shapes(factors: Factors | GroupedFactors, name: str = "factors") -> Factors:
    """Factors of shapes and dtypes alone, without an operation per node."""
    if not isinstance(factors, GroupedFactors):
        return factors
    if "sound" not in vars(factors):
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


def widths(factors: Factors | GroupedFactors) -> tuple[int, ...]:
    """R_k for every node id: the mode dimension at leaves, local components inside.

    Raises:
      TypeError, ValueError: malformed factors.

    Example:
      >>> from htfjax.trees.builders import flat
      >>> widths(Factors(tree=flat(2), weights=(jnp.ones((3, 2)),) * 2 + (None,)))
      (3, 3, 2)
    """
    check(factors)
    return _rows(shapes(factors))


def mode_dims(factors: Factors | GroupedFactors) -> tuple[int, ...]:
    """Dimensions D_0, ..., D_{N-1} of the end tensor.

    Raises:
      TypeError, ValueError: malformed factors.

    Example:
      >>> from htfjax.trees.builders import flat
      >>> mode_dims(Factors(tree=flat(2), weights=(jnp.ones((3, 2)),) * 2 + (None,)))
      (3, 3)
    """
    return widths(factors)[: factors.tree.order]


def check(factors: Any, name: str = "factors") -> None:
    """Shapes and dtypes fit the tree; called where a kernel is entered.

    Args:
      name: of the argument, for messages.

    Raises:
      TypeError: not `Factors`, masked or mixed or non-floating weights.
      ValueError: a missing or surplus matrix, inconsistent shapes, unknown fixed nodes.
    """
    if not isinstance(factors, Factors | GroupedFactors):
        raise TypeError(f"`{name}` must be htfjax.Factors, got {type(factors).__name__}.")
    # Factors cannot change, so those that were found sound are not checked again.
    if "sound" in vars(factors):
        return
    _check(shapes(factors, name), name)
    vars(factors)["sound"] = True


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
    if set(nodes) != set(range(factors.tree.num_nodes)) or len(set(nodes)) < len(nodes):
        raise ValueError(
            f"{_part(name, 'groups')} must hold every node 0..{factors.tree.root} once, "
            f"got {_checks.spell(groups)}; `group` makes them."
        )
    if len(stacks) != len(groups):
        raise ValueError(
            f"{_part(name, 'stacks')} has {len(stacks)} arrays, there are {len(groups)} "
            "groups."
        )
    split = [nodes for nodes in groups if len({k in fixed for k in nodes}) > 1]
    if split:
        raise ValueError(
            f"{_part(name, 'fixed')} splits the groups {split}; fix all nodes of a group "
            "or none."
        )


def trained(factors: Factors | GroupedFactors) -> tuple[bool, ...]:
    """For every node whether its matrix is trained: present and not fixed."""
    return tuple(
        weight is not None and k not in factors.fixed
        for k, weight in enumerate(shapes(factors).weights)
    )


def with_constants(factors: Factors | GroupedFactors, name: str = "factors") -> Factors:
    """Checked, ungrouped factors through whose fixed matrices no derivative flows."""
    check(factors, name)
    factors = as_factors(factors)
    weights = tuple(
        jax.lax.stop_gradient(weight) if k in factors.fixed else weight
        for k, weight in enumerate(map(_as_array, factors.weights))
    )
    return dataclasses.replace(factors, weights=weights)


def dtype(factors: Factors | GroupedFactors) -> Any:
    """The one dtype of all weight matrices, as jax holds it."""
    return jax.dtypes.canonicalize_dtype(jax.tree.leaves(shapes(factors).weights)[0].dtype)


def collapse_chains(factors: Factors) -> Factors:
    """Multiplies out every one-child node: W^(child) W^(node), the same end tensor.

    A one-child root with trained weights becomes the last matrix of its child, which
    then is the root. Chains touching a fixed node are fixed if all their matrices are.

    Returns:
      Factors on the tree without one-child nodes (a leaf directly under a root stays).

    Raises:
      ValueError: fixed and trained matrices in one chain.

    Source: law A9 (chains of one-child nodes are deep linear factors).

    Example:
      >>> import jax.numpy as jnp
      >>> tree = ModeTree.from_nested(((0,), 1))
      >>> deep = Factors(tree=tree, weights=(jnp.eye(2), jnp.eye(2), 2 * jnp.eye(2), None))
      >>> collapse_chains(deep).tree.nested
      (0, 1)
    """
    check(factors)
    factors = as_factors(factors)
    tree, weights = factors.tree, factors.weights
    nested: list[Any] = list(range(tree.order))
    matrix: list[Any] = [_as_array(weight) for weight in weights]
    members: list[list[int]] = [[k] for k in range(tree.num_nodes)]
    kept = list(range(tree.order))  # kept[k]: the node that stands for k afterwards
    for k in tree.interior:
        kids = tree.children[k]
        child, below = kids[0], kept[kids[0]]
        if len(kids) > 1 or (k == tree.root and below < tree.order):
            nested.append(tuple(nested[c] for c in kids))
            kept.append(k)
            continue
        nested.append(nested[child])
        kept.append(below)
        members[below].append(k)
        matrix[below] = _times(matrix[below], weights[k])
    order = [*range(tree.order), *(k for k in tree.interior if kept[k] == k)]
    mixed = [
        members[k]
        for k in order
        if len({m in factors.fixed for m in members[k] if weights[m] is not None}) > 1
    ]
    if mixed:
        raise ValueError(f"`fixed` splits the chains {mixed}; fix all of a chain or none.")
    return Factors(
        tree=ModeTree.from_nested(nested[tree.root]),
        weights=tuple(matrix[k] for k in order),
        fixed=tuple(i for i, k in enumerate(order) if members[k][0] in factors.fixed),
    )


def _times(left: jax.Array, right: jax.Array | None) -> jax.Array:
    if right is None:  # a root fixed to ones sums the columns
        return jnp.sum(left, axis=1, keepdims=True)
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def _as_array(weight: Any) -> jax.Array | None:
    return None if weight is None else jnp.asarray(weight)


def _rows(factors: Factors) -> tuple[int, ...]:
    """R_k for every node of factors that need not be sound."""
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


def _describe(weight: Any) -> str:
    shape = getattr(weight, "shape", None)
    return _checks.spell(weight) if shape is None else f"an array of shape {shape}"
