"""Theory and flow on grouped factors: the values of plain ones, and trees of 256 modes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests import helpers
from tests.marks import slow_unless

theory = htf.theory
every_case = pytest.mark.parametrize(
    ("name", "root"),
    slow_unless(helpers.CASES, (("binary4", "trained"),)),
)


def loss(factors):
    return jnp.sum(jnp.sin(jnp.arange(1.0, 1 + htf.end_tensor(factors).size))
                   * htf.end_tensor(factors).ravel())  # fmt: skip


READ = {
    "conserved quantities": theory.conserved_quantities,
    "conserved scale": theory.conserved_scale,
    "node rank bounds": theory.node_rank_bounds,
    "bounds of truncation": lambda f: theory.truncation_bounds(f, 1),
    "bounds of one truncation": lambda f: theory.truncation_bounds(f, {f.tree.root: 1}),
    "forces": lambda f: theory.component_forces(f, loss),
    "growth": lambda f: theory.exact_growth(f, loss),
    "balanced growth": lambda f: theory.balanced_growth(f, loss),
    "lower bounds": lambda f: theory.growth_bounds(f, loss).lower,
    "upper bounds": lambda f: theory.growth_bounds(f, loss, eps=0.5).upper,
    "rates": lambda f: htf.growth_rates(f, loss),
    "directions": lambda f: theory.direction_tensors(f, f.tree.interior[0]),
}
MADE = {
    "truncated": lambda f: theory.truncate(f, 1),
    "truncated at one node": lambda f: theory.truncate(f, {f.tree.interior[0]: 1}),
    "normalized": lambda f: theory.normalize(f, 2.0),
}


@pytest.mark.slow
@every_case
def test_grouped_factors_read_as_plain_ones(name, root):
    factors = helpers.random_factors(name, root=root)

    @functools.partial(jax.jit, compiler_options=helpers.LITTLE_WORK)
    def everything(factors):
        return {what: read(factors) for what, read in READ.items()}

    expected, found = everything(factors), everything(htf.group(factors))
    for what in READ:
        one, other = expected[what], found[what]
        if not isinstance(one, dict):
            one, other = {0: one}, {0: other}
        assert sorted(other) == sorted(one)
        for node, value in one.items():
            helpers.assert_close(other[node], value)


@pytest.mark.slow
@every_case
def test_factors_come_back_as_they_were_given(name, root):
    factors = helpers.random_factors(name, root=root)
    for make in MADE.values():
        expected, found = make(factors), make(htf.group(factors))
        assert isinstance(expected, htf.Factors)
        assert isinstance(found, htf.GroupedFactors)
        assert_same_weights(htf.ungroup(found), expected)


def assert_same_weights(found, expected):
    for one, other in zip(expected.weights, found.weights, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            helpers.assert_close(other, one)


def test_one_component_of_a_group_is_rescaled():
    factors = helpers.random_factors("binary4")
    node = factors.tree.interior[1]
    found = theory.rescale_component(htf.group(factors), node, 1, (4.0, -0.5, -0.5))
    expected = theory.rescale_component(factors, node, 1, (4.0, -0.5, -0.5))
    assert_same_weights(htf.ungroup(found), expected)


def test_drift_between_plain_and_grouped_factors():
    factors = helpers.random_factors("binary4")
    moved = jax.tree.map(lambda x: x + 0.01, factors)
    expected = theory.drift(factors, moved)
    helpers.assert_close(theory.drift(htf.group(factors), htf.group(moved)), expected)
    helpers.assert_close(theory.drift(factors, htf.group(moved)), expected)


orders = pytest.mark.parametrize("order", [16, 256])


def wide(order):
    """Grouped factors whose entries are about one, and a loss on twenty of them."""
    tree = htf.perfect(order)
    factors = htf.group(htf.gaussian_factors(jax.random.key(0), tree, 3, 4, 0.7))
    indices = htf.random_indices(jax.random.key(1), (3,) * order, 20)
    grouped = theory.normalize(factors, 3.0 ** (order / 2))
    return grouped, htf.completion_loss(tree, 3, indices, jnp.zeros(20))


@pytest.mark.slow
@orders
def test_theory_of_wide_trees(order):
    factors, loss = wide(order)
    assert float(htf.squared_norm(factors)) == pytest.approx(3.0**order, rel=1e-8)
    bounds = theory.node_rank_bounds(factors)
    assert len(bounds) == factors.tree.root
    assert {int(bound) for bound in bounds.values()} <= {1, 2, 3, 4}
    low = theory.truncate(factors, 2)
    assert max(map(int, theory.node_rank_bounds(low).values())) == 2
    first = jax.tree.leaves(theory.conserved_quantities(factors))[0]
    assert first.shape == (order // 2, 2, 4)
    law = jax.jit(lambda f: theory.exact_growth(f, loss))(factors)
    rates = htf.growth_rates(factors, loss)
    for node in factors.tree.interior:
        scale = float(jnp.max(jnp.abs(rates[node])))
        np.testing.assert_allclose(law[node], rates[node], atol=1e-8 * scale)


@pytest.mark.slow
@orders
def test_flow_of_wide_trees(order):
    factors, loss = wide(order)
    steepness = float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(
        jax.grad(loss)(factors)))))  # fmt: skip
    times = np.array([0.0, 0.01, 0.02]) / steepness
    final, trajectory = htf.gradient_flow(factors, loss, times=times, rtol=1e-6, atol=1e-9)
    assert isinstance(final, htf.GroupedFactors)
    assert trajectory.losses[-1] < trajectory.losses[0]
    assert float(theory.drift(factors, final)) < 1e-5
