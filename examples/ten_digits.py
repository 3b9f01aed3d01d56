"""Ten classes of digits by a convolutional arithmetic circuit, and its component norms.

The circuit is a hierarchical factorization whose last mode is the class, so its weights
have local component norms like any others. Takes 10 s.
"""

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
for _ in range(40):
    optimizer.update(net, gradient(net))
norms = htf.local_component_norms(net.factors())[tree.root]
print(htf.locality.count_correct(net(x), y), "of 200 digits are read right, norms", norms)
