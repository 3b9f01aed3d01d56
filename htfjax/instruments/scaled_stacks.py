"""Scaled stacks: mantissas of a benign size, with powers of two taken out as exponents.

Mathematics: docs/mathematics/gram.md.
"""

import jax
import jax.numpy as jnp

from htfjax import _numerics
from htfjax.factors.layout import Layout
from htfjax.factors.stacks import Stacks, children_of, with_ones

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
    # |A_ij| <= sqrt(A_ii A_jj), so R numbers are looked at and not R^2.
    diagonals = jnp.diagonal(stack, axis1=1, axis2=2)
    mantissas, more = jax.vmap(_numerics.normalized)(stack, diagonals)
    return mantissas, exponents + more


def scaled_stacks(layout: Layout, stacks: Stacks) -> tuple[list[Scaled], list[jax.Array]]:
    """The stacks in a gauge where no column of a table can be lost.

    From the leaves to the root every column gives its power of two to the row above it:
    the end tensor stays the same, and however components shared their size between
    matrices, these are benign. The root keeps its power as the exponent of its matrix.

    Returns:
      The stacks; and the powers taken out of the columns of tables Phi_k W_k, (G, R).
    """
    scaled, taken = [], []
    for nodes, stack in zip(layout.groups, with_ones(layout, stacks), strict=True):
        # Row r multiplies the product of the children's columns r: their powers add up.
        below = children_of(layout, nodes, taken)
        rows = sum(below[1:], below[0]) if below else _no_powers(stack.shape[:2])
        mantissas, powers = _normalized_columns(stack, rows)
        scaled.append((mantissas, _no_powers(stack.shape[:1])))
        taken.append(powers)
    # There is no row above the root. It has one column, so this is one exponent.
    scaled[-1] = scaled[-1][0], taken[-1][:, 0]
    taken[-1] = _no_powers(taken[-1].shape)
    return scaled, taken


def _no_powers(shape: tuple[int, ...]) -> jax.Array:
    return jnp.zeros(shape, jnp.int32)


_normalized_columns = jax.jit(_numerics.normalized_columns)
