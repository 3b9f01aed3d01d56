"""Inner products with rank-one tensors: the convolutional arithmetic circuit."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax import factors as _factors
from htfjax.contraction.grouped import grouped_sense
from htfjax.contraction.rows import contract_rows
from htfjax.factors import Factors, GroupedFactors

__all__ = ["check_vectors", "sense"]


def sense(
    factors: Factors | GroupedFactors,
    vectors: Sequence[jax.Array] | jax.Array,
    *,
    precision: Any = "highest",
) -> jax.Array:
    """Inner products of the end tensor with rank-one tensors.

    y_b = <W, x_b^(0) (x) ... (x) x_b^(N-1)>, the forward pass of the equivalent
    convolutional arithmetic circuit: 1x1 convolutions W_k^T and product pooling.

    Args:
      factors: any tree.
      vectors: N arrays (B, D_n), or one array (N, B, D), which suits grouped factors;
        cast to the factors' dtype.
      precision: of the matrix products.

    Returns:
      (B,), dtype of the factors.

    Raises:
      TypeError, ValueError: not N arrays of these shapes.

    Source: arXiv:2201.11729 (equivalence with convolutional arithmetic circuits); C1.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 4, 1.0)
      >>> htf.sense(factors, [jnp.ones((5, 2)), jnp.ones((5, 3))]).shape
      (5,)
    """
    _factors.check(factors)
    check_vectors(vectors, _factors.mode_dims(factors))
    if isinstance(factors, GroupedFactors):
        return grouped_sense(factors, vectors, precision)
    factors = _factors.with_constants(factors)
    dtype = _factors.dtype(factors)
    leaf_rows = [
        jnp.matmul(jnp.asarray(x, dtype), factors.weights[n], precision=precision)
        for n, x in enumerate(vectors)
    ]
    return contract_rows(factors, leaf_rows, precision)


def check_vectors(vectors: Any, dims: tuple[int, ...] | None = None) -> None:
    """N arrays (B, D_n) with one B, or one array (N, B, D); for modes of `dims`."""
    if hasattr(vectors, "ndim"):
        _check_array(vectors, dims)
        return
    if not isinstance(vectors, Sequence):
        raise TypeError(
            "`vectors` must be a list of one (B, D_n) array per mode, or one array (N, B, "
            f"D), got {type(vectors).__name__}."
        )
    if not vectors:
        raise ValueError("`vectors` is empty: give one array per mode.")
    if dims is None:
        dims = tuple(np.shape(x)[-1] if np.ndim(x) else 0 for x in vectors)
    if len(vectors) != len(dims):
        raise ValueError(
            f"`vectors` holds {len(vectors)} arrays, the tensor has {len(dims)} modes."
        )
    batch = np.shape(vectors[0])[0] if np.ndim(vectors[0]) else 0
    for n, (x, dim) in enumerate(zip(vectors, dims, strict=True)):
        _checks.real_array(f"vectors[{n}]", x)
        if np.shape(x) != (batch, dim):
            raise ValueError(
                f"`vectors[{n}]` has shape {np.shape(x)}, expected ({batch}, {dim})."
            )


def _check_array(vectors: Any, dims: tuple[int, ...] | None) -> None:
    _checks.real_array("vectors", vectors)
    if vectors.ndim != 3 or not len(vectors):
        raise ValueError(
            f"`vectors` has shape {vectors.shape}, expected (N, B, D), modes first."
        )
    if dims is None:
        return
    if len(set(dims)) > 1:
        raise ValueError(
            f"`vectors` is one array of shape {vectors.shape}, the modes have dimensions "
            f"{dims}; give a list of one (B, D_n) array per mode."
        )
    if vectors.shape[::2] != (len(dims), dims[0]):
        raise ValueError(
            f"`vectors` has shape {vectors.shape}, expected (N, B, D) = ({len(dims)}, B, "
            f"{dims[0]}), modes first; `jnp.moveaxis(x, 1, 0)` turns (B, N, D) into it."
        )
