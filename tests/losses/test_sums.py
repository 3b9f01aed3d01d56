"""Sums and multiples of losses: values, gradients, and terms that underflow alone."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import htfjax as htf
from tests import helpers
from tests.losses.small import (
    INDICES,
    KEY,
    MATRIX,
    START,
    TARGETS,
    TREE,
    assert_alike,
    compiled,
    completion,
    decay,
    direction,
    factors,
    noisy,
    run,
)

SCALED = htf.scaled_loss(completion())


# Sums and multiples


@pytest.mark.slow
def test_a_sum_is_the_sum() -> None:
    """Value, gradient and second derivatives, with weights of any kind."""
    population = htf.population_loss(factors(seed=5))
    loss = completion()
    total = decay + np.float64(0.5) * (loss + 2 * population) * jnp.array(3.0)

    def wanted(f: Any) -> jax.Array:
        return decay(f) + 1.5 * loss(f) + 3 * population(f)

    start, along = factors(), factors(seed=1)
    assert_alike(total(start), wanted(start))
    assert_alike(jax.grad(total)(start), jax.grad(wanted)(start))
    (value, carried), gradient = total.value_and_grad(start)
    assert carried == ()
    assert_alike((value, gradient), jax.value_and_grad(wanted)(start))
    one, two = (
        jax.jvp(jax.grad(fn), (start,), (along,))[1] for fn in (total, wanted)
    )  # fmt: skip
    assert_alike(one, two, rtol=1e-9)
    optimizer = htf.group_rmsprop(1e-2)
    assert_alike(run(total, optimizer), run(wanted, optimizer), rtol=1e-9)


@pytest.mark.slow
def test_a_sum_is_a_pytree_of_arrays() -> None:
    """New weights and data retrace nothing; `vmap` runs over weights."""
    fn, traces = helpers.count_traces(lambda loss, f: loss(f))
    call = jax.jit(fn)
    start = factors()
    for weight in (0.1, 0.7):
        total = completion() + weight * htf.population_loss(factors(seed=5))
        helpers.assert_close(call(total + decay, start), total(start) + decay(start))
    assert len(traces) == 1
    lanes = jax.vmap(lambda w: (w * completion())(start))(jnp.arange(3.0))
    helpers.assert_close(lanes, jnp.arange(3.0) * completion()(start))


@pytest.mark.slow
def test_keys_reach_the_terms_that_have_one() -> None:
    batches = htf.minibatch_loss(completion(), 7)
    total, start = 2 * batches + completion() + decay + noisy, factors()

    def wanted(f: Any) -> jax.Array:
        return 2 * batches(f, KEY) + completion()(f) + decay(f) + noisy(f, KEY)

    helpers.assert_close(total(start, KEY), wanted(start))
    (value, _), gradient = jax.jit(total.value_and_grad)(start, KEY)
    assert_alike((value, gradient), jax.jit(jax.value_and_grad(wanted))(start))
    with pytest.raises(TypeError, match="key"):
        total(start)


@pytest.mark.slow
@pytest.mark.parametrize(("tree", "std"), [(TREE, 0.5), (TREE, 0.05), (MATRIX, 0.5)])
def test_the_gradient_of_a_sum_with_a_scaled_term(tree: htf.ModeTree, std: float) -> None:
    """One power of two for both: cosine one with the true gradient, in float32."""
    start, loss = factors(std, np.float32, tree=tree), completion(tree)
    population = htf.population_loss(factors(seed=5, tree=tree))
    total = htf.scaled_loss(loss) + 0.1 * population + decay

    def plain(f: Any) -> jax.Array:
        return loss(f) + 0.1 * population(f) + decay(f)

    wide = jax.tree.map(lambda x: x.astype(np.float64), start)
    exact, wanted = compiled(jax.value_and_grad(plain))(wide)
    (value, _), gradient = compiled(total.value_and_grad)(start)
    helpers.assert_close(value, exact, rtol=1e-5)
    assert direction(gradient) @ direction(wanted) > 1 - 1e-9
    found = compiled(total.scaled_value_and_grad)(start)
    assert_alike(found.gradient, gradient, rtol=1e-5)
    back = jax.tree.map(lambda g: g * 2.0 ** float(found.log2_scale), found.gradient)
    size = float(jnp.max(jnp.abs(ravel_pytree(wanted)[0])))
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(wanted), strict=True):
        helpers.assert_close(a, b, size=size, rtol=1e-5)
    assert 0.5 <= float(jnp.max(jnp.abs(ravel_pytree(gradient)[0]))) < 1


@pytest.mark.slow
def test_scaled_terms_far_below_what_the_dtype_holds() -> None:
    """Order 16 at std 1e-2, in float32: two terms given scaled, and one as it is."""
    tree, f32 = htf.perfect(16), np.float32
    start = htf.gaussian_factors(jax.random.key(0), tree, 2, 3, 1e-2, dtype=f32)
    indices = helpers.random_indices((2,) * 16, 20)
    one, other = (
        htf.completion_loss(tree, 2, indices, np.random.default_rng(k).standard_normal(20))
        for k in (0, 1)
    )
    total = htf.scaled_loss(one) + 3.0 * htf.scaled_loss(other) + one
    wide = jax.tree.map(lambda x: x.astype(np.float64), start)
    wanted = jax.grad(lambda f: 2 * one(f) + 3 * other(f))(wide)
    found = total.scaled_value_and_grad(start)
    assert direction(found.gradient) @ direction(wanted) > 1 - 1e-6
    assert int(found.log2_scale) < -150
    nothing = (htf.scaled_loss(one) + (-1.0) * htf.scaled_loss(one)).scaled_value_and_grad(
        start
    )
    assert int(nothing.log2_scale) == 0
    assert not any(np.any(g) for g in jax.tree.leaves(nothing.gradient))


@pytest.mark.slow
def test_scaled_minibatches_and_ensembles_of_sums() -> None:
    """The batch of a key; descent by direction; lanes under vmap are single runs."""
    batches, start = htf.minibatch_loss(completion(), 7), factors()
    scaled = htf.scaled_loss(batches)
    (value, _), gradient = scaled.value_and_grad(start, KEY)
    helpers.assert_close(value, batches(start, KEY))
    wanted = jax.grad(batches)(start, KEY)
    assert direction(gradient) @ direction(wanted) > 1 - 1e-12
    optimizer = htf.group_rmsprop(1e-2, decay=0.0, eps=0.0)

    def losses(weight: jax.Array) -> jax.Array:
        return run(scaled + weight * completion(), optimizer, key=KEY).losses

    lanes = jax.vmap(losses)(jnp.array([0.0, 2.0]))
    plain = run(batches, optimizer, key=KEY).losses
    helpers.assert_close(lanes[0], plain, rtol=1e-9)
    helpers.assert_close(lanes[1], losses(jnp.array(2.0)), rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: completion() * "a", "`factor`"),
        (lambda: np.nan * completion(), "`factor=nan`"),
        (lambda: completion() * completion(), "unsupported operand"),
        (lambda: completion() + 1.0, "unsupported operand"),
        (lambda: completion() - 1.0, "unsupported operand type.* -"),
        (lambda: 1.0 - SCALED, "unsupported operand type.* -"),
        (lambda: completion() / 0, "`divisor` is zero"),
        (lambda: completion() / "a", "`divisor`"),
        (lambda: completion() / completion(), "unsupported operand"),
        (lambda: (completion() + (lambda f: f.weights[0]))(factors()), "floating scalar"),
        (
            lambda: run(completion() + decay, optax.sgd(0.1), htf.Carrying(factors(), ())),
            "`params` is a `Carrying`, but a sum",
        ),
        (lambda: run(3.0, optax.sgd(0.1), START), "`loss` must be callable"),
    ],
)  # fmt: skip
def test_bad_sums(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


# Sums where gradients underflow

PLAIN: dict[str, Any] = {
    "l2": lambda: completion(MATRIX),
    "l1": lambda: htf.completion_loss(MATRIX, 3, PAIRS, TARGETS, penalty="l1"),
    "huber": lambda: htf.completion_loss(MATRIX, 3, PAIRS, TARGETS, penalty="huber"),
    "sensing": lambda: htf.sensing_loss(helpers.random_vectors((3, 3), 30), TARGETS),
    "population": lambda: htf.population_loss(factors(1.0, seed=5, tree=MATRIX)),
    "qr": lambda: htf.population_loss(factors(1.0, seed=5, tree=MATRIX), method="qr"),
    "sum": lambda: 0.5 * (PLAIN["population"]() + completion(MATRIX)),
    "minibatch": lambda: htf.minibatch_loss(completion(MATRIX), 7),
}
PAIRS = INDICES[:, :2]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_no_term_of_a_scaled_sum_underflows(name: str) -> None:
    """The direction of the float64 gradient at std 1e-25; one term is given scaled."""
    one = htf.sensing_loss(helpers.random_vectors((3, 3), 30, seed=7), TARGETS)
    other, keys = PLAIN[name](), (KEY,) if name == "minibatch" else ()
    start = factors(1e-25, np.float32, tree=MATRIX)
    wide = jax.tree.map(lambda x: x.astype(np.float64), start)
    wanted = direction(jax.grad(lambda f: one(f) + 100.0 * other(f, *keys))(wide))
    assert abs(direction(jax.grad(one)(wide)) @ wanted) < 0.999
    total = 100.0 * other + htf.scaled_loss(one)
    found = compiled(total.value_and_grad)(start, KEY)[1]
    assert direction(found) @ wanted > 1 - 1e-9


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Squares:
    """A measurement that is not linear in the end tensor."""

    entries: Any

    def predict(self, layout: Any, stacks: Any) -> jax.Array:
        return jnp.square(self.entries.predict(layout, stacks))

    def take(self, rows: Any) -> "Squares":
        return Squares(self.entries.take(rows))


@pytest.mark.slow
def test_a_measurement_that_may_not_be_linear_is_not_scaled() -> None:
    """Its gradient is right where it does not underflow."""
    entries = htf.losses.Entries.at(MATRIX, 3, PAIRS)
    squares = htf.observation_loss(Squares(entries), TARGETS)
    one, start = completion(MATRIX), factors(tree=MATRIX)
    wanted = jax.grad(lambda f: one(f) + squares(f))(start)
    found = (htf.scaled_loss(one) + squares).value_and_grad(start)[1]
    assert direction(found) @ direction(wanted) > 1 - 1e-12


# Weights and operators

UNHELD = "`factor=.*becomes (0.0|-?inf) in float32"


def multiple(weight: float) -> Any:
    return weight * htf.scaled_loss(completion(MATRIX))


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1e-50, 1e-39, 1e39, -1e45])
@pytest.mark.parametrize(
    "call",
    [
        lambda total, start: total(start),
        lambda total, start: total.value_and_grad(start),
        lambda total, start: run(total, optax.sgd(0.1), start),
        lambda total, start: run(total + decay, optax.sgd(0.1), start),
        lambda total, start: htf.gradient_flow(
            start, completion(MATRIX) + total.terms[0][1] * completion(MATRIX),
            times=[1.0], rtol=1e-3, atol=0.0,
        ),
    ],
    ids=["value", "gradient", "descent", "sum", "flow"],
)  # fmt: skip
def test_weights_that_float32_does_not_hold(weight: float, call: Any) -> None:
    with pytest.raises(ValueError, match=UNHELD):
        call(multiple(weight), factors(dtype=np.float32, tree=MATRIX))


@pytest.mark.slow
def test_weights_are_looked_at_before_and_while_tracing() -> None:
    """Without float64 where they are multiplied; where they cannot be seen, as NaN."""
    with jax.enable_x64(False):
        for make in (lambda: multiple(1e-50), lambda: 1e-30 * multiple(1e-30)):
            with pytest.raises(ValueError, match=UNHELD):
                make()
    start = factors(dtype=np.float32, tree=MATRIX)
    call = jax.jit(lambda w: (w * completion(MATRIX))(start))
    assert np.isnan(call(1e-50))
    assert call(0.0) == 0
    wide = factors(tree=MATRIX)
    helpers.assert_close(multiple(1e-50)(wide), 1e-50 * completion(MATRIX)(wide))


@pytest.mark.slow
def test_differences_quotients_and_python_s_sum() -> None:
    loss, population = completion(MATRIX), htf.population_loss(factors(seed=5, tree=MATRIX))
    start, terms = factors(tree=MATRIX), cast(list[Any], [loss, population, decay])
    a, b, c = loss(start), population(start), decay(start)
    for total, wanted in (
        (-loss, -a),
        (loss - population, a - b),
        (loss - decay, a - c),
        (decay - loss, c - a),
        (2.0 * loss - (population - decay) / 4, 2 * a - (b - c) / 4),
        (cast(Any, sum(terms)), a + b + c),
        (-htf.scaled_loss(loss) / np.float32(2) - population, -a / 2 - b),
    ):
        helpers.assert_close(total(start), wanted)
    scaled = htf.scaled_loss(loss)
    found = (population - scaled / 2).value_and_grad(start)[1]
    wanted = jax.grad(lambda f: population(f) - loss(f) / 2)(start)
    assert direction(found) @ direction(wanted) > 1 - 1e-12


@pytest.mark.parametrize("array", [np.ones(3), jnp.ones(3), 2.0])
def test_a_pytree_of_one_array_is_a_term(array: Any) -> None:
    term = jax.tree_util.Partial(lambda x, f: jnp.sum(x) * decay(f), array)
    start = factors(tree=MATRIX)
    wanted = completion(MATRIX)(start) + np.sum(array) * decay(start)
    for total in (completion(MATRIX) + term, term + completion(MATRIX)):
        helpers.assert_close(total(start), wanted)
