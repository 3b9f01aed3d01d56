"""Losses of half precision data and factors are computed in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf

PIXELS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def half(values) -> np.ndarray:
    return np.asarray(values, np.float16)


def matrix(dtype=jnp.float32) -> htf.Factors:
    return htf.identity_factors(htf.flat(2), 2, 2, 1.0, root="ones", dtype=dtype)


@pytest.mark.parametrize("to_half", [half, lambda x: jnp.asarray(x, jnp.float16)])
def test_half_precision_targets_are_those_of_float32(to_half):
    """A thousand readings near 300: their squares and sums are beyond float16."""
    indices = np.tile(PIXELS, (250, 1))
    readings = half(np.random.default_rng(0).normal(300, 1, 1000))

    def value_and_grad(targets):
        loss = htf.completion_loss(htf.flat(2), 2, indices, targets)
        return jax.value_and_grad(loss)(matrix())

    found = value_and_grad(to_half(readings))
    wanted = value_and_grad(readings.astype(np.float32))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(a, b)
    value, gradient = found
    residuals = np.eye(2).ravel()[np.tile(np.arange(4), 250)] - readings.astype(float)
    np.testing.assert_allclose(value, np.mean(np.square(residuals)), rtol=1e-6)
    assert np.isfinite(gradient.weights[0]).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_twenty_thousand_readings_of_an_entry_are_counted(dtype):
    indices = np.concatenate([np.tile([[0, 0]], (20_000, 1)), PIXELS[1:]])
    targets = half([2.0] * 20_000 + [0.0, 0.0, 1.0])
    loss = htf.completion_loss(htf.flat(2), 2, indices, targets)
    assert loss.dense is not None
    np.testing.assert_array_equal(loss.dense.counts, [20_000, 1, 1, 1])
    # (1 - 2)^2 at all readings of the first entry, nothing elsewhere.
    np.testing.assert_allclose(loss(matrix(dtype)), 20_000 / 20_003, rtol=1e-6)


@pytest.mark.parametrize("penalty", ["l2", "l1", "huber"])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_losses_of_half_precision_factors_are_in_float32(dtype, penalty):
    """A target of 7e4 is beyond float16, its square too: the loss is right all the same."""
    data = {"targets": [7e4], "penalty": penalty, "threshold": 1.0}
    ones = [np.array([[1.0, 0.0]])] * 2
    losses = [
        htf.completion_loss(htf.flat(2), 2, [[0, 0]], **data),
        htf.sensing_loss(ones, **data),
        htf.matrix_sensing_loss([np.diag([1.0, 0.0])], **data),
    ]
    gap = 7e4 - 1
    wanted = {"l2": gap**2, "l1": gap, "huber": gap - 0.5}[penalty]
    for loss in losses:
        value = loss(matrix(dtype))
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
        assert htf.residuals(loss, matrix(dtype)).dtype == jnp.float32


def test_half_precision_data_of_all_losses_become_float32():
    vectors = htf.sensing_loss([half(np.ones((2, 2)))] * 2, half([1, 2]))
    assert {x.dtype for x in vectors.measurement.vectors} == {np.dtype(np.float32)}
    assert htf.matrix_sensing_loss(
        half(np.ones((2, 2, 2))), half([1, 2])
    ).measurement.matrices.dtype == (np.float32)
    assert htf.effective_rank(half([2.0, 1.0])).dtype == np.float32
    assert htf.penalize(half([300.0])) == 90_000
