# %% [markdown]
r"""
# What is a local component, and why does it grow late?

A **mode tree** says which modes of a tensor are grouped: its leaves are the modes, and
every interior node groups the modes below it. A **hierarchical tensor factorization** has
a weight matrix $W^{(\nu)}$ at every node $\nu$, with as many rows as $\nu$ has components
($R_\nu$; at a leaf, as its mode has entries) and as many columns as its parent has.

From the leaves to the root, each node makes tensors of those of its children $C(\nu)$:

$$
\mathcal W^{(\nu, r)} = \sum_{r'=1}^{R_\nu} W^{(\nu)}_{r'\!,\,r}
\bigotimes_{c \in C(\nu)} \mathcal W^{(c,\, r')},
\qquad \mathcal W^{(\{n\}, r)} = W^{(\{n\})}_{:,\,r} .
$$

The root's matrix has one column, and the tensor that it makes is the **end tensor**
$\mathcal W$, the one that the loss sees.

The example runs gradient descent on a factorization of order four, from a small start,
and takes 15 s.
"""

# %% The tree, the end tensor and its components
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import htfjax as htf

tree = htf.as_tree("((0, 1), (2, 3))")
dims, widths = 6, 12  # and every matrix has norm 0.3
start = htf.balanced_factors(jax.random.key(4), tree, dims, widths, 0.3)
W = start.weights  # nodes 0 to 3 are the modes, 4 and 5 group pairs, 6 is the root
by_hand = jnp.einsum("ia,ja,ab,kc,lc,cb,bz->ijkl", W[0], W[1], W[4], W[2], W[3], W[5], W[6])
assert np.allclose(htf.end_tensor(start), by_hand, atol=1e-6)

# %% [markdown]
r"""
The sum at a node has one term for each $r$. What belongs to that term is a **local
component**: row $r$ of $W^{(\nu)}$ and column $r$ of the matrix of each child,
$L = |C(\nu)| + 1$ vectors. Its norm is the product of theirs,

$$
\sigma^{(\nu)}_r = \bigl\| W^{(\nu)}_{r,:} \bigr\|
\prod_{c \in C(\nu)} \bigl\| W^{(c)}_{:,\,r} \bigr\| ,
\qquad
\mathcal W = \sum_{r=1}^{R_\nu} \sigma^{(\nu)}_r\, \mathcal C^{(\nu)}_r .
$$

Here $\mathcal C^{(\nu)}_r$ is the end tensor in which this component has unit vectors and
the others of its node are zero; it is not of norm one, as it holds the matrices of all
other nodes, which are small at the start too. The number of components that are not zero
bounds the rank of $\mathcal W$ as a matrix whose rows are the modes of a child of $\nu$.
"""

# %% Components add up to the end tensor
norms = htf.local_component_norms(start)[tree.root]
directions = htf.theory.direction_tensors(start, tree.root)
assert np.allclose(jnp.tensordot(norms, directions, 1), by_hand, atol=1e-6)

# %% Descent from a small start
target = htf.gaussian_factors(jax.random.key(7), tree, dims, 3, 1.0)
target = htf.theory.normalize(target, float(dims**2))
indices = htf.random_indices(jax.random.key(2), dims, 800, order=4)
loss = htf.completion_loss(tree, dims, indices, htf.entries(target, indices))
final, trajectory = htf.descend(
    start,
    loss,
    htf.group_rmsprop(1e-2),
    num_steps=6000,
    record_every=20,
    observe=htf.local_component_norms,
)

# %% The picture
figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.4), layout="constrained")
htf.plot.tree(final, ax=left)
htf.plot.components(trajectory, top=5, ax=right)
plt.show()

rises = htf.rise_times(np.asarray(trajectory.steps), np.asarray(trajectory.observed[6]))
half = np.sort(rises.half_rise[np.isfinite(rises.half_rise)])
assert len(half) >= 2
assert half[1] > 1.5 * half[0]

# %% [markdown]
r"""
*Left: the tree of the factorization. Each edge carries the shape of the matrix of the node
at its lower end. Right: the norms of the five largest of the root's twelve components. A
curve that rises once more does so as components at nodes 4 and 5 rise.*

Three questions, to try before reading on. What is a local component? Why does it grow
late? Which command shows it?

**What is a local component?** One term of the sum at one node of the tree: a row of the
node's matrix with a column of each child's. There are twelve at each interior node here,
and $\mathcal W$ is their sum, whichever node one looks at.

**Why does it grow late?** Under gradient flow, from a start in which the vectors of a
component have equal norms, the paper's theorem says

$$
\frac{d}{dt}\, \sigma^{(\nu)}_r = L\, \bigl(\sigma^{(\nu)}_r\bigr)^{2 - 2/L}\,
\bigl\langle -\nabla \mathcal L(\mathcal W),\, \mathcal C^{(\nu)}_r \bigr\rangle .
$$

With $L = 3$ the exponent is $4/3$, above one: a component that is small is slow, and one
that is large is fast. So a component waits near zero, for a time that the inner product
decides (it too starts near zero), and then rises within a short one. The component whose
direction agrees best with the negative gradient comes first; once it has fitted its part,
the gradient is what is left, and the next one rises. Components that no part of the target
calls for stay small: the rank of $\mathcal W$ is low although no term of the loss asks for
it. `group_rmsprop` has one step size for all weights, so descent follows the path of the
flow at another speed.

**Which command shows it?** `htfjax incremental-rank --out runs/demo` (in a clone,
`make demo`) runs the paper's three models and draws their norms. In Python it is
`htf.descend(..., observe=htf.local_component_norms)` and `htf.plot.components`, as above.
"""
