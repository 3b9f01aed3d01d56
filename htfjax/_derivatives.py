"""Refusal of derivatives, by name, where a value has none that means anything."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["refuse_derivatives"]


def refuse_derivatives(tree: Any, message: str) -> Any:
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


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _identity(arrays: list[jax.Array], message: str) -> list[jax.Array]:
    del message
    return arrays


@_identity.defjvp
def _refuse(message: str, primals: Any, tangents: Any) -> Any:
    del primals, tangents
    raise NotImplementedError(message)
