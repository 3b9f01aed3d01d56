"""Factors that start with zero unbalancedness, the idealization of a small start.

The tree is cut into strands: maximal runs of matrices between nodes with several
children ("joints"), leaves and the top. Along a strand of several matrices (a chain of
one-child nodes) the matrices share one set of singular values and aligned singular
vectors, which is full matrix balance; at a joint the rows and columns that meet have
equal norms, which is balance of local components.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from htfjax import _checks, _lapack
from htfjax._types import Array, ArrayLike, Dims, DTypeLike, Key
from htfjax.factors.factors import Factors
from htfjax.factors.gaussian import Root, weight_shapes
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree

SINKHORN_ROUNDS = 2000
Shapes = Sequence[Any]  # of `weight_shapes`; None only for a root of ones


def balanced_factors(
    key: Key[Array, ""],
    tree: TreeLike,
    mode_dims: Dims,
    widths: Dims,
    scale: ArrayLike,
    *,
    root: Root = "trained",
    dtype: DTypeLike | None = None,
) -> Factors:
    """Random factors whose unbalancedness is zero to rounding.

    For every local component all its vectors have one norm; every weight matrix has
    Frobenius norm `scale`. Where one-child nodes form a chain, and at a root of ones
    with two children (a matrix factorization), W_c^T W_c = W_v W_v^T holds in full.

    Nodes touching such a chain start with equal norms of their components, since only
    equal diagonals fit every spectrum; elsewhere norms vary by up to a factor 1.7.

    Args:
      key: typed random key.
      tree, mode_dims, widths, root, dtype: as in `gaussian_factors`.
      scale: Frobenius norm of every weight matrix, zero or more; may be traced.

    Raises:
      TypeError, ValueError: as `gaussian_factors`.

    Source: laws F4 and F12; B2 for why chains need the matrix condition.

    Example:
      >>> import htfjax as htf, jax
      >>> start = htf.balanced_factors(jax.random.key(0), htf.perfect(4), 3, 4, 0.1)
      >>> bool(htf.unbalancedness(start) < 1e-8)
      True
    """
    _checks.key("key", key)
    tree = as_tree(tree)
    shapes = weight_shapes(tree, mode_dims, widths, root)
    dtype = _checks.float_dtype("dtype", dtype)
    scale = _checks.scalar("scale", scale, dtype, least=0)
    strands = _strands(tree, shapes)
    chained = {j for s in strands if len(s.nodes) > 1 for j in (s.start, s.end)}
    norm_key, *keys = jax.random.split(key, 1 + len(strands))
    norms = {
        j: _component_norms(jax.random.fold_in(norm_key, j), width, j in chained, dtype)
        for j, width in _joints(tree, shapes).items()
    }
    weights: list[jax.Array | None] = [None] * tree.num_nodes
    for strand, strand_key in zip(strands, keys, strict=True):
        ends = [None if j is None else norms[j] for j in (strand.start, strand.end)]
        matrices = _fill(strand_key, strand.dims, ends[0], ends[1], dtype)
        for node, flipped, matrix in zip(
            strand.nodes, strand.flipped, matrices, strict=True
        ):
            weights[node] = scale * (matrix.T if flipped else matrix)
    return Factors(tree=tree, weights=tuple(weights))


@dataclasses.dataclass(frozen=True)
class _Strand:
    """Matrices met from `start` to `end`; None is a free end (a leaf, or the top)."""

    nodes: tuple[int, ...]
    flipped: tuple[bool, ...]  # met from columns to rows
    dims: tuple[int, ...]  # one more than nodes
    start: int | None
    end: int | None


def _joints(tree: ModeTree, shapes: Shapes) -> dict[int, int]:
    """Width of every node at which the norms of several vectors must agree."""
    kids = tree.children
    joints = {k: shapes[kids[k][0]][1] for k in tree.interior if len(kids[k]) > 1}
    if shapes[tree.root] is None and len(kids[tree.root]) == 2:
        del joints[tree.root]  # a bend: two strands that are one
    return joints


def _strands(tree: ModeTree, shapes: Shapes) -> list[_Strand]:
    joints = _joints(tree, shapes)

    def down(top: int) -> tuple[list[int], int | None]:
        """Nodes from `top` down to a leaf (free) or a joint."""
        nodes = [top]
        while nodes[-1] not in joints and tree.children[nodes[-1]]:
            nodes.append(tree.children[nodes[-1]][0])
        return nodes, nodes[-1] if nodes[-1] in joints else None

    def strand(
        rising: list[int], start: int | None, falling: list[int], end: int | None
    ) -> _Strand:
        dims = [shapes[rising[0]][0]]
        dims += [shapes[k][1] for k in rising] + [shapes[k][0] for k in falling]
        flipped = (False,) * len(rising) + (True,) * len(falling)
        return _Strand((*rising, *falling), flipped, tuple(dims), start, end)

    strands = []
    for joint in joints:
        for child in tree.children[joint]:
            nodes, bottom = down(child)
            strands.append(strand(nodes[::-1], bottom, [], joint))
    if shapes[tree.root] is not None:
        nodes, bottom = down(tree.root)
        strands.append(strand(nodes[::-1], bottom, [], None))
    elif tree.root not in joints:
        nodes, bottom = down(tree.children[tree.root][0])
        falling, end = [], None
        if len(tree.children[tree.root]) == 2:
            falling, end = down(tree.children[tree.root][1])
        strands.append(strand(nodes[::-1], bottom, falling, end))
    return strands


def _component_norms(key: jax.Array, width: int, equal: bool, dtype: np.dtype) -> jax.Array:
    """Positive norms whose squares sum to one."""
    if equal:
        squares = jnp.ones((width,), dtype)
    else:
        squares = jax.random.uniform(key, (width,), dtype, 0.5, 1.5)
    return jnp.sqrt(squares / jnp.sum(squares))


def _fill(
    key: jax.Array,
    dims: tuple[int, ...],
    start: jax.Array | None,
    end: jax.Array | None,
    dtype: np.dtype,
) -> list[jax.Array]:
    """Balanced matrices of shapes dims[i] x dims[i+1], each of Frobenius norm one."""
    if len(dims) > 2:
        return _fill_chain(key, dims, start is not None, end is not None, dtype)
    gauss = jax.random.normal(key, dims, dtype)
    if start is not None and end is not None:
        return [_with_marginals(gauss, start, end)]
    if start is not None:
        return [gauss / jnp.linalg.norm(gauss, axis=1, keepdims=True) * start[:, None]]
    if end is not None:
        return [gauss / jnp.linalg.norm(gauss, axis=0, keepdims=True) * end[None, :]]
    return [gauss / jnp.linalg.norm(gauss)]


def _fill_chain(
    key: jax.Array,
    dims: tuple[int, ...],
    level_start: bool,
    level_end: bool,
    dtype: np.dtype,
) -> list[jax.Array]:
    """Q_i S Q_{i+1}^T with one S; a leveled end has rows of Q S of equal norm."""
    rank = min(dims)
    spectrum_key, *keys = jax.random.split(key, 1 + len(dims))
    spectrum = _component_norms(spectrum_key, rank, False, dtype)
    bases = [
        _lapack.qr(jax.random.normal(k, (dim, rank), dtype))[0]
        for k, dim in zip(keys, dims, strict=True)
    ]
    for i, wanted in ((0, level_start), (-1, level_end)):
        if wanted:
            bases[i] = _equal_rows(bases[i] * spectrum[None, :]) / spectrum[None, :]
    return [
        jnp.matmul(a * spectrum[None, :], b.T, precision=lax.Precision.HIGHEST)
        for a, b in itertools.pairwise(bases)
    ]


def _equal_rows(rows: jax.Array) -> jax.Array:
    """Rotates pairs of rows until all norms agree; rows^T rows stays as it is.

    Each rotation of the shortest with the longest open row gives one row the mean norm
    (the constructive side of the Schur-Horn theorem).
    """
    count = rows.shape[0]
    target = jnp.sum(jnp.square(rows)) / count

    def rotate(_: jax.Array, carry: tuple) -> tuple:
        rows, done = carry
        norms = jnp.sum(jnp.square(rows), axis=1)
        low = jnp.argmin(jnp.where(done, jnp.inf, norms))
        high = jnp.argmax(jnp.where(done, -jnp.inf, norms))
        x, y = rows[low], rows[high]
        missing, spare = target - norms[low], norms[high] - target
        dot = jnp.sum(x * y)
        root = jnp.sqrt(jnp.maximum(dot * dot + missing * spare, 0))
        divisor = dot + jnp.where(dot < 0, -root, root)
        flat = (divisor == 0) | (low == high)
        tangent = jnp.where(flat, 0, missing / jnp.where(flat, 1, divisor))
        cosine = lax.rsqrt(1 + tangent * tangent)
        turned = (cosine * (x + tangent * y), cosine * (y - tangent * x))
        rows = rows.at[low].set(turned[0])
        rows = jnp.where(low == high, rows, rows.at[high].set(turned[1]))
        return rows, done.at[low].set(True)

    done = jnp.zeros((count,), bool)
    rows, _ = lax.fori_loop(0, count - 1, rotate, (rows, done))
    norms = jnp.sum(jnp.square(rows), axis=1, keepdims=True)
    return rows * jnp.sqrt(target / norms)


def _with_marginals(gauss: jax.Array, row_norms: jax.Array, column_norms: jax.Array):
    """A matrix with the signs of `gauss` and prescribed row and column norms."""
    rows, columns = jnp.square(row_norms), jnp.square(column_norms)
    # Entries bounded away from zero keep the Sinkhorn iteration fast.
    start = (0.1 + jnp.square(gauss)) * rows[:, None] * columns[None, :]
    tolerance = 4 * jnp.finfo(gauss.dtype).eps

    def scale(carry: tuple) -> tuple:
        squares, count = carry
        squares = squares * (rows / jnp.sum(squares, axis=1))[:, None]
        squares = squares * (columns / jnp.sum(squares, axis=0))[None, :]
        return squares, count + 1

    def unfinished(carry: tuple) -> jax.Array:
        squares, count = carry
        error = jnp.max(jnp.abs(jnp.sum(squares, axis=1) / rows - 1))
        return (error > tolerance) & (count < SINKHORN_ROUNDS)

    squares, _ = lax.while_loop(unfinished, scale, scale((start, jnp.int32(0))))
    return jnp.where(gauss < 0, -1, 1).astype(gauss.dtype) * jnp.sqrt(squares)
