"""Programs of descents and flows: what is in their loops, and what is not."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend import core

import htfjax as htf
from htfjax.losses.gradient import prepared


def problem() -> tuple[htf.Factors, Any, jax.Array]:
    """A start, the entries that are observed and their targets."""
    setting = htf.problems.Completion(mode_dims=8, widths=4, init_std=0.5)
    made = setting.make(*jax.random.split(jax.random.key(0), 3))
    return made.start, made.loss.measurement, made.loss.targets


def bodies(jaxpr: core.Jaxpr) -> Iterator[core.Jaxpr]:
    """Bodies of all loops of a program."""
    for equation in jaxpr.eqns:
        inside = [
            x.jaxpr if isinstance(x, core.ClosedJaxpr) else x
            for x in jax.tree.leaves(
                list(equation.params.values()),
                is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr),
            )
            if isinstance(x, core.Jaxpr | core.ClosedJaxpr)
        ]
        if equation.primitive.name in ("scan", "while"):
            yield from inside
        else:
            for one in inside:
                yield from bodies(one)


@pytest.mark.parametrize("penalty", ["l2", "huber"])
def test_no_step_scatters_targets(penalty: Any) -> None:
    start, entries, targets = problem()
    loss = htf.completion_loss(
        start.tree, 8, entries.indices, targets, penalty=penalty, platform="cpu"
    )
    assert htf.loss_plan(loss, start).root == "masked"

    def descend(start: htf.Factors, loss: Any) -> object:
        return htf.descend(start, 2.0 * loss, optax.sgd(0.1), num_steps=4, record_every=2)

    program = jax.make_jaxpr(descend)(start, loss)
    assert "scatter" in str(program)  # before the loop
    for body in bodies(program.jaxpr):
        assert "scatter" not in str(body)


def test_a_prepared_loss_is_the_same_function() -> None:
    start, entries, targets = problem()
    loss = htf.completion_loss(start.tree, 8, entries.indices, targets)
    ready: Any = prepared(loss)
    np.testing.assert_array_equal(ready(start), loss(start))
    few = jnp.arange(5)
    np.testing.assert_array_equal(ready.take(few)(start), loss.take(few)(start))
    again: Any = prepared(ready)
    np.testing.assert_array_equal(again(start), loss(start))


def test_descents_have_derivatives_by_targets() -> None:
    start, entries, targets = problem()

    def end(targets: jax.Array) -> jax.Array:
        loss = htf.completion_loss(start.tree, 8, entries.indices, targets)
        final, _ = htf.descend(start, loss, optax.sgd(0.1), num_steps=3, record_every=3)
        return htf.squared_norm(final)

    with jax.enable_x64(True):
        start = jax.tree.map(lambda x: x.astype(jnp.float64), start)
        at, way = (
            targets.astype(jnp.float64),
            jnp.cos(jnp.arange(len(targets), dtype=jnp.float64)),
        )
        _, slope = jax.jvp(end, (at,), (way,))
        step = 1e-5
        differences = (end(at + step * way) - end(at - step * way)) / (2 * step)
        np.testing.assert_allclose(slope, differences, rtol=1e-6)


def test_programs_do_not_call_back_to_python() -> None:
    start, entries, targets = problem()
    loss = htf.completion_loss(start.tree, 8, entries.indices[:40], targets[:40])

    def flow(start: htf.Factors, loss: Any, times: jax.Array, solver: Any) -> Any:
        return htf.gradient_flow(
            start, loss, times=times, rtol=1e-3, atol=0.0, solver=solver
        )

    def squares(start: htf.Factors, loss: Any) -> Any:
        optimizer = htf.levenberg_marquardt()
        return htf.descend(start, loss, optimizer, num_steps=2, record_every=1)

    times = jnp.array([0.0, 1.0], jnp.float32)
    for solver in ("stabilized", "explicit"):
        program = functools.partial(flow, solver=solver)
        assert "callback" not in str(jax.make_jaxpr(program)(start, loss, times))
    assert "callback" not in str(jax.make_jaxpr(squares)(start, loss))
