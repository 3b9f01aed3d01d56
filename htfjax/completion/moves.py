"""Moves between tensors of neighbouring ranks: a direction more or less at some nodes.

The rank of a node is at most the product of its children's, and of its parent's and
siblings', so from rank one no node can grow alone: those on the way from one leaf to
another grow together.
"""

from collections.abc import Sequence

import numpy as np

from htfjax.completion.lanes import Ranks, Tensors, ranks_of, resized, shapes
from htfjax.formats.cuts import Cut, allowed_ranks, largest_ranks
from htfjax.formats.rounding import rounded
from htfjax.trees.mode_tree import ModeTree


def fitting(tree: ModeTree, dims: Sequence[int], ranks: Ranks) -> bool:
    """Whether tensors of exactly these ranks exist."""
    largest = largest_ranks(tree, dims, ranks)
    return all(1 <= rank <= most for rank, most in zip(ranks, largest, strict=True))


def neighbours(tree: ModeTree, dims: Sequence[int], ranks: Ranks) -> list[Ranks]:
    """Ranks with one more at a node or on a way between leaves, or one less at a node."""
    steps = [(nodes, 1) for nodes in (*edges(tree), *_paths(tree))]
    steps += [(nodes, -1) for nodes in edges(tree)]
    found = []
    for nodes, step in steps:
        moved = list(ranks)
        for k in nodes:
            moved[k] += step
        found.append(tuple(moved))
    return [moved for moved in dict.fromkeys(found) if fitting(tree, dims, moved)]


def fewer(tree: ModeTree, dims: Sequence[int], ranks: Ranks) -> list[Ranks]:
    """Neighbours with one less at a node, or at a node and what it forces with it."""
    found = []
    for nodes in edges(tree):
        moved = [rank - (k in nodes) for k, rank in enumerate(ranks)]
        if min(moved) >= 1:
            found.append(tuple(allowed_ranks(tree, dims, moved)))
    return list(dict.fromkeys(found))


def edges(tree: ModeTree) -> list[tuple[int, ...]]:
    """Nodes below the root; both children of a binary root, which are one cut, together."""
    kids = tree.children[tree.root]
    twins = kids if len(kids) == 2 else ()
    rest = [(k,) for k in range(tree.root) if k not in twins]
    return [*rest, twins] if twins else rest


def _paths(tree: ModeTree) -> list[tuple[int, ...]]:
    """Nodes on the way between any two leaves, without the one at which it turns."""
    ways = []
    for leaf in range(tree.order):
        way = {leaf}
        above = tree.parent[leaf]
        while above is not None and above != tree.root:
            way.add(above)
            above = tree.parent[above]
        ways.append(way)
    kids = set(tree.children[tree.root])
    twins = kids if len(kids) == 2 else set()
    found = []
    for a in range(tree.order):
        for b in range(a):
            nodes = ways[a] ^ ways[b]
            found.append(tuple(sorted(nodes | twins if nodes & twins else nodes)))
    return found


def moved_to(
    tensors: Tensors, ranks: Ranks, tree: ModeTree, rng: np.random.Generator
) -> Tensors:
    """The tensor at other ranks: rounded where they are less, with new directions where
    they are more.

    A new direction is a random vector orthogonal to a node's basis; what it is multiplied
    with is zero, so that the tensor stays what it was.
    """
    less = tuple(min(pair) for pair in zip(ranks, ranks_of(tensors), strict=True))
    dims = [x.shape[0] for x in tensors[: tree.order]]
    less = tuple(allowed_ranks(tree, dims, less))
    found = list(rounded(tensors, tree, Cut(less, None, sliced=True)).tensors)
    wider = resized(found, shapes(tree, dims, ranks))
    for k, tensor in enumerate(wider[:-1]):
        for column in range(less[k], ranks[k]):
            basis = tensor[..., :column].reshape(-1, column)
            fresh = rng.standard_normal(len(basis))
            for _ in range(2):  # once more for rounding
                fresh = fresh - basis @ (basis.T @ fresh)
            size = np.linalg.norm(fresh)
            tensor[..., column] = (fresh / (size or 1.0)).reshape(tensor.shape[:-1])
    return wider


def random_tensors(
    tree: ModeTree, dims: Sequence[int], ranks: Ranks, rng: np.random.Generator
) -> Tensors:
    """Gaussian transfer tensors whose end tensor has entries of about size one."""
    found = []
    for shape in shapes(tree, dims, ranks):
        rows = int(np.prod(shape[:-1]))
        leaf = len(found) < tree.order
        size = 1.0 if leaf else 1 / np.sqrt(rows)
        found.append(size * rng.standard_normal(shape))
    return found
