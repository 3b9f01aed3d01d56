"""All matricizations by tree nodes at once, reduced by QR to small matrices.

The matricization by node k is (Phi_k W_k) Psi_k^T (law D2). An upward sweep replaces
Phi_k W_k by the triangular factor L_k of its QR decomposition, a downward one Psi_k by
K_k; the orthonormal factors are dropped, so the singular values are those of L_k K_k^T.
Every matrix is a mantissa and a power of two: no order under- or overflows.
"""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _numerics
from htfjax import factors as _factors
from htfjax.contraction.end_tensor import khatri_rao
from htfjax.contraction.gram import root_column
from htfjax.factors import Factors

__all__ = ["Core", "ancestors", "qr_cores", "triangular"]

Scaled = tuple[jax.Array, jax.Array]  # mantissa, exponent () int32
Core = tuple[jax.Array, jax.Array, jax.Array]  # L, K (same columns), exponent of L K^T


def qr_cores(
    factors: Factors, nodes: Iterable[int] | None = None, *, precision: Any = "highest"
) -> dict[int, Core]:
    """L and K per node: the matricization has the singular values of 2^e L K^T.

    Of the two gauges, before and after W_k, the one with fewer columns.

    Args:
      factors: any tree.
      nodes: the ones wanted, by default all; the root's is (1, 1).
    """
    factors = _factors.with_constants(factors)
    tree, rows = factors.tree, _factors.widths(factors)
    wanted = set(range(tree.num_nodes) if nodes is None else nodes)
    components, tables = _rising(factors, precision)
    one = jnp.ones((1, 1), _factors.dtype(factors)), jnp.int32(0)
    surroundings: dict[int, Scaled] = {tree.root: one}
    environments: dict[int, Scaled] = {}
    needed = ancestors(tree, wanted) | wanted
    for v in reversed(tree.interior):
        if v not in needed:
            continue
        weight = root_column(factors) if v == tree.root else factors.weights[v]
        environments[v] = _times(surroundings[v], weight.T, precision)
        kids = tree.children[v]
        if not needed.isdisjoint(kids):
            around = _without_one(environments[v], [tables[c] for c in kids])
            surroundings.update(zip(kids, around, strict=True))
    cores: dict[int, Core] = {}
    for k in wanted:
        inner, outer = tables[k], surroundings[k]
        if k in components and k != tree.root and rows[k] < rows[tree.parent[k]]:
            inner, outer = components[k], environments[k]
        cores[k] = inner[0], outer[0], inner[1] + outer[1]
    return cores


def ancestors(tree: Any, nodes: Iterable[int]) -> set[int]:
    """Every node above one of `nodes`."""
    above: set[int] = set()
    for k in nodes:
        parent = tree.parent[k]
        while parent is not None and parent not in above:
            above.add(parent)
            parent = tree.parent[parent]
    return above


@jax.custom_jvp
def triangular(matrix: jax.Array) -> jax.Array:
    """A with rows rotated into as few as its columns: the R of A = Q R.

    The tangent is Q^T dA, with Q held still. That is not the derivative of R, but what
    reads no more than inner products of the columns, as singular values and norms do,
    gets its exact first derivatives, also where A has not full rank.
    """
    return jnp.linalg.qr(matrix, mode="r")


@triangular.defjvp
def _triangular_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (matrix,), (change,) = primals, tangents
    q = _orthonormal(matrix)
    value = jnp.matmul(q.T, matrix, precision="highest")
    return value, jnp.matmul(q.T, change, precision="highest")


@jax.custom_jvp
def _orthonormal(matrix: jax.Array) -> jax.Array:
    return jnp.linalg.qr(matrix, mode="reduced")[0]


@_orthonormal.defjvp
def _orthonormal_jvp(primals: Any, tangents: Any) -> Any:
    del primals, tangents
    raise NotImplementedError(
        "the QR route has first derivatives only; take `method='dense'` (singular "
        "values) or `method='gram'` (norms, distances) for higher ones."
    )


def _rising(
    factors: Factors, precision: Any
) -> tuple[dict[int, Scaled], dict[int, Scaled]]:
    """Phi_v inside and Phi_k W_k everywhere, each reduced to few rows."""
    components: dict[int, Scaled] = {}
    tables: dict[int, Scaled] = {}
    for k, kids in enumerate(factors.tree.children):
        weight = factors.weights[k]
        if k == factors.tree.root:
            weight = root_column(factors)
        if not kids:
            tables[k] = _leaf(weight)
            continue
        joint = tables[kids[0]]
        for child in kids[1:]:
            joint = _fold(joint, tables[child])
        components[k] = joint
        tables[k] = _times(joint, weight, precision)
    return components, tables


def _without_one(first: Scaled, parts: list[Scaled]) -> list[Scaled]:
    """Khatri-Rao products of `first` and all parts but one, for each."""
    before: list[Scaled] = [first]
    after: list[Any] = [None]
    for part in parts[:-1]:
        before.append(_fold(before[-1], part))
    for part in reversed(parts[1:]):
        after.append(part if after[-1] is None else _fold(part, after[-1]))
    return [
        b if a is None else _fold(b, a)
        for b, a in zip(before, reversed(after), strict=True)
    ]


@jax.jit
def _leaf(weight: jax.Array) -> Scaled:
    """W, reduced."""
    return _reduce(_numerics.normalized(weight))


# The steps are jitted: an unjitted sweep then dispatches a few programs a node.
@jax.jit
def _fold(one: Scaled, other: Scaled) -> Scaled:
    """Khatri-Rao product, reduced at once so that no three row counts multiply."""
    joint, exponent = _numerics.normalized(khatri_rao([one[0], other[0]]))
    return _reduce((joint, one[1] + other[1] + exponent))


@functools.partial(jax.jit, static_argnames="precision")
def _times(table: Scaled, weight: jax.Array, precision: Any) -> Scaled:
    """T W, reduced."""
    weight, low = _numerics.normalized(weight)
    product = jnp.matmul(table[0], weight, precision=precision)
    product, more = _numerics.normalized(product)
    return _reduce((product, table[1] + low + more))


def _reduce(table: Scaled) -> Scaled:
    """At most as many rows as columns."""
    matrix, exponent = table
    if matrix.shape[0] <= matrix.shape[1]:
        return matrix, exponent
    return triangular(matrix), exponent
