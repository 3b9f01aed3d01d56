"""Norms, inner products, distances and the population loss, against the dense tensor."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import htfjax as htf
from htfjax.theory import oracle
from tests import helpers


def dense(factors):
    return oracle.end_tensor(*helpers.plain(factors))


def pair(name, root="trained"):
    """Two factorizations on one tree: other widths, another kind of root."""
    nested = helpers.TREES[name]
    count = len(htf.ModeTree.from_nested(nested).interior)
    one = helpers.random_factors(nested, root=root)
    other = helpers.random_factors(nested, widths=(2, 5, 3, 4, 2)[:count], seed=7)
    return one, other


every_tree = pytest.mark.parametrize("name", helpers.TREES)


@pytest.mark.parametrize("root", helpers.ROOTS)
@every_tree
def test_norm_inner_product_and_distance(name, root):
    one, other = pair(name, root)
    a, b = dense(one), dense(other)
    size = np.sum(a**2) + np.sum(b**2)
    helpers.assert_close(htf.squared_norm(one), np.sum(a**2))
    helpers.assert_close(htf.inner_product(one, other), np.sum(a * b), size=size)
    for method in ("qr", "gram"):
        found = htf.distance(one, other, method=method)
        helpers.assert_close(found, np.sqrt(np.sum((a - b) ** 2)))


def test_floors_of_the_two_distances():
    """Two factorizations 1e-11 apart: QR sees it, Gram matrices read noise below 1e-7."""
    one = helpers.random_factors("mixed5")
    weights = list(one.weights)
    weights[0] = weights[0] * (1 + 1e-11)
    other = dataclasses.replace(one, weights=tuple(weights))
    norm = float(jnp.sqrt(htf.squared_norm(one)))
    assert abs(float(htf.distance(one, other)) / (1e-11 * norm) - 1) < 1e-3
    assert float(htf.distance(one, other, method="gram")) < 1e-6 * norm
    assert float(htf.distance(one, one)) < 1e-14 * norm


@pytest.mark.parametrize("method", ["qr", "gram"])
@pytest.mark.parametrize("name", ["mixed5", "chain_between", "order1", "flat3"])
def test_population_loss_is_the_mean_squared_error(name, method):
    factors, target = pair(name, "ones")
    loss = htf.population_loss(target, method=method)
    wanted = jnp.asarray(dense(target))

    def plain(f):
        return jnp.mean(jnp.square(htf.end_tensor(f) - wanted))

    value, slope = jax.jit(jax.value_and_grad(loss))(factors)
    true_value, true_slope = jax.value_and_grad(plain)(factors)
    helpers.assert_close(value, true_value)
    for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(true_slope), strict=True):
        helpers.assert_close(a, b)
    helpers.assert_close(loss(factors), value)


@pytest.mark.slow
def test_derivatives_against_finite_differences():
    one, other = pair("leaf_at_root")
    for fn, order in (
        (htf.population_loss(other), 2),
        (htf.population_loss(other, method="qr"), 2),
        (htf.squared_norm, 2),
    ):
        fast = jax.jit(lambda f, g=fn: g(f))
        check_grads(fast, (one,), order=order, rtol=1e-4, atol=1e-4)


def test_vmap_over_targets_and_factors():
    one, other = pair("leaf_at_root")
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), other)
    found = jax.vmap(lambda t: htf.population_loss(t)(one))(stacked)
    for row in range(2):
        target = jax.tree.map(lambda x, r=row: x[r], stacked)
        helpers.assert_close(found[row], htf.population_loss(target)(one))


def test_is_the_completion_loss_of_all_entries():
    factors, target = pair("mixed5")
    dims = htf.mode_dims(factors)
    everything = helpers.all_indices(dims)
    loss = htf.completion_loss(
        factors.tree, dims, everything, htf.entries(target, everything)
    )
    helpers.assert_close(htf.population_loss(target)(factors), loss(factors))


@pytest.mark.slow
def test_descends_to_the_target_at_order_16():
    """Infinite data at 4^16 entries; new targets of the same shape retrace nothing."""
    tree = htf.perfect(16)
    mean = 2.0 ** (-15 / 31)  # 15 sums over two components: all entries are one
    target = htf.gaussian_factors(jax.random.key(0), tree, 4, 2, 0.0, mean=mean)
    start = jax.tree.map(lambda x: 0.97 * x, target)
    loss, traces = htf.population_loss(target), []

    def observe(factors):
        traces.append(None)
        return htf.squared_norm(factors)

    optimizer = htf.group_rmsprop(1e-2, decay=0.0, eps=0.0)
    for scale in (1.0, 1.01):
        aim = jax.tree.map(lambda x, s=scale: s * x, target)
        _, path = htf.descend(
            start,
            htf.population_loss(aim),
            optimizer,
            num_steps=20,
            record_every=10,
            observe=observe,
        )
        assert path.losses[-1] < path.losses[0]
    assert len(traces) == 1
    helpers.assert_close(loss(start), (0.97**31 - 1) ** 2)


def test_float32_and_a_number_of_entries_beyond_64_bits():
    tree = htf.perfect(256)
    ones = htf.gaussian_factors(jax.random.key(0), tree, 4, 1, 0.0, mean=1.0)
    for dtype in (jnp.float32, jnp.float64):
        target = jax.tree.map(lambda x, d=dtype: x.astype(d), ones)
        weights = list(target.weights)
        weights[0] = 3 * weights[0]
        other = dataclasses.replace(target, weights=tuple(weights))
        found = htf.population_loss(target)(other)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, 4.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda a, b: htf.inner_product(a, b), ValueError, "one tree"),
        (lambda a, b: htf.distance(a, a, method="dense"), ValueError, "`method='dense'`"),  # pyright: ignore[reportArgumentType]
        (lambda a, b: htf.population_loss(a, method="fast"), ValueError, "`method='fast'`"),  # pyright: ignore[reportArgumentType]
        (
            lambda a, b: htf.population_loss(None),  # pyright: ignore[reportArgumentType]
            TypeError,
            "`target_factors`",
        ),
        (lambda a, b: htf.population_loss(a)(b), ValueError, "one tree"),
        (
            lambda a, b: htf.distance(a, jax.tree.map(lambda x: x.astype(np.float32), a)),
            TypeError,
            "one dtype",
        ),
    ],
)
def test_bad_input(call, error, words):
    a, b = helpers.random_factors("mixed5"), helpers.random_factors("flat3")
    with pytest.raises(error) as caught:
        call(a, b)
    assert words in str(caught.value)


# Long in all; the examples in the docstrings run every time.
pytestmark = pytest.mark.slow
