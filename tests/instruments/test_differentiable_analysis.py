"""Derivatives of what is read off factors: against finite differences, finite at zero."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from tests import helpers

FACTORS = helpers.random_factors("leaf_at_root", (3, 2, 3), (2, 3))


def norms(factors):
    return jnp.concatenate(list(htf.local_component_norms(factors).values()))


def spectrum(factors):
    return htf.singular_values(factors, (0, 1), method="dense")


QUANTITIES = {
    "norms": lambda f: jnp.sum(jnp.sin(norms(f))),
    "effective_rank": lambda f: htf.effective_rank(spectrum(f)),
    "singular_values": lambda f: jnp.sum(jnp.cos(spectrum(f))),
    "growth": lambda f: jnp.sum(
        htf.theory.balanced_growth(f, lambda g: jnp.sum(jnp.sin(htf.end_tensor(g))))[4]
    ),
}


def directions(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda w: jnp.asarray(rng.standard_normal(w.shape)), FACTORS)


def moved(step, direction):
    return jax.tree.map(lambda w, d: w + step * d, FACTORS, direction)


def slope_of(fn, direction, step=1e-5):
    """Central differences of fourth order."""
    at = [float(fn(moved(k * step, direction))) for k in (-2, -1, 1, 2)]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTITIES)
def test_gradients_and_hessian_vector_products(name):
    quantity, one, other = jax.jit(QUANTITIES[name]), directions(1), directions(2)
    slope = jax.jit(lambda f, d: jax.jvp(quantity, (f,), (d,))[1])
    grads = jax.jit(jax.grad(quantity))(FACTORS)
    inner = sum(
        float(jnp.sum(g * d))
        for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(one), strict=True)
    )
    assert inner == pytest.approx(slope_of(quantity, one), rel=1e-7, abs=1e-8)
    assert float(slope(FACTORS, one)) == pytest.approx(inner, rel=1e-9)
    bent = jax.jvp(lambda f: slope(f, one), (FACTORS,), (other,))[1]
    expected = slope_of(lambda f: slope(f, one), other)
    assert float(bent) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.slow
def test_jacobian_of_norms():
    """Rows of the Jacobian: sigma / ||w||^2 w for the vectors of each component."""
    jacobian = jax.jacobian(lambda f: htf.local_component_norms(f)[4])(FACTORS)
    sigma = np.asarray(htf.local_component_norms(FACTORS)[4])
    own = np.asarray(FACTORS.weights[4])
    for r in range(3):
        expected = np.zeros_like(own)
        expected[r] = sigma[r] / (own[r] @ own[r]) * own[r]
        helpers.assert_close(jacobian.weights[4][r], expected)


def zero_component(factors, v, r):
    weights = list(factors.weights)
    weights[v] = weights[v].at[r].set(0.0)
    for c in factors.tree.children[v]:
        weights[c] = weights[c].at[:, r].set(0.0)
    return dataclasses.replace(factors, weights=tuple(weights))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["norms", "effective_rank", "growth"])
def test_zero_components_have_finite_derivatives(name):
    """Zero, not NaN, along a component that is exactly zero; second derivatives too."""
    dead = zero_component(FACTORS, 4, 1)
    grads = jax.grad(QUANTITIES[name])(dead)
    bent = jax.jvp(jax.grad(QUANTITIES[name]), (dead,), (directions(3),))[1]
    for leaf in (*jax.tree.leaves(grads), *jax.tree.leaves(bent)):
        assert np.all(np.isfinite(leaf))
    if name == "norms":
        np.testing.assert_array_equal(grads.weights[4][1], np.zeros(1))


def short_descent(scale):
    """The largest final norm after 30 steps from a start of this scale."""
    start = jax.tree.map(lambda w: scale * w, FACTORS)
    final, _ = htf.descend(start, pull, GROUP, num_steps=30, record_every=30)
    return jnp.max(htf.local_component_norms(final)[4])


GROUP = htf.group_rmsprop(1e-2)


def pull(factors):
    return jnp.sum(jnp.square(htf.end_tensor(factors) - 1.0))


@pytest.mark.slow
def test_sensitivity_of_a_short_descent_to_its_start():
    """d (final norm) / d (initial scale), by forward and reverse mode and differences."""
    forward = jax.jvp(short_descent, (jnp.asarray(0.5),), (jnp.asarray(1.0),))[1]
    backward = jax.grad(short_descent)(jnp.asarray(0.5))
    step = 1e-4
    at = [float(short_descent(jnp.asarray(0.5 + k * step))) for k in (-2, -1, 1, 2)]
    expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)
    assert float(forward) == pytest.approx(expected, rel=1e-6)
    assert float(backward) == pytest.approx(expected, rel=1e-6)


SGD = optax.sgd(2e-2)


def penalized(factors):
    """The example: the root's second component costs."""
    return pull(factors) + 3.0 * htf.local_component_norms(factors)[4][1]


@pytest.mark.slow
def test_penalizing_a_local_component_norm_keeps_it_small():
    free, _ = htf.descend(FACTORS, pull, SGD, num_steps=300, record_every=300)
    held, _ = htf.descend(FACTORS, penalized, SGD, num_steps=300, record_every=300)
    one, other = (float(htf.local_component_norms(f)[4][1]) for f in (free, held))
    assert other < 0.05 * one
    assert all(np.all(np.isfinite(w)) for w in held.weights)
