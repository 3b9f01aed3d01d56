# %% [markdown]
r"""
# Which rank does noise permit to see?

A tensor whose singular values fall has no rank of its own; what can be found from noisy
cells depends on the noise. Take a sum of four products of falling size,

$$
\mathcal W = \sum_{r=1}^{4} 3^{1 - r}\, a_r \otimes b_r \otimes c_r ,
\qquad a_r, b_r, c_r \in \mathbb R^{8} .
$$

A component whose part in the cells is smaller than the noise cannot be told from it, and
fitting it makes predictions worse. So the error on cells that were not seen, over the
number of components $R$ of the model, first falls and then rises.

The example fits 70 % of the cells with one to six components at three levels of noise, by
descent and steps of Levenberg-Marquardt, and takes 25 s.
"""

# %% A tensor with falling components, and noise
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import htfjax as htf

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)
weights = 3.0 ** -np.arange(4)
truth = np.einsum("r,ar,br,cr->abc", weights, *rng.normal(size=(3, 8, 4)))
seen = rng.random(truth.shape) < 0.7
indices, unit = np.argwhere(seen), rng.normal(size=seen.sum())
levels, components = (0.6, 0.1, 0.01), range(1, 7)

# %% Fits with one to six components
tree, POLISH = htf.as_tree("(0, 1, 2)"), htf.levenberg_marquardt()


def error_of(noise, count):
    """Error on the cells not seen, of a fit with `count` components."""
    values = jnp.asarray(truth[seen] + noise * unit)
    loss = htf.completion_loss(tree, 8, indices, values)
    final = htf.gaussian_factors(jax.random.key(1), tree, 8, count, 0.2)
    for optimizer, steps in ((htf.group_rmsprop(1e-2), 3000), (POLISH, 40)):
        options = {"num_steps": steps, "record_every": steps}
        final, _ = htf.descend(final, loss, optimizer, **options)
    return jnp.sqrt(jnp.mean((htf.end_tensor(final) - truth)[~seen] ** 2))


errors = np.array(
    [
        jax.jit(jax.vmap(lambda noise, n=count: error_of(noise, n)))(jnp.array(levels))
        for count in components
    ]
)
best = [components[k] for k in np.argmin(errors, axis=0)]
print("components with the smallest error:", dict(zip(levels, best, strict=True)))

# %% The picture
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
shades = htf.plot.colors(3)[::-1]
for noise, column, count, shade in zip(levels, errors.T, best, shades, strict=True):
    ax.plot(components, column, "o-", ms=4, color=shade, label=f"noise {noise}")
    ax.plot(count, column.min(), "o", ms=11, mfc="none", color=shade)
ax.set(xlabel="components of the model", ylabel="error on cells not seen", yscale="log")
ax.set_ylim(4e-3, 1.5)
ax.grid(alpha=0.25)
ax.legend()
plt.show()

assert best == sorted(best)
assert best[0] < best[-1] == 4

# %% [markdown]
r"""
*Root mean squared error on the cells that were not seen, over the number of components of
the model, for three standard deviations of the noise. Circles mark the least.*

The more noise, the fewer components the same cells can support. `htf.complete` makes this
choice itself, by cells that it holds out; told the noise (`noise=0.1`), it takes the fewest
ranks whose error the noise explains.
"""
