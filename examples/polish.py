# %% [markdown]
r"""
# When is a second-order method worth its steps?

Gradient descent finds the low rank; near a solution it is slow, because the valley is
stiff. The loss is a mean of squared residuals $\rho(\theta)$ with Jacobian $J$, so a step
can use the curvature that $J^{\mathsf T} J$ knows (Levenberg-Marquardt):

$$
\bigl(J^{\mathsf T} J + \mu\, I\bigr)\, \Delta\theta = - J^{\mathsf T} \rho(\theta) ,
$$

with the damping $\mu$ raised where a step would not lower the loss. Near a solution with
residuals zero it converges quadratically where the solution is isolated up to the freedom
of the factors, and by a constant factor a step where the factors have more components than
the tensor needs, as here.

The example descends, hands the factors over, and draws losses over seconds. It takes 20 s.
"""

# %% A completion problem of low rank
import time

import jax
import matplotlib.pyplot as plt
import numpy as np

import htfjax as htf

jax.config.update("jax_enable_x64", True)
tree = htf.as_tree("((0, 1), (2, 3))")
target = htf.gaussian_factors(jax.random.key(3), tree, 8, 3, 1.0)
target = htf.theory.normalize(target, 64.0)
indices = htf.random_indices(jax.random.key(1), 8, 1500, order=4)
loss = htf.completion_loss(tree, 8, indices, htf.entries(target, indices))
start = htf.gaussian_factors(jax.random.key(2), tree, 8, 8, 0.2)


def timed(factors, optimizer, num_steps, record_every):
    """The second of two runs, which does not compile: factors, losses and seconds."""
    for _ in range(2):
        began = time.perf_counter()
        final, trajectory = htf.descend(
            factors, loss, optimizer, num_steps=num_steps, record_every=record_every
        )
        jax.block_until_ready(final)
        seconds = time.perf_counter() - began
    return final, trajectory.losses, np.linspace(0, seconds, len(trajectory.losses))


# %% Descent alone, and descent that hands over
_, alone, alone_seconds = timed(start, htf.group_rmsprop(1e-2), 150_000, 500)
near, first, first_seconds = timed(start, htf.group_rmsprop(1e-2), 3000, 50)
final, second, second_seconds = timed(near, htf.levenberg_marquardt(), 25, 1)

# %% The picture
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
shades = htf.plot.colors(2)[::-1]
ax.plot(alone_seconds, alone, color=shades[0], label="GroupRMSprop")
handed = first_seconds[-1] + second_seconds
label = "then Levenberg-Marquardt"
ax.plot(handed, second, "o-", ms=3, color=shades[1], label=label)
ax.set(xlabel="seconds, without compiling", ylabel="loss", yscale="log")
ax.grid(alpha=0.25)
ax.legend()
plt.show()

print(f"loss of descent {alone[-1]:.0e}, after the polish {second[-1]:.0e}")
error = np.linalg.norm(htf.end_tensor(final) - htf.end_tensor(target)) / 64
print(f"relative error of the whole tensor after the polish {error:.0e}")
assert second[-1] < 1e-9
assert alone[-1] > 1e3 * second[-1]

# %% [markdown]
r"""
*Loss over seconds of 150,000 steps of descent, and of 25 steps of Levenberg-Marquardt that
take over after 3,000.*

Each of the second-order steps costs thousands of descent steps, and they pay near a
solution: from the start itself they would go to whatever solution is close, not to one of
low rank.
`htf.complete` alternates both in this way.
"""
