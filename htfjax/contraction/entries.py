"""Single entries of the end tensor."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from htfjax import _checks
from htfjax import factors as _factors
from htfjax.contraction.end_tensor import permuted_end_tensor
from htfjax.contraction.rows import contract_rows
from htfjax.factors import Factors

__all__ = ["check_indices", "entries"]

# A gathered row costs about ten times its share of a matrix product on a CPU; the
# break-even of the dense root then lies near one observed entry in 40, as measured.
GATHER_COST = 10
LARGEST_DENSE = 2**24


def entries(
    factors: Factors, indices: ArrayLike, *, precision: Any = "highest"
) -> jax.Array:
    """Entries W[i_0, ..., i_{N-1}] of the end tensor.

    A small tensor is contracted whole and then read; a large one is evaluated with one
    row per index. Repeated indices are allowed.

    Args:
      factors: any tree.
      indices: (B, N) integers; column n counts from 0 to D_n - 1.
      precision: of the matrix products.

    Returns:
      (B,), dtype of the factors.

    Raises:
      TypeError: float indices. ValueError: another shape than (B, N), or, when the
        indices are concrete, one that is out of range (negative ones are).

    Source: law A1.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 5, 1.0)
      >>> htf.entries(factors, jnp.array([[0, 1, 2], [3, 3, 3]])).shape
      (2,)
    """
    factors = _factors.with_constants(factors)
    dims = _factors.mode_dims(factors)
    checked = check_indices(indices, dims)
    if _dense_is_cheaper(factors, checked.shape[0]):
        return _read_dense(factors, checked, dims, precision)
    leaf_rows = [factors.weights[n][checked[:, n]] for n in range(len(dims))]
    return contract_rows(factors, leaf_rows, precision)


def check_indices(indices: Any, dims: tuple[int, ...]) -> jax.Array:
    """Indices as an int32 array (B, N) within the mode dimensions."""
    try:
        indices = indices if hasattr(indices, "dtype") else np.asarray(indices)
    except ValueError as error:
        raise ValueError(
            f"`indices` must be a rectangular (B, {len(dims)}) array: {error}."
        ) from error
    shape = np.shape(indices)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(f"`indices` must be integers, got {indices.dtype}.")
    if len(shape) != 2 or shape[1] != len(dims):
        raise ValueError(
            f"`indices` has shape {shape}, expected (B, {len(dims)}): one column for "
            f"each of the {len(dims)} modes."
        )
    if _checks.concrete(indices) and shape[0]:
        values = np.asarray(indices)
        wrong = np.argwhere((values < 0) | (values >= np.asarray(dims)))
        if wrong.size:
            row, mode = wrong[0]
            raise ValueError(
                f"`indices[{row}, {mode}]` is {values[row, mode]}, mode {mode} has "
                f"dimension {dims[mode]}: indices run from 0 to {dims[mode] - 1}."
            )
    return jnp.asarray(indices, np.int32)


def _read_dense(
    factors: Factors, indices: jax.Array, dims: tuple[int, ...], precision: Any
) -> jax.Array:
    values, axes = permuted_end_tensor(factors, precision=precision)
    flat, stride = jnp.zeros_like(indices[:, 0]), 1
    for mode in reversed(axes):
        flat = flat + indices[:, mode] * np.int32(stride)
        stride *= dims[mode]
    return values[flat]


def _dense_is_cheaper(factors: Factors, batch: int) -> bool:
    """Multiply-adds of the whole tensor against those of one row per index."""
    tree, rows = factors.tree, _factors.widths(factors)
    sizes = [math.prod(rows[m] for m in modes) for modes in tree.modes]
    if sizes[tree.root] > LARGEST_DENSE:
        return False
    inside = [(k, rows[k] * rows[tree.parent[k]]) for k in tree.interior[:-1]]
    dense = sum(sizes[k] * cost for k, cost in inside)
    dense += sizes[tree.root] * rows[tree.root]
    single = sum(batch * cost for _, cost in inside)
    single += GATHER_COST * batch * rows[tree.root] * len(tree.children[tree.root])
    return dense <= single
