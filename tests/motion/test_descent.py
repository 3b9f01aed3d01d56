"""One step function: chunks, traces, minibatches, failures, fixed nodes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import htfjax as htf

TREE = htf.perfect(4)


def problem(seed: int = 0, dtype: Any = None, count: int = 60) -> tuple[htf.Factors, Any]:
    """A small completion problem: a start and a loss."""
    keys = jax.random.split(jax.random.key(seed), 3)
    target = htf.gaussian_factors(keys[0], TREE, 3, 2, 1.0)
    indices = htf.random_indices(keys[1], (3, 3, 3, 3), count)
    loss = htf.completion_loss(TREE, 3, indices, htf.entries(target, indices))
    return htf.gaussian_factors(keys[2], TREE, 3, 5, 0.4, dtype=dtype), loss


def in_chunks(
    start: Any, loss: Any, optimizer: Any, lengths: list[int], **options: Any
) -> tuple[htf.DescentState, htf.Trajectory]:
    """Descent in chunks of the given lengths, and its joined trajectory."""
    state, pieces = htf.start_descent(start, optimizer), []
    for length in lengths:
        state, piece = htf.continue_descent(
            state, loss, optimizer, num_steps=length, **options
        )
        pieces.append(piece)
    return state, htf.join(pieces)


def assert_identical(a: Any, b: Any) -> None:
    """Equal bit for bit."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(
    ("record_every", "lengths"),
    [(4, [8, 12, 20]), (4, [4, 36]), (1, [2, 35, 3]), (5, [5] * 8)],
)
def test_chunks_equal_one_scan_bit_for_bit(
    dtype: Any, record_every: int, lengths: list[int]
) -> None:
    """State and every record, whatever the chunk lengths (none of one step)."""
    start, loss = problem(dtype=dtype)
    optimizer = htf.group_rmsprop(1e-2)
    options: dict[str, Any] = {
        "record_every": record_every,
        "observe": htf.local_component_norms,
    }
    whole, one = in_chunks(start, loss, optimizer, [40], **options)
    state, joined = in_chunks(start, loss, optimizer, lengths, **options)
    assert_identical(state, whole)
    assert_identical(joined, one)


def test_descend_in_chunks_resumes_exactly() -> None:
    """A run broken off at any chunk and continued equals an unbroken one."""
    start, loss = problem()
    optimizer = htf.group_rmsprop(1e-2)
    options: dict[str, Any] = {"record_every": 2, "chunk_steps": 6, "until_step": 26}
    first = htf.start_descent(start, optimizer)
    unbroken = [
        state for state, _ in htf.descend_in_chunks(first, loss, optimizer, **options)
    ]
    assert [int(state.step) for state in unbroken] == [6, 12, 18, 24, 26]
    for state in unbroken[:-1]:
        resumed = list(htf.descend_in_chunks(state, loss, optimizer, **options))
        assert_identical(resumed[-1][0], unbroken[-1])
    assert not list(htf.descend_in_chunks(unbroken[-1], loss, optimizer, **options))


@pytest.mark.slow
def test_one_trace_of_step_and_observe() -> None:
    """Also in chunks, and for new data of the same shape."""
    traces = {"loss": 0, "observe": 0}

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Counted:
        inner: Any

        def __call__(self, factors: htf.Factors) -> jax.Array:
            traces["loss"] += 1
            return self.inner(factors)

    def observe(factors: htf.Factors) -> Any:
        traces["observe"] += 1
        return htf.local_component_norms(factors)

    optimizer = htf.group_rmsprop(1e-2)
    for seed in (0, 1):
        start, loss = problem(seed)
        in_chunks(
            start, Counted(loss), optimizer, [20, 20], record_every=5, observe=observe
        )
    assert traces == {"loss": 1, "observe": 1}


@pytest.mark.slow
def test_records_are_read_before_the_update() -> None:
    """The first record is the start, the last one the end."""
    start, loss = problem()
    optimizer = optax.sgd(0.1)
    final, trajectory = htf.descend(
        start, loss, optimizer, num_steps=6, record_every=3, observe=lambda f: f.weights
    )
    assert trajectory.steps.tolist() == [0, 3, 6]
    assert_identical([w[0] for w in trajectory.observed], start.weights)
    assert_identical([w[-1] for w in trajectory.observed], final.weights)
    np.testing.assert_allclose(trajectory.losses[0], loss(start), rtol=1e-14)
    np.testing.assert_allclose(trajectory.losses[-1], loss(final), rtol=1e-14)
    norms = [optax.tree.norm(jax.grad(loss)(f)) for f in (start, final)]
    np.testing.assert_allclose(trajectory.grad_norms[jnp.array([0, -1])], norms, rtol=1e-13)


def test_descent_is_the_obvious_loop() -> None:
    """Plain SGD equals a Python loop of gradient steps."""
    start, loss = problem()
    weights = list(start.weights)
    for _ in range(7):
        grads = jax.grad(loss)(dataclasses.replace(start, weights=tuple(weights)))
        weights = [w - 0.05 * g for w, g in zip(weights, grads.weights, strict=True)]
    final, trajectory = htf.descend(
        start, loss, optax.sgd(0.05), num_steps=7, record_every=7
    )
    for found, wanted in zip(final.weights, weights, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(trajectory.times, [0, 7 * 0.05], rtol=1e-13)
    gap = [w - v for w, v in zip(weights, start.weights, strict=True)]
    np.testing.assert_allclose(
        trajectory.path_lengths[-1], optax.tree.norm(gap), rtol=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam(1e-2),
        optax.sgd(1e-2, momentum=0.9),
        optax.lbfgs(),
        htf.group_rmsprop(optax.cosine_decay_schedule(2e-2, 200)),
        htf.group_rmsprop(1e-2, eps=0.0),
    ],
    ids=["adam", "momentum", "lbfgs", "schedule", "eps0"],
)
def test_any_optax_optimizer(optimizer: Any) -> None:
    """Each lowers the loss, in chunks as well as in one piece."""
    start, loss = problem()
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats by ints
        _, one = in_chunks(start, loss, optimizer, [200], record_every=50)
        _, two = in_chunks(start, loss, optimizer, [100, 100], record_every=50)
    assert one.losses[-1] < 0.9 * one.losses[0]
    np.testing.assert_allclose(one.losses, two.losses, rtol=1e-9)


@pytest.mark.slow
def test_minibatches_resume_exactly() -> None:
    """Step t sees fold_in(key, t) wherever chunks begin; batches differ between steps."""
    start, loss = problem()
    batches = htf.minibatch_loss(loss, 16)
    optimizer, key = htf.group_rmsprop(1e-2), jax.random.key(7)
    options: dict[str, Any] = {"record_every": 2, "key": key}
    whole, one = in_chunks(start, batches, optimizer, [20], **options)
    state, joined = in_chunks(start, batches, optimizer, [6, 14], **options)
    assert_identical(state, whole)
    assert_identical(joined, one)
    value = batches(start, jax.random.fold_in(key, 0))
    np.testing.assert_allclose(one.losses[0], value, rtol=1e-14)
    assert float(value) != float(batches(start, jax.random.fold_in(key, 1)))


@pytest.mark.slow
def test_descend_hands_its_key_on() -> None:
    start, loss = problem()
    batches, optimizer = htf.minibatch_loss(loss, 16), htf.group_rmsprop(1e-2)
    options: dict[str, Any] = {"num_steps": 6, "record_every": 2, "key": jax.random.key(7)}
    final, trajectory = htf.descend(start, batches, optimizer, **options)
    state = htf.start_descent(start, optimizer)
    state, expected = htf.continue_descent(state, batches, optimizer, **options)
    assert_identical(final, state.params)
    assert_identical(trajectory, expected)


def test_more_steps_than_are_counted() -> None:
    start, loss = problem()
    with pytest.raises(ValueError, match="`num_steps=4294967296` must be at most"):
        htf.descend(start, loss, optax.sgd(0.1), num_steps=2**32, record_every=2**32)


@pytest.mark.slow
def test_minibatch_is_without_replacement_and_unbiased() -> None:
    """All of them is the whole loss; the mean over keys is, too."""
    start, loss = problem()
    whole = htf.minibatch_loss(loss, 60)(start, jax.random.key(1))
    np.testing.assert_allclose(whole, loss(start), rtol=1e-13)
    keys = jax.random.split(jax.random.key(2), 4000)
    values = jax.vmap(lambda k: htf.minibatch_loss(loss, 20)(start, k))(keys)
    error = np.std(values) / np.sqrt(len(keys))
    assert abs(np.mean(values) - loss(start)) < 4 * error


@pytest.mark.slow
def test_nan_is_recorded_not_raised() -> None:
    """A diverging descent ends with non-finite losses and says so."""
    start, loss = problem()
    _, trajectory = htf.descend(start, loss, optax.sgd(1e4), num_steps=40, record_every=4)
    assert bool(trajectory.finite[0])
    assert not bool(trajectory.finite[-1])
    stop = htf.find_stop(trajectory.losses, 1e-9, 5)
    assert stop is not None
    assert stop.reason == "diverged"


def test_zero_gradient_stays_put() -> None:
    """No 0/0 with eps = 0: all-zero factors are critical and stay finite."""
    start, loss = problem()
    zero = jax.tree.map(jnp.zeros_like, start)
    final, trajectory = htf.descend(
        zero, loss, htf.group_rmsprop(1e-2, eps=0.0), num_steps=4, record_every=2
    )
    assert_identical(final.weights, zero.weights)
    assert_identical(trajectory.durations, jnp.zeros(3))


@pytest.mark.parametrize(
    "optimizer",
    [htf.group_rmsprop(1e-2), optax.adamw(1e-2, weight_decay=0.1)],
    ids=["group_rmsprop", "weight decay"],
)
def test_fixed_nodes_never_move(optimizer: Any) -> None:
    """Not even by weight decay; the others do."""
    start, loss = problem()
    start = dataclasses.replace(start, fixed=(0, 5))
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats by ints
        final, _ = htf.descend(start, loss, optimizer, num_steps=10, record_every=5)
    for k, (before, after) in enumerate(zip(start.weights, final.weights, strict=True)):
        assert bool(jnp.all(before == after)) == (k in start.fixed)


def test_fixed_nodes_do_not_count_in_the_gradient_norm() -> None:
    """Even for a loss that touches the matrices itself."""
    start, _ = problem()
    start = dataclasses.replace(start, fixed=tuple(range(6)))

    def total(factors: htf.Factors) -> jax.Array:
        return jnp.sum(jnp.stack([jnp.sum(w) for w in factors.weights]))

    _, trajectory = htf.descend(start, total, optax.sgd(0.1), num_steps=2, record_every=2)
    np.testing.assert_allclose(trajectory.grad_norms, np.sqrt(5), rtol=1e-13)


def test_any_pytree_descends() -> None:
    """Parameters need not be factors; static leaves of a loss are kept apart."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Bowl:
        centre: Any
        curve: Any  # a function: a leaf that is no array

        def __call__(self, params: Any) -> jax.Array:
            return self.curve(params["x"] - self.centre) + jnp.sum(params["y"] ** 2)

    def square(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(x))

    start = {"x": jnp.ones(3), "y": jnp.ones((2, 2))}
    loss = Bowl(jnp.full((3,), 2.0), square)
    final, _ = htf.descend(start, loss, optax.sgd(0.1), num_steps=200, record_every=100)
    np.testing.assert_allclose(final["x"], 2.0, rtol=1e-9)
    np.testing.assert_allclose(final["y"], 0.0, atol=1e-9)


def averaged(params: htf.Carrying, key: jax.Array | None = None) -> tuple[Any, Any]:
    """A bowl around noise, and a running mean of the parameters that is not trained."""
    shift = 0.0 if key is None else jax.random.normal(key, (3,))
    x, before = params.trained["x"], params.carried
    after = {"mean": 0.9 * before["mean"] + 0.1 * x, "count": before["count"] + 1}
    return jnp.sum((x - shift) ** 2) * (2 + before["mean"] @ x), after


def carrying() -> htf.Carrying:
    """Where `averaged` starts."""
    mean = {"mean": jnp.full((3,), 0.2, float), "count": jnp.zeros((), jnp.int32)}
    return htf.Carrying({"x": jnp.arange(1.0, 4.0)}, mean)


def test_carried_is_the_obvious_loop() -> None:
    """Gradient at what is carried held fixed, momentum of the trained part only."""
    x, velocity, carried = np.arange(1.0, 4.0), np.zeros(3), np.full(3, 0.2)
    norms, gaps = [], []
    for _ in range(7):
        grad = 2 * x * (2 + carried @ x) + x @ x * carried
        carried = 0.9 * carried + 0.1 * x
        velocity = 0.9 * velocity + grad
        x, old = x - 0.01 * velocity, x
        norms.append(np.linalg.norm(grad))
        gaps.append(np.linalg.norm(x - old))
    optimizer = optax.sgd(0.01, momentum=0.9)
    state, trajectory = htf.continue_descent(
        htf.start_descent(carrying(), optimizer), averaged, optimizer,
        num_steps=7, record_every=1, observe=lambda p: (p.trained["x"], p.carried["count"]),
    )  # fmt: skip
    np.testing.assert_allclose(state.params.trained["x"], x, rtol=1e-12)
    np.testing.assert_allclose(state.params.carried["mean"], carried, rtol=1e-12)
    np.testing.assert_allclose(trajectory.grad_norms[:-1], norms, rtol=1e-12)
    np.testing.assert_allclose(trajectory.step_lengths[:-1], gaps, rtol=1e-10)
    np.testing.assert_allclose(trajectory.chords[:-1], gaps, rtol=1e-10)
    assert trajectory.observed[1].tolist() == list(range(8))
    assert jax.tree.structure(state.opt_state[0].trace) == jax.tree.structure({"x": 0})


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [[8, 12, 20], [2, 35, 3]])
def test_carried_in_chunks_equals_one_scan(lengths: list[int]) -> None:
    """With a key, bit for bit, and in one trace."""
    traces = []

    def counted(params: htf.Carrying, key: jax.Array) -> tuple[Any, Any]:
        traces.append(None)
        return averaged(params, key)

    optimizer = optax.sgd(0.005, momentum=0.9)
    options: dict[str, Any] = {"record_every": 1, "key": jax.random.key(3)}
    whole, one = in_chunks(carrying(), averaged, optimizer, [40], **options)
    state, joined = in_chunks(carrying(), counted, optimizer, lengths, **options)
    assert_identical(state, whole)
    assert_identical(joined, one)
    in_chunks(carrying(), counted, optimizer, lengths, **options)
    assert len(traces) == len(lengths)  # one per program, each with its own length


@pytest.mark.slow
def test_carrying_nothing_changes_nothing() -> None:
    """The same numbers as without it, also through a line search."""
    start, loss = problem()
    for optimizer in (htf.group_rmsprop(1e-2), optax.lbfgs()):
        with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats by ints
            _, one = in_chunks(start, loss, optimizer, [20], record_every=5)
            state, two = in_chunks(
                htf.Carrying(start, ()), lambda p: (loss(p.trained), ()), optimizer, [20],
                record_every=5,
            )  # fmt: skip
        assert isinstance(state.params, htf.Carrying)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_allclose(a[:-1], b[:-1], rtol=1e-9)
        np.testing.assert_allclose(two.losses[-1], loss(state.params.trained), rtol=0.1)


def test_optimizers_see_what_is_carried() -> None:
    """An extra argument, () where nothing is carried."""
    seen = []

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        seen.append(jax.tree.map(jnp.shape, extra["carried"]))
        return jax.tree.map(lambda u: -0.01 * u, updates), state

    optimizer = optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update
    )
    state, _ = in_chunks(carrying(), averaged, optimizer, [2], record_every=2)
    assert int(state.params.carried["count"]) == 2
    in_chunks(jnp.ones(3), lambda x: x @ x, optimizer, [2], record_every=2)
    assert seen == [{"count": (), "mean": (3,)}, ()]


def test_carried_must_keep_its_looks() -> None:
    """Another dtype or structure is named before anything runs."""
    optimizer = optax.sgd(0.1)
    for wrong in ({"n": jnp.zeros(())}, {"n": jnp.zeros((), jnp.int32), "m": 0.0}):
        with pytest.raises(TypeError, match="carries on"):
            in_chunks(
                htf.Carrying(jnp.ones(2), {"n": jnp.zeros((), jnp.int32)}),
                lambda p, wrong=wrong: (p.trained @ p.trained, wrong),
                optimizer, [2], record_every=2,
            )  # fmt: skip


@pytest.mark.slow
def test_vmap_over_starts_and_over_data() -> None:
    """Lanes equal single runs; a stack of losses is a loss."""
    problems = [problem(seed) for seed in range(3)]
    starts = jax.tree.map(lambda *xs: jnp.stack(xs), *[start for start, _ in problems])
    losses = jax.tree.map(lambda *xs: jnp.stack(xs), *[loss for _, loss in problems])
    optimizer = htf.group_rmsprop(1e-2)

    def run(start: htf.Factors, loss: Any) -> htf.Trajectory:
        return htf.descend(start, loss, optimizer, num_steps=20, record_every=10)[1]

    lanes = jax.vmap(run)(starts, losses)
    assert lanes.times.shape == (3, 3)
    for lane, (start, loss) in enumerate(problems):
        single = run(start, loss)
        np.testing.assert_allclose(lanes.losses[lane], single.losses, rtol=1e-10)
        np.testing.assert_allclose(lanes.times[lane], single.times, rtol=1e-10)


@pytest.mark.slow
def test_derivative_through_a_short_descent() -> None:
    """Forward and reverse mode agree with finite differences."""
    start, loss = problem()
    optimizer = htf.group_rmsprop(1e-2)

    def final_norm(scale: jax.Array) -> jax.Array:
        scaled = jax.tree.map(lambda w: w * scale, start)
        final, _ = htf.descend(scaled, loss, optimizer, num_steps=10, record_every=5)
        return htf.local_component_norms(final)[TREE.root][0]

    check_grads(final_norm, (jnp.array(1.0),), order=1, rtol=1e-6)


@pytest.mark.slow
def test_slow_steps_count_the_eps_phase() -> None:
    """Steps with RMS gradient below 10 eps, and none when eps is 0."""
    start, loss = problem()
    state, _ = htf.continue_descent(
        htf.start_descent(start, optimizer := htf.group_rmsprop(1e-3, eps=1e3)),
        loss, optimizer, num_steps=6, record_every=3,
    )  # fmt: skip
    assert int(state.opt_state[0].slow_steps) == 6
    state, _ = htf.continue_descent(
        htf.start_descent(start, optimizer := htf.group_rmsprop(1e-3, eps=0.0)),
        loss, optimizer, num_steps=6, record_every=3,
    )  # fmt: skip
    assert int(state.opt_state[0].slow_steps) == 0


def test_group_rms_equals_its_formula() -> None:
    """Against a NumPy loop of s <- a s + (1-a) g^2 with bias correction."""
    gradients = np.random.default_rng(0).normal(size=(20, 2, 3))
    transform = htf.scale_by_group_rms(0.9, 1e-3)
    state, s = transform.init(jnp.zeros((2, 3))), 0.0
    for t, g in enumerate(gradients, start=1):
        update, state = transform.update(jnp.asarray(g), state)
        assert isinstance(update, jax.Array)
        s = 0.9 * s + 0.1 * np.sum(g**2)
        wanted = g / (np.sqrt(s / (1 - 0.9**t)) + 1e-3)
        np.testing.assert_allclose(update, wanted, rtol=1e-13)


def test_find_stop_waits_longer_than_its_patience() -> None:
    """More than `patience` records in a row, and a broken row starts anew."""
    losses = np.array([1.0] + [0.0] * 3 + [1.0] + [0.0] * 4)
    assert htf.find_stop(losses, 0.1, 3) == htf.Stop("converged", 8)
    assert htf.find_stop(losses, 0.1, 4) is None
    assert htf.find_stop(np.array([1.0, np.nan]), 0.1, 4) == htf.Stop("diverged", 1)
    assert htf.find_stop(np.array([1.0, 2e4]), 0.1, 4) == htf.Stop("diverged", 1)


def test_rise_times_follow_their_definitions() -> None:
    """Take-off at 10 %, half-rise at 50 %, width from 10 % to 90 %; padding is NaN."""
    steps = np.arange(0, 110, 10)
    ramp = np.linspace(0, 10, 11)
    values = np.stack([ramp, 0.5 * ramp, 1e-3 * ramp, np.full(11, np.nan)], axis=1)
    rise = htf.rise_times(steps, values)
    np.testing.assert_allclose(rise.take_off, [10, 10, np.nan, np.nan])
    np.testing.assert_allclose(rise.half_rise, [50, 50, np.nan, np.nan])
    np.testing.assert_allclose(rise.width, [80, 80, np.nan, np.nan])
    np.testing.assert_array_equal(rise.active, [True, True, False, False])


@pytest.mark.slow
def test_join_refuses_gaps() -> None:
    """Pieces must follow each other."""
    start, loss = problem()
    _, piece = htf.descend(start, loss, optax.sgd(0.1), num_steps=4, record_every=2)
    with pytest.raises(ValueError, match="do not follow"):
        htf.join([piece, piece])
    with pytest.raises(ValueError, match="empty"):
        htf.join([])


RECORDS = ("grad_norms", "step_lengths", "chords", "durations", "times", "path_lengths")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "rate"), [(0.0, 0.1), (1.0, 0.0)], ids=["gradient zero", "rate zero"]
)
def test_derivatives_of_records_where_nothing_moves(start: float, rate: float) -> None:
    """Norms have derivative zero at zero, as all that is differentiated here."""

    def records(x: jax.Array) -> dict[str, jax.Array]:
        optimizer = optax.sgd(rate)
        run = htf.descend(x, lambda x: x @ x, optimizer, num_steps=2, record_every=1)[1]
        return {name: jnp.sum(getattr(run, name)) for name in RECORDS}

    found = jax.jacrev(records)(jnp.full(2, start))
    forward = jax.jvp(records, (jnp.full(2, start),), (jnp.ones(2),))[1]
    for name in RECORDS:
        assert np.all(np.isfinite(found[name])), name
        assert np.isfinite(forward[name]), name
    np.testing.assert_array_equal(found["chords"], 0)


@pytest.mark.slow
def test_derivatives_through_group_rms_at_zero() -> None:
    start = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 2, 2, 0.0)
    loss = htf.completion_loss(htf.flat(2), 2, [[0, 0]], [1.0])

    def size(start: htf.Factors) -> jax.Array:
        final, run = htf.descend(
            start, loss, htf.group_rmsprop(0.1), num_steps=2, record_every=1
        )
        return htf.squared_norm(final) + jnp.sum(run.chords) + run.times[-1]

    for slope in jax.tree.leaves(jax.grad(size)(start)):
        assert np.all(np.isfinite(slope))


@dataclasses.dataclass
class Equal:
    """Compared by its fields, so it has no hash."""

    weight: Any

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.weight * (x @ x)


@pytest.mark.parametrize("name", ["loss", "observe"])
@pytest.mark.parametrize("motion", ["descend", "gradient_flow"])
def test_callables_without_a_hash_are_named(motion: str, name: str) -> None:
    square: Any = lambda x: x @ x  # noqa: E731
    given = {"loss": square, "observe": square, name: Equal(2.0)}
    options: dict[str, Any] = (
        {"optimizer": optax.sgd(0.1), "num_steps": 2, "record_every": 1}
        if motion == "descend"
        else {"times": [1.0], "rtol": 1e-3, "atol": 0.0}
    )
    with pytest.raises(TypeError, match=f"`{name}` .* Equal .* hashed.*`eq=False`"):
        getattr(htf, motion)(jnp.ones(2), **given, **options)
