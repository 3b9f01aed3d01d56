"""Convolutions in every form, pooling and normalization, against jax's own."""

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from htfjax import locality
from htfjax.locality.networks import normalization
from htfjax.locality.networks.convolution import windows, winograd

# Sizes of (B, H, W, C) and O, padding: all are convolved by Winograd's or Karatsuba's
# algorithm.
MINIMAL = {
    "even": ((2, 6, 4, 32), 33, 1),
    "one side odd": ((3, 7, 8, 34), 32, 1),
    "no padding": ((2, 8, 6, 32), 32, 0),
    "padding of two": ((2, 4, 6, 32), 32, 2),
    "two by two": ((4, 2, 2, 48), 32, 1),
    "two by two, padding of two": ((4, 2, 2, 32), 36, 2),
}


def drawn(shape: tuple[int, ...], outputs: int, size: int) -> tuple[jax.Array, jax.Array]:
    """Images and a kernel that keeps their scale."""
    keys = jax.random.split(jax.random.key(0))
    kernel = jax.random.normal(keys[1], (outputs, size, size, shape[3]))
    return jax.random.normal(keys[0], shape), kernel / (size * shape[3] ** 0.5)


def check_derivatives(
    x: jax.Array, kernel: jax.Array, padding: int, stride: int = 1
) -> None:
    """Every second derivative a regularizer takes, and vmap, against the native one."""
    moved = jax.random.normal(jax.random.key(2), x.shape)

    def total(x: jax.Array, k: jax.Array, method: Any) -> jax.Array:
        y = locality.convolve(x, k, stride=stride, padding=padding, method=method)
        return jnp.sum(jnp.sin(y))

    def reverse_over_forward(method: Any) -> Any:
        def along(x: jax.Array, k: jax.Array) -> jax.Array:
            return jax.jvp(lambda x: total(x, k, method), (x,), (moved,))[1]

        return jax.grad(along, (0, 1))(x, kernel)

    def reverse_over_reverse(method: Any) -> Any:
        def size_of_gradients(x: jax.Array, k: jax.Array) -> jax.Array:
            both = jax.grad(total, (0, 1))(x, k, method)
            return sum((jnp.sum(jnp.cos(g)) for g in both), jnp.zeros(()))

        return jax.grad(size_of_gradients, (0, 1))(x, kernel)

    def forward_over_reverse(method: Any) -> Any:
        gradient = functools.partial(jax.grad(total, 1), method=method)
        return jax.jvp(lambda x: gradient(x, kernel), (x,), (moved,))[1]

    def many(method: Any) -> Any:
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


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("size", "padding"), [(3, 1), (7, 3), (1, 0), (2, 0)])
def test_convolution_equals_the_native_one(size: int, padding: int, stride: int) -> None:
    """Value and both gradients of im2col, against `lax.conv_general_dilated`."""
    x, kernel = drawn((2, 9, 8, 3), 4, size)
    options = {"stride": stride, "padding": padding}
    found, back = jax.vjp(
        functools.partial(locality.convolve, **options, method="matmul"), x, kernel
    )
    wanted, native_back = jax.vjp(
        functools.partial(locality.convolve, **options, method="native"), x, kernel
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)
    seed = jax.random.normal(jax.random.key(2), found.shape)
    for a, b in zip(back(seed), native_back(seed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "padding", "stride"), [(3, 1, 1), (4, 0, 1), (5, 1, 1), (3, 1, 2), (2, 0, 3)]
)
def test_higher_derivatives_of_a_convolution(size: int, padding: int, stride: int) -> None:
    """Of windows, in every mode."""
    check_derivatives(*drawn((2, 6, 5, 3), 4, size), padding, stride)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [3, 32])
def test_no_images(channels: int) -> None:
    """An empty batch has an empty result and a gradient of zero."""
    x, kernel = drawn((0, 6, 6, channels), channels, 3)
    y, back = jax.vjp(lambda x, k: locality.convolve(x, k, padding=1), x, kernel)
    assert y.shape == x.shape
    np.testing.assert_array_equal(back(y)[1], jnp.zeros(kernel.shape))


@pytest.mark.slow
@pytest.mark.parametrize("case", MINIMAL)
def test_winograd_equals_the_native_one(case: str) -> None:
    """Value and gradients of the algorithms with fewer products."""
    shape, outputs, padding = MINIMAL[case]
    x, kernel = drawn(shape, outputs, 3)
    assert winograd.pays(x, kernel, padding)
    forms = (
        functools.partial(locality.convolve, padding=padding, method=method)
        for method in ("matmul", "native")
    )
    (found, back), (wanted, native_back) = (jax.vjp(f, x, kernel) for f in forms)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
    seed = jax.random.normal(jax.random.key(2), found.shape)
    for a, b in zip(back(seed), native_back(seed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("case", MINIMAL)
def test_higher_derivatives_of_winograd(case: str) -> None:
    """In every mode."""
    shape, outputs, padding = MINIMAL[case]
    check_derivatives(*drawn(shape, outputs, 3), padding)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["even", "two by two"])
def test_winograd_in_float32(case: str) -> None:
    """Rounding of values and gradients within 2e-6 of their largest."""
    shape, outputs, padding = MINIMAL[case]
    exact = drawn(shape, outputs, 3)
    rounded = [a.astype(jnp.float32) for a in exact]
    seed = jax.random.normal(jax.random.key(2), (*shape[:3], outputs))

    def all_of(x: jax.Array, kernel: jax.Array) -> Any:
        y, back = jax.vjp(
            lambda x, k: locality.convolve(x, k, padding=padding, method="matmul"),
            x,
            kernel,
        )
        return y, *back(seed.astype(y.dtype))

    for a, b in zip(all_of(*rounded), all_of(*exact), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, atol=2e-6 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("algorithm", ["WINOGRAD", "PAIR"])
def test_minimal_algorithms(algorithm: str) -> None:
    """Along one axis: the convolution itself, and the kernel turned around."""
    chosen = getattr(winograd, algorithm)
    rng = np.random.default_rng(0)
    data, kernel, outputs = (np.array(m) for m in chosen[:3])
    pixels, taps = rng.normal(size=data.shape[1]), rng.normal(size=3)
    padded = np.pad(pixels, (4 - len(pixels)) // 2)
    for k in (taps, taps[::-1]):
        wanted = [padded[i : i + 3] @ k for i in range(2)]
        np.testing.assert_allclose(outputs @ ((kernel @ k) * (data @ pixels)), wanted)
    np.testing.assert_allclose(kernel @ taps[::-1], (kernel @ taps)[list(chosen.turned)])


@pytest.mark.parametrize(
    ("shape", "outputs", "size", "padding", "dtype"),
    [
        ((32, 16, 16, 64), 64, 5, 2, jnp.float32),
        ((32, 16, 16, 64), 64, 3, 3, jnp.float32),
        ((32, 16, 16, 64), 64, 3, 1, jnp.bfloat16),
        ((32, 16, 16, 3), 64, 3, 1, jnp.float32),
        ((1, 4, 4, 512), 512, 3, 1, jnp.float32),
        ((32, 3, 3, 64), 64, 3, 1, jnp.float32),
    ],
    ids=["5 x 5", "wide padding", "half precision", "few channels", "few pixels", "odd"],
)
def test_winograd_is_left_out(
    shape: tuple[int, ...], outputs: int, size: int, padding: int, dtype: Any
) -> None:
    """Where it does not exist, is less accurate, or slower."""
    x = jnp.zeros(shape, dtype)
    kernel = jnp.zeros((outputs, size, size, shape[3]), dtype)
    assert not winograd.pays(x, kernel, padding)


@pytest.mark.slow
def test_two_precisions_are_multiplied_by_windows() -> None:
    """A kernel of half precision is not transformed in it."""
    x, kernel = drawn(*MINIMAL["even"][:2], 3)
    x, half = x.astype(jnp.float32), kernel.astype(jnp.bfloat16)
    assert not winograd.pays(x, half, 1)
    found = locality.convolve(x, half, padding=1, method="matmul")
    wanted = locality.convolve(x, half.astype(jnp.float32), padding=1, method="native")
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.slow
def test_a_broken_image_breaks_its_gradient() -> None:
    """NaN in a cotangent is not hidden by the zero that orders the computation."""
    x, kernel = drawn(*MINIMAL["even"][:2], 3)
    seed = jnp.full((2, 6, 4, 33), jnp.nan)
    _, back = jax.vjp(lambda x, k: locality.convolve(x, k, padding=1), x, kernel)
    assert all(bool(jnp.all(jnp.isnan(g))) for g in back(seed))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [((3, 3), 1, 1), ((7, 7), 2, 3), ((3, 2), 2, 0), ((1, 1), 3, 0), ((2, 2), 4, 1)],
)
def test_overlaps_are_the_transpose_of_windows(
    window: tuple[int, int], stride: int, padding: int
) -> None:
    """<windows(x), y> = <x, overlaps(y)>, also where windows leave pixels out."""
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
    rows = windows.window_rows(x, window, stride, padding)
    y = jax.random.normal(jax.random.key(1), rows.shape)
    parts = y.reshape(*rows.shape[:3], *window, 3)
    back = windows.overlap_add(parts, (9, 8), stride, padding)
    assert back.shape == x.shape
    np.testing.assert_allclose(jnp.vdot(rows, y), jnp.vdot(x, back), rtol=1e-12)
    (wanted,) = jax.linear_transpose(
        lambda x: windows.window_rows(x, window, stride, padding), x
    )(y)
    np.testing.assert_allclose(back, wanted, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (2, 3, 0)]
)
def test_pooling_equals_the_native_one(size: int, stride: int, padding: int) -> None:
    """Value, gradient and its directional derivative; ties go to the first."""
    x = jnp.round(2 * jax.random.normal(jax.random.key(0), (2, 9, 8, 3)))

    def native(x: jax.Array) -> jax.Array:
        around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        steps = (1, stride, stride, 1)
        return lax.reduce_window(
            x, -jnp.inf, lax.max, (1, size, size, 1), steps, around
        )  # fmt: skip

    def ours(x: jax.Array) -> jax.Array:
        return locality.max_pool(x, size, stride, padding)

    np.testing.assert_array_equal(ours(x), native(x))

    def slope(pool: Callable, x: jax.Array) -> jax.Array:
        return jax.grad(lambda x: jnp.sum(jnp.sin(pool(x) + 1)))(x)

    first, second = (jax.jit(functools.partial(slope, pool)) for pool in (ours, native))
    np.testing.assert_allclose(first(x), second(x), atol=1e-14)
    moved = jax.random.normal(jax.random.key(1), x.shape)
    smooth = x + 0.1 * moved  # without ties, of which the two take other derivatives
    found, wanted = (
        jax.jit(lambda *pair, of=of: jax.jvp(of, pair[:1], pair[1:])[1])(smooth, moved)
        for of in (first, second)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-13)


@pytest.mark.slow
def test_normalization_has_the_derivatives_of_its_formula() -> None:
    """Values and all derivatives up to the second, against what jax derives."""
    keys = jax.random.split(jax.random.key(0), 4)
    rows = 3 + jax.random.normal(keys[0], (7, 2))
    scale, bias = jax.random.normal(keys[1], (2, 2))
    weights = [jax.random.normal(k, (7, 2)) for k in keys[2:]]

    def plain(rows: jax.Array, scale: jax.Array, bias: jax.Array) -> Any:
        mean, variance = jnp.mean(rows, 0), jnp.var(rows, 0)
        root = jnp.sqrt(variance + normalization.EPSILON)
        y = (rows - mean[None]) / root[None] * scale[None] + bias[None]
        return y, mean, variance

    def value(form: Callable, *given: jax.Array) -> jax.Array:
        y, mean, variance = form(*given)
        return jnp.sum(jnp.sin(weights[0] * y)) + jnp.sum(mean * variance**2)

    given = (rows, scale, bias)
    for derive in (lambda f: f, lambda f: jax.grad(f, (0, 1, 2)), jax.hessian):
        found, wanted = (
            jax.tree.leaves(derive(functools.partial(value, form))(*given))
            for form in (normalization.normalize, plain)
        )
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)

    def along(form: Callable, scale: jax.Array) -> jax.Array:
        moved = (weights[1], jnp.zeros(2), jnp.zeros(2))
        return jax.jvp(functools.partial(value, form), (rows, scale, bias), moved)[1]

    found, wanted = (
        jax.vmap(jax.grad(functools.partial(along, form)))(jnp.stack([scale, bias]))
        for form in (normalization.normalize, plain)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-11)


TWO_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 2)
from jax.sharding import AxisType, PartitionSpec as P
from htfjax import locality

keys = jax.random.split(jax.random.key(0))
x = jax.random.normal(keys[0], (4, 6, 6, CHANNELS))
kernel = jax.random.normal(keys[1], (CHANNELS, 3, 3, CHANNELS)) / CHANNELS

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
@pytest.mark.parametrize("channels", ["4", "32"])
def test_a_convolution_on_two_devices(channels: str) -> None:
    """Images split over devices, by `shard_map` and by the compiler: one gradient."""
    code = TWO_DEVICES.replace("CHANNELS", channels)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
