"""`gradient_flow`: exact solutions, laws along it, events, failures, clocks, bad input."""

import dataclasses
import math
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax import _numerics
from tests import helpers

CURVATURES = (0.5, 2.0, 40.0)
START = jnp.array([1.0, -2.0, 0.5])


def bowl(x):
    return 0.5 * jnp.sum(jnp.asarray(CURVATURES) * jnp.square(x))


def bowl_at(t):
    return np.asarray(START) * np.exp(-np.asarray(CURVATURES) * np.asarray(t)[..., None])


def test_norms_of_infinite_vectors_are_infinite():
    """An implicit step that fails has such an error, and must be tried again shorter."""
    vectors = jnp.array([[jnp.inf, 1.0], [-jnp.inf, 0.0], [3.0, 4.0], [jnp.nan, 1.0]])
    for norm in (_numerics.safe_norm, jax.jit(_numerics.safe_norm, static_argnums=1)):
        np.testing.assert_allclose(norm(vectors, 1), [np.inf, np.inf, 5.0, np.nan])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_norms_at_the_ends_of_a_dtype(dtype):
    """Subnormal numbers, which processors take for zero, were divided by themselves."""
    info = jnp.finfo(dtype)
    ends = [0.0, info.smallest_subnormal, info.tiny / 2, info.tiny, info.max / 2]
    vectors = np.array([[end, 0.0] for end in ends], dtype)

    def norms(x):
        return _numerics.safe_norm(x, axis=1)

    for found in (norms(vectors), jax.jit(norms)(vectors)):
        found = np.asarray(found, float)
        np.testing.assert_array_equal(found[[0, 3, 4]], vectors[[0, 3, 4], 0].astype(float))
        assert np.all((found[1:3] == 0) | (found[1:3] == vectors[1:3, 0].astype(float)))
    slopes = jax.grad(lambda x: norms(x).astype("float32").sum())(jnp.asarray(vectors))
    assert np.all(np.isfinite(np.asarray(slopes, float)))


@pytest.mark.slow
def test_small_norms_of_half_precision():
    """Down to the smallest number, which is subnormal."""
    vectors = np.array([[3e-5, 4e-5], [3e-6, 4e-6], [6e-8, 0.0]], np.float16)
    found = _numerics.safe_norm(jnp.asarray(vectors), axis=1)
    wanted = np.linalg.norm(vectors.astype(float), axis=1)
    np.testing.assert_allclose(np.asarray(found, float), wanted, rtol=1e-3, atol=6e-8)
    slopes = jax.grad(lambda x: _numerics.safe_norm(x, axis=1)[0])(jnp.asarray(vectors))
    np.testing.assert_allclose(np.asarray(slopes[0], float), [0.6, 0.8], rtol=2e-2)


# Exact solutions


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "rtol"),
    [("stabilized", 1e-4), ("stabilized", 1e-7), ("explicit", 1e-10), ("implicit", 1e-8)],
)
@pytest.mark.parametrize("interpolate", [False, True])
def test_a_bowl_is_followed_within_the_tolerance(solver, rtol, interpolate):
    times = np.array([0.0, 0.05, 0.3, 1.0, 2.0])
    final, found = htf.gradient_flow(
        START,
        bowl,
        times=times,
        rtol=rtol,
        atol=0.0,
        observe=lambda x: x,
        solver=solver,
        interpolate=interpolate,
    )
    assert found.report.status == "reached the last time"
    allowed = 50 * rtol * (20 if interpolate else 1)
    np.testing.assert_allclose(found.observed, bowl_at(times), atol=allowed)
    np.testing.assert_allclose(final, found.observed[-1], atol=1e-14)
    np.testing.assert_array_equal(found.times, times)
    losses = [float(bowl(jnp.asarray(x))) for x in bowl_at(times)]
    np.testing.assert_allclose(found.losses, losses, atol=50 * allowed)
    assert int(found.report.num_steps) >= len(times) - 1 or interpolate
    assert bool(found.report.reached.all())


@pytest.mark.slow
def test_the_stabilized_method_is_of_order_two_and_spares_evaluations():
    """A tenth of the tolerance, a tenth of the error; stiffness costs stages, not steps."""

    def stiff(x):
        return 0.5 * jnp.sum(jnp.array([1.0, 1e4]) * jnp.square(x))

    def go(solver, rtol):
        start = jnp.array([1.0, 1e-3])
        final, found = htf.gradient_flow(
            start, stiff, times=[2.0], rtol=rtol, atol=0.0, solver=solver
        )
        return abs(float(final[0]) - math.exp(-2)), int(found.report.num_evaluations)

    errors = [go("stabilized", rtol)[0] for rtol in (1e-3, 1e-5)]
    assert errors[1] < 0.1 * errors[0]
    cheap, dear = go("stabilized", 1e-3)[1], go("explicit", 1e-3)[1]
    assert cheap < 0.05 * dear


def test_all_evaluations_are_counted() -> None:
    """Those before the first step too, in which curvature is found."""
    calls = []

    @jax.custom_vjp
    def watched(x: jax.Array) -> jax.Array:
        return bowl(x)

    def backward(x: jax.Array, slope: jax.Array) -> tuple[jax.Array]:
        jax.debug.callback(lambda: calls.append(1))
        return (slope * jax.grad(bowl)(x),)

    watched.defvjp(lambda x: (bowl(x), x), backward)
    _, path = htf.gradient_flow(START, watched, times=[0.5, 1.0], rtol=1e-3, atol=0.0)
    jax.effects_barrier()
    counted = int(path.report.num_evaluations)
    # Records, and the choice of the first step, are not the solver's.
    assert len(calls) - 6 <= counted <= len(calls)


@pytest.mark.slow
def test_clocks_agree():
    """The arc clock ends where the time clock's length says, at the same time."""
    options: dict[str, Any] = {"rtol": 1e-9, "atol": 0.0, "observe": lambda x: x}
    _, one = htf.gradient_flow(START, bowl, times=[0.2, 0.6, 1.0], **options)
    _, other = htf.gradient_flow(
        START, bowl, times=one.path_lengths, clock="arc", **options
    )
    np.testing.assert_allclose(other.observed, bowl_at([0.2, 0.6, 1.0]), atol=1e-7)
    np.testing.assert_allclose(other.times, one.times, rtol=1e-6)
    np.testing.assert_array_equal(other.path_lengths, one.path_lengths)
    assert float(one.times[0]) == 0.2
    fine = bowl_at(np.linspace(0.0, 1.0, 200_001))
    length = np.sum(np.linalg.norm(np.diff(fine, axis=0), axis=1))
    assert float(one.path_lengths[-1]) == pytest.approx(length, rel=1e-7)


def scaled_start(std):
    return helpers.rebuilt(FLAT, [None if w is None else std * w for w in FLAT.weights])


FLAT = helpers.random_factors("flat3", (2, 2, 2), (2,), root="ones")
CUBE = np.random.default_rng(1).standard_normal((2, 2, 2))


def cube_loss(factors):
    return 0.5 * jnp.sum(jnp.square(htf.end_tensor(factors) - jnp.asarray(CUBE)))


@pytest.mark.slow
def test_rescaled_time_is_time_over_its_unit():
    """Three matrices: the unit is 1 / RMS weight; starts of two scales line up."""
    losses: list[np.ndarray] = []
    options: dict[str, Any] = {"rtol": 1e-9, "atol": 0.0}
    for std in (1e-2, 1e-3):
        start = scaled_start(std)
        flat = np.concatenate([np.ravel(w) for w in start.weights[:3]])
        unit = 1 / math.sqrt(np.mean(flat**2))
        tau = np.array([0.0, 0.3, 0.6])
        _, one = htf.gradient_flow(
            start, cube_loss, times=tau, clock="rescaled", observe=htf.end_tensor, **options
        )
        end, _ = htf.gradient_flow(start, cube_loss, times=tau[1:] * unit, **options)
        np.testing.assert_allclose(one.times, tau * unit, rtol=1e-12)
        helpers.assert_close(one.observed[-1], htf.end_tensor(end), rtol=1e-6)
        losses.append(np.asarray(one.observed[-1]) / std**3)
    helpers.assert_close(losses[1], losses[0], rtol=0.05)


# Laws along the flow


def aligned(tree, dims, scale, direction):
    """Rank-one balanced factors whose leaves point along `direction`."""
    weights = [scale * x[:, None] for x in direction]
    weights += [jnp.full((1, 1), scale)] * (len(tree.children) - tree.order)
    return htf.Factors(tree=tree, weights=tuple(weights))


@pytest.mark.slow
@pytest.mark.parametrize("clock", ["time", "arc", "rescaled"])
@pytest.mark.parametrize("nested", [(0, 1, 2), ((0, 1), (2, 3)), (((0, 1), 2), 3)])
def test_f10_closed_form(nested, clock):
    """F10: s(t) = (s0^(2-m) - (m-2) ||A|| t)^(-1/(m-2)) to 1e-8, up to 3 s0."""
    tree = htf.ModeTree.from_nested(nested)
    rng, norm, scale = np.random.default_rng(2), 1.7, 0.4
    direction = [jnp.asarray(x / np.linalg.norm(x)) for x in rng.standard_normal((4, 3))]
    direction = direction[: tree.order]
    start = aligned(tree, 3, scale, direction)
    pull = norm * htf.end_tensor(aligned(tree, 3, 1.0, direction))
    count = htf.theory.degree(start)

    def linear(factors):
        return -jnp.sum(pull * htf.end_tensor(factors))

    end = htf.theory.rank_one_blow_up_time(scale, norm, count)
    last = float(end) * (1 - 3.0 ** (2 - count))  # where s = 3 s0
    root_size = math.sqrt(sum(w.size for w in start.weights))
    unit = (scale * math.sqrt(count) / root_size) ** (2 - count)
    times = np.linspace(0, last, 4)
    if clock == "rescaled":
        times = times / unit
    if clock == "arc":  # all matrices grow together: ||params|| = s sqrt(m)
        times = np.linspace(0, 2 * scale * math.sqrt(count), 4)
    _, found = htf.gradient_flow(
        start,
        linear,
        times=times,
        rtol=1e-11,
        atol=0.0,
        clock=clock,
        observe=lambda f: jnp.stack([jnp.linalg.norm(w) for w in f.weights]),
    )
    expected = htf.theory.rank_one_scale(found.times, scale, norm, count)
    assert float(expected[-1]) == pytest.approx(3 * scale, rel=1e-6)
    np.testing.assert_allclose(
        found.observed, np.broadcast_to(expected[:, None], found.observed.shape), rtol=1e-8
    )


def learning(widths=6, scale=0.5, seed=2):
    """A rank-3 target of order 4, all entries, and a balanced start."""
    tree = htf.perfect(4)
    target = htf.gaussian_factors(jax.random.key(seed), tree, 4, 3, 1.0)
    tensor = htf.end_tensor(htf.theory.normalize(target, 10.0))
    indices = helpers.all_indices((4,) * 4)
    loss = htf.completion_loss(tree, 4, indices, tensor.reshape(-1))
    start = htf.balanced_factors(jax.random.key(100 + seed), tree, 4, widths, scale)
    return start, loss


@pytest.mark.slow
def test_growth_law_holds_on_every_interval_of_a_learning_flow():
    """Theorem, F1, F3, F4: sigma(t2) - sigma(t1) is the law's integral to 1e-6."""
    start, loss = learning()

    def law(factors):
        rates = htf.theory.balanced_growth(factors, loss)
        return rates, jax.tree.map(jnp.abs, rates)

    _, found = htf.gradient_flow(
        start,
        loss,
        times=np.linspace(0.0, 15.0, 101),
        rtol=1e-11,
        atol=0.0,
        clock="arc",
        observe=lambda f: (
            htf.local_component_norms(f),
            [jnp.sum(w**2) for w in f.weights],
        ),
        integrate=law,
        stop_loss=1e-3,
    )
    assert found.report.status == "stopped by an event"
    last = int(np.sum(found.report.reached))
    assert last > 40
    sigma, squares = found.observed
    learned = 0
    for v, norms in sigma.items():
        change = np.diff(np.asarray(norms)[:last], axis=0)
        integral, size = (
            np.diff(np.asarray(x[v])[:last], axis=0) for x in found.report.integrals
        )
        assert np.max(np.abs(change - integral) / size) <= 1e-6
        final = np.asarray(norms[-1])
        learned = max(learned, np.sum(final > 0.1 * final.max()))
        powers = np.sum(np.asarray(norms) ** (2 / 3), axis=1)  # F4
        np.testing.assert_allclose(powers, squares[0], rtol=1e-9)
    assert learned >= 3
    assert float(np.max(found.report.drift)) <= 1e-9
    for other in squares[1:]:  # F3 with a balanced start
        np.testing.assert_allclose(other, squares[0], rtol=1e-9)


@pytest.mark.slow
def test_drift_measures_the_tolerance():
    start, loss = learning()
    drifts = [
        float(
            htf.gradient_flow(start, loss, times=[4.0], rtol=rtol, atol=0.0, clock="arc")[
                1
            ].report.drift[-1]
        )
        for rtol in (1e-3, 1e-5)
    ]
    assert 1e-8 < drifts[1] < 0.3 * drifts[0] < 0.1


# Events, failures, transforms


@pytest.mark.slow
def test_events_end_the_flow_and_repeat_its_last_state():
    times = np.linspace(0.0, 5.0, 51)
    options: dict[str, Any] = {"times": times, "rtol": 1e-5, "atol": 0.0}
    final, low = htf.gradient_flow(START, bowl, stop_loss=0.5, **options)
    assert low.report.status == "stopped by an event"
    assert not bool(low.report.failed)
    assert float(bowl(final)) < 0.5
    count = int(low.report.reached.sum())
    assert 2 < count < 51
    assert float(low.losses[count - 1]) >= 0.5
    np.testing.assert_array_equal(low.losses[count:], np.full(51 - count, low.losses[-1]))
    np.testing.assert_array_equal(low.durations[count:], np.zeros(51 - count))
    assert float(low.times[-1]) < 5.0
    _, flat = htf.gradient_flow(START, bowl, stop_grad_norm=0.1, **options)
    assert float(flat.grad_norms[-1]) < 0.1
    assert float(flat.times[-1]) > float(low.times[-1])


@pytest.mark.slow
def test_failures_are_recorded_with_the_last_good_state():
    few = htf.gradient_flow(
        START, bowl, times=[1.0, 2.0], rtol=1e-8, atol=0.0, max_steps=5
    )[1]
    assert "max_steps" in few.report.status
    assert bool(few.report.failed)
    assert np.all(np.isfinite(few.losses))
    assert not bool(few.report.reached[-1])

    def runaway(x):  # dx/dt = x^2 blows up at t = 1
        return -jnp.sum(x**3) / 3

    end, blown = htf.gradient_flow(
        jnp.ones(1), runaway, times=[0.5, 2.0], rtol=1e-8, atol=0.0, max_steps=3000
    )
    assert bool(blown.report.failed)
    assert bool(blown.report.reached[0])
    assert not bool(blown.report.reached[1])
    assert float(blown.times[-1]) < 1.1 or not np.all(np.isfinite(end))


@pytest.mark.slow
def test_fixed_nodes_do_not_move():
    factors = dataclasses.replace(
        helpers.random_factors("flat3", (2,) * 3, (2,)), fixed=(1,)
    )
    final, _ = htf.gradient_flow(factors, cube_loss, times=[0.5], rtol=1e-5, atol=0.0)
    np.testing.assert_array_equal(final.weights[1], factors.weights[1])
    assert not np.allclose(final.weights[0], factors.weights[0])


@pytest.mark.slow
def test_any_pytree_any_observation_in_float32():
    params = {"a": jnp.ones((2,), np.float32), "b": (jnp.zeros((), np.float32),)}

    def loss(p):
        return jnp.sum(jnp.square(p["a"])) + jnp.square(p["b"][0] - 1)

    final, found = htf.gradient_flow(
        params,
        loss,
        times=[0.0, 1.0, 20.0],
        rtol=1e-4,
        atol=1e-6,
        observe=lambda p: {"sum": p["a"].sum(), "count": jnp.int32(3)},
        integrate=lambda p: p["b"][0],
    )
    assert final["a"].dtype == np.float32
    assert float(final["b"][0]) == pytest.approx(1.0, abs=1e-3)
    assert found.observed["count"].tolist() == [3, 3, 3]
    assert found.losses.dtype == np.float32
    assert np.all(np.isnan(found.report.drift))
    expected = [0.0, 1 - (1 - math.exp(-2)) / 2, 20 - 0.5]
    np.testing.assert_allclose(found.report.integrals, expected, atol=2e-3)


@pytest.mark.slow
def test_grouped_factors_flow_like_factors():
    start, loss = learning(widths=3)
    options: dict[str, Any] = {"times": [0.5], "rtol": 1e-9, "atol": 0.0, "clock": "arc"}
    one, _ = htf.gradient_flow(start, loss, **options)
    other, found = htf.gradient_flow(htf.group(start), loss, **options)
    for a, b in zip(one.weights, htf.ungroup(other).weights, strict=True):
        helpers.assert_close(a, b, rtol=1e-9)
    assert float(found.report.drift[-1]) < 1e-8


@pytest.mark.slow
def test_vmap_over_starts_and_jit_over_data():
    def end(x):
        return htf.gradient_flow(x, bowl, times=[0.5], rtol=1e-6, atol=0.0)[0]

    starts = jnp.stack([START, 2 * START])
    found = jax.vmap(end)(starts)
    np.testing.assert_allclose(found[1], 2 * bowl_at(0.5), atol=1e-4)
    np.testing.assert_allclose(jax.jit(end)(START), end(START), rtol=1e-12)


@pytest.mark.slow
def test_new_data_of_one_shape_compile_nothing():
    start, loss = learning(widths=2)
    runs, seen = [], []

    def count(factors):
        runs.append(None)
        return factors.weights[0][0, 0]

    for data in (loss, dataclasses.replace(loss)):
        htf.gradient_flow(
            start, data, times=[0.1], rtol=1e-3, atol=0.0, observe=count, clock="arc"
        )
        seen.append(len(runs))
    assert seen[0] == seen[1] > 0


@pytest.mark.slow
def test_any_diffrax_solver_serves():
    final, found = htf.gradient_flow(
        START, bowl, times=[1.0], rtol=1e-7, atol=0.0, solver=diffrax.Tsit5()
    )
    np.testing.assert_allclose(final, bowl_at(1.0), atol=1e-5)
    assert int(found.report.num_evaluations) == 6 * int(found.report.num_steps)


# Bad input

GOOD: dict[str, Any] = {"times": [0.0, 1.0], "rtol": 1e-4, "atol": 0.0}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"times": [0.0, 1.0, 1.0]}, "`times` must increase"),
    ({"times": [1.0, 0.5]}, "`times` must increase"),
    ({"times": [0.0, math.nan]}, "`times` must increase"),
    ({"times": [-1.0, 1.0]}, "`times` starts at -1"),
    ({"times": [0.0]}, "`times` ends at 0"),
    ({"times": []}, "`times` must be"),
    ({"times": [[0.0, 1.0]]}, "`times` must be"),
    ({"rtol": 1e-16}, "`rtol=1e-16` with `atol=0.0` cannot be met in float64"),
    ({"rtol": -1.0}, "`rtol"),
    ({"atol": math.inf}, "`atol"),
    ({"clock": "wall"}, "`clock='wall'`"),
    ({"solver": "magic"}, "`solver='magic'`"),
    ({"stop_loss": -1.0}, "`stop_loss"),
    ({"stop_grad_norm": math.nan}, "`stop_grad_norm"),
    ({"max_steps": 0}, "`max_steps"),
    ({"loss": lambda x: x}, "`loss` must return one floating scalar"),
    ({"loss": lambda x: jnp.sum(x) * jnp.nan}, "`loss` is nan at the start"),
    ({"loss": lambda x: jnp.sum(jnp.sqrt(x * 0))}, "gradient is not finite"),
    ({"loss": 3.0}, "`loss` must be callable"),
    (
        {"integrate": lambda x: x[0].astype(complex)},
        "`integrate` must return real.*complex128",
    ),
    ({"integrate": lambda x: jax.random.key(0)}, "`integrate` must return real.*key"),
    ({"observe": lambda x: jax.random.key(0)}, "`observe` must return numbers.*key"),
    ({"params": jnp.arange(3)}, "`params` must be a floating array"),
    ({"params": {}}, "`params` holds no arrays"),
    (
        {"params": (jnp.ones(2), jnp.ones(2, np.float32)), "loss": lambda x: x[0].sum()},
        "of one dtype",
    ),
]


@pytest.mark.slow
def test_integers_are_observed_exactly() -> None:
    """In float32, also at records that are not reached."""
    whole = {
        "int32": jnp.array([16_777_217, -(2**31)], jnp.int32),
        "uint32": jnp.array(2**32 - 3, jnp.uint32),
        "int64": jnp.array([[2**62 + 1], [-(2**62) - 1]]),
        "int8": jnp.array(-7, jnp.int8),
        "uint16": jnp.array(65_535, jnp.uint16),
        "bool": jnp.array([True, False]),
    }
    _, found = htf.gradient_flow(
        jnp.ones(2, jnp.float32), lambda x: jnp.sum(x * x), times=[0.1, 0.2, 9.0],
        rtol=1e-3, atol=0.0, observe=lambda x: whole, stop_loss=1.5,
    )  # fmt: skip
    assert not bool(found.report.reached[-1])
    for name, value in whole.items():
        seen = found.observed[name]
        assert seen.dtype == value.dtype
        np.testing.assert_array_equal(seen, np.broadcast_to(value, (3, *value.shape)))


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_named(change, message):
    options: dict[str, Any] = {"params": START, "loss": bowl, **GOOD, **change}
    params, loss = options.pop("params"), options.pop("loss")
    with pytest.raises((ValueError, TypeError), match=message):
        htf.gradient_flow(params, loss, **options)


def test_float32_resolves_less():
    with pytest.raises(ValueError, match="cannot be met in float32"):
        htf.gradient_flow(
            jnp.ones(2, np.float32), jnp.sum, times=[1.0], rtol=1e-7, atol=0.0
        )


@pytest.mark.slow
def test_the_arc_clock_moves_where_squares_of_the_gradient_underflow() -> None:
    """A bowl of curvature 1e-26 in float32: a length of 0.25 takes 5e24 of time."""
    curvature = jnp.float32(1e-26)
    final, found = htf.gradient_flow(
        jnp.array([3.0, 4.0], jnp.float32),
        lambda x: 0.5 * curvature * (x @ x),
        times=[0.25],
        rtol=1e-4,
        atol=0.0,
        clock="arc",
    )
    np.testing.assert_allclose(final, [0.95 * 3, 0.95 * 4], rtol=1e-4)
    np.testing.assert_allclose(found.times, [np.log(1 / 0.95) * 1e26], rtol=1e-3)
    np.testing.assert_allclose(found.grad_norms, [4.75e-26], rtol=1e-4)
