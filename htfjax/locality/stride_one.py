"""Convolution of stride one whose derivatives gather windows of the cotangent.

Derived by jax, the convolution of `windows` keeps every window of every image for the
gradient of the kernel, and scatters the gradient of the image window by window. Here both
gradients read the windows of the cotangent, gathered once: nothing is kept (the memory of
a ResNet18 step halves), and the scatter, which XLA repeats in each of several consumers,
is gone. Convolution is bilinear, so a primitive with two transposes is all it takes for
derivatives of every order and mode.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from htfjax.locality.windows import multiply_windows, window_rows

__all__ = ["convolve_stride_one", "pays"]


def pays(x: jax.Array, kernel: jax.Array, padding: int) -> bool:
    """Whether this form exists and is the faster one.

    Not where filters outnumber pixels: turning the kernel around then costs more than
    gathering and scattering a few pixels. Not in `shard_map`: jax's own operations know
    what varies over devices, a primitive of ours does not.
    """
    if jax.sharding.get_abstract_mesh().manual_axes:
        return False
    outputs, high, wide, _ = kernel.shape
    square = high == wide > 1 and padding < high and x.dtype == kernel.dtype
    rows = x.shape[0]
    for n in x.shape[1:3]:
        rows *= n + 2 * padding - high + 1
    return square and rows >= outputs


def convolve_stride_one(
    x: jax.Array, kernel: jax.Array, *, padding: int, precision: Any
) -> jax.Array:
    """`multiply_windows` of a square kernel, with the derivatives described above."""
    return _convolution_p.bind(x, kernel, padding=padding, precision=precision)


def _shape(x: Any, kernel: Any, *, padding: int, precision: Any) -> Any:
    """Of the result, placed as the images are."""
    del precision
    outputs, size = kernel.shape[:2]
    high, wide = (n + 2 * padding - size + 1 for n in x.shape[1:3])
    return x.update(shape=(x.shape[0], high, wide, outputs))


def _to_image(
    cotangent: jax.Array, x: Any, kernel: jax.Array, *, padding: int, precision: Any
) -> jax.Array:
    """The convolution of the cotangent with the kernel turned by 180 degrees."""
    del x
    turned = kernel[:, ::-1, ::-1].transpose(3, 1, 2, 0)
    padding = kernel.shape[1] - 1 - padding
    return convolve_stride_one(cotangent, turned, padding=padding, precision=precision)


def _to_kernel(
    cotangent: jax.Array, x: jax.Array, kernel: Any, *, padding: int, precision: Any
) -> jax.Array:
    """Pixels times the windows of the cotangent around them, summed over pixels."""
    outputs, size, _, inputs = kernel.aval.shape
    windows = window_rows(cotangent, (size, size), 1, size - 1 - padding)
    rows = windows.reshape(-1, windows.shape[3])
    pixels = x.reshape(-1, inputs)
    # Pixels on the left: with the larger matrix there the product takes half as long again.
    sums = lax.dot_general(pixels, rows, (((0,), (0,)), ((), ())), precision=precision)
    sums = sums.reshape(inputs, size, size, outputs)
    return sums[:, ::-1, ::-1].transpose(3, 1, 2, 0)


def _batched(args: Any, axes: Any, **options: Any) -> tuple[jax.Array, int]:
    """More images; one convolution each where kernels differ."""
    (x, kernel), (axis, kernel_axis) = args, axes
    if kernel_axis is not None:
        each = functools.partial(multiply_windows, **options)
        return jax.vmap(each, in_axes=(axis, kernel_axis))(x, kernel), 0
    x = jnp.moveaxis(x, axis, 0)
    y = convolve_stride_one(x.reshape(-1, *x.shape[2:]), kernel, **options)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0


_convolution_p = Primitive("convolution_of_stride_one")
_convolution_p.def_impl(jax.jit(multiply_windows, static_argnames=("padding", "precision")))
_convolution_p.def_abstract_eval(_shape)
ad.defbilinear(_convolution_p, _to_image, _to_kernel)
batching.primitive_batchers[_convolution_p] = _batched
mlir.register_lowering(
    _convolution_p, mlir.lower_fun(multiply_windows, multiple_results=False)
)
