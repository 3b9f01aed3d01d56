"""Arithmetic of tensors in factors: sums, multiples and elementwise products, exactly.

Nothing is truncated: widths add up in a sum and multiply in a product (`round_factors`
finds fewer). All of it is linear in every matrix of either argument, under any
transformation.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from htfjax import _checks
from htfjax._types import ArrayLike, DTypeLike
from htfjax.contraction.end_tensor import khatri_rao
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.factors.grouping import as_plain
from htfjax.factors.layout import Layout, layout_of
from htfjax.factors.selector import Selector, Weight, identity_selector, matrix_of
from htfjax.formats.host import widest
from htfjax.formats.transfer_tensors import with_chain_nodes
from htfjax.trees.mode_tree import without_chains

Way = Callable[[Weight, Weight], Weight]


def add(left: AnyFactors, right: AnyFactors) -> Factors:
    """Factors of W + W': every node has the components of both, R_v + R'_v of them.

    Matrices are block diagonal, those of leaves stand side by side, those of the root one
    over the other; selectors stay selectors.

    Args:
      left, right: of one tree, or of two that are equal without one-child nodes.

    Returns:
      Factors in the wider dtype. Nodes are fixed that are in both.

    Raises:
      TypeError, ValueError: malformed factors, other trees or mode dimensions.

    Source: Hackbusch and Kuehn 2009 (addition in hierarchical formats).

    Example:
      >>> import htfjax as htf, jax
      >>> one = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 2, 1.0)
      >>> htf.widths(htf.formats.add(one, one))
      (4, 4, 4, 4)
    """
    return _combined(*_alike(left, right), _beside, _blocks, _below)


def subtract(left: AnyFactors, right: AnyFactors) -> Factors:
    """Factors of W - W'; as `add`.

    Example:
      >>> import htfjax as htf, jax
      >>> one = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 2, 1.0)
      >>> float(htf.squared_norm(htf.formats.subtract(one, one))) < 1e-6
      True
    """
    one, other = _alike(left, right)
    *rest, root = other.weights
    negative = dataclasses.replace(other, weights=(*rest, -root))
    return _combined(one, negative, _beside, _blocks, _below)


def scale(factors: AnyFactors, number: ArrayLike) -> Factors:
    """Factors of c W: the root's matrix times c; a root of ones is written out.

    Args:
      number: c, a real number, which may be traced.

    Raises:
      TypeError, ValueError: malformed factors, another number.

    Example:
      >>> import htfjax as htf, jax
      >>> one = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 2, 1.0)
      >>> double = htf.formats.scale(one, 2.0)
      >>> bool(abs(htf.squared_norm(double) / htf.squared_norm(one) - 4) < 1e-5)
      True
    """
    plain, layout = _plain(factors, "factors")
    number = _checks.scalar("number", number, layout.dtype)
    *rest, root = plain.weights
    return dataclasses.replace(plain, weights=(*rest, number * root))


def hadamard(left: AnyFactors, right: AnyFactors) -> Factors:
    """Factors of the elementwise product: R_v R'_v components at every node.

    Matrices are Kronecker products, of leaves row by row; selectors stay selectors.

    Args, returns, raises: as `add`.

    Source: Kressner and Tobler, htucker (elementwise multiplication).

    Example:
      >>> import htfjax as htf, jax
      >>> one = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 2, 1.0)
      >>> htf.widths(htf.formats.hadamard(one, one))
      (4, 4, 4, 4)
    """
    one, other = _alike(left, right)
    # The product of two selectors of rows is none.
    one, other = _leaves_written_out(one), _leaves_written_out(other)
    return _combined(one, other, _rows_kronecker, _kronecker, _kronecker)


def _combined(
    one: Factors,
    other: Factors,
    leaves: Way,
    inner: Way,
    root: Way,
) -> Factors:
    """Factors whose matrices are made of two at every node."""
    tree = one.tree
    ways = [leaves] * tree.order + [inner] * (len(tree.interior) - 1) + [root]
    weights = tuple(
        way(*pair) for way, *pair in zip(ways, one.weights, other.weights, strict=True)
    )
    # Selectors on one side only are written out beside the other's matrix.
    fixed = tuple(sorted({*one.fixed} & {*other.fixed}))
    return Factors(weights, tree, fixed)


def _alike(left: AnyFactors, right: AnyFactors) -> tuple[Factors, Factors]:
    """Two factorizations of one tree and dtype, with matrices at their roots."""
    (one, mine), (other, yours) = _plain(left, "left"), _plain(right, "right")
    if mine.dims != yours.dims:
        raise ValueError(
            f"`left` has mode dimensions {mine.dims}, `right` {yours.dims}; they must be "
            "the same."
        )
    if one.tree != other.tree:
        trees = [without_chains(x.tree) for x in (one, other)]
        if trees[0] != trees[1]:
            raise ValueError(
                f"`left` is of the tree {trees[0].nested}, `right` of {trees[1].nested}, "
                "one-child nodes left out; they must be of one tree: `hierarchical_svd` of "
                "an end tensor takes any."
            )
        one, other = _spread(one), _spread(other)
        if one.tree != other.tree:
            raise ValueError(
                f"`left` and `right` are of trees {one.tree.nested} and "
                f"{other.tree.nested}, which differ in their one-child nodes; "
                "`collapse_chains` multiplies them out."
            )
    dtype = widest(one.weights[-1], other.weights[-1])
    return _cast(one, dtype), _cast(other, dtype)


def _plain(factors: AnyFactors, name: str) -> tuple[Factors, Layout]:
    """Plain factors with a root that has a matrix, and their layout."""
    layout = layout_of(factors, name)
    plain = as_plain(factors)
    *rest, root = plain.weights
    if root is None:
        root = jnp.ones((layout.widths[-1], 1), layout.dtype)
    root = matrix_of(root, layout.dtype)
    return dataclasses.replace(plain, weights=(*rest, root)), layout


def _spread(factors: Factors) -> Factors:
    """The same end tensor with an identity over every child that has nothing over it."""
    tree, layout = factors.tree, layout_of(factors)
    if without_chains(tree) != tree:
        return factors
    spread, node_of, over = with_chain_nodes(tree)
    weights: list[Weight] = [None] * spread.num_nodes
    for k, weight in enumerate(factors.weights):
        weights[node_of[k]] = weight
    for k, place in over.items():
        weights[place] = identity_selector(layout.columns[k])
    fixed = {*over.values()} | {node_of[k] for k in factors.fixed}
    return Factors(tuple(weights), spread, tuple(sorted(fixed)))


def _leaves_written_out(factors: Factors) -> Factors:
    count, dtype = factors.tree.order, factors.weights[-1].dtype
    leaves = (matrix_of(w, dtype) for w in factors.weights[:count])
    return dataclasses.replace(factors, weights=(*leaves, *factors.weights[count:]))


def _cast(factors: Factors, dtype: DTypeLike) -> Factors:
    return jax.tree.map(lambda w: jnp.asarray(w, dtype), factors)


def _same_kind(way: Way) -> Way:
    """Writes a selector out where the other side is a matrix."""

    @functools.wraps(way)
    def both(one: Weight, other: Weight) -> Weight:
        if isinstance(one, Selector) and not isinstance(other, Selector):
            one = one.matrix(other.dtype)
        if isinstance(other, Selector) and not isinstance(one, Selector):
            other = other.matrix(one.dtype)
        return way(one, other)

    return both


@_same_kind
def _beside(one: Weight, other: Weight) -> Weight:
    """(D, R) and (D, R') as (D, R + R')."""
    if isinstance(one, Selector):
        return Selector(one.num_rows, one.picks + other.picks)
    return jnp.concatenate([one, other], axis=1)


def _below(one: jax.Array, other: jax.Array) -> jax.Array:
    """(R, 1) and (R', 1) as (R + R', 1)."""
    return jnp.concatenate([one, other], axis=0)


@_same_kind
def _blocks(one: Weight, other: Weight) -> Weight:
    """(R, K) and (R', K') as blocks of a diagonal."""
    if isinstance(one, Selector):
        moved = tuple(one.num_rows + p for p in other.picks)
        return Selector(one.num_rows + other.num_rows, one.picks + moved)
    return jax.scipy.linalg.block_diag(one, other)


@_same_kind
def _rows_kronecker(one: Weight, other: Weight) -> Weight:
    """(D, R) and (D, R') as (D, R R')."""
    return khatri_rao([one.T, other.T]).T


@_same_kind
def _kronecker(one: Weight, other: Weight) -> Weight:
    """(R, K) and (R', K') as (R R', K K')."""
    if isinstance(one, Selector):
        picks = _outer(one.picks, other.picks, other.num_rows)
        return Selector(one.num_rows * other.num_rows, picks)
    return jnp.kron(one, other)


def _outer(left: Sequence[int], right: Sequence[int], count: int) -> tuple[int, ...]:
    return tuple(i * count + j for i in left for j in right)
