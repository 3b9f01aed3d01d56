"""Stacks of factors: one array per group of equal nodes, taken apart and put together.

Kernels are written on a layout and its stacks. Plain factors are groups of one: their
stacks are the matrices with an axis of length one in front, which compiled programs drop.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from htfjax._types import Params, PyTree
from htfjax.factors.factors import AnyFactors, Factors, GroupedFactors
from htfjax.factors.layout import Groups, Layout, known, layout_of, regrouped
from htfjax.factors.selector import Weight, matrix_of

Stacks = tuple[Any, ...]  # arrays (G, R_k, R_parent(k)); None for a root of ones
Opened = tuple[Layout, Stacks]
Part = TypeVar("Part")  # a pytree of stacks


def opened(factors: object, name: str = "factors") -> Opened:
    """The layout of checked factors and their stacks.

    No derivative flows through the stacks of fixed nodes.

    Args:
      name: of the argument, for messages.

    Raises:
      TypeError, ValueError: as `layout_of`.
    """
    layout = layout_of(factors, name)
    return layout, _stacks(_matrices(factors, layout), layout, layout.groups)


def alike(*many: AnyFactors) -> tuple[Opened, ...]:
    """Factorizations of one tree in stacks of the same groups, equal nodes in one stack.

    Grouped factors that agree keep their groups.

    Raises:
      TypeError, ValueError: as `layout_of`.
    """
    layouts = [layout_of(factors) for factors in many]
    groups = layouts[0].groups
    if not all(x.grouped and x.groups == groups for x in layouts):
        groups = equal_subtrees(*layouts)
    return tuple(
        (regrouped(layout, groups), _stacks(_matrices(factors, layout), layout, groups))
        for factors, layout in zip(many, layouts, strict=True)
    )


def _matrices(factors: Any, layout: Layout) -> Stacks:
    return tuple(factors.stacks if layout.grouped else factors.weights)


@functools.partial(jax.jit, static_argnames=("layout", "groups"), inline=True)
def _stacks(matrices: Stacks, layout: Layout, groups: Groups) -> Stacks:
    """Matrices or stacks as stacks of `groups`, those of fixed nodes constant.

    One call for all: outside of jit a call per matrix would cost more than a kernel.
    """
    stacks = []
    for nodes in groups:
        homes = [layout.homes[k] for k in nodes]
        first = matrices[homes[0][0]]
        if first is None:
            stacks.append(None)
            continue
        if not layout.grouped:
            stack = jnp.stack([matrix_of(matrices[g], layout.dtype) for g, _ in homes])
        elif groups == layout.groups:
            stack = jnp.asarray(first)
        else:
            stack = jnp.stack([matrices[g][place] for g, place in homes])
        if nodes[0] in layout.fixed:
            stack = jax.lax.stop_gradient(stack)
        stacks.append(stack)
    return tuple(stacks)


def closed(layout: Layout, stacks: Sequence[jax.Array | None]) -> Any:
    """Factors of a layout: `GroupedFactors` if it is grouped, else `Factors`."""
    layout = regrouped(layout, layout.groups if layout.grouped else None)
    if layout.grouped:
        grouped = GroupedFactors(tuple(stacks), layout.tree, layout.groups, layout.fixed)
        return known(grouped, layout)
    weights: list[Weight] = [None if stack is None else stack[0] for stack in stacks]
    for node, selector in layout.selectors:
        weights[node] = selector
    return known(Factors(tuple(weights), layout.tree, layout.fixed), layout)


def written_out(factors: Factors) -> Factors:
    """Checked factors with matrices in place of selectors."""
    layout = layout_of(factors)
    if not layout.selectors:
        return factors
    weights = tuple(matrix_of(w, layout.dtype) for w in factors.weights)
    return dataclasses.replace(factors, weights=weights)


def freeze(tree: Params) -> Params:
    """Zeros in place of what belongs to fixed nodes, wherever factors stand in a pytree."""

    def zero_fixed(x: object) -> object:
        if not isinstance(x, AnyFactors) or not x.fixed:
            return x
        grouped = isinstance(x, GroupedFactors)
        held = x.stacks if grouped else x.weights
        groups = x.groups if grouped else ((k,) for k in range(len(held)))
        kept = tuple(
            jax.tree.map(jnp.zeros_like, w) if nodes[0] in x.fixed else w
            for nodes, w in zip(groups, held, strict=True)
        )
        return dataclasses.replace(x, **{"stacks" if grouped else "weights": kept})

    return jax.tree.map(zero_fixed, tree, is_leaf=lambda x: isinstance(x, AnyFactors))


def are_trained(tree: PyTree) -> list[bool]:
    """For every array of a pytree whether it is no data, as matrices of fixed nodes are."""

    def marks(x: PyTree) -> PyTree:
        if not isinstance(x, AnyFactors):
            return True
        grouped = isinstance(x, GroupedFactors)
        held = x.stacks if grouped else x.weights
        groups = x.groups if grouped else ((k,) for k in range(len(held)))
        return [
            nodes[0] not in x.fixed
            for nodes, w in zip(groups, held, strict=True)
            for _ in jax.tree.leaves(w)
        ]

    marked = jax.tree.map(marks, tree, is_leaf=lambda x: isinstance(x, AnyFactors))
    return jax.tree.leaves(marked)


def with_ones(layout: Layout, stacks: Stacks) -> Stacks:
    """The stacks with a root of ones written out."""
    if layout.has_root:
        return stacks
    return *stacks[:-1], jnp.ones((1, layout.widths[-1], 1), layout.dtype)


@functools.lru_cache(maxsize=256)
def equal_subtrees(*layouts: Layout) -> Groups:
    """Node ids of subtrees that are equal in all layouts, children before parents."""
    tree = layouts[0].tree
    numbers: dict[tuple, int] = {}
    kinds: list[int] = []
    members: dict[int, list[int]] = {}
    for k in range(tree.num_nodes):
        here = tuple(
            (x.widths[k], x.columns[k], x.trained[k], k == tree.root and x.has_root)
            for x in layouts
        )
        below = tuple(kinds[c] for c in tree.children[k])
        kind = numbers.setdefault((here, below), len(numbers))
        kinds.append(kind)
        members.setdefault(kind, []).append(k)
    order = sorted(members.values(), key=lambda nodes: (tree.height[nodes[0]], nodes[0]))
    return tuple(map(tuple, order))


def children_of(layout: Layout, nodes: Sequence[int], held: Sequence[Part]) -> list[Part]:
    """Per child slot what `held` has for the children, a pytree of stacks per group."""
    return [
        jax.tree.map(lambda x, places=places: pick(x, places), held[g])
        for _, g, places in layout.slots(nodes)
    ]


def pick(stack: jax.Array, places: list[int]) -> jax.Array:
    """Some members of a stack; a slice where they are evenly spaced."""
    if len(stack) == 1:
        return stack
    step = places[1] - places[0] if len(places) > 1 else 1
    if step > 0 and places == list(range(places[0], places[-1] + 1, step)):
        return stack[places[0] : places[-1] + 1 : step]
    return stack[np.asarray(places)]


def collected(pieces: Sequence[tuple[Sequence[int], Part]], nodes: Sequence[int]) -> Part:
    """Pieces, each the nodes it is for and a pytree of stacks, as stacks for `nodes`."""
    stacks = [stack for _, stack in pieces]
    place = {n: i for i, n in enumerate(n for kids, _ in pieces for n in kids)}
    order = [place[node] for node in nodes]
    if len({len(kids) for kids, _ in pieces}) == 1:
        # The children of one node stand side by side: no gather is needed.
        woven = np.arange(len(place)).reshape(len(pieces), -1).T.ravel()
        if order == woven.tolist():
            return jax.tree.map(lambda *xs: _woven(xs), *stacks)
    joined = jax.tree.map(lambda *xs: jnp.concatenate(xs), *stacks)
    return jax.tree.map(lambda x: pick(x, order), joined)


def _woven(pieces: Sequence[jax.Array]) -> jax.Array:
    """The first of every piece, the second of every piece, ..."""
    stack = jnp.stack(pieces, axis=1)
    return stack.reshape(-1, *stack.shape[2:])
