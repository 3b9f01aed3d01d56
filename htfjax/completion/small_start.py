"""Small starts: descent of diagonal factors until the held-out error stops falling.

Local components grow one after another, the important ones first, so that the singular
values on the way tell which ranks the data ask for.
"""

from typing import NamedTuple

import jax
import numpy as np

from htfjax._types import Array, Float
from htfjax.completion.cells import Cells
from htfjax.completion.lanes import Ranks, Tensors
from htfjax.factors.factors import Factors
from htfjax.factors.gaussian import gaussian_factors
from htfjax.factors.stacks import opened
from htfjax.formats.cuts import Cut, allowed_ranks
from htfjax.formats.rounding import rounded
from htfjax.formats.transfer_tensors import to_transfer_tensors
from htfjax.losses.loss import ObservationLoss
from htfjax.motion.descent import DescentState, continue_descent, start_descent
from htfjax.motion.group_rms import group_rmsprop
from htfjax.trees.mode_tree import ModeTree

STARTS, STD, WIDTH = 4, 0.3, 8
CHUNK, PATIENCE = 250, 3  # steps between looks, looks without gain
THRESHOLDS = 7
OPTIMIZER = group_rmsprop(1e-2)


class Small(NamedTuple):
    """Where the descent from a small start was best on the cells held out."""

    heldout: float
    training: float
    steps: int
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
    width = _width(tree, cells.dims)
    loss = cells.loss(tree)
    states = jax.vmap(
        lambda key: start_descent(
            gaussian_factors(key, tree, cells.dims, width, std), OPTIMIZER
        )
    )(jax.random.split(key, STARTS))
    best: list[Small | None] = [None] * STARTS
    waited, steps = 0, 0
    while steps < most_steps and waited < patience:
        states, predictions = _moved(states, loss)
        steps, waited = steps + CHUNK, waited + 1
        for i, (trained, held) in enumerate(zip(*cells.errors(predictions), strict=True)):
            had = best[i]
            if had is None or held < had.heldout:
                if had is None or held < 0.98 * had.heldout:
                    waited = 0
                factors = jax.tree.map(lambda x, i=i: x[i], states.params)
                best[i] = Small(float(held), float(trained), steps, factors)
    return sorted((one for one in best if one is not None), key=lambda one: one.heldout)


def _width(tree: ModeTree, dims: tuple[int, ...]) -> int:
    """Local components of every node: fewer where transfer tensors of them are large."""
    most = max(len(kids) for kids in tree.children)
    return max(2, min(WIDTH, int(2.0 ** (20 / (most + 1)))))


@jax.jit
def _moved(
    states: DescentState, loss: ObservationLoss
) -> tuple[DescentState, Float[Array, "L B"]]:
    def one(state: DescentState) -> tuple[DescentState, jax.Array]:
        moved, _ = continue_descent(
            state, loss, OPTIMIZER, num_steps=CHUNK, record_every=CHUNK
        )
        return moved, loss.measurement.measurement.predict(*opened(moved.params))

    return jax.vmap(one)(states)


def rounded_starts(small: Small, tree: ModeTree, dims: tuple[int, ...]) -> list[Tensors]:
    """The tensor of a small start at the ranks that its singular values suggest.

    Every node has its largest ratio of neighbouring singular values above what is
    resolved, 0.3 of the held-out error relative to the norm; besides, thresholds between
    that and 0.3 give nested ranks.
    """
    tensors = transfer_of(small)
    full = tuple(allowed_ranks(tree, dims, [x.shape[-1] for x in tensors[:-1]]))
    found = rounded(tensors, tree, Cut(full, None, sliced=True))
    return [
        rounded(tensors, tree, Cut(ranks, None, sliced=True)).tensors
        for ranks in suggested(found.spectra, tree, dims, 0.3 * small.heldout)
    ]


def transfer_of(small: Small) -> Tensors:
    """Its transfer tensors, on the host."""
    return [np.asarray(x) for x in to_transfer_tensors(small.factors).tensors]


def suggested(
    spectra: dict[int, np.ndarray], tree: ModeTree, dims: tuple[int, ...], resolved: float
) -> list[Ranks]:
    """Ranks at the largest gaps of singular values, and at thresholds down to `resolved`.

    Args:
      resolved: relative to the norm, which is the root of the sum of squares at any node.
    """
    norm = float(np.linalg.norm(spectra[0])) or 1.0
    shares = [spectra[k] / norm for k in range(tree.root)]
    resolved = min(max(resolved, 1e-14), 0.3)
    found = [tuple(_gap(values, resolved) for values in shares)]
    for threshold in np.geomspace(resolved, 0.3, THRESHOLDS):
        found.append(tuple(max(1, int(np.sum(x > threshold))) for x in shares))
    kids = tree.children[tree.root]
    fits = []
    for ranks in found:
        even = list(ranks)
        if len(kids) == 2:
            even[kids[0]] = even[kids[1]] = max(even[kids[0]], even[kids[1]])
        fits.append(tuple(allowed_ranks(tree, dims, even)))
    return list(dict.fromkeys(fits))


def _gap(values: np.ndarray, resolved: float) -> int:
    """How many values come before the largest ratio of neighbours that is resolved."""
    above = max(1, int(np.sum(values > resolved)))
    floored = np.maximum(np.append(values, 0.0), resolved)
    return 1 + int(np.argmax(floored[:above] / floored[1 : above + 1]))
