"""Laws A1-A12 and B1-B3: what the end tensor is, whatever the values."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests import helpers, reference
from tests.marks import slow_unless

every_case = pytest.mark.parametrize(
    ("name", "root"), slow_unless(helpers.CASES, helpers.FAST)
)


def assert_same_tensor(left: htf.Factors, right: htf.Factors) -> None:
    size = reference.scale(*helpers.plain(left))
    helpers.assert_close(htf.end_tensor(right), htf.end_tensor(left), size=size)


def end_tensor(factors: htf.Factors, weights: Sequence[Any]) -> jax.Array:
    return htf.end_tensor(helpers.rebuilt(factors, weights))


def num_vectors(factors: htf.Factors, v: int) -> int:
    return len(factors.tree.children[v]) + (factors.weights[v] is not None)


@every_case
def test_a1_closed_form(name, root):
    """A1: an entry is one sum over all indices r_v of a product of matrix entries."""
    factors = helpers.random_factors(name, root=root)
    children, weights = helpers.plain(factors)
    expected = reference.end_tensor_closed_form(children, weights)
    size = reference.scale(children, weights)
    helpers.assert_close(htf.end_tensor(factors), expected, size=size)


@every_case
def test_a2_multilinear_and_homogeneous(name, root):
    """A2: linear in every matrix, of degree |T| in all; sigma is of degree L_v."""
    factors = helpers.random_factors(name, root=root)
    other = helpers.random_factors(name, root=root, seed=1)
    size = 10 * reference.scale(*helpers.plain(factors))
    present = [w is not None for w in factors.weights]
    tensor = np.asarray(htf.end_tensor(factors))
    for k in np.flatnonzero(present):
        mixed, swapped = helpers.plain(factors)[1], helpers.plain(factors)[1]
        swapped[k] = np.asarray(other.weights[k])
        mixed[k] = 2.5 * mixed[k] - 0.5 * swapped[k]
        parts = 2.5 * tensor - 0.5 * np.asarray(end_tensor(factors, swapped))
        helpers.assert_close(end_tensor(factors, mixed), parts, size=size)

    a = 1.7
    scaled = jax.tree.map(lambda w: jnp.asarray(a * np.asarray(w)), factors)
    expected = a ** sum(present) * tensor
    helpers.assert_close(htf.end_tensor(scaled), expected, size=a ** sum(present) * size)
    norms, grown = htf.local_component_norms(factors), htf.local_component_norms(scaled)
    for v, sigma in norms.items():
        helpers.assert_close(grown[v], a ** num_vectors(factors, v) * np.asarray(sigma))


def rescaled(factors: htf.Factors, v: int) -> htf.Factors:
    """Multiplies the vectors of LC(v, last) by numbers, one negative, of product one."""
    weights, kids = helpers.plain(factors)[1], factors.tree.children[v]
    count = num_vectors(factors, v)
    numbers = [-2.0, *[1.5] * (count - 2), -1 / (2 * 1.5 ** (count - 2))]
    numbers = numbers if count > 1 else [1.0]
    if weights[v] is not None:
        weights[v][-1] *= numbers.pop()
    for c, number in zip(kids, numbers, strict=True):
        weights[c][:, -1] *= number
    return helpers.rebuilt(factors, weights)


@every_case
def test_a3_rescaling_inside_a_component(name, root):
    """A3: tensor and own sigma stay, sigma of interior neighbours does not."""
    factors = helpers.random_factors(name, root=root)
    before = htf.local_component_norms(factors)
    for v in factors.tree.interior:
        moved = rescaled(factors, v)
        assert_same_tensor(factors, moved)
        after = htf.local_component_norms(moved)
        helpers.assert_close(after[v], before[v])
        if num_vectors(factors, v) == 1:
            continue
        inside = [c for c in factors.tree.children[v] if c >= factors.tree.order]
        for u in inside + ([] if v == factors.tree.root else [factors.tree.parent[v]]):
            assert not np.allclose(after[u], before[u], rtol=1e-3)


@every_case
def test_a4_permuting_components(name, root):
    """A4: permuting r at a node permutes its sigma and keeps the tensor."""
    factors = helpers.random_factors(name, root=root)
    before = htf.local_component_norms(factors)
    for v in factors.tree.interior:
        turn = np.roll(np.arange(before[v].size), 1)
        weights = helpers.plain(factors)[1]
        if weights[v] is not None:
            weights[v] = weights[v][turn]
        for c in factors.tree.children[v]:
            weights[c] = weights[c][:, turn]
        moved = helpers.rebuilt(factors, weights)
        assert_same_tensor(factors, moved)
        after = htf.local_component_norms(moved)
        for u, norms in before.items():
            expected = np.asarray(norms)[turn] if u == v else norms
            helpers.assert_close(after[u], expected)


@every_case
def test_a5_components_sum_to_the_tensor(name, root):
    """A5: W = sum_r sigma_r C_r at every interior node; contributions are its norms."""
    factors = helpers.random_factors(name, root=root)
    children, weights = helpers.plain(factors)
    size = reference.scale(children, weights)
    shares = htf.component_contributions(factors)
    for v, sigma in htf.local_component_norms(factors).items():
        parts = [
            float(s) * reference.direction(children, weights, v, r)
            for r, s in enumerate(sigma)
        ]
        helpers.assert_close(htf.end_tensor(factors), sum(parts), size=size)
        helpers.assert_close(shares[v], [np.linalg.norm(part) for part in parts])


@every_case
def test_a6_mode_products(name, root):
    """A6: A_n W_n is the mode product; orthogonal A_n keep sigma and the spectra."""
    factors = helpers.random_factors(name, root=root)
    rng, tree = np.random.default_rng(5), factors.tree
    tensor = np.asarray(htf.end_tensor(factors))
    weights = helpers.plain(factors)[1]
    for n, dim in enumerate(tensor.shape):
        turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        weights[n] = turn @ weights[n]
        tensor = np.moveaxis(np.tensordot(turn, tensor, (1, n)), 0, n)
    moved = helpers.rebuilt(factors, weights)
    size = 10 * reference.scale(*helpers.plain(factors))
    helpers.assert_close(htf.end_tensor(moved), tensor, size=size)
    before, after = htf.local_component_norms(factors), htf.local_component_norms(moved)
    for v in tree.interior:
        helpers.assert_close(after[v], before[v])
    spectrum = htf.singular_values(factors, tree.interior[0])
    found = htf.singular_values(moved, tree.interior[0])
    helpers.assert_close(found, spectrum, size=size)


@pytest.mark.parametrize("root", helpers.ROOTS)
def test_a6_relabelling_modes_permutes_axes(root):
    """A6: other numbers at the leaves permute axes; the order of children is free."""
    factors = helpers.random_factors(((0, 3), (1, 2, 4)), root=root)
    w = factors.weights
    names = {0: 1, 3: 3, 1: 0, 2: 2, 4: 4}
    new = htf.ModeTree.from_nested(((4, 2, 0), (1, 3)))
    leaves = [w[old] for old in sorted(names, key=lambda old: names[old])]
    moved = htf.Factors(tree=new, weights=(*leaves, w[6], w[5], w[7]))
    axes = sorted(names, key=lambda old: names[old])
    size = reference.scale(*helpers.plain(factors))
    expected = np.transpose(htf.end_tensor(factors), axes)
    helpers.assert_close(htf.end_tensor(moved), expected, size=size)


@every_case
def test_a7_norm_bounds(name, root):
    """A7: ||W|| <= prod ||W_v||, ||C_r|| <= the product over matrices not in LC(v)."""
    factors = helpers.random_factors(name, root=root)
    children, weights = helpers.plain(factors)
    norms = [np.linalg.norm(w) for w in reference.with_root(children, weights)]
    assert np.linalg.norm(htf.end_tensor(factors)) <= math.prod(norms)
    shares, sigma = htf.component_contributions(factors), htf.local_component_norms(factors)
    for v in factors.tree.interior:
        others = set(range(len(norms))) - {v, *children[v]}
        bound = math.prod(norms[k] for k in others)
        lengths = np.asarray(shares[v]) / np.asarray(sigma[v])  # ||C_r||
        assert np.all(lengths <= bound * (1 + 1e-12))
        if len(factors.tree.interior) == 1:
            helpers.assert_close(lengths, np.ones(lengths.shape))


REMOVED: list[tuple[Any, tuple[int, ...], Any]] = [
    (((0, 1), (2, 3)), (4,), (0, 1, (2, 3))),
    ((((0, 1), 2), 3), (4,), ((0, 1, 2), 3)),
    (((0, 3), (1, 2, 4)), (5, 6), (0, 3, 1, 2, 4)),
    ((((0, 1),), (2, 3)), (4, 5, 6), (0, 1, 2, 3)),
]


@pytest.mark.parametrize(("nested", "nodes", "shorter"), REMOVED)
def test_a8_edge_contraction(nested, nodes, shorter):
    """A8: an identity on an interior edge may be contracted; all of them give CP."""
    count = len(htf.ModeTree.from_nested(nested).interior)
    factors = helpers.random_factors(nested, widths=[3] * count)
    weights = [jnp.eye(3) if k in nodes else w for k, w in enumerate(factors.weights)]
    kept = tuple(w for k, w in enumerate(weights) if k not in nodes)
    small = htf.Factors(tree=htf.ModeTree.from_nested(shorter), weights=kept)
    assert_same_tensor(helpers.rebuilt(factors, weights), small)


@every_case
def test_a9_chains_multiply(name, root):
    """A9: collapsing one-child nodes multiplies their matrices and keeps the tensor."""
    factors = helpers.random_factors(name, root=root)
    short = htf.collapse_chains(factors)
    assert_same_tensor(factors, short)
    single = [v for v in short.tree.interior if len(short.tree.children[v]) == 1]
    assert single == ([short.tree.root] if short.tree.order == 1 else [])


def test_a9_chain_is_a_deep_linear_map():
    """A9: ((0,), 1) with a root of ones is the matrix product W0 W2 W1^T."""
    factors = helpers.random_factors("chain2", root="ones")
    w0, w1, w2, _ = helpers.plain(factors)[1]
    helpers.assert_close(htf.end_tensor(factors), w0 @ w2 @ w1.T)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "root"), [("binary4", "trained"), ("chain2", "ones")])
def test_a10_mean_squared_norm_of_gaussian_factors(name, root):
    """A10: E ||W||^2 = std^(2|T|) prod D prod R; 4 standard errors of 20,000 draws."""
    nested, std, count = helpers.TREES[name], 0.9, 20_000
    tree, dims = htf.ModeTree.from_nested(nested), helpers.default_dims(nested)
    widths = helpers.default_widths(nested)

    def squared_norm(key):
        drawn = htf.gaussian_factors(key, tree, dims, widths, std, root=root)
        return jnp.sum(htf.end_tensor(drawn) ** 2)

    squares = jax.jit(jax.vmap(squared_norm))(jax.random.split(jax.random.key(0), count))
    matrices = tree.num_nodes - (root == "ones")
    expected = std ** (2 * matrices) * math.prod(dims) * math.prod(widths)
    error = float(jnp.std(squares)) / math.sqrt(count)
    assert error < 0.05 * expected
    assert abs(float(jnp.mean(squares)) - expected) < 4 * error


def expressing(tensor: np.ndarray, nested: Any) -> htf.Factors:
    """Factors of widths R_v = E_v whose end tensor is any given one (root of ones).

    Below, index r of a node counts its own entries and every matrix copies; the largest
    child of the root holds the tensor, the others select what r says.
    """
    children = reference.children_of(nested)
    dims, root = tensor.shape, len(children) - 1
    modes = [reference.modes_of(children, v) for v in range(root)]
    entries = [list(np.ndindex(*(dims[n] for n in m))) for m in modes]
    largest = max(children[root], key=lambda c: len(entries[c]))
    rest = tuple(n for n in range(tensor.ndim) if n not in modes[largest])
    columns = {v: (modes[v], entries[v]) for v in range(root) if children[v]}
    columns[root] = (rest, list(np.ndindex(*(dims[n] for n in rest))))
    weights: list[Any] = []
    for v in range(root):
        above, wanted = columns[next(p for p in columns if v in children[p])]
        if v == largest:
            weights.append(jnp.asarray(reference.matricize(tensor, modes[v])))
            continue
        places = [[above.index(n) for n in modes[v]]] * len(wanted)
        chosen = [tuple(e[i] for i in at) for e, at in zip(wanted, places, strict=True)]
        rows = [entries[v].index(c) for c in chosen]
        weights.append(jnp.eye(len(entries[v]))[:, np.array(rows)])
    return htf.Factors(tree=htf.ModeTree.from_nested(nested), weights=(*weights, None))


@pytest.mark.parametrize("name", ["matrix", "flat3", "binary4", "caterpillar4", "mixed5"])
def test_a11_universality(name):
    """A11: widths R_v = E_v and R_root = E/max_c E_c express any tensor exactly."""
    nested = helpers.TREES[name]
    dims = [min(d, 3) for d in helpers.default_dims(nested)]
    tensor = np.random.default_rng(3).standard_normal(dims)
    factors = expressing(tensor, nested)
    tree = factors.tree
    sizes = [math.prod(dims[n] for n in modes) for modes in tree.modes]
    widths = htf.widths(factors)
    assert [widths[v] for v in tree.interior[:-1]] == [sizes[v] for v in tree.interior[:-1]]
    largest = max(sizes[c] for c in tree.children[tree.root])
    assert widths[tree.root] == sizes[tree.root] // largest
    np.testing.assert_array_equal(htf.end_tensor(factors), tensor)


SCALE = {htf.gaussian_factors: "std", htf.balanced_factors: "scale"}


@pytest.mark.parametrize(("name", "root"), slow_unless(helpers.CASES, helpers.FAST[:4]))
def test_a12_number_of_parameters(name, root):
    """A12: sum D_n R_parent + sum R_v R_parent + R_root; both initializations agree."""
    nested = helpers.TREES[name]
    tree, dims = htf.ModeTree.from_nested(nested), helpers.default_dims(nested)
    widths = helpers.default_widths(nested)
    rows, children = [*dims, *widths], reference.children_of(nested)
    above = [rows[reference.parent_of(children, v) or 0] for v in range(tree.root)]
    expected = sum(a * b for a, b in zip(rows[:-1], above, strict=True))
    expected += rows[-1] if root == "trained" else 0
    for draw in (htf.gaussian_factors, htf.balanced_factors):
        start = functools.partial(
            draw, tree=tree, mode_dims=dims, widths=widths, root=root, **{SCALE[draw]: 1.0}
        )
        drawn = jax.eval_shape(start, jax.random.key(0))
        assert sum(w.size for w in jax.tree.leaves(drawn)) == expected


@pytest.mark.parametrize("root", helpers.ROOTS)
def test_b1_flat_tree_is_cp(root):
    """B1: sum_r w[r] a_r (x) b_r (x) c_r, and N vectors a component without w."""
    factors = helpers.random_factors("flat3", root=root)
    a, b, c, w = helpers.plain(factors)[1]
    w = np.ones((a.shape[1], 1)) if w is None else w
    expected = np.zeros((len(a), len(b), len(c)))
    for r, i, j, k in itertools.product(range(len(w)), *map(range, expected.shape)):
        expected[i, j, k] += w[r, 0] * a[i, r] * b[j, r] * c[k, r]
    helpers.assert_close(htf.end_tensor(factors), expected)
    lengths = [np.linalg.norm(x, axis=0) for x in (a, b, c)]
    sigma = np.abs(w[:, 0]) * lengths[0] * lengths[1] * lengths[2]
    helpers.assert_close(htf.local_component_norms(factors)[3], sigma)


@pytest.mark.parametrize("root", helpers.ROOTS)
def test_b2_two_modes_are_a_matrix_factorization(root):
    """B2: U diag(w) V^T; sigma are singular values when the columns are orthogonal."""
    factors = helpers.random_factors("matrix", (5, 4), (3,), root=root)
    u, v, w = helpers.plain(factors)[1]
    diagonal = np.ones(3) if w is None else w[:, 0]
    helpers.assert_close(htf.end_tensor(factors), u @ np.diag(diagonal) @ v.T)
    straight = [np.linalg.qr(u)[0] * [3.0, 2.0, 0.5], np.linalg.qr(v)[0], w]
    orthogonal = helpers.rebuilt(factors, straight)
    sigma = [np.sort(htf.local_component_norms(f)[2])[::-1] for f in (factors, orthogonal)]
    helpers.assert_close(htf.singular_values(orthogonal, 0), sigma[1])
    assert not np.allclose(htf.singular_values(factors, 0), sigma[0], rtol=1e-3)


def test_b2_component_balance_is_less_than_matrix_balance():
    """B2: on a chain components can be balanced while the matrices are not."""
    factors = helpers.random_factors("chain2", (3, 3), (3, 3), root="ones")
    w0, w1, w2, _ = helpers.plain(factors)[1]
    w0, w1 = w0 / np.linalg.norm(w0, axis=0), w1 / np.linalg.norm(w1, axis=0)
    squares = w2**2
    for _ in range(2000):  # rows and columns of norm one
        squares /= np.sum(squares, axis=1, keepdims=True)
        squares /= np.sum(squares, axis=0, keepdims=True)
    middle = np.sign(w2) * np.sqrt(squares)
    half = helpers.rebuilt(factors, [w0, w1, middle, None])
    assert float(htf.unbalancedness(half)) < 1e-12
    gap = np.linalg.norm(w0.T @ w0 - middle @ middle.T)
    assert gap > 0.1
    assert float(htf.unbalancedness(half, kind="matrix")) >= gap * (1 - 1e-12)


@every_case
def test_b3_widths_of_one_give_rank_one(name, root):
    """B3: all R_v = 1 is one outer product, with ranks one everywhere."""
    nested = helpers.TREES[name]
    count = len(htf.ModeTree.from_nested(nested).interior)
    factors = helpers.random_factors(nested, widths=[1] * count, root=root)
    children, weights = helpers.plain(factors)
    order = factors.tree.order
    scalar = math.prod(float(w[0, 0]) for w in weights[order:] if w is not None)
    vectors = [(weights[n][:, 0], (n,)) for n in range(order)]
    expected = scalar * reference.outer(vectors)
    helpers.assert_close(htf.end_tensor(factors), expected)
    assert all(int(rank) == 1 for rank in htf.hierarchical_rank(factors).values())
    assert len(htf.hierarchical_rank(factors)) == len(children) - 1
