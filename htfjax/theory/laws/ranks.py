"""Laws C1, C2 and D1-D7: the tensor as a function, and ranks of its matricizations."""

import itertools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from htfjax.contraction.end_tensor import end_tensor
from htfjax.contraction.entries import entries
from htfjax.contraction.sensing import sense
from htfjax.factors.factors import Factors
from htfjax.factors.gaussian import gaussian_factors
from htfjax.instruments.rank_bound import rank_bound
from htfjax.instruments.ranks import (
    effective_rank,
    entanglement_entropy,
    matricize,
    numerical_rank,
)
from htfjax.instruments.spectra import hierarchical_rank, singular_values
from htfjax.theory import oracle
from htfjax.theory.laws.algebra import oracle_norms, oracle_tensor
from htfjax.theory.laws.law import Between, Case, Law
from htfjax.theory.ranks import nested_rank_bound, node_rank_bounds
from htfjax.theory.truncation import truncate, truncation_bounds

RANK = 1e-9  # singular values below this times the largest are zero
POINTS, SAMPLES = 3, 4


def rank_of(matrix: Any) -> int:
    """Numerical rank by NumPy."""
    s = np.linalg.svd(matrix, compute_uv=False)
    return int(np.sum(s > RANK * s[0]))


def spectrum_of(matrix: Any) -> np.ndarray:
    """Singular values by NumPy."""
    return np.linalg.svd(matrix, compute_uv=False)


def cuts(case: Case, most: int = 12) -> list[tuple[int, ...]]:
    """The first proper sets of modes, single ones before pairs."""
    order = case.tree.order
    sets = [c for k in range(1, order) for c in itertools.combinations(range(order), k)]
    return sets[:most]


def has_cuts(case: Case) -> bool:
    """Whether there are two modes to part."""
    return case.tree.order > 1


# C


def _inputs(case: Case, count: int) -> list[np.ndarray]:
    rng = case.rng
    return [rng.standard_normal((count, d)) for d in case.dims]


def _indices(case: Case) -> np.ndarray:
    rng = case.rng
    return np.stack([rng.integers(0, d, 9) for d in case.dims], axis=1)


def _read(case: Case) -> list[Any]:
    index = _indices(case)
    hot = [jnp.eye(d)[i] for d, i in zip(case.dims, index.T, strict=True)]
    vectors = [jnp.asarray(x) for x in _inputs(case, SAMPLES)]
    values = [sense(case.factors, vectors), sense(case.factors, hot)]
    return [*values, entries(case.factors, jnp.asarray(index))]


def _inner_products(case: Case) -> list[Any]:
    tensor, inputs = oracle_tensor(case), _inputs(case, SAMPLES)
    outer = [
        oracle.outer([(x[b], (n,)) for n, x in enumerate(inputs)]) for b in range(SAMPLES)
    ]
    values = tensor[tuple(_indices(case).T)]
    return [[np.sum(tensor * x) for x in outer], values, values]


def _grid_ranks(case: Case) -> list[int]:
    """Ranks of f on a grid of points for the rows times points for the columns."""
    row, column = (x.ravel() for x in np.indices((POINTS, POINTS)))
    sides = _inputs(case, 2 * POINTS)
    ranks = []
    for rows in cuts(case, 6):
        grid = [
            jnp.asarray(x[row] if n in rows else x[POINTS + column])
            for n, x in enumerate(sides)
        ]
        values = sense(case.factors, grid).reshape(POINTS, POINTS)
        ranks.append(rank_of(values))
    return ranks


def _tensor_ranks(case: Case) -> list[int]:
    tensor = oracle_tensor(case)
    ranks = [rank_of(oracle.matricize(tensor, rows)) for rows in cuts(case, 6)]
    return [min(POINTS, rank) for rank in ranks]


# D


def _spectra(case: Case) -> list[Any]:
    """Singular values by the library, padded by zeros to the smaller side."""
    found = []
    for rows in cuts(case, 6):
        s, inside = singular_values(case.factors, rows), [case.dims[n] for n in rows]
        sides = math.prod(inside), math.prod(case.dims) // math.prod(inside)
        found.append(jnp.pad(s, (0, min(sides) - len(s))))
    return found


def _other_spectra(case: Case) -> list[Any]:
    tensor, modes = oracle_tensor(case), range(case.tree.order)
    others = [[n for n in modes if n not in rows] for rows in cuts(case, 6)]
    return [spectrum_of(oracle.matricize(tensor, rows)) for rows in others]


def _matricized(case: Case) -> dict[int, Any]:
    tensor = end_tensor(case.factors)
    return {v: matricize(tensor, modes) for v, modes in enumerate(case.tree.modes)}


def _products(case: Case) -> dict[int, Any]:
    children, weights = case.plain()
    matrices = oracle.with_root(children, weights)
    return {
        v: oracle.phi(children, weights, v) @ w @ oracle.psi(children, weights, v).T
        for v, w in enumerate(matrices)
    }


def _low(case: Case) -> Factors:
    """All but two components of one node set to zero."""
    return truncate(case.factors, {case.tree.interior[0]: 2})


def _node_ranks(case: Case) -> dict[str, Any]:
    low = _low(case)
    tensor, nodes = end_tensor(low), range(case.tree.root)
    return {
        "bounds": dict(node_rank_bounds(low)),
        "ranks": dict(hierarchical_rank(low, rtol=RANK)),
        "dense": {v: rank_of(matricize(tensor, case.tree.modes[v])) for v in nodes},
    }


def _node_bounds(case: Case, shift: int = 0) -> dict[str, Any]:
    children, weights = case.plain(_low(case))
    limits = {}
    for v in range(case.tree.root):
        height = math.prod(case.dims[n] for n in case.tree.modes[v])
        limit = [rank_of(weights[v]), height, math.prod(case.dims) // height]
        for u in (v, oracle.parent_of(children, v)):
            if children[u]:
                limit.append(int(np.sum(oracle.sigma(children, weights, u) > 0)))
        limits[v] = min(limit) + shift
    most = {v: Between(0, limit) for v, limit in limits.items()}
    return {"bounds": limits, "ranks": most, "dense": most}


def _cut_ranks(case: Case) -> list[Any]:
    tensor = np.asarray(end_tensor(case.factors))
    return [
        [
            rank_of(oracle.matricize(tensor, rows)),
            rank_bound(case.factors, rows),
            nested_rank_bound(case.factors, rows),
        ]
        for rows in cuts(case)
    ]


def _min_cuts(case: Case, shift: int = 0) -> list[Any]:
    bounds = [oracle.min_cut(*case.plain(), rows) + shift for rows in cuts(case)]
    return [[Between(0, b), b, Between(b, math.inf)] for b in bounds]


def _binary_of_four(case: Case) -> bool:
    children = case.tree.children
    return case.tree.order == 4 and all(len(children[v]) == 2 for v in case.tree.interior)


def _example_ranks(case: Case) -> list[int]:
    tree = case.tree
    factors = gaussian_factors(case.key, tree, 8, 5, 1.0)
    pair = tree.modes[tree.interior[0]]
    crossing = (pair[0], next(n for n in range(4) if n not in pair))
    sets = (pair, crossing, pair[:1])
    return [int(numerical_rank(singular_values(factors, rows), RANK)) for rows in sets]


KEPT = (0, 2)  # components


def _truncated(case: Case) -> dict[Any, Any]:
    """Bounds, errors and tails of singular values for one node, errors for all nodes."""
    tensor = np.asarray(end_tensor(case.factors))

    def error(kept: int | dict[int, int]) -> float:
        low = np.asarray(end_tensor(truncate(case.factors, kept)))
        return float(np.linalg.norm(tensor - low))

    found: dict[Any, Any] = {kept: error(kept) for kept in KEPT}
    for v in case.tree.interior:
        s = spectrum_of(oracle.matricize(tensor, case.tree.modes[v]))
        for kept in KEPT:
            bound = truncation_bounds(case.factors, {v: kept})[v]
            found[v, kept] = [bound, error({v: kept}), np.linalg.norm(s[kept:])]
    return found


def _truncation_bounds(case: Case) -> dict[Any, Any]:
    children, weights = case.plain()
    norms = [float(np.linalg.norm(w)) for w in oracle.with_root(children, weights)]
    if weights[-1] is None and len(children[-1]) > 1:
        norms[-1] = 1.0  # ones only add up products of two columns or more
    found: dict[Any, Any] = dict.fromkeys(KEPT, Between(0, 0.0))
    for v, sigma in oracle_norms(case).items():
        outside = [n for u, n in enumerate(norms) if u not in (v, *children[v])]
        for kept in KEPT:
            bound = np.sum(np.sort(sigma)[::-1][kept:]) * math.prod(outside)
            most = Between(0, bound + 1e-12 * math.prod(norms))  # of rounding
            found[v, kept] = [bound, most, most]
            found[kept] = Between(0, found[kept].upper + most.upper)
    return found


SIZES = (1, 2, 7)


def _effective_ranks(case: Case) -> dict[str, Any]:
    values = {v: singular_values(case.factors, v) for v in range(case.tree.root)}
    found = {
        v: [
            effective_rank(s, RANK),
            effective_rank(1e-30 * s, RANK),
            effective_rank(s, RANK),
            entanglement_entropy(s, RANK),
        ]
        for v, s in values.items()
    }
    levels = [jnp.pad(jnp.full(n, 0.3), (0, 2)) for n in SIZES]
    equal = [[effective_rank(s), entanglement_entropy(s)] for s in levels]
    return {"nodes": found, "equal": equal}


def _entropies(case: Case) -> dict[str, Any]:
    """exp of the entropy of s / sum s (Roy and Vetterli), and the entropy of s^2."""

    def entropy(x: np.ndarray) -> float:
        p = x / np.sum(x)
        return -float(np.sum(p * np.log(p)))

    tensor, found = oracle_tensor(case), {}
    for v in range(case.tree.root):
        s = spectrum_of(oracle.matricize(tensor, case.tree.modes[v]))
        s = s[s > RANK * s[0]]
        rank = math.exp(entropy(s))
        found[v] = [rank, rank, Between(1, len(s)), entropy(s**2)]
    return {"nodes": found, "equal": [[n, math.log(n)] for n in SIZES]}


LAWS = (
    Law(
        "C1",
        "f(x) = <W, x_0 (x) ... (x) x_{N-1}>; one-hot inputs read entries",
        _read,
        _inner_products,
        source="arXiv:1605.06743",
    ),
    Law(
        "C2",
        "f on m points per side has rank min(m, rank [W; I])",
        _grid_ranks,
        _tensor_ranks,
        tolerance=0.0,
        source="arXiv:1605.06743, claim 1",
        applies=has_cuts,
    ),
    Law(
        "D1",
        "[W; I] and [W; rest] have the same singular values",
        _spectra,
        _other_spectra,
        tolerance=1e-11,
        applies=has_cuts,
    ),
    Law("D2", "[W; v] = Phi_v W_v Psi_v^T", _matricized, _products),
    Law(
        "D3",
        "rank [W; v] <= rank W_v, nonzero components at v and above, dimensions",
        _node_ranks,
        _node_bounds,
        tolerance=0.0,
        broken=lambda case: _node_bounds(case, -1),
    ),
    Law(
        "D4",
        "rank [W; I] <= the min-cut of the tree between I and the rest",
        _cut_ranks,
        _min_cuts,
        tolerance=0.0,
        source="arXiv:1704.01552",
        applies=has_cuts,
        broken=lambda case: _min_cuts(case, -1),  # shapes alone enter
    ),
    Law(
        "D5",
        "binary, order 4, D = 8, R = 5: ranks 5, 25, 5 of a pair, across it, of a leaf",
        _example_ranks,
        lambda case: [5, 25, 5],
        tolerance=0.0,
        applies=_binary_of_four,
        broken=lambda case: [5, 20, 5],
    ),
    Law(
        "D6",
        "truncation error and tail of [W; v] <= (sum of dropped sigma) prod ||W_u||",
        _truncated,
        _truncation_bounds,
        source="arXiv:2201.11729, constants derived here",
    ),
    Law(
        "D7",
        "1 <= effective rank <= rank, equal for equal values, scale invariant",
        _effective_ranks,
        _entropies,
        source="Roy and Vetterli, 2007",
        applies=has_cuts,
    ),
)
