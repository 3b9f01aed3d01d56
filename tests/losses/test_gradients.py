"""Losses that bring their gradient: one protocol for descent, flow and ensembles; sums."""

import dataclasses
import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import htfjax as htf
from tests import helpers
from tests.marks import slow_unless

TREE, DIMS = htf.perfect(4), (3,) * 4
MATRIX = htf.flat(2)  # where a program of many loops is compiled
INDICES = helpers.random_indices(DIMS, 30)
TARGETS = np.random.default_rng(0).standard_normal(30)
KEY = jax.random.key(3)


def factors(
    std: float = 0.5, dtype: Any = np.float64, seed: int = 0, tree: htf.ModeTree = TREE
) -> htf.Factors:
    return htf.gaussian_factors(jax.random.key(seed), tree, 3, 3, std, dtype=dtype)


def completion(tree: htf.ModeTree = TREE) -> Any:
    return htf.completion_loss(tree, 3, INDICES[:, : tree.order], TARGETS)


def decay(params: Any) -> jax.Array:
    """A plain function of the factors."""
    return 0.3 * jnp.sum(jnp.square(ravel_pytree(params)[0]))


def noisy(params: Any, key: jax.Array) -> jax.Array:
    """A plain function that draws."""
    return decay(params) * jax.random.uniform(key, ())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Own:
    """A bowl that brings its gradient, and cannot be called."""

    centre: Any

    def value_and_grad(self, params: Any, key: Any) -> tuple:
        shift = self.centre if key is None else jax.random.normal(key, ())
        gap = params - shift
        return (gap @ gap, ()), 2 * gap


class Callable(Own):
    """The same, which can be called too."""

    def __call__(self, params: Any, key: Any = None) -> jax.Array:
        return self.value_and_grad(params, key)[0][0]


jax.tree_util.register_dataclass(Callable, ["centre"], [])


def bowl(params: Any, key: Any = None) -> jax.Array:
    return Callable(0.5)(params, key)


START = jnp.array([1.0, -2.0, 3.0])


compiled = functools.partial(jax.jit, compiler_options=helpers.LITTLE_WORK)


def assert_alike(a: Any, b: Any, rtol: float = 1e-12) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        helpers.assert_close(x, y, rtol=rtol)


def direction(gradient: Any) -> np.ndarray:
    flat = np.asarray(ravel_pytree(gradient)[0], np.float64)
    return flat / np.linalg.norm(flat)


# Losses with their own gradient


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


def run(loss: Any, optimizer: Any, start: Any = None, **options: Any) -> htf.Trajectory:
    start = factors() if start is None else start
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats by ints
        return htf.descend(
            start, loss, optimizer, num_steps=20, record_every=10, **options
        )[1]


@pytest.mark.parametrize("name", slow_unless([*SEARCHES, "polyak"], ("backtracking",)))
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


@pytest.mark.parametrize("name", slow_unless(["lbfgs", "storing"], ("lbfgs",)))
def test_a_line_search_that_the_loss_cannot_serve(name: str) -> None:
    """A scaled loss has no derivative, nor has a loss that cannot be called."""
    with pytest.raises(NotImplementedError, match="`scaled_loss` has a value but no"):
        run(htf.scaled_loss(completion()) + decay, SEARCHES[name])
    with pytest.raises(NotImplementedError, match=r"`loss` \(Own\) brings .* `optimizer`"):
        run(Own(0.5), SEARCHES[name], START)
    assert run(Callable(0.5), SEARCHES[name], START).losses[-1] < 1e-3


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


@pytest.mark.parametrize(
    ("tree", "std"),
    slow_unless([(TREE, 0.5), (TREE, 0.05), (MATRIX, 0.5)], [(MATRIX, 0.5)]),
)
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


@pytest.mark.parametrize("name", slow_unless(PLAIN, ("population",)))
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
