"""Completion by tensap: its tutorial's learner of ranks, on any tree and cells.

Alternating least squares from rank one, ranks raised where singular values ask for it, 20
times at most, and the model of the least error on cells held out.
"""

import contextlib
import importlib
import io
import warnings
from typing import Any

import numpy as np

import htfjax as htf


def completed(
    tree: htf.ModeTree,
    dims: tuple[int, ...],
    indices: np.ndarray,
    values: np.ndarray,
    held: np.ndarray,
) -> tuple[np.ndarray, dict[int, int]]:
    """The full tensor, and its ranks by node id of our tree.

    Args:
      held: (B,) booleans, the cells that choose the model.
    """
    peer = importlib.import_module("tensap")
    numbers = _numbers(tree)
    shape = _tree(peer, tree, numbers)
    learner = peer.TreeBasedTensorLearning(
        shape, np.full(shape.nb_nodes, True), peer.SquareLossFunction()
    )
    _set(learner)
    learner.bases_eval = _features(indices[~held], dims)
    learner.training_data = [None, values[~held]]
    learner.bases_eval_test = _features(indices[held], dims)
    learner.test_data = [None, values[held]]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = learner.solve()[0].tensor
    ranks = np.asarray(found.ranks).tolist()
    return (
        np.asarray(found.full().numpy()).reshape(dims),
        {k: int(ranks[numbers[k]]) for k in range(tree.root)},
    )


def _numbers(tree: htf.ModeTree) -> dict[int, int]:
    """Its numbers of our nodes: from the root, level by level."""
    numbers, queue = {tree.root: 0}, [tree.root]
    while queue:
        for child in tree.children[queue.pop(0)]:
            numbers[child] = len(numbers)
            queue.append(child)
    return numbers


def _tree(peer: Any, tree: htf.ModeTree, numbers: dict[int, int]) -> Any:
    """Its tree, by which node is a parent of which."""
    edges = np.zeros((tree.num_nodes, tree.num_nodes), bool)
    for k, kids in enumerate(tree.children):
        for child in kids:
            edges[numbers[k], numbers[child]] = True
    leaves = np.array([numbers[n] + 1 for n in range(tree.order)])
    return peer.DimensionTree(leaves, edges)


def _features(indices: np.ndarray, dims: tuple[int, ...]) -> list[np.ndarray]:
    """(B, D_n) per mode, one-hot: 1 at the level of each cell."""
    return [np.eye(dim)[column] for dim, column in zip(dims, indices.T, strict=True)]


def _set(learner: Any) -> None:
    """The settings of its tutorial of tensor completion."""
    learner.tolerance["on_stagnation"] = learner.tolerance["on_error"] = 1e-8
    learner.initialization_type = "canonical"
    learner.linear_model_learning.regularization = False
    learner.linear_model_learning.basis_adaptation = True
    learner.linear_model_learning.error_estimation = True
    learner.test_error = True
    learner.rank_adaptation = True
    learner.rank_adaptation_options["max_iterations"] = 20
    learner.rank_adaptation_options["theta"] = 0.8
    learner.rank_adaptation_options["early_stopping"] = False
    learner.rank_adaptation_options["early_stopping_factor"] = 10
    learner.tree_adaptation = False
    learner.alternating_minimization_parameters["stagnation"] = 1e-10
    learner.alternating_minimization_parameters["max_iterations"] = 50
    learner.alternating_minimization_parameters["display"] = False
    learner.display = False
    learner.model_selection = True
    learner.model_selection_options["type"] = "test_error"
