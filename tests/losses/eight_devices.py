"""Losses sharded over eight devices, run by `test_sharded` in a process that has them."""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import htfjax as htf
from htfjax.motion import levenberg_marquardt
from tests import helpers
from tests.losses import small
from tests.losses.test_measurements import BlockMeans
from tests.runs import toy

DEVICES = 8
TREE, DIMS = htf.perfect(4), (3, 4, 3, 4)
KEY = jax.random.key(5)


def factors(seed: int = 0, **options: Any) -> htf.Factors:
    return htf.gaussian_factors(jax.random.key(seed), TREE, DIMS, 3, 0.8, **options)


def targets(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal(count)


def completion(count: int = 45, **options: Any) -> Any:
    indices = helpers.random_indices(DIMS, count)
    return htf.completion_loss(TREE, DIMS, indices, targets(count), **options)


def forced(count: int) -> Any:
    """A plan with distinct rows, carried out as it is."""
    plan = htf.loss_plan(completion(count, plan="exact"), factors())
    return completion(count, plan=plan)


def weighted(count: int) -> Any:
    rows = htf.losses.Entries.at(
        TREE, DIMS, helpers.random_indices(DIMS, count), plan="exact"
    )
    weights = np.linspace(0.0, 2.0, count)
    measurement = htf.losses.Weighted(rows, jnp.asarray(weights))
    return htf.observation_loss(measurement, weights * targets(count))


def means(count: int) -> Any:
    """A measurement of a user's own, three entries each."""
    indices = helpers.random_indices(DIMS, 3 * count)
    return htf.observation_loss(
        BlockMeans(htf.losses.Entries.at(TREE, DIMS, indices), 3), targets(count)
    )


def sensing(count: int, penalty: Any = "l2") -> Any:
    vectors = htf.random_vectors(jax.random.key(1), DIMS, count)
    return htf.sensing_loss(vectors, targets(count), penalty=penalty, threshold=0.3)


LOSSES: dict[str, Callable[[int], Any]] = {
    "completion": completion,
    "exact": lambda count: completion(count, plan="exact"),
    "forced": forced,
    "weighted": weighted,
    "own": means,
    "sensing": sensing,
    "l1": lambda count: sensing(count, "l1"),
    "huber": lambda count: sensing(count, "huber"),
    "mini": lambda count: htf.minibatch_loss(completion(count), min(count, 11)),
    "scaled": lambda count: htf.scaled_loss(sensing(count)),
    "sum": lambda count: 0.5 * completion(count) + htf.minibatch_loss(sensing(count), 2),
}


def evaluated(loss: Any, start: Any) -> Any:
    """Value and gradient, as descent has them."""
    optimizer = optax.sgd(1.0)
    final, trajectory = htf.descend(
        start, loss, optimizer, num_steps=1, record_every=1, key=key_of(loss)
    )
    return trajectory.losses[0], jax.tree.map(jnp.subtract, start, final)


def key_of(loss: Any) -> Any:
    return KEY if "Minibatch" in repr(loss) else None


def test_there_are_eight() -> None:
    assert jax.device_count() == DEVICES


CASES = [(name, 45) for name in LOSSES]
CASES += [(name, count) for name in ("exact", "huber", "mini") for count in (16, 5)]


@pytest.mark.parametrize(("name", "count"), CASES)
def test_values_and_gradients(name: str, count: int) -> None:
    """Also where eight devices do not divide the observations, or some have none."""
    loss, start = LOSSES[name](count), factors()
    small.assert_alike(evaluated(htf.sharded_loss(loss), start), evaluated(loss, start))


@pytest.mark.parametrize("given", [htf.group, lambda f: f])
def test_kinds_of_factors(given: Any) -> None:
    start = given(htf.gaussian_factors(KEY, htf.perfect(4), 3, 3, 0.8))
    fixed = htf.perfect(4)
    rows = helpers.random_indices((3,) * 4, 21)
    loss = htf.completion_loss(fixed, 3, rows, targets(21))
    small.assert_alike(evaluated(htf.sharded_loss(loss), start), evaluated(loss, start))


def test_half_precision_sums_in_float32() -> None:
    loss, start = sensing(45), factors(dtype=jnp.bfloat16)
    (value, slopes), (wanted, other) = (
        jax.value_and_grad(x)(start) for x in (htf.sharded_loss(loss), loss)
    )
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    for x, y in zip(jax.tree.leaves(slopes), jax.tree.leaves(other), strict=True):
        assert x.dtype == jnp.bfloat16
        gap = jnp.abs(x.astype(jnp.float32) - y.astype(jnp.float32)).max()
        assert gap < 0.02 * jnp.abs(y).max().astype(jnp.float32)


def test_each_device_holds_its_own() -> None:
    sharded = htf.sharded_loss(sensing(45))
    for leaf in jax.tree.leaves(sharded):
        assert leaf.sharding.spec == P("observations")
        assert {len(shard.data) for shard in leaf.addressable_shards} == {1}
    assert htf.residuals(sharded, factors()).shape == (45,)
    np.testing.assert_allclose(
        htf.residuals(sharded, factors()), htf.residuals(sensing(45), factors()),
        rtol=1e-12, atol=1e-14,
    )  # fmt: skip


# Collectives


def collectives(program: Any) -> dict[str, int]:
    """How often each occurs in the text of a compiled program."""
    text = program.as_text()
    names = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective")
    return {name: text.count(f" {name}(") + text.count(f" {name}-start(") for name in names}


ONE = {"all-reduce": 1, "all-gather": 0, "reduce-scatter": 0, "all-to-all": 0,
       "collective": 0}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["completion", "exact", "sensing", "mini", "scaled", "sum"]
)
def test_one_sum_for_value_and_gradient(name: str) -> None:
    loss = htf.sharded_loss(LOSSES[name](45))

    def both(loss: Any, start: Any, key: Any) -> Any:
        if name == "scaled":
            return loss.scaled_value_and_grad(start)
        keys = (key,) if key_of(loss) is not None else ()
        return jax.value_and_grad(loss)(start, *keys)

    program = jax.jit(both).lower(loss, factors(), KEY).compile()
    assert collectives(program) == ONE


def test_one_sum_a_step() -> None:
    """One in the loop's body and one for the last record, however many steps."""
    loss, optimizer = htf.sharded_loss(sensing(45)), htf.group_rmsprop(1e-2)

    def run(loss: Any, start: Any) -> Any:
        return htf.descend(
            start, loss, optimizer, num_steps=60, record_every=20,
            observe=htf.local_component_norms,
        )  # fmt: skip

    program = jax.jit(run).lower(loss, factors()).compile()
    assert collectives(program) == ONE | {"all-reduce": 2}


def test_compiled_from_shapes() -> None:
    """A mesh of axes with types serves too, and shapes stand for data and parameters."""
    count, each = 1001, 126
    mesh = jax.make_mesh((DEVICES,), ("data",))
    shapes = [jax.ShapeDtypeStruct((count, dim), jnp.float32) for dim in DIMS]
    whole = jax.eval_shape(htf.sensing_loss, shapes, shapes[0].update(shape=(count,)))
    loss = htf.sharded_loss(whole, mesh)
    assert loss.parts.targets.shape == (DEVICES, each)
    start = jax.eval_shape(factors)
    gradient = jax.jit(lambda loss, start: jax.value_and_grad(loss)(start))
    program = gradient.lower(loss, start).compile()
    assert collectives(program) == ONE
    sharding = program.input_shardings[0][0].parts.targets
    assert sharding.is_equivalent_to(NamedSharding(mesh, P("data")), 2)
    # What each device takes is its share of the observations, and all parameters.
    share = each * (sum(DIMS) + 1)
    rest = sum(x.size for x in jax.tree.leaves(start))
    analysis: Any = program.memory_analysis()
    assert analysis.argument_size_in_bytes == 4 * share + 8 * rest


def test_exact_plans_need_values() -> None:
    whole = jax.eval_shape(lambda: completion(45))
    htf.sharded_loss(whole)
    with pytest.raises(ValueError, match="concrete indices"):
        htf.sharded_loss(jax.eval_shape(lambda x: x, completion(45, plan="exact")))


# Where a loss goes


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "rms": lambda: htf.group_rmsprop(1e-2),
    "search": lambda: optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=5)
    ),
    "squares": htf.levenberg_marquardt,
    "products": lambda: htf.levenberg_marquardt(matrix_free=True),
    "alternating": htf.alternating_least_squares,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_descent(name: str) -> None:
    optimizer, loss = OPTIMIZERS[name](), completion(77)
    found = [
        small.run(given, optimizer, factors()).losses
        for given in (loss, htf.sharded_loss(loss))
    ]
    # Conjugate gradients stop by a tolerance of 1e-6.
    rtol = 1e-6 if name == "products" else 1e-9 if name == "alternating" else 1e-12
    np.testing.assert_allclose(*found, rtol=rtol, atol=1e-13)


def test_blocks_of_the_jacobian_are_summed_by_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it is too large to be held, every device sums J^T J of its own residuals."""
    monkeypatch.setattr(levenberg_marquardt, "LARGEST_JACOBIAN", 0)
    loss, start = completion(77), factors()
    sharded = htf.sharded_loss(loss)
    found = [
        small.run(given, htf.levenberg_marquardt(), start).losses
        for given in (loss, sharded)
    ]
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-13)


def test_minibatches_in_descent() -> None:
    loss, start, optimizer = sensing(101), factors(), htf.group_rmsprop(1e-2)
    whole = htf.minibatch_loss(loss, 17)
    for sharded in (
        htf.sharded_loss(whole),
        htf.minibatch_loss(htf.sharded_loss(loss), 17),
    ):
        small.assert_alike(
            small.run(sharded, optimizer, start, key=KEY).losses,
            small.run(whole, optimizer, start, key=KEY).losses,
        )
    found, wanted = (
        x.residual_vector(start, KEY) for x in (htf.sharded_loss(whole), whole)
    )
    small.assert_alike(found, wanted)
    # Of second order, by rows of the Jacobian; few residuals tell little of the rest.
    found, wanted = (
        small.run(x, htf.levenberg_marquardt(), start, key=KEY).losses
        for x in (htf.sharded_loss(whole), whole)
    )
    small.assert_alike(found, wanted, 1e-8)


def test_only_members_of_a_batch_are_read() -> None:
    """The first observation of every device is infinite, and is not in the batch."""
    loss = completion(16)
    weights = jnp.ones(16).at[::2].set(jnp.inf)
    measurement = htf.losses.Weighted(loss.measurement, weights)
    sharded = htf.sharded_loss(htf.observation_loss(measurement, loss.targets))
    rows = jnp.array([1, 5, 7])
    found, wanted = (jax.value_and_grad(x.take(rows))(factors()) for x in (sharded, loss))
    small.assert_alike(found, wanted)


def test_flow() -> None:
    loss, start = completion(77), factors()
    one, many = (
        htf.gradient_flow(start, x, times=[0.0, 0.2], rtol=1e-8, atol=1e-10)[0]
        for x in (loss, htf.sharded_loss(loss))
    )
    small.assert_alike(many, one, 1e-11)


def test_derivatives_of_every_order() -> None:
    loss, start, along = sensing(45), factors(), factors(1)
    sharded = htf.sharded_loss(loss)

    def derivatives(loss: Any) -> Any:
        def slope(x: Any) -> jax.Array:
            products = jax.tree.map(jnp.vdot, jax.grad(loss)(x), along)
            return sum(jax.tree.leaves(products), jnp.zeros(()))

        return (
            jax.jvp(loss, (start,), (along,)),
            jax.jvp(jax.grad(loss), (start,), (along,)),
            jax.grad(slope)(start),
        )

    small.assert_alike(derivatives(sharded), derivatives(loss))
    # By data too, as of any loss.
    by_data, wanted = (jax.grad(lambda x: x(start))(x) for x in (sharded, loss))
    found = by_data.parts.targets.ravel()
    small.assert_alike(found[:45], wanted.targets)
    assert not np.any(found[45:])


def test_many_starts() -> None:
    loss = completion(45)
    starts = jax.vmap(lambda key: htf.gaussian_factors(key, TREE, DIMS, 3, 0.8))(
        jax.random.split(KEY, 3)
    )
    sharded = htf.sharded_loss(loss)
    small.assert_alike(
        jax.vmap(jax.value_and_grad(sharded))(starts),
        jax.vmap(jax.value_and_grad(loss))(starts),
    )


def test_other_axes_replicate() -> None:
    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("copies", "observations"))
    loss, start = sensing(45), factors()
    sharded = htf.sharded_loss(loss, mesh)
    assert sharded.parts.targets.shape == (4, 12)
    small.assert_alike(evaluated(sharded, start), evaluated(loss, start))
    with pytest.raises(ValueError, match="`axis` is needed"):
        htf.sharded_loss(loss, Mesh(mesh.devices, ("a", "b")))
    small.assert_alike(htf.sharded_loss(loss, mesh, axis="copies")(start), loss(start))


INSTRUMENTS: dict[str, Callable[[Any], Any]] = {
    "local_component_norms": htf.local_component_norms,
    "weight_vector_norms": htf.weight_vector_norms,
    "weight_singular_values": htf.weight_singular_values,
    "component_contributions": htf.component_contributions,
    "unbalancedness": htf.unbalancedness,
    "squared_norm": htf.squared_norm,
    "nuclear_norm": lambda f: htf.nuclear_norm(f, (0, 1)),
    "singular_values": lambda f: htf.singular_values(f, (0, 1)),
    "spectra": htf.spectra,
    "hierarchical_rank": htf.hierarchical_rank,
    "end_tensor": htf.end_tensor,
}


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_instruments_of_replicated_factors(name: str) -> None:
    """They do not grow with observations: each device computes the same."""
    see, start = INSTRUMENTS[name], factors()
    mesh = Mesh(np.array(jax.devices()), ("observations",))
    spread = jax.device_put(start, NamedSharding(mesh, P()))
    small.assert_alike(see(spread), see(start))


def test_growth_is_of_all_observations() -> None:
    """The instruments that ask a loss."""
    loss, start = sensing(45), htf.balanced_factors(KEY, TREE, DIMS, 3, 0.5)
    sharded = htf.sharded_loss(loss)
    for see in (htf.growth_rates, htf.theory.exact_growth, htf.theory.balanced_growth):
        small.assert_alike(see(start, sharded), see(start, loss))


# Grids


def results(grid: Any, **options: Any) -> list[np.ndarray]:
    """Losses of runs on eight lanes, and on two whose observations four devices share."""
    found = []
    for shared in (1, 4):
        out, mesh = Path(tempfile.mkdtemp()), htf.runs.lane_mesh(observations=shared)
        assert toy.finish(out, grid, mesh=mesh, **options).state == "finished"
        found.append(htf.load_results(out).loss.values)
    return found


def test_lanes_share_observations() -> None:
    """Nine completions in float32, of which rounding differs."""
    options = toy.FACTOR_OPTIONS | {"until_step": 100, "tolerance": None}
    one, shared = results(toy.factor_grid(), **options)
    assert one.shape == (3, 3, 11)
    np.testing.assert_allclose(shared, one, rtol=2e-4)
    assert not np.array_equal(shared, one)


@pytest.mark.parametrize("width", [1, 2])
def test_lanes_share_minibatches(width: int) -> None:
    grid = htf.runs.Grid(toy.Toy(), range(3))
    one, shared = results(grid, build=drawing_lane, batching=width)
    np.testing.assert_allclose(shared, one, rtol=1e-12)


def drawing_lane(setting: toy.Toy, key: jax.Array) -> Any:
    """Minibatches of a random sensing problem in float64."""
    keys = jax.random.split(key, 4)
    vectors = htf.random_vectors(keys[0], DIMS, 45)
    loss = htf.sensing_loss(vectors, jax.random.normal(keys[1], (45,)))
    start = htf.gaussian_factors(keys[2], TREE, DIMS, 3, 0.5)
    return htf.runs.Lane(
        state=htf.start_descent(start, toy.optimizer()),
        loss=0.5 * loss + htf.minibatch_loss(loss, 9),
        observe=None,
        key=keys[3],
        optimizer=toy.optimizer(),
    )


def sharded_lane(setting: toy.Toy, key: jax.Array) -> Any:
    lane = drawing_lane(setting, key)
    return dataclasses.replace(lane, loss=htf.sharded_loss(lane.loss))


def test_a_sharded_lane_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sharded already"):
        toy.finish(tmp_path, htf.runs.Grid(toy.Toy(), range(1)), build=sharded_lane)
