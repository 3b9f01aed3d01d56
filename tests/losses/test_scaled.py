"""Mantissas and powers of two: exact where nothing underflows, alive where all would."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests import helpers

LOSSES = ["completion", "huber", "sensing", "population"]


def loss_for(factors, kind, count=30, scale=1.0, dtype=np.float64):
    dims = htf.mode_dims(factors)
    if kind == "population":
        widths = (2,) * len(factors.tree.interior)
        target = helpers.random_factors(factors.tree.nested, dims, widths, 5, dtype=dtype)
        return htf.population_loss(target)
    targets = scale * np.random.default_rng(3).standard_normal(count)
    if kind == "sensing":
        vectors = [x.astype(dtype) for x in helpers.random_vectors(dims, count)]
        return htf.sensing_loss(vectors, targets)
    penalty = "huber" if kind == "huber" else "l2"
    indices = helpers.random_indices(dims, count)
    return htf.completion_loss(factors.tree, dims, indices, targets, penalty=penalty)


def tiny(nested, dims, width, std, dtype, seed=0):
    """The same Gaussian matrices in any dtype."""
    order = htf.ModeTree.from_nested(nested).order
    widths = (width,) * len(htf.ModeTree.from_nested(nested).interior)
    start = helpers.random_factors(nested, (dims,) * order, widths, seed)
    return jax.tree.map(lambda x: (std * x).astype(dtype), start)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(
    ("name", "root"), [("mixed5", "trained"), ("mixed5", "ones"), ("chain_between", "ones")]
)
def test_equals_the_plain_gradient(name, root, kind):
    """2^k times the mantissas is the gradient, and the value is the loss."""
    factors = helpers.random_factors(name, root=root)
    loss = loss_for(factors, kind)
    found = jax.jit(htf.scaled_value_and_grad)(loss, factors)
    value, wanted = jax.value_and_grad(loss)(factors)
    helpers.assert_close(found.value, value)
    size = max(float(jnp.max(jnp.abs(w))) for w in jax.tree.leaves(wanted))
    for g, w in zip(jax.tree.leaves(found.gradient), jax.tree.leaves(wanted), strict=True):
        helpers.assert_close(g * 2.0 ** float(found.log2_scale), w, size=size)
    top = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(found.gradient))
    assert 0.5 <= top < 1


def test_fixed_nodes_have_no_gradient():
    factors = dataclasses.replace(helpers.random_factors("mixed5"), fixed=(1, 5))
    found = htf.scaled_value_and_grad(loss_for(factors, "completion"), factors)
    assert all(not np.any(found.gradient.weights[k]) for k in (1, 5))
    assert all(np.any(found.gradient.weights[k]) for k in (0, 6))


@pytest.mark.parametrize("kind", ["completion", "sensing", "population"])
def test_float32_gradient_where_it_underflows(kind):
    """Order 16 at std 1e-2: float32 finds the direction that float64 finds."""
    nested = htf.perfect(16).nested
    narrow = tiny(nested, 3, 4, 1e-2, np.float32)
    wide = jax.tree.map(lambda x: x.astype(np.float64), narrow)
    loss = loss_for(narrow, kind)
    plain = jax.grad(loss)(narrow)
    assert all(not np.any(g) for g in jax.tree.leaves(plain))
    found = htf.scaled_value_and_grad(loss, narrow)
    wanted = jax.grad(loss)(wide)
    size = max(float(jnp.max(jnp.abs(w))) for w in jax.tree.leaves(wanted))
    assert 1e-80 < size < 1e-45
    for g, w in zip(jax.tree.leaves(found.gradient), jax.tree.leaves(wanted), strict=True):
        assert g.dtype == np.float32
        back = np.asarray(g, np.float64) * 2.0 ** float(found.log2_scale)
        helpers.assert_close(back, w, size=size, rtol=1e-4)


def test_float64_gradient_where_it_underflows():
    """Order 64 at std 1e-4 is 1e-508: finite, nonzero, and homogeneous in the factors."""
    small = tiny(htf.perfect(64).nested, 2, 3, 1e-4, np.float64)
    loss = htf.completion_loss(
        small.tree, 2, helpers.random_indices((2,) * 64, 20), np.ones(20)
    )
    one = htf.scaled_value_and_grad(loss, small)
    two = htf.scaled_value_and_grad(loss, jax.tree.map(lambda x: x / 2, small))
    # The gradient has degree 126 in the 127 matrices while the values are negligible.
    assert int(one.log2_scale) - int(two.log2_scale) == 126
    for a, b in zip(
        jax.tree.leaves(one.gradient), jax.tree.leaves(two.gradient), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert int(one.log2_scale) < -1500


@pytest.mark.slow
def test_vmap_over_starts():
    starts = [tiny(htf.perfect(16).nested, 2, 3, s, np.float32) for s in (1e-2, 1e-1)]
    loss = loss_for(starts[0], "completion")
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *starts)
    both = jax.vmap(lambda f: htf.scaled_value_and_grad(loss, f))(stacked)
    for row, start in enumerate(starts):
        alone = htf.scaled_value_and_grad(loss, start)
        assert int(both.log2_scale[row]) == int(alone.log2_scale)
        for a, b in zip(
            jax.tree.leaves(both.gradient), jax.tree.leaves(alone.gradient), strict=True
        ):
            helpers.assert_close(a[row], b, size=1.0, rtol=1e-5)


def test_zero_factors_and_zero_gradients():
    zero = jax.tree.map(jnp.zeros_like, helpers.random_factors("mixed5"))
    found = htf.scaled_value_and_grad(loss_for(zero, "completion"), zero)
    assert int(found.log2_scale) == 0
    assert all(not np.any(g) for g in jax.tree.leaves(found.gradient))
    assert np.isneginf(htf.magnitude(zero).log2_value)
    assert bool(htf.magnitude(zero).underflows)
    assert "about 0" in str(htf.magnitude(zero))


@pytest.mark.parametrize("name", ["mixed5", "chain_between", "flat3"])
def test_magnitude_is_the_rms_entry(name):
    factors = helpers.random_factors(name)
    tensor = np.asarray(htf.end_tensor(factors))
    found = htf.magnitude(factors)
    helpers.assert_close(found.log2_value, np.log2(np.sqrt(np.mean(tensor**2))))
    assert not bool(found.underflows)
    assert "held by" in str(found)


def test_magnitude_says_that_values_underflow():
    """Law A10's size, in float32, where every entry reads zero."""
    narrow = tiny(htf.perfect(16).nested, 3, 4, 1e-2, np.float32)
    found = htf.magnitude(narrow)
    wanted = 31 * math.log2(1e-2) + 15 * math.log2(4) / 2
    assert abs(float(found.log2_value) - wanted) < 8
    assert bool(found.underflows)
    assert "underflow to zero" in str(found)
    assert "scaled_loss" in str(found)
    assert not np.any(htf.entries(narrow, np.zeros((1, 16), int)))
    assert not bool(htf.magnitude(tiny(htf.perfect(16).nested, 3, 4, 1.0, np.float32))[3])
    # Held as values, but an optimizer squares the slopes.
    assert bool(htf.magnitude(tiny(htf.perfect(4).nested, 3, 4, 1e-4, np.float32))[3])


def escape(dtype, scaled, steps=900):
    """Descent by arc length from std 1e-2 towards a rank-two target of order 16."""
    nested = htf.perfect(16).nested
    target = tiny(nested, 2, 2, 1.0, np.float64, seed=4)
    size = float(jnp.sqrt(htf.squared_norm(target) / 2.0**16))
    target = dataclasses.replace(
        target, weights=(*target.weights[:-1], target.weights[-1] / size)
    )
    indices = helpers.random_indices((2,) * 16, 512, seed=1)
    loss = htf.completion_loss(target.tree, 2, indices, htf.entries(target, indices))
    start = jax.tree.map(
        lambda x: x.astype(np.float32).astype(dtype), tiny(nested, 2, 4, 1e-2, np.float64)
    )
    return htf.descend(
        start,
        htf.scaled_loss(loss) if scaled else loss,
        htf.group_rmsprop(2e-2, decay=0.0, eps=0.0),
        num_steps=steps,
        record_every=steps // 30,
    )


@pytest.mark.slow
def test_float32_follows_float64_through_the_escape():
    """Order 16 from std 1e-2, entries 1e-62: scaled float32 leaves zero as float64 does."""
    start = tiny(htf.perfect(16).nested, 2, 4, 1e-2, np.float32)
    assert bool(htf.magnitude(start).underflows)
    _, wide = escape(np.float64, scaled=False)
    _, narrow = escape(np.float32, scaled=True)
    losses = np.asarray(wide.losses)
    assert abs(losses[3] / losses[0] - 1) < 1e-6  # a plateau first
    assert losses[-1] < 0.7 * losses[0]  # and left at the end
    helpers.assert_close(narrow.losses, losses, rtol=1e-3)
    final, still = escape(np.float32, scaled=False, steps=60)
    assert not np.any(np.diff(still.losses))  # plain float32 never moves
    np.testing.assert_array_equal(final.weights[0], start.weights[0])


def test_scaled_loss_has_the_value_and_the_direction():
    factors = helpers.random_factors("mixed5")
    loss = loss_for(factors, "completion")
    (value, carried), gradient = jax.jit(htf.scaled_loss(loss).value_and_grad)(factors)
    assert carried == ()
    helpers.assert_close(value, loss(factors))
    helpers.assert_close(htf.scaled_loss(loss)(factors), loss(factors))
    wanted = htf.scaled_value_and_grad(loss, factors).gradient
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted), strict=True):
        helpers.assert_close(a, b, size=1.0)


@pytest.mark.parametrize("call", [htf.scaled_loss, htf.scaled_value_and_grad])
def test_other_losses_are_refused(call):
    more = [] if call is htf.scaled_loss else [helpers.random_factors("mixed5")]
    with pytest.raises(TypeError, match="`loss`"):
        call(htf.squared_norm, *more)


# Long in all; the examples in the docstrings run every time.
pytestmark = pytest.mark.slow
