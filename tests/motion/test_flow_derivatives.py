"""Derivatives through a flow, by either mode, and what is refused at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf

RATES = jnp.array([0.5, 2.0])
START = jnp.array([1.0, -2.0])


def bowl(x):
    return 0.5 * jnp.sum(RATES * jnp.square(x))


def end(start, **options):
    settings = {"times": [1.0], "rtol": 1e-5, "atol": 0.0} | options
    return jnp.sum(htf.gradient_flow(start, bowl, **settings)[0])


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_the_stabilized_method_refuses_at_once(mode):
    """Before anything is compiled, naming solver and option."""
    differentiate = jax.grad if mode == "reverse" else push
    with pytest.raises(NotImplementedError, match=r"solver='explicit'.*'forward'"):
        differentiate(end)(START)


def push(fn):
    return lambda x: jax.jvp(fn, (x,), (jnp.ones_like(x),))[1]


@pytest.mark.slow
def test_reverse_mode_by_an_explicit_solver():
    found = jax.grad(lambda x: end(x, solver="explicit"))(START)
    np.testing.assert_allclose(found, np.exp(-np.asarray(RATES)), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("clock", ["time", "rescaled"])
@pytest.mark.parametrize("std", [1e-15, 0.0])
def test_reverse_mode_from_a_tiny_start(std, clock):
    """Squares of the gradient underflow; the flow moves by less than rounding."""
    tree = htf.flat(2)
    loss = htf.completion_loss(tree, 3, [[0, 0], [1, 1]], [1.0, 2.0])
    start = htf.gaussian_factors(jax.random.key(0), tree, 3, 2, std, dtype=jnp.float32)
    options = {"times": [1e-6], "rtol": 1e-3, "atol": 1e-6, "solver": "explicit"}

    def last(params):
        flow = htf.gradient_flow(params, loss, clock=clock, **options)
        return flow[1].losses[-1]

    found, expected = jax.grad(last)(start), jax.grad(loss)(start)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["stabilized", "explicit", "implicit"])
def test_forward_mode_by_every_solver(solver):
    found = push(lambda x: end(x, solver=solver, differentiate="forward"))(START)
    np.testing.assert_allclose(found, np.sum(np.exp(-np.asarray(RATES))), rtol=1e-4)


@pytest.mark.slow
def test_forward_mode_where_reverse_was_asked_for():
    with pytest.raises(NotImplementedError, match="differentiate='forward'"):
        push(lambda x: end(x, solver="explicit"))(START)


def test_an_unknown_mode():
    with pytest.raises(ValueError, match="`differentiate='both'`"):
        end(START, differentiate="both")


@pytest.mark.slow
def test_a_collapsed_step_ends_the_flow():
    """An absurd tolerance: the step shrinks to nothing, within few of the steps allowed."""
    stiff = jnp.array([1.0, 1e4])
    _, found = htf.gradient_flow(
        jnp.ones(2),
        lambda x: jnp.sum(stiff * x * x) / 2 + jnp.sum(x**4) / 4,
        times=[10.0],
        rtol=1e6,
        atol=0.0,
        solver="implicit",
    )
    assert bool(found.report.failed)
    assert "collapsed" in found.report.status
    assert int(found.report.num_steps) < 2000


@pytest.mark.slow
def test_the_sliding_mode_of_an_l1_loss_is_named():
    tree = htf.flat(2)
    start = htf.identity_factors(tree, 2, 2, 1.0, root="ones")
    loss = htf.completion_loss(tree, 2, [[0, 0], [1, 1]], [0.5, 3.0], penalty="l1")
    _, found = htf.gradient_flow(
        start, loss, times=[20.0], rtol=1e-4, atol=0.0, max_steps=500
    )
    assert "sliding mode of a non-smooth loss" in found.report.status


@pytest.mark.slow
def test_a_start_that_is_closed_over_under_jit():
    found = jax.jit(lambda t: htf.gradient_flow(START, bowl, times=t, rtol=1e-6, atol=0.0))(
        jnp.array([1.0])
    )[0]
    np.testing.assert_allclose(found, START * np.exp(-np.asarray(RATES)), rtol=1e-4)
