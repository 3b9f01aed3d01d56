"""Checks of factors: one matrix per node, shapes that chain, one dtype, sound groups."""

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax.factors.factors import AnyFactors, Factors, GroupedFactors
from htfjax.factors.selector import Selector


def shapes(factors: AnyFactors, name: str) -> Factors:
    """Factors of shapes and dtypes alone, without an operation per node."""
    if not isinstance(factors, GroupedFactors):
        return factors
    _check_groups(factors, name)
    weights: list[jax.ShapeDtypeStruct | None] = [None] * factors.tree.num_nodes
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


def check_factors(factors: Factors, name: str) -> None:
    """Plain factors, or the shapes of grouped ones, that can be contracted."""
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
    free = [k for k, w in enumerate(weights) if isinstance(w, Selector)]
    free = [k for k in free if k not in factors.fixed]
    if free:
        raise ValueError(
            f"{fixed} lacks the nodes {free}, whose matrices are selectors, which are data."
        )


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


def rows(factors: Factors) -> tuple[int, ...]:
    """R_k for every node; that of a root of ones is its children's number of columns."""
    below, weights = factors.tree.children, factors.weights
    return tuple(
        weights[below[k][0]].shape[1] if weight is None else weight.shape[0]
        for k, weight in enumerate(weights)
    )


def _check_dtypes(factors: Factors, name: str) -> None:
    dtypes = {k: w.dtype for k, w in enumerate(factors.weights) if hasattr(w, "dtype")}
    if not dtypes:
        raise TypeError(f"{_part(name, 'weights')} are selectors only, of no dtype.")
    if len(set(dtypes.values())) > 1:
        raise TypeError(f"{_part(name, 'weights')} mix dtypes {dtypes}; cast them to one.")
    only = next(iter(dtypes.values()))
    if not jnp.issubdtype(only, jnp.floating) or only.itemsize > 8:
        raise TypeError(
            f"{_part(name, 'weights')} must be floating of 64 bits at most, got {only}."
        )


def _check_widths(factors: Factors, name: str) -> None:
    widths = rows(factors)
    for k, weight in enumerate(factors.weights):
        if weight is None:
            continue
        parent = factors.tree.parent[k]
        columns = 1 if parent is None else widths[parent]
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


def _describe(weight: object) -> str:
    shape = getattr(weight, "shape", None)
    return _checks.spell(weight) if shape is None else f"an array of shape {shape}"
