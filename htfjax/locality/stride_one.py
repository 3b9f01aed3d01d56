"""Convolution of stride one whose derivatives gather windows of the cotangent.

Derived by jax, the convolution of `windows` keeps every window of every image for the
gradient of the kernel, and scatters the gradient of the image window by window. Here both
gradients read the windows of the cotangent, gathered once: nothing is kept (the memory of
a ResNet18 step halves), and the scatter, which XLA repeats in each of several consumers,
is gone. Convolution is bilinear, so a primitive with two transposes is all it takes for
derivatives of every order and mode.
"""

from typing import Any

import jax
from jax import lax

from htfjax.locality.bilinear import bilinear, usable
from htfjax.locality.windows import multiply_windows, window_rows

__all__ = ["convolve_stride_one", "pays"]


def pays(x: jax.Array, kernel: jax.Array, padding: int) -> bool:
    """Whether this form exists and is the faster one.

    Not where filters outnumber pixels: turning the kernel around then costs more than
    gathering and scattering a few pixels.
    """
    if not usable():
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


def _shape(x: Any, kernel: Any, *, padding: int, precision: Any) -> tuple[int, ...]:
    del precision
    outputs, size = kernel.shape[:2]
    high, wide = (n + 2 * padding - size + 1 for n in x.shape[1:3])
    return x.shape[0], high, wide, outputs


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


_convolution_p = bilinear(
    "convolution_of_stride_one",
    multiply_windows,
    _shape,
    (_to_image, _to_kernel),
    ("padding", "precision"),
)
