"""Small networks for small images, on which the regularizer can be tried in minutes."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from htfjax._types import Precision
from htfjax.locality import inputs as _inputs
from htfjax.locality.networks.convolution.convolution import Method
from htfjax.locality.networks.layers import BatchNorm, Conv, Dense
from htfjax.locality.networks.network import Network, as_network
from htfjax.locality.networks.resnet import BasicBlock, check_options, drop, read_out


def strided_net(
    widths: Sequence[int] = (16, 16, 32, 64, 64),
    strides: Sequence[int] = (2, 2, 2, 2, 1),
    *,
    channels: int = 1,
    num_logits: int = 1,
    dropout: float = 0.0,
    method: Method = "auto",
    precision: Precision = None,
) -> Network:
    """[3x3 convolution, batch norm, ReLU] one after another, mean over pixels, dense.

    The default has 62,801 parameters and a receptive field of 63 pixels.

    Args:
      widths, strides: of the convolutions.
      channels, num_logits, dropout, method, precision: as in `resnet`; dropout acts
        behind every convolution.

    Raises:
      TypeError: numbers of another kind. ValueError: widths and strides in different
        numbers, none, or below one; options as for `resnet`.

    Example:
      >>> import jax
      >>> from htfjax import locality
      >>> params, _ = jax.eval_shape(locality.strided_net().init, jax.random.key(0))
      >>> locality.count_parameters(params)
      62801
    """
    sizes = _inputs.integers("widths", widths, 1)
    steps = _inputs.integers("strides", strides, 1)
    if len(sizes) != len(steps):
        raise ValueError(f"`widths` has {len(sizes)} numbers, `strides` {len(steps)}.")
    channels, num_logits, dropout = check_options(
        channels, num_logits, dropout, method, precision
    )

    def make(rngs: nnx.Rngs) -> nnx.Module:
        before = [channels, *sizes[:-1]]
        layers = [
            Conv(i, o, 3, stride=s, method=method, precision=precision, rngs=rngs)
            for i, o, s in zip(before, sizes, steps, strict=True)
        ]
        head = Dense(sizes[-1], num_logits, precision=precision, rngs=rngs)
        return _Strided(layers, sizes, head, dropout)

    return as_network(make)


def residual_net(
    widths: Sequence[int] = (16, 32, 64),
    *,
    channels: int = 1,
    num_logits: int = 1,
    dropout: float = 0.0,
    method: Method = "auto",
    precision: Precision = None,
) -> Network:
    """A 3x3/2 convolution and one basic block per width, each with stride two.

    The default has a receptive field of 87 pixels.

    Args:
      widths: of the blocks; the first is also the stem's.
      channels, num_logits, dropout, method, precision: as in `resnet`.

    Raises:
      TypeError: numbers of another kind. ValueError: no widths, or below one; options as
        for `resnet`.

    Example:
      >>> import jax
      >>> from htfjax import locality
      >>> params, _ = jax.eval_shape(locality.residual_net().init, jax.random.key(0))
      >>> locality.count_parameters(params)
      77457
    """
    sizes = _inputs.integers("widths", widths, 1)
    channels, num_logits, dropout = check_options(
        channels, num_logits, dropout, method, precision
    )

    def conv(*arguments: int, **options: Any) -> Conv:
        return Conv(*arguments, method=method, precision=precision, **options)

    def make(rngs: nnx.Rngs) -> nnx.Module:
        stem = conv(channels, sizes[0], 3, stride=2, rngs=rngs)
        before = [sizes[0], *sizes[:-1]]
        blocks = [
            BasicBlock(i, o, 2, conv=conv, rngs=rngs)
            for i, o in zip(before, sizes, strict=True)
        ]
        head = Dense(sizes[-1], num_logits, precision=precision, rngs=rngs)
        return _Residual(stem, BatchNorm(sizes[0]), blocks, head, dropout)

    return as_network(make)


class _Strided(nnx.Module):
    def __init__(
        self, layers: list[Conv], widths: Sequence[int], head: Dense, dropout: float
    ) -> None:
        self.layers = nnx.List(layers)
        self.norms = nnx.List([BatchNorm(w) for w in widths])
        self.head, self.dropout = head, dropout

    def __call__(
        self, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> jax.Array:
        for place, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = jax.nn.relu(norm(layer(x), train=train))
            x = drop(x, self.dropout, train, key, place)
        return read_out(self.head, x)


class _Residual(nnx.Module):
    def __init__(
        self,
        stem: Conv,
        norm: BatchNorm,
        blocks: list[BasicBlock],
        head: Dense,
        dropout: float,
    ) -> None:
        self.stem, self.norm, self.blocks = stem, norm, nnx.List(blocks)
        self.head, self.dropout = head, dropout

    def __call__(
        self, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> jax.Array:
        x = jax.nn.relu(self.norm(self.stem(x), train=train))
        for place, block in enumerate(self.blocks):
            x = drop(block(x, train=train), self.dropout, train, key, place)
        return read_out(self.head, x)
