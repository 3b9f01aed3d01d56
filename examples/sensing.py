# %% [markdown]
r"""
# How many random measurements determine a tensor?

A tensor of low hierarchical rank is known by far fewer numbers than it has entries: by as
many as the set of such tensors has dimensions. In **rank-one sensing** a measurement is an
inner product with random vectors,

$$
y_b = \bigl\langle \mathcal W^\ast,\, x_b^{(0)} \otimes \cdots \otimes x_b^{(N-1)}
\bigr\rangle ,
$$

which is also what a convolutional arithmetic circuit computes of an image of $N$ patches.
Descent from a small start is not told the rank. Does it find the tensor, and from how
many measurements?

The example draws one to six measurements per degree of freedom, eight seeds each, and
takes 10 s.
"""

# %% A target of rank two
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import htfjax as htf

tree, dim, rank = htf.as_tree("((0, 1), (2, 3))"), 5, 2
freedom = htf.formats.degrees_of_freedom(tree, dim, rank)
print(f"{freedom} degrees of freedom, {dim**4} entries")


def relative_error(key, count):
    """Descent on `count` measurements of a random target; the error on the tensor."""
    keys = jax.random.split(key, 3)
    target = htf.gaussian_factors(keys[0], tree, dim, rank, 1.0)
    target = htf.theory.normalize(target, float(dim**2))
    vectors = jax.random.normal(keys[1], (4, count, dim)) / jnp.sqrt(dim)
    values = htf.sense(target, vectors)
    scale = jnp.sqrt(jnp.mean(values**2))
    loss = htf.sensing_loss(vectors, values / scale)
    start = htf.gaussian_factors(keys[2], tree, dim, 8, 0.2)
    options = {"num_steps": 4000, "record_every": 4000}
    final, _ = htf.descend(start, loss, htf.group_rmsprop(1e-2), **options)
    truth = htf.end_tensor(target)
    return jnp.linalg.norm(scale * htf.end_tensor(final) - truth) / jnp.linalg.norm(truth)


# %% Eight seeds at each number of measurements
ratios = (1, 1.5, 2, 3, 4, 6)
keys = jax.random.split(jax.random.key(0), 8)
errors = []
for ratio in ratios:
    count = round(ratio * freedom)
    errors.append(jax.jit(jax.vmap(lambda key, n=count: relative_error(key, n)))(keys))
errors = np.array(errors)

# %% The picture
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
ax.plot(ratios, errors, ".", color="0.5")
ax.plot(ratios, np.median(errors, axis=1), "o-", color=htf.plot.colors(3)[1])
ax.set(xlabel="measurements per degree of freedom", ylabel="relative error of the tensor")
ax.set(yscale="log")
ax.grid(alpha=0.25)
plt.show()

medians = np.median(errors, axis=1)
print("medians:", dict(zip(ratios, medians.round(3).tolist(), strict=True)))
assert medians[-1] < 0.05
assert medians[0] > 0.3

# %% [markdown]
r"""
*Relative error of the whole tensor over the number of measurements, as a multiple of the
degrees of freedom: eight seeds (grey) and their median.*

Near one measurement per degree of freedom descent fits the measurements and misses the
tensor: with eight components a node, other tensors fit them too. With a few times as many
it finds the target, of whose rank the loss knows nothing.
"""
