"""Starts of factors: Gaussian and identity matrices."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from htfjax import _checks
from htfjax._types import Array, ArrayLike, Dims, DTypeLike, Key
from htfjax.factors.factors import Factors
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree

Root = Literal["trained", "ones"]


def gaussian_factors(
    key: Key[Array, ""],
    tree: TreeLike,
    mode_dims: Dims,
    widths: Dims,
    std: ArrayLike,
    *,
    mean: ArrayLike = 0.0,
    root: Root = "trained",
    dtype: DTypeLike | None = None,
) -> Factors:
    """Every entry of every weight matrix drawn from N(mean, std^2).

    E ||W||_F^2 = std^(2 |T|) prod_n D_n prod_v R_v at mean zero, |T| matrices (A10).

    Args:
      key: typed random key.
      tree: mode tree, nested modes or their text.
      mode_dims: D_n for every mode, or one int for all.
      widths: number of local components: one int, one per interior node (ascending id)
        or one per height (lowest first).
      std: standard deviation, zero or more; may be traced.
      mean: mean of every entry; may be traced.
      root: "trained", or "ones" for a root fixed to all ones (`weights[root] = None`).
      dtype: floating dtype, by default JAX's.

    Raises:
      TypeError: a key that is not a typed key, a dtype that is not floating.
      ValueError: a negative std, numbers that are not finite in the dtype, dimensions or
        widths below 1 or in the wrong number, an unknown `root`, float64 without x64.

    Source: arXiv:2201.11729, experiments (initialization); law A10.

    Example:
      >>> import htfjax as htf, jax
      >>> tree = htf.perfect(4)
      >>> factors = htf.gaussian_factors(jax.random.key(0), tree, 8, (5, 3), 1e-2)
      >>> factors.weights[4].shape, factors.weights[tree.root].shape
      ((5, 3), (3, 1))
    """
    _checks.key("key", key)
    tree = as_tree(tree)
    shapes = weight_shapes(tree, mode_dims, widths, root)
    dtype = _checks.float_dtype("dtype", dtype)
    std = _checks.scalar("std", std, dtype, least=0)
    mean = _checks.scalar("mean", mean, dtype)
    keys = jax.random.split(key, tree.num_nodes)
    return Factors(
        tree=tree,
        weights=tuple(
            None if shape is None else mean + std * jax.random.normal(k, shape, dtype)
            for k, shape in zip(keys, shapes, strict=True)
        ),
    )


def identity_factors(
    tree: TreeLike,
    mode_dims: Dims,
    widths: Dims,
    scale: ArrayLike,
    *,
    root: Root = "trained",
    dtype: DTypeLike | None = None,
) -> Factors:
    """Every weight matrix is `scale` times the (rectangular) identity.

    The usual deterministic start of deep matrix factorization. A trained root is
    `scale` times all ones, so that no component starts at zero.

    Args and errors: as in `gaussian_factors`.

    Source: Arora et al. 2019 (balanced identity start of deep linear networks).

    Example:
      >>> import htfjax as htf
      >>> tree = htf.ModeTree.from_nested(((0,), 1))
      >>> deep = htf.identity_factors(tree, 3, 3, 0.1, root="ones")
      >>> bool(abs(htf.end_tensor(deep)[0, 0] - 1e-3) < 1e-9)
      True
    """
    tree = as_tree(tree)
    shapes = weight_shapes(tree, mode_dims, widths, root)
    dtype = _checks.float_dtype("dtype", dtype)
    scale = _checks.scalar("scale", scale, dtype, least=0)

    def matrix(node: int, shape: tuple[int, int] | None) -> jax.Array | None:
        if shape is None:
            return None
        return scale * (
            jnp.ones(shape, dtype) if node == tree.root else jnp.eye(*shape, dtype=dtype)
        )

    return Factors(tree=tree, weights=tuple(map(matrix, range(tree.num_nodes), shapes)))


def weight_shapes(
    tree: ModeTree, mode_dims: Dims, widths: Dims, root: Root
) -> list[tuple[int, int] | None]:
    """Shape (R_k, R_parent(k)) of every weight matrix, None for a root of ones."""
    _checks.one_of("root", root, get_args(Root))
    rows = [*_checks.mode_dims(tree.order, mode_dims), *_checks.node_widths(tree, widths)]
    shapes: list[tuple[int, int] | None] = [
        (rows[k], rows[tree.parent[k]]) for k in range(tree.root)
    ]
    return [*shapes, None if root == "ones" else (rows[tree.root], 1)]
