"""One tensor, whatever its components share out between matrices: one set of results.

A column of a matrix times c and the row above it by 1/c leave the end tensor as it is. In
float32 with powers of two up to 2^60 squares overflow and underflow, within one matrix.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax import _numerics
from tests import helpers
from tests.marks import slow_unless

TREES = ["mixed5", "chain_between", "flat3", "caterpillar4", "order1_deep"]


def powers(factors, largest):
    """Per node what columns are multiplied by and rows divided by, as powers of two.

    Siblings get opposite large powers, but for a little that goes to the row above.
    """
    rng, tree = np.random.default_rng(0), factors.tree
    columns = [np.zeros(w.shape[1], int) for w in factors.weights]
    rows = [np.zeros(w.shape[0], int) for w in factors.weights]
    for v in tree.interior:
        kids, width = tree.children[v], rows[v].size
        drawn = rng.integers(-largest, largest + 1, (len(kids), width))
        if len(kids) > 1:
            drawn[-1] = rng.integers(-8, 9, width) - drawn[:-1].sum(0)
        for k, column in zip(kids, drawn, strict=True):
            columns[k] = column
        rows[v] = drawn.sum(0)
    return columns, rows


def in_another_gauge(factors, largest):
    """The same end tensor, exactly."""
    weights = [
        jnp.asarray(np.ldexp(np.asarray(w), column[None] - row[:, None]))
        for w, column, row in zip(factors.weights, *powers(factors, largest), strict=True)
    ]
    assert all(w.dtype == jnp.float32 and np.isfinite(w).all() for w in weights)
    return dataclasses.replace(factors, weights=tuple(weights))


def in_two_gauges(name, largest=60):
    factors = helpers.random_factors(name, dtype=np.float32)
    return factors, in_another_gauge(factors, largest)


def another(factors):
    return helpers.random_factors(
        factors.tree.nested, htf.mode_dims(factors), seed=7, dtype=np.float32
    )


every_tree = pytest.mark.parametrize("tree", slow_unless(TREES, ("flat3", "order1_deep")))


INSTRUMENTS = {
    "squared norm": htf.squared_norm,
    "contributions": htf.component_contributions,
    "magnitude": lambda f: htf.magnitude(f).log2_value,
    "spectra, qr": lambda f: htf.spectra(f, method="qr"),
    "spectra, gram": lambda f: htf.spectra(f, method="gram"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTRUMENTS)
@every_tree
def test_instruments(tree, name):
    one, other = (jax.jit(INSTRUMENTS[name])(f) for f in in_two_gauges(tree))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(one))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["qr", "gram"])
@pytest.mark.parametrize("tree", TREES)
def test_distances_and_inner_products(tree, method):
    pair = in_two_gauges(tree)
    target = another(pair[0])
    np.testing.assert_allclose(
        *(htf.distance(f, target, method=method) for f in pair), rtol=1e-6
    )
    np.testing.assert_allclose(*(htf.inner_product(target, f) for f in pair), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("tree", ["mixed5", "flat3", "caterpillar4"])
def test_scaled_gradient_of_the_population_loss(tree):
    """Derivatives by matrices that are 2^35 larger or smaller are as much the reverse."""
    pair = in_two_gauges(tree, 35)
    loss = htf.population_loss(another(pair[0]))
    one, other = (htf.scaled_value_and_grad(loss, f) for f in pair)
    np.testing.assert_allclose(one.value, other.value, rtol=1e-6)
    shift = int(other.log2_scale) - int(one.log2_scale)
    gradients = zip(one.gradient.weights, other.gradient.weights, strict=True)
    for (a, b), column, row in zip(gradients, *powers(pair[0], 35), strict=True):
        back = np.ldexp(np.asarray(b, np.float64), shift + column[None] - row[:, None])
        np.testing.assert_allclose(back, a, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_component_is_not_lost_beside_a_larger_one():
    """Columns 2^70 apart in one leaf, and the other way round in another."""
    c, eye = jnp.asarray([[2.0**35, 2.0**-35]], jnp.float32), jnp.eye(2, dtype=jnp.float32)
    last = jnp.ones((2, 1), jnp.float32)
    factors = htf.Factors(tree=htf.flat(3), weights=(eye * c, eye / c, eye, last))
    assert float(htf.squared_norm(factors)) == 2.0
    assert np.allclose(htf.component_contributions(factors)[3], 1, rtol=1e-6)
    assert int(htf.hierarchical_rank(factors, method="gram")[0]) == 2


@pytest.mark.slow
def test_columns_are_normalized_exactly():
    rng = np.random.default_rng(0)
    x = np.ldexp(rng.standard_normal((3, 4, 5)), rng.integers(-40, 40, (3, 4, 5)))
    x[0, :, 1] = 0
    rows = rng.integers(-200, 200, (3, 4)) + np.array([[0], [900], [-5000]])
    y, powers = _numerics.normalized_columns(jnp.asarray(x), jnp.asarray(rows, jnp.int32))
    tops = np.abs(y).max(axis=1)
    assert tops[0, 1] == 0
    tops[0, 1] = 0.5
    assert ((tops >= 0.5) & (tops < 1)).all()
    back = np.ldexp(np.asarray(y), np.asarray(powers)[:, None] - rows[:, :, None])
    np.testing.assert_array_equal(back, x)


def test_columns_that_are_not_finite_stay_so():
    x = jnp.asarray([[jnp.nan, jnp.inf, 1.0], [1.0, 1.0, 3.0]])
    y, powers = _numerics.normalized_columns(x, jnp.zeros(2, jnp.int32))
    assert np.isnan(y[0, 0])
    assert np.isinf(y[0, 1])
    assert y[:, 2].tolist() == [0.25, 0.75]
    assert powers.tolist() == [0, 0, 2]


def test_rows_that_do_not_fit_beside_the_largest_are_zero():
    x, rows = jnp.ones((2, 2), jnp.float32), jnp.asarray([0, -1000], jnp.int32)
    y, _ = _numerics.normalized_columns(x, rows)
    assert y.tolist() == [[0.5, 0.5], [0.0, 0.0]]
