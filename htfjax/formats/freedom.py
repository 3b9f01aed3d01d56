"""Degrees of freedom of tensors of given ranks."""

import math
from collections.abc import Sequence

from htfjax import _checks
from htfjax._types import Dims
from htfjax.formats.cuts import Ranks, check_ranks
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree, without_chains


def degrees_of_freedom(tree: TreeLike, mode_dims: Dims, ranks: Ranks) -> int:
    """Dimension of the set of tensors of given ranks: storage - sum over v of k_v^2.

    Numbers that transfer tensors store, less those that a change of basis at every node
    but the root leaves free. Fewer observations cannot determine a tensor of these ranks.

    Args:
      tree: one-child nodes are left out.
      mode_dims: D_n for every mode, or one int for all.
      ranks: one for all nodes, or one for every node but the root, ascending.

    Raises:
      TypeError, ValueError: ranks in the wrong number, below 1, or above what dimensions
        and other ranks allow.

    Source: Uschmajew and Vandereycken 2013.

    Example:
      >>> import htfjax as htf
      >>> htf.formats.degrees_of_freedom(htf.flat(2), (7, 5), 2)  # 2 (7 + 5 - 2)
      20
    """
    bare = without_chains(as_tree(tree))
    dims = _checks.mode_dims(bare.order, mode_dims)
    return freedom(bare, dims, check_ranks(bare, dims, ranks))


def freedom(tree: ModeTree, dims: Sequence[int], ranks: Sequence[int]) -> int:
    """`degrees_of_freedom` of what has been checked."""
    held = [*ranks, 1]
    stored = 0
    for k, rank in enumerate(held):
        below = [held[c] for c in tree.children[k]] or [dims[k]]
        stored += math.prod(below) * rank
    return stored - sum(rank * rank for rank in ranks)
