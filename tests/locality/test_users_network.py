"""An equinox network of a user's own, with batch statistics, regularized."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from htfjax import locality


@pytest.fixture(autouse=True)
def promotion() -> Iterator[None]:
    """Users' code runs with jax's own promotion of dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


class Net(eqx.Module):
    """A convolution that sees the whole image, and batch statistics."""

    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    head: jax.Array

    def __init__(self, key: Any) -> None:
        self.conv = eqx.nn.Conv2d(1, 6, (4, 10), key=key)
        self.norm = eqx.nn.BatchNorm(6, "images", mode="batch")
        self.head = jnp.arange(-2.5, 3.0) / 6

    def __call__(self, x: Any, state: Any) -> Any:
        x, state = self.norm(self.conv(x), state)
        return self.head @ jnp.tanh(x).mean((1, 2)), state


@pytest.mark.slow
def test_an_equinox_network_before_and_after() -> None:
    """|cos| falls, in evaluation of the trained module, and its statistics have moved."""
    rng = np.random.default_rng(0)
    pairs = locality.ArrayExamples(rng.normal(size=(24, 4, 12, 1)), np.arange(24) % 2)
    p, q = locality.Patch(0, 0, 4, 4), locality.Patch(0, 8, 4, 4)
    module, state = eqx.nn.make_with_state(Net)(jax.random.key(0))
    net = locality.as_network(module, state)
    loss = locality.training_loss(
        net, pairs, coefficient=3.0, patches=locality.EitherOrder(p, q), batch_size=12
    )
    optimizer = locality.hold(optax.adam(0.03))
    params, statistics = net.init(jax.random.key(0))
    start = locality.start_training(params, statistics, pairs)
    final, path = htf.continue_descent(
        htf.start_descent(start, optimizer), loss, optimizer, num_steps=40,
        record_every=10, observe=locality.epoch_records, key=jax.random.key(1),
    )  # fmt: skip
    ends = (params, statistics), (final.params.trained, final.params.carried.statistics)
    before, after = (
        locality.mean_change(net, *end, pairs, locality.EitherOrder(p, q),
                             key=jax.random.key(2), batch_size=12)
        for end in ends
    )  # fmt: skip
    assert float(after) < 0.9 * float(before)
    assert float(path.observed["uncoupled"][-1]) < 0.5
    moved = eqx.combine(final.params.trained, module)
    assert not np.allclose(moved.conv.weight, module.conv.weight)
    leaves = [jax.tree.leaves(end[1]) for end in ends]
    assert any(not np.allclose(a, b) for a, b in zip(*leaves, strict=True))
