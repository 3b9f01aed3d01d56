"""Rank-one sensing: inner products with rank-one tensors, as arithmetic circuits have."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax._types import Array, DTypeLike, Float, Numbers, Precision
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout
from htfjax.factors.stacks import Stacks, children_of, opened, pick


def sense(
    factors: AnyFactors, vectors: Numbers, *, precision: Precision = "highest"
) -> Float[Array, "B"]:
    """Inner products of the end tensor with rank-one tensors.

    y_b = <W, x_b^(0) (x) ... (x) x_b^(N-1)>, the forward pass of the equivalent
    convolutional arithmetic circuit: 1x1 convolutions W_k^T and product pooling.

    Args:
      factors: any tree.
      vectors: N arrays (B, D_n), or one array (N, B, D), which suits grouped factors;
        cast to the factors' dtype.
      precision: of the matrix products.

    Returns:
      In the dtype of the factors.

    Raises:
      TypeError, ValueError: not N arrays of these shapes.

    Source: arXiv:2201.11729 (equivalence with convolutional arithmetic circuits); C1.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 4, 1.0)
      >>> htf.sense(factors, [jnp.ones((5, 2)), jnp.ones((5, 3))]).shape
      (5,)
    """
    layout, stacks = opened(factors)
    _checks.precision("precision", precision)
    held = check_vectors(vectors, layout.dims, layout.dtype)
    return sensed(layout, stacks, held, precision)


@functools.partial(jax.jit, static_argnames=("layout", "precision"), inline=True)
def sensed(
    layout: Layout,
    stacks: Stacks,
    vectors: Sequence[jax.Array] | jax.Array,
    precision: Precision = "highest",
) -> jax.Array:
    """v_k = W_k^T (product over children c of v_c) from the leaves to the root, (B,).

    Args:
      vectors: checked, of the factors' dtype.
    """
    held: list[jax.Array] = []  # per group (G, B, R)
    for nodes, stack in zip(layout.groups, stacks, strict=True):
        below = children_of(layout, nodes, held)
        joint = _numerics.product(below) if below else _vectors_of(vectors, nodes)
        if stack is None:
            return jnp.sum(joint[0], axis=1)
        held.append(jnp.matmul(joint, stack, precision=precision))
    return held[-1][0, :, 0]


def _vectors_of(
    vectors: Sequence[jax.Array] | jax.Array, modes: Sequence[int]
) -> jax.Array:
    """The vectors of some modes, (G, B, D)."""
    if isinstance(vectors, Sequence):
        return jnp.stack([vectors[n] for n in modes])
    return pick(vectors, list(modes))


def check_vectors(
    vectors: object, dims: tuple[int, ...] | None = None, dtype: DTypeLike | None = None
) -> tuple[jax.Array, ...] | jax.Array:
    """N arrays (B, D_n) with one B, or one array (N, B, D); for modes of `dims`.

    Returns:
      Floating arrays, of `dtype` if given.
    """
    if hasattr(vectors, "ndim"):
        return _check_array(vectors, dims, dtype)
    if not isinstance(vectors, Sequence) or isinstance(vectors, str | bytes):
        raise TypeError(
            "`vectors` must be a list of one (B, D_n) array per mode, or one array (N, B, "
            f"D), got {type(vectors).__name__}."
        )
    if not vectors:
        raise ValueError("`vectors` is empty: give one array per mode.")
    if dims is not None and len(vectors) != len(dims):
        raise ValueError(
            f"`vectors` holds {len(vectors)} arrays, the tensor has {len(dims)} modes."
        )
    held = tuple(_checks.floating(f"vectors[{n}]", x, dtype) for n, x in enumerate(vectors))
    if dims is None:
        dims = tuple(x.shape[-1] if x.ndim else 0 for x in held)
    batch = held[0].shape[0] if held[0].ndim else 0
    for n, (x, dim) in enumerate(zip(held, dims, strict=True)):
        if x.shape != (batch, dim):
            raise ValueError(
                f"`vectors[{n}]` has shape {x.shape}, expected ({batch}, {dim})."
            )
    return held


def _check_array(
    vectors: object, dims: tuple[int, ...] | None, dtype: DTypeLike | None
) -> jax.Array:
    held = _checks.floating("vectors", vectors, dtype)
    if held.ndim != 3 or not len(held):
        raise ValueError(
            f"`vectors` has shape {held.shape}, expected (N, B, D), modes first."
        )
    if dims is None:
        return held
    if len(set(dims)) > 1:
        raise ValueError(
            f"`vectors` is one array of shape {held.shape}, the modes have dimensions "
            f"{dims}; give a list of one (B, D_n) array per mode."
        )
    if held.shape[::2] != (len(dims), dims[0]):
        raise ValueError(
            f"`vectors` has shape {held.shape}, expected (N, B, D) = ({len(dims)}, B, "
            f"{dims[0]}), modes first; `jnp.moveaxis(x, 1, 0)` turns (B, N, D) into it."
        )
    return held
