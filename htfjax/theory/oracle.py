"""NumPy oracle: every definition spelled out in float64, nothing shared with the kernels.

The right-hand sides of the laws in `htfjax.theory.laws`, and what tests compare with; slow,
and meant for small tensors. A tree is a tuple of children per node id, as
`ModeTree.children` (leaves 0..N-1 first, the root last); weights are a list of matrices,
None for a root of ones.

Example:
  >>> import htfjax as htf, numpy as np
  >>> oracle = htf.theory.oracle
  >>> children = oracle.children_of((0, 1))
  >>> weights = [np.eye(2), np.ones((3, 2)), np.full((2, 1), 5.0)]
  >>> oracle.end_tensor(children, weights).tolist()
  [[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Children = tuple[tuple[int, ...], ...]
Weights = Sequence[Any]


def children_of(nested: Any) -> Children:
    """Numbers the nodes of nested tuples: modes keep their number, parents follow."""
    children: list[tuple[int, ...]] = [() for _ in range(_count_modes(nested))]

    def visit(part: Any) -> int:
        if isinstance(part, int):
            return part
        kids = tuple(visit(child) for child in part)
        children.append(kids)
        return len(children) - 1

    visit(nested)
    return tuple(children)


def interior(children: Children) -> list[int]:
    """Ids of the nodes that have children."""
    return [v for v, kids in enumerate(children) if kids]


def parent_of(children: Children, v: int) -> Any:
    """The node that lists v among its children, None for the root."""
    return next((p for p, kids in enumerate(children) if v in kids), None)


def modes_of(children: Children, v: int) -> tuple[int, ...]:
    """Modes at the leaves under v, ascending."""
    if not children[v]:
        return (v,)
    return tuple(sorted(m for c in children[v] for m in modes_of(children, c)))


def height_of(children: Children, v: int) -> int:
    """Longest way down from v to a leaf."""
    return max((1 + height_of(children, c) for c in children[v]), default=0)


def width_of(children: Children, weights: Weights, v: int) -> int:
    """R_v: rows of v's matrix, or columns of a child's where a root of ones has none."""
    if weights[v] is None:
        return weights[children[v][0]].shape[1]
    return weights[v].shape[0]


def dims_of(children: Children, weights: Weights) -> tuple[int, ...]:
    """D_0, ..., D_{N-1}."""
    order = len(children) - len(interior(children))
    return tuple(weights[n].shape[0] for n in range(order))


def with_root(children: Children, weights: Weights) -> list[np.ndarray]:
    """The matrices as float64, with the column of ones written out."""
    filled = list(weights)
    root = len(children) - 1
    if filled[root] is None:
        filled[root] = np.ones((width_of(children, weights, root), 1))
    return [np.array(w, np.float64) for w in filled]


def outer(parts: Sequence[tuple[np.ndarray, Sequence[int]]]) -> np.ndarray:
    """Tensor product of tensors whose modes are named, axes sorted by mode."""
    product, names = np.ones(()), []
    for tensor, modes in parts:
        product = np.multiply.outer(product, tensor)
        names += list(modes)
    return np.transpose(product, np.argsort(names, kind="stable")) if names else product


def summands(children: Children, weights: Weights, v: int) -> list[np.ndarray]:
    """For every r: the tensor product of the children's intermediate tensors r."""
    below = {c: intermediate(children, weights, c) for c in children[v]}
    return [
        outer([(below[c][r], modes_of(children, c)) for c in children[v]])
        for r in range(width_of(children, weights, v))
    ]


def intermediate(children: Children, weights: Weights, v: int) -> list[np.ndarray]:
    """For every r of the parent: the intermediate tensor of v, modes ascending."""
    matrix = with_root(children, weights)[v]
    if not children[v]:
        return [matrix[:, r] for r in range(matrix.shape[1])]
    parts = summands(children, weights, v)
    return [
        np.asarray(sum(matrix[s, r] * parts[s] for s in range(len(parts))))
        for r in range(matrix.shape[1])
    ]


def end_tensor(children: Children, weights: Weights) -> np.ndarray:
    """The recursion from the leaves to the root."""
    return intermediate(children, weights, len(children) - 1)[0]


def closed_form(children: Children, weights: Weights) -> np.ndarray:
    """The end tensor as one sum over all indices r_v at once, no recursion (law A1)."""
    operands: list[Any] = []
    for k, w in enumerate(with_root(children, weights)):
        up = parent_of(children, k)
        operands += [w[:, 0], [k]] if up is None else [w, [k, up]]
    order = len(dims_of(children, weights))
    return np.einsum(*operands, list(range(order)), optimize="greedy")


def scale(children: Children, weights: Weights) -> float:
    """Size that rounding errors of an entry are measured by: the sum of |summands|."""
    sizes = [None if w is None else np.abs(w) for w in weights]
    return float(np.max(end_tensor(children, sizes)))


def matricize(tensor: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    """The modes `rows` as rows, in their order; the others, ascending, as columns."""
    columns = [n for n in range(tensor.ndim) if n not in rows]
    height = math.prod(tensor.shape[n] for n in rows)
    return tensor.transpose(*rows, *columns).reshape(height, -1)


def component(
    children: Children, weights: Weights, v: int, r: int, fixed: Sequence[int] = ()
) -> list[np.ndarray]:
    """LC(v, r): row r of v's matrix and column r of every child's, trained ones only."""
    own = [] if weights[v] is None or v in fixed else [np.asarray(weights[v])[r]]
    return own + [np.asarray(weights[c])[:, r] for c in children[v] if c not in fixed]


def sigma(
    children: Children, weights: Weights, v: int, fixed: Sequence[int] = ()
) -> np.ndarray:
    """Local component norms of v."""
    return np.array(
        [
            math.prod(np.linalg.norm(w) for w in component(children, weights, v, r, fixed))
            for r in range(width_of(children, weights, v))
        ]
    )


def unbalancedness(
    children: Children, weights: Weights, fixed: Sequence[int] = ()
) -> float:
    """Largest gap of squared norms within one local component."""
    gaps = [0.0]
    for v in interior(children):
        for r in range(width_of(children, weights, v)):
            squares = [w @ w for w in component(children, weights, v, r, fixed)]
            gaps += [abs(a - b) for a in squares for b in squares]
    return float(max(gaps))


def direction(children: Children, weights: Weights, v: int, r: int) -> np.ndarray:
    """C_r^(v): the end tensor with component r normalized and its siblings set to zero."""
    if sigma(children, weights, v)[r] == 0:
        return np.zeros(dims_of(children, weights))
    changed = with_root(children, weights)
    row = changed[v][r].copy()
    changed[v][:] = 0
    changed[v][r] = row if weights[v] is None else row / np.linalg.norm(row)
    for c in children[v]:
        changed[c][:, r] /= np.linalg.norm(changed[c][:, r])
    return end_tensor(children, changed)


def forces(
    children: Children, weights: Weights, slope: np.ndarray
) -> dict[int, np.ndarray]:
    """gamma_r = <-slope, C_r> at every interior node, with slope = grad L(W)."""
    return {
        v: np.array(
            [
                -np.sum(slope * direction(children, weights, v, r))
                for r in range(width_of(children, weights, v))
            ]
        )
        for v in interior(children)
    }


def phi(children: Children, weights: Weights, v: int) -> np.ndarray:
    """(P_v, R_v): what the tree below v offers each row of its matrix."""
    if not children[v]:
        return np.eye(np.asarray(weights[v]).shape[0])
    return np.stack([x.reshape(-1) for x in summands(children, weights, v)], axis=1)


def psi(children: Children, weights: Weights, v: int) -> np.ndarray:
    """(P_rest, R_parent): what the tree around v makes of each column of its matrix."""
    return np.stack([x.reshape(-1) for x in _around(children, weights, v)], axis=1)


def weight_gradients(
    children: Children, weights: Weights, tensor_gradient: np.ndarray
) -> list[np.ndarray]:
    """Phi^T [gradient of the loss in the tensor; v] Psi for every node (law E1)."""
    return [
        phi(children, weights, v).T
        @ matricize(tensor_gradient, modes_of(children, v))
        @ psi(children, weights, v)
        for v in range(len(children))
    ]


def min_cut(children: Children, weights: Weights, rows: Sequence[int]) -> int:
    """Least product of the sizes of indices that part `rows` from the other modes.

    Tries every way in which the index r_v of an interior node is inside, outside or cut;
    legs are where `rows` says, or cut.
    """
    nodes, widths = interior(children), [len(w) for w in with_root(children, weights)]
    best = math.prod(widths[n] for n in rows)
    for choice in itertools.product("ioc", repeat=len(nodes)):
        place = dict(zip(nodes, choice, strict=True))
        above = {c: place[v] for v in nodes for c in children[v]}
        if any({place[v], above.get(v)} == {"i", "o"} for v in nodes):
            continue
        cost = math.prod(widths[v] for v in nodes if place[v] == "c")
        for n in range(len(dims_of(children, weights))):
            cost *= 1 if above[n] in ("i" if n in rows else "o", "c") else widths[n]
        best = min(best, cost)
    return best


def _around(children: Children, weights: Weights, v: int) -> list[np.ndarray]:
    """For every r of the parent: the tensor over the modes that are not under v."""
    p = parent_of(children, v)
    if p is None:
        return [np.ones(())]
    matrix, above = with_root(children, weights)[p], _around(children, weights, p)
    siblings = [c for c in children[p] if c != v]
    below = {c: intermediate(children, weights, c) for c in siblings}
    order = len(children) - len(interior(children))
    outside = [n for n in range(order) if n not in modes_of(children, p)]
    return [
        outer(
            [(below[c][r], modes_of(children, c)) for c in siblings]
            + [(np.asarray(sum(matrix[r, s] * x for s, x in enumerate(above))), outside)]
        )
        for r in range(matrix.shape[0])
    ]


def _count_modes(nested: Any) -> int:
    return 1 if isinstance(nested, int) else sum(map(_count_modes, nested))
