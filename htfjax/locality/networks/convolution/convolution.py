"""Two-dimensional convolution, in the form that is fast on the platform."""

import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax

from htfjax import _checks
from htfjax._platforms import by_platform
from htfjax._types import Array, Float, Numbers, Precision
from htfjax.locality import inputs as _inputs
from htfjax.locality.networks.convolution.im2col import convolve_by_windows
from htfjax.locality.networks.convolution.windows import num_windows, shifted
from htfjax.locality.networks.convolution.winograd import convolve_by_winograd, pays

Method = Literal["auto", "matmul", "native"]
METHODS = get_args(Method)
AUTO = {"cpu": "matmul", "cuda": "native", "tpu": "native"}
DIMENSIONS = ("NHWC", "OHWI", "NHWC")


def convolve(
    x: Numbers,
    kernel: Numbers,
    *,
    stride: int = 1,
    padding: int = 0,
    method: Method = "auto",
    precision: Precision = None,
) -> Float[Array, "B h w O"]:
    """y[b, i, j] = sum_{a, c} K[:, a, c] x[b, s i + a - p, s j + c - p], zeros outside.

    "matmul" is made of matrix products: XLA on CPUs is several times slower with its own
    convolution, above all in the backward passes. Windows of all output pixels times all
    filters (im2col), or, for 3 x 3 kernels of stride one in float32 or float64 between 32
    channels or more, where it is the faster, Winograd's algorithm, whose 16 products of
    tiles stand for 36 of pixels. "native" is `lax.conv_general_dilated`. "auto" is "matmul"
    in a program that is lowered for a CPU and "native" elsewhere.

    Args:
      x: (B, H, W, C).
      kernel: (O, h, w, C); in this order no pass has to transpose it on a CPU.
      stride: of both axes.
      padding: zeros on all four sides, as in torch (not "SAME").
      method: "auto", "matmul" or "native".
      precision: of the multiplications, passed on to XLA.

    Returns:
      (B, (H + 2 padding - h) // stride + 1, ..., O).

    Raises:
      TypeError: not real numbers.
      ValueError: other shapes, channels that do not match, an unknown method, an empty
        result, a stride below one, a negative padding.

    Source: arXiv:2201.11729, networks (torch's convention); Lavin and Gray,
    arXiv:1509.09308, for Winograd's algorithm.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> x, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((5, 3, 3, 3))
      >>> locality.convolve(x, kernel, stride=2, padding=1).shape
      (1, 4, 4, 5)
    """
    _checks.one_of("method", method, METHODS)
    x, kernel = _four_axes("x", x), _four_axes("kernel", kernel)
    dtype = _inputs.widest([x.dtype, kernel.dtype])
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    stride = _checks.at_least("stride", stride, 1)
    padding = _checks.at_least("padding", padding, 0)
    _checks.precision("precision", precision)
    if x.shape[3] != kernel.shape[3]:
        raise ValueError(
            f"`kernel` takes {kernel.shape[3]} channels, `x` has {x.shape[3]}: shapes "
            f"{kernel.shape} and {x.shape}."
        )
    sizes = [
        num_windows(n, k, stride, padding)
        for n, k in zip(x.shape[1:3], kernel.shape[1:3], strict=True)
    ]
    if min(sizes) < 1:
        raise ValueError(
            f"`x` of {x.shape[1]} x {x.shape[2]} is smaller than a kernel of "
            f"{kernel.shape[1]} x {kernel.shape[2]} with padding {padding}."
        )
    methods = AUTO if method == "auto" else dict.fromkeys(AUTO, method)
    convolved = functools.partial(
        _convolve, stride=stride, padding=padding, precision=precision
    )
    return by_platform(methods, convolved, x, kernel)


def _convolve(
    method: str, x: jax.Array, kernel: jax.Array, *, stride: int, **options: Any
) -> jax.Array:
    if method == "native":
        pads = ((options["padding"],) * 2,) * 2
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            pads,
            dimension_numbers=DIMENSIONS,
            precision=options["precision"],
        )
    if stride == 1 and pays(x, kernel, options["padding"]):
        return convolve_by_winograd(x, kernel, **options)
    return convolve_by_windows(x, kernel, stride=stride, **options)


def max_pool(x: Numbers, size: int, stride: int, padding: int) -> Float[Array, "B h w C"]:
    """Maximum over windows, ties going to the first of them; x is (B, H, W, C).

    Columns first, then rows, as maxima of shifted copies: XLA's window maximum has slow
    derivatives on CPUs.

    Raises:
      TypeError: not real numbers or integers. ValueError: another shape, an empty result, a
        padding of the window's size or more.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
      >>> locality.max_pool(x, 3, 2, 1)[0, :, :, 0].tolist()
      [[5.0, 7.0], [13.0, 15.0]]
    """
    x = _four_axes("x", x)
    size, stride = _checks.at_least("size", size, 1), _checks.at_least("stride", stride, 1)
    padding = _checks.at_least("padding", padding, 0)
    if padding >= size:
        raise ValueError(
            f"`padding={padding}` must be below `size={size}`, or windows hold no pixel."
        )
    if min(num_windows(n, size, stride, padding) for n in x.shape[1:3]) < 1:
        raise ValueError(
            f"`x` of {x.shape[1]} x {x.shape[2]} is smaller than a window of {size} x "
            f"{size} with padding {padding}."
        )
    for axis in (2, 1):  # so that of equal values the one in the first row is taken
        x, *others = shifted(x, axis, size, stride, padding, -jnp.inf)
        for other in others:
            x = jnp.where(other > x, other, x)
    return x


def _four_axes(name: str, values: object) -> jax.Array:
    """Real numbers with four axes, none empty but the first; integers become floats."""
    x = _inputs.numbers(name, values)
    if x.ndim != 4 or 0 in x.shape[1:]:
        axes = "(O, h, w, C)" if name == "kernel" else "(B, H, W, C)"
        raise ValueError(f"`{name}` must be {axes}, got shape {x.shape}.")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        x = x.astype(jax.dtypes.canonicalize_dtype(float))
    return x
