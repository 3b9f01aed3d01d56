"""Laws of the regularizer, its two forms, and patches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from htfjax import locality
from htfjax.locality import Patch

P, Q = Patch(1, 1, 3, 3), Patch(5, 6, 2, 3)


def images(count: int = 5) -> jax.Array:
    """Random images (count, 8, 10, 2)."""
    return jax.random.normal(jax.random.key(0), (count, 8, 10, 2))


def outside(x: jax.Array) -> jax.Array:
    """A nonlinear function of everything but Q."""
    hole = x.at[:, 5:7, 6:9].set(0.0)
    return jnp.sum(jnp.sin(hole + 0.3 * jnp.cumsum(hole, axis=1)), axis=(1, 2, 3))


def inside(x: jax.Array) -> jax.Array:
    """A nonlinear function of Q alone, never zero."""
    return 2 + jnp.tanh(jnp.sum(x[:, 5:7, 6:9] ** 2, axis=(1, 2, 3)))


def coupled(x: jax.Array) -> jax.Array:
    """A function in which the content of Q turns the slope of every other pixel."""
    phase = jnp.sum(x[:, 5:7, 6:9], axis=(1, 2, 3), keepdims=True)
    return jnp.sum(jnp.sin(2 * x + phase), axis=(1, 2, 3))


FORMS = [locality.input_gradient_change, locality.training_gradient_change]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_g1_separable_functions_read_one(form: Any) -> None:
    """G1: 1 for f = g h and f = g + h, below 1 and at least 0 for a coupled one."""
    x = images()
    product = form(lambda x: outside(x) * inside(x), x, P, Q)
    added = form(lambda x: outside(x) + inside(x), x, P, Q)
    np.testing.assert_allclose([product, added], 1.0, rtol=1e-12)
    assert 0 <= form(coupled, x, P, Q) < 0.999


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_g1_scale_and_shift_do_not_matter(form: Any) -> None:
    """G1: invariant to f -> c f and f -> f + const."""
    x = images()
    value = form(coupled, x, P, Q)
    np.testing.assert_allclose(form(lambda x: -3e5 * coupled(x), x, P, Q), value, rtol=1e-9)
    np.testing.assert_allclose(form(lambda x: coupled(x) + 7, x, P, Q), value, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_zero_gradients_are_safe(form: Any) -> None:
    """A function that does not see P shows no interaction: 1, with derivative zero."""
    x = images()

    def blind(scale: jax.Array) -> jax.Array:
        return form(lambda x: scale * inside(x), x, P, Q)

    value, slope = jax.value_and_grad(blind)(jnp.array(2.0))
    assert (float(value), float(slope)) == (1.0, 0.0)


@pytest.mark.slow
def test_both_forms_have_one_gradient() -> None:
    """The cheap form equals the definition in value and derivative, also under jit."""
    x = images()

    def change(form: Any, w: jax.Array) -> jax.Array:
        return form(lambda x: jnp.sum(jnp.tanh(x * w) * coupled(x)[:, None, None, None],
                                      axis=(1, 2, 3)), x, P, Q)  # fmt: skip

    w = jax.random.normal(jax.random.key(1), (1, 8, 10, 2))
    (a, da), (b, db) = (
        jax.jit(jax.value_and_grad(lambda w, form=form: change(form, w)))(w)
        for form in FORMS
    )
    np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(da, db, rtol=1e-9, atol=1e-14)


def test_swap_takes_the_next_image() -> None:
    """Inside Q the content of the next image of the batch, elsewhere one's own."""
    x = images()
    swapped = locality.swap_patch(x, Q)
    inner = (slice(None), slice(5, 7), slice(6, 9))
    np.testing.assert_array_equal(swapped[inner], jnp.roll(x, -1, axis=0)[inner])
    kept = jnp.ones(x.shape, bool).at[inner].set(False)
    np.testing.assert_array_equal(swapped[kept], x[kept])


@pytest.mark.parametrize(
    ("patch", "other"),
    [(Patch(6, 1, 3, 3), Q), (P, Patch(5, 9, 3, 3)), (Patch(4, 5, 3, 3), Q)],
    ids=["below the image", "right of the image", "overlapping"],
)
def test_bad_patches(patch: Patch, other: Patch) -> None:
    """Outside the image, or on each other."""
    with pytest.raises(ValueError, match="patch"):
        locality.input_gradient_change(coupled, images(), patch, other)
