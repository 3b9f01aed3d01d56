"""Costs of the routes to singular values, in floating-point operations.

Predictions from shapes alone, as Python integers, so that an order of a thousand does not
overflow them. Calls of LAPACK have a price of their own, which decides at small sizes.
"""

from collections.abc import Iterable

from htfjax.factors.layout import Layout
from htfjax.instruments.qr_sweep import ancestors

# Operations that a CPU does in a matrix product while LAPACK does one, an estimate (two
# cores, float64): bidiagonal SVD and symmetric eigenvalues of small matrices are slow.
SVD_RATE = 10
QR_RATE = 3
CALL = 100_000  # entering LAPACK once
STEP = 30_000  # one small operation of a sweep


def dense_cost(layout: Layout, sides: Iterable[tuple[int, int]]) -> int:
    """The end tensor and one SVD for each (rows, columns)."""
    tree, rows = layout.tree, layout.widths
    sizes = layout.sizes
    inside = [2 * sizes[k] * rows[k] * rows[tree.parent[k]] for k in tree.interior[:-1]]
    cost = sum(inside) + 2 * sizes[tree.root] * rows[tree.root] + STEP * tree.num_nodes
    for height, width in sides:
        small, large = sorted((height, width))
        cost += SVD_RATE * small * small * (2 * large) + CALL
    return cost


def qr_cost(layout: Layout, nodes: Iterable[int]) -> int:
    """The QR sweep and one SVD of a core for each node."""
    tree, rows = layout.tree, layout.widths
    wanted = list(nodes)
    needed = ancestors(tree, wanted)
    cost = 0

    def reduced(height: int, width: int) -> int:
        nonlocal cost
        if height > width:
            cost += QR_RATE * 2 * height * width * width + CALL
        return min(height, width)

    def folded(heights: list[int], width: int) -> int:
        nonlocal cost
        joint = heights[0]
        for height in heights[1:]:
            cost += joint * height * width + STEP
            joint = reduced(joint * height, width)
        return joint

    tables: list[int] = []
    for k, kids in enumerate(tree.children):
        width = 1 if k == tree.root else rows[tree.parent[k]]
        height = rows[k] if not kids else folded([tables[c] for c in kids], rows[k])
        cost += 2 * height * rows[k] * width + STEP if kids else STEP
        tables.append(reduced(height, width))
    around = {tree.root: 1}
    for v in reversed(tree.interior):
        if v not in needed:
            continue
        cost += 2 * around[v] * rows[v] * (1 if v == tree.root else rows[tree.parent[v]])
        top = reduced(around[v], rows[v])
        for child in tree.children[v]:
            others = [tables[c] for c in tree.children[v] if c != child][:2]
            around[child] = folded([top, *others], rows[v])
    for k in wanted:
        small, large = sorted((tables[k], around.get(k, 1)))
        cost += SVD_RATE * small * small * (2 * large) + CALL
    return cost


def gram_cost(layout: Layout, nodes: Iterable[int]) -> int:
    """Both Gram sweeps and at most two decompositions for each node."""
    tree, rows = layout.tree, layout.widths
    cost = 0
    for k, width in enumerate(rows[:-1]):
        above = rows[tree.parent[k]]
        cost += 4 * width * above * (width + above) + 3 * above * above + 2 * STEP
    for k in nodes:
        small = 1 if k == tree.root else min(rows[k], rows[tree.parent[k]])
        cost += 2 * SVD_RATE * small**3 + 2 * CALL
    return cost
