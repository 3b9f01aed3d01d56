"""Laws A1-A12 and B1-B3: algebra of the end tensor, and its special cases."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf

from . import oracle
from .register import Case, balanced, built, excess, gap, law, spoil


@law("A1", "W[i] = sum over all r of the product of all matrices")
def closed_form(case: Case) -> float:
    return gap(htf.end_tensor(case.factors), oracle.end_tensor(case.children, case.right()))


@law("A2", "W(a theta) = a^|T| W(theta); sigma(a theta) = a^L sigma(theta)")
def homogeneity(case: Case) -> float:
    scaled, weights = jax.tree.map(lambda w: 1.3 * w, case.factors), case.right()
    power = 1.3 ** htf.theory.degree(case.factors)
    worst = gap(htf.end_tensor(scaled), power * oracle.end_tensor(case.children, weights))
    for v, found in htf.local_component_norms(scaled).items():
        length = len(case.children[v]) + 1
        expected = 1.3**length * oracle.sigma(case.children, weights, v)
        worst = max(worst, gap(found, expected))
    return worst


@law("A3", "W and sigma_r unchanged when the vectors of LC(v, r) scale by prod c = 1")
def rescaling(case: Case) -> float:
    worst, weights = 0.0, case.right()
    for v in case.tree.interior:
        count = len(case.children[v])
        scales = [-2.0, *[1.0] * (count - 1), -0.5]
        changed = htf.theory.rescale_component(case.factors, v, 0, scales)
        expected = oracle.end_tensor(case.children, weights)
        worst = max(worst, gap(htf.end_tensor(changed), expected))
        norms = htf.local_component_norms(changed)[v]
        worst = max(worst, gap(norms, oracle.sigma(case.children, weights, v)))
    return worst


@law("A4", "permuting the components of a node leaves W and permutes sigma")
def permutation(case: Case) -> float:
    worst, right = 0.0, case.right()
    for v in case.tree.interior:
        weights = list(case.factors.weights)
        order = np.roll(np.arange(weights[v].shape[0]), 1)
        weights[v] = weights[v][order]
        for c in case.children[v]:
            weights[c] = weights[c][:, order]
        changed = built(case.factors, weights)
        expected = oracle.end_tensor(case.children, right)
        worst = max(worst, gap(htf.end_tensor(changed), expected))
        norms = htf.local_component_norms(changed)[v]
        worst = max(worst, gap(norms, oracle.sigma(case.children, right, v)[order]))
    return worst


@law("A5", "W = sum_r sigma_r C_r at every interior node")
def components_add_up(case: Case) -> float:
    worst, weights = 0.0, case.right()
    tensor = htf.end_tensor(case.factors)
    for v in case.tree.interior:
        sigma = oracle.sigma(case.children, weights, v)
        parts = [
            s * oracle.direction(case.children, weights, v, r) for r, s in enumerate(sigma)
        ]
        found = htf.theory.direction_tensors(case.factors, v)
        own = [oracle.direction(case.children, weights, v, r) for r in range(len(sigma))]
        worst = max(worst, gap(tensor, sum(parts)), gap(found, np.stack(own)))
    return worst


@law("A6", "W_n <- A_n W_n multiplies mode n; orthogonal A_n keep sigma")
def mode_products(case: Case) -> float:
    weights, right = list(case.factors.weights), case.right()
    expected = oracle.end_tensor(case.children, right)
    for n in range(case.tree.order):
        turn = np.linalg.qr(case.rng.standard_normal((len(right[n]),) * 2))[0]
        weights[n] = turn @ np.asarray(weights[n])
        expected = np.moveaxis(np.tensordot(turn, expected, axes=(1, n)), 0, n)
    changed = built(case.factors, weights)
    worst = gap(htf.end_tensor(changed), expected)
    for v, norms in htf.local_component_norms(changed).items():
        worst = max(worst, gap(norms, oracle.sigma(case.children, right, v)))
    return worst


@law("A7", "||W|| <= prod ||W_v||; ||C_r|| <= prod of ||W_u|| outside the component")
def norm_bounds(case: Case) -> float:
    weights = case.right()
    norms = [np.linalg.norm(w) for w in weights]
    worst = excess(math.sqrt(float(htf.squared_norm(case.factors))), math.prod(norms))
    for v in case.tree.interior:
        found = np.asarray(htf.theory.direction_tensors(case.factors, v))
        lengths = np.linalg.norm(found.reshape(len(found), -1), axis=1)
        near = (v, *case.children[v])
        bound = math.prod(n for u, n in enumerate(norms) if u not in near)
        worst = max(worst, excess(lengths, np.full(len(lengths), bound)))
    return worst


@law("A8", "an interior node whose matrix is the identity can be removed")
def edge_contraction(case: Case) -> float | None:
    inner = [v for v in case.tree.interior if v != case.tree.root]
    if not inner:
        return None
    node = inner[0]
    up = case.tree.parent[node]
    assert up is not None
    weights = list(case.factors.weights)
    width = weights[up].shape[0]
    rng = case.rng
    for c in case.children[node]:
        weights[c] = rng.standard_normal((weights[c].shape[0], width))
    weights[node] = np.eye(width)
    left = htf.end_tensor(built(case.factors, weights))
    # Without the node, its children stand under its parent; ids above it move down.
    kids = [
        tuple(x for c in row for x in (case.children[node] if c == node else (c,)))
        for row in case.children
    ]
    del kids[node], weights[node]
    tree = tuple(tuple(c - (c > node) for c in row) for row in kids)
    matrices = [np.asarray(w) for w in weights]
    return gap(left, oracle.end_tensor(tree, spoil(matrices) if case.broken else matrices))


@law("A9", "a one-child node multiplies its child's matrix")
def chains(case: Case) -> float:
    def insert(part: Any) -> Any:
        return (
            tuple(insert(x) for x in part)
            if isinstance(part, tuple)
            else ((0,) if part == 0 else part)
        )

    tree = htf.ModeTree.from_nested(insert(case.tree.nested))
    rng, right = case.rng, case.right()
    first = rng.standard_normal((right[0].shape[0], 4))
    second = np.linalg.lstsq(first, np.asarray(case.factors.weights[0]), rcond=None)[0]
    chain = next(k for k in tree.interior if tree.children[k] == (0,))
    old, weights = iter(case.factors.weights[case.tree.order :]), []
    for k in range(tree.num_nodes):
        if k < tree.order:
            weights.append(first if k == 0 else case.factors.weights[k])
        else:
            weights.append(second if k == chain else next(old))
    deep = htf.Factors(tree=tree, weights=tuple(map(jnp.asarray, weights)))
    product = list(right)
    product[0] = right[0] if case.broken else first @ second
    expected = oracle.end_tensor(case.children, product)
    return max(
        gap(htf.end_tensor(deep), expected),
        gap(htf.end_tensor(htf.collapse_chains(deep)), expected),
    )


@law("A10", "E ||W||^2 = s^(2|T|) prod D prod R, in standard errors", 5.0)
def gaussian_norm(case: Case) -> float:
    sizes, std = htf.widths(case.factors), 0.7
    dims, widths = sizes[: case.tree.order], sizes[case.tree.order :]

    def draw(key: jax.Array) -> jax.Array:
        return htf.squared_norm(htf.gaussian_factors(key, case.tree, dims, widths, std))

    values = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 4000)))
    expected = std ** (2 * htf.theory.degree(case.factors)) * math.prod(sizes)
    expected *= 0.05**2 if case.broken else 1
    return float(abs(values.mean() - expected) / (values.std() / math.sqrt(len(values))))


@law("A11", "widths E_v (and E / max E_c at the root) express any tensor")
def universality(case: Case) -> float:
    tree, dims = case.tree, htf.mode_dims(case.factors)
    sizes = [math.prod(dims[m] for m in tree.modes[k]) for k in range(tree.num_nodes)]
    target = case.rng.standard_normal(dims)
    weights: list[Any] = [None] * tree.num_nodes
    for v in tree.interior:
        kids = tree.children[v]
        free = max(kids, key=lambda c: sizes[c]) if v == tree.root else None
        chosen = [c for c in kids if c != free]
        tuples = list(itertools.product(*(range(sizes[c]) for c in chosen)))
        for i, c in enumerate(chosen):
            weights[c] = np.eye(sizes[c])[:, [t[i] for t in tuples]]
        if free is None:
            continue
        # Under the root: component r picks one index of every other child, and the
        # largest child's column r holds the matching slice of the target. A node's
        # components run over its children's indices in the order of its children.
        order = [m for c in (*chosen, free) for m in _visit(tree, c)]
        weights[free] = target.transpose(order).reshape(len(tuples), -1).T
        weights[v] = np.ones((len(tuples), 1))
    if tree.order == 1:
        return gap(target, target)
    found = htf.end_tensor(built(case.factors, weights))
    return gap(spoil([np.asarray(found)])[0] if case.broken else found, target)


def _visit(tree: htf.ModeTree, k: int) -> list[int]:
    """Modes in the order in which the components of a node run over them."""
    return [k] if k < tree.order else [m for c in tree.children[k] for m in _visit(tree, c)]


@law("A12", "number of weights = sum of rows times columns over all nodes", 0.0)
def parameter_count(case: Case) -> float:
    rows = [len(w) for w in case.right()]
    if case.broken:
        rows[0] -= 1
    ups = [1 if p is None else rows[p] for p in case.tree.parent]
    expected = sum(r * c for r, c in zip(rows, ups, strict=True))
    return gap(sum(w.size for w in jax.tree.leaves(case.factors)), expected)


@law("B1", "flat tree: W = sum_r w_r (x)_n W_n[:, r], a CP factorization")
def flat_is_cp(case: Case) -> float:
    order = case.tree.order
    dims = htf.mode_dims(case.factors)
    flat = htf.gaussian_factors(jax.random.key(2), htf.flat(order), dims, 3, 1.0)
    weights = case.right(flat)
    expected = np.zeros(dims)
    for r in range(3):
        part = np.asarray(weights[order][r, 0])
        for n in range(order):
            part = np.multiply.outer(part, weights[n][:, r])
        expected += part
    return gap(htf.end_tensor(flat), expected)


@law("B2", "order 2: W = W_0 diag(w) W_1^T; balanced chains have sigma(W) = s^depth")
def matrix_factorization(case: Case) -> float:
    first, second = htf.mode_dims(case.factors)[:2]
    flat = htf.gaussian_factors(jax.random.key(2), htf.flat(2), (first, second), 3, 1.0)
    w = case.right(flat)
    worst = gap(htf.end_tensor(flat), w[0] @ np.diag(w[2][:, 0]) @ w[1].T)
    tree = htf.ModeTree.from_nested(((0,), 1))
    deep = htf.balanced_factors(jax.random.key(4), tree, 3, 3, 1.0, root="ones")
    values = np.linalg.svd(np.asarray(deep.weights[0]), compute_uv=False) ** 3
    return max(worst, gap(htf.singular_values(deep, (0,)), values))


@law("B3", "all widths one: every matricization has rank one", 1e-10)
def rank_one(case: Case) -> float:
    thin = balanced(case, 1.0, widths=1)
    worst = 0.0
    for v in range(case.tree.root):
        tensor = oracle.end_tensor(case.children, case.right(thin))
        if case.broken:
            tensor = tensor + case.rng.standard_normal(tensor.shape)
        s = np.linalg.svd(oracle.unfold(tensor, list(case.tree.modes[v])), compute_uv=False)
        worst = max(worst, float(np.sum(s[1:]) / s[0]))
        worst = max(worst, gap(htf.singular_values(thin, v)[0], s[0]))
    return worst
