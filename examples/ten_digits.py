# %% [markdown]
r"""
# Which components does a circuit grow while it learns ten digits?

A **convolutional arithmetic circuit** multiplies where other networks take maxima. Cut an
image into $N$ patches and embed each as a vector $x^{(n)}$; the circuit then computes

$$
f_y(x) = \bigl\langle \mathcal W_{:,\dots,:,\,y},\; x^{(1)} \otimes \cdots \otimes x^{(N)}
\bigr\rangle ,
$$

and its layers are a hierarchical factorization of $\mathcal W$, whose last mode is the
class $y$. So its weights have local component norms, and one can watch them.

The example trains such a circuit on 200 digits of 8 x 8 pixels, four patches each, and
takes 10 s.
"""

# %% The job
import optax
from flax import nnx

import htfjax as htf

digits, rngs = htf.locality.load_digits("train"), nnx.Rngs(0)
x, y = digits.pixels[:200] / 16.0, digits.labels[:200].astype("int32")
tree, dims = htf.locality.class_tree(htf.perfect(4)), (12, 12, 12, 12, 10)
start = htf.gaussian_factors(rngs.params(), tree, dims, 12, 0.5, root="ones")
options = {"representation": "relu", "classes": 10, "rngs": rngs}
net = htf.locality.ConvAC(start, (8, 8, 1), 4, **options)
optimizer = nnx.Optimizer(net, optax.adam(0.03), wrt=nnx.Param)
gradient = nnx.jit(nnx.grad(lambda net: htf.locality.fit_loss(net(x), y)))
course = []
for _ in range(40):
    optimizer.update(net, gradient(net))
    course.append(htf.local_component_norms(net.factors())[tree.root])

# %% The picture
import matplotlib.pyplot as plt
import numpy as np

norms = course[-1]
correct = int(htf.locality.count_correct(net(x), y))
print(correct, "of 200 digits are read right")
figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.4), layout="constrained")
htf.plot.tree(tree, ax=left)
order = np.argsort(norms)[::-1]
for r, shade in zip(order, htf.plot.colors(12), strict=True):
    right.plot(range(1, 41), [step[r] for step in course], color=shade)
right.set(xlabel="step", ylabel="local component norm at the root", ylim=(0, None))
right.grid(alpha=0.25)
plt.show()

assert correct > 190
assert float(max(norms)) > 2 * float(min(norms))

# %% [markdown]
r"""
*Left: the tree of the circuit; leaves 0 to 3 are patches and leaf 4 is the class. Right:
the norms of the twelve components at the root, which join class and image.*

The start is not small here, so components do not wait: they grow together and sort
themselves by size. The norms come from the weights of the flax module itself, by
`net.factors()`, and could enter its loss.
"""
