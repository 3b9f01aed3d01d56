"""Windows of images as rows of a matrix (im2col), and the convolution made of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

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
    y = _product(rows, filters, precision)
    return y.reshape(*windows.shape[:3], kernel.shape[0])


def _product(rows: jax.Array, filters: jax.Array, precision: Any) -> jax.Array:
    """A B^T: of more rows where `vmap` brings more images.

    A primitive for that alone. Else the derivative by the filters would be a sum over two
    axes, for which XLA on a CPU lays out the transpose of its larger factor, at more than
    the product's cost. Not in `shard_map`, as in `stride_one`.
    """
    if jax.sharding.get_abstract_mesh().manual_axes:
        return _dot(rows, filters, precision=precision)
    return _product_p.bind(rows, filters, precision=precision)


def _dot(rows: jax.Array, filters: jax.Array, *, precision: Any) -> jax.Array:
    return lax.dot_general(rows, filters, (((1,), (1,)), ((), ())), precision=precision)


def _shape(rows: Any, filters: Any, *, precision: Any) -> Any:
    """Of the result, placed as the rows are."""
    del precision
    dtype = jnp.result_type(rows.dtype, filters.dtype)
    return rows.update(shape=(rows.shape[0], filters.shape[0]), dtype=dtype)


def _to_rows(cotangent: jax.Array, rows: Any, filters: jax.Array, *, precision: Any) -> Any:
    del rows
    return jnp.matmul(cotangent, filters, precision=precision)


def _to_filters(
    cotangent: jax.Array, rows: jax.Array, filters: Any, *, precision: Any
) -> Any:
    del filters
    sums = (((0,), (0,)), ((), ()))
    return lax.dot_general(cotangent, rows, sums, precision=precision)


def _batched(args: Any, axes: Any, *, precision: Any) -> tuple[jax.Array, int]:
    """More rows; one product each where filters differ."""
    (rows, filters), (axis, other) = args, axes
    if other is not None:
        each = functools.partial(_dot, precision=precision)
        return jax.vmap(each, in_axes=(axis, other))(rows, filters), 0
    rows = jnp.moveaxis(rows, axis, 0)
    y = _product_p.bind(rows.reshape(-1, rows.shape[2]), filters, precision=precision)
    return y.reshape(*rows.shape[:2], -1), 0


_product_p = Primitive("rows_times_filters")
_product_p.def_impl(jax.jit(_dot, static_argnames="precision"))
_product_p.def_abstract_eval(_shape)
ad.defbilinear(_product_p, _to_rows, _to_filters)
batching.primitive_batchers[_product_p] = _batched
mlir.register_lowering(_product_p, mlir.lower_fun(_dot, multiple_results=False))


def _shifted(x: jax.Array, a: int, c: int, stride: int, sizes: list[int]) -> jax.Array:
    """Every `stride`-th pixel from row a and column c on."""
    stops = (a + stride * (sizes[0] - 1) + 1, c + stride * (sizes[1] - 1) + 1)
    return lax.slice(
        x,
        (0, a, c, 0),
        (x.shape[0], *stops, x.shape[3]),
        (1, stride, stride, 1),
    )
