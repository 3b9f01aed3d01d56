"""Convolution, batch normalization and dense layer with torch's conventions."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from htfjax._types import Precision
from htfjax.locality.networks.convolution.convolution import Method, convolve
from htfjax.locality.networks.normalization import EPSILON, normalize

MOMENTUM = 0.1


class Conv(nnx.Module):
    """y = K * x without bias; see `convolve`.

    Weights are N(0, 2 / (kernel^2 outputs)) ("he", fan out) or uniform within
    1 / sqrt(kernel^2 inputs) ("uniform", torch's default).

    Source: He et al. 2015, arXiv:1502.01852.

    Example:
      >>> layer = Conv(3, 8, 3, stride=2, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 8, 8, 3), jnp.float32)).shape
      (1, 4, 4, 8)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        init: str = "he",
        method: Method = "auto",
        precision: Precision = None,
        rngs: nnx.Rngs,
    ) -> None:
        """A `size` x `size` kernel, padded by half of it."""
        shape, key = (outputs, size, size, inputs), rngs.params()
        if init == "he":
            std = math.sqrt(2 / (size * size * outputs))
            kernel = std * jax.random.normal(key, shape, jnp.float32)
        else:
            kernel = _uniform(key, shape, size * size * inputs)
        self.kernel: nnx.Param[jax.Array] = nnx.Param(kernel)
        self.stride: int = stride
        self.padding: int = size // 2
        self.method: Method = method
        self.precision: Precision = precision

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, inputs) to (B, ceil(H / stride), ceil(W / stride), outputs)."""
        return convolve(
            x,
            self.kernel[...],
            stride=self.stride,
            padding=self.padding,
            method=self.method,
            precision=self.precision,
        )


class BatchNorm(nnx.Module):
    """y = (x - mean) / sqrt(variance + 1e-5) scale + bias, channel by channel.

    In training mean and (biased) variance are those of the batch, and the running ones
    move a tenth of the way towards mean and unbiased variance, as torch's do (flax's
    own keeps the biased one); in evaluation the running ones are used.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.

    Example:
      >>> layer = BatchNorm(2)
      >>> y = layer(jnp.arange(8.0, dtype=jnp.float32).reshape(4, 1, 1, 2), train=True)
      >>> [round(float(m), 6) for m in layer.mean[...]]
      [0.3, 0.4]
    """

    def __init__(self, channels: int) -> None:
        """Scale one, bias zero, running mean zero, running variance one."""
        shape, dtype = (channels,), jnp.float32
        self.scale: nnx.Param[jax.Array] = nnx.Param(jnp.ones(shape, dtype))
        self.bias: nnx.Param[jax.Array] = nnx.Param(jnp.zeros(shape, dtype))
        self.mean: nnx.BatchStat[jax.Array] = nnx.BatchStat(jnp.zeros(shape, dtype))
        self.variance: nnx.BatchStat[jax.Array] = nnx.BatchStat(jnp.ones(shape, dtype))

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """(B, H, W, channels), normalized."""
        # Pixels as rows: XLA on a CPU sums over one axis up to ten times faster than over
        # three, also in the derivatives.
        rows = x.reshape(-1, x.shape[-1])
        if not train:
            slope = lax.rsqrt(self.variance[...] + EPSILON) * self.scale[...]
            y = (rows - self.mean[...][None]) * slope[None] + self.bias[...][None]
            return y.reshape(x.shape)
        y, mean, variance = normalize(rows, self.scale[...], self.bias[...])
        count = rows.shape[0]
        unbiased = variance * (count / max(count - 1, 1))
        for running, new in ((self.mean, mean), (self.variance, unbiased)):
            running[...] = (1 - MOMENTUM) * running[...] + MOMENTUM * new
        return y.reshape(x.shape)


class Dense(nnx.Module):
    """y = x A + b, all numbers uniform within 1 / sqrt(inputs) at the start.

    Example:
      >>> Dense(4, 2, rngs=nnx.Rngs(0))(jnp.ones((3, 4), jnp.float32)).shape
      (3, 2)
    """

    def __init__(
        self, inputs: int, outputs: int, *, precision: Precision = None, rngs: nnx.Rngs
    ) -> None:
        """A (inputs, outputs) matrix and a bias."""
        matrix = _uniform(rngs.params(), (inputs, outputs), inputs)
        bias = _uniform(rngs.params(), (outputs,), inputs)
        self.matrix: nnx.Param[jax.Array] = nnx.Param(matrix)
        self.bias: nnx.Param[jax.Array] = nnx.Param(bias)
        self.precision: Precision = precision

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, inputs) to (B, outputs)."""
        product = jnp.matmul(x, self.matrix[...], precision=self.precision)
        return product + self.bias[...][None]


def _uniform(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    bound = 1 / math.sqrt(fan_in)
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
