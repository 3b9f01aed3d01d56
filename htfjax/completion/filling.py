"""Filling: ranks of a tensor most of whose cells are observed, found on all of them.

Open cells are filled in with the fit so far, and the fit is the hierarchical SVD of what
results: expectation and maximization of Gaussian noise, whose error falls by the share of
open cells a time. A fit of other ranks is then some products of matrices of all cells, so
hundreds of thousands of them choose ranks, where a step of Levenberg-Marquardt would take
minutes. The hierarchical SVD is within a factor of the best fit of its ranks, not the best.
"""

import math
from collections.abc import Iterator

import numpy as np

from htfjax.completion.cells import Cells
from htfjax.completion.lanes import Fit, Ranks, Tensors
from htfjax.completion.moves import edges
from htfjax.contraction.evaluate import visiting_order
from htfjax.formats.bases import left_vectors
from htfjax.formats.cuts import Cut, allowed_ranks
from htfjax.formats.freedom import freedom
from htfjax.formats.hierarchical_svd import from_leaves
from htfjax.formats.host import along
from htfjax.trees.mode_tree import ModeTree

LEAST_SHARE = 0.4  # of cells to train on among all
LARGEST, LARGEST_SIDE = 2**24, 2048  # entries, and singular values of a node
DESCENT, LOWEST = 1.5, 1e-6  # of the threshold from fit to fit; where it ends
TIMES, SETTLED = 40, 3e-3  # fillings of one fit, and the relative change that ends them
WORSE = 1.1  # held-out error over the least one, at which thresholds end
STEP, GAIN = 4 / 3, 0.995  # of a node's rank, and of the error by which it is worth it


def fillable(tree: ModeTree, cells: Cells) -> bool:
    """Whether most cells are there, weigh the same, and fit into memory as an array."""
    size = math.prod(cells.dims)
    sides = [math.prod(cells.dims[n] for n in tree.modes[k]) for k in range(tree.root)]
    return (
        size <= LARGEST
        and max(min(side, size // side) for side in sides) <= LARGEST_SIDE
        and cells.trained >= LEAST_SHARE * size
        and bool(np.ptp(cells.weights) < 1e-12)
    )


class Filling:
    """Fits by filling in: what is known, and every fit so far.

    Args:
      limit: largest share of the cells to train on that degrees of freedom may be.
    """

    def __init__(self, tree: ModeTree, cells: Cells, limit: float) -> None:
        self.tree, self.cells = tree, cells
        self.most = limit * cells.trained
        self.order = visiting_order(tree, tree.root)
        self.where = tuple(cells.indices[:, n] for n in self.order)  # axes as visited
        self.found: dict[Ranks, Fit] = {}

    def search(self) -> Iterator[Fit]:
        """Every fit: of ranks at lower and lower thresholds, then node by node."""
        yield from self._at_thresholds()
        best, before = self.best(), math.inf
        while best.heldout < GAIN * before:
            before = best.heldout
            for ranks in self._nearby(best.ranks):
                yield (moved := self.fit(ranks, best.tensors))
                if moved.heldout < GAIN * best.heldout:
                    best = moved

    def best(self) -> Fit:
        """The least held-out error."""
        return min(self.found.values(), key=lambda one: one.heldout)

    def fit(
        self, ranks: Ranks, start: Tensors | None = None, *, everything: bool = False
    ) -> Fit:
        """A fit of these ranks, from another one if there is one.

        Args:
          everything: whether cells that are held out are fitted too; such a fit is not
            among those found.
        """
        tensor = self._full(start)
        tensors, before = start or [], math.inf
        trained = held = np.array([math.inf])
        for _ in range(TIMES):
            filled = self._filled(tensor, everything)
            tensors, _ = from_leaves(filled, self.tree, Cut(ranks, None, sliced=True))
            tensor = self._full(tensors)
            trained, held = self.cells.errors(tensor[self.where][None])
            if abs(before - trained[0]) <= SETTLED * trained[0]:
                break
            before = trained[0]
        free = freedom(self.tree, self.cells.dims, ranks)
        fit = Fit(float(held[0]), float(trained[0]), ranks, tensors, free)
        if not everything:
            self.found[ranks] = fit
        return fit

    def reached(self, ranks: Ranks) -> Fit:
        """A fit of these ranks by way of fewer: from zeros in open cells, ranks that are
        too many keep some of these zeros."""
        tensors, most = None, 1
        while (less := self._within(ranks, most)) != ranks:
            tensors = self.fit(less, tensors).tensors
            most = max(most + 1, round(STEP * most))
        return self.fit(ranks, tensors)

    def _within(self, ranks: Ranks, most: int) -> Ranks:
        less = [min(rank, most) for rank in ranks]
        return tuple(allowed_ranks(self.tree, self.cells.dims, less))

    def _at_thresholds(self) -> Iterator[Fit]:
        threshold, tensors = 1.0, None
        while threshold > LOWEST:
            threshold /= DESCENT
            ranks = self._above(threshold, self._filled(self._full(tensors), False))
            if ranks in self.found:
                continue
            if freedom(self.tree, self.cells.dims, ranks) > self.most:
                return
            yield (fit := self.fit(ranks, tensors))
            if fit.heldout > WORSE * self.best().heldout:
                return
            tensors = fit.tensors

    def _above(self, threshold: float, tensor: np.ndarray) -> Ranks:
        """How many singular values of every node are above a share of the norm."""
        least = threshold * float(np.linalg.norm(tensor))
        counts = []
        for k in range(self.tree.root):
            modes = visiting_order(self.tree, k)
            place, rows = self.order.index(modes[0]), range(len(modes))
            matrix = np.moveaxis(tensor, [place + i for i in rows], list(rows))
            side = math.prod(self.cells.dims[n] for n in modes)
            _, values = left_vectors(matrix.reshape(side, -1))
            counts.append(max(1, int(np.sum(values > least))))
        return tuple(allowed_ranks(self.tree, self.cells.dims, counts))

    def _nearby(self, ranks: Ranks) -> Iterator[Ranks]:
        """A third more or a quarter less at a node, one at least; what can be afforded."""
        for nodes in edges(self.tree):
            for factor in (STEP, 1 / STEP):
                moved = list(ranks)
                for k in nodes:
                    change = round((factor - 1) * ranks[k]) or (1 if factor > 1 else -1)
                    moved[k] = max(1, ranks[k] + change)
                near = tuple(allowed_ranks(self.tree, self.cells.dims, moved))
                free = freedom(self.tree, self.cells.dims, near)
                if near not in self.found and free <= self.most:
                    yield near

    def _filled(self, tensor: np.ndarray, everything: bool) -> np.ndarray:
        """What is known, and a fit where nothing is."""
        known = slice(None) if everything else ~self.cells.held
        filled = tensor.copy()
        filled[tuple(x[known] for x in self.where)] = self.cells.targets[known]
        return filled

    def _full(self, tensors: Tensors | None) -> np.ndarray:
        """The tensor, its axes as they are visited."""
        shape = [self.cells.dims[n] for n in self.order]
        if tensors is None:
            return np.zeros(shape)
        tables: dict[int, np.ndarray] = {}
        for k, tensor in enumerate(tensors):
            table = tensor
            for axis, child in enumerate(self.tree.children[k]):
                table = along(table, tables.pop(child), axis)
            tables[k] = table.reshape(-1, tensor.shape[-1])
        return tables[self.tree.root].reshape(shape)
