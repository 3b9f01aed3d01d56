"""Laws A1-A12 and B1-B3: algebra of the end tensor, and its special cases."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax._types import PyTree
from htfjax.contraction.end_tensor import end_tensor
from htfjax.factors.balanced import balanced_factors
from htfjax.factors.chains import collapse_chains
from htfjax.factors.factors import Factors
from htfjax.factors.gaussian import gaussian_factors
from htfjax.factors.layout import widths
from htfjax.instruments.inner import squared_norm
from htfjax.instruments.local_components import (
    component_contributions,
    local_component_norms,
)
from htfjax.instruments.spectra import hierarchical_rank, singular_values
from htfjax.theory import oracle
from htfjax.theory.directions import direction_tensors
from htfjax.theory.laws.law import Between, Case, Pair, law
from htfjax.theory.scaling import degree, rescale_component
from htfjax.trees.builders import flat
from htfjax.trees.mode_tree import ModeTree

_direction_tensors = jax.jit(direction_tensors, static_argnums=1)


def _tensor_and_norms(factors: Factors) -> list[PyTree]:
    return [end_tensor(factors), dict(local_component_norms(factors))]


@law("A1", "W[i] = sum over all r of the product of all matrices")
def closed_form(case: Case) -> Pair:
    return end_tensor(case.factors), oracle.closed_form(*case.plain())


@law("A2", "W is linear in every matrix; W(a theta) = a^|T| W; sigma(a theta) = a^L sigma")
def homogeneity(case: Case) -> Pair:
    (children, weights), tensor, rng = case.plain(), case.tensor(), case.rng
    mixed, expected = [], []
    for k, w in enumerate(case.factors.weights):
        if w is not None:
            other = rng.standard_normal(w.shape)
            mixed.append(end_tensor(case.changed({k: 2.5 * w - 0.5 * other})))
            swapped = [*weights[:k], other, *weights[k + 1 :]]
            expected.append(2.5 * tensor - 0.5 * oracle.end_tensor(children, swapped))
    scaled = jax.tree.map(lambda w: 1.3 * w, case.factors)
    sigma = {v: 1.3 ** case.length(v) * s for v, s in case.sigma().items()}
    power = 1.3 ** degree(case.factors)
    return [*_tensor_and_norms(scaled), mixed], [power * tensor, sigma, expected]


@law("A3", "W and sigma_r unchanged when the vectors of LC(v, r) scale by prod c = 1")
def rescaling(case: Case) -> Pair:
    left, right, tensor = {}, {}, case.tensor()
    for v, sigma in case.sigma().items():
        count = case.length(v)
        scales = [-2.0, *[1.0] * (count - 2), -0.5] if count > 1 else [1.0]
        moved = rescale_component(case.factors, v, 0, scales)
        left[v] = [end_tensor(moved), local_component_norms(moved)[v]]
        right[v] = [tensor, sigma]
    return left, right


@law("A4", "permuting the components of a node leaves W and permutes sigma")
def permutation(case: Case) -> Pair:
    left, right, tensor, norms = {}, {}, case.tensor(), case.sigma()
    weights = case.factors.weights
    for v in norms:
        moved = {c: jnp.roll(weights[c], 1, axis=1) for c in case.tree.children[v]}
        if weights[v] is not None:
            moved[v] = jnp.roll(weights[v], 1, axis=0)
        left[v] = _tensor_and_norms(case.changed(moved))
        right[v] = [tensor, norms | {v: np.roll(norms[v], 1)}]
    return left, right


@law("A5", "W = sum_r sigma_r C_r at every interior node")
def components_add_up(case: Case) -> Pair:
    left, right, tensor = {}, {}, case.tensor()
    norms, shares = (f(case.factors) for f in (local_component_norms,
                                               component_contributions))  # fmt: skip
    for v, sigma in case.sigma().items():
        found = _direction_tensors(case.factors, v)
        left[v] = [jnp.tensordot(norms[v], found, axes=1), found, shares[v]]
        c = np.stack([oracle.direction(*case.plain(), v, r) for r in range(len(sigma))])
        right[v] = [tensor, c, sigma * np.linalg.norm(c.reshape(len(c), -1), axis=1)]
    return left, right


@law("A6", "W_n <- A_n W_n multiplies mode n; orthogonal A_n keep sigma and spectra")
def mode_products(case: Case) -> Pair:
    rng, first, leaves = case.rng, case.tree.interior[0], {}
    turned = tensor = case.tensor()
    for n, d in enumerate(case.dims):
        a = np.linalg.qr(rng.standard_normal((d, d)))[0]
        leaves[n] = a @ case.factors.weights[n]
        turned = np.moveaxis(np.tensordot(a, turned, axes=(1, n)), 0, n)
    moved = case.changed(leaves)
    largest = np.linalg.norm(oracle.matricize(tensor, case.tree.modes[first]), 2)
    left = [*_tensor_and_norms(moved), singular_values(moved, first)[0]]
    return left, [turned, case.sigma(), largest]


@law("A7", "||W|| <= prod ||W_v||; ||C_r|| <= prod of ||W_u|| outside the component")
def norm_bounds(case: Case) -> Pair:
    norms = [np.linalg.norm(w) for w in oracle.with_root(*case.plain())]
    factor = 1e-6 if case.broken else 1.0
    left: dict[object, PyTree] = {"W": jnp.sqrt(squared_norm(case.factors))}
    right: dict[object, PyTree] = {"W": Between(0, factor * math.prod(norms))}
    one = len(case.tree.interior) == 1  # then directions have norm one
    for v in case.tree.interior:
        c = _direction_tensors(case.factors, v)
        left[v] = jnp.linalg.norm(c.reshape(len(c), -1), axis=1)
        near = (v, *case.tree.children[v])
        bound = factor * math.prod(n for u, n in enumerate(norms) if u not in near)
        right[v] = Between(bound if one else 0, bound)
    return left, right


def _has_inner_edge(case: Case) -> bool:
    return len(case.tree.interior) > 1


@law("A8", "an interior node whose matrix is the identity can be removed",
     applies=_has_inner_edge)  # fmt: skip
def edge_contraction(case: Case) -> Pair:
    left, right, rng, weights = {}, {}, case.rng, case.factors.weights
    for node in case.tree.interior[:-1]:
        width = weights[node].shape[1]
        kids = case.tree.children[node]
        small = {c: rng.standard_normal((len(weights[c]), width)) for c in kids}
        moved = case.changed(small | {node: np.eye(width)})
        left[node] = end_tensor(moved)
        # Its children stand under its parent; ids above it move down.
        rows = [
            tuple(x for c in row for x in (kids if c == node else (c,)))
            for row in case.tree.children
        ]
        rest = case.plain(moved)[1]
        del rows[node], rest[node]
        tree = tuple(tuple(c - (c > node) for c in row) for row in rows)
        right[node] = oracle.end_tensor(tree, rest)
    return left, right


@law("A9", "a one-child node multiplies its child's matrix")
def chains(case: Case) -> Pair:
    def insert(part: PyTree) -> PyTree:
        return tuple(map(insert, part)) if isinstance(part, tuple) else part or (0,)

    tree = ModeTree.from_nested(insert(case.tree.nested))
    first = case.rng.standard_normal((case.dims[0],) * 2)
    second = np.linalg.solve(first, np.asarray(case.factors.weights[0]))
    weights = [jnp.asarray(first), *case.factors.weights[1:]]
    weights.insert(tree.parent[0] or 0, jnp.asarray(second))
    deep = Factors(tree=tree, weights=tuple(weights))
    short = collapse_chains(deep)
    single = sum(len(kids) == 1 for kids in short.tree.children)
    left = [end_tensor(deep), end_tensor(short), single]
    return left, [case.tensor(), case.tensor(), int(case.tree.order == 1)]


STD, DRAWS = 0.7, 4000


@functools.lru_cache(maxsize=8)
def _squared_norms(factors: Factors, seed: int) -> np.ndarray:
    """||W||^2 of Gaussian factors of the same shapes."""
    sizes, tree = widths(factors), factors.tree
    dims, inner = sizes[: tree.order], sizes[tree.order :]
    root: Any = "ones" if factors.weights[-1] is None else "trained"

    def draw(key: jax.Array) -> jax.Array:
        return squared_norm(gaussian_factors(key, tree, dims, inner, STD, root=root))

    keys = jax.random.split(jax.random.key(seed), DRAWS)
    return np.asarray(jax.jit(jax.vmap(draw))(keys))


@law("A10", "E ||W||^2 = s^(2|T|) prod D prod R, within five standard errors",
     tolerance=0.0, slow=True)  # fmt: skip
def gaussian_norm(case: Case) -> Pair:
    values = _squared_norms(case.factors, case.seed)
    slack = 5 * values.std() / math.sqrt(DRAWS)
    expected = STD ** (2 * degree(case.factors)) * math.prod(widths(case.factors))
    left = Between(values.mean() - slack, values.mean() + slack)
    return left, expected * (400 if case.broken else 1)


@law("A11", "widths E_v (and E / max E_c at the root) express any tensor")
def universality(case: Case) -> Pair:
    """Matrices that copy, and one that holds slices of the target.

    Component r of a node picks one index of every child; those of the root of all but the
    largest child, whose column r is the matching slice.
    """
    tree, target = case.tree, case.rng.standard_normal(case.dims)
    sizes = [math.prod(case.dims[n] for n in modes) for modes in tree.modes]
    weights: dict[int, PyTree] = {}
    for v in tree.interior:
        kids = tree.children[v]
        free = max(kids, key=lambda c: sizes[c]) if v == tree.root else None
        chosen = [c for c in kids if c != free]
        tuples = list(itertools.product(*(range(sizes[c]) for c in chosen)))
        for i, c in enumerate(chosen):
            weights[c] = np.eye(sizes[c])[:, [t[i] for t in tuples]]
        if free is not None:
            order = [m for c in (*chosen, free) for m in _visit(tree, c)]
            weights[free] = target.transpose(order).reshape(len(tuples), -1).T
            weights[v] = np.ones((len(tuples), 1))
    return end_tensor(case.changed(weights)), target / (2 if case.broken else 1)


def _visit(tree: ModeTree, k: int) -> list[int]:
    """Modes in the order in which the components of a node run over them."""
    return [k] if k < tree.order else [m for c in tree.children[k] for m in _visit(tree, c)]


@law("A12", "number of weights = sum of rows times columns over all nodes", tolerance=0.0)
def parameter_count(case: Case) -> Pair:
    rows, trained = widths(case.factors), case.factors.weights[-1] is not None
    columns = [1 * trained if p is None else rows[p] for p in case.tree.parent]
    count = sum(r * c for r, c in zip(rows, columns, strict=True)) + case.broken
    starts = (case.factors, case.balanced)
    return [sum(w.size for w in jax.tree.leaves(f)) for f in starts], [count] * 2


@law("B1", "flat tree: W = sum_r w_r (x)_n W_n[:, r], a CP factorization",
     source="arXiv:2102.09972")  # fmt: skip
def flat_is_cp(case: Case) -> Pair:
    order = case.tree.order
    factors = gaussian_factors(case.key, flat(order), case.dims, 3, 1.0)
    *leaves, w = case.plain(factors)[1]
    tensor, sigma = np.zeros(case.dims), np.zeros(3)
    for r in range(3):
        columns = [(x[:, r], (n,)) for n, x in enumerate(leaves)]
        tensor += w[r, 0] * oracle.outer(columns)
        sigma[r] = abs(w[r, 0]) * math.prod(np.linalg.norm(x) for x, _ in columns)
    return _tensor_and_norms(factors), [tensor, {order: sigma}]


CHAIN = ModeTree.from_nested(((0,), 1))


@law("B2", "order 2: W = W_0 diag(w) W_1^T; balanced chains have sigma(W) = s^depth",
     source="arXiv:1905.13655", applies=lambda case: case.tree.order > 1)  # fmt: skip
def matrix_factorization(case: Case) -> Pair:
    dims = case.dims[:2]
    two = gaussian_factors(case.key, flat(2), dims, 3, 1.0)
    deep = gaussian_factors(case.key, CHAIN, dims, 3, 1.0, root="ones")
    square = balanced_factors(case.key, CHAIN, 3, 3, 1.0, root="ones")
    (u, v, w), (w0, w1, w2, _), (s, *_) = (case.plain(f)[1] for f in (two, deep, square))
    left = [end_tensor(two), end_tensor(deep), singular_values(square, (0,))]
    values = np.linalg.svd(s, compute_uv=False) ** 3
    return left, [u @ np.diag(w[:, 0]) @ v.T, w0 @ w2 @ w1.T, values]


@law("B3", "all widths one: W is one outer product, every matricization has rank one")
def rank_one(case: Case) -> Pair:
    thin, nodes, order = case.thin, range(case.tree.root), case.tree.order
    weights = case.plain(thin)[1]
    scalar = math.prod(float(w[0, 0]) for w in weights[order:] if w is not None)
    tensor = scalar * oracle.outer([(w[:, 0], (n,)) for n, w in enumerate(weights[:order])])
    ranks = {v: int(rank) for v, rank in hierarchical_rank(thin).items()}
    left = [end_tensor(thin), ranks, [singular_values(thin, v)[0] for v in nodes]]
    norms = [np.linalg.norm(tensor) for _ in nodes]
    return left, [tensor, dict.fromkeys(nodes, 1), norms]


LAWS = (
    closed_form, homogeneity, rescaling, permutation, components_add_up, mode_products,
    norm_bounds, edge_contraction, chains, gaussian_norm, universality, parameter_count,
    flat_is_cp, matrix_factorization, rank_one,
)  # fmt: skip
