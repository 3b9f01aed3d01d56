"""Callables as pytrees: what is traced and what stays static, in descent and in flows."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from htfjax import _callables
from tests import helpers

SGD = optax.sgd(0.1)
START = jnp.array([1.0, 2.0])


def switched(x, flag, axis, rate):
    if flag:  # a bool that is traced raises here
        x = jnp.flip(x, axis)
    return rate * jnp.sum(jnp.square(x))


def partial(rate=1.0):
    # The parameters come first, so the rest is given by name.
    return jax.tree_util.Partial(switched, flag=True, axis=0, rate=rate)


class Module(eqx.Module):
    rate: float
    flag: bool
    axis: int

    def __call__(self, x):
        return switched(x, self.flag, self.axis, self.rate)


class Reading(eqx.Module):
    power: int
    doubled: bool

    def __call__(self, x):
        return x**self.power * (2.0 if self.doubled else 1.0)


@pytest.mark.parametrize(
    "loss", [partial(), Module(1.0, True, 0)], ids=["partial", "module"]
)
def test_descent_with_static_leaves(loss):
    final, found = htf.descend(
        START, loss, SGD, num_steps=2, record_every=1, observe=Reading(2, True)
    )
    helpers.assert_close(final, START * 0.64)
    helpers.assert_close(found.observed[0], 2 * START**2)


@pytest.mark.slow
def test_flow_with_static_leaves():
    final, found = htf.gradient_flow(
        START,
        Module(0.5, True, 0),
        times=[1.0],
        rtol=1e-6,
        atol=0.0,
        observe=Reading(2, True),
        integrate=Reading(1, False),
    )
    helpers.assert_close(final, START * np.exp(-1.0), rtol=1e-4)
    assert found.observed.shape == found.report.integrals.shape == (1, 2)


def test_new_floats_retrace_nothing_and_new_integers_do():
    counted, traces = helpers.count_traces(switched)

    def run(rate, axis):
        loss = jax.tree_util.Partial(counted, flag=True, axis=axis, rate=rate)
        htf.descend(START, loss, SGD, num_steps=2, record_every=2)
        return len(traces)

    first = run(1.0, 0)
    assert run(0.5, 0) == first
    assert run(0.5, -1) > first


def test_numpy_scalars_are_traced_and_python_integers_static():
    arrays, rebuild = _callables.split((np.float32(1), np.bool_(True), 2, True, "x", 0.5))
    assert len(arrays) == 3
    assert rebuild(arrays)[2:5] == (2, True, "x")


@pytest.mark.slow
def test_many_functions_of_one_code_are_warned_of_once():
    """The pattern that fills memory: a closure for every chunk."""
    state = htf.start_descent(START, SGD)

    def trace(k):
        def fresh(x):
            return k * jnp.sum(x)

        jax.eval_shape(
            lambda s: htf.continue_descent(s, fresh, SGD, num_steps=2, record_every=2),
            state,
        )
        return fresh

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = [trace(float(k)) for k in range(_callables.MANY - 1)]
    with pytest.warns(UserWarning, match=r"`loss`: 100 different functions `.*fresh`"):
        kept.append(trace(-1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept += [trace(-2.0), trace(-3.0)]
        for k in range(2 * _callables.MANY):  # one function, whatever it is given
            given = jax.tree_util.Partial(switched, rate=float(k))
            _callables.count_fresh("loss", given, _callables.split(given)[1])


# What is closed over is known while tracing


@pytest.mark.slow
@pytest.mark.parametrize("dims", [(8,) * 7, (3, 4)])
def test_random_indices_of_a_key_that_is_closed_over(dims):
    key = jax.random.key(3)
    found = jax.jit(lambda: htf.random_indices(key, dims, 12))()
    np.testing.assert_array_equal(found, htf.random_indices(key, dims, 12))


def test_plans_see_indices_that_are_closed_over():
    tree, indices = htf.perfect(4), helpers.random_indices((3,) * 4, 20)
    start = helpers.random_factors("binary4", (3,) * 4, (2, 2, 2))

    def value(f):
        loss = htf.completion_loss(tree, 3, indices, np.ones(20), plan="exact")
        return loss(f)

    helpers.assert_close(jax.jit(value)(start), value(start))


def test_scales_are_checked_under_jit():
    factors = helpers.random_factors("binary4")
    with pytest.raises(ValueError, match="`scales`"):
        jax.jit(lambda f: htf.theory.rescale_component(f, 6, 0, (4.0, 0.5, 0.6)))(factors)
