"""Residual networks with torchvision's topology, initialization and parameter counts."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from htfjax import _checks
from htfjax._types import Precision
from htfjax.locality import inputs as _inputs
from htfjax.locality.networks.convolution.convolution import METHODS, Method, max_pool
from htfjax.locality.networks.layers import BatchNorm, Conv, Dense
from htfjax.locality.networks.network import Network, as_network

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
STAGE_WIDTHS = (64, 128, 256, 512)
EXPANSION = 4  # of a bottleneck
MakeConv = Callable[..., Conv]
# A convolution and its normalization.
Shortcut = nnx.List[Any]
Block: TypeAlias = "BasicBlock | Bottleneck"


def resnet(
    depth: int = 18,
    *,
    channels: int = 3,
    num_logits: int = 1,
    width: float = 1.0,
    dropout: float = 0.0,
    method: Method = "auto",
    precision: Precision = None,
) -> Network:
    """ResNet 18, 34 or 50: 7x7/2 convolution, 3x3/2 maximum, four stages, mean, dense.

    Convolutions start He normal over their outputs, the dense layer uniform; where the
    images do not have 3 channels the first convolution starts uniform, as in the paper's
    code, which replaces torchvision's. With 3 channels and one logit depth 18 has
    11,177,025 parameters, depth 34 21,285,185 and depth 50 23,510,081.

    Args:
      depth: 18, 34 or 50 (bottlenecks with the stride in the 3x3 convolution).
      channels: of the images.
      num_logits: K; with one the logits are (B,).
      width: factor on all channel numbers.
      dropout: share of channels' numbers dropped between stages, in training, with `key`.
      method: of `convolve`.
      precision: of all products; None is the backend's default, which on accelerators
        may be less than float32.

    Raises:
      TypeError: numbers of another kind. ValueError: another depth, numbers below one, a
        share outside [0, 1), an unknown method or precision.

    Source: He et al. 2016, arXiv:1512.03385; torchvision's variant of it.

    Example:
      >>> import jax
      >>> from htfjax import locality
      >>> net = locality.resnet(18, channels=1)
      >>> params, _ = jax.eval_shape(net.init, jax.random.key(0))
      >>> locality.count_parameters(params)
      11170753
    """
    depth = _checks.at_least("depth", depth, 1)
    if depth not in DEPTHS:
        raise ValueError(f"`depth={depth}` is none of {sorted(DEPTHS)}.")
    channels, num_logits, dropout = check_options(
        channels, num_logits, dropout, method, precision
    )
    width = _inputs.static_number("width", width, least=0, strict=True)
    widths = tuple(round(width * w) for w in STAGE_WIDTHS)
    if min(widths) < 1:
        raise ValueError(f"`width={width}` leaves stages without channels.")
    conv = functools.partial(Conv, method=method, precision=precision)
    return as_network(
        lambda rngs: ResNet(
            DEPTHS[depth],
            widths,
            bottleneck=depth >= 50,
            channels=channels,
            num_logits=num_logits,
            dropout=dropout,
            conv=conv,
            precision=precision,
            rngs=rngs,
        )
    )


def check_options(
    channels: int, num_logits: int, dropout: float, method: Method, precision: Precision
) -> tuple[int, int, float]:
    """The options that all networks of this folder have; numbers as Python's."""
    share = _inputs.static_number("dropout", dropout, least=0)
    if share >= 1:
        raise ValueError(f"`dropout={_checks.spell(dropout)}` must be in [0, 1).")
    _checks.one_of("method", method, METHODS)
    _checks.precision("precision", precision)
    channels = _checks.at_least("channels", channels, 1)
    return channels, _checks.at_least("num_logits", num_logits, 1), share


class ResNet(nnx.Module):
    """The network of `resnet` as a flax module."""

    def __init__(
        self,
        counts: tuple[int, ...],
        widths: tuple[int, ...],
        *,
        bottleneck: bool,
        channels: int,
        num_logits: int,
        dropout: float,
        conv: MakeConv,
        precision: Precision,
        rngs: nnx.Rngs,
    ) -> None:
        """`counts` blocks per stage, of `widths` channels."""
        init = "he" if channels == 3 else "uniform"
        self.stem: Conv = conv(channels, widths[0], 7, stride=2, init=init, rngs=rngs)
        self.norm: BatchNorm = BatchNorm(widths[0])
        self.dropout: float = dropout
        inputs = widths[0]
        stages: list[nnx.List[Block]] = []
        kind = Bottleneck if bottleneck else BasicBlock
        for number, (count, width) in enumerate(zip(counts, widths, strict=True)):
            blocks: list[Block] = []
            for i in range(count):
                stride = 2 if number and i == 0 else 1
                blocks.append(kind(inputs, width, stride, conv=conv, rngs=rngs))
                inputs = width * (EXPANSION if bottleneck else 1)
            stages.append(nnx.List(blocks))
        self.stages: nnx.List[nnx.List[Block]] = nnx.List(stages)
        self.head: Dense = Dense(inputs, num_logits, precision=precision, rngs=rngs)

    def __call__(
        self, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> jax.Array:
        """Images (B, H, W, C) to (B,) or (B, K)."""
        x = max_pool(jax.nn.relu(self.norm(self.stem(x), train=train)), 3, 2, 1)
        for number, blocks in enumerate(self.stages):
            for block in blocks:
                x = block(x, train=train)
            x = drop(x, self.dropout, train, key, number)
        return read_out(self.head, x)


class BasicBlock(nnx.Module):
    """relu(x + norm(conv3x3(relu(norm(conv3x3(x)))))), the first with the stride."""

    def __init__(
        self, inputs: int, width: int, stride: int, *, conv: MakeConv, rngs: nnx.Rngs
    ) -> None:
        """`width` channels out; a 1x1 convolution on the short cut where shapes change."""
        self.first: Conv = conv(inputs, width, 3, stride=stride, rngs=rngs)
        self.norm_first: BatchNorm = BatchNorm(width)
        self.second: Conv = conv(width, width, 3, rngs=rngs)
        self.norm_second: BatchNorm = BatchNorm(width)
        self.shortcut: Shortcut | None = _shortcut(inputs, width, stride, conv, rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """(B, H, W, inputs) to (B, H / stride, W / stride, width)."""
        y = jax.nn.relu(self.norm_first(self.first(x), train=train))
        y = self.norm_second(self.second(y), train=train)
        return jax.nn.relu(y + _short(self.shortcut, x, train))


class Bottleneck(nnx.Module):
    """1x1, 3x3 with the stride, and 1x1 to four times the channels, around a short cut."""

    def __init__(
        self, inputs: int, width: int, stride: int, *, conv: MakeConv, rngs: nnx.Rngs
    ) -> None:
        """4 `width` channels out."""
        wide = EXPANSION * width
        self.reduce: Conv = conv(inputs, width, 1, rngs=rngs)
        self.norm_reduce: BatchNorm = BatchNorm(width)
        self.middle: Conv = conv(width, width, 3, stride=stride, rngs=rngs)
        self.norm_middle: BatchNorm = BatchNorm(width)
        self.expand: Conv = conv(width, wide, 1, rngs=rngs)
        self.norm_expand: BatchNorm = BatchNorm(wide)
        self.shortcut: Shortcut | None = _shortcut(inputs, wide, stride, conv, rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """(B, H, W, inputs) to (B, H / stride, W / stride, 4 width)."""
        y = jax.nn.relu(self.norm_reduce(self.reduce(x), train=train))
        y = jax.nn.relu(self.norm_middle(self.middle(y), train=train))
        y = self.norm_expand(self.expand(y), train=train)
        return jax.nn.relu(y + _short(self.shortcut, x, train))


def drop(
    x: jax.Array, share: float, train: bool, key: jax.Array | None, place: int
) -> jax.Array:
    """Inverted dropout, one stream for each place in the network."""
    if not share or not train:
        return x
    if key is None:
        raise ValueError(f"`key` is needed in training: the network drops {share:.0%}.")
    kept = jax.random.bernoulli(jax.random.fold_in(key, place), 1 - share, x.shape)
    return jnp.where(kept, x / (1 - share), 0)


def read_out(head: Dense, x: jax.Array) -> jax.Array:
    """Mean over pixels, then the dense layer: (B,) for one logit."""
    logits = head(jnp.mean(x, axis=(1, 2)))
    return logits[:, 0] if logits.shape[1] == 1 else logits


def _shortcut(
    inputs: int, outputs: int, stride: int, conv: MakeConv, rngs: nnx.Rngs
) -> Shortcut | None:
    if stride == 1 and inputs == outputs:
        return None
    return nnx.List(
        [conv(inputs, outputs, 1, stride=stride, rngs=rngs), BatchNorm(outputs)]
    )


def _short(shortcut: Shortcut | None, x: jax.Array, train: bool) -> jax.Array:
    if shortcut is None:
        return x
    return shortcut[1](shortcut[0](x), train=train)
