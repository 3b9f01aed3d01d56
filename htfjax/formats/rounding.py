"""Rounding of factors: fewer ranks at a bounded error, without the tensor.

Diagonal trees have no exact orthogonal truncation: their bases are columns that only exist
multiplied together. So factors are rounded as transfer tensors: bases are made orthonormal
from the leaves to the root, the singular values of every node are then those of a small
matrix, found from the root to the leaves, and every node keeps its first vectors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._types import Array, ArrayLike, Float
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.factors.layout import layout_of
from htfjax.formats.bases import left_vectors, orthonormal
from htfjax.formats.cuts import Cut, Ranks, cut_by, twin
from htfjax.formats.host import (
    Either,
    along,
    norm,
    normalized,
    on_host,
    root,
    shifted,
    unfolded,
)
from htfjax.formats.transfer_tensors import TransferTensors, joined, to_transfer_tensors
from htfjax.trees.mode_tree import ModeTree


def orthogonalize(factors: AnyFactors) -> Factors:
    """Factors of the same end tensor with orthonormal bases at every node but the root.

    Columns of U_v are: of every leaf's matrix, and of every transfer tensor unfolded. The
    norm of the end tensor is that of the root's matrix.

    Returns:
      Factors in the form of `from_transfer_tensors`; ranks above the number of rows are
      less.

    Raises:
      TypeError, ValueError: malformed factors; transfer tensors of more than 2**31
        entries, which a diagonal node of many components has.

    Source: Grasedyck 2010.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 5, 3, 1.0)
      >>> straight = htf.formats.orthogonalize(factors)
      >>> leaf = straight.weights[0]
      >>> bool(abs(leaf.T @ leaf - jax.numpy.eye(3)).max() < 1e-5)
      True
    """
    transfer = to_transfer_tensors(factors)
    held = list(map(on_host, transfer.tensors))
    tensors = _orthogonal(held, transfer.tree)
    return joined(TransferTensors(tuple(map(jnp.asarray, tensors)), transfer.tree))


def round_factors(
    factors: AnyFactors, *, rtol: ArrayLike | None = None, ranks: Ranks | None = None
) -> tuple[Factors, Float[Array, ""]]:
    """Factors of fewer ranks: ||W - W'|| at most the bound returned, and rtol ||W||.

    The error is at most sqrt(2 N - 3) times the least that these ranks allow, for a binary
    tree of order N; in general the root of the number of nodes that are cut.

    Args:
      factors: any; a diagonal node of R components and m children is made a tensor of R^m
        times R_parent entries first.
      rtol, ranks: as in `hierarchical_svd`, of the tree without one-child nodes.

    Returns:
      Factors in the form of `from_transfer_tensors`, bases orthonormal, and a bound of the
      error's Frobenius norm, ().

    Raises:
      TypeError, ValueError: malformed factors; tolerance and ranks as in
        `hierarchical_svd`; ranks above those of the factors.

    Source: Grasedyck 2010 (truncation in the format and its constant).

    Example:
      >>> import htfjax as htf, jax
      >>> one = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 6, 2, 1.0)
      >>> twice = htf.formats.add(one, one)
      >>> less, bound = htf.formats.round_factors(twice, rtol=1e-5)
      >>> htf.formats.to_transfer_tensors(less).ranks
      (2, 2, 2, 2, 2, 2, 1)
    """
    layout = layout_of(factors)
    transfer = to_transfer_tensors(factors)
    free = all(map(_checks.concrete, transfer.tensors))
    cut = cut_by(transfer.tree, layout.dims, layout.dtype, rtol, ranks, sliced=free)
    held = list(map(on_host, transfer.tensors)) if cut.sliced else transfer.tensors
    found = rounded(held, transfer.tree, cut)
    tensors = tuple(map(jnp.asarray, found.tensors))
    return joined(TransferTensors(tensors, transfer.tree)), jnp.asarray(found.bound)


class Rounded(NamedTuple):
    """What rounding finds."""

    tensors: list[Either]  # bases orthonormal
    bound: Either  # of the error's Frobenius norm
    spectra: dict[int, Either]  # singular values of every node but the root, before cuts


def rounded(tensors: Sequence[Either], tree: ModeTree, cut: Cut) -> Rounded:
    """Transfer tensors of fewer ranks."""
    straight = _orthogonal(tensors, tree)
    _check_held(tree, straight, cut)
    return _cut(straight, tree, cut)


def _check_held(tree: ModeTree, tensors: list[Either], cut: Cut) -> None:
    """Ranks that the factors have."""
    for k, rank in enumerate(cut.ranks or ()):
        if rank > tensors[k].shape[-1]:
            raise ValueError(
                f"`ranks[{k}]` is {rank}, and node {k} of {tree.nested} has rank "
                f"{tensors[k].shape[-1]} in `factors`; ask for that at most."
            )


def _orthogonal(tensors: Sequence[Either], tree: ModeTree) -> list[Either]:
    """Tensors whose unfolded columns are orthonormal, all but the root's."""
    found, rests = [], []
    for k, tensor in enumerate(tensors):
        for axis, child in enumerate(tree.children[k]):
            tensor = along(tensor, rests[child], axis)
        if k == tree.root:
            found.append(tensor)
            break
        basis, rest = orthonormal(tensor.reshape(-1, tensor.shape[-1]))
        found.append(basis.reshape(*tensor.shape[:-1], basis.shape[1]))
        rests.append(rest)
    return found


def _cut(tensors: list[Either], tree: ModeTree, cut: Cut) -> Rounded:
    """Every node's first singular vectors in place of its basis."""
    top, exponent = normalized(tensors[-1])
    given = [*tensors[:-1], top]
    found = list(given)
    whole, again = norm(top), twin(tree)
    square, spectra = whole * 0, {}
    # Column space of every node in its own basis, with its singular values: U diag(s).
    held: dict[int, Either] = {tree.root: np.ones((1, 1), top.dtype)}
    for k in reversed(tree.interior):
        reached = along(given[k], held.pop(k).T, len(tree.children[k]))
        for axis, child in enumerate(tree.children[k]):
            left, values = left_vectors(unfolded(reached, axis))
            held[child] = left * values[None, :]
            spectra[child] = shifted(values, exponent)
            basis, lost = cut.basis(child, left, values, whole)
            found[k] = along(found[k], basis.T, axis)
            found[child] = along(found[child], basis.T, found[child].ndim - 1)
            square = square if child == again else square + lost
    found[-1] = shifted(found[-1], exponent)
    return Rounded(found, shifted(root(square), exponent), spectra)
