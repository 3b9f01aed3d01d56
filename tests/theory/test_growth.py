"""Conservation under optimizers, balance of chains, growth at zero and when shared."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from htfjax.theory import oracle
from htfjax.theory.laws import wave, wave_slope
from tests import helpers

SCALE = 0.7
wave_gradient = jax.jit(jax.grad(wave))
wave_rates = jax.jit(lambda factors: htf.growth_rates(factors, wave))


@functools.cache
def balanced_start(name: str, root: Any, widths: tuple[int, ...]) -> htf.Factors:
    nested = helpers.TREES[name]
    tree, dims = htf.ModeTree.from_nested(nested), helpers.default_dims(nested)
    key = jax.random.key(2)
    return htf.balanced_factors(key, tree, dims, widths, SCALE, root=root)


# F2, F3: what a step conserves

LEARNING_RATE = 0.05
DECAY, EPS = 0.9, 1e-6
OPTIMIZERS = {
    "sgd": optax.sgd(LEARNING_RATE),
    "group_rmsprop": htf.group_rmsprop(LEARNING_RATE, DECAY, EPS),
    "adam": optax.adam(LEARNING_RATE),
}


def step_sizes(optimizer: str, grads: list[list[Any]]) -> list[float]:
    """The scalar step of every update, from the gradients so far."""
    if optimizer == "sgd":
        return [LEARNING_RATE] * len(grads)
    mean, steps = 0.0, []
    for t, weights in enumerate(grads, start=1):
        square = sum(np.sum(g**2) for g in weights if g is not None)
        mean = DECAY * mean + (1 - DECAY) * square
        steps.append(LEARNING_RATE / (math.sqrt(mean / (1 - DECAY**t)) + EPS))
    return steps


def gaps(children: oracle.Children, weights: Sequence[Any]) -> np.ndarray:
    """||w||^2 - ||w'||^2 for all pairs within components, ||W_u||^2 - ||W_v||^2 (F3)."""
    found = []
    for v in oracle.interior(children):
        for r in range(oracle.width_of(children, weights, v)):
            squares = [w @ w for w in oracle.component(children, weights, v, r)]
            found += [a - b for a, b in itertools.combinations(squares, 2)]
    squares = [np.sum(w**2) for w in weights if w is not None]
    return np.array(found + [a - b for a, b in itertools.combinations(squares, 2)])


def descend_and_look(
    name: str, root: str, optimizer: str, batch: int | None, num_steps: int
) -> tuple[list[np.ndarray], list[np.ndarray], list[float]]:
    """Changes of the gaps at each step, the same of the gradients, and the step sizes."""
    factors = helpers.random_factors(name, root=root)
    dims, rng = htf.mode_dims(factors), np.random.default_rng(4)
    indices = helpers.random_indices(dims, 30)
    loss = htf.completion_loss(factors.tree, dims, indices, rng.standard_normal(30))
    used = loss if batch is None else htf.minibatch_loss(loss, batch)
    key = None if batch is None else jax.random.key(5)
    slope = jax.jit(jax.grad(used))
    state = htf.start_descent(factors, OPTIMIZERS[optimizer])
    children, changes, grads = oracle.children_of(factors.tree.nested), [], []
    for t in range(num_steps):
        drawn = () if key is None else (jax.random.fold_in(key, t),)
        before = helpers.plain(state.params)[1]
        grads.append(helpers.plain(slope(state.params, *drawn))[1])
        state, _ = htf.continue_descent(
            state, used, OPTIMIZERS[optimizer], num_steps=1, record_every=1, key=key
        )
        after = helpers.plain(state.params)[1]
        changes.append(gaps(children, after) - gaps(children, before))
    squares = [gaps(children, g) for g in grads]
    return changes, squares, step_sizes(optimizer, grads)


F2_CASES = [
    ("mixed5", "trained", "sgd", None),
    ("caterpillar4", "ones", "sgd", 7),
    ("caterpillar4", "ones", "group_rmsprop", None),
    ("mixed5", "trained", "group_rmsprop", 7),
    ("chain_between", "trained", "group_rmsprop", None),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "root", "optimizer", "batch"), F2_CASES)
def test_f2_and_f3_discrete_conservation(name, root, optimizer, batch):
    """F2, F3: a step eta changes norm gaps by exactly eta^2 times the gradient's gaps."""
    changes, squares, steps = descend_and_look(name, root, optimizer, batch, 3)
    for change, square, eta in zip(changes, squares, steps, strict=True):
        assert np.max(np.abs(eta**2 * square)) > 1e-6
        helpers.assert_close(change, eta**2 * square, size=10.0)


@pytest.mark.slow
def test_f2_fails_for_adam():
    """F2: steps of their own for every coordinate break the law for any scalar eta."""
    with jax.numpy_dtype_promotion("standard"):  # optax's adam needs it
        changes, squares, _ = descend_and_look("mixed5", "trained", "adam", None, 2)
    change, square = changes[1], squares[1]
    best = (change @ square) / (square @ square)
    assert np.linalg.norm(change - best * square) > 0.1 * np.linalg.norm(change)


# F3, F4: balanced starts

WIDE_AND_NARROW = (5, 1, 7, 2, 3)


def assert_balanced(factors: htf.Factors, scale: float) -> None:
    children, weights = helpers.plain(factors)
    square = scale**2
    assert oracle.unbalancedness(children, weights) <= 1e-12 * square
    assert float(htf.unbalancedness(factors)) <= 1e-12 * square
    for weight in weights:  # F3: equal gaps, here zero
        if weight is not None:
            helpers.assert_close(np.linalg.norm(weight), scale)
    for v, sigma in htf.local_component_norms(factors).items():
        count = len(oracle.component(children, weights, v, 0))
        helpers.assert_close(np.sum(np.asarray(sigma) ** (2 / count)), square)


def chain_gaps(factors: htf.Factors) -> list[float]:
    """||W_c^T W_c - W_v W_v^T|| at one-child nodes, W_a^T W_a - W_b^T W_b at a bend."""
    children, weights = helpers.plain(factors)
    found = []
    for v in oracle.interior(children):
        grams = [weights[c].T @ weights[c] for c in children[v]]
        grams += [] if weights[v] is None else [weights[v] @ weights[v].T]
        if len(grams) == 2:
            found.append(float(np.linalg.norm(grams[0] - grams[1])))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("root", helpers.ROOTS)
@pytest.mark.parametrize("name", helpers.CHAINS)
def test_f4_chains_are_matrix_balanced(name, root):
    """B2, F4: on one-child chains and at a two-child root of ones the full condition."""
    widths = WIDE_AND_NARROW[: len(helpers.default_widths(helpers.TREES[name]))]
    factors = balanced_start(name, root, widths)
    assert_balanced(factors, SCALE)
    assert max(chain_gaps(factors)) <= 1e-12 * SCALE**2
    assert float(htf.unbalancedness(factors, kind="matrix")) <= 1e-12 * SCALE**2
    loose = helpers.random_factors(name, widths=widths, root=root)
    found = htf.unbalancedness(loose, kind="matrix")
    helpers.assert_close(found, max(chain_gaps(loose)))


@pytest.mark.slow
def test_f4_balanced_factors_are_random_and_scale():
    """F12: other keys give other norms; `scale` multiplies, zero included."""
    tree, dims, widths = htf.perfect(4), (2, 3, 4, 2), (3, 2, 4)
    draw = jax.jit(lambda key, s: htf.balanced_factors(key, tree, dims, widths, s))
    one, other = (draw(jax.random.key(k), 1.0) for k in (0, 1))
    sigma = [np.asarray(htf.local_component_norms(f)[6]) for f in (one, other)]
    assert np.ptp(sigma[0]) > 1e-2
    assert not np.allclose(np.sort(sigma[0]), np.sort(sigma[1]), rtol=1e-3)
    for scale in (0.0, 1e-3):
        weights = [scale * np.asarray(w) for w in one.weights]
        for found, wanted in zip(
            draw(jax.random.key(0), scale).weights, weights, strict=True
        ):
            helpers.assert_close(found, wanted)


# F5, F7: growth rates


def rates(factors: htf.Factors) -> dict[int, np.ndarray]:
    return {v: np.asarray(rate) for v, rate in wave_rates(factors).items()}


def flowed(factors: htf.Factors, time: float) -> list[Any]:
    """Matrices after one Euler step of gradient flow."""
    grads = helpers.plain(wave_gradient(factors))[1]
    both = zip(helpers.plain(factors)[1], grads, strict=True)
    return [None if w is None else w - time * g for w, g in both]


def with_zeros(factors: htf.Factors, v: int, r: int, count: int) -> htf.Factors:
    """The first `count` vectors of LC(v, r), child columns first, set to zero."""
    weights = helpers.plain(factors)[1]
    kids = factors.tree.children[v]
    for c in kids[:count]:
        weights[c][:, r] = 0.0
    if count > len(kids):
        weights[v][r] = 0.0
    return helpers.rebuilt(factors, weights)


F7_CASES = [("mixed5", "trained", 5), ("mixed5", "trained", 7), ("flat3", "ones", 3)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "root", "v"), F7_CASES)
def test_f7_one_zero_vector_leaves_zero(name, root, v):
    """F7: with one zero vector the rate is the one-sided difference of sigma."""
    factors = with_zeros(helpers.random_factors(name, root=root), v, 1, 1)
    found = rates(factors)
    assert all(np.all(np.isfinite(rate)) for rate in found.values())
    assert float(htf.local_component_norms(factors)[v][1]) == 0
    quotient = []
    for h in (1e-5, 5e-6):
        moved = flowed(factors, h)
        quotient.append(oracle.sigma(factors.tree.children, moved, v)[1] / h)
    expected = 2 * quotient[1] - quotient[0]  # the error of first order cancels
    assert expected > 1e-3
    assert found[v][1] == pytest.approx(expected, rel=1e-7)


def zero_vectors(factors: htf.Factors, moved: list[Any], v: int) -> list[np.ndarray]:
    """What becomes of the vectors of LC(v, 1) that were zero."""
    children, weights = helpers.plain(factors)
    before, after = (oracle.component(children, ws, v, 1) for ws in (weights, moved))
    return [w for old, w in zip(before, after, strict=True) if not np.any(old)]


@pytest.mark.parametrize(("name", "root", "v"), F7_CASES)
@pytest.mark.parametrize("count", [2, "all"])
def test_f7_more_zero_vectors_stay(name, root, v, count):
    """F7: two or more zero vectors give rate zero and stay exactly zero."""
    factors = helpers.random_factors(name, root=root)
    kids = factors.tree.children[v]
    total = len(kids) + (factors.weights[v] is not None)
    factors = with_zeros(factors, v, 1, total if count == "all" else count)
    found = rates(factors)
    assert all(np.all(np.isfinite(rate)) for rate in found.values())
    assert found[v][1] == 0
    assert np.any(found[v][[0, 2]] != 0) if found[v].size > 2 else found[v][0] != 0
    moved = flowed(factors, 0.1)
    assert all(np.all(w == 0) for w in zero_vectors(factors, moved, v))


def test_f7_all_zero_factors_have_finite_rates():
    """F7: at theta = 0 every rate is zero, not NaN."""
    factors = jax.tree.map(jnp.zeros_like, helpers.random_factors("mixed5"))
    for rate in rates(factors).values():
        np.testing.assert_array_equal(rate, np.zeros(rate.shape))


# Growth rates of other parameters

SHARED_TREE = htf.perfect(4)


def share(params: dict[str, jax.Array]) -> htf.Factors:
    """One matrix per level of a binary tree: the convolutional arithmetic circuit."""
    leaf, inner, top = params["leaf"], params["inner"], params["top"]
    return htf.Factors(tree=SHARED_TREE, weights=(leaf,) * 4 + (inner,) * 2 + (top,))


def test_growth_rates_of_shared_weights():
    """F9: under sharing a matrix moves with the SUM of its copies' gradients."""
    rng = np.random.default_rng(8)
    shapes = {"leaf": (3, 2), "inner": (2, 4), "top": (4, 1)}
    params = {k: jnp.asarray(rng.standard_normal(shape)) for k, shape in shapes.items()}
    found = jax.jit(lambda p: htf.growth_rates(p, lambda q: wave(share(q)), share))(params)

    children, weights = helpers.plain(share(params))
    slope = wave_slope(oracle.end_tensor(children, weights))
    apart = oracle.weight_gradients(children, weights, slope)
    leaf, inner = sum(apart[:4]), sum(apart[4:6])
    velocity = [-np.asarray(g) for g in [leaf] * 4 + [inner] * 2 + [apart[6]]]
    for v, sigma in htf.local_component_norms(share(params)).items():
        expected = []
        for r in range(sigma.size):
            vectors = oracle.component(children, weights, v, r)
            speeds = oracle.component(children, velocity, v, r)
            growth = [w @ s / (w @ w) for w, s in zip(vectors, speeds, strict=True)]
            expected.append(float(sigma[r]) * sum(growth))
        helpers.assert_close(found[v], expected, rtol=1e-11)


def test_growth_rates_count_trained_vectors_only():
    """Fixed nodes neither move nor count, as if their vectors had norm one."""
    free = helpers.random_factors("mixed5")
    factors = htf.Factors(tree=free.tree, weights=free.weights, fixed=(0, 6))
    children, weights = helpers.plain(factors)
    slope = wave_slope(oracle.end_tensor(children, weights))
    grads = oracle.weight_gradients(children, weights, slope)
    found = rates(factors)
    for v in oracle.interior(children):
        sigma = oracle.sigma(children, weights, v, factors.fixed)
        helpers.assert_close(htf.local_component_norms(factors)[v], sigma)
        expected = []
        for r in range(sigma.size):
            vectors = oracle.component(children, weights, v, r, factors.fixed)
            slopes = oracle.component(children, grads, v, r, factors.fixed)
            growth = [w @ g / (w @ w) for w, g in zip(vectors, slopes, strict=True)]
            expected.append(-sigma[r] * sum(growth))
        helpers.assert_close(found[v], expected, rtol=1e-11)
