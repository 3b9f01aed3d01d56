"""Derivatives that are refused by name: all of a value, or all but the first."""

import functools
from typing import NoReturn, TypeVar

import jax
import jax.numpy as jnp

Tree = TypeVar("Tree")


def refuse_derivatives(tree: Tree, message: str) -> Tree:
    """The same pytree; whatever differentiates by its floating arrays raises `message`.

    Also under jit and vmap, in forward and in reverse mode, and for derivatives of any
    order, while the function is traced.

    Raises:
      NotImplementedError: where it is differentiated.
    """
    leaves, treedef = jax.tree.flatten(tree)
    floating = [i for i, x in enumerate(leaves) if _is_floating(x)]
    kept = _identity([leaves[i] for i in floating], message)
    for i, leaf in zip(floating, kept, strict=True):
        leaves[i] = leaf
    return jax.tree.unflatten(treedef, leaves)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def only_slope(x: jax.Array, message: str) -> jax.Array:
    """0, with the first derivative of x; whatever differentiates that raises `message`."""
    del message
    return jnp.zeros_like(x)


@only_slope.defjvp
def _slope(message: str, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    # A factor of one, as a function of x: it is differentiated where the slope is.
    return jnp.zeros_like(primals[0]), _one(primals[0], message) * tangents[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _one(x: jax.Array, message: str) -> jax.Array:
    del message
    return jnp.ones_like(x)


def _is_floating(leaf: object) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _identity(arrays: list[jax.Array], message: str) -> list[jax.Array]:
    del message
    return arrays


@_one.defjvp
@_identity.defjvp
def _refuse(message: str, primals: tuple, tangents: tuple) -> NoReturn:
    del primals, tangents
    raise NotImplementedError(message)
