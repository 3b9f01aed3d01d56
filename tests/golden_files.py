"""Reads golden trajectories, printed by an independent implementation, into our types."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import htfjax as htf

HERE = Path(__file__).parent / "data"
HIERARCHICAL = (
    "ht_order4_dim6_sgd",
    "ht_order4_dim8_completion",
    "ht_order5_odd_tree_completion",
    "ht_order8_half_pattern_completion",
    "ht_order9_pool3_sensing",
)
FLAT = ("mf_depth3", "cp_order3")
NETWORKS = ("igc_relu_batchnorm", "igc_softplus")


class Arrays(dict[str, np.ndarray]):
    """Arrays by name, and the names that were read: a test can say that all were."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.read.add(name)
        return super().__getitem__(name)

    @property
    def unread(self) -> list[str]:
        """Names that nothing has asked for."""
        return sorted(self.keys() - self.read)


class Golden(NamedTuple):
    """One file of hierarchical factors, and the node of each matrix stored in it."""

    arrays: Arrays
    meta: dict[str, Any]
    levels: list[list[tuple[int, ...]]]
    tree: htf.ModeTree
    nodes: dict[str, int]  # stored name, such as "layer1_0", to node id


def read_arrays(name: str) -> Arrays:
    """All arrays of a file."""
    with np.load(HERE / f"{name}.npz", allow_pickle=False) as archive:
        return Arrays(archive)


def read_literal(arrays: Arrays, name: str) -> Any:
    """What an array spells as a Python literal."""
    return ast.literal_eval(str(arrays[name]))


def read(name: str) -> Golden:
    """A file of hierarchical factors."""
    arrays = read_arrays(name)
    meta, levels = read_literal(arrays, "meta"), read_literal(arrays, "tree")
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


def steps(arrays: Arrays) -> list[int]:
    """The steps after which weights are stored, ascending."""
    stored = {name.split("/")[0] for name in arrays if name.startswith("step")}
    return sorted(int(name.removeprefix("step")) for name in stored)


def _node(tree: htf.ModeTree, nested: Any) -> int:
    spelled: list[Any] = list(range(tree.order))
    for k in tree.interior:
        spelled.append(tuple(spelled[c] for c in tree.children[k]))
    return spelled.index(nested)
