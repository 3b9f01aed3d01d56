# %% [markdown]
r"""
# How small must the steps be for descent to follow the flow?

Theorems on hierarchical factorizations are about **gradient flow**,
$\dot\theta = -\nabla \phi(\theta)$; what runs is **gradient descent**,
$\theta_{k+1} = \theta_k - \eta \nabla\phi(\theta_k)$. Descent is Euler's method for the
flow, so that at a fixed time $t = \eta k$ the two differ by an amount of order $\eta$.

The example integrates the flow with controlled error and descends from the same start
with three learning rates. It compares losses at equal times, and takes 20 s.
"""

# %% A completion problem and a small start
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import htfjax as htf

jax.config.update("jax_enable_x64", True)
tree = htf.as_tree("((0, 1), (2, 3))")
target = htf.gaussian_factors(jax.random.key(3), tree, 5, 2, 1.0)
target = htf.theory.normalize(target, 25.0)
indices = htf.random_indices(jax.random.key(1), 5, 400, order=4)
loss = htf.completion_loss(tree, 5, indices, htf.entries(target, indices))
start = htf.gaussian_factors(jax.random.key(2), tree, 5, 6, 0.3)

# %% The flow, and descent at three learning rates
END = 600.0
times = np.linspace(0.0, END, 241)
ended, flow = htf.gradient_flow(start, loss, times=times, rtol=1e-7, atol=0.0)
runs, distances = {}, {}
for rate in (1.0, 0.5, 0.25):
    steps = round(END / rate)
    options = {"num_steps": steps, "record_every": steps // 300}
    final, runs[rate] = htf.descend(start, loss, optax.sgd(rate), **options)
    apart = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), final, ended)
    distances[rate] = float(jnp.sqrt(sum(jax.tree.leaves(apart))))

# %% The picture
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
ax.plot(flow.times, flow.losses, color="0.55", lw=5, label="flow")
shades = htf.plot.colors(3)[::-1]
for (rate, run), shade, width in zip(runs.items(), shades, (0.6, 2.4, 1.0), strict=True):
    label = rf"descent, $\eta$ = {rate}"
    ax.plot(run.times, run.losses, color=shade, lw=width, label=label)
ax.set(xlabel=r"time $\eta k$", ylabel="loss", yscale="log")
ax.grid(alpha=0.25)
ax.legend()
plt.show()

for rate, distance in distances.items():
    print(f"learning rate {rate}: distance to the flow at the end {distance:.2e}")
# Half the step, half the distance.
assert 1.7 < distances[0.5] / distances[0.25] < 2.3

# %% [markdown]
r"""
*Loss over time of the flow (wide, grey) and of descent with three learning rates.*

With $\eta = 0.5$ and $0.25$ descent makes the same transitions at the same times as the
flow, and what is left of the difference halves with the step, as it does for Euler's
method. With $\eta = 1$ it follows the first plateau, where curvature is small, and leaves
the flow after the first transition: there $\eta$ times the largest curvature exceeds two,
and no theorem about the flow speaks of this run.

`htf.gradient_flow` also measures how well it did: `flow.report.drift` is how far the
quantities that the flow conserves have moved.
"""
