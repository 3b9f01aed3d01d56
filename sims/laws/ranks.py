"""Laws C1, C2 and D1-D7: the tensor as a function, and ranks of its matricizations."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf

from . import oracle
from .register import Case, excess, gap, law, random_case

RANK = 1e-9  # singular values below this times the largest are zero


def _rank(matrix: np.ndarray) -> int:
    s = np.linalg.svd(matrix, compute_uv=False)
    return int(np.sum(s > RANK * s[0]))


def _cuts(case: Case) -> list[tuple[int, ...]]:
    order = case.tree.order
    return [c for k in range(1, order) for c in itertools.combinations(range(order), k)]


@law("C1", "f(x) = <W, x_0 (x) ... (x) x_{N-1}>; one-hot inputs read entries")
def function_view(case: Case) -> float:
    dims = htf.mode_dims(case.factors)
    tensor = oracle.end_tensor(case.children, case.right())
    inputs = [case.rng.standard_normal((4, d)) for d in dims]
    expected = []
    for b in range(4):
        value = tensor
        for x in inputs:
            value = np.tensordot(x[b], value, axes=(0, 0))
        expected.append(float(value))
    worst = gap(htf.sense(case.factors, [jnp.asarray(x) for x in inputs]), expected)
    index = np.stack([case.rng.integers(0, d, 9) for d in dims], axis=1)
    return max(worst, gap(htf.entries(case.factors, index), tensor[tuple(index.T)]))


@law("C2", "f on m points a side has rank min(m, rank [W; I])", 0.0)
def separation_rank(case: Case) -> float:
    dims, points, worst = htf.mode_dims(case.factors), 3, 0.0
    tensor = oracle.end_tensor(case.children, case.right())
    row, column = (x.ravel() for x in np.indices((points, points)))
    sides = [[case.rng.standard_normal((points, d)) + s for d in dims] for s in (0, 1)]
    for rows in _cuts(case)[:6]:
        inputs = [
            jnp.asarray(sides[0][n][row] if n in rows else sides[1][n][column])
            for n in range(len(dims))
        ]
        grid = np.asarray(htf.sense(case.factors, inputs)).reshape(points, points)
        rank = _rank(oracle.unfold(tensor, list(rows)))
        rank = 0 if case.broken else rank
        worst = max(worst, gap(_rank(grid), min(points, rank)))
    return worst


@law("D1", "[W; I] and [W; rest] have the same singular values", 1e-11)
def two_sides(case: Case) -> float:
    tensor, worst = oracle.end_tensor(case.children, case.right()), 0.0
    for rows in _cuts(case)[:6]:
        rest = [n for n in range(case.tree.order) if n not in rows]
        s = np.linalg.svd(oracle.unfold(tensor, rest), compute_uv=False)
        found = np.asarray(htf.singular_values(case.factors, rows))
        s = np.pad(s, (0, max(0, len(found) - len(s))))[: len(found)]
        worst = max(worst, gap(found, s))
    return worst


@law("D2", "[W; v] = Phi_v W_v Psi_v^T")
def matricization(case: Case) -> float:
    weights, worst = case.right(), 0.0
    tensor = htf.end_tensor(case.factors)
    for v in range(case.tree.num_nodes):
        found = htf.matricize(tensor, case.tree.modes[v])
        left = oracle.inside(case.children, weights, v)
        right = oracle.outside(case.children, weights, v)
        worst = max(worst, gap(found, left @ weights[v] @ right.T))
    return worst


@law("D3", "rank [W; v] <= rank W_v, nonzero components at v and above, dimensions", 0.0)
def node_ranks(case: Case) -> float:
    low = htf.theory.truncate(case.factors, {case.tree.interior[0]: 2})
    tensor, weights, worst = htf.end_tensor(low), case.right(low), 0.0
    bounds = htf.theory.node_rank_bounds(low)
    for v in range(case.tree.root):
        matrix = np.asarray(htf.matricize(tensor, case.tree.modes[v]))
        limits = [_rank(weights[v]), *matrix.shape]
        for u in (v, oracle.parent(case.children, v)):
            if case.children[u]:
                limits.append(int(np.sum(oracle.sigma(case.children, weights, u) > 0)))
        worst = max(worst, excess(_rank(matrix), min(limits)))
        worst = max(worst, 0.0 if case.broken else gap(int(bounds[v]), min(limits)))
    return worst


@law("D4", "rank [W; I] <= the min-cut of the tree between I and the rest", 0.0)
def cuts(case: Case) -> float:
    tensor, worst = np.asarray(htf.end_tensor(case.factors)), 0.0
    for rows in _cuts(case)[:12]:
        bound = oracle.min_cut(case.children, case.right(), list(rows))
        matrix = oracle.unfold(tensor, list(rows))
        if case.broken:  # shapes alone enter the bound: no weights can break it
            matrix, bound = matrix + case.rng.standard_normal(matrix.shape), bound - 1
        worst = max(worst, excess(_rank(matrix), bound))
        worst = max(worst, gap(htf.rank_bound(case.factors, rows), bound))
        nested = htf.theory.nested_rank_bound(case.factors, rows)
        worst = max(worst, excess(bound, nested))
    return worst


@law("D5", "binary, D = 8, R = 5: ranks 5, 25, 5 of {0,1}, {0,2}, {0}", 0.0)
def example_ranks(case: Case) -> float:
    widths = (4, 5) if case.broken else 5
    factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 8, widths, 1.0)
    found = [
        int(htf.numerical_rank(htf.singular_values(factors, rows), RANK))
        for rows in ((0, 1), (0, 2), (0,))
    ]
    return gap(found, [5, 25, 5])


@law("D6", "truncation error and tail of [W; v] <= (sum of dropped sigma) prod ||W_u||")
def truncation(case: Case) -> float:
    weights, worst = case.right(), 0.0
    norms = [np.linalg.norm(w) for w in weights]
    tensor = htf.end_tensor(case.factors)
    total = 0.0
    for v in case.tree.interior:
        low = htf.theory.truncate(case.factors, {v: 1})
        sigma = np.sort(oracle.sigma(case.children, weights, v))[::-1]
        near = (v, *case.children[v])
        bound = sum(sigma[1:]) * math.prod(n for u, n in enumerate(norms) if u not in near)
        total += bound
        error = float(jnp.linalg.norm((tensor - htf.end_tensor(low)).ravel()))
        s = np.asarray(jnp.linalg.svd(htf.matricize(tensor, case.tree.modes[v]),
                                      compute_uv=False))  # fmt: skip
        tail = 0.0 if v == case.tree.root else float(np.linalg.norm(s[1:]))
        # The bound is loose: that it is the library's is what a broken matrix shows.
        theirs = htf.theory.truncation_bounds(case.factors, {v: 1})[v]
        worst = max(worst, gap(theirs, bound), excess(error, bound), excess(tail, bound))
    low = htf.theory.truncate(case.factors, 1)
    error = float(jnp.linalg.norm((tensor - htf.end_tensor(low)).ravel()))
    return max(worst, excess(error, total))


@law("D7", "1 <= effective rank <= rank, equal for equal values, scale invariant")
def effective_rank(case: Case) -> float:
    tensor, worst = oracle.end_tensor(case.children, case.right()), 0.0
    for v in range(case.tree.root):
        matrix = oracle.unfold(tensor, list(case.tree.modes[v]))
        s = np.linalg.svd(matrix, compute_uv=False)
        s = s[s > RANK * s[0]]
        p = s / s.sum()
        expected = math.exp(-np.sum(p * np.log(p)))
        values = htf.singular_values(case.factors, v)
        found = float(htf.effective_rank(values, RANK))
        worst = max(worst, gap(found, expected), excess(1.0, found))
        worst = max(worst, excess(found, float(np.sum(np.asarray(values) > RANK * s[0]))))
        worst = max(worst, gap(htf.effective_rank(7.0 * values, RANK), found))
    worst = max(worst, gap(htf.effective_rank(jnp.full((4,), 0.3)), 4.0))
    return worst


def five_trees() -> dict[str, htf.ModeTree]:
    """The built-in trees: those on which the laws were first checked."""
    return {
        "binary": htf.perfect(4),
        "flat": htf.flat(3),
        "interleaved": htf.ModeTree.from_nested(((0, 3), (1, 2, 4))),
        "caterpillar": htf.caterpillar(4),
        "leaf_at_root": htf.ModeTree.from_nested(((0, 1), 2)),
    }


__all__ = ["five_trees", "random_case"]
