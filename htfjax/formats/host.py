"""Operations of decompositions, by NumPy for arrays on the host and by jax for all others.

Ranks that follow from a tolerance give every step shapes of its own, and a jax program per
shape takes longer to compile than NumPy to run. So what is known and lies on a CPU is
decomposed by NumPy; traced arrays and those of accelerators by the same steps of jax.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks, _numerics

# An array of NumPy or of jax: the same attributes and operators, which no type says.
Either: TypeAlias = Any


def on_host(x: jax.Array) -> Either:
    """The NumPy array that a concrete jax array on a CPU holds; others as they are."""
    if _checks.concrete(x) and {d.platform for d in x.devices()} == {"cpu"}:
        return np.asarray(x)
    return x


def widest(*arrays: jax.Array) -> np.dtype:
    """The dtype that holds all, however strict promotion is elsewhere."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*(x.dtype for x in arrays))


def matmul(left: Either, right: Either) -> Either:
    """A matrix product, stacks included."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return np.matmul(left, right)
    return jnp.matmul(left, right, precision="highest")


def along(tensor: Either, matrix: Either, axis: int) -> Either:
    """A matrix (r, k) on an axis of k."""
    shape = tensor.shape
    before = int(np.prod(shape[:axis], dtype=np.int64))
    block = tensor.reshape(before, shape[axis], -1)
    moved = matmul(matrix[None], block)
    return moved.reshape(*shape[:axis], matrix.shape[0], *shape[axis + 1 :])


def unfolded(tensor: Either, axis: int) -> Either:
    """The matricization with one axis as rows."""
    order = [axis, *(n for n in range(tensor.ndim) if n != axis)]
    return tensor.transpose(order).reshape(tensor.shape[axis], -1)


def norm(x: Either) -> Either:
    """Frobenius norm, a constant: tolerances are relative to it."""
    if isinstance(x, np.ndarray):
        return np.sqrt(np.sum(np.square(x)))
    return jax.lax.stop_gradient(jnp.sqrt(_numerics.sum_squares(x)))


def root(x: Either) -> Either:
    """Square root, of derivative zero at zero."""
    return np.sqrt(x) if isinstance(x, np.ndarray | np.generic) else _numerics.safe_sqrt(x)


def normalized(x: Either) -> tuple[Either, Either]:
    """x 2**-e and e, with the largest of x 2**-e in [1/2, 1); zeros have e = 0."""
    if not isinstance(x, np.ndarray):
        return _numerics.normalized(x)
    exponent = np.frexp(np.max(np.abs(x)))[1]
    return np.ldexp(x, -exponent), exponent


def shifted(x: Either, exponent: Either) -> Either:
    """x 2**e."""
    if isinstance(x, jax.Array):
        return _numerics.shifted(x, jnp.asarray(exponent))
    return np.ldexp(x, exponent)
