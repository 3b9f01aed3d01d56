"""Small starts: descent of diagonal factors until the held-out error stops falling.

Local components grow one after another, the important ones first, so that the singular
values on the way tell which ranks the data ask for.
"""

from typing import NamedTuple

import jax
import numpy as np

from htfjax.completion.cells import Cells
from htfjax.completion.gaps import spectra_of, suggested
from htfjax.completion.lanes import Tensors, moved
from htfjax.factors.factors import Factors
from htfjax.factors.gaussian import gaussian_factors
from htfjax.formats.cuts import Cut
from htfjax.formats.rounding import rounded
from htfjax.formats.transfer_tensors import to_transfer_tensors
from htfjax.motion.descent import start_descent
from htfjax.motion.group_rms import group_rmsprop
from htfjax.trees.mode_tree import ModeTree

STARTS, STD, WIDTH = 4, 0.3, 8
CHUNK, PATIENCE = 250, 3  # steps between looks, looks without gain
OPTIMIZER = group_rmsprop(1e-2)


class Small(NamedTuple):
    """Where the descent from a small start was best on the cells held out."""

    heldout: float
    training: float
    factors: Factors


def small_starts(
    key: jax.Array,
    tree: ModeTree,
    cells: Cells,
    *,
    most_steps: int,
    std: float = STD,
    patience: int = PATIENCE,
) -> list[Small]:
    """Descents from several small starts in one program, the best one first."""
    width = _width(tree)
    loss = cells.loss(tree)
    states = jax.vmap(
        lambda key: start_descent(
            gaussian_factors(key, tree, cells.dims, width, std), OPTIMIZER
        )
    )(jax.random.split(key, STARTS))
    best: list[Small | None] = [None] * STARTS
    waited, steps = 0, 0
    while steps < most_steps and waited < patience:
        states, predictions = moved(states, loss, OPTIMIZER, CHUNK)
        steps, waited = steps + CHUNK, waited + 1
        for i, (trained, held) in enumerate(zip(*cells.errors(predictions), strict=True)):
            had = best[i]
            if had is None or held < had.heldout:
                if had is None or held < 0.98 * had.heldout:
                    waited = 0
                factors = jax.tree.map(lambda x, i=i: x[i], states.params)
                best[i] = Small(float(held), float(trained), factors)
    return sorted((one for one in best if one is not None), key=lambda one: one.heldout)


def _width(tree: ModeTree) -> int:
    """Local components of every node: fewer where transfer tensors of them are large."""
    most = max(len(kids) for kids in tree.children)
    return max(2, min(WIDTH, int(2.0 ** (20 / (most + 1)))))


def rounded_starts(small: Small, tree: ModeTree, dims: tuple[int, ...]) -> list[Tensors]:
    """The tensor of a small start at the ranks that its singular values suggest.

    Every node has its largest ratio of neighbouring singular values above what is
    resolved, 0.3 of the held-out error relative to the norm; besides, thresholds between
    that and 0.3 give nested ranks.
    """
    tensors = transfer_of(small)
    spectra = spectra_of(tensors, tree)
    return [
        rounded(tensors, tree, Cut(ranks, None, sliced=True)).tensors
        for ranks in suggested(spectra, tree, dims, 0.3 * small.heldout)
    ]


def transfer_of(small: Small) -> Tensors:
    """Its transfer tensors, on the host."""
    return [np.asarray(x) for x in to_transfer_tensors(small.factors).tensors]
