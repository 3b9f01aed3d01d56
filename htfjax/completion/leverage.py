"""Leverage of cells that were not observed: the error that a fit of noisy cells has there.

Of least squares with the Jacobian J on B cells and n degrees of freedom, a cell whose row
of the Jacobian is g has the expected squared error s^2 (1 + g^T (J^T J)^+ g), s^2 being the
sum of squared residuals over B - n. Cells held out are some dozens, chosen ranks by their
error, and seldom hold the few cells of large leverage; residuals are ten times as many.
"""

import dataclasses
import math

import numpy as np
import optax
from numpy.random import Generator

from htfjax.completion.cells import Cells
from htfjax.completion.lanes import Fit, Lanes, Tensors
from htfjax.trees.mode_tree import ModeTree

SAMPLE = 2048  # unobserved cells that stand for all
LARGEST = 2e10  # operations of a decomposition of the Jacobian
LARGEST_TENSOR = 2**62  # entries that an integer can count


def expected_square(
    fit: Fit,
    tensors: Tensors,
    tree: ModeTree,
    cells: Cells,
    optimizer: optax.GradientTransformation,
    rng: Generator,
) -> float | None:
    """Mean squared error on cells that were not observed, noise included.

    None where noise differs from cell to cell, or as many degrees of freedom as cells hide
    it. Targets are of size one.

    Args:
      fit: with its ranks and degrees of freedom.
      tensors: the fit of all cells, those held out too.
    """
    unseen = _unseen(cells, rng)
    left = len(cells.targets) - fit.freedom
    if np.ptp(cells.weights) > 1e-12 or not len(unseen) or left <= 0:
        return None
    both = dataclasses.replace(
        cells,
        indices=np.concatenate([cells.indices, unseen]),
        targets=np.append(cells.targets, np.zeros(len(unseen))),
        weights=np.ones(len(cells.targets) + len(unseen)),
        held=np.zeros(len(cells.targets) + len(unseen), bool),
    )
    lanes = Lanes(both, tree, fit.ranks, optimizer)
    known = slice(len(cells.targets))
    residuals = lanes.predicted(tensors)[known] - cells.targets
    square = float(np.sum(np.square(residuals))) / left
    parameters = sum(map(math.prod, lanes.shapes))
    if len(both.targets) * parameters * min(len(both.targets), parameters) > LARGEST:
        return square * (1 + fit.freedom / len(cells.targets))
    rows = lanes.jacobian(fit._replace(tensors=tensors))
    _, values, right = np.linalg.svd(rows[known], full_matrices=False)
    values, right = values[: fit.freedom], right[: fit.freedom]
    if values[-1] <= np.finfo(values.dtype).eps * len(rows) * values[0]:
        return None
    leverages = np.sum(np.square(rows[len(cells.targets) :] @ right.T / values), axis=1)
    return square * (1 + float(np.mean(leverages)))


def _unseen(cells: Cells, rng: Generator) -> np.ndarray:
    """Some cells (S, N) that were not observed."""
    size = math.prod(cells.dims)
    if size > LARGEST_TENSOR:  # hardly any cell is met by chance
        return np.stack([rng.integers(d, size=SAMPLE) for d in cells.dims], axis=1)
    known = np.ravel_multi_index(tuple(cells.indices.T), cells.dims)
    drawn = np.arange(size) if size <= 2**20 else rng.integers(size, size=4 * SAMPLE)
    left = np.setdiff1d(drawn, known)
    chosen = rng.permutation(left)[:SAMPLE]
    return np.stack(np.unravel_index(chosen, cells.dims), axis=1)
