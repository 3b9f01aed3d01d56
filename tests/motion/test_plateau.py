"""The wait on the plateau: a closed form, the flow itself, homogeneity, bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests import helpers, mistakes

CUBE = (3, 3, 3)
CHAIN = htf.ModeTree.from_nested(((0,), 1))


def factors():
    """Three trained matrices and a root of ones."""
    return htf.gaussian_factors(jax.random.key(0), htf.flat(3), 3, 2, 1.0, root="ones")


def pull(tensor):
    """L(W) = -<A, W>."""

    def loss(f):
        w = htf.end_tensor(f)
        return -jnp.sum(jnp.asarray(tensor, w.dtype) * w)

    return loss


@pytest.mark.parametrize(
    "tree", [pytest.param(htf.flat(3), id="flat", marks=pytest.mark.slow),
             pytest.param(CHAIN, id="chain")],
)  # fmt: skip
def test_rank_one_factors_wait_as_the_closed_form_says(tree):
    """F10, with a root of ones (which does not count) and with a trained one."""
    rng = np.random.default_rng(0)
    for root in ("trained", "ones"):
        leaves = [rng.standard_normal((3, 1)) for _ in range(tree.order)]
        leaves = [v / np.linalg.norm(v) for v in leaves]
        inner = [np.ones((1, 1))] * (len(tree.interior) - 1)
        last = None if root == "ones" else np.ones((1, 1))
        unit = htf.Factors(tree=tree, weights=(*leaves, *inner, last))
        unit = jax.tree.map(jnp.asarray, unit)
        count, start = htf.theory.degree(unit), jax.tree.map(lambda w: 0.3 * w, unit)
        loss = pull(2.5 * htf.end_tensor(unit))
        wanted = htf.theory.rank_one_blow_up_time(0.3, 2.5, count)
        assert float(htf.plateau_wait(start, loss)) == pytest.approx(
            float(wanted), rel=1e-4
        )
        found = htf.plateau_wait(start, loss, rtol=1e-9)
        assert float(found) == pytest.approx(float(wanted), rel=1e-8)


@pytest.mark.slow
def test_a_flow_leaves_zero_when_predicted():
    """Measured over predicted goes to one with the scale."""
    key = jax.random.key
    target = 2.0 * htf.end_tensor(htf.gaussian_factors(key(0), htf.flat(3), 3, 2, 1.0))

    def loss(f):
        return jnp.sum(jnp.square(htf.end_tensor(f) - target)) / 2

    ratios = []
    for std in (1e-2, 1e-3):
        start = htf.gaussian_factors(key(2), htf.flat(3), 3, 4, std, root="ones")
        wait = htf.plateau_wait(start, loss)
        _, path = htf.gradient_flow(
            start, loss, times=jnp.linspace(0.9, 1.2, 301) * wait, rtol=1e-8, atol=0.0,
            observe=htf.squared_norm, interpolate=True, stop_loss=0.3 * loss(start),
        )  # fmt: skip
        # Half of the way in the square, where the rise is steep.
        sizes, times = np.asarray(path.observed), np.asarray(path.times)
        ratios.append(np.interp(0.5 * sizes[-1], sizes, times) / float(wait))
    assert abs(ratios[1] - 1) < 3e-3
    assert abs(ratios[1] - 1) < 0.2 * abs(ratios[0] - 1)


@pytest.mark.slow
def test_the_wait_grows_as_a_power_of_the_scale():
    """With data at a leaf, which does not count, and from grouped factors, in float32."""
    free = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 3, 2, 1.0)
    start = dataclasses.replace(free, fixed=(1,))
    loss = pull(np.random.default_rng(1).standard_normal(CUBE))
    wait = htf.plateau_wait(start, loss)
    moved = [w if k == 1 else 1e-3 * w for k, w in enumerate(start.weights)]
    small = dataclasses.replace(start, weights=tuple(moved))
    helpers.assert_close(htf.plateau_wait(small, loss), 1e3 * wait, rtol=1e-9)
    grouped = htf.group(jax.tree.map(lambda w: w.astype(jnp.float32), start))
    found = jax.jit(lambda f: htf.plateau_wait(f, loss))(grouped)
    assert found.dtype == jnp.float32
    helpers.assert_close(found, wait, rtol=1e-3)


@pytest.mark.slow
def test_losses_may_bring_their_gradient():
    """No second derivatives are asked for."""

    class Own:
        """A loss that is not differentiated."""

        def value_and_grad(self, params, key):
            value, grads = jax.value_and_grad(pull(np.ones(CUBE)))(params)
            return (value, ()), grads

    expected = htf.plateau_wait(factors(), pull(np.ones(CUBE)))
    assert float(htf.plateau_wait(factors(), Own())) == float(expected)


@pytest.mark.slow
def test_steps_that_do_not_suffice_predict_nothing():
    loss = pull(np.ones(CUBE))
    assert np.isinf(htf.plateau_wait(factors(), loss, max_steps=1))


ONES = pull(np.ones(CUBE))
TWO = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 1.0, root="ones")
ZERO = jax.tree.map(jnp.zeros_like, factors())


def norms_of(f):
    """Sum of the local component norms of a node, of the degree of the tensor."""
    return jnp.sum(htf.local_component_norms(f)[3])


@pytest.mark.slow
def test_terms_of_higher_order_are_let_through():
    """Squares of norms are of twice the degree; for small data the loss bends early."""
    leaves = [np.linspace(0.5, 1, 3)[:, None] for _ in range(3)]
    unit = [jnp.asarray(v / np.linalg.norm(v), jnp.float32) for v in leaves]
    start = htf.Factors(tree=htf.flat(3), weights=(*unit, None))
    target = 1e-4 * htf.end_tensor(start)

    def bent(f):
        square = jnp.sum(jnp.square(htf.end_tensor(f) - target)) / 2
        return square + jnp.square(norms_of(f))

    wanted = htf.theory.rank_one_blow_up_time(1.0, 1e-4, 3)
    helpers.assert_close(htf.plateau_wait(start, bent), wanted, rtol=1e-3)


def decay(f):
    """Sum of squared weights."""
    return sum(jnp.sum(jnp.square(w)) for w in f.weights if w is not None)


MISTAKES = [
    ("norms", lambda: htf.plateau_wait(factors(), lambda f: ONES(f) + 9 * norms_of(f)),
     ValueError, "`loss` function end tensor penalties"),
    ("norms_in_a_sum", lambda: htf.plateau_wait(factors(), htf.completion_loss(
        htf.flat(3), 3, [[0, 1, 2]], [1.0]) + norms_of),
     ValueError, "`loss` function end tensor penalties"),
    ("decay", lambda: htf.plateau_wait(
        factors(), lambda f: ONES(f) + 1e-3 * decay(f)),
     ValueError, "`loss` function end tensor penalties"),
    ("two", lambda: htf.plateau_wait(TWO, pull(np.ones((3, 3)))),
     ValueError, "`factors` 2 trained matrices exponential"),
    ("fixed", lambda: htf.plateau_wait(
        dataclasses.replace(factors(), fixed=(0, 1)), ONES),
     ValueError, "`factors` 1 trained matrix fixed [0, 1] once"),
    ("no_force", lambda: htf.plateau_wait(factors(), lambda f: htf.squared_norm(f)),
     ValueError, "`loss` gradient zero tensor"),
    ("not_finite", lambda: htf.plateau_wait(
        factors(), lambda f: jnp.nan * htf.end_tensor(f).sum()),
     ValueError, "`loss` gradient not finite"),
    ("zero", lambda: htf.plateau_wait(ZERO, ONES), ValueError, "`factors` all zero"),
    ("scaled", lambda: htf.plateau_wait(factors(), htf.scaled_loss(mistakes.completion())),
     TypeError, "`loss` `scaled_loss` length"),
    ("rtol", lambda: htf.plateau_wait(factors(), ONES, rtol=1e-16),
     ValueError, "`rtol=1e-16`"),
    ("max_steps", lambda: htf.plateau_wait(factors(), ONES, max_steps=0),
     ValueError, "`max_steps=0`"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)


@pytest.mark.slow
def test_wide_starts_end_in_few_steps() -> None:
    """Forces grow by orders as directions align: on their first clock 64 were too few."""
    tree, dims = htf.perfect(4), (8,) * 4
    target = htf.gaussian_factors(jax.random.key(1), tree, dims, 5, 1.0, dtype=jnp.float32)
    indices = htf.random_indices(jax.random.key(2), dims, 2048)
    loss = htf.completion_loss(tree, dims, indices, htf.entries(target, indices))
    start = htf.gaussian_factors(jax.random.key(0), tree, dims, 64, 0.01, dtype=jnp.float32)
    few, many = (htf.plateau_wait(start, loss, max_steps=n) for n in (32, 256))
    assert jnp.isfinite(few)
    assert few == many
