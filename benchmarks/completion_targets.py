"""Targets of the race of completions: random low-rank tensors, written down by their seeds.

Twenty targets of order 3 to 5 with dimensions 4 to 8, ranks 2 to 4 and random trees whose
nodes join two groups of modes, or three. Cells of fewer observations are among those of
more. The seeds of the race were not drawn before its rule was fixed
(docs/decisions/19-completion.md); those below 20 and above 1,000 were for development.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, default_rng

import htfjax as htf

SEEDS = tuple(range(20, 40))
RATIOS = (1.5, 2.0, 3.0, 4.0)  # observations over degrees of freedom
Nested = int | tuple["Nested", ...]


class Target(NamedTuple):
    """A tensor of known ranks, and its cells in the order in which they are observed."""

    seed: int
    tree: htf.ModeTree
    dims: tuple[int, ...]
    ranks: tuple[int, ...]  # of every node but the root
    freedom: int
    tensor: np.ndarray
    cells: np.ndarray  # (prod dims, N)

    def observed(self, ratio: float) -> np.ndarray:
        """The first cells, `ratio` times as many as degrees of freedom."""
        return self.cells[: round(ratio * self.freedom)]

    def unobserved_error(self, values: np.ndarray, ratio: float) -> float:
        """Relative error ||T - W|| / ||W|| on the cells that are not observed."""
        mask = np.ones(self.dims, bool)
        mask[tuple(self.observed(ratio).T)] = False
        rest = np.linalg.norm((values - self.tensor)[mask])
        return float(rest / np.linalg.norm(self.tensor[mask]))


def drawn(seed: int) -> Target:
    """The target of a seed: drawn until four times its degrees of freedom are at most half
    of its entries, and its ranks exist."""
    rng = default_rng([2022, seed])
    while True:
        order = int(rng.choice([3, 4, 5], p=[0.4, 0.4, 0.2]))
        dims = tuple(rng.integers(4, 9, order).tolist())
        tree = htf.ModeTree.from_nested(_joined(rng, order))
        ranks = _ranks(rng, tree)
        try:
            free = htf.formats.degrees_of_freedom(tree, dims, ranks)
        except ValueError:  # dimensions and other ranks do not allow them
            continue
        if 2 * max(RATIOS) * free <= math.prod(dims):
            break
    tensor = _tensor(rng, tree, dims, ranks)
    order_of_cells = rng.permutation(tensor.size)
    cells = np.stack(np.unravel_index(order_of_cells, dims), axis=-1)
    return Target(seed, tree, dims, ranks, free, tensor, cells)


def _joined(rng: Generator, order: int) -> Nested:
    """Groups of modes joined at random, two at a time, or three at one of four nodes."""
    groups: list[Nested] = [int(n) for n in rng.permutation(order)]
    while len(groups) > 1:
        count = 3 if len(groups) > 2 and rng.random() < 0.25 else 2
        chosen = sorted(rng.permutation(len(groups))[:count].tolist(), reverse=True)
        groups.append(tuple(groups.pop(i) for i in chosen))
    return groups[0]


def _ranks(rng: Generator, tree: htf.ModeTree) -> tuple[int, ...]:
    ranks = rng.integers(2, 5, tree.root).tolist()
    kids = tree.children[tree.root]
    if len(kids) == 2:  # one matricization, so one rank
        ranks[kids[0]] = ranks[kids[1]]
    return tuple(ranks)


def _tensor(
    rng: Generator, tree: htf.ModeTree, dims: tuple[int, ...], ranks: tuple[int, ...]
) -> np.ndarray:
    """Gaussian transfer tensors contracted by NumPy, of entries of mean square one."""
    held = (*ranks, 1)
    below: list[np.ndarray] = []  # (entries of the node's modes..., rank) of every node
    modes: list[list[int]] = []
    for k in range(tree.num_nodes):
        kids = tree.children[k]
        if not kids:
            below.append(rng.standard_normal((dims[k], held[k])))
            modes.append([k])
            continue
        found = rng.standard_normal((*(held[c] for c in kids), held[k]))
        for c in kids:  # the first axis is the next child's; its modes go to the end
            found = np.tensordot(found, below[c], axes=([0], [below[c].ndim - 1]))
        # Axes are now (k, modes of the first child, modes of the second, ...).
        below.append(np.moveaxis(found, 0, -1))
        modes.append([n for c in kids for n in modes[c]])
    tensor = below[tree.root][..., 0]
    tensor = np.transpose(tensor, np.argsort(modes[tree.root]))
    return tensor / np.sqrt(np.mean(tensor**2))
