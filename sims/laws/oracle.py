"""The right-hand sides of the laws, in NumPy and by definition; no code of the library.

A tree is a tuple of children per node, leaves first and the root last; weights are a
list of matrices, a root of ones written out.
"""

import itertools
import math
from typing import Any

import numpy as np

Tree = tuple[tuple[int, ...], ...]
Weights = list[np.ndarray]


def interior(tree: Tree) -> list[int]:
    """Nodes with children."""
    return [k for k, kids in enumerate(tree) if kids]


def parent(tree: Tree, k: int) -> int:
    """The node above, -1 for the root."""
    return next((p for p, kids in enumerate(tree) if k in kids), -1)


def modes(tree: Tree, k: int) -> list[int]:
    """Modes below a node, ascending."""
    return [k] if not tree[k] else sorted(m for c in tree[k] for m in modes(tree, c))


def end_tensor(tree: Tree, weights: Weights) -> np.ndarray:
    """One einsum over all matrices at once: the closed form A1, no recursion."""
    order, root = len(tree) - len(interior(tree)), len(tree) - 1
    operands: list[Any] = []
    for k, w in enumerate(weights):
        up = [] if k == root else [parent(tree, k)]
        operands += [w if up else w[:, 0], [k, *up]]
    return np.einsum(*operands, list(range(order)), optimize="greedy")


def unfold(tensor: np.ndarray, rows: list[int]) -> np.ndarray:
    """Matricization with the given modes as rows."""
    columns = [n for n in range(tensor.ndim) if n not in rows]
    height = math.prod(tensor.shape[n] for n in rows)
    return tensor.transpose(*rows, *columns).reshape(height, -1)


def vectors(tree: Tree, weights: Weights, v: int, r: int) -> list[np.ndarray]:
    """LC(v, r)."""
    return [weights[v][r], *(weights[c][:, r] for c in tree[v])]


def sigma(tree: Tree, weights: Weights, v: int) -> np.ndarray:
    """Local component norms."""
    count = len(weights[v])
    return np.array(
        [
            math.prod(np.linalg.norm(w) for w in vectors(tree, weights, v, r))
            for r in range(count)
        ]
    )


def direction(tree: Tree, weights: Weights, v: int, r: int) -> np.ndarray:
    """C_r^(v)."""
    changed = [w.copy() for w in weights]
    changed[v] = np.zeros_like(weights[v])
    changed[v][r] = weights[v][r] / np.linalg.norm(weights[v][r])
    for c in tree[v]:
        changed[c][:, r] /= np.linalg.norm(weights[c][:, r])
    return end_tensor(tree, changed)


def inside(tree: Tree, weights: Weights, v: int) -> np.ndarray:
    """Phi_v: (dimensions below v, R_v)."""
    if not tree[v]:
        return np.eye(len(weights[v]))
    columns = []
    for r in range(len(weights[v])):
        tensor, names = np.ones(()), []
        for c in tree[v]:
            part = inside(tree, weights, c) @ weights[c][:, r]
            shape = [len(weights[m]) for m in modes(tree, c)]
            tensor = np.multiply.outer(tensor, part.reshape(shape))
            names += modes(tree, c)
        columns.append(tensor.transpose(np.argsort(names)).ravel())
    return np.stack(columns, axis=1)


def outside(tree: Tree, weights: Weights, v: int) -> np.ndarray:
    """Psi_v: (the other dimensions, R_parent): the derivative of W in W_v's columns."""
    order = len(tree) - len(interior(tree))
    up = parent(tree, v)
    if up < 0:
        return np.ones((1, 1))
    rest = [n for n in range(order) if n not in modes(tree, v)]
    width = len(weights[up])
    columns = []
    for r in range(width):
        # Nothing of v but a one in column r, on a single fictitious index below.
        changed = [w.copy() for w in weights]
        changed[v] = np.zeros_like(weights[v])
        changed[v][0, r] = 1.0
        tensor = end_tensor(tree, changed)
        below = inside(tree, weights, v)[:, 0]
        matrix = unfold(tensor, modes(tree, v))
        columns.append(below @ matrix / (below @ below))
    del rest
    return np.stack(columns, axis=1)


def gradients(tree: Tree, weights: Weights, slope: np.ndarray) -> Weights:
    """Phi^T [slope; v] Psi for every node."""
    return [
        inside(tree, weights, v).T
        @ unfold(slope, modes(tree, v))
        @ outside(tree, weights, v)
        for v in range(len(tree))
    ]


def min_cut(tree: Tree, weights: Weights, rows: list[int]) -> int:
    """The cheapest set of indices that parts rows from columns, by trying all."""
    order, edges = len(tree) - len(interior(tree)), []
    for k, kids in enumerate(tree):
        edges += [(c, k) for c in kids]
    best = math.prod(len(weights[n]) for n in rows)
    sides = interior(tree)
    # An index is inside, outside, or cut; legs are what they are, or cut.
    for choice in itertools.product("ioc", repeat=len(sides)):
        place = dict(zip(sides, choice, strict=True))
        cost = math.prod(len(weights[v]) for v in sides if place[v] == "c")
        for n in range(order):
            here, above = ("i" if n in rows else "o"), place[parent(tree, n)]
            if above not in (here, "c"):
                cost *= len(weights[n])
        clash = any({place[a], place[b]} == {"i", "o"} for a, b in edges if a >= order)
        if not clash:
            best = min(best, cost)
    return best
