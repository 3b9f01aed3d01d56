# %% [markdown]
r"""
# Does the regularizer make my own network compare distant patches?

Low hierarchical rank of a convolutional network means locality: distant patches $P$ and $Q$
of an image hardly interact. The paper counters it by a term that is added to the loss,

$$
\phi(\theta) + \lambda\, \frac1B \sum_{i=1}^{B}
\frac{|\langle g_i, \tilde g_i \rangle|}{\|g_i\|\, \|\tilde g_i\|},
\qquad g_i = \nabla_{x_P} f_\theta(x_i), \quad
\tilde g_i = \nabla_{x_P} f_\theta(\tilde x_i) ,
$$

where $\tilde x_i$ is $x_i$ with the content of $Q$ taken from another image of the batch.
The mean of $|\cos|$ is one for a network that treats the patches apart.

The network is an equinox module, as you might have one; modules of flax and haiku and plain
functions go through `locality.as_network` likewise. Images and labels are random, so that
the labels say nothing about what is far apart. The example takes 10 s.
"""

# %% A network, images and labels
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

# %% The job
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

# %% The picture
import matplotlib.pyplot as plt

from htfjax import plot

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
x, shades = jnp.asarray(images), plot.colors(2)[::-1]
means = {}
for (name, state), shade in zip((("before", start), ("after", final)), shades, strict=True):

    def logits(x, state=state):
        return net.apply(state.trained, state.carried.statistics, x, train=False)[0]

    change = locality.gradient_change_by_distance(
        jax.random.key(1), logits, x, 2, (0, 2, 4, 6, 8), pairs=12
    )
    means[name] = np.asarray(change.change.mean(axis=1))
    plot.locality(change, label=name, color=shade, ax=ax)
ax.legend()
plt.show()

assert np.all(means["after"][1:4] < means["before"][1:4])

# %% [markdown]
r"""
*Mean $|\cos|$ of input gradients over the distance of two patches of 2 x 2, before and
after training with the regularizer. Bars are 95 % intervals over twelve pairs of patches.*

Lower means that the patches interact. The regularizer was given the left and the right
third of the image, and what it changed shows at other distances too. Near the
end of the receptive field, at the right of the axis, least is gained; beyond it no
coefficient can help.
"""
