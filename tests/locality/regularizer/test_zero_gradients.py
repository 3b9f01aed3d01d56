"""Networks that do not see a patch: no interaction, counted, warned of, never rewarded."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from htfjax import locality
from htfjax.locality import Patch
from htfjax.locality.regularizer.cosine import mean_abs_cosine

P, Q = Patch(0, 0, 2, 2), Patch(3, 3, 2, 2)
X = jax.random.normal(jax.random.key(0), (4, 6, 6, 1))
Y = np.array([0, 1, 1, 0])


def outside_p(scale: Any, x: jax.Array) -> jax.Array:
    """A function of all but P."""
    return jnp.sum(jnp.sin(scale * x.at[:, :2, :2].set(0.0)), axis=(1, 2, 3))


def constant(scale: Any, x: jax.Array) -> jax.Array:
    """A function of nothing."""
    return jnp.sum(0 * x, axis=(1, 2, 3)) + scale


def coupled(scale: Any, x: jax.Array) -> jax.Array:
    """A function in which all pixels meet."""
    total = jnp.sum(x, axis=(1, 2, 3), keepdims=True)
    return jnp.sum(jnp.sin(scale * x + total), axis=(1, 2, 3))


def pixelwise(scale: Any, x: jax.Array) -> jax.Array:
    """A function that sees every pixel, and no two of them together."""
    return jnp.sum(jnp.sin(scale * x), axis=(1, 2, 3))


def half_blind(scale: Any, x: jax.Array) -> jax.Array:
    """As `coupled`, but images 1 and 3 of the batch do not count."""
    return coupled(scale, x) * jnp.array([1.0, 0.0, 1.0, 0.0])


def change(form: Any, net: Any, scale: Any) -> jax.Array:
    return form(functools.partial(net, scale), X, P, Q)


FORMS = [locality.input_gradient_change, locality.training_gradient_change]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("net", [outside_p, constant])
def test_what_does_not_see_the_patch_reads_one(form: Any, net: Any) -> None:
    """The value of no interaction, its derivatives zero, also under jit."""
    slopes = jax.jit(jax.value_and_grad(lambda s: change(form, net, s)))(2.0)
    assert tuple(map(float, slopes)) == (1.0, 0.0)
    if form is locality.input_gradient_change:
        assert float(jax.grad(jax.grad(lambda s: change(form, net, s)))(2.0)) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_each_image_counts_by_itself(form: Any) -> None:
    """Images without a gradient count one; the derivative is that of the others."""
    both, slope = jax.value_and_grad(lambda s: change(form, half_blind, s))(2.0)

    def seen(s: Any) -> jax.Array:
        swapped = locality.swap_patch(X, Q)
        g, h = (
            jax.grad(lambda x: jnp.sum(half_blind(s, x)))(x)[::2, :2, :2].reshape(2, -1)
            for x in (X, swapped)
        )
        norms = jnp.linalg.norm(g, axis=1) * jnp.linalg.norm(h, axis=1)
        return (2 + jnp.sum(jnp.abs(jnp.sum(g * h, axis=1)) / norms)) / 4

    wanted, wanted_slope = jax.value_and_grad(seen)(2.0)
    np.testing.assert_allclose([both, slope], [wanted, wanted_slope], rtol=1e-9)
    assert both > change(form, coupled, 2.0)


@pytest.mark.parametrize(
    ("net", "count", "uncoupled"),
    [(outside_p, 4, 4), (half_blind, 2, 2), (pixelwise, 0, 4), (coupled, 0, 0)],
)
@pytest.mark.parametrize("batch_norm", ["reference", "split", "frozen"])
def test_such_images_are_counted(
    net: Any, count: int, uncoupled: int, batch_norm: Any
) -> None:
    """By the training step, in every form of it; and blindness costs the most."""

    def apply(scale: Any, statistics: Any, x: Any, *, train: bool, key: Any) -> Any:
        if batch_norm == "frozen" and net is half_blind and len(x) == 8:
            first, second = jnp.split(x, 2)  # both halves of one pass
            return jnp.concatenate([net(scale, first), net(scale, second)]), statistics
        return net(scale, x), statistics

    for two_stage in (True, False):
        value, (_, measured) = locality.regularized_loss(
            apply, lambda z: jnp.mean(z) * 0, jnp.array(2.0), {}, X, (P, Q),
            coefficient=1.0, batch_norm=batch_norm, two_stage=two_stage,
        )  # fmt: skip
        assert int(measured.unseen) == count
        assert int(measured.uncoupled) == uncoupled
        assert float(value) == float(measured.change)
        assert (float(value) > 1 - 1e-12) == (uncoupled == 4)


def test_blindness_is_warned_of() -> None:
    """A value of one, or one that is not a number."""
    blind = change(locality.input_gradient_change, outside_p, 2.0)
    with pytest.warns(UserWarning, match="does not see the patch at all"):
        assert locality.warn_if_blind(blind)
    with pytest.warns(UserWarning, match="starts at nan: input gradients are not finite"):
        assert locality.warn_if_blind(jnp.nan)
    assert not locality.warn_if_blind(0.94)


@pytest.mark.slow
@pytest.mark.parametrize(("net", "unseen"), [(outside_p, 1.0), (pixelwise, 0.0)])
def test_training_records_the_share(net: Any, unseen: float) -> None:
    """Shares of images without a gradient, and without an interaction, of each epoch."""

    def apply(params: Any, statistics: Any, x: Any, *, train: bool, key: Any) -> Any:
        return net(params, x), statistics

    data = locality.ArrayExamples(X, Y)
    loss = locality.training_loss(apply, data, coefficient=0.5, batch_size=2,
                                  patches=lambda key: (P, Q))  # fmt: skip
    optimizer = locality.hold(optax.sgd(0.1))
    state = htf.start_descent(locality.start_training(jnp.array(0.5), {}, data), optimizer)
    _, trajectory = htf.continue_descent(
        state, loss, optimizer, num_steps=4, record_every=2,
        observe=locality.epoch_records, key=jax.random.key(1),
    )  # fmt: skip
    for name, share in (("unseen", unseen), ("uncoupled", 1.0)):
        np.testing.assert_array_equal(trajectory.observed[name], [np.nan, share, share])
    np.testing.assert_allclose(trajectory.observed["penalty"], [np.nan, 1.0, 1.0])


@pytest.mark.slow
def test_a_turn_that_is_rounding_is_none() -> None:
    """In float32: directions 1e-5 apart are one, 1e-2 apart are two."""
    g = jnp.asarray([[3.0, 4.0], [3.0, 4.0], [-3.0, -4.0]], jnp.float32)
    turns = np.array([[1e-5], [1e-2], [1e-5]]) * [[-4.0, 3.0]]
    _, counts = mean_abs_cosine(g, g + jnp.asarray(turns, jnp.float32))
    assert list(map(int, counts)) == [0, 2]


@pytest.mark.slow
def test_measures_of_blind_networks() -> None:
    """`mean_change` and the curve over distances read one, and the curve counts."""

    def apply(params: Any, statistics: Any, x: Any, *, train: bool, key: Any) -> Any:
        return constant(params, x), statistics

    data = locality.ArrayExamples(X, Y)
    key = jax.random.key(0)
    found = locality.mean_change(apply, 1.0, {}, data, locality.EitherOrder(P, Q), key=key)
    assert float(found) == 1.0
    for net, count in ((constant, 4), (coupled, 0)):
        curve = locality.gradient_change_by_distance(
            key, functools.partial(net, 2.0), X, 2, (0, 2), pairs=2
        )
        np.testing.assert_array_equal(curve.unseen, np.full((2, 2), count))
        assert (np.asarray(curve.change) == 1.0).all() == (net is constant)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1.0, 1e30])
def test_tiny_gradients_are_no_zeros(scale: float) -> None:
    """Sizes at which squares or products underflow in float32 have a direction."""
    g = jnp.asarray(np.array([[3.0, 4.0]]) * scale, jnp.float32)
    h = jnp.asarray(np.array([[4.0, 3.0]]) * scale, jnp.float32)
    value, (zeros, _) = mean_abs_cosine(g, h)
    if scale > 1e-40:  # below, XLA on CPUs takes numbers for zero
        assert (float(value), int(zeros)) == (pytest.approx(0.96), 0)
    else:
        assert np.isfinite(value)


def test_gradients_that_are_not_finite_stay_so() -> None:
    """NaN or infinity beside a zero row is not taken for blindness."""
    zero = jnp.zeros((1, 3))
    for bad in (jnp.nan, jnp.inf):
        value, count = mean_abs_cosine(zero, jnp.full((1, 3), bad))
        assert bool(jnp.isnan(value))
        assert list(map(int, count)) == [0, 0]


def test_one_number_is_refused_by_name() -> None:
    """|cos| of two numbers is 1 whatever the network does, whatever its receptive field."""
    one = Patch(0, 0, 1, 1)
    net = functools.partial(coupled, 2.0)
    for form in FORMS:
        with pytest.raises(ValueError, match=r"`patch` holds a single number"):
            form(net, X, one, Q)
    with pytest.raises(ValueError, match=r"`patch_size` holds a single number"):
        locality.gradient_change_by_distance(jax.random.key(0), net, X, 1, (0,))
    two = jnp.concatenate([X, jnp.cos(X)], axis=3)  # two channels have a direction
    assert locality.input_gradient_change(net, two, one, Q) < 1


@pytest.mark.slow
def test_labels_closed_over_under_jit() -> None:
    """Checked where they are concrete, used where they are traced."""

    def two(x: jax.Array) -> jax.Array:
        return jnp.stack([coupled(2.0, x), jnp.sum(x, axis=(1, 2, 3))], axis=1)

    def read(x: jax.Array, labels: Any) -> jax.Array:
        return locality.input_gradient_change(two, x, P, Q, labels=labels)

    wanted = read(X, Y)
    for labels in (Y, jnp.asarray(Y), Y.tolist(), Y.astype(float)):
        np.testing.assert_allclose(
            jax.jit(lambda x, labels=labels: read(x, labels))(X), wanted, rtol=1e-12
        )
    np.testing.assert_allclose(jax.jit(read)(X, jnp.asarray(Y)), wanted, rtol=1e-12)
    with pytest.raises(ValueError, match=r"`labels\[1\]` is 2; labels run from 0 to 1"):
        jax.jit(lambda x: read(x, Y * 2))(X)
    with pytest.raises(ValueError, match=r"`labels` has shape \(3,\)"):
        jax.jit(read)(X, jnp.zeros(3, int))
