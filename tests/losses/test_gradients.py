"""Losses that bring their gradient: one protocol for descent, flow and ensembles."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from tests import helpers
from tests.losses.small import (
    KEY,
    MATRIX,
    START,
    Callable,
    Own,
    assert_alike,
    bowl,
    completion,
    decay,
    factors,
    run,
)
from tests.marks import slow_unless

# Losses with their own gradient


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "key"])
def test_descent_by_the_loss_s_own_gradient(key: Any) -> None:
    options: dict[str, Any] = {"num_steps": 6, "record_every": 2, "key": key}
    optimizer = optax.sgd(0.1, momentum=0.9)
    found = htf.descend(START, Own(0.5), optimizer, **options)
    assert_alike(found, htf.descend(START, bowl, optimizer, **options))
    assert found[1].report is None


def test_its_data_are_traced() -> None:
    traces = []

    class Counted(Own):
        def value_and_grad(self, params: Any, key: Any) -> tuple:
            traces.append(None)
            return super().value_and_grad(params, key)

    jax.tree_util.register_dataclass(Counted, ["centre"], [])
    optimizer = optax.sgd(0.1)
    for centre in (0.5, 1.5):
        htf.descend(START, Counted(centre), optimizer, num_steps=4, record_every=2)
    assert len(traces) == 1


@pytest.mark.slow
def test_flow_by_the_loss_s_own_gradient() -> None:
    options: dict[str, Any] = {"times": [0.0, 0.5, 1.0], "rtol": 1e-6, "atol": 0.0}
    found = htf.gradient_flow(START, Own(0.5), stop_loss=1e-6, **options)
    assert_alike(found, htf.gradient_flow(START, bowl, stop_loss=1e-6, **options))


def test_a_loss_that_carries() -> None:
    """Sums of what it saw are handed on, and given to the optimizer."""

    @jax.tree_util.register_static
    class Counting:
        def value_and_grad(self, params: htf.Carrying, key: Any) -> tuple:
            del key
            x = params.trained
            return (x @ x, params.carried + x[0]), 2 * x

    final, trajectory = htf.descend(
        htf.Carrying(START, jnp.zeros(())), Counting(), optax.sgd(0.25),
        num_steps=3, record_every=1,
    )  # fmt: skip
    helpers.assert_close(final.carried, 1.75)
    helpers.assert_close(trajectory.losses, [14.0, 3.5, 0.875, 0.875])  # the last repeats


def test_fixed_nodes_are_zero_in_an_own_gradient() -> None:
    start = dataclasses.replace(factors(), fixed=(0, 5))
    final, _ = htf.descend(
        start, completion() + decay, optax.sgd(0.1), num_steps=4, record_every=2
    )
    for k, (before, after) in enumerate(zip(start.weights, final.weights, strict=True)):
        assert bool(jnp.all(before == after)) == (k in start.fixed)


SCALED_SUM = htf.scaled_loss(completion()) + decay

# Optimizers that look at value and value_fn

SEARCHES = {
    "lbfgs": optax.lbfgs(),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20)),
    "storing": optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20, store_grad=True)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SEARCHES, "polyak"])
def test_line_searches_and_polyak_steps(name: str) -> None:
    """The same for a function, a sum, and with something carried."""
    optimizer = SEARCHES.get(name, optax.polyak_sgd())
    loss, start = completion(MATRIX), factors(tree=MATRIX)

    def function(params: htf.Factors) -> jax.Array:
        return loss(params) + decay(params)

    wanted = run(function, optimizer, start)
    assert wanted.losses[-1] < wanted.losses[0]
    found = run(loss + decay, optimizer, start)
    helpers.assert_close(found.losses, wanted.losses, rtol=1e-9)
    found = run(
        lambda p: (function(p.trained), p.carried + 1), optimizer,
        htf.Carrying(start, jnp.zeros(())),
    )  # fmt: skip
    helpers.assert_close(found.losses[:-1], wanted.losses[:-1], rtol=1e-9)


@pytest.mark.slow
def test_a_line_search_sees_the_batch_of_its_step() -> None:
    """With a key: a Python loop of one step does the same."""
    batches, optimizer = htf.minibatch_loss(completion(), 10), SEARCHES["backtracking"]
    found = run(batches + decay, optimizer, key=KEY)
    params: Any = factors()
    state = optimizer.init(params)
    with jax.numpy_dtype_promotion("standard"):
        for step in range(3):
            key = jax.random.fold_in(KEY, step)

            def loss(params: Any, key: Any = key) -> jax.Array:
                return batches(params, key) + decay(params)

            value, grads = jax.value_and_grad(loss)(params)
            if step == 0:
                helpers.assert_close(found.losses[0], value)
            updates, state = optimizer.update(
                grads, state, params, value=value, grad=grads, value_fn=loss
            )
            params = optax.apply_updates(params, updates)
        final, _ = htf.descend(
            factors(), batches + decay, optimizer, num_steps=3, record_every=3, key=KEY
        )
    assert_alike(final, params, rtol=1e-9)


@pytest.mark.parametrize("loss", [htf.scaled_loss(completion()), 2.0 * SCALED_SUM])
def test_a_search_by_value_is_refused_too(loss: Any) -> None:
    with pytest.raises(NotImplementedError, match="`scaled_loss` has a value but no"):
        run(loss, SEARCHES["backtracking"])


BATCHES = htf.minibatch_loss(completion(), 7)


@pytest.mark.parametrize(
    "call",
    [
        BATCHES,
        lambda f: run(BATCHES, optax.sgd(0.1), f),
        lambda f: run(BATCHES + decay, optax.sgd(0.1), f),
        lambda f: (BATCHES + decay).value_and_grad(f),
        lambda f: (htf.scaled_loss(BATCHES) - decay).value_and_grad(f),
        htf.scaled_loss(BATCHES),
        htf.scaled_loss(BATCHES).value_and_grad,
    ],
    ids=["call", "descent", "sum", "of sum", "of scaled sum", "scaled", "of scaled"],
)
def test_a_loss_that_draws_needs_a_key(call: Any) -> None:
    with pytest.raises(TypeError, match=r"`key` is missing.*`key=jax\.random\.key"):
        call(factors())


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_unless(["lbfgs", "storing"], ("lbfgs",)))
def test_a_line_search_that_the_loss_cannot_serve(name: str) -> None:
    """A scaled loss has no derivative, nor has a loss that cannot be called."""
    with pytest.raises(NotImplementedError, match="`scaled_loss` has a value but no"):
        run(htf.scaled_loss(completion()) + decay, SEARCHES[name])
    with pytest.raises(NotImplementedError, match=r"`loss` \(Own\) brings .* `optimizer`"):
        run(Own(0.5), SEARCHES[name], START)
    assert run(Callable(0.5), SEARCHES[name], START).losses[-1] < 1e-3


# Bad input

SCALED = htf.scaled_loss(completion())


@pytest.mark.parametrize(
    "differentiate",
    [
        jax.grad,
        lambda fn: jax.jit(jax.grad(fn)),
        lambda fn: jax.grad(jax.jit(fn)),
        lambda fn: lambda f: jax.jvp(fn, (f,), (f,)),
        jax.hessian,
        lambda fn: lambda f: jax.vmap(jax.grad(fn))(jax.tree.map(lambda x: x[None], f)),
        lambda fn: (
            lambda f: jax.grad(
                lambda g: jnp.sum(jax.vmap(fn)(jax.tree.map(lambda x: x[None], g)))
            )(f)
        ),
        lambda fn: lambda f: htf.growth_rates(f, fn),
    ],
    ids=["grad", "jit grad", "grad jit", "jvp", "hessian", "vmap", "of vmap", "growth"],
)
@pytest.mark.parametrize(
    "loss",
    [
        SCALED,
        2 * SCALED + decay,
        lambda f: SCALED(f) + 0.1 * decay(f),
        htf.scaled_loss(htf.population_loss(factors(seed=5))),
    ],
    ids=["alone", "sum", "within", "population"],
)
def test_derivatives_of_a_scaled_loss_are_refused(loss: Any, differentiate: Any) -> None:
    with pytest.raises(NotImplementedError, match="`scaled_loss` has a value but no"):
        differentiate(loss)(factors())


@pytest.mark.slow
def test_a_scaled_loss_has_a_value_everywhere() -> None:
    """Under jit, vmap and beside what is differentiated."""
    start = factors()
    both = jax.tree.map(lambda x: jnp.stack([x, x]), start)
    helpers.assert_close(jax.jit(jax.vmap(SCALED))(both), [completion()(start)] * 2)
    slope = jax.grad(lambda x: x * SCALED(start))(2.0)
    helpers.assert_close(slope, completion()(start))


class Gives:
    """A loss whose `value_and_grad` returns something given."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def value_and_grad(self, params: Any, key: Any) -> Any:
        return self.answer(params)


WRONG: dict[str, tuple[Any, str]] = {
    "no pair": (lambda x: x @ x, r"`loss.value_and_grad` must return \(\(value, carried\)"),
    "no carried": (lambda x: (x @ x, 2 * x), r"must return \(\(value, carried\), gradient"),
    "vector": (lambda x: ((x, ()), x), "`loss.value_and_grad` must return one floating"),
    "integer": (lambda x: ((1, ()), x), "`loss.value_and_grad` must return one floating"),
    "structure": (
        lambda x: ((x @ x, ()), {"x": x}),
        "`loss.value_and_grad` gave a gradient like .*'x'.* expected .*trained",
    ),
    "shape": (
        lambda x: ((x @ x, ()), x[:2]),
        r"gradient like .*\[2\].*parameters, .*\[3\]",
    ),
    "dtype": (
        lambda x: ((x @ x, ()), x.astype(np.float32)),
        "gradient like .*float32.*parameters, .*float64",
    ),
    "carries": (
        lambda x: ((x @ x, x), x),
        r"`loss` was given `carried` as \(\) and carries",
    ),
}


MOTIONS: dict[str, Any] = {
    "descent": lambda loss, _: run(loss, optax.sgd(0.1), START),
    "flow": lambda loss, options: htf.gradient_flow(START, loss, **options),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("motion", ["descent", "flow"])
def test_what_a_loss_brings_is_looked_at(motion: str, name: str) -> None:
    answer, message = WRONG[name]
    options: dict[str, Any] = {"times": [1.0], "rtol": 1e-3, "atol": 0.0}
    with pytest.raises(TypeError, match=message):
        MOTIONS[motion](Gives(answer), options)


def test_what_has_no_length_does_not_flow() -> None:
    options: dict[str, Any] = {"times": [1.0], "rtol": 1e-3, "atol": 0.0}
    for loss in (SCALED, SCALED + decay):
        with pytest.raises(TypeError, match="`loss` contains a `scaled_loss`"):
            htf.gradient_flow(factors(), loss, **options)
    with pytest.raises(TypeError, match="`params` is a `Carrying`"):
        htf.gradient_flow(htf.Carrying(START, ()), bowl, **options)
