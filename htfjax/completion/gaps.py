"""Gaps in singular values, and the ranks that they suggest."""

import numpy as np

from htfjax.completion.lanes import Ranks, Tensors, ranks_of
from htfjax.formats.cuts import Cut, allowed_ranks
from htfjax.formats.rounding import rounded
from htfjax.trees.mode_tree import ModeTree

THRESHOLDS = 7


def spectra_of(tensors: Tensors, tree: ModeTree) -> dict[int, np.ndarray]:
    """Singular values of every node but the root."""
    dims = [x.shape[0] for x in tensors[: tree.order]]
    ranks = tuple(allowed_ranks(tree, dims, ranks_of(tensors)))
    return rounded(tensors, tree, Cut(ranks, None, sliced=True)).spectra


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
