"""Tensors whose spectra others published or that have a closed form."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests import helpers

ROUTES = ("dense", "qr", "gram")


def cp_factors(nested, matrices, column):
    """sum_r column[r] a_r^(0) (x) ... on any tree: identities inside (law A8)."""
    tree = htf.ModeTree.from_nested(nested)
    width = len(column)
    inside = [np.eye(width)] * (len(tree.interior) - 1)
    weights = [*matrices, *inside, np.reshape(column, (width, 1))]
    return htf.Factors(
        tree=tree, weights=tuple(jnp.asarray(w, np.float64) for w in weights)
    )


def tolerance(route):
    return 1e-12 if route != "gram" else 4e-8


def nonzero(factors, node, route, count):
    """The first values by a route; what follows must be nothing."""
    values = np.asarray(htf.singular_values(factors, node, method=route))
    assert np.all(values[count:] <= tolerance(route) * values[0])
    return values[:count]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("nested", [((0, 1), (2, 3)), (((0, 1), 2), 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("size", [2, 5])
def test_ghz(route, nested, size):
    """Superdiagonal: every matricization has `size` equal values; effective rank size."""
    ghz = cp_factors(nested, [np.eye(size)] * 4, np.ones(size))
    assert np.count_nonzero(htf.end_tensor(ghz)) == size
    for node in range(ghz.tree.root):
        values = htf.singular_values(ghz, node, method=route)
        helpers.assert_close(values, np.ones(size), rtol=tolerance(route))
        helpers.assert_close(htf.effective_rank(values), float(size), rtol=1e-7)


def w_tensor(nested):
    """sum over n of e_0 ... e_1 (at n) ... e_0, norm one: one component for each mode."""
    order = htf.ModeTree.from_nested(nested).order
    matrices = [
        np.stack([np.arange(order) != n, np.arange(order) == n]).astype(float)
        for n in range(order)
    ]
    return cp_factors(nested, matrices, np.full(order, 1 / math.sqrt(order)))


@pytest.mark.parametrize("route", ROUTES)
def test_w_tensor(route):
    """sqrt(k/N) and sqrt(1 - k/N) at a node of k of N = 8 modes."""
    tensor = w_tensor(htf.perfect(8).nested)
    ranks = {1: 1.7994500, 2: 1.9286232, 4: 2.0}
    printed = {1: (0.93541435, 0.35355339), 2: (0.8660254, 0.5)}
    for node in range(tensor.tree.root):
        k = len(tensor.tree.modes[node])
        values = nonzero(tensor, node, route, 2)
        large, small = max(k / 8, 1 - k / 8), min(k / 8, 1 - k / 8)
        helpers.assert_close(
            values, [math.sqrt(large), math.sqrt(small)], rtol=tolerance(route)
        )
        if k in printed:
            np.testing.assert_allclose(values, printed[k], atol=5e-8)
        floor = 1e-6
        found = float(htf.effective_rank(jnp.asarray(values), floor))
        assert abs(found - ranks[k]) < 1e-7
    helpers.assert_close(htf.squared_norm(tensor), 1.0)


@pytest.mark.parametrize("nested", [htf.perfect(32).nested, htf.caterpillar(20).nested])
def test_w_tensor_at_high_order(nested):
    """The same where no dense tensor exists."""
    tensor = w_tensor(nested)
    order = tensor.tree.order
    for node, (values, route, accuracy) in htf.spectra(tensor, method="qr").items():
        k = len(tensor.tree.modes[node])
        pair = sorted([math.sqrt(k / order), math.sqrt(1 - k / order)])[::-1]
        assert route == "qr"
        assert float(accuracy) < 1e-13
        helpers.assert_close(values[:2], pair)
        assert np.all(values[2:] < 1e-13)


def affine(nested, dims, start, steps):
    """a + sum_n b_n i_n on any tree: 1 + N components, all but one mode constant."""
    order = len(dims)
    matrices = []
    for n, dim in enumerate(dims):
        matrix = np.ones((dim, order + 1))
        matrix[:, n + 1] = np.arange(dim)
        matrices.append(matrix)
    return cp_factors(nested, matrices, np.array([start, *steps], float))


@pytest.mark.parametrize("nested", [(((0, 1), (2, 3)), 4), htf.caterpillar(5).nested])
def test_affine_tensor_e8(nested):
    """reshape(1:32, 2^5), first index fastest as there: exact to 1e-10, rank 2."""
    factors = affine(nested, (2,) * 5, 1, [1, 2, 4, 8, 16])
    wanted = np.arange(1.0, 33.0).reshape((2,) * 5, order="F")
    helpers.assert_close(htf.end_tensor(factors), wanted, rtol=1e-13)
    for method in ROUTES:
        ranks = htf.hierarchical_rank(factors, method=method)
        assert {int(r) for r in ranks.values()} == {2}
    seven = affine((((0, 1), (2, 3)), (4, (5, 6))), (2,) * 7, 1, [2**n for n in range(7)])
    wanted = np.arange(1.0, 129.0).reshape((2,) * 7, order="F")
    helpers.assert_close(htf.end_tensor(seven), wanted, rtol=1e-13)
    assert {int(r) for r in htf.hierarchical_rank(seven, method="qr").values()} == {2}


def sine(nested, points, phase):
    """sin or cos of sum_n x_n by angle addition: one component for each product.

    sum over even (odd) numbers of sines of signed products of sines and cosines.
    """
    order = htf.ModeTree.from_nested(nested).order
    chosen = [
        c
        for c in itertools.product((0, 1), repeat=order)
        if sum(c) % 2 == (1 if phase == "sin" else 0)
    ]
    signs = [(-1.0) ** (sum(c) // 2) for c in chosen]
    both = np.stack([np.cos(points), np.sin(points)])
    matrices = [np.stack([both[c[n]] for c in chosen], axis=1) for n in range(order)]
    return cp_factors(nested, matrices, np.array(signs))


@pytest.mark.parametrize("phase", ["sin", "cos"])
@pytest.mark.parametrize("nested", [((0, 1), (2, 3)), (((0, 1), 2), 3), (0, (1, 2, 3))])
def test_sine_of_a_sum_e4(phase, nested):
    """Hierarchical rank 2 at every node; 128, 128 at {1, 2} on 16 points of a period."""
    points = 2 * np.pi * np.arange(16) / 16
    factors = sine(nested, points, phase)
    grids = np.meshgrid(*[points] * 4, indexing="ij")
    wanted = (np.sin if phase == "sin" else np.cos)(sum(grids))
    helpers.assert_close(htf.end_tensor(factors), wanted, rtol=1e-12)
    ranks = htf.hierarchical_rank(factors, rtol=1e-13, method="qr")
    assert {int(r) for r in ranks.values()} == {2}
    for node in range(factors.tree.root):
        if len(factors.tree.modes[node]) == 2:
            for route in ("dense", "qr"):
                helpers.assert_close(nonzero(factors, node, route, 2), [128.0, 128.0])
            values = np.asarray(htf.singular_values(factors, node, method="dense"))
            assert np.all(values[2:] < 1e-13 * 128 * 16)


LEAF = [9.991526e-1, 4.110100e-2, 2.186105e-3, 1.239212e-4, 7.205632e-6, 4.239924e-7]
PAIR = [9.988758e-1, 4.730176e-2, 3.111735e-3, 2.202675e-4, 1.551626e-5, 1.100839e-6]


def reciprocal_sum():
    """1/(xi_1 + ... + xi_4) at 10 Gauss points a decade: a sum of separable exponentials.

    1/s = integral over t of exp(t - s exp(t)), by the trapezoidal rule, which converges
    exponentially: a CP tensor exact to 1e-13.
    """
    nodes = np.arange(-36.0, 4.2, 0.2)
    exponents = np.exp(nodes)
    xi = np.linspace(1.0, 10.0, 50)
    matrix = np.exp(-np.outer(xi, exponents))
    return cp_factors(((0, 1), (2, 3)), [matrix] * 4, 0.2 * exponents)


@pytest.mark.slow
def test_reciprocal_of_a_sum_e1():
    """htucker example 9.1: norm and singular values of leaves and pairs."""
    factors = reciprocal_sum()
    xi = np.linspace(1.0, 10.0, 50)
    wanted = 1 / sum(np.meshgrid(*[xi] * 4, indexing="ij"))
    helpers.assert_close(htf.end_tensor(factors), wanted, rtol=1e-10)
    norm = float(jnp.sqrt(htf.squared_norm(factors)))
    assert abs(norm / 126.7913151923789 - 1) < 1e-10
    found = htf.spectra(factors, method="qr")
    for node in range(factors.tree.root):
        values = np.asarray(found[node].values)[:6] / norm
        np.testing.assert_allclose(values, LEAF if node < 4 else PAIR, rtol=1e-5)
    # Truncation at eps / sqrt(2 d - 3) of the norm keeps rank five at all nodes.
    cut = 1e-5 / math.sqrt(5)
    kept = {int(htf.rank_within(s.values / norm, cut)) for s in found.values()}
    assert kept == {5}


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pooling_geometry(width):
    """Cohen and Shashua: odd/even rank min(R, 2)^4, low/high rank min(R, 16)."""
    factors = helpers.random_factors(htf.perfect(8).nested, (2,) * 8, (width,) * 7)
    for rows, rank in (((1, 3, 5, 7), min(width, 2) ** 4), ((0, 1, 2, 3), min(width, 16))):
        values = htf.singular_values(factors, rows)
        assert int(htf.numerical_rank(values, 1e-9)) == rank
        assert htf.rank_bound(factors, rows) == rank


# Long in all; the examples in the docstrings run every time.
pytestmark = pytest.mark.slow
