"""An equinox network of one's own before and after regularizing against locality.

Random images and labels, so that the labels say nothing about what is far apart; the
number printed is the mean |cos| between gradients at two patches, 1 for a network that
treats them apart. Takes 10 s.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


class Net(eqx.Module):
    """A convolution over the whole image, and a mean of its tanh."""

    conv: eqx.nn.Conv2d
    head: jax.Array

    def __init__(self, key):
        self.conv = eqx.nn.Conv2d(1, 6, (4, 10), key=key)
        self.head = jnp.arange(-2.5, 3.0) / 6

    def __call__(self, image):
        return self.head @ jnp.tanh(self.conv(image)).mean((1, 2))


images, labels = np.random.default_rng(0).normal(size=(24, 4, 12, 1)), np.arange(24) % 2

# %% Twelve lines with `Net`, `images` and `labels`
import optax

from htfjax import descend, locality

key, examples = jax.random.key(0), locality.ArrayExamples(images, labels)
patches = locality.Patch(0, 0, 4, 4), locality.Patch(0, 8, 4, 4)
net, optimizer = locality.as_network(Net(key)), locality.hold(optax.adam(0.03))
options = {"patches": locality.EitherOrder(*patches), "batch_size": 12}
loss = locality.training_loss(net, examples, coefficient=3.0, **options)
start = locality.start_training(*net.init(key), examples)
final, _ = descend(start, loss, optimizer, num_steps=40, record_every=40, key=key)
for name, state in (("before", start), ("after", final)):
    weights = state.trained, state.carried.statistics
    print(name, locality.mean_change(net, *weights, examples, key=key, **options))
