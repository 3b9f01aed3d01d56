"""Hierarchical singular value decomposition: factors of a full tensor, with their error.

From the leaves to the root every node's axes are compressed in what is left of the tensor,
so that later nodes decompose smaller matrices. Every step is an orthogonal projection of
the result of the one before, and the squares of their errors add up exactly. From the root
to the leaves every node's vectors are those of the tensor itself, as textbooks have it.
"""

import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._types import Array, ArrayLike, Float, Numbers
from htfjax.contraction.end_tensor import LARGEST_SIZE
from htfjax.contraction.evaluate import visiting_order
from htfjax.factors.factors import Factors
from htfjax.formats.bases import left_vectors
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
from htfjax.formats.transfer_tensors import TransferTensors, joined
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree, without_chains

Sweep = Literal["leaves-to-root", "root-to-leaves"]
Found = tuple[list[Either], Either]  # transfer tensors, and the squared error


def hierarchical_svd(
    tensor: Numbers,
    tree: TreeLike,
    *,
    rtol: ArrayLike | None = None,
    ranks: Ranks | None = None,
    sweep: Sweep = "leaves-to-root",
) -> tuple[Factors, Float[Array, ""]]:
    """Factors of a full tensor: ||W - W'|| at most the bound returned, and rtol ||W||.

    A tolerance is shared out evenly: at each of c nodes values are left out while the root
    of the sum of their squares is within rtol ||W|| / sqrt(c), c = 2 N - 3 for a binary
    tree. No error is more than sqrt(c) times the least that these ranks allow.

    Args:
      tensor: (D_0, ..., D_{N-1}), every entry known; integers become floating.
      tree: of any arity; one-child nodes are left out. A flat tree gives the Tucker format.
      rtol: relative tolerance, zero or more. Where it or the tensor is traced (under `jit`,
        `vmap`), arrays keep their largest shapes and zeros fill what is left out.
      ranks: one for all nodes, or one for every node of the tree but the root, ascending.
      sweep: "leaves-to-root" (faster, and the bound is the error itself), or
        "root-to-leaves".

    Returns:
      Factors in the form of `from_transfer_tensors`, all of whose bases are orthonormal,
      and a bound of the error's Frobenius norm, (), up to rounding.

    Raises:
      TypeError: complex or masked numbers. ValueError: NaN or infinity; another order than
        the tree's; a tolerance and ranks, or neither; ranks that dimensions do not allow; a
        tensor of more than 2**31 entries.

    Source: Grasedyck 2010; De Lathauwer et al. 2000; in the order of Vannieuwenhoven et al.
    2012.

    Example:
      >>> import htfjax as htf, numpy as np
      >>> x = np.linspace(0, 1, 6)
      >>> tensor = np.sin(x[:, None, None] + x[:, None] + x)
      >>> factors, bound = htf.formats.hierarchical_svd(tensor, ((0, 1), 2), rtol=1e-4)
      >>> htf.formats.to_transfer_tensors(factors).ranks
      (2, 2, 2, 2, 1)
    """
    mode_tree = without_chains(as_tree(tree))
    _checks.one_of("sweep", sweep, get_args(Sweep))
    held = full_tensor(tensor, mode_tree)
    free = _checks.concrete(held)
    cut = cut_by(mode_tree, held.shape, held.dtype, rtol, ranks, sliced=free)
    # The modes under any node stand side by side then.
    order = visiting_order(mode_tree, mode_tree.root)
    rest, exponent = normalized((on_host(held) if cut.sliced else held).transpose(order))
    compress = from_leaves if sweep == "leaves-to-root" else _from_root
    tensors, square = compress(rest, mode_tree, cut)
    tensors[-1] = shifted(tensors[-1], exponent)
    factors = joined(TransferTensors(tuple(map(jnp.asarray, tensors)), mode_tree))
    return factors, jnp.asarray(shifted(root(square), exponent))


def from_leaves(tensor: Either, tree: ModeTree, cut: Cut) -> Found:
    """Children before parents, in the tensor that is left; the squared error exactly."""
    whole, square = norm(tensor), norm(tensor) * 0
    tensors: dict[int, Either] = {}
    axes = list(visiting_order(tree, tree.root))  # nodes that the axes stand for
    for k in _children_first(tree):
        below = tree.children[k]
        place, count = axes.index(below[0] if below else k), len(below) or 1
        parts = tensor.shape[place : place + count]
        axes[place : place + count] = [k]
        tensor = tensor.reshape(*tensor.shape[:place], -1, *tensor.shape[place + count :])
        basis, lost = cut.basis(k, *left_vectors(unfolded(tensor, place)), whole)
        tensors[k] = basis.reshape(*parts, basis.shape[1])
        tensor = along(tensor, basis.T, place)
        square = square + lost
    tensors[tree.root] = tensor[..., None]
    return [tensors[k] for k in range(tree.num_nodes)], square


def _from_root(tensor: Either, tree: ModeTree, cut: Cut) -> Found:
    """Vectors of every matricization of the tensor itself, and a bound of the square."""
    whole, square = norm(tensor), norm(tensor) * 0
    again, order = twin(tree), visiting_order(tree, tree.root)
    tensors: dict[int, Either] = {}
    held: dict[int, Either] = {}  # U_k, (P_k, rank)
    for k in _children_first(tree):
        modes = visiting_order(tree, k)
        place = order.index(modes[0])
        before, after = tensor.shape[:place], tensor.shape[place + len(modes) :]
        rows = unfolded(tensor.reshape(*before, -1, *after), place)
        held[k], lost = cut.basis(k, *left_vectors(rows), whole)
        tensors[k] = _coefficients(held[k], [held.pop(c) for c in tree.children[k]])
        square = square if k == again else square + lost
    below = [held[c] for c in tree.children[tree.root]]
    tensors[tree.root] = _coefficients(tensor.reshape(-1, 1), below)
    return [tensors[k] for k in range(tree.num_nodes)], square


def _children_first(tree: ModeTree) -> list[int]:
    """All nodes but the root, each straight after its children."""
    found, stack = [], [tree.root]
    while stack:
        k = stack.pop()
        found.append(k)
        stack.extend(tree.children[k])
    return found[:0:-1]


def _coefficients(vectors: Either, bases: list[Either]) -> Either:
    """Vectors over the rows of several bases in terms of these: (k_1, ..., k_m, r)."""
    if not bases:
        return vectors
    found = vectors.reshape(*(u.shape[0] for u in bases), -1)
    for axis, basis in enumerate(bases):
        found = along(found, basis.T, axis)
    return found


def full_tensor(tensor: object, tree: ModeTree | None = None) -> jax.Array:
    """A full tensor, of a tree's order if one is given, finite where that can be seen."""
    # Not made an array before its size is known: it may be a view of one number.
    known = isinstance(tensor, np.ndarray | jax.Array)
    shape = tuple((tensor if known else _checks.array("tensor", tensor)).shape)
    size = math.prod(shape)
    if size > LARGEST_SIZE:
        raise ValueError(
            f"`tensor` of shape {shape} has {size} entries, at least {4 * size} bytes, and "
            f"{LARGEST_SIZE} entries are allowed: decompose blocks of it along a mode, put "
            "each in its place with `mode_product`, and `add` and `round_factors` them one "
            "by one."
        )
    found = _checks.floating("tensor", tensor)
    if tree is not None and len(shape) != tree.order:
        raise ValueError(
            f"`tensor` has shape {shape}, of order {len(shape)}, and `tree={tree.nested}` "
            f"is of order {tree.order}."
        )
    if not shape or 0 in shape:
        raise ValueError(f"`tensor` has shape {shape}; it needs a mode and an entry.")
    if _checks.concrete(found) and not bool(jnp.all(jnp.isfinite(found))):
        missing = int(jnp.sum(~jnp.isfinite(found)))
        raise ValueError(
            f"`tensor` has {missing} entries that are NaN or infinite, of {size}: a "
            "decomposition needs them all; `htf.observed` and a completion loss take those "
            "that are known."
        )
    return found
