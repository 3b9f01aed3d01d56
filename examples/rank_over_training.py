# %% [markdown]
r"""
# Does training raise the rank of every group of modes?

The rank of the end tensor by a group $I$ of modes is the rank of the matrix
$[\mathcal W; I]$ whose rows are the modes in $I$. As a smooth measure one takes the
entropy of its singular values $s_k$:

$$
\begin{aligned}
\text{effective rank} &= \exp\Bigl(-\sum_k p_k \ln p_k\Bigr),
& p_k &= \frac{s_k}{\sum_j s_j}, \\
\text{entanglement entropy} &= -\sum_k q_k \ln q_k,
& q_k &= \frac{s_k^2}{\sum_j s_j^2} .
\end{aligned}
$$

Groups that are nodes of the mode tree have a rank of at most the node's width. Others have
no such bound: for $\{0, 2\}$ on the tree $((0, 1), (2, 3))$ a target of rank three at its
nodes has rank nine.

The example records both for a node and for a group that is none, and takes 10 s.
"""

# %% A target of rank three at its nodes, and descent from a small start
import jax
import matplotlib.pyplot as plt

import htfjax as htf

tree = htf.as_tree("((0, 1), (2, 3))")
target = htf.gaussian_factors(jax.random.key(0), tree, 6, 3, 1.0)
target = htf.theory.normalize(target, 36.0)
indices = htf.random_indices(jax.random.key(1), 6, 800, order=4)
loss = htf.completion_loss(tree, 6, indices, htf.entries(target, indices))
start = htf.gaussian_factors(jax.random.key(2), tree, 6, 12, 0.1)
groups = ((0, 1), (0, 2))


def observe(factors):
    values = [htf.singular_values(factors, group) for group in groups]
    ranks = [htf.effective_rank(s, 1e-3) for s in values]
    return ranks, [htf.entanglement_entropy(s, 1e-3) for s in values]


final, trajectory = htf.descend(
    start, loss, htf.group_rmsprop(1e-2), num_steps=8000, record_every=20, observe=observe
)
ranks, entropies = trajectory.observed

# %% The picture
figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.4), layout="constrained")
shades = htf.plot.colors(2)
for ax, quantity, name in zip(
    axes, (ranks, entropies), ("effective rank", "entanglement entropy"), strict=True
):
    for values, group, shade in zip(quantity, groups, shades, strict=True):
        kind = "a node" if group == (0, 1) else "no node"
        label = f"modes {{{group[0]}, {group[1]}}}, {kind}"
        ax.plot(trajectory.steps, values, color=shade, label=label)
    ax.set(xlabel="step", ylabel=name, ylim=(0, None))
    ax.grid(alpha=0.25)
axes[0].legend()
plt.show()

assert float(ranks[0][-1]) <= 3.1 < float(ranks[1][-1])

# %% [markdown]
r"""
*Effective rank and entanglement entropy of the end tensor by two groups of modes while a
factorization on the tree $((0, 1), (2, 3))$ learns.*

By the node's modes the rank climbs by about one at a time and ends at the target's. By
the other group each new component brings several singular values at once. The first
records are those of a small random tensor, whose singular values are alike: an effective
rank says nothing about size. Both measures cut values below a thousandth of the largest,
because an entropy counts noise.
"""
