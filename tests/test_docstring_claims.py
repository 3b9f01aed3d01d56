"""Claims of docstrings that are theorems: asserted where nothing else does."""

import pkgutil

import jax.numpy as jnp
import numpy as np
import pytest

import conftest
import htfjax as htf
from tests import helpers


@pytest.mark.parametrize(("length", "trend"), [(1, -1), (2, 0), (3, 1), (4, 1)])
def test_a_lead_under_one_constant_force(length, trend):
    """`constant_force_norm`: the ratio falls, stays, or grows until the leader blows up."""
    ends = htf.theory.blow_up_time(0.2, 1.0, length)
    times = np.linspace(0.0, 0.99 * min(float(ends), 3.0), 20)
    norms = htf.theory.constant_force_norm
    ratio = np.asarray(norms(times, 0.2, 1.0, length) / norms(times, 0.1, 1.0, length))
    assert ratio[0] == pytest.approx(2.0)
    if trend == 0:
        np.testing.assert_allclose(ratio, 2.0, rtol=1e-12)
    else:
        assert np.all(trend * np.diff(ratio) > 0)
    if length > 2:  # the other is finite when the leader is not
        after = 1.001 * float(ends)
        assert np.isinf(norms(after, 0.2, 1.0, length))
        assert np.isfinite(norms(after, 0.1, 1.0, length))


def test_two_matrices_never_blow_up():
    """`rank_one_blow_up_time`: size one after log(1 / s(0)) / ||A||."""
    assert np.isinf(htf.theory.rank_one_blow_up_time(0.1, 2.0, 2))
    when = np.log(1 / 0.1) / 2.0
    assert float(htf.theory.rank_one_scale(when, 0.1, 2.0, 2)) == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_balance_is_the_slowest_growth_of_a_norm(seed):
    """`balanced_growth`: no component of one norm and force grows slower."""
    factors = helpers.random_factors("leaf_at_root", seed=seed)

    def loss(f):
        return jnp.sum(jnp.sin(htf.end_tensor(f)))

    balanced = htf.theory.balanced_growth(factors, loss)
    for v, rate in htf.theory.exact_growth(factors, loss).items():
        assert np.all(np.abs(rate) >= np.abs(balanced[v]) * (1 - 1e-12))


@pytest.mark.slow
def test_a_root_of_ones_with_several_children_costs_nothing():
    """`truncation_bounds`: no sqrt(R_root), which one child needs."""
    wide = helpers.random_factors("leaf_at_root", (2, 2, 2), (2, 6), root="ones")
    bound = htf.theory.truncation_bounds(wide, {3: 1})[3]
    sigma = np.sort(htf.local_component_norms(wide)[3])[::-1]
    outside = np.linalg.norm(np.asarray(wide.weights[2]))
    helpers.assert_close(bound, np.sum(sigma[1:]) * outside)
    low = htf.theory.truncate(wide, {3: 1})
    assert float(htf.distance(wide, low)) <= float(bound)
    # With one child the columns may all agree: then the bound is reached.
    tree = htf.ModeTree.from_nested(((0,),))
    chain = htf.Factors(tree=tree, weights=(jnp.ones((1, 1)), jnp.ones((1, 4)), None))
    error = htf.distance(chain, htf.theory.truncate(chain, {1: 0}))
    helpers.assert_close(htf.theory.truncation_bounds(chain, {1: 0})[1], error)


@pytest.mark.slow
def test_drift_of_scalar_steps_over_long_runs():
    """`scale_by_group_rms`: as learning rate^2 times steps: the rate over one path."""
    factors = helpers.random_factors("matrix", (3, 3), (3,))

    def loss(f):
        return jnp.mean(jnp.square(htf.end_tensor(f) - jnp.eye(3)))

    drifts = []
    for rate, steps in ((1e-3, 400), (5e-4, 800), (5e-4, 400)):
        optimizer = htf.group_rmsprop(rate, decay=0.0, eps=0.0)
        final, _ = htf.descend(
            factors, loss, optimizer, num_steps=steps, record_every=steps
        )
        drifts.append(float(htf.theory.drift(factors, final)))
    assert drifts[0] / drifts[1] == pytest.approx(2.0, rel=0.1)
    assert drifts[2] < drifts[1]


def test_slow_examples_exist() -> None:
    """Nothing that was moved or renamed is still listed."""
    for name in conftest.SLOW_EXAMPLES:
        assert pkgutil.resolve_name(name)
