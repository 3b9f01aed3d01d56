"""Singular values of all nodes by three routes, what auto chooses, and rank bounds."""

import itertools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax.test_util import check_grads

import htfjax as htf
from htfjax.instruments import core_values
from htfjax.theory import oracle
from tests import helpers

TREE_ROUTES = ("qr", "gram")
CASES = [(name, root) for name, root in helpers.CASES if name != "order1_deep"]


def wanted(factors):
    """NumPy's singular values of every node but the root."""
    children, weights = helpers.plain(factors)
    tensor = oracle.end_tensor(children, weights)
    return {
        v: np.linalg.svd(
            oracle.matricize(tensor, oracle.modes_of(children, v)), compute_uv=False
        )
        for v in range(len(children) - 1)
    }


def cast(factors, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), factors)


@pytest.mark.parametrize("route", ["dense", "qr", "gram"])
@pytest.mark.parametrize(("name", "root"), CASES)
def test_every_route_finds_numpys_values(name, root, route):
    """Chains, any arity, roots of ones, unequal widths: all nodes in one sweep."""
    factors = helpers.random_factors(name, root=root)
    found = htf.spectra(factors, method=route)
    expected = wanted(factors)
    assert sorted(found) == sorted(expected)
    for v, (values, taken, accuracy) in found.items():
        assert taken == route
        size = expected[v][0]
        count = values.shape[0]
        np.testing.assert_allclose(
            values, expected[v][:count], rtol=0, atol=4 * float(accuracy) * size
        )
        np.testing.assert_array_less(expected[v][count:], 1e-12 * size)
        assert float(accuracy) < (1e-12 if route != "gram" else 1e-5)
        np.testing.assert_array_equal(
            htf.singular_values(factors, v, method=route).shape, values.shape
        )


@helpers.examples(20)
@given(helpers.factors(max_entries=100))
def test_qr_on_any_tree(factors):
    expected = wanted(factors)
    spread = oracle.scale(*helpers.plain(factors))
    for v, (values, _, _) in htf.spectra(factors, method="qr").items():
        kept = values.shape[0]
        size = spread * math.sqrt(max(1, math.prod(htf.mode_dims(factors))))
        helpers.assert_close(values, expected[v][:kept], size=size)


def test_graded_spectra():
    """Values down to 1e-13 of the largest: QR keeps them, Gram matrices lose half."""
    graded = np.diag(10.0 ** -np.arange(0.0, 14.0, 2.0))
    factors = helpers.random_factors(((0, 1), (2, 3)), (7,) * 4, (7, 7, 7))
    weights = list(helpers.plain(factors)[1])
    weights[4] = graded @ weights[4]
    factors = helpers.rebuilt(factors, weights)
    expected = wanted(factors)[4]
    assert expected[6] < 1e-10 * expected[0]
    helpers.assert_close(htf.singular_values(factors, 4, "qr"), expected[:7], rtol=1e-13)
    gram = htf.spectrum(factors, 4, method="gram")
    gap = np.max(np.abs(np.asarray(gram.values) - expected[:7])) / expected[0]
    assert gap < float(gram.accuracy) < 1e-5


@pytest.mark.parametrize("route", TREE_ROUTES)
def test_fixed_nodes_and_zero_factors(route):
    factors = helpers.random_factors("mixed5")
    zero = jax.tree.map(jnp.zeros_like, factors)
    for values, _, accuracy in htf.spectra(zero, method=route).values():
        assert not np.any(values)
        assert np.isfinite(accuracy)
    fixed = htf.Factors(tree=factors.tree, weights=factors.weights, fixed=(0, 5))
    slope = jax.grad(lambda f: jnp.sum(htf.singular_values(f, 6, route)))(fixed)
    assert not np.any(slope.weights[0])
    assert np.any(slope.weights[1])


@pytest.mark.slow
def test_one_tensor_of_several_sizes_agrees():
    """Order 4, D 16 and order 8, D 4, against the dense route in float64 and float32."""
    for tree, dim, width in ((htf.perfect(4), 16, 24), (htf.perfect(8), 4, 12)):
        factors = htf.gaussian_factors(jax.random.key(0), tree, dim, width, width**-0.5)
        dense = htf.spectra(factors, method="dense")
        narrow = htf.spectra(cast(factors, np.float32), method="qr")
        for v, (values, _, _) in htf.spectra(factors, method="qr").items():
            reference_values = dense[v].values
            helpers.assert_close(values, reference_values, rtol=1e-12)
            assert narrow[v].values.dtype == np.float32
            helpers.assert_close(narrow[v].values, reference_values, rtol=1e-6)


@pytest.mark.parametrize("route", TREE_ROUTES)
@pytest.mark.parametrize("tree", [htf.perfect(1024), htf.caterpillar(1024)])
def test_order_1024(tree, route):
    """No recursion, no flat sizes, no overflow on the way; norms agree at every node."""
    factors = htf.gaussian_factors(jax.random.key(0), tree, 2, 2, 0.1, mean=0.65)
    nodes = [0, 1023, tree.order, tree.root - 1, tree.order + 500]
    norm = float(htf.squared_norm(factors))
    assert 1e-300 < norm < 1e300
    found = htf.spectra(factors, accuracy=1e-6 if route == "gram" else None, method=route)
    assert len(found) == tree.root
    for v in nodes:
        np.testing.assert_allclose(np.sum(np.square(found[v].values)), norm, rtol=1e-9)


def test_order_64_is_fast():
    """All values of order 64, D 4, width 16, float64, eagerly: far below a second."""
    tree = htf.perfect(64)
    factors = htf.gaussian_factors(jax.random.key(0), tree, 4, 16, 0.25)
    fine, coarse = (
        jax.block_until_ready(htf.spectra(factors, accuracy=a)) for a in (None, 1e-6)
    )
    start = time.perf_counter()
    jax.block_until_ready(htf.spectra(factors))
    assert time.perf_counter() - start < 1.0
    for v in fine:
        assert (fine[v].route, coarse[v].route) == ("qr", "gram")
        helpers.assert_close(coarse[v].values, fine[v].values, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("route", TREE_ROUTES)
def test_derivatives(route):
    factors = helpers.random_factors("mixed5")

    def fn(f):
        found = htf.spectra(f, method=route)
        return jnp.stack([jnp.sum(s.values**3) + s.values[0] for s in found.values()])

    check_grads(jax.jit(fn), (factors,), order=1, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_roots_of_indefinite_and_singular_matrices(dtype):
    """Rounding may leave a Gram matrix of low rank slightly indefinite, or rows zero."""
    rng = np.random.default_rng(0)
    eps = np.finfo(dtype).eps
    low = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 6))
    outer = rng.normal(size=(6, 6))
    outer = outer @ outer.T
    shifts = np.array([0.0, -3.0, -400.0])[:, None, None] * eps * np.eye(6)
    inner = low @ low.T + np.max(np.abs(low @ low.T)) * shifts
    zero = inner * np.outer(np.arange(6) != 2, np.arange(6) != 2)
    for stack in (inner, zero, np.zeros_like(inner)):
        grams = [jnp.asarray(x, dtype) for x in (stack, np.stack([outer] * 3))]
        values, accuracy = core_values.values_of_grams((*grams, jnp.zeros(3, jnp.int32)))
        for row in range(3):
            squares = np.linalg.eigvals(stack[0] @ outer).real
            wanted = np.sqrt(np.maximum(np.sort(squares)[::-1], 0))
            allowed = 4 * float(accuracy[row]) * max(wanted[0], 1e-30)
            np.testing.assert_allclose(values[row], wanted, rtol=0, atol=allowed)


@pytest.mark.parametrize("root", helpers.ROOTS)
@pytest.mark.parametrize("route", ["dense", "qr", "gram"])
def test_the_root_has_one_value(route, root):
    """Its matricization is the whole tensor as one column."""
    factors = helpers.random_factors("mixed5", root=root)
    for given_factors in (factors, htf.group(factors)):
        found = htf.spectrum(given_factors, factors.tree.root, method=route)
        assert found.values.shape == (1,)
        norm = np.linalg.norm(np.asarray(htf.end_tensor(factors)))
        helpers.assert_close(found.values[0], norm, rtol=1e-12)


@pytest.mark.parametrize("route", TREE_ROUTES)
def test_jit_and_vmap(route):
    starts = [helpers.random_factors("mixed5", seed=s) for s in (0, 1)]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *starts)
    found = jax.jit(jax.vmap(lambda f: htf.spectrum(f, 6, method=route)))(stacked)
    assert found.route == route
    for row, start in enumerate(starts):
        helpers.assert_close(
            found.values[row], htf.singular_values(start, 6, route), rtol=1e-7
        )


def test_a_narrow_place_elsewhere_keeps_the_number_of_values():
    """min(P_v, P_rest, R_v, R_parent) values on every route, zeros where rank is less."""
    tree = htf.ModeTree.from_nested(((2, 0), (3, 1)))
    factors = htf.gaussian_factors(jax.random.key(0), tree, (3, 2, 1, 3), (4, 2, 4), 1.0)
    one, *others = (htf.singular_values(factors, 0, m) for m in ("dense", "qr", "gram"))
    assert one.shape == (3,)
    for other in others:
        np.testing.assert_allclose(other, one, atol=1e-7)


@pytest.mark.parametrize("route", ["qr", "gram"])
def test_accuracy_does_not_depend_on_how_components_share_their_size(route):
    """Columns scaled by c in one leaf and 1/c in another: the same tensor and rank."""
    c, eye = jnp.asarray([[1e4, 1e-4]], jnp.float32), jnp.eye(2, dtype=jnp.float32)
    weights = (eye * c, eye / c, *[eye] * 62, jnp.ones((2, 1), jnp.float32))
    found = htf.spectra(htf.Factors(tree=htf.flat(64), weights=weights), method=route)[0]
    np.testing.assert_allclose(found.values, [1, 1], rtol=1e-5)
    assert float(found.accuracy) < 1e-2


def test_nan_factors_have_nan_instruments():
    factors = helpers.random_factors("mixed5")
    broken = htf.group(jax.tree.map(lambda w: w * jnp.nan, factors))
    assert all(jnp.all(jnp.isnan(x)) for x in htf.component_contributions(broken).values())
    assert "not finite" in str(htf.magnitude(broken))


def test_many_modes_of_one_entry():
    """A product of many mantissas below one does not underflow on the way."""
    ones = [jnp.ones((1, 2), jnp.float32)] * 150 + [jnp.ones((2, 1), jnp.float32)]
    factors = htf.Factors(tree=htf.flat(150), weights=tuple(ones))
    assert float(htf.squared_norm(factors)) == 4.0


@pytest.mark.slow
def test_auto_chooses_by_cost_and_accuracy():
    small = helpers.random_factors("binary4")
    large = htf.gaussian_factors(jax.random.key(0), htf.perfect(32), 4, 8, 0.3)
    assert htf.spectrum(small, 4).route == "dense"
    assert htf.spectrum(large, 40).route == "qr"
    assert htf.spectrum(large, 40, accuracy=1e-6).route == "gram"
    assert htf.spectrum(large, 40, accuracy=1e-9).route == "qr"
    assert htf.spectrum(cast(large, np.float32), 40, accuracy=1e-5).route == "qr"
    assert htf.spectrum(cast(large, np.float32), 40, accuracy=1e-2).route == "gram"
    wide = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 8, 256, 0.3)
    assert htf.spectra(wide)[0].route == "dense"


def test_mode_sets_of_a_node_need_no_tensor():
    factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(32), 4, 3, 0.5)
    node = factors.tree.parent[factors.tree.parent[5]]
    expected = htf.singular_values(factors, node)
    for modes in ((7, 4, 6, 5), [m for m in range(32) if m not in range(4, 8)]):
        helpers.assert_close(htf.singular_values(factors, modes), expected)
    small = helpers.random_factors("mixed5")
    # Both children of the root have this edge; the narrower one says how many there are.
    values = htf.singular_values(small, (3, 0), "qr")
    assert values.shape == (2,)
    helpers.assert_close(values, htf.singular_values(small, 5)[:2])


def test_hierarchical_rank_is_cut_at_the_accuracy_of_the_route():
    """Rank two exactly; the noise of a Gram route does not count."""
    factors = helpers.random_factors(htf.perfect(8).nested, (4,) * 8, (8,) * 7)
    weights = [np.array(w) for w in factors.weights]
    for k, weight in enumerate(weights):
        weight[:, 2 if k < factors.tree.root else 1 :] = 0
    factors = helpers.rebuilt(factors, weights)
    for route in ("dense", "qr", "gram"):
        ranks = htf.hierarchical_rank(factors, method=route)
        assert {int(r) for r in ranks.values()} == {2}, route


@pytest.mark.parametrize("name", ["mixed5", "chain_between", "flat3", "leaf_at_root"])
def test_rank_bound_is_the_min_cut(name):
    """D4: never below the rank, equal to brute force over all sets of indices."""
    factors = helpers.random_factors(name)
    tree = factors.tree
    tensor = oracle.end_tensor(*helpers.plain(factors))
    for size in range(tree.order + 1):
        for modes in itertools.combinations(range(tree.order), size):
            bound = htf.rank_bound(factors, modes)
            assert bound == brute_force(factors, modes)
            rank = np.linalg.matrix_rank(oracle.matricize(tensor, modes), rtol=1e-10)
            assert rank <= bound
            others = [m for m in range(tree.order) if m not in modes]
            assert htf.rank_bound(factors, others) == bound


def brute_force(factors, modes):
    """Cheapest labelling of nodes as inside, outside or cut with no edge between sides."""
    tree, rows = factors.tree, htf.widths(factors)
    best = math.inf
    for interior in itertools.product("ioc", repeat=len(tree.interior)):
        cost = math.prod(
            rows[k] for k, s in zip(tree.interior, interior, strict=True) if s == "c"
        )
        label = dict(zip(tree.interior, interior, strict=True))
        for leaf in range(tree.order):
            side = "i" if leaf in modes else "o"
            if label[tree.parent[leaf]] not in (side, "c"):
                cost *= rows[leaf]
        for k in tree.interior[:-1]:
            if {label[k], label[tree.parent[k]]} == {"i", "o"}:
                cost = math.inf
        best = min(best, cost)
    return best


def test_rank_bound_beyond_64_bits():
    factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(1024), 4, 16, 0.1)
    assert htf.rank_bound(factors, range(0, 1024, 2)) == 4**512
    assert htf.rank_bound(factors, range(512)) == 16


LARGE = htf.gaussian_factors(jax.random.key(0), htf.perfect(64), 4, 3, 0.5)
SMALL = helpers.random_factors("binary4")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: htf.spectrum(SMALL, 4, method="fast"), ["`method='fast'`", "gram"]),  # pyright: ignore[reportArgumentType]
        (
            lambda: htf.spectrum(SMALL, 4, accuracy=1e-17),
            ["`accuracy=1e-17`", "every route"],
        ),
        (lambda: htf.spectra(SMALL, accuracy=1e-17), ["`accuracy=1e-17`", "float64"]),
        (lambda: htf.spectrum(SMALL, 4, accuracy=-1.0), ["`accuracy=-1.0`"]),
        (
            lambda: htf.spectrum(SMALL, 4, accuracy=1e-10, method="gram"),
            ["`accuracy=1e-10`", "`method='gram'`", "method='qr'"],
        ),
        (
            lambda: htf.spectrum(LARGE, 70, method="dense"),
            [str(8 * 4**64), "bytes", "method='qr'"],
        ),
        (lambda: htf.spectra(LARGE, method="dense"), [str(8 * 4**64), "bytes"]),
        (
            lambda: htf.singular_values(LARGE, (0, 2)),
            [str(8 * 4**64), "bytes", "at most 9", "`rank_bound`"],
        ),
        (lambda: htf.spectrum(SMALL, (0, 2), method="qr"), ["`method='qr'`", "dense"]),
        (lambda: htf.rank_bound(SMALL, (0, 4)), ["`modes=(0, 4)`"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match="`") as caught:
        call()
    for word in words:
        assert word in str(caught.value)


# Long in all; the examples in the docstrings run every time.
pytestmark = pytest.mark.slow
