"""Stacks of the matrices of equal nodes: scaled, picked for parents, put back in order."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _numerics
from htfjax.factors.factors import GroupedFactors
from htfjax.factors.layout import Layout, layout_of, stacks_with_constants

__all__ = [
    "Scaled",
    "children_of",
    "collected",
    "full_stacks",
    "lifted",
    "lifted_grams",
    "normalized",
    "pick",
    "scaled_stacks",
    "transposed",
]

Scaled = tuple[jax.Array, jax.Array]  # mantissas (G, P, R), exponents (G,) int32


@jax.jit
def normalized(stack: jax.Array) -> Scaled:
    """Every matrix with its largest entry in [1/2, 1), and the power of two."""
    return jax.vmap(_numerics.normalized)(stack)


@jax.jit
def transposed(stacks: Scaled) -> Scaled:
    """The transposes of the matrices, laid out anew.

    Without the barrier a product would read them in place, which on a CPU doubles the time
    of products of small matrices.
    """
    mantissas = jax.lax.optimization_barrier(jnp.swapaxes(stacks[0], 1, 2))
    return mantissas, stacks[1]


def lifted(stack: jax.Array, exponents: jax.Array) -> Scaled:
    """The same matrices, normalized."""
    mantissas, more = normalized(stack)
    return mantissas, exponents + more


@jax.jit
def lifted_grams(stack: jax.Array, exponents: jax.Array) -> Scaled:
    """`lifted` of positive semidefinite matrices: their largest entries are diagonal."""
    count, size, _ = stack.shape
    # A strided slice: `jnp.diagonal` gathers.
    diagonals = stack.reshape(count, size * size)[:, :: size + 1]
    mantissas, more = jax.vmap(_numerics.normalized)(stack, diagonals)
    return mantissas, exponents + more


def full_stacks(factors: GroupedFactors) -> list[jax.Array]:
    """The stacks, fixed ones constant and a root of ones written out."""
    layout = layout_of(factors)
    ones = jnp.ones((1, layout.widths[-1], 1), layout.dtype)
    return [ones if s is None else s for s in stacks_with_constants(factors)]


def scaled_stacks(factors: GroupedFactors) -> tuple[list[Scaled], list[jax.Array]]:
    """`full_stacks` in a gauge where no column of a table can be lost.

    From the leaves to the root every column gives its power of two to the row above it:
    the end tensor stays the same, and however components shared their size between
    matrices, these are benign. The root keeps its power as the exponent of its matrix.

    Returns:
      The stacks; and the powers taken out of the columns of tables Phi_k W_k, (G, R).
    """
    layout, scaled, taken = layout_of(factors), [], []
    for nodes, stack in zip(factors.groups, full_stacks(factors), strict=True):
        below = children_of(layout, nodes, taken)
        rows = sum(below[1:], below[0]) if below else _no_powers(stack.shape[:2])
        mantissas, powers = _normalized_columns(stack, rows)
        scaled.append((mantissas, _no_powers(stack.shape[:1])))
        taken.append(powers)
    scaled[-1] = scaled[-1][0], taken[-1][:, 0]
    taken[-1] = _no_powers(taken[-1].shape)
    return scaled, taken


def _no_powers(shape: tuple[int, ...]) -> jax.Array:
    return jnp.zeros(shape, jnp.int32)


_normalized_columns = jax.jit(_numerics.normalized_columns)


def children_of(layout: Layout, nodes: Sequence[int], held: Sequence[Any]) -> list[Any]:
    """Per child slot what `held` has for the children, a pytree of stacks per group."""
    return [
        jax.tree.map(lambda x, places=places: pick(x, places), held[g])
        for _, g, places in layout.slots(nodes)
    ]


def pick(stack: jax.Array, places: list[int]) -> jax.Array:
    """Some members of a stack; a slice where they are evenly spaced."""
    if len(stack) == 1:
        return stack
    if len(places) == 1:
        return _member(stack, np.int32(places[0]))
    step = places[1] - places[0]
    if step > 0 and places == list(range(places[0], places[-1] + 1, step)):
        return stack[places[0] : places[-1] + 1 : step]
    return stack[np.asarray(places)]


@functools.partial(jax.jit, inline=True)
def _member(stack: jax.Array, place: Any) -> jax.Array:
    """One member of a stack; the place is data, so that outside of jit one program serves
    all places."""
    return jax.lax.dynamic_slice_in_dim(stack, place, 1)


def collected(pieces: Sequence[tuple[Sequence[int], Any]], nodes: Sequence[int]) -> Any:
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
