"""Windows of images as rows of a matrix (im2col), and the convolution made of them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from htfjax.locality.row_products import times_filters

__all__ = ["multiply_windows", "window_rows"]


def window_rows(
    x: jax.Array, window: tuple[int, int], stride: int, padding: int
) -> jax.Array:
    """(B, H, W, C) -> (B, H', W', h w C), the window of each output pixel as a row."""
    sizes = [
        (n + 2 * padding - k) // stride + 1
        for n, k in zip(x.shape[1:3], window, strict=True)
    ]
    if padding:
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    shifted = [
        _shifted(x, a, c, stride, sizes) for a in range(window[0]) for c in range(window[1])
    ]
    return shifted[0] if len(shifted) == 1 else jnp.concatenate(shifted, axis=3)


def multiply_windows(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int, precision: Any
) -> jax.Array:
    """Convolution of (B, H, W, C) with (O, h, w, C): all windows times all filters."""
    _, high, wide, _ = kernel.shape
    windows = window_rows(x, (high, wide), stride, padding)
    rows = windows.reshape(-1, windows.shape[3])
    filters = kernel.reshape(kernel.shape[0], -1)
    y = times_filters(rows, filters, precision)
    return y.reshape(*windows.shape[:3], kernel.shape[0])


def _shifted(x: jax.Array, a: int, c: int, stride: int, sizes: list[int]) -> jax.Array:
    """Every `stride`-th pixel from row a and column c on."""
    stops = (a + stride * (sizes[0] - 1) + 1, c + stride * (sizes[1] - 1) + 1)
    return lax.slice(
        x,
        (0, a, c, 0),
        (x.shape[0], *stops, x.shape[3]),
        (1, stride, stride, 1),
    )
