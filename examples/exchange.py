# %% [markdown]
r"""
# Does a tensor survive the change of its format?

CP, Tucker, tensor-train and hierarchical Tucker tensors are tensors on different trees:

$$
\text{CP: } \sum_{r} w_r \bigotimes_n a^{(n)}_r, \qquad
\text{train: } G^{(0)}_{i_0} G^{(1)}_{i_1} \cdots G^{(N-1)}_{i_{N-1}} .
$$

A CP tensor has all modes at one node, a train adds a mode at a time, a hierarchical Tucker
tensor groups them in a binary tree. htfjax holds all of them as factors, so a tensor can
go from one to another, and to other libraries and back.

The example takes a CP tensor as tensorly holds it, makes a hierarchical Tucker tensor and
a train of it, and goes back. It takes 10 s.
"""

# %% A CP tensor of another library
import jax
import matplotlib.pyplot as plt
import numpy as np

import htfjax as htf

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)
weights, matrices = np.array([3.0, 2.0, 1.0]), rng.normal(size=(4, 8, 3))
cp = htf.exchange.from_tensorly((weights, list(matrices)))  # or a tensorly CPTensor
dense = np.einsum("r,ar,br,cr,dr->abcd", weights, *matrices)

# %% A binary tree, a train, and back to the flat tree
tensor = htf.end_tensor(cp)
binary, _ = htf.formats.hierarchical_svd(tensor, "((0, 1), (2, 3))", rtol=1e-12)
train, _ = htf.formats.tensor_train_svd(htf.end_tensor(binary), rtol=1e-12)
tucker, _ = htf.formats.hierarchical_svd(htf.end_tensor(train), "(0, 1, 2, 3)", rtol=1e-12)
formats = {"CP": cp, "hierarchical Tucker": binary, "tensor train": train, "Tucker": tucker}
for name, factors in formats.items():
    error = np.abs(htf.end_tensor(factors) - dense).max() / np.abs(dense).max()
    rank = int(htf.numerical_rank(htf.singular_values(factors, (0, 1)), 1e-8))
    stored = sum(w.size for w in jax.tree.leaves(factors))
    print(f"{name:19} {stored:4} numbers, rank {rank}, error {error:.0e}")
    assert error < 1e-12
    assert rank == 3

# A file for MATLAB's htucker, read back.
htf.exchange.write_htensor("x.mat", binary)
again = htf.exchange.read_htensor("x.mat")
assert np.abs(htf.end_tensor(again) - dense).max() < 1e-11

# %% The picture
figure, axes = plt.subplots(1, 3, figsize=(8.0, 3.2), layout="constrained")
shapes = {"CP, Tucker": "(0, 1, 2, 3)", "hierarchical Tucker": "((0, 1), (2, 3))"}
shapes["tensor train"] = "(((0, 1), 2), 3)"
for ax, (name, tree) in zip(axes, shapes.items(), strict=True):
    htf.plot.tree(tree, ax=ax)
    ax.set_title(name)
plt.show()

# %% [markdown]
r"""
*The trees of the formats. Leaves are modes; a node's id stands in it.*

The numbers stored differ, the tensor does not: each step is exact to rounding, and the rank
by modes 0 and 1 is three throughout. `hierarchical_svd` with a tolerance of $10^{-12}$
found the ranks from the tensor; at larger sizes `htf.formats.round_factors` changes the
ranks of factors without the full tensor. `htf.exchange` has the functions for tensap,
quimb, tensorly, hiepy, tntorch, torchTT and MATLAB.
"""
