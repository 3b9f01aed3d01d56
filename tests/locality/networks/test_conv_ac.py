"""The network equals the tensor: ConvAC against `sense`, grids, full Tucker, training."""

import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import htfjax as htf
from htfjax import locality
from tests import helpers


def as_images(vectors):
    """N arrays (B, D) as images (B, 1, N, D) of patches of one pixel."""
    return jnp.stack(vectors, axis=1)[:, None]


@pytest.mark.parametrize(("name", "root"), helpers.CASES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_network_is_the_inner_product(name, root, dtype):
    """ConvAC = sense, to 1e-12 in float64 and 1e-5 in float32."""
    order = htf.ModeTree.from_nested(helpers.TREES[name]).order
    factors = helpers.random_factors(name, (3,) * order, root=root, dtype=dtype)
    vectors = [jnp.asarray(x, dtype) for x in helpers.random_vectors((3,) * order, 7)]
    net = locality.ConvAC(factors, (1, order, 3), 1)
    expected = np.asarray(htf.sense(factors, vectors))
    found = net(as_images(vectors))
    assert found.dtype == dtype
    size = float(
        jnp.max(htf.sense(jax.tree.map(jnp.abs, factors), list(map(jnp.abs, vectors))))
    )
    helpers.assert_close(
        found, expected, size=size, rtol=1e-12 if dtype == np.float64 else 1e-5
    )
    for a, b in zip(net.factors().weights, factors.weights, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("tree", [htf.perfect(16), htf.square_patches(4, 2), htf.flat(16)])
def test_order_sixteen_on_images(tree):
    factors = htf.gaussian_factors(jax.random.key(0), tree, 2, 3, 0.7)
    images = jnp.asarray(np.random.default_rng(0).integers(0, 2, (5, 4, 4, 1)))
    net = locality.ConvAC(factors, (4, 4, 1), 1, representation="one_hot")
    expected = htf.entries(factors, images.reshape(5, 16))
    helpers.assert_close(net(images), expected, rtol=1e-12)


@pytest.mark.parametrize("representation", ["linear", "relu"])
def test_representations_of_patches(representation):
    """Patches are cut row by row; A x + b is common to all."""
    factors = helpers.random_factors("binary4", (3,) * 4)
    net = locality.ConvAC(
        factors, (4, 6, 2), (2, 3), representation=representation, key=jax.random.key(1)
    )
    net.bias[...] = jnp.array([0.1, -0.2, 0.3])
    images = np.random.default_rng(0).standard_normal((5, 4, 6, 2))
    corners = [(0, 0), (0, 3), (2, 0), (2, 3)]
    patches = [images[:, a : a + 2, b : b + 3].reshape(5, -1) for a, b in corners]
    vectors = [
        x @ np.asarray(net.filters[...]) + np.asarray(net.bias[...]) for x in patches
    ]
    if representation == "relu":
        vectors = [np.maximum(x, 0) for x in vectors]
    for a, b in zip(net.features(jnp.asarray(images)), vectors, strict=True):
        helpers.assert_close(a, b)
    expected = htf.sense(factors, [jnp.asarray(x) for x in vectors])
    helpers.assert_close(net(jnp.asarray(images)), expected)
    cut = locality.split_patches(jnp.asarray(images), (2, 3))
    np.testing.assert_array_equal(locality.join_patches(cut, (4, 6, 2), (2, 3)), images)


@pytest.mark.slow
def test_shared_weights_are_one_matrix_a_level():
    """Shared and unshared agree in value; the shared gradient is the sum of copies'."""
    tree = htf.square_patches(4, 2)
    rng = np.random.default_rng(0)
    shared = [jnp.asarray(rng.standard_normal(s)) for s in [(2, 3), (3, 2), (2, 1)]]
    net = locality.ConvAC(shared, (4, 4, 1), 1, representation="one_hot", tree=tree)
    whole = htf.theory.to_factors(tree, shared)
    images = jnp.asarray(rng.integers(0, 2, (5, 4, 4, 1)))
    helpers.assert_close(net(images), htf.entries(whole, images.reshape(5, 16)))
    graph, state = nnx.split(net)
    slope = jax.jit(jax.grad(lambda s: jnp.sum(nnx.merge(graph, s)(images))))(state)
    read = jax.jit(jax.grad(lambda f: jnp.sum(htf.entries(f, images.reshape(5, 16)))))
    apart = read(whole)
    leaf = sum(apart.weights[n] for n in range(16))
    helpers.assert_close(slope["weights"][0][...], leaf)
    net.set_factors(jax.tree.map(lambda w: 2 * w, whole))
    np.testing.assert_array_equal(net.factors().weights[16], 2 * shared[1])
    with pytest.raises(ValueError, match="differ within height 0"):
        net.set_factors(
            htf.gaussian_factors(jax.random.key(0), tree, 2, (3,) * 4 + (2,), 1.0)
        )


@pytest.mark.slow
@pytest.mark.parametrize("root", ["ones", "trained"])
def test_classes_are_outputs_of_one_mode(root):
    """Output k is the network whose last matrix is row k of the class mode's."""
    rng = np.random.default_rng(3)
    tree = locality.class_tree(htf.square_patches(4, 2))
    assert tree.nested == (*htf.square_patches(4, 2).nested, 16)
    factors = htf.gaussian_factors(
        jax.random.key(0), tree, (*[2] * 16, 5), 3, 0.8, root=root
    )
    images = jnp.asarray(rng.integers(0, 2, (6, 4, 4, 1)))
    net = locality.ConvAC(factors, (4, 4, 1), 1, representation="one_hot", classes=5)
    found = jax.jit(net)(images)
    assert found.shape == (6, 5)
    assert net(images[:0]).shape == (0, 5)
    *weights, last = factors.weights
    weights = [w for k, w in enumerate(weights) if k != 16]
    for k, row in enumerate(np.asarray(factors.weights[16])):
        scale = np.ones(3) if last is None else np.asarray(last)[:, 0]
        single = htf.Factors(
            tree=htf.square_patches(4, 2),
            weights=(*weights, jnp.asarray(row * scale)[:, None]),
        )
        one = locality.ConvAC(single, (4, 4, 1), 1, representation="one_hot")
        helpers.assert_close(found[:, k], one(images), rtol=1e-12)
    net.set_factors(jax.tree.map(lambda w: 2 * w, factors))
    count = htf.theory.degree(factors)
    helpers.assert_close(net(images), 2.0**count * found, rtol=1e-12)
    assert len(net.features(images)) == 16


@pytest.mark.slow
def test_rngs_and_embeddings_of_ones_own():
    """`rngs` draws A as flax's modules draw; a module of patches is trained too."""
    factors = helpers.random_factors("binary4", (7,) * 4)  # seven numbers, four a patch
    images = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4, 4, 1)))

    def make(rngs):
        return locality.ConvAC(factors, (4, 4, 1), 2, representation="relu", rngs=rngs)

    network = locality.as_network(make)
    params, statistics = network.init(jax.random.key(1))
    other, _ = network.init(jax.random.key(2))
    same = locality.ConvAC(
        factors,
        (4, 4, 1),
        2,
        representation="relu",
        key=nnx.Rngs(jax.random.key(1)).params(),
    )
    np.testing.assert_array_equal(params["filters"], same.filters[...])
    assert not np.allclose(params["filters"], other["filters"])
    logits, _ = network.apply(params, statistics, images, train=True)
    helpers.assert_close(logits, same(images))

    class Square(nnx.Module):
        def __init__(self, matrix):
            self.matrix = nnx.Param(matrix)

        def __call__(self, patches):
            return jnp.square(patches) @ self.matrix[...]

    matrix = np.random.default_rng(1).standard_normal((4, 7))
    net = locality.ConvAC(factors, (4, 4, 1), 2, representation=Square(jnp.asarray(matrix)))
    patches = np.asarray(locality.split_patches(images, 2))
    vectors = [jnp.asarray(patches[:, n] ** 2 @ matrix) for n in range(4)]
    helpers.assert_close(net(images), htf.sense(factors, vectors))
    assert "representation.matrix" in locality.as_network(net).init(jax.random.key(0))[0]


def test_full_hierarchical_tucker_by_fixed_selectors():
    """Order 8, D = 4, ranks 4: transfer tensors as one-child nodes over fixed selectors.

    A binary node with transfer tensor B[a, b, r] is a node of 16 components (a, b) whose
    children are one-child nodes with fixed 4 x 16 matrices that pick a or b.
    """
    rank, dim = 4, 4
    rng = np.random.default_rng(5)
    pairs = np.array(list(itertools.product(range(rank), range(rank))))
    select = [np.eye(rank)[:, pairs[:, side]] for side in (0, 1)]

    def grow(modes):
        if len(modes) == 1:
            return modes[0]
        half = len(modes) // 2
        return ((grow(modes[:half]),), (grow(modes[half:]),))

    tree = htf.ModeTree.from_nested(grow(list(range(8))))
    weights, fixed = [], []
    for k in range(tree.num_nodes):
        kids, parent = tree.children[k], tree.parent[k]
        if k < 8:
            weights.append(rng.standard_normal((dim, rank)))
        elif len(kids) == 1:
            weights.append(select[tree.children[parent].index(k)])
            fixed.append(k)
        else:
            weights.append(rng.standard_normal((rank**2, 1 if parent is None else rank)))
    factors = htf.Factors(
        tree=tree, weights=tuple(map(jnp.asarray, weights)), fixed=tuple(fixed)
    )

    def transfer(k):
        return weights[k].reshape(rank, rank, -1)

    def contract(k):
        if k < 8:
            return weights[k]
        left, right = (contract(tree.children[c][0]) for c in tree.children[k])
        joined = np.einsum("ia,jb,abr->ijr", left, right, transfer(k), optimize=True)
        return joined.reshape(-1, joined.shape[-1])

    expected = contract(tree.root).reshape((dim,) * 8)
    found = htf.end_tensor(factors)
    helpers.assert_close(found, expected, rtol=1e-12)
    net = locality.ConvAC(factors, (2, 4, 1), 1, representation="one_hot")
    images = jnp.asarray(rng.integers(0, dim, (6, 2, 4, 1)))
    codes = np.asarray(images).reshape(6, 8)
    size = np.max(np.abs(expected))
    helpers.assert_close(net(images), expected[tuple(codes.T)], size=size, rtol=1e-12)
    kinds = {type(w) for w in net.weights}
    assert kinds == {nnx.Param, type(net.weights[fixed[0]])}


@pytest.mark.slow
def test_training_moves_the_factors_and_not_the_fixed_ones():
    """The README's example in small: optax trains, local component norms are read."""
    free = helpers.random_factors("binary4", (2,) * 4)
    factors = htf.Factors(tree=free.tree, weights=free.weights, fixed=(0,))
    net = locality.ConvAC(factors, (2, 2, 1), 1, representation="one_hot")
    images = jnp.asarray(helpers.all_indices((2,) * 4).reshape(16, 2, 2, 1))
    labels = jnp.asarray(np.random.default_rng(0).standard_normal(16))
    optimizer = nnx.Optimizer(net, optax.sgd(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(net, optimizer):
        loss, grads = nnx.value_and_grad(lambda m: jnp.mean((m(images) - labels) ** 2))(net)
        optimizer.update(net, grads)
        return loss

    losses = [float(step(net, optimizer)) for _ in range(5)]
    assert losses[-1] < losses[0]
    np.testing.assert_array_equal(net.factors().weights[0], factors.weights[0])
    norms = htf.local_component_norms(net.factors())
    assert not np.allclose(norms[6], htf.local_component_norms(factors)[6])
    loss = htf.completion_loss(free.tree, 2, images.reshape(16, 4), labels)
    same = htf.descend(factors, loss, optax.sgd(1e-2), num_steps=5, record_every=5)[0]
    for a, b in zip(net.factors().weights, same.weights, strict=True):
        helpers.assert_close(a, b, rtol=1e-11)


# Grids


@pytest.mark.slow
def test_grid_of_a_product_network_is_its_tensor():
    factors = helpers.random_factors("mixed5")
    eyes = [jnp.eye(d) for d in htf.mode_dims(factors)]
    found = locality.grid_tensor(lambda x: htf.sense(factors, x), eyes, batch_size=17)
    helpers.assert_close(found, htf.end_tensor(factors), rtol=1e-12)


def test_grid_of_a_network_that_is_no_product():
    """Max pooling: entries by hand, and a rank that no rank-one function has."""
    templates = [jnp.arange(3.0)[:, None], jnp.arange(4.0)[:, None] + 0.5]
    found = locality.grid_tensor(lambda x: jnp.maximum(x[0], x[1])[:, 0], templates)
    expected = np.maximum(np.arange(3.0)[:, None], np.arange(4.0)[None] + 0.5)
    np.testing.assert_array_equal(found, expected)
    assert np.linalg.matrix_rank(np.asarray(found)) == 3


# Bad input

FOUR = helpers.random_factors("binary4", (2,) * 4)
CLASSES = htf.gaussian_factors(
    jax.random.key(0), locality.class_tree(htf.perfect(4)), (2, 2, 2, 2, 3), 2, 1.0
)
NOTHING: Any = 3
FOURIER: Any = "fourier"
NET = locality.ConvAC(FOUR, (2, 2, 2), 1)
BAD = [
    (lambda: locality.ConvAC(FOUR, (3, 2, 2), 1), "4 modes, the image has 3 x 2 = 6"),
    (lambda: locality.ConvAC(FOUR, (4, 5, 2), 2), "`patch=(2, 2)` does not divide"),
    (lambda: locality.ConvAC(FOUR, (2, 2, 3), 1), "a patch has 3 numbers"),
    (lambda: locality.ConvAC(FOUR, (2, 2), 1), "must be (H, W, C)"),
    (lambda: locality.ConvAC(FOUR, (2, 2, 2), 1, representation=FOURIER), "`represent"),
    (lambda: locality.ConvAC(FOUR, (2, 2, 2), 1, representation="one_hot"), "holds 2 num"),
    (
        lambda: locality.ConvAC(FOUR, (2, 2, 2), 1, representation="relu"),
        "`rngs` is missing",
    ),
    (lambda: locality.ConvAC(FOUR, (2, 2, 2), 1, tree=htf.flat(4)), "`tree` is another"),
    (
        lambda: locality.ConvAC(CLASSES, (2, 2, 2), 1, classes=4),
        "`classes=4`, but the last",
    ),
    (lambda: locality.ConvAC(FOUR, (2, 2, 2), 1, classes=2), "4 patches and a class mode"),
    (lambda: locality.ConvAC(CLASSES, (2, 2, 2), 1, classes=1), "`classes=1`"),
    (
        lambda: locality.ConvAC(
            [np.ones((2, 3))] * 3, (2, 2, 2), 1, classes=3, tree=htf.perfect(4)
        ),
        "`classes` needs `Factors`",
    ),
    (
        lambda: locality.ConvAC(FOUR, (2, 2, 2), 1, representation="relu", rngs=NOTHING),
        "`rngs`",
    ),
    (
        lambda: locality.ConvAC(
            FOUR,
            (2, 2, 2),
            1,
            representation="relu",
            rngs=nnx.Rngs(0),
            key=jax.random.key(0),
        ),
        "`key` and `rngs`",
    ),
    (
        lambda: locality.ConvAC(FOUR, (2, 2, 3), 1, representation=lambda x: x)(
            jnp.zeros((1, 2, 2, 3))
        ),
        "`representation` gives shape (1, 4, 3)",
    ),
    (lambda: locality.ConvAC(NOTHING, (2, 2, 2), 1), "`factors` must be"),
    (lambda: NET(jnp.zeros((5, 2, 3, 2))), "`images` has shape"),
    (lambda: NET.set_factors(helpers.random_factors("caterpillar4")), "another tree"),
    (lambda: NET.set_factors(helpers.random_factors("binary4", (3,) * 4)), "have shapes"),
    (lambda: locality.grid_tensor(lambda x: x[0], [jnp.eye(2)]), "`f` returned shape"),
    (lambda: locality.grid_tensor(lambda x: x[0], []), "`templates` is empty"),
    (lambda: locality.split_patches(jnp.zeros((1, 3, 3, 1)), 2), "`images` has shape"),
    (lambda: locality.join_patches(jnp.zeros((1, 3, 3)), (2, 2, 1), 1), "`patches` has"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        call()


def test_one_hot_reads_integers():
    net = locality.ConvAC(FOUR, (2, 2, 1), 1, representation="one_hot")
    with pytest.raises(TypeError, match="integer categories"):
        net(jnp.zeros((1, 2, 2, 1)))
