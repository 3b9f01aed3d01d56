"""Grouped factors: the same values, gradients and descents in stacked arrays."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from tests.marks import slow_unless

TREES = {
    "perfect8": (htf.perfect(8), 3),
    "interleaved6": (htf.interleaved(6), 2),
    "ternary9": (htf.perfect(9, 3), 2),
    "caterpillar5": (htf.caterpillar(5), (2, 3, 2, 3, 2)),
    "chains": (htf.pooled(5, 2), 3),
    "mixed": (htf.ModeTree.from_nested(((3, 1), 4, (0, 2))), (2, 3, 2, 2, 3)),
}


def problem(name: str, root: Any = "trained", batch: int = 90) -> tuple[Any, Any]:
    """Factors and a completion loss."""
    tree, dims = TREES[name]
    factors = htf.gaussian_factors(jax.random.key(0), tree, dims, 4, 0.8, root=root)
    rng = np.random.default_rng(0)
    sizes = htf.mode_dims(factors)
    indices = np.stack([rng.integers(0, d, batch) for d in sizes], axis=1)
    return factors, htf.completion_loss(tree, dims, indices, rng.normal(size=batch))


def assert_close(found: Any, wanted: Any) -> None:
    """Every leaf, to rounding; node by node whatever holds them."""
    found, wanted = (dict(x) if isinstance(x, Mapping) else x for x in (found, wanted))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13 * float(np.max(np.abs(b))))


@pytest.mark.parametrize("root", ["trained", "ones"])
@pytest.mark.parametrize("name", slow_unless(TREES, TREES.keys() - {"ternary9"}))
def test_round_trip(name: str, root: str) -> None:
    """ungroup undoes group bit for bit; nodes of a group have equal subtrees."""
    factors, _ = problem(name, root)
    again = htf.ungroup(htf.group(factors))
    assert again.tree == factors.tree
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(factors), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "force", slow_unless([None, "rows", "table", "gather"], (None, "gather"))
)
@pytest.mark.parametrize("root", ["trained", "ones"])
@pytest.mark.parametrize("name", slow_unless(TREES, ("chains", "mixed")))
def test_completion(name: str, root: str, force: Any) -> None:
    """Value and gradient of every route equal those of single matrices."""
    factors, loss = problem(name, root)
    if force is not None:
        widths = htf.widths(factors)[factors.tree.order :]
        plan = htf.contraction_plan(
            factors.tree, htf.mode_dims(factors), widths, 90, force="gather"
        )
        if force != "gather":
            plan = htf.contraction_plan(
                factors.tree, htf.mode_dims(factors), widths, 90, force=force
            )
            plan = dataclasses.replace(plan, root="gather")
        measurement = dataclasses.replace(loss.measurement, plan=plan)
        loss = dataclasses.replace(loss, measurement=measurement)
    evaluate = jax.jit(jax.value_and_grad(loss))
    (wanted, slope), (found, grouped_slope) = map(evaluate, (factors, htf.group(factors)))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert_close(htf.ungroup(grouped_slope).weights, slope.weights)


@pytest.mark.parametrize(
    "name", slow_unless(TREES, TREES.keys() - {"ternary9", "caterpillar5"})
)
def test_sensing(name: str) -> None:
    """Value and gradient on dense vectors."""
    factors, _ = problem(name)
    vectors = [
        jax.random.normal(jax.random.key(n), (7, d))
        for n, d in enumerate(htf.mode_dims(factors))
    ]
    loss = htf.sensing_loss(vectors, jnp.ones(7))
    evaluate = jax.jit(jax.value_and_grad(loss))
    (wanted, slope), (found, grouped_slope) = map(evaluate, (factors, htf.group(factors)))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert_close(htf.ungroup(grouped_slope).weights, slope.weights)


@pytest.mark.slow
@pytest.mark.parametrize("nested", [((0, 1), (2, 3)), (0, (1, 2))])
def test_sensing_of_one_array(nested: Any) -> None:
    """An array (N, B, D) is N arrays (B, D): value, gradient, minibatch."""
    tree = htf.ModeTree.from_nested(nested)
    factors = htf.gaussian_factors(jax.random.key(0), tree, 3, 4, 0.7)
    vectors = jax.random.normal(jax.random.key(1), (tree.order, 7, 3))
    targets = jax.random.normal(jax.random.key(2), (7,))
    many, one = (htf.sensing_loss(v, targets) for v in (list(vectors), vectors))
    evaluate = jax.jit(jax.value_and_grad(lambda f, loss: loss(f)))
    wanted, slope = evaluate(factors, many)
    found, other = evaluate(factors, one)
    again, stacked = evaluate(htf.group(factors), one)
    np.testing.assert_allclose((found, again), wanted, rtol=1e-12)
    assert_close(other.weights, slope.weights)
    assert_close(htf.ungroup(stacked).weights, slope.weights)
    key = jax.random.key(3)
    parts = [htf.minibatch_loss(loss, 3)(factors, key) for loss in (many, one)]
    np.testing.assert_allclose(*parts, rtol=1e-12)


@pytest.mark.slow
def test_sensing_of_one_array_scaled_and_mapped() -> None:
    """As `scaled_value_and_grad` and `vmap` see it."""
    factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 4, 0.7)
    vectors = jax.random.normal(jax.random.key(1), (2, 7, 3))
    targets = jnp.ones(7)
    wanted = htf.sensing_loss(list(vectors), targets)(factors)
    loss = htf.sensing_loss(vectors, targets)
    found = jax.jit(htf.scaled_value_and_grad)(loss, factors)
    np.testing.assert_allclose(found.value, wanted, rtol=1e-12)
    lanes = jax.vmap(lambda v: htf.sensing_loss(v, targets)(factors))
    np.testing.assert_allclose(lanes(jnp.stack([vectors] * 2)), [wanted] * 2, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("root", ["trained", "ones"])
@pytest.mark.parametrize("name", TREES)
def test_stacked_norms(name: str, root: str) -> None:
    """Component norms and the tensor's norm from stacks, with their gradients."""
    factors, _ = problem(name, root)
    grouped = htf.group(factors)
    wanted, found = map(htf.local_component_norms, (factors, grouped))
    assert list(found) == list(wanted)
    assert_close(found, wanted)

    def both(f: Any) -> jax.Array:
        norms = sum(jnp.sum(x) for x in htf.local_component_norms(f).values())
        return norms + htf.inner_product(f, f) + htf.squared_norm(f)

    evaluate = jax.jit(jax.value_and_grad(both))
    (value, slope), (other, stacked) = map(evaluate, (factors, grouped))
    np.testing.assert_allclose(other, value, rtol=1e-12)
    assert_close(htf.ungroup(stacked).weights, slope.weights)


def test_a_fixed_group_counts_as_one() -> None:
    """Norms of components whose leaves are data."""
    factors, _ = problem("perfect8")
    factors = dataclasses.replace(factors, fixed=tuple(range(8)))
    grouped = htf.group(factors)
    assert_close(*map(htf.local_component_norms, (grouped, factors)))


@pytest.mark.parametrize(
    "instrument",
    [
        htf.squared_norm, htf.local_component_norms, htf.component_contributions,
        htf.unbalancedness, htf.weight_vector_norms, htf.magnitude,
        lambda f: htf.growth_rates(f, htf.squared_norm),
        *slow_unless(
            [
                lambda f: htf.spectra(f, method="qr"),
                lambda f: htf.spectra(f, method="gram"),
                lambda f: htf.scaled_value_and_grad(htf.population_loss(f), f),
            ],
            fast=(),
        ),
    ],
)  # fmt: skip
def test_instruments_compile_by_levels(instrument: Any) -> None:
    """Order 128 has two levels more than order 32, not four times the nodes."""

    def lines(order: int) -> int:
        tree = htf.perfect(order)
        factors = htf.group(htf.gaussian_factors(jax.random.key(0), tree, 2, 3, 0.5))
        return len(jax.jit(instrument).lower(factors).as_text().splitlines())

    assert lines(128) <= 1.5 * lines(32)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["completion", "population"])
def test_scaled_gradients(kind: str) -> None:
    """Mantissas and exponent of single matrices, in stacks."""
    factors, loss = problem("mixed")
    factors = dataclasses.replace(factors, fixed=(1,))
    if kind == "population":
        loss = htf.population_loss(jax.tree.map(lambda w: 0.7 * w, factors))
    wanted = htf.scaled_value_and_grad(loss, factors)
    found = htf.scaled_value_and_grad(loss, htf.group(factors))
    assert found.log2_scale == wanted.log2_scale
    np.testing.assert_allclose(found.value, wanted.value, rtol=1e-12)
    assert_close(htf.ungroup(found.gradient).weights, wanted.gradient.weights)
    final, _ = htf.descend(
        htf.group(factors), htf.scaled_loss(loss), optax.sgd(1e-3),
        num_steps=2, record_every=1,
    )  # fmt: skip
    assert isinstance(final, htf.GroupedFactors)


@pytest.mark.slow
def test_instruments_accept_grouped_factors() -> None:
    """All of them, with equal results."""
    factors, loss = problem("perfect8")
    grouped = htf.group(factors)
    for instrument in (
        htf.end_tensor, htf.local_component_norms, htf.weight_vector_norms,
        htf.unbalancedness, htf.component_contributions, htf.weight_singular_values,
        htf.widths, htf.mode_dims,
        lambda f: htf.singular_values(f, 9), lambda f: htf.growth_rates(f, loss),
        lambda f: htf.residuals(loss, f), lambda f: htf.collapse_chains(f).weights,
    ):  # fmt: skip
        assert_close(instrument(grouped), instrument(factors))


@pytest.mark.slow
def test_sweeps_accept_grouped_factors() -> None:
    """And mix them with single matrices."""
    factors, _ = problem("mixed")
    grouped = htf.group(factors)
    for instrument in (
        lambda f: htf.spectra(f, method="qr"), htf.hierarchical_rank, htf.magnitude,
        lambda f: htf.distance(f, factors), lambda f: htf.rank_bound(f, (0, 2)),
        lambda f: htf.population_loss(f)(factors),
    ):  # fmt: skip
        assert_close(instrument(grouped), instrument(factors))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [htf.group_rmsprop(0.01), optax.sgd(0.1)])
def test_descent(optimizer: Any) -> None:
    """The same trajectory; minibatches too."""
    factors, loss = problem("perfect8")
    options: dict[str, Any] = {"num_steps": 30, "record_every": 10}
    final, one = htf.descend(factors, loss, optimizer, **options)
    grouped, two = htf.descend(htf.group(factors), loss, optimizer, **options)
    np.testing.assert_allclose(one.losses, two.losses, rtol=1e-9)
    assert_close(htf.ungroup(grouped).weights, final.weights)


@pytest.mark.slow
def test_fixed_groups_never_move() -> None:
    """Fixed nodes form groups of their own, without gradient or weight decay."""
    factors, loss = problem("perfect8")
    factors = dataclasses.replace(factors, fixed=(0, 2))
    grouped = htf.group(factors)
    assert (0, 2) in grouped.groups
    with jax.numpy_dtype_promotion("standard"):
        final, _ = htf.descend(
            grouped, loss, optax.adamw(1e-2, weight_decay=0.1), num_steps=4, record_every=2
        )
    for k, (a, b) in enumerate(
        zip(htf.ungroup(final).weights, factors.weights, strict=True)
    ):
        assert bool(jnp.all(a == b)) == (k in (0, 2))


@pytest.mark.slow
def test_vmap_over_grouped_starts() -> None:
    """Lanes equal single runs."""
    factors, loss = problem("perfect8")
    starts = [
        htf.group(htf.gaussian_factors(jax.random.key(s), factors.tree, 3, 4, 0.5))
        for s in range(3)
    ]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *starts)
    values = jax.vmap(loss)(stacked)
    np.testing.assert_allclose(values, [loss(start) for start in starts], rtol=1e-12)


def lowered_size(order: int) -> int:
    """Operations in the program of value and gradient at some order."""
    tree = htf.perfect(order)
    factors = htf.gaussian_factors(jax.random.key(0), tree, 2, 8, 0.6)
    indices = np.random.default_rng(0).integers(0, 2, (50, order))
    loss = htf.completion_loss(tree, 2, indices, np.ones(50))
    program = jax.jit(jax.value_and_grad(lambda f, loss: loss(f)))
    return program.lower(htf.group(factors), loss).as_text().count("\n")


@pytest.mark.slow
def test_program_size_follows_levels() -> None:
    """Order 1024 has two levels more than order 256, not four times the nodes."""
    assert lowered_size(1024) <= 1.5 * lowered_size(256)


@pytest.mark.slow
def test_order_1024_descends_by_minibatches() -> None:
    """Finite, and lower after some steps; norms can be read."""
    tree = htf.perfect(1024)
    factors = htf.group(htf.gaussian_factors(jax.random.key(0), tree, 2, 4, 0.7))
    indices = np.random.default_rng(0).integers(0, 2, (64, 1024))
    values = htf.entries(factors, indices)
    loss = htf.completion_loss(tree, 2, indices, 1.01 * np.asarray(values))
    state = htf.start_descent(factors, optax.sgd(1e-9))
    state, trajectory = htf.continue_descent(
        state, htf.minibatch_loss(loss, 16), optax.sgd(1e-9),
        num_steps=4, record_every=2, key=jax.random.key(1),
    )  # fmt: skip
    assert np.all(np.isfinite(trajectory.losses))
    assert len(htf.local_component_norms(state.params)) == 1023


def test_bad_groups() -> None:
    """Grouping twice, ungrouping plain factors, stacks of another shape."""
    factors, loss = problem("perfect8")
    grouped = htf.group(factors)
    with pytest.raises(TypeError, match="GroupedFactors"):
        htf.group(grouped)
    with pytest.raises(TypeError, match="GroupedFactors"):
        htf.ungroup(factors)
    wrong = dataclasses.replace(
        grouped, stacks=(grouped.stacks[0][1:], *grouped.stacks[1:])
    )
    with pytest.raises(ValueError, match="7, 3, 4"):
        loss(wrong)
