"""Laws A1-A12 and B1-B3: algebra of the end tensor, and its special cases."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
from htfjax.theory.laws.law import Between, Case, Law
from htfjax.theory.scaling import rescale_component
from htfjax.trees.builders import flat
from htfjax.trees.mode_tree import ModeTree


def tensor_and_norms(factors: Factors) -> dict[str, Any]:
    """W and all sigma, by the library."""
    return {"W": end_tensor(factors), "sigma": dict(local_component_norms(factors))}


def oracle_tensor(case: Case) -> np.ndarray:
    """W by the oracle."""
    return oracle.end_tensor(*case.plain())


def oracle_norms(case: Case) -> dict[int, np.ndarray]:
    """All sigma by the oracle."""
    children, weights = case.plain()
    return {v: oracle.sigma(children, weights, v) for v in case.tree.interior}


def num_vectors(case: Case, v: int) -> int:
    """L_v: vectors of a local component."""
    return len(oracle.component(*case.plain(), v, 0))


def below_root(case: Case) -> list[int]:
    """Interior nodes but the root."""
    return [v for v in case.tree.interior if v != case.tree.root]


# A2

SCALE = 1.3


def _mixtures(case: Case, weights: Sequence[Any]) -> list[tuple[int, Any, Any]]:
    """Every matrix of `weights` with another one."""
    rng = case.rng
    others = [None if w is None else rng.standard_normal(w.shape) for w in weights]
    pairs = zip(weights, others, strict=True)
    return [(k, w, v) for k, (w, v) in enumerate(pairs) if w is not None]


def _replaced(weights: Sequence[Any], k: int, matrix: Any) -> list[Any]:
    return [*weights[:k], matrix, *weights[k + 1 :]]


def _scaled_and_mixed(case: Case) -> dict[str, Any]:
    weights = case.factors.weights
    scaled = case.with_weights([None if w is None else SCALE * w for w in weights])
    mixed = [
        end_tensor(case.with_weights(_replaced(weights, k, 2.5 * w - 0.5 * v)))
        for k, w, v in _mixtures(case, weights)
    ]
    return tensor_and_norms(scaled) | {"mixed": mixed}


def _multilinear(case: Case) -> dict[str, Any]:
    children, weights = case.plain()
    tensor, norms = oracle_tensor(case), oracle_norms(case)
    mixed = [
        2.5 * tensor - 0.5 * oracle.end_tensor(children, _replaced(weights, k, v))
        for k, _, v in _mixtures(case, weights)
    ]
    count = sum(w is not None for w in weights)
    powers = {v: SCALE ** num_vectors(case, v) * sigma for v, sigma in norms.items()}
    return {"W": SCALE**count * tensor, "sigma": powers, "mixed": mixed}


# A3, A4, A5

_direction_tensors = jax.jit(direction_tensors, static_argnums=1)


def _rescaled(case: Case) -> dict[int, Any]:
    found = {}
    for v in case.tree.interior:
        count = num_vectors(case, v)
        scales = [-2.0, *[1.0] * (count - 2), -0.5] if count > 1 else [1.0]
        moved = rescale_component(case.factors, v, 0, scales)
        found[v] = [end_tensor(moved), local_component_norms(moved)[v]]
    return found


def _permuted(case: Case) -> dict[int, Any]:
    found = {}
    for v in case.tree.interior:
        weights = list(case.factors.weights)
        if weights[v] is not None:
            weights[v] = jnp.roll(weights[v], 1, axis=0)
        for c in case.tree.children[v]:
            weights[c] = jnp.roll(weights[c], 1, axis=1)
        found[v] = tensor_and_norms(case.with_weights(weights))
    return found


def _permutations(case: Case) -> dict[int, Any]:
    tensor, norms = oracle_tensor(case), oracle_norms(case)
    return {v: {"W": tensor, "sigma": norms | {v: np.roll(norms[v], 1)}} for v in norms}


def _summed_directions(case: Case) -> dict[int, Any]:
    norms = local_component_norms(case.factors)
    shares = component_contributions(case.factors)
    directions = {v: _direction_tensors(case.factors, v) for v in norms}
    return {
        v: [jnp.tensordot(norms[v], c, axes=1), c, shares[v]] for v, c in directions.items()
    }


def _directions(case: Case) -> dict[int, Any]:
    children, weights = case.plain()
    tensor, found = oracle_tensor(case), {}
    for v, sigma in oracle_norms(case).items():
        c = np.stack([oracle.direction(children, weights, v, r) for r in range(len(sigma))])
        lengths = np.linalg.norm(c.reshape(len(c), -1), axis=1)
        found[v] = [tensor, c, sigma * lengths]
    return found


# A6, A7


def _turns(case: Case) -> list[np.ndarray]:
    """An orthogonal matrix for every mode."""
    rng = case.rng
    return [np.linalg.qr(rng.standard_normal((d, d)))[0] for d in case.dims]


def _turned(case: Case) -> dict[str, Any]:
    leaves = [a @ w for a, w in zip(_turns(case), case.factors.weights, strict=False)]
    moved = case.with_weights([*leaves, *case.factors.weights[case.tree.order :]])
    spectrum = singular_values(moved, case.tree.interior[0])
    return tensor_and_norms(moved) | {"s": spectrum[0]}


def _mode_products(case: Case) -> dict[str, Any]:
    turned = tensor = oracle_tensor(case)
    for n, a in enumerate(_turns(case)):
        turned = np.moveaxis(np.tensordot(a, turned, axes=(1, n)), 0, n)
    matrix = oracle.matricize(tensor, case.tree.modes[case.tree.interior[0]])
    return {"W": turned, "sigma": oracle_norms(case), "s": np.linalg.norm(matrix, 2)}


def _lengths(case: Case) -> dict[Any, Any]:
    found: dict[Any, Any] = {"W": jnp.sqrt(squared_norm(case.factors))}
    for v in case.tree.interior:
        c = _direction_tensors(case.factors, v)
        found[v] = jnp.linalg.norm(c.reshape(len(c), -1), axis=1)
    return found


def _norm_bounds(case: Case, factor: float = 1.0) -> dict[Any, Between]:
    children, weights = case.plain()
    norms = [factor * np.linalg.norm(w) for w in oracle.with_root(children, weights)]
    bounds: dict[Any, Between] = {"W": Between(0, math.prod(norms))}
    one = len(case.tree.interior) == 1  # then directions have norm one
    for v in case.tree.interior:
        near = (v, *children[v])
        bound = math.prod(n for u, n in enumerate(norms) if u not in near)
        bounds[v] = Between(bound if one else 0, bound)
    return bounds


# A8, A9


def _with_identity(case: Case, node: int) -> Factors:
    """The identity at an interior node; its children's matrices get fitting widths."""
    weights, rng = list(case.factors.weights), case.rng
    _, width = weights[node].shape
    for c in case.tree.children[node]:
        weights[c] = rng.standard_normal((len(weights[c]), width))
    weights[node] = np.eye(width)
    return case.with_weights(weights)


def _without_node(case: Case, node: int) -> np.ndarray:
    """The node's children stand under its parent; ids above it move down."""
    children, weights = case.plain(_with_identity(case, node))
    kids = [
        tuple(x for c in row for x in (children[node] if c == node else (c,)))
        for row in children
    ]
    del kids[node], weights[node]
    tree = tuple(tuple(c - (c > node) for c in row) for row in kids)
    return oracle.end_tensor(tree, weights)


def _with_chain(case: Case) -> Factors:
    """A one-child node over leaf 0, whose matrix is the product of the two."""

    def insert(part: Any) -> Any:
        return tuple(map(insert, part)) if isinstance(part, tuple) else part or (0,)

    tree = ModeTree.from_nested(insert(case.tree.nested))
    first = case.rng.standard_normal((case.dims[0],) * 2)
    second = np.linalg.solve(first, np.asarray(case.factors.weights[0]))
    weights = [first, *case.factors.weights[1:]]
    weights.insert(tree.parent[0] or 0, second)
    arrays = tuple(None if w is None else jnp.asarray(w) for w in weights)
    return Factors(tree=tree, weights=arrays)


def _collapsed(case: Case) -> list[Any]:
    deep = _with_chain(case)
    short = collapse_chains(deep)
    single = [v for v in short.tree.interior if len(short.tree.children[v]) == 1]
    return [end_tensor(deep), end_tensor(short), len(single)]


# A10, A11, A12

STD, DRAWS = 0.7, 4000


def _draw(case: Case, key: jax.Array) -> Factors:
    inner, root = widths(case.factors)[case.tree.order :], case.root
    return gaussian_factors(key, case.tree, case.dims, inner, STD, root=root)  # pyright: ignore[reportArgumentType]


def _mean_squared_norm(case: Case) -> Between:
    """Five standard errors around the mean."""
    keys = jax.random.split(case.key, DRAWS)
    values = jax.jit(jax.vmap(lambda key: squared_norm(_draw(case, key))))(keys)
    slack = 5 * jnp.std(values) / math.sqrt(DRAWS)
    return Between(jnp.mean(values) - slack, jnp.mean(values) + slack)


def _expected_squared_norm(case: Case) -> float:
    count = sum(w is not None for w in case.factors.weights)
    return STD ** (2 * count) * math.prod(widths(case.factors))


def _target(case: Case) -> np.ndarray:
    """A tensor of full ranks."""
    return oracle_tensor(case) + case.rng.standard_normal(case.dims)


def _tuples(case: Case) -> list[int]:
    """E_v: entries of the modes below every node."""
    return [math.prod(case.dims[n] for n in modes) for modes in case.tree.modes]


def _expressed(case: Case) -> np.ndarray:
    """The target by matrices that copy, and one that holds its slices.

    Component r of a node picks one index of every child; those of the root of all but the
    largest child, whose column r is the matching slice of the target.
    """
    tree, sizes = case.tree, _tuples(case)
    weights: list[Any] = [None] * tree.num_nodes
    for v in tree.interior:
        kids = tree.children[v]
        free = max(kids, key=lambda c: sizes[c]) if v == tree.root else None
        chosen = [c for c in kids if c != free]
        tuples = list(itertools.product(*(range(sizes[c]) for c in chosen)))
        for i, c in enumerate(chosen):
            weights[c] = np.eye(sizes[c])[:, [t[i] for t in tuples]]
        if free is not None:
            order = [m for c in (*chosen, free) for m in _visit(tree, c)]
            slices = _target(case).transpose(order).reshape(len(tuples), -1)
            weights[free], weights[v] = slices.T, np.ones((len(tuples), 1))
    return np.asarray(end_tensor(case.with_weights(weights)))


def _visit(tree: ModeTree, k: int) -> list[int]:
    """Modes in the order in which the components of a node run over them."""
    return [k] if k < tree.order else [m for c in tree.children[k] for m in _visit(tree, c)]


def _sizes(factors: Factors) -> int:
    return sum(w.size for w in jax.tree.leaves(factors))


def _num_weights(case: Case) -> int:
    rows = widths(case.factors)
    count = sum(rows[k] * rows[p] for k, p in enumerate(case.tree.parent) if p is not None)
    return count + (rows[-1] if case.root == "trained" else 0)


# B


def _flat(case: Case) -> Factors:
    """A flat tree of the case's dimensions."""
    return gaussian_factors(case.key, flat(case.tree.order), case.dims, 3, 1.0)


def _outer_products(case: Case) -> dict[str, Any]:
    weights = case.plain(_flat(case))[1]
    dims, w = case.dims, weights[-1]
    tensor, sigma = np.zeros(dims), np.zeros(3)
    for r in range(3):
        columns = [(x[:, r], (n,)) for n, x in enumerate(weights[:-1])]
        tensor += w[r, 0] * oracle.outer(columns)
        sigma[r] = abs(w[r, 0]) * math.prod(np.linalg.norm(x) for x, _ in columns)
    return {"W": tensor, "sigma": {len(dims): sigma}}


CHAIN = ModeTree.from_nested(((0,), 1))


def _pairs(case: Case) -> tuple[Factors, Factors, Factors]:
    """Two modes: one component node; a chain; a balanced chain with a root of ones."""
    dims = case.dims[:2]
    two = gaussian_factors(case.key, flat(2), dims, 3, 1.0)
    deep = gaussian_factors(case.key, CHAIN, dims, 3, 1.0, root="ones")
    square = balanced_factors(case.key, CHAIN, 3, 3, 1.0, root="ones")
    return two, deep, square


def _pair_values(case: Case) -> list[Any]:
    two, deep, square = _pairs(case)
    return [end_tensor(two), end_tensor(deep), singular_values(square, (0,))]


def _pair_products(case: Case) -> list[Any]:
    (u, v, w), (w0, w1, w2, _), (s, *_) = (case.plain(f)[1] for f in _pairs(case))
    values = np.linalg.svd(s, compute_uv=False) ** 3
    return [u @ np.diag(w[:, 0]) @ v.T, w0 @ w2 @ w1.T, values]


def _thin(case: Case) -> list[Any]:
    ranks = {v: int(rank) for v, rank in hierarchical_rank(case.thin).items()}
    norms = {v: singular_values(case.thin, v)[0] for v in ranks}
    return [end_tensor(case.thin), ranks, norms]


def _one_outer_product(case: Case) -> list[Any]:
    weights, order = case.plain(case.thin)[1], case.tree.order
    scalar = math.prod(float(w[0, 0]) for w in weights[order:] if w is not None)
    tensor = scalar * oracle.outer([(w[:, 0], (n,)) for n, w in enumerate(weights[:order])])
    nodes = range(case.tree.root)
    norms = dict.fromkeys(nodes, np.linalg.norm(tensor))
    return [tensor, dict.fromkeys(nodes, 1), norms]


LAWS = (
    Law(
        "A1",
        "W[i] = sum over all r of the product of all matrices",
        lambda case: end_tensor(case.factors),
        lambda case: oracle.closed_form(*case.plain()),
        source="arXiv:2201.11729",
    ),
    Law(
        "A2",
        "W is linear in every matrix; W(a theta) = a^|T| W; sigma(a theta) = a^L sigma",
        _scaled_and_mixed,
        _multilinear,
    ),
    Law(
        "A3",
        "W and sigma_r unchanged when the vectors of LC(v, r) scale by prod c = 1",
        _rescaled,
        lambda case: {v: [oracle_tensor(case), s] for v, s in oracle_norms(case).items()},
    ),
    Law(
        "A4",
        "permuting the components of a node leaves W and permutes sigma",
        _permuted,
        _permutations,
    ),
    Law(
        "A5",
        "W = sum_r sigma_r C_r at every interior node",
        _summed_directions,
        _directions,
    ),
    Law(
        "A6",
        "W_n <- A_n W_n multiplies mode n; orthogonal A_n keep sigma and spectra",
        _turned,
        _mode_products,
    ),
    Law(
        "A7",
        "||W|| <= prod ||W_v||; ||C_r|| <= prod of ||W_u|| outside the component",
        _lengths,
        _norm_bounds,
        broken=lambda case: _norm_bounds(case, 1e-6),
    ),
    Law(
        "A8",
        "an interior node whose matrix is the identity can be removed",
        lambda case: {v: end_tensor(_with_identity(case, v)) for v in below_root(case)},
        lambda case: {v: _without_node(case, v) for v in below_root(case)},
        applies=lambda case: bool(below_root(case)),
    ),
    Law(
        "A9",
        "a one-child node multiplies its child's matrix",
        _collapsed,
        lambda case: [oracle_tensor(case)] * 2 + [int(case.tree.order == 1)],
    ),
    Law(
        "A10",
        "E ||W||^2 = s^(2|T|) prod D prod R, within five standard errors",
        _mean_squared_norm,
        _expected_squared_norm,
        tolerance=0.0,
        broken=lambda case: _expected_squared_norm(case) / 400,
        slow=True,
    ),
    Law(
        "A11",
        "widths E_v (and E / max E_c at the root) express any tensor",
        _expressed,
        _target,
    ),
    Law(
        "A12",
        "number of weights = sum of rows times columns over all nodes",
        lambda case: [_sizes(case.factors), _sizes(case.balanced)],
        lambda case: [_num_weights(case)] * 2,
        tolerance=0.0,
        broken=lambda case: [_num_weights(case) + 1] * 2,
    ),
    Law(
        "B1",
        "flat tree: W = sum_r w_r (x)_n W_n[:, r], a CP factorization",
        lambda case: tensor_and_norms(_flat(case)),
        _outer_products,
        source="arXiv:2102.09972",
    ),
    Law(
        "B2",
        "order 2: W = W_0 diag(w) W_1^T; balanced chains have sigma(W) = s^depth",
        _pair_values,
        _pair_products,
        source="arXiv:1905.13655",
        applies=lambda case: case.tree.order > 1,
    ),
    Law(
        "B3",
        "all widths one: W is one outer product, every matricization has rank one",
        _thin,
        _one_outer_product,
    ),
)
