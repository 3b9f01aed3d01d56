"""Reads golden trajectories into the package's own types."""

import ast
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import htfjax as htf


class Golden(NamedTuple):
    """One file: its arrays, settings, and which node each stored matrix belongs to."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    tree: htf.ModeTree
    nodes: dict[str, int]  # stored name, e.g. "layer1_0", to node id


def load(path: Path) -> Golden:
    """A file of hierarchical factors."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    meta = ast.literal_eval(str(arrays.pop("meta")))
    levels = ast.literal_eval(str(arrays.pop("tree")))
    spelled: list[Any] = list(range(len(meta["dims"])))
    names: list[dict[tuple, str]] = []
    keys: dict[str, Any] = {f"layer0_{n}": n for n in spelled}
    grouped = spelled
    for depth, level in enumerate(levels[1:], start=1):
        below = {
            tuple(modes): node
            for modes, node in zip(levels[depth - 1], grouped, strict=True)
        }
        grouped = []
        for modes in level:
            kids = [below[m] for m in levels[depth - 1] if set(m) <= set(modes)]
            kids.sort(key=lambda node: tuple(modes).index(_first_mode(node)))
            grouped.append(tuple(kids))
        last = depth == len(levels) - 1
        keys.update(
            {
                ("output" if last else f"layer{depth}_{i}"): node
                for i, node in enumerate(grouped)
            }
        )
    del names
    tree = htf.ModeTree.from_nested(grouped[0])
    return Golden(arrays, meta, tree, {k: _find(tree, node) for k, node in keys.items()})


def _first_mode(node: Any) -> int:
    return node if isinstance(node, int) else _first_mode(node[0])


def _find(tree: htf.ModeTree, node: Any) -> int:
    if isinstance(node, int):
        return node
    ids: list[Any] = list(range(tree.order))
    for k in tree.interior:
        ids.append(tuple(ids[c] for c in tree.children[k]))
    return ids.index(node)


def factors(golden: Golden, prefix: str) -> htf.Factors:
    """The factors stored under a prefix such as "init" or "step100"."""
    by_node = {
        node: jnp.asarray(golden.arrays[f"{prefix}/{name}"])
        for name, node in golden.nodes.items()
    }
    return htf.Factors(
        tree=golden.tree,
        weights=tuple(by_node[k] for k in range(golden.tree.num_nodes)),
    )
