"""Convolution as one product of all windows with all filters, and its derivatives.

Derived by jax, this scatters the gradient of the image window by window, and under `vmap`
sums over two axes, for which XLA on a CPU lays out the transpose of the larger factor. Here
the images are what is kept for the gradient of the kernel; within one program XLA may still
find that it needs the windows of the forward pass again, and keep those.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray

from htfjax._types import Precision
from htfjax.locality.networks.convolution.bilinear import bilinear
from htfjax.locality.networks.convolution.windows import (
    num_windows,
    overlap_add,
    window_rows,
)


def convolve_by_windows(
    x: jax.Array, kernel: jax.Array, *, stride: int, padding: int, precision: Precision
) -> jax.Array:
    """Convolution of (B, H, W, C) with (O, high, wide, C)."""
    return _multiply(x, kernel, stride=stride, padding=padding, precision=precision)


def _products(
    x: jax.Array, kernel: jax.Array, *, stride: int, padding: int, precision: Precision
) -> jax.Array:
    outputs, high, wide, _ = kernel.shape
    windows = window_rows(x, (high, wide), stride, padding)
    rows = windows.reshape(-1, windows.shape[3])
    filters = kernel.reshape(outputs, -1)
    y = lax.dot_general(rows, filters, (((1,), (1,)), ((), ())), precision=precision)
    return y.reshape(*windows.shape[:3], outputs)


def _shape(
    x: ShapedArray, kernel: ShapedArray, *, stride: int, padding: int, precision: Precision
) -> tuple[int, ...]:
    del precision
    h, w = (
        num_windows(n, k, stride, padding)
        for n, k in zip(x.shape[1:3], kernel.shape[1:3], strict=True)
    )
    return x.shape[0], h, w, kernel.shape[0]


def _to_image(
    cotangent: jax.Array, x: Any, kernel: jax.Array, *,
    stride: int, padding: int, precision: Precision,
) -> jax.Array:  # fmt: skip
    """The cotangents of all windows, added up at their pixels."""
    outputs = kernel.shape[0]
    rows, filters = cotangent.reshape(-1, outputs), kernel.reshape(outputs, -1)
    windows = jnp.matmul(rows, filters, precision=precision)
    windows = windows.reshape(*cotangent.shape[:3], *kernel.shape[1:])
    return overlap_add(windows, x.aval.shape[1:3], stride, padding)


def _to_kernel(
    cotangent: jax.Array, x: jax.Array, kernel: Any, *,
    stride: int, padding: int, precision: Precision,
) -> jax.Array:  # fmt: skip
    """Cotangents times windows, summed over pixels."""
    shape = kernel.aval.shape
    rows = cotangent.reshape(-1, shape[0])
    windows = window_rows(x, shape[1:3], stride, padding)
    windows = windows.reshape(-1, windows.shape[3])
    over_pixels = (((0,), (0,)), ((), ()))
    if windows.shape[1] < shape[0]:
        # With the wider matrix on the left the product takes twice as long. The barrier
        # keeps XLA from moving the transpose into it.
        sums = lax.dot_general(windows, rows, over_pixels, precision=precision)
        return lax.optimization_barrier(sums).T.reshape(shape)
    sums = lax.dot_general(rows, windows, over_pixels, precision=precision)
    return sums.reshape(shape)


_multiply = bilinear(
    "convolution_by_windows",
    _products,
    _shape,
    (_to_image, _to_kernel),
    ("stride", "padding", "precision"),
)
