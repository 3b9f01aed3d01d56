"""Laws C1, C2, D1-D7 and G2: the tensor as a function, and ranks of its matricizations."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax._types import Numbers
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
from htfjax.theory.laws.law import Between, Case, Pair, law
from htfjax.theory.ranks import nested_rank_bound, node_rank_bounds
from htfjax.theory.truncation import truncate, truncation_bounds

RANK = 1e-9  # singular values below this times the largest are zero


def _spectrum(matrix: Numbers) -> np.ndarray:
    return np.linalg.svd(matrix, compute_uv=False)


def _rank(matrix: Numbers) -> int:
    s = _spectrum(matrix)
    return int(np.sum(s > RANK * s[0]))


def _cuts(case: Case, most: int) -> list[tuple[int, ...]]:
    """The first proper sets of modes, single ones before pairs."""
    order = case.tree.order
    sets = [c for k in range(1, order) for c in itertools.combinations(range(order), k)]
    return sets[:most]


def _has_cuts(case: Case) -> bool:
    return case.tree.order > 1


@law("C1", "f(x) = <W, x_0 (x) ... (x) x_{N-1}>; one-hot inputs read entries",
     source="arXiv:1605.06743")  # fmt: skip
def function_view(case: Case) -> Pair:
    rng, tensor, modes = case.rng, case.tensor(), range(case.tree.order)
    inputs = [rng.standard_normal((4, d)) for d in case.dims]
    index = np.stack([rng.integers(0, d, 9) for d in case.dims], axis=1)
    hot = [jnp.eye(d)[i] for d, i in zip(case.dims, index.T, strict=True)]
    left = [sense(case.factors, list(map(jnp.asarray, inputs))), sense(case.factors, hot)]
    products = [
        np.sum(tensor * oracle.outer([(inputs[n][b], (n,)) for n in modes]))
        for b in range(4)
    ]
    values = tensor[tuple(index.T)]
    return [*left, entries(case.factors, jnp.asarray(index))], [products, values, values]


@law("C2", "f on m points per side has rank min(m, rank [W; I])", tolerance=0.0,
     source="arXiv:1605.06743, claim 1", applies=_has_cuts)  # fmt: skip
def separation_rank(case: Case) -> Pair:
    points, rng, tensor, left, right = 3, case.rng, case.tensor(), {}, {}
    row, column = (x.ravel() for x in np.indices((points, points)))
    sides = [[rng.standard_normal((points, d)) for d in case.dims] for _ in range(2)]
    for rows in _cuts(case, 6):
        grid = [
            jnp.asarray(x[row] if n in rows else y[column])
            for n, (x, y) in enumerate(zip(*sides, strict=True))
        ]
        left[rows] = _rank(sense(case.factors, grid).reshape(points, points))
        right[rows] = min(points, _rank(oracle.matricize(tensor, rows)))
    return left, right


@law("D1", "[W; I] and [W; rest] have the same singular values", tolerance=1e-11,
     applies=_has_cuts)  # fmt: skip
def two_sides(case: Case) -> Pair:
    left, right, tensor = {}, {}, case.tensor()
    for rows in _cuts(case, 6):
        rest = [n for n in range(case.tree.order) if n not in rows]
        right[rows] = _spectrum(oracle.matricize(tensor, rest))
        s = singular_values(case.factors, rows)
        left[rows] = jnp.pad(s, (0, len(right[rows]) - len(s)))
    return left, right


@law("D2", "[W; v] = Phi_v W_v Psi_v^T")
def matricization(case: Case) -> Pair:
    tensor, plain, right = end_tensor(case.factors), case.plain(), {}
    for v, w in enumerate(oracle.with_root(*plain)):
        right[v] = oracle.phi(*plain, v) @ w @ oracle.psi(*plain, v).T
    return {v: matricize(tensor, case.tree.modes[v]) for v in right}, right


@law("D3", "rank [W; v] <= rank W_v, nonzero components at v and above, dimensions",
     tolerance=0.0)  # fmt: skip
def node_ranks(case: Case) -> Pair:
    low = truncate(case.factors, {case.tree.interior[0]: 2})
    tensor, weights, sigma = end_tensor(low), case.plain(low)[1], case.sigma(low)
    dense, limits = {}, {}
    for v in range(case.tree.root):
        matrix = matricize(tensor, case.tree.modes[v])
        dense[v] = _rank(matrix)
        alive = [sigma[u] for u in (v, case.tree.parent[v]) if u in sigma]
        ranks = [_rank(weights[v]), *matrix.shape, *(np.sum(s > 0) for s in alive)]
        limits[v] = min(ranks) - case.broken
    most = {v: Between(0, limit) for v, limit in limits.items()}
    ranks = dict(hierarchical_rank(low, rtol=RANK))
    return [dict(node_rank_bounds(low)), ranks, dense], [limits, most, most]


@law("D4", "rank [W; I] <= the min-cut of the tree between I and the rest", tolerance=0.0,
     source="arXiv:1704.01552", applies=_has_cuts)  # fmt: skip
def min_cuts(case: Case) -> Pair:
    tensor, left, right = np.asarray(end_tensor(case.factors)), {}, {}
    for rows in _cuts(case, 12):
        bounds = [f(case.factors, rows) for f in (rank_bound, nested_rank_bound)]
        left[rows] = [_rank(oracle.matricize(tensor, rows)), *bounds]
        cut = oracle.min_cut(*case.plain(), rows) - case.broken  # of shapes alone
        right[rows] = [Between(0, cut), cut, Between(cut, math.inf)]
    return left, right


def _is_binary_of_four(case: Case) -> bool:
    children = case.tree.children
    return case.tree.order == 4 and all(len(children[v]) == 2 for v in case.tree.interior)


@law("D5", "binary, order 4, D = 8, R = 5: ranks 5, 25, 5 of a pair, across it, of a leaf",
     tolerance=0.0, applies=_is_binary_of_four)  # fmt: skip
def example_ranks(case: Case) -> Pair:
    factors = gaussian_factors(case.key, case.tree, 8, 5, 1.0)
    pair = case.tree.modes[case.tree.interior[0]]
    crossing = (pair[0], next(n for n in range(4) if n not in pair))
    spectra = [singular_values(factors, rows) for rows in (pair, crossing, pair[:1])]
    return [numerical_rank(s, RANK) for s in spectra], [5, 25 - case.broken, 5]


@law("D6", "truncation error and tail of [W; v] <= (sum of dropped sigma) prod ||W_u||",
     source="arXiv:2201.11729, constants derived here")  # fmt: skip
def truncation(case: Case) -> Pair:
    (children, weights), tensor = case.plain(), np.asarray(end_tensor(case.factors))
    norms = [float(np.linalg.norm(w)) for w in oracle.with_root(children, weights)]
    if weights[-1] is None and len(children[-1]) > 1:
        norms[-1] = 1.0  # ones only add up products of two columns or more
    left: dict[Any, Any] = {}
    right: dict[Any, Any] = {}

    def distance(low: Factors) -> Any:
        return np.linalg.norm(tensor - np.asarray(end_tensor(low)))

    for kept in (0, 2):
        total = 0.0
        for v, sigma in case.sigma().items():
            near = (v, *children[v])
            outside = math.prod(n for u, n in enumerate(norms) if u not in near)
            bound = np.sum(np.sort(sigma)[::-1][kept:]) * outside
            most = Between(0, bound + 1e-12 * math.prod(norms))  # of rounding
            total += most.upper
            theirs = truncation_bounds(case.factors, {v: kept})[v]
            s = _spectrum(oracle.matricize(tensor, case.tree.modes[v]))[kept:]
            error = distance(truncate(case.factors, {v: kept}))
            left[v, kept] = [theirs, error, np.linalg.norm(s)]
            right[v, kept] = [bound, most, most]
        left[kept] = distance(truncate(case.factors, kept))
        right[kept] = Between(0, total)
    return left, right


def _entropy(x: np.ndarray) -> float:
    p = x / np.sum(x)
    return -float(np.sum(p * np.log(p)))


@law("D7", "1 <= effective rank <= rank, equal for equal values, scale invariant",
     source="Roy and Vetterli, 2007", applies=_has_cuts)  # fmt: skip
def effective_ranks(case: Case) -> Pair:
    tensor, left, right = case.tensor(), {}, {}
    for v in range(case.tree.root):
        s = _spectrum(oracle.matricize(tensor, case.tree.modes[v]))
        s = s[s > RANK * s[0]]
        rank, found = math.exp(_entropy(s)), singular_values(case.factors, v)
        theirs = [effective_rank(x, RANK) for x in (found, 1e-30 * found)]
        left[v] = [*theirs, theirs[0], entanglement_entropy(found, RANK)]
        right[v] = [rank, rank, Between(1, len(s)), _entropy(s**2)]
    for n in (1, 2, 7):
        level = jnp.pad(jnp.full(n, 0.3), (0, 2))
        read = (effective_rank, numerical_rank, entanglement_entropy)
        left["equal", n] = [f(level) for f in read]
        right["equal", n] = [n, n, math.log(n)]
    return left, right


@law("G2", "gradients in x_p, as x_Q varies, span at most rank of the contracted tensor",
     tolerance=0.0,
     applies=lambda case: _has_cuts(case) and min(case.dims[:2]) > 1)  # fmt: skip
def gradient_span(case: Case) -> Pair:
    rng, tensor = case.rng, case.tensor()
    fixed = [rng.standard_normal(d) for d in case.dims]
    others = jnp.asarray(rng.standard_normal((12, case.dims[1])))

    def network(x: jax.Array, y: jax.Array) -> jax.Array:
        rest = [jnp.asarray(z)[None] for z in fixed[2:]]
        return sense(case.factors, [x[None], y[None], *rest])[0]

    slopes = jax.vmap(lambda y: jax.grad(network)(jnp.asarray(fixed[0]), y))(others)
    for n in reversed(range(2, case.tree.order)):
        tensor = np.tensordot(tensor, fixed[n], axes=(n, 0))
    return _rank(slopes), Between(0, _rank(tensor))


LAWS = (
    function_view, separation_rank, two_sides, matricization, node_ranks, min_cuts,
    example_ranks, truncation, effective_ranks, gradient_span,
)  # fmt: skip
