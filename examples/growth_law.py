# %% [markdown]
r"""
# Do local components grow as the theorem says?

Along gradient flow on any loss of the end tensor $\mathcal W$, the norm $\sigma$ of a local
component with vectors $w_1, \dots, w_L$ changes at the rate

$$
\dot\sigma = \gamma\, \sigma^2 \sum_{i=1}^{L} \frac{1}{\|w_i\|^2},
\qquad
\gamma = \bigl\langle -\nabla \mathcal L(\mathcal W),\, \mathcal C \bigr\rangle ,
$$

with $\mathcal C$ the end tensor in which this component has unit vectors and its
neighbours at the node are zero. If the vectors have equal norms, which the flow conserves,
it becomes the paper's law $\dot\sigma = L\, \sigma^{2 - 2/L} \gamma$. Of all ways to share
a norm, equal ones give the slowest growth.

The example follows the flow from a Gaussian start, whose vectors have different norms, and
compares finite differences of recorded norms with both laws. It takes 20 s.
"""

# %% A completion problem and a Gaussian start
import jax
import matplotlib.pyplot as plt
import numpy as np

import htfjax as htf

jax.config.update("jax_enable_x64", True)
tree = htf.as_tree("((0, 1), (2, 3))")
target = htf.gaussian_factors(jax.random.key(3), tree, 5, 2, 1.0)
target = htf.theory.normalize(target, 25.0)
indices = htf.random_indices(jax.random.key(1), 5, 400, order=4)
loss = htf.completion_loss(tree, 5, indices, htf.entries(target, indices))
start = htf.gaussian_factors(jax.random.key(2), tree, 5, 6, 0.3)


def observe(factors):
    return (
        htf.local_component_norms(factors)[tree.root],
        htf.theory.exact_growth(factors, loss)[tree.root],
        htf.theory.balanced_growth(factors, loss)[tree.root],
    )


# %% Norms and laws along the flow
times = np.linspace(0.0, 600.0, 2401)
_, flow = htf.gradient_flow(start, loss, times=times, rtol=1e-7, atol=0.0, observe=observe)
norms, exact, balanced = map(np.asarray, flow.observed)
measured = np.gradient(norms, times, axis=0)

# %% The picture
figure, (upper, lower) = plt.subplots(
    2, 1, figsize=(6.4, 5.0), sharex=True, layout="constrained"
)
largest = np.argsort(norms[-1])[::-1][:2]
for r, shade in zip(largest, htf.plot.colors(2), strict=True):
    upper.plot(times, norms[:, r], color=shade, label=f"r = {r}")
    lower.plot(times[::16], measured[::16, r], "o", ms=4, color=shade, mfc="none")
    lower.plot(times, exact[:, r], color=shade)
    lower.plot(times, balanced[:, r], ":", color=shade)
for marks, name in (("o", "measured"), ("-", "exact law"), (":", "balanced law")):
    lower.plot([], [], marks, color="0.4", ms=4, label=name)
upper.set_ylabel(r"norm $\sigma$")
lower.set(xlabel="time", ylabel=r"growth $\dot\sigma$")
lower.set_yscale("symlog", linthresh=1e-3)
for ax in (upper, lower):
    ax.grid(alpha=0.25)
    ax.legend()
plt.show()

gap = np.abs(measured - exact)[1:-1].max() / np.abs(exact).max()
print(f"largest difference of measured and exact growth: {gap:.1e} of the largest growth")
assert gap < 0.02
assert np.all(np.abs(balanced) <= np.abs(exact) * (1 + 1e-9))

# %% [markdown]
r"""
*Top: the two largest norms at the root. Bottom: their growth, by finite differences of the
records (dots), by the exact law (lines) and by the balanced law (dotted).*

The dots lie on the lines. Both components wait, rise within a short time and stop when
$\gamma$ vanishes, which is when nothing of the gradient is left in their direction. The
dotted lines lie closer to zero, most visibly at the beginning: this start was not balanced,
and imbalance helps a small component to grow. The flow conserves the differences of the
squared norms $\|w_i\|^2$, so they matter less and less as the norms grow.
"""
