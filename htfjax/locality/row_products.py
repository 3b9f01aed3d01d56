"""Rows times filters, of as many rows as there are images at once."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from htfjax.locality.bilinear import bilinear, usable

__all__ = ["times_filters"]


def times_filters(rows: jax.Array, filters: jax.Array, precision: Any) -> jax.Array:
    """A B^T for (N, K) and (O, K): of more rows where `vmap` brings more images.

    A primitive for that alone. Else the derivative by the filters would be a sum over two
    axes, for which XLA on a CPU lays out the transpose of its larger factor: a fifth of a
    batched ResNet18 step.
    """
    if not usable() or rows.dtype != filters.dtype:
        return _times(rows, filters, precision=precision)
    return _product_p.bind(rows, filters, precision=precision)


def _times(rows: jax.Array, filters: jax.Array, *, precision: Any) -> jax.Array:
    return lax.dot_general(rows, filters, (((1,), (1,)), ((), ())), precision=precision)


def _shape(rows: Any, filters: Any, *, precision: Any) -> tuple[int, ...]:
    del precision
    return rows.shape[0], filters.shape[0]


def _to_rows(cotangent: jax.Array, rows: Any, filters: jax.Array, *, precision: Any) -> Any:
    del rows
    return jnp.matmul(cotangent, filters, precision=precision)


def _to_filters(
    cotangent: jax.Array, rows: jax.Array, filters: Any, *, precision: Any
) -> Any:
    del filters
    return lax.dot_general(cotangent, rows, (((0,), (0,)), ((), ())), precision=precision)


_product_p = bilinear(
    "rows_times_filters", _times, _shape, (_to_rows, _to_filters), ("precision",)
)
