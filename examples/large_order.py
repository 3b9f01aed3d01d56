# %% [markdown]
r"""
# What are the ranks of a tensor that fits into no memory?

A tensor of order 64 with four entries in each mode has $4^{64}$ entries. Its factors on a
binary tree have a few thousand, and all that one asks of ranks can be read off them. For a
node $\nu$ the matrix $[\mathcal W; \nu]$ is a product

$$
[\mathcal W; \nu] = U^{(\nu)} B^{(\nu)} V^{(\nu)\mathsf T}
$$

in which $U^{(\nu)}$ (from below) and $V^{(\nu)}$ (from above) have as many columns as the
node has components. QR decompositions, swept up and down the tree, reduce both to small
triangular matrices, whose product with $B^{(\nu)}$ has the same singular values.

`htf.group` stacks the matrices of nodes of one level into one array, so that the program's
size follows the number of levels. The example takes 20 s.
"""

# %% Factors of order 64 and the spectra of all nodes
import jax
import matplotlib.pyplot as plt
import numpy as np

import htfjax as htf

jax.config.update("jax_enable_x64", True)
order, dim, width = 64, 4, 8
tree = htf.perfect(order)
factors = htf.gaussian_factors(jax.random.key(0), tree, dim, width, 1.0)
grouped = htf.group(htf.theory.normalize(factors, 1.0))
spectra = jax.jit(lambda f: htf.spectra(f, method="qr"))(grouped)
stored = sum(w.size for w in jax.tree.leaves(grouped))
print(f"{stored} numbers for {dim**order:.1e} entries; {len(spectra)} spectra")

# %% The picture
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
heights = range(tree.height[tree.root])
for height, shade in zip(heights, htf.plot.colors(len(heights)), strict=True):
    nodes = [v for v in spectra if tree.height[v] == height]
    values = np.stack([spectra[v].values for v in nodes])
    index = range(1, values.shape[1] + 1)
    ax.fill_between(index, values.min(0), values.max(0), color=shade, alpha=0.15, lw=0)
    label = f"{2**height} modes ({len(nodes)} nodes)"
    ax.plot(index, np.median(values, axis=0), "o-", ms=3, color=shade, label=label)
ax.set(xlabel="index", ylabel="singular value", yscale="log")
ax.grid(alpha=0.25)
ax.legend(fontsize=8)
plt.show()

# At every node the squares add up to the squared norm of the tensor, which is one.
for spectrum in spectra.values():
    assert abs(np.sum(spectrum.values**2) - 1) < 1e-10
# At order 8 the tensor fits, and a dense decomposition finds the same values.
small = htf.gaussian_factors(jax.random.key(1), htf.perfect(8), 3, 4, 1.0)
swept = jax.jit(lambda f: htf.spectra(f, method="qr"))(htf.group(small))
for v in (0, 8, 12):  # a mode, a pair of modes, half of them
    dense = htf.singular_values(small, v, method="dense")
    assert np.allclose(swept[v].values, dense, atol=1e-10 * float(dense[0]))

# %% [markdown]
r"""
*Singular values of the matricizations by all 126 nodes of the tree, one colour for each
level: medians over the nodes of a level, and their range.*

Random factors have full ranks, but the values fall by one to three orders of magnitude, so
that a truncation to rank four would change little. The last lines of the cell check what
must hold whatever the tensor, that the squares of the values add up to $\|\mathcal W\|^2$
at every node, and compare a tensor of order 8 with its dense decomposition.
"""
