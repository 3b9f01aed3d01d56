"""Random observations: entries, rank-one and matrix measurements."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._types import Array, Dims, DTypeLike, Float, Int, Key, Numbers
from htfjax.contraction.entries import check_indices

# Up to the first size all entries are permuted; up to the second, entries are drawn and
# repetitions replaced; beyond, repetitions are too rare to shun.
LARGEST_PERMUTATION = 2**18
LARGEST_DISTINCT = 2**30


def random_indices(
    key: Key[Array, ""], mode_dims: Dims, count: int, *, order: int | None = None
) -> Int[Array, "B N"]:
    """Uniformly random entries of a tensor, without repetition.

    Tensors of more than 2**30 entries are sampled mode by mode, where a repetition is
    possible and harmless.

    Args:
      key: typed random key.
      mode_dims: D_n for every mode; one int with `order` for all.
      count: number of entries.
      order: number of modes when `mode_dims` is one int.

    Returns:
      `count` of them, int32.

    Raises:
      TypeError: a key that is not a typed key, counts that are not integers.
      ValueError: more observations than entries, or none; an int for `mode_dims` without
        `order`, or dimensions in another number.

    Example:
      >>> import htfjax as htf, jax
      >>> htf.random_indices(jax.random.key(0), (3, 4), 12).shape
      (12, 2)
    """
    _checks.key("key", key)
    count = _checks.at_least("count", count, 1)
    dims = _dims(mode_dims, order)
    size = math.prod(dims)
    if count > size:
        raise ValueError(
            f"`count={count}` is more than the {size} entries of a tensor with mode "
            f"dimensions {dims}."
        )
    if size > LARGEST_DISTINCT:
        keys = jax.random.split(key, len(dims))
        columns = [
            jax.random.randint(k, (count,), 0, dim, jnp.int32)
            for k, dim in zip(keys, dims, strict=True)
        ]
        return jnp.stack(columns, axis=1)
    if size <= LARGEST_PERMUTATION or 2 * count > size or not _checks.concrete(key):
        chosen = jax.random.permutation(key, size)[:count]
    else:
        # Also while tracing: of a key that is not traced the draw is a constant.
        with jax.ensure_compile_time_eval():
            chosen = _draw_distinct(key, size, count)
    return jnp.stack(jnp.unravel_index(chosen, dims), axis=1).astype(jnp.int32)


def unobserved_indices(indices: Numbers, mode_dims: Dims) -> Int[np.ndarray, "M N"]:
    """All entries of a tensor that are not among `indices`, in C order, int32.

    Args:
      indices: (B, N) integers.
      mode_dims: D_n for every mode, or one int for all N.

    Raises:
      TypeError, ValueError: indices that `entries` would refuse, a tensor of more than
        2**30 entries.

    Example:
      >>> import htfjax as htf
      >>> htf.unobserved_indices([[0, 0], [1, 1]], (2, 2)).tolist()
      [[0, 1], [1, 0]]
    """
    listed = _checks.integer_array("indices", indices)
    if not _checks.concrete(listed):
        raise TypeError("`indices` must be concrete: how many are left depends on them.")
    order = listed.shape[1] if listed.ndim == 2 else None
    dims = _dims(mode_dims, order if _is_one(mode_dims) else None)
    size = math.prod(dims)
    if size > LARGEST_DISTINCT:
        raise ValueError(f"`mode_dims={dims}` has {size} entries, too many to list.")
    free = np.ones(dims, bool)
    if listed.size:
        free[tuple(np.asarray(check_indices(listed, dims)).T)] = False
    return np.argwhere(free).astype(np.int32)


def random_vectors(
    key: Key[Array, ""],
    mode_dims: Dims,
    count: int,
    *,
    dtype: DTypeLike | None = None,
    order: int | None = None,
) -> tuple[Float[Array, "B D_n"], ...]:
    """Gaussian rank-one measurements with E <x^0 (x) ... , W>^2 = ||W||^2 / prod D.

    Entries are N(0, 1) times (prod D)^(-1/(2N)).

    Args:
      key: typed random key.
      mode_dims: D_n for every mode; one int with `order` for all.
      count: number of measurements.
      dtype: floating dtype, by default JAX's.
      order: number of modes when `mode_dims` is one int.

    Returns:
      One array per mode, of `count` vectors.

    Raises:
      TypeError, ValueError: a key that is not a typed key, bad dimensions, count below 1.

    Source: arXiv:2201.11729, inputs of its sensing experiments.

    Example:
      >>> import htfjax as htf, jax
      >>> [x.shape for x in htf.random_vectors(jax.random.key(0), (3, 4), 5)]
      [(5, 3), (5, 4)]
    """
    _checks.key("key", key)
    dims = _dims(mode_dims, order)
    count = _checks.at_least("count", count, 1)
    dtype = _checks.float_dtype("dtype", dtype)
    # By logarithms: the product of many dimensions overflows a float.
    scale = math.exp(-0.5 * sum(map(math.log, dims)) / len(dims))
    keys = jax.random.split(key, len(dims))
    return tuple(
        jnp.asarray(scale, dtype) * jax.random.normal(k, (count, dim), dtype)
        for k, dim in zip(keys, dims, strict=True)
    )


def random_matrices(
    key: Key[Array, ""], mode_dims: Dims, count: int, *, dtype: DTypeLike | None = None
) -> Float[Array, "B D_0 D_1"]:
    """Gaussian matrices over sqrt(D_0 D_1): E <A, W>^2 = ||W||^2 / (D_0 D_1).

    Returns:
      `count` of them.

    Raises:
      TypeError, ValueError: a key that is not a typed key, bad dimensions, count below 1.

    Source: arXiv:2201.11729, matrix sensing.

    Example:
      >>> import htfjax as htf, jax
      >>> htf.random_matrices(jax.random.key(0), (3, 4), 5).shape
      (5, 3, 4)
    """
    _checks.key("key", key)
    rows, columns = _checks.mode_dims(2, mode_dims)
    count = _checks.at_least("count", count, 1)
    dtype = _checks.float_dtype("dtype", dtype)
    scale = jnp.asarray((rows * columns) ** -0.5, dtype)
    return scale * jax.random.normal(key, (count, rows, columns), dtype)


def _draw_distinct(key: jax.Array, size: int, count: int) -> jax.Array:
    """`count` different numbers below `size`, without permuting all of them."""
    drawn = np.zeros((0,), np.int32)
    while len(drawn) < count:
        key, use = jax.random.split(key)
        more = jax.random.randint(use, (2 * count,), 0, size, jnp.int32)
        drawn = np.concatenate([drawn, np.asarray(more)])
        _, first = np.unique(drawn, return_index=True)
        drawn = drawn[np.sort(first)]
    return jnp.asarray(drawn[:count])


def _dims(mode_dims: Dims, order: int | None) -> tuple[int, ...]:
    """One dimension per mode, where only `order` may say how many modes there are."""
    if not _is_one(mode_dims):
        count = len(_checks.sequence("mode_dims", mode_dims, "dimensions"))
        if count == 0:
            raise ValueError("`mode_dims` is empty: give one dimension per mode.")
        if order is not None and _checks.at_least("order", order, 1) != count:
            raise ValueError(
                f"`order={order}` beside {count} `mode_dims`; leave `order` out."
            )
        return _checks.mode_dims(count, mode_dims)
    dim = _checks.at_least("mode_dims", mode_dims, 1)
    if order is None:
        raise ValueError("`order` is needed when `mode_dims` is one int for all modes.")
    return (dim,) * _checks.at_least("order", order, 1)


def _is_one(mode_dims: object) -> bool:
    """Whether `mode_dims` is one dimension for all modes, or nothing that it may be."""
    dims = _checks.as_sequence(mode_dims)
    return not isinstance(dims, Sequence) or isinstance(dims, str | bytes)
