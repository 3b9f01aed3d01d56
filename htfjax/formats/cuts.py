"""Cuts of singular values: how many of a node are kept, by their number or a tolerance.

Truncating every node in turn errs by at most the root of the sum of squares of all values
left out, so a tolerance is shared out evenly among the nodes. The two children of a binary
root have the same values and count once: 2 N - 3 nodes in a binary tree.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._types import ArrayLike, DTypeLike
from htfjax.formats.host import Either
from htfjax.trees.mode_tree import ModeTree

Ranks = int | Sequence[int]


@dataclasses.dataclass(frozen=True)
class Cut:
    """What is kept of every node; made by `cut_by`.

    Attributes:
      ranks: for every node but the root, or None.
      tolerance: on the values left out at one node, a share of the norm; or None.
      sliced: whether arrays are cut, rather than filled with zeros, which traced values
        need.
    """

    ranks: tuple[int, ...] | None
    tolerance: Either | None
    sliced: bool

    def basis(
        self, node: int, left: Either, values: Either, norm: Either
    ) -> tuple[Either, Either]:
        """The columns of U that are kept, and the sum of squares of the values left out."""
        if self.ranks is not None:
            rank = self.ranks[node]
            return left[:, :rank], (values[rank:] ** 2).sum()
        rank = _rank_within(values, self.tolerance * norm)
        if self.sliced:
            count = int(rank)
            return left[:, :count], (values[count:] ** 2).sum()
        kept = (np.arange(len(values), dtype=np.int32) < rank).astype(values.dtype)
        return left * kept[None, :], jnp.sum(jnp.square(values) * (1 - kept))


def cut_by(
    tree: ModeTree,
    dims: Sequence[int],
    dtype: DTypeLike,
    rtol: ArrayLike | None,
    ranks: Ranks | None,
    *,
    sliced: bool,
) -> Cut:
    """A cut by a relative tolerance or by ranks, one of which is given.

    Raises:
      TypeError, ValueError: both or neither; a negative tolerance; ranks in the wrong
        number, below 1, or above what dimensions and other ranks allow.
    """
    check_choice(rtol, ranks)
    if ranks is not None:
        return Cut(check_ranks(tree, dims, ranks), None, sliced=True)
    return cut_within(rtol, cut_count(tree), dtype, sliced=sliced)


def cut_within(
    rtol: ArrayLike | None, count: int, dtype: DTypeLike, *, sliced: bool
) -> Cut:
    """A cut by a relative tolerance that is shared out among a number of nodes."""
    tolerance = _checks.scalar("rtol", rtol, dtype, least=0)
    sliced = sliced and _checks.concrete(tolerance)
    held = np.asarray(tolerance) if sliced else tolerance
    return Cut(None, held / math.sqrt(max(1, count)), sliced)


def check_choice(rtol: object, ranks: object) -> None:
    """A tolerance or ranks, one of them."""
    if (rtol is None) == (ranks is None):
        given = "neither" if rtol is None else f"`rtol={rtol}` and `ranks={ranks}`"
        raise ValueError(
            f"`rtol` or `ranks` must be given, one of them, got {given}: the tolerance "
            "that the ranks follow, or the ranks."
        )


def cut_count(tree: ModeTree) -> int:
    """Nodes whose values are cut; the two children of a binary root are one."""
    return tree.num_nodes - 1 - (len(tree.children[tree.root]) == 2)


def twin(tree: ModeTree) -> int | None:
    """The second child of a binary root, whose values are those of the first."""
    kids = tree.children[tree.root]
    return kids[1] if len(kids) == 2 else None


def check_ranks(tree: ModeTree, dims: Sequence[int], ranks: Ranks) -> tuple[int, ...]:
    """Ranks of every node but the root, each at most what the others leave it."""
    listed = _checks.as_sequence(ranks)
    if isinstance(listed, Sequence) and not isinstance(listed, str):
        found = [_checks.at_least("ranks", rank, 1) for rank in listed]
        if len(found) != tree.root:
            raise ValueError(
                f"`ranks={_checks.spell(ranks)}` has {len(found)} numbers, expected "
                f"{tree.root}: one for every node of {tree.nested} but the root, leaves "
                "first."
            )
    else:
        found = [_checks.at_least("ranks", listed, 1)] * tree.root
        found = allowed_ranks(tree, dims, found)
    largest = largest_ranks(tree, dims, found)
    for k, (rank, most) in enumerate(zip(found, largest, strict=True)):
        if rank > most:
            raise ValueError(
                f"`ranks[{k}]` is {rank}, and node {k} of {tree.nested} has rank {most} at "
                "most: its rows, its columns and the ranks of its children allow no more."
            )
    return tuple(found)


def allowed_ranks(tree: ModeTree, dims: Sequence[int], ranks: Sequence[int]) -> list[int]:
    """One number for all nodes, less where dimensions allow less."""
    found = list(ranks)
    for _ in range(tree.num_nodes):
        largest = largest_ranks(tree, dims, found)
        less = [min(pair) for pair in zip(found, largest, strict=True)]
        if less == found:
            break
        found = less
    return found


def largest_ranks(tree: ModeTree, dims: Sequence[int], ranks: Sequence[int]) -> list[int]:
    """The largest rank of every node but the root, given the ranks of the others."""
    most = []
    for k in range(tree.root):
        kids = tree.children[k]
        below = math.prod(ranks[c] for c in kids) if kids else dims[k]
        parent = tree.parent[k]
        beside = math.prod(ranks[c] for c in tree.children[parent] if c != k)
        above = 1 if parent == tree.root else ranks[parent]
        most.append(min(below, beside * above))
    return most


def _rank_within(values: Either, tolerance: Either) -> Either:
    """The least number of values, at least 1, whose rest is within the tolerance."""
    xp = np if isinstance(values, np.ndarray) else jnp
    if xp is jnp:
        values = jax.lax.stop_gradient(values)
    top = xp.where(values[0] > 0, values[0], xp.ones_like(values[0]))
    rest = xp.cumsum(xp.square(values / top)[::-1])[::-1]
    needed = xp.sqrt(rest) * top > tolerance
    return xp.maximum(xp.sum(needed, dtype=np.int32), np.int32(1))
