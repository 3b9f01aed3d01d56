"""Second derivatives: finite and right in float32 where small initialization lives."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests import helpers
from tests.marks import slow_unless

TREE, DIMS = "leaf_at_root", (3, 2, 3)
START = helpers.random_factors(TREE, DIMS, (2, 3))
ALONG = helpers.random_factors(TREE, DIMS, (2, 3), seed=1)
OTHER = helpers.random_factors(TREE, DIMS, (2, 2), seed=2)
INDICES = helpers.random_indices(DIMS, 9)
TARGETS = np.random.default_rng(4).standard_normal(9)
ROUTES = ("dense", "qr", "gram")


def scaled(factors, std, dtype):
    return jax.tree.map(lambda x: (std * x).astype(dtype), factors)


def weighted(values):
    """A sum in which every value counts otherwise."""
    return sum(jnp.sum(x / jnp.arange(1.0, x.size + 1).astype(x.dtype)) for x in values)


def tail(f):
    return jnp.sum(jnp.square(htf.end_tensor(f) - 1))


def spectrum_by(route):
    return lambda f: weighted([htf.singular_values(f, 3, method=route)])


def other(f):
    dtype = jnp.result_type(*jax.tree.leaves(f))
    return jax.tree.map(lambda x: x.astype(dtype), OTHER)


def completion(penalty):
    return lambda f: htf.completion_loss(TREE_OF, DIMS, INDICES, TARGETS, penalty=penalty)(
        f
    )


def sensing(f):
    vectors = helpers.random_vectors(DIMS, 9)
    return htf.sensing_loss(vectors, TARGETS)(f)


def matrix_sensing(f):
    """The two leaves under one node, as a matrix factorization."""
    matrix = htf.Factors(tree=htf.flat(2), weights=(*f.weights[:2], None))
    data = np.random.default_rng(5).standard_normal((9, 3, 2))
    return htf.matrix_sensing_loss(data, TARGETS)(matrix)


def minibatch(f):
    loss = htf.completion_loss(TREE_OF, DIMS, INDICES, TARGETS)
    return htf.minibatch_loss(loss, 5)(f, jax.random.key(0))


def total(f):
    return (0.5 * htf.population_loss(OTHER) + completion("huber"))(f)


TREE_OF = START.tree
ALL = {
    **{f"values_{route}": spectrum_by(route) for route in ("qr", "gram", "dense")},
    "nuclear": lambda f: htf.nuclear_norm(f, (0, 1)),
    "distance_qr": lambda f: htf.distance(f, other(f)),
    "nuclear_node": lambda f: htf.nuclear_norm(f, 3),
    "weights": lambda f: weighted(htf.weight_singular_values(f).values()),
    "effective_rank": lambda f: htf.effective_rank(htf.singular_values(f, 3)),
    "entropy": lambda f: htf.entanglement_entropy(htf.singular_values(f, 3)),
    "norms": lambda f: weighted(htf.local_component_norms(f).values()),
    "vectors": lambda f: weighted(htf.weight_vector_norms(f).values()),
    "contributions": lambda f: weighted(htf.component_contributions(f).values()),
    "unbalancedness": htf.unbalancedness,
    "squared_norm": htf.squared_norm,
    "inner_product": lambda f: htf.inner_product(f, other(f)),
    "distance_gram": lambda f: htf.distance(f, other(f), method="gram"),
    "population_gram": lambda f: htf.population_loss(OTHER)(f),
    "population_qr": lambda f: htf.population_loss(OTHER, method="qr")(f),
    "completion_l2": completion("l2"),
    "completion_huber": completion("huber"),
    "completion_l1": completion("l1"),
    "sensing": sensing,
    "matrix_sensing": matrix_sensing,
    "minibatch": minibatch,
    "sum": total,
    "growth": lambda f: weighted(htf.growth_rates(f, tail).values()),
    "balanced_growth": lambda f: weighted(htf.theory.balanced_growth(f, tail).values()),
    "exact_growth": lambda f: weighted(htf.theory.exact_growth(f, tail).values()),
    "bounds": lambda f: weighted(htf.theory.truncation_bounds(f, 1).values()),
}


def flat(tree):
    return np.concatenate([np.ravel(x).astype(np.float64) for x in jax.tree.leaves(tree)])


def hessian_product(fn):
    return jax.jit(lambda f, d: jax.jvp(jax.grad(fn), (f,), (d,))[1])


def bent(grad, factors, along, step=1e-3):
    """Central differences of fourth order of float64 gradients."""
    at = [
        flat(grad(jax.tree.map(lambda x, d, k=k: x + k * step * d, factors, along)))
        for k in (-2, -1, 1, 2)
    ]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_products_with_the_hessian(name):
    """In both precisions at every scale: finite, and differences of float64 gradients."""
    product, grad = hessian_product(ALL[name]), jax.jit(jax.grad(ALL[name]))
    for std in (1.0, 1e-2, 1e-3):
        wide = [scaled(x, std, np.float64) for x in (START, ALONG)]
        expected = bent(grad, *wide)
        size = np.max(np.abs(expected))
        helpers.assert_close(flat(product(*wide)), expected, size=size, rtol=1e-6)
        short = [scaled(x, std, np.float32) for x in (START, ALONG)]
        helpers.assert_close(flat(product(*short)), expected, size=size, rtol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_nothing_is_nan_at_zeros(name):
    """All weights zero, and a component whose vectors are."""
    product = hessian_product(ALL[name])
    weights = list(START.weights)
    weights[3] = weights[3].at[0].set(0.0)
    weights[0], weights[1] = (w.at[:, 0].set(0.0) for w in weights[:2])
    dead = dataclasses.replace(START, weights=tuple(weights))
    for point in (scaled(START, 0.0, np.float64), dead):
        assert np.all(np.isfinite(flat(product(point, ALONG))))


@pytest.mark.slow
def test_values_of_a_perfect_tree_in_float32():
    """Products with the Hessian agree between the routes to 1e-5."""
    methods: tuple[Any, ...] = ("auto", "qr", "gram")
    products = [
        hessian_product(lambda f, m=m: htf.singular_values(f, 4, m)[0]) for m in methods
    ]
    for std in (1.0, 1e-2, 1e-3):
        start, along = (
            htf.gaussian_factors(
                jax.random.key(k), htf.perfect(4), 3, 3, std, dtype=np.float32
            )
            for k in (0, 1)
        )
        found = [flat(product(start, along)) for product in products]
        assert np.max(np.abs(found[0])) > 0
        helpers.assert_close(found[0], found[2], rtol=1e-5)
        helpers.assert_close(found[1], found[2], rtol=1e-5)


def test_values_of_a_matrix_near_the_ends_of_float32():
    """Scales 1e-20 and 1e20: products of the Hessian are those at scale one."""
    matrix, along = (np.random.default_rng(k).standard_normal((4, 3)) for k in (0, 1))
    tree = htf.ModeTree.from_nested((0, 1))
    one = jnp.eye(3, dtype=np.float32)

    def values(w):
        return htf.singular_values(htf.Factors(tree=tree, weights=(w, one, None)), (0,))

    def total(w):
        return htf.nuclear_norm(htf.Factors(tree=tree, weights=(w, one, None)), (0,))

    for fn in (lambda w: weighted([values(w)]), total):
        product = hessian_product(fn)
        pair = [jnp.asarray(x, np.float32) for x in (matrix, along)]
        at_one = product(*pair)
        assert np.max(np.abs(at_one)) > 0.01
        for power in (-66, 66):
            found = product(*(x * np.float32(2.0**power) for x in pair))
            helpers.assert_close(found, at_one, rtol=1e-5)


# Equal values


def polar_slopes(a, b):
    """The gradient of the nuclear norm of A B^T by NumPy."""
    left, _, right = np.linalg.svd(a @ b.T)
    turn = left @ right
    return np.concatenate([(turn @ b).ravel(), (turn.T @ a).ravel()])


@pytest.mark.parametrize("route", slow_unless([*ROUTES, "nuclear_norm"], ("nuclear_norm",)))
def test_the_sum_of_equal_values_is_smooth(route):
    """The Hessian of the nuclear norm at the identity, where no single value has one."""
    start = htf.identity_factors(htf.flat(2), 3, 3, 1.0, root="ones")
    rng = np.random.default_rng(0)
    along = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape)), start)

    def fn(f):
        if route == "nuclear_norm":
            return htf.nuclear_norm(f, (0,))
        return jnp.sum(htf.singular_values(f, 0, method=route))

    def slopes(step):
        pairs = zip(start.weights[:2], along.weights[:2], strict=True)
        return polar_slopes(*(np.asarray(w + step * d) for w, d in pairs))

    h = 1e-3
    expected = slopes(-2 * h) - 8 * slopes(-h) + 8 * slopes(h) - slopes(2 * h)
    found = flat(jax.jvp(jax.grad(fn), (start,), (along,))[1])
    helpers.assert_close(found, expected / (12 * h), rtol=1e-9)


@pytest.mark.slow
def test_the_hessian_at_the_identity_is_finite():
    start = htf.identity_factors(htf.flat(2), 3, 3, 1.0, root="ones")
    found = jax.hessian(lambda f: htf.singular_values(f, (0,)).sum())(start)
    assert np.all(np.isfinite(flat(found)))


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_components_that_are_dependent_or_zero(route):
    """Tables without full rank: the excess, and the Gram matrices' own series."""
    weights = list(START.weights)
    weights[0] = weights[0].at[:, 0].set(0.0)
    dead = dataclasses.replace(START, weights=tuple(weights))
    weights = list(START.weights)
    weights[0], weights[1] = (w.at[:, 1].set(w[:, 0]) for w in weights[:2])
    alike = dataclasses.replace(START, weights=tuple(weights))

    def fn(f):
        return htf.singular_values(f, 3, method=route)[0]

    product, grad = hessian_product(fn), jax.jit(jax.grad(lambda f: spectrum_of(f)[0]))
    for point in (dead, alike):
        expected = bent(grad, point, ALONG)
        helpers.assert_close(flat(product(point, ALONG)), expected, rtol=1e-6)


def spectrum_of(f):
    return jnp.linalg.svd(htf.matricize(htf.end_tensor(f), (0, 1)), compute_uv=False)


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_reverse_over_reverse(route):
    """Gradients of products with the gradient: the same second derivatives."""

    def along_gradient(f):
        slopes = jax.tree.leaves(jax.grad(spectrum_by(route))(f))
        moves = jax.tree.leaves(ALONG)
        return sum(jnp.sum(g * d) for g, d in zip(slopes, moves, strict=True))

    found = flat(jax.grad(along_gradient)(START))
    expected = flat(hessian_product(spectrum_by(route))(START, ALONG))
    helpers.assert_close(found, expected, rtol=1e-9)


@pytest.mark.slow
def test_third_derivatives_by_qr_are_refused():
    def third(f):
        return jax.jvp(
            lambda g: hessian_product(spectrum_by("qr"))(g, ALONG), (f,), (ALONG,)
        )

    with pytest.raises(NotImplementedError, match="method='dense'"):
        jax.eval_shape(third, START)


def test_a_scaled_loss_in_a_sum_is_refused():
    """Its gradient is a mantissa: a sum points elsewhere (cosine -0.42), so say so."""
    tree = htf.perfect(4)
    start = htf.gaussian_factors(jax.random.key(0), tree, 3, 3, 0.05, dtype=np.float32)
    indices = htf.random_indices(jax.random.key(1), (3,) * 4, 30)
    loss = htf.scaled_loss(htf.completion_loss(tree, 3, indices, jnp.ones(30)))

    def penalized(f):
        return loss(f) + 0.1 * sum(jnp.sum(jnp.square(w)) for w in jax.tree.leaves(f))

    with pytest.raises((TypeError, NotImplementedError), match="scaled_loss"):
        jax.grad(penalized)(start)
