"""Laws of the regularizer, its two forms, patches, and the convolution below it."""

import functools
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

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


@pytest.mark.parametrize("form", FORMS)
def test_g1_separable_functions_read_one(form: Any) -> None:
    """G1: 1 for f = g h and f = g + h, below 1 and at least 0 for a coupled one."""
    x = images()
    product = form(lambda x: outside(x) * inside(x), x, P, Q)
    added = form(lambda x: outside(x) + inside(x), x, P, Q)
    np.testing.assert_allclose([product, added], 1.0, rtol=1e-12)
    assert 0 <= form(coupled, x, P, Q) < 0.999


@pytest.mark.parametrize("form", FORMS)
def test_g1_scale_and_shift_do_not_matter(form: Any) -> None:
    """G1: invariant to f -> c f and f -> f + const."""
    x = images()
    value = form(coupled, x, P, Q)
    np.testing.assert_allclose(form(lambda x: -3e5 * coupled(x), x, P, Q), value, rtol=1e-9)
    np.testing.assert_allclose(form(lambda x: coupled(x) + 7, x, P, Q), value, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_zero_gradients_are_safe(form: Any) -> None:
    """A function that does not see P counts zero, with a finite derivative."""
    x = images()

    def blind(scale: jax.Array) -> jax.Array:
        return form(lambda x: scale * inside(x), x, P, Q)

    value, slope = jax.value_and_grad(blind)(jnp.array(2.0))
    assert (float(value), float(slope)) == (0.0, 0.0)


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
    [(Patch(6, 1, 3, 3), Q), (Patch(-1, 1, 3, 3), Q), (Patch(4, 5, 3, 3), Q)],
    ids=["below the image", "above the image", "overlapping"],
)
def test_bad_patches(patch: Patch, other: Patch) -> None:
    """Outside the image, or on each other."""
    with pytest.raises(ValueError, match="patch"):
        locality.input_gradient_change(coupled, images(), patch, other)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("size", "padding"), [(3, 1), (7, 3), (1, 0)])
def test_convolution_equals_the_native_one(size: int, padding: int, stride: int) -> None:
    """Value and both gradients of im2col, against `lax.conv_general_dilated`."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, 9, 8, 3))
    kernel = jax.random.normal(keys[1], (4, size, size, 3))

    def ours(x: jax.Array, k: jax.Array) -> jax.Array:
        return locality.convolve(x, k, stride=stride, padding=padding, method="matmul")

    def native(x: jax.Array, k: jax.Array) -> jax.Array:
        pads = ((padding, padding),) * 2
        layout = ("NHWC", "OHWI", "NHWC")
        return lax.conv_general_dilated(
            x, k, (stride, stride), pads, dimension_numbers=layout
        )

    found, back = jax.vjp(ours, x, kernel)
    wanted, native_back = jax.vjp(native, x, kernel)
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)
    seed = jax.random.normal(keys[2], found.shape)
    for a, b in zip(back(seed), native_back(seed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("size", "padding", "stride"), [(3, 1, 1), (4, 0, 1), (5, 1, 1), (3, 1, 2)]
)
def test_higher_derivatives_of_a_convolution(size: int, padding: int, stride: int) -> None:
    """Every second derivative a regularizer takes, and vmap, against the native one."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, 6, 5, 3))
    kernel = jax.random.normal(keys[1], (4, size, size, 3))
    moved = jax.random.normal(keys[2], x.shape)

    def total(x: jax.Array, k: jax.Array, method: str) -> jax.Array:
        y = locality.convolve(x, k, stride=stride, padding=padding, method=method)
        return jnp.sum(jnp.sin(y))

    def reverse_over_forward(method: str) -> Any:
        def along(x: jax.Array, k: jax.Array) -> jax.Array:
            return jax.jvp(lambda x: total(x, k, method), (x,), (moved,))[1]

        return jax.grad(along, (0, 1))(x, kernel)

    def reverse_over_reverse(method: str) -> Any:
        def size_of_gradients(x: jax.Array, k: jax.Array) -> jax.Array:
            both = jax.grad(total, (0, 1))(x, k, method)
            return sum((jnp.sum(jnp.cos(g)) for g in both), jnp.zeros(()))

        return jax.grad(size_of_gradients, (0, 1))(x, kernel)

    def forward_over_reverse(method: str) -> Any:
        gradient = functools.partial(jax.grad(total, 1), method=method)
        return jax.jvp(lambda x: gradient(x, kernel), (x,), (moved,))[1]

    def many(method: str) -> Any:
        gradient = functools.partial(jax.grad(total, (0, 1)), method=method)
        xs, kernels = jnp.stack([x, moved]), jnp.stack([kernel, 2 * kernel])
        return (
            jax.vmap(gradient, (0, None))(xs, kernel),
            jax.vmap(gradient, (None, 0))(x, kernels),
            jax.vmap(gradient, (3, 2))(jnp.moveaxis(xs, 0, 3), jnp.moveaxis(kernels, 0, 2)),
            jax.grad(lambda k: jnp.sum(jax.vmap(total, (0, None, None))(xs, k, method)))(
                kernel
            ),
        )

    for form in (reverse_over_forward, reverse_over_reverse, forward_over_reverse, many):
        found = jax.tree.leaves(jax.jit(form, static_argnums=0)("matmul"))
        wanted = jax.tree.leaves(form("native"))
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


TWO_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 2)
from jax.sharding import AxisType, PartitionSpec as P
from htfjax import locality

keys = jax.random.split(jax.random.key(0))
x = jax.random.normal(keys[0], (4, 6, 5, 3))
kernel = jax.random.normal(keys[1], (4, 3, 3, 3))

def total(x, kernel):
    return jnp.sum(jnp.sin(locality.convolve(x, kernel, padding=1)))

mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
split = jax.shard_map(lambda x, k: jax.lax.psum(total(x, k), "batch"), mesh=mesh,
                      in_specs=(P("batch"), P()), out_specs=P())
wanted = jax.grad(total, 1)(x, kernel)
np.testing.assert_allclose(jax.grad(split, 1)(x, kernel), wanted, atol=1e-4)
placed = jax.device_put(x, jax.NamedSharding(mesh, P("batch")))
np.testing.assert_allclose(jax.jit(jax.grad(total, 1))(placed, kernel), wanted, atol=1e-4)
"""


@pytest.mark.slow
def test_a_convolution_on_two_devices() -> None:
    """Images split over devices, by `shard_map` and by the compiler: one gradient."""
    subprocess.run([sys.executable, "-c", TWO_DEVICES], check=True, timeout=120)
