"""Winograd convolution: 3 x 3 kernels by fewer products.

Along one axis, two neighbouring outputs of a kernel of three taps take six products. They
are also the outputs of a bilinear algorithm y = A [(G k) * (D x)] of four: with products of
matrices (pixels by channels) in the place of products of numbers, and along both axes, 16
instead of 36 for four pixels. Images of 2 x 2 pixels take nine: there the convolution is a
Toeplitz matrix of order two along each axis, and Karatsuba's trick needs three products.

Turning the kernel around permutes G k, so the gradient of the image is such a convolution
again, with the same transformed kernel.

Mathematics: docs/mathematics/convolutions.md.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray

from htfjax._types import Precision
from htfjax.locality.networks.convolution.bilinear import bilinear
from htfjax.locality.networks.convolution.windows import num_windows

SIZE = 3  # of the kernel
STEP = 2  # outputs of an algorithm along one axis

Matrix = tuple[tuple[float, ...], ...]
Grid = list[list[jax.Array]]


class Algorithm(NamedTuple):
    """y = outputs [(kernel k) * (data x)] along one axis."""

    data: Matrix  # (products, pixels)
    kernel: Matrix  # (products, 3)
    outputs: Matrix  # (2, products)
    turned: tuple[int, ...]  # kernel k[::-1] = (kernel k)[turned]
    worth: int  # channels that one tile makes up for, by measurement


# Winograd's F(2, 3): two outputs from four pixels.
WINOGRAD = Algorithm(
    data=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    kernel=((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    outputs=((1, 1, 1, 0), (0, 1, -1, -1)),
    turned=(3, 1, 2, 0),
    worth=4,
)
# Two outputs from two pixels with a zero on either side.
PAIR = Algorithm(
    data=((1, 1), (0, 1), (1, 0)),
    kernel=((0, 1, 0), (0, -1, 1), (1, -1, 0)),
    outputs=((1, 1, 0), (1, 0, 1)),
    turned=(0, 2, 1),
    worth=16,
)
FEWEST_CHANNELS = 32  # with fewer, windows were the faster in most sizes measured
LARGEST_SHARE = 0.6  # of the products by windows; odd images have tiles that stick out


def pays(x: jax.Array, kernel: jax.Array, padding: int) -> bool:
    """Whether this form exists, is as accurate and is the faster one on a CPU."""
    if kernel.shape[1:3] != (SIZE, SIZE) or padding >= SIZE:
        return False
    if x.dtype != kernel.dtype:
        return False  # transforms would round in the lesser of the two
    if not jnp.issubdtype(x.dtype, jnp.floating) or x.dtype.itemsize < 4:
        return False
    algorithm = _algorithm(x.shape, padding)
    h, w = _sizes(x.shape, padding)
    tiles = -(-h // STEP) * -(-w // STEP)
    products = len(algorithm.data) ** 2 * tiles
    few, many = sorted((kernel.shape[0], kernel.shape[3]))
    return (
        few >= FEWEST_CHANNELS
        and many <= algorithm.worth * tiles * x.shape[0]
        and products <= LARGEST_SHARE * SIZE**2 * h * w
    )


def convolve_by_winograd(
    x: jax.Array, kernel: jax.Array, *, padding: int, precision: Precision
) -> jax.Array:
    """Convolution of (B, H, W, C) with (O, 3, 3, C), of stride one and padding below 3."""
    return _convolve(x, kernel, padding=padding, turned=False, precision=precision)


def _algorithm(shape: Sequence[int], padding: int) -> Algorithm:
    return PAIR if tuple(shape[1:3]) == (STEP, STEP) and padding == 1 else WINOGRAD


def _sizes(shape: Sequence[int], padding: int) -> tuple[int, int]:
    high, wide = (num_windows(n, SIZE, 1, padding) for n in shape[1:3])
    return high, wide


def _shape(
    x: ShapedArray, kernel: ShapedArray, *, padding: int, turned: bool, precision: Precision
) -> tuple[int, ...]:
    del precision
    return x.shape[0], *_sizes(x.shape, padding), kernel.shape[3 if turned else 0]


def _products(
    x: jax.Array, kernel: jax.Array, *, padding: int, turned: bool, precision: Precision
) -> jax.Array:
    """The convolution, or with `turned` that of (B, H, W, O) with the kernel turned."""
    algorithm = _algorithm(x.shape, padding)
    filters = _transform(algorithm.kernel, _taps(kernel))
    if turned:
        filters = _permute(algorithm.turned, filters)
    axis = 0 if turned else 1
    products = [
        [_multiply(t, f, 1, axis, precision) for t, f in zip(*pair, strict=True)]
        for pair in zip(_tiles(algorithm, x, padding), filters, strict=True)
    ]
    return _join(_transform(algorithm.outputs, products), x.shape, padding)


def _to_image(
    cotangent: jax.Array, x: Any, kernel: jax.Array, *,
    padding: int, turned: bool, precision: Precision,
) -> jax.Array:  # fmt: skip
    del x
    return _convolve(
        cotangent,
        kernel,
        padding=SIZE - 1 - padding,
        turned=not turned,
        precision=precision,
    )


def _to_kernel(
    cotangent: jax.Array, x: jax.Array, kernel: Any, *,
    padding: int, turned: bool, precision: Precision,
) -> jax.Array:  # fmt: skip
    """The algorithm read backwards: cotangents of its products times its tiles."""
    del kernel
    algorithm = _algorithm(x.shape, padding)
    x = _after(x, cotangent)
    spread = _transform(_transposed(algorithm.outputs), _quarters(cotangent))
    pairs = zip(spread, _tiles(algorithm, x, padding), strict=True)
    if turned:
        pairs = ((tiles, outputs) for outputs, tiles in pairs)
    sums = [
        [_multiply(left, right, 0, 0, precision) for left, right in zip(*pair, strict=True)]
        for pair in pairs
    ]
    if turned:
        sums = _permute(algorithm.turned, sums)
    taps = _transform(_transposed(algorithm.kernel), sums)
    return jnp.stack([jnp.stack(row, 1) for row in taps], 1)


def _after(x: jax.Array, cotangent: jax.Array) -> jax.Array:
    """x, but not before the cotangent is there.

    Else XLA finds that the tiles of x are those of the convolution, or makes them as early,
    and keeps them, four times as large as x: two fifths of the memory of a ResNet18 step,
    which was 5 % slower for it. It has no say in this zero; an `optimization_barrier` it
    removes before it merges equal operations.
    """
    zero = jnp.minimum(jnp.abs(lax.stop_gradient(cotangent[0, 0, 0, 0])), 0)
    return x + zero


def _multiply(
    left: jax.Array, right: jax.Array, axis: int, other: int, precision: Precision
) -> jax.Array:
    dimensions = (((axis,), (other,)), ((), ()))
    return lax.dot_general(left, right, dimensions, precision=precision)


def _taps(kernel: jax.Array) -> Grid:
    """Nine matrices (O, C)."""
    return [[kernel[:, a, c] for c in range(SIZE)] for a in range(SIZE)]


def _tiles(algorithm: Algorithm, x: jax.Array, padding: int) -> Grid:
    """The transformed pixels of all tiles: matrices (tiles, C)."""
    batch, _, _, channels = x.shape
    if algorithm is PAIR:
        pixels = [[x[:, a, c] for c in range(STEP)] for a in range(STEP)]
        return _transform(algorithm.data, pixels)
    rows, columns = _sizes(x.shape, padding)
    pads = [(padding, padding + n % STEP) for n in (rows, columns)]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = rows + rows % STEP, columns + columns % STEP
    reach = range(len(algorithm.data[0]))
    pixels = [
        [
            lax.slice(
                x,
                (0, a, c, 0),
                (batch, a + rows - 1, c + columns - 1, channels),
                (1, STEP, STEP, 1),
            )
            for c in reach
        ]
        for a in reach
    ]
    tiles = _transform(algorithm.data, pixels)
    return [[tile.reshape(-1, channels) for tile in row] for row in tiles]


def _quarters(y: jax.Array) -> Grid:
    """Pixels of every tile's outputs, (tiles, O) each; the transpose of `_join`."""
    pads = [(0, n % STEP) for n in y.shape[1:3]]
    y = jnp.pad(y, ((0, 0), *pads, (0, 0)))
    return [
        [y[:, a::STEP, c::STEP].reshape(-1, y.shape[3]) for c in range(STEP)]
        for a in range(STEP)
    ]


def _join(quarters: Grid, shape: Sequence[int], padding: int) -> jax.Array:
    """(B, h, w, O) from the outputs of all tiles of images of a shape."""
    rows, columns = _sizes(shape, padding)
    high, wide = -(-rows // STEP), -(-columns // STEP)
    lines = [
        jnp.stack([q.reshape(shape[0], high, wide, q.shape[1]) for q in line], 3)
        for line in quarters
    ]
    y = jnp.stack(lines, 2)
    y = y.reshape(shape[0], STEP * high, STEP * wide, y.shape[-1])
    return y[:, :rows, :columns]


def _transform(matrix: Matrix, grid: Grid) -> Grid:
    """M X M^T for a grid of arrays, of additions."""
    rows = [_combine(matrix, row) for row in grid]
    columns = [_combine(matrix, list(column)) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _combine(matrix: Matrix, arrays: list[jax.Array]) -> list[jax.Array]:
    """Sum_j M[i, j] arrays[j] for each i."""
    return [_sum([(m, a) for m, a in zip(row, arrays, strict=True) if m]) for row in matrix]


def _sum(terms: list[tuple[float, jax.Array]]) -> jax.Array:
    total = None
    for factor, array in terms:
        term = array if abs(factor) == 1 else abs(factor) * array
        if total is None:
            total = term if factor > 0 else -term
        else:
            total = total + term if factor > 0 else total - term
    assert total is not None
    return total


def _permute(order: tuple[int, ...], grid: Grid) -> Grid:
    return [[grid[i][j] for j in order] for i in order]


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


_convolve = bilinear(
    "convolution_by_winograd",
    _products,
    _shape,
    (_to_image, _to_kernel),
    ("padding", "turned", "precision"),
)
