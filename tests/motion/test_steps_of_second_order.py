"""Levenberg-Marquardt, alternating least squares and L-BFGS as optimizers of `descend`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import htfjax as htf
from htfjax import formats
from htfjax.losses.squares import residual_function
from htfjax.motion import levenberg_marquardt
from htfjax.motion.levenberg_marquardt import trained_vector
from htfjax.motion.squares import jacobian, normal_equations

TREE, DIMS = htf.as_tree(((0, 1), 2)), (4, 3, 5)
SQUARES = {
    "levenberg_marquardt": htf.levenberg_marquardt(),
    "alternating_least_squares": htf.alternating_least_squares(),
}


def factors(seed: int = 0, width: int = 2, kind: str = "diagonal") -> Any:
    """Diagonal factors, those with a fixed node, with transfer tensors, or grouped."""
    found = htf.gaussian_factors(jax.random.key(seed), TREE, DIMS, width, 1.0)
    if kind == "fixed":
        return htf.Factors(found.weights, found.tree, fixed=(1, 3))
    if kind == "full":
        return formats.from_transfer_tensors(formats.to_transfer_tensors(found))
    return htf.group(found) if kind == "grouped" else found


def completion(like: Any, share: float = 0.8, **options: Any) -> Any:
    """Entries of the tensor of other factors, which factors like these can have."""
    target = htf.end_tensor(factors(seed=1))
    every = np.stack(np.unravel_index(np.arange(target.size), DIMS), axis=1)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(every)[: round(share * target.size)]
    return htf.completion_loss(like.tree, DIMS, chosen, target[tuple(chosen.T)], **options)


KINDS = ["diagonal", "full", "grouped"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SQUARES)
def test_losses_fall_to_rounding_and_never_rise(name: str, kind: str) -> None:
    """A target that the factors can have, from a start of its size."""
    start = factors(kind=kind)
    loss = completion(start)
    steps, least = (60, 1e-20) if name == "levenberg_marquardt" else (200, 1e-3)
    final, trajectory = htf.descend(
        start, loss, SQUARES[name], num_steps=steps, record_every=1
    )
    losses = np.asarray(trajectory.losses)
    assert np.all(np.diff(losses) <= 1e-12 * losses[0])
    assert losses[-1] < least * losses[0]
    assert abs(loss(final) - losses[-1]) <= 1e-12 * losses[0]


def by_differences(function: Any, x: np.ndarray) -> np.ndarray:
    steps = 1e-6 * np.eye(len(x))
    columns = [(function(x + h) - function(x - h)) / 2e-6 for h in steps]
    return np.stack(columns, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diagonal", "fixed"])
@pytest.mark.parametrize("share", [0.8, 0.3])  # 48 and 18 residuals of 30 parameters
@pytest.mark.parametrize("shrink", [0.0, 0.1])
def test_a_step_solves_the_damped_equations(kind: str, share: float, shrink: float) -> None:
    """By a Jacobian of differences and NumPy, of the matrices that are trained."""
    start = factors(kind=kind)
    loss = completion(start, share)
    trained = [k for k in range(5) if k not in start.fixed]
    shapes = [start.weights[k].shape for k in trained]

    def changed(x: np.ndarray) -> htf.Factors:
        weights, place = list(start.weights), 0
        for k, shape in zip(trained, shapes, strict=True):
            weights[k] = jnp.asarray(x[place : place + np.prod(shape)].reshape(shape))
            place += int(np.prod(shape))
        return htf.Factors(tuple(weights), start.tree, start.fixed)

    def residuals(x: np.ndarray) -> np.ndarray:
        found = np.asarray(htf.end_tensor(changed(x)))
        gaps = found[tuple(np.asarray(loss.measurement.indices).T)] - np.asarray(
            loss.targets
        )
        return gaps / np.sqrt(len(gaps))

    x = np.concatenate([np.asarray(start.weights[k]).ravel() for k in trained])
    matrix = by_differences(residuals, x)
    gram = matrix.T @ matrix
    mu = 1e-3 * gram.diagonal().max()
    noise = shrink * np.mean(residuals(x) ** 2)
    squares = [np.mean(np.square(start.weights[k])) for k in trained]
    prior = np.concatenate(
        [np.full(np.prod(s), noise / q) for s, q in zip(shapes, squares, strict=True)]
    )
    slope = matrix.T @ residuals(x) + prior * x
    wanted = x - np.linalg.solve(gram + np.diag(mu + prior), slope)
    optimizer = htf.levenberg_marquardt(shrink=shrink)
    final, _ = htf.descend(start, loss, optimizer, num_steps=1, record_every=1)
    found = np.concatenate([np.asarray(final.weights[k]).ravel() for k in trained])

    def objective(x: np.ndarray) -> float:
        return float(np.sum(residuals(x) ** 2) + np.sum(prior * x**2))

    if objective(wanted) > objective(x):  # of one of the eight cases
        assert (kind, share, shrink) == ("diagonal", 0.3, 0.0)
        wanted = x
    assert np.abs(found - wanted).max() < 1e-6
    for k in start.fixed:
        assert np.array_equal(final.weights[k], start.weights[k])


@pytest.mark.slow
def test_rows_of_a_jacobian_are_those_of_all_residuals() -> None:
    """One by one, where a loss can, and in passes over all."""
    start = factors()
    x, params_of = ravel_pytree(start)
    vectors = [np.random.default_rng(n).standard_normal((9, d)) for n, d in enumerate(DIMS)]
    losses = [completion(start), htf.sensing_loss(vectors, np.ones(9))]
    for loss in losses:
        residual_fn = residual_function(loss, start, None)
        assert residual_fn.row is not None
        one_by_one = jacobian(residual_fn, params_of, x)
        at_once = jacobian(residual_fn.whole, params_of, x)
        assert one_by_one.shape == (len(loss.targets), len(x))
        np.testing.assert_allclose(one_by_one, at_once, rtol=1e-12, atol=1e-12)
    total = residual_function(losses[0] + losses[1], start, None)
    assert total.row is None


@pytest.mark.slow
def test_a_sweep_solves_every_node_in_turn() -> None:
    """By NumPy's least squares, node after node."""
    start = factors()
    loss = completion(start)
    rows = tuple(np.asarray(loss.measurement.indices).T)
    weights = [np.asarray(w) for w in start.weights]

    def predicted(k: int, matrix: np.ndarray) -> np.ndarray:
        held = [jnp.asarray(w) for w in (*weights[:k], matrix, *weights[k + 1 :])]
        return np.asarray(htf.end_tensor(htf.Factors(tuple(held), TREE)))[rows]

    for k, weight in enumerate(weights):
        units = np.eye(weight.size).reshape(weight.size, *weight.shape)
        matrix = np.stack([predicted(k, unit) for unit in units], axis=1)
        # The least change among the best, as a small ridge leaves it.
        gap = np.asarray(loss.targets) - predicted(k, weight)
        change = np.linalg.lstsq(matrix, gap, rcond=1e-10)[0]
        weights[k] = weight + change.reshape(weight.shape)
    optimizer = htf.alternating_least_squares()
    final, _ = htf.descend(start, loss, optimizer, num_steps=1, record_every=1)
    for found, wanted in zip(final.weights, weights, strict=True):
        assert np.abs(np.asarray(found) - wanted).max() < 1e-6 * np.abs(wanted).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", SQUARES)
def test_chunks_equal_one_run_and_starts_run_together(name: str) -> None:
    optimizer, start = SQUARES[name], factors()
    loss = completion(start)
    whole, _ = htf.descend(start, loss, optimizer, num_steps=8, record_every=4)
    state = htf.start_descent(start, optimizer)
    for _ in range(2):
        state, _ = htf.continue_descent(state, loss, optimizer, num_steps=4, record_every=4)
    for one, other in zip(
        jax.tree.leaves(whole), jax.tree.leaves(state.params), strict=True
    ):
        assert np.array_equal(one, other)
    other = factors(seed=7)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), start, other)
    found, _ = jax.vmap(
        lambda f: htf.descend(f, loss, optimizer, num_steps=8, record_every=4)
    )(both)
    single, _ = htf.descend(other, loss, optimizer, num_steps=8, record_every=4)
    for copy, alone in zip(jax.tree.leaves(found), jax.tree.leaves(single), strict=True):
        assert np.abs(copy[1] - alone).max() < 1e-6


@pytest.mark.slow
def test_without_a_matrix() -> None:
    """Conjugate gradients reach what a decomposition does."""
    start = factors()
    loss = completion(start)
    finals = [
        htf.descend(
            start, loss, htf.levenberg_marquardt(matrix_free=free), num_steps=100,
            record_every=100,
        )[1].losses[-1]
        for free in (False, True)
    ]  # fmt: skip
    assert max(finals) < 1e-20 * float(loss(start))


def test_normal_equations_by_blocks() -> None:
    """J^T J and J^T r of a Jacobian that is never whole; no block divides its rows."""
    start = factors()
    loss = completion(start)
    flat, whole = trained_vector(start)
    found = loss.residual_vector(start)
    matrix = jacobian(loss.residual_vector, whole, flat)
    gram, slope = normal_equations(
        loss.residual_at, whole, flat, found, entries=7 * flat.size
    )
    assert found.size % 7
    assert np.abs(gram - matrix.T @ matrix).max() < 1e-13 * np.abs(gram).max()
    assert np.abs(slope - matrix.T @ found).max() < 1e-13 * np.abs(slope).max()


@pytest.mark.slow
def test_many_residuals_are_summed_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same steps as with a Jacobian that is held whole."""
    start = factors()
    loss = completion(start)

    def descended() -> np.ndarray:
        optimizer = htf.levenberg_marquardt()
        found = htf.descend(start, loss, optimizer, num_steps=8, record_every=1)
        return np.asarray(found[1].losses)

    at_once = descended()
    monkeypatch.setattr(levenberg_marquardt, "LARGEST_JACOBIAN", 1)
    monkeypatch.setattr(levenberg_marquardt, "BLOCK", 1000)
    by_blocks = descended()
    assert np.all(np.abs(by_blocks - at_once) < 1e-9 * at_once[0])
    assert at_once[-1] < 0.5 * at_once[0]


@pytest.mark.slow
def test_sums_populations_and_minibatches_have_residuals() -> None:
    start = factors()
    losses = [
        htf.population_loss(factors(seed=1)),
        completion(start) + 0.5 * htf.population_loss(factors(seed=1)),
    ]
    for loss in losses:
        vector = loss.residual_vector(start)
        assert abs(jnp.sum(vector**2) - loss(start)) < 1e-12 * loss(start)
        final, _ = htf.descend(
            start, loss, htf.levenberg_marquardt(), num_steps=100, record_every=100
        )
        assert jnp.sum(loss.residual_vector(final) ** 2) < 1e-20 * loss(start)
    drawn = htf.minibatch_loss(completion(start), 30)
    key = jax.random.key(0)
    vector = drawn.residual_vector(start, key)
    assert vector.shape == (30,)
    assert abs(jnp.sum(vector**2) - drawn(start, key)) < 1e-12
    htf.descend(
        start, drawn, htf.levenberg_marquardt(), num_steps=2, record_every=1, key=key
    )


class Valley:
    """Rosenbrock's, whose solution is (1, 1)."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.sum(self.residual_vector(x) ** 2)

    def residual_vector(self, x: jax.Array, key: object = None) -> jax.Array:
        del key
        return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def test_a_loss_of_ones_own_brings_residuals() -> None:
    start = jnp.array([-1.2, 1.0])
    final, _ = htf.descend(
        start, Valley(), htf.levenberg_marquardt(), num_steps=60, record_every=60
    )
    assert np.abs(np.asarray(final) - 1).max() < 1e-12


@pytest.mark.slow
def test_l_bfgs_goes_through_the_gradient_protocol() -> None:
    start = factors()
    loss = completion(start)
    with jax.numpy_dtype_promotion("standard"):  # optax adds integers of two widths
        _, trajectory = htf.descend(
            start, loss, optax.lbfgs(), num_steps=300, record_every=300
        )
    assert trajectory.losses[-1] < 1e-3 * trajectory.losses[0]


@pytest.mark.slow
def test_a_solution_stays_where_it_is() -> None:
    target = factors(seed=1)
    loss = completion(target)
    for optimizer in SQUARES.values():
        final, trajectory = htf.descend(
            target, loss, optimizer, num_steps=5, record_every=1
        )
        assert np.all(np.asarray(trajectory.losses) < 1e-28)
        for one, other in zip(final.weights, target.weights, strict=True):
            assert np.abs(one - other).max() < 1e-10


@pytest.mark.parametrize("name", SQUARES)
def test_losses_without_residuals_are_refused(name: str) -> None:
    start, optimizer = factors(), SQUARES[name]
    for loss, words in (
        (completion(start, penalty="l1"), "its penalty is 'l1'"),
        (lambda f: jnp.sum(f.weights[0] ** 2), "no sum of squares that is known"),
        (htf.scaled_loss(completion(start)), "no sum of squares that is known"),
    ):
        with pytest.raises(TypeError, match=words):
            htf.descend(start, loss, optimizer, num_steps=1, record_every=1)
    difference = completion(start) - htf.population_loss(start)
    with pytest.raises(ValueError, match="a term with the weight -1"):
        htf.descend(start, difference, optimizer, num_steps=1, record_every=1)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="`damping=0"):
        htf.levenberg_marquardt(damping=0.0)
    with pytest.raises(TypeError, match="`matrix_free`"):
        htf.levenberg_marquardt(matrix_free=1)  # pyright: ignore
    with pytest.raises(ValueError, match="`ridge=-1"):
        htf.alternating_least_squares(ridge=-1.0)
    optimizer = htf.alternating_least_squares()
    with pytest.raises(TypeError, match=r"`params` must be htfjax.Factors"):
        htf.descend(jnp.ones(2), Valley(), optimizer, num_steps=1, record_every=1)
