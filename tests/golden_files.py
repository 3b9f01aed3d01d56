"""Reads golden trajectories, printed by an independent implementation, into our types."""

import ast
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import htfjax as htf

HERE = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[2] / "shared" / "golden"


class Golden(NamedTuple):
    """One file of hierarchical factors, and the node of each matrix stored in it."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    levels: list[list[tuple[int, ...]]]
    tree: htf.ModeTree
    nodes: dict[str, int]  # stored name, such as "layer1_0", to node id


def find(name: str) -> Path | None:
    """A golden file: our copy, else the shared one, else None."""
    return next((d / name for d in (HERE, SHARED) if (d / name).is_file()), None)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All arrays of a file, and its settings."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return arrays, ast.literal_eval(str(arrays.pop("meta")))


def read(path: Path) -> Golden:
    """A file of hierarchical factors."""
    arrays, meta = read_arrays(path)
    levels = ast.literal_eval(str(arrays.pop("tree")))
    spelled: dict[tuple[int, tuple[int, ...]], Any] = {
        (0, modes): modes[0] for modes in levels[0]
    }
    for depth, level in enumerate(levels[1:], start=1):
        for modes in level:
            kids = [below for below in levels[depth - 1] if set(below) <= set(modes)]
            kids.sort(key=lambda below: modes.index(below[0]))
            spelled[depth, modes] = tuple(spelled[depth - 1, below] for below in kids)
    top = len(levels) - 1
    tree = htf.ModeTree.from_nested(spelled[top, levels[top][0]])
    nodes = {
        ("output" if depth == top else f"layer{depth}_{i}"): _node(
            tree, spelled[depth, modes]
        )
        for depth, level in enumerate(levels)
        for i, modes in enumerate(level)
    }
    return Golden(arrays, meta, levels, tree, nodes)


def factors(golden: Golden, prefix: str) -> htf.Factors:
    """The factors stored under a prefix such as "init" or "step100"."""
    weights = {
        node: jnp.asarray(golden.arrays[f"{prefix}/{name}"])
        for name, node in golden.nodes.items()
    }
    ordered = tuple(weights[k] for k in range(golden.tree.num_nodes))
    return htf.Factors(tree=golden.tree, weights=ordered)


def steps(arrays: dict[str, np.ndarray]) -> list[int]:
    """The steps after which weights are stored, ascending."""
    stored = {name.split("/")[0] for name in arrays if name.startswith("step")}
    return sorted(int(name.removeprefix("step")) for name in stored)


def _node(tree: htf.ModeTree, nested: Any) -> int:
    spelled: list[Any] = list(range(tree.order))
    for k in tree.interior:
        spelled.append(tuple(spelled[c] for c in tree.children[k]))
    return spelled.index(nested)
