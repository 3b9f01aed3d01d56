"""Decompositions of matrices and of stacks, by LAPACK on a CPU.

jaxlib 0.10.0 to 0.11.1 shares the matrices of a stack out to the threads of the CPU's pool
and waits for them in a thread of the same pool: where as many stacks are decomposed at a
time as there are threads, they wait for each other forever. The nodes of a tree have
decompositions that do not depend on each other, and `jax.vmap` makes stacks of their
matrices. With these versions a stack is decomposed matrix after matrix here, in a loop.
"""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxlib.version import __version__ as jaxlib_version

from htfjax._platforms import PLATFORMS, by_platform
from htfjax._types import PyTree

Result = TypeVar("Result")  # an array or several


def waits_for_itself(version: str) -> bool:
    """Whether this jaxlib shares stacks out within its pool.

    Example:
      >>> [waits_for_itself(v) for v in ("0.10.1", "0.11.1", "0.11.2", "0.12.0.1")]
      [True, True, False, False]
    """
    first = tuple(int(x) for x in version.split(".")[:3] if x.isdecimal())
    return (0, 10) <= first < (0, 11, 2)


def qr(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Q (..., m, k) and R (..., k, n), k = min(m, n)."""
    return _decomposed(matrix, _qr)


def triangle(matrix: jax.Array) -> jax.Array:
    """R (..., k, n) of A = Q R."""
    return _decomposed(matrix, _triangle)


def svd(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """U (..., m, k), s (..., k) and V^T (..., k, n)."""
    return _decomposed(matrix, _svd)


def singular_values(matrix: jax.Array) -> jax.Array:
    """s (..., k), descending."""
    return _decomposed(matrix, _singular_values)


def eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues (..., n), ascending, and eigenvectors (..., n, n) of symmetric A."""
    return _decomposed(matrix, _eigh)


def cholesky(matrix: jax.Array) -> jax.Array:
    """L (..., n, n) of A = L L^T; NaN where A is not positive definite."""
    return _decomposed(matrix, jnp.linalg.cholesky)


def _qr(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    basis, rest = jnp.linalg.qr(matrix)
    return basis, rest


def _triangle(matrix: jax.Array) -> jax.Array:
    return jnp.linalg.qr(matrix, mode="r")


def _svd(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    return left, values, right


def _singular_values(matrix: jax.Array) -> jax.Array:
    return jnp.linalg.svd(matrix, compute_uv=False)


def _eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    values, vectors = jnp.linalg.eigh(matrix)
    return values, vectors


def _decomposed(matrix: jax.Array, whole: Callable[[jax.Array], Result]) -> Result:
    """whole(matrix), on a CPU whose stacks wait for themselves one by one."""
    if not waits_for_itself(jaxlib_version):
        return whole(matrix)
    choices = dict.fromkeys(PLATFORMS, whole) | {"cpu": _one_by_one(whole)}
    return by_platform(choices, lambda choice, matrix: choice(matrix), matrix)


@functools.cache
def _one_by_one(whole: Callable[[jax.Array], Result]) -> Callable[[jax.Array], Result]:
    """The same function, of which LAPACK is given one matrix at a time."""
    single = custom_vmap(whole)

    @single.def_vmap
    def _(size: int, batched: list[bool], matrices: jax.Array) -> tuple[Result, PyTree]:
        del size, batched
        result = lax.map(single, matrices)
        return result, jax.tree.map(lambda _: True, result)

    def over_stack(matrix: jax.Array) -> Result:
        return single(matrix) if matrix.ndim == 2 else lax.map(over_stack, matrix)

    return over_stack
