"""Completion of the tensor of tensap's tutorial, by its learner and by `htf.complete`.

Dimensions 5, 8, 4, 3, 6 on a linear tree, ranks up to 6, 864 of 2,880 cells known, drawn as
the tutorial draws them; a tenth of these is held out. tensap itself chooses by the error on
all cells there, so here it knows less than in its tutorial.
"""

import argparse
import importlib
import sys
import time
from typing import Any

import jax
import numpy as np

import htfjax as htf
from benchmarks import completion_tensap, harness

SIZES = (5, 8, 4, 3, 6)
RANKS = (1, 3, 3, 4, 3, 6, 3, 2, 4)  # of tensap's nodes
KNOWN = 0.3
Row = dict[str, Any]


def tutorial() -> tuple[htf.ModeTree, np.ndarray, np.ndarray]:
    """The tree, the tensor, and the positions of known cells."""
    tensap = importlib.import_module("tensap")
    np.random.seed(0)  # noqa: NPY002  (as there)
    tree = tensap.DimensionTree.linear(len(SIZES))
    drawn = tensap.TreeBasedTensor.randn(tree, list(RANKS), list(SIZES))
    tensor = np.asarray(drawn.full().numpy())
    count = round(KNOWN * tensor.size)
    places = np.random.choice(tensor.size, count, replace=False)  # noqa: NPY002
    cells = np.stack(np.unravel_index(places, SIZES, order="F"), axis=1)
    return htf.exchange.from_tensap(drawn).tree, tensor, cells


def main() -> int:
    """Completes, prints and writes the record."""
    parser = argparse.ArgumentParser(
        description="Completion of tensap's tutorial tensor; some two minutes."
    )
    parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    tree, truth, cells = tutorial()
    mine = np.full(SIZES, np.nan)
    mine[tuple(cells.T)] = truth[tuple(cells.T)]
    data = htf.observed(mine, key=jax.random.key(0), scaling="none")
    unseen = np.isnan(mine)
    rows: dict[str, Row] = {}

    def measured(name: str, tensor: np.ndarray, ranks: Any, begun: float) -> None:
        left = (tensor - truth)[unseen]
        rows[name] = {
            "error": float(np.linalg.norm(left) / np.linalg.norm(truth[unseen])),
            "ranks": ranks,
            "cpu_seconds": round(time.process_time() - begun, 1),
        }

    begun = time.process_time()
    found = htf.complete(data, tree=tree, key=jax.random.key(0))
    full = np.asarray(htf.end_tensor(found.factors))
    ranks = {str(found.tree.modes[k]): rank for k, rank in found.ranks.items()}
    measured("htfjax", full, ranks, begun)
    true = [
        int(np.linalg.matrix_rank(htf.matricize(truth, found.tree.modes[k])))
        for k in range(found.tree.root)
    ]
    rows["htfjax"]["exact_ranks"] = true == list(found.ranks.values())

    np.random.seed(1)  # noqa: NPY002  (what tensap draws from)
    begun = time.process_time()
    indices = np.concatenate([data.indices, data.test_indices])
    values = np.append(data.targets, data.test_targets)
    held = np.arange(len(values)) >= len(data.targets)
    full, numbers = completion_tensap.completed(found.tree, SIZES, indices, values, held)
    ranks = {str(found.tree.modes[k]): rank for k, rank in numbers.items()}
    measured("tensap", full, ranks, begun)
    for name, row in rows.items():
        sys.stdout.write(f"{name} {row}\n")
    path = harness.write_record("completion-tutorial", {"rows": rows})
    sys.stdout.write(f"written to {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
