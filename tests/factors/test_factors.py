"""Factors: where they start, chains multiplied out, the pytree."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf

CHAINS = {
    "order1": (0,),
    "deep_order1": (((0,),),),
    "matrix_depth3": ((0,), 1),
    "no_chain": ((0, 1), (2, 3)),
    "inside": ((((0, 1),),), 2),
    "at_a_leaf": (((0,),), (1, 2)),
    "at_the_root": ((((1, 0), 2),),),
    "everywhere": (((((2,),), (0,)), ((1,),)),),
}


def nested_tree(name: str) -> htf.ModeTree:
    return htf.ModeTree.from_nested(CHAINS[name])


def shapes(factors: htf.Factors) -> list:
    return [None if w is None else w.shape for w in factors.weights]


def assert_same_tensor(first: htf.Factors, second: htf.Factors) -> None:
    a, b = htf.end_tensor(first), htf.end_tensor(second)
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        (5, [5, 5, 5]),
        ((2, 3, 4), [2, 3, 4]),
        ([6, 7], [6, 6, 7]),
        (np.int64(5), [5, 5, 5]),
    ],
)
def test_widths_per_node_per_height_or_one_int(getkey, widths, expected):
    tree, dims = htf.perfect(4), (2, 3, 4, 5)
    start = functools.partial(htf.gaussian_factors, tree=tree, mode_dims=dims)
    factors = jax.eval_shape(lambda key: start(key, widths=widths, std=1.0), getkey())
    assert htf.widths(factors) == (2, 3, 4, 5, *expected)
    a, b, c = expected
    assert shapes(factors) == [(2, a), (3, a), (4, b), (5, b), (a, c), (b, c), (c, 1)]


def test_widths_per_height_on_a_ragged_tree(getkey):
    tree = htf.ModeTree.from_nested(((0, 1), (2, (3, 4))))
    factors = htf.gaussian_factors(getkey(), tree, 2, (3, 4, 5), 1.0)
    assert [htf.widths(factors)[k] for k in tree.interior] == [3, 3, 4, 5]


def test_as_many_heights_as_nodes_reads_per_node_and_height_alike(getkey):
    factors = htf.gaussian_factors(getkey(), htf.caterpillar(4), 2, (3, 4, 5), 1.0)
    assert htf.widths(factors)[4:] == (3, 4, 5)


@pytest.mark.parametrize("dims", [3, (3, 3, 3, 3), [3] * 4, np.full(4, 3)])
def test_mode_dims_as_int_sequence_or_array(getkey, dims):
    factors = htf.gaussian_factors(getkey(), htf.perfect(4), dims, 2, 1.0)
    assert htf.mode_dims(factors) == (3, 3, 3, 3)


def test_widths_as_an_array(getkey):
    widths = np.array([2, 3])
    factors = htf.gaussian_factors(getkey(), htf.perfect(4), 3, widths, 1.0)  # pyright: ignore
    assert htf.widths(factors)[4:] == (2, 2, 3)


@pytest.mark.parametrize(("std", "mean"), [(1.0, 0.0), (0.1, 0.0), (0.5, 2.0), (0.0, 3.0)])
def test_gaussian_entries_have_this_mean_and_deviation(getkey, std, mean):
    factors = htf.gaussian_factors(getkey(), htf.flat(3), 200, 200, std, mean=mean)
    for weight in factors.weights:
        bound = 5 * std / weight.size**0.5
        assert abs(float(jnp.mean(weight)) - mean) <= bound + 1e-12
        assert abs(float(jnp.std(weight)) - std) <= bound + 1e-12


def test_gaussian_entries_have_gaussian_kurtosis(getkey):
    (weight, *_) = htf.gaussian_factors(getkey(), htf.flat(2), 200, 200, 2.0).weights
    kurtosis = jnp.mean((weight / 2.0) ** 4)
    assert abs(float(kurtosis) - 3) < 5 * (96 / weight.size) ** 0.5


def test_matrices_and_keys_are_independent(getkey):
    key, tree = getkey(), htf.flat(3)
    first = htf.gaussian_factors(key, tree, 200, 200, 1.0)
    a, b, _ = (w.ravel() for w in first.weights[:3])
    assert abs(float(jnp.mean(a * b))) < 5 / a.size**0.5
    again = htf.gaussian_factors(key, tree, 200, 200, 1.0)
    assert all(
        bool((x == y).all()) for x, y in zip(first.weights, again.weights, strict=True)
    )
    other = htf.gaussian_factors(getkey(), tree, 200, 200, 1.0)
    assert not bool((first.weights[0] == other.weights[0]).any())


@pytest.mark.slow
def test_expected_squared_norm_of_the_end_tensor(getkey):
    tree, std = htf.perfect(4), 0.7
    keys = jax.random.split(getkey(), 1000)

    def square(key):
        return jnp.sum(
            jnp.square(htf.end_tensor(htf.gaussian_factors(key, tree, 2, 3, std)))
        )

    squares = jax.jit(jax.vmap(square))(keys)
    expected = std ** (2 * 7) * 2**4 * 3**3
    error = float(jnp.std(squares)) / len(keys) ** 0.5
    assert abs(float(jnp.mean(squares)) - expected) < 5 * error


@pytest.mark.parametrize("start", ["gaussian", "identity", "balanced"])
def test_root_of_ones(getkey, start):
    tree = htf.perfect(4)
    if start == "identity":
        factors = htf.identity_factors(tree, 3, 2, 0.5, root="ones")
    else:
        make = {"gaussian": htf.gaussian_factors, "balanced": htf.balanced_factors}[start]
        factors = make(getkey(), tree, 3, 2, 0.5, root="ones")
    assert factors.weights[tree.root] is None
    assert htf.widths(factors)[tree.root] == 2
    ones = (*factors.weights[:-1], jnp.ones((2, 1)))
    assert_same_tensor(factors, dataclasses.replace(factors, weights=ones))


def test_root_of_ones_leaves_the_other_matrices_alone(getkey):
    key, tree = getkey(), htf.flat(3)
    trained = htf.gaussian_factors(key, tree, 3, 2, 1.0)
    ones = htf.gaussian_factors(key, tree, 3, 2, 1.0, root="ones")
    for a, b in zip(trained.weights[:-1], ones.weights[:-1], strict=True):
        assert bool((a == b).all())


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, "float32", np.float64])
@pytest.mark.parametrize("start", ["gaussian", "identity", "balanced"])
def test_dtype(getkey, start, dtype):
    tree = htf.perfect(4)
    if start == "identity":
        factors = htf.identity_factors(tree, 3, 2, 0.5, dtype=dtype)
    else:
        make = {"gaussian": htf.gaussian_factors, "balanced": htf.balanced_factors}[start]
        factors = make(getkey(), tree, 3, 2, 0.5, dtype=dtype)
    assert {w.dtype for w in factors.weights} == {jnp.dtype(dtype)}
    assert htf.end_tensor(factors).dtype == jnp.dtype(dtype)


@pytest.mark.parametrize(("x64", "expected"), [(True, "float64"), (False, "float32")])
def test_default_dtype_is_that_of_jax(x64, expected):
    with jax.enable_x64(x64):
        factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 1.0)
        assert factors.weights[0].dtype == expected


@pytest.mark.slow
def test_gaussian_vmap_over_keys_and_std(getkey):
    keys, stds = jax.random.split(getkey(), 3), jnp.array([0.0, 1.0, 2.0])

    def start(key, std):
        return htf.gaussian_factors(key, htf.flat(2), 3, 2, std, mean=std)

    many = jax.vmap(start)(keys, stds)
    assert shapes(many) == [(3, 3, 2), (3, 3, 2), (3, 2, 1)]
    for i in range(3):
        one = start(keys[i], stds[i])
        for a, b in zip(many.weights, one.weights, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-14)


def test_gaussian_scales_with_std_under_jit(getkey):
    key = getkey()
    start = jax.jit(lambda std: htf.gaussian_factors(key, htf.flat(2), 3, 2, std))
    for a, b in zip(start(1.0).weights, start(3.0).weights, strict=True):
        np.testing.assert_allclose(3 * a, b, rtol=1e-14)


def test_identity_matrices():
    tree = htf.ModeTree.from_nested(((0,), 1))
    factors = htf.identity_factors(tree, (3, 4), (2, 5), 0.5)
    expected = [(3, 2), (4, 5), (2, 5)]
    for weight, shape in zip(factors.weights, expected, strict=False):
        np.testing.assert_array_equal(weight, 0.5 * np.eye(*shape))
    np.testing.assert_array_equal(factors.weights[tree.root], np.full((5, 1), 0.5))


def test_identity_start_of_a_deep_matrix():
    tree = htf.ModeTree.from_nested((((0,),), 1))
    deep = htf.identity_factors(tree, 3, 3, 0.5, root="ones")
    np.testing.assert_allclose(htf.end_tensor(deep), 0.5**4 * np.eye(3), rtol=1e-15)


def test_identity_scale_may_be_traced():
    scales = jnp.array([0.0, 0.5])
    many = jax.vmap(lambda s: htf.identity_factors(htf.flat(2), 3, 2, s))(scales)
    np.testing.assert_array_equal(many.weights[0][1], 0.5 * np.eye(3, 2))
    assert not bool(many.weights[0][0].any())


@pytest.mark.slow
@pytest.mark.parametrize("root", ["trained", "ones"])
@pytest.mark.parametrize("name", CHAINS)
def test_collapsed_chains_have_the_same_end_tensor(getkey, name, root):
    tree = nested_tree(name)
    dims = (3, 2, 4, 3)[: tree.order]
    factors = htf.gaussian_factors(getkey(), tree, dims, 3, 1.0, root=root)
    collapsed = htf.collapse_chains(factors)
    tree = collapsed.tree
    arities = {k: len(tree.children[k]) for k in tree.interior}
    assert all(
        count > 1 or (tree.order == 1 and k == tree.root) for k, count in arities.items()
    )
    assert_same_tensor(collapsed, factors)


def test_collapse_keeps_a_tree_without_chains(getkey):
    factors = htf.gaussian_factors(getkey(), htf.perfect(4), 3, 2, 1.0)
    collapsed = htf.collapse_chains(factors)
    assert collapsed.tree == factors.tree
    for a, b in zip(collapsed.weights, factors.weights, strict=True):
        assert bool((a == b).all())


def test_collapse_of_a_deep_matrix_is_the_product(getkey):
    tree = nested_tree("matrix_depth3")
    factors = htf.gaussian_factors(getkey(), tree, (3, 4), (2, 5), 1.0, root="ones")
    w0, w1, w2 = factors.weights[:3]
    collapsed = htf.collapse_chains(factors)
    assert collapsed.tree == htf.flat(2)
    np.testing.assert_allclose(collapsed.weights[0], w0 @ w2, rtol=1e-13)
    assert bool((collapsed.weights[1] == w1).all())
    assert collapsed.weights[2] is None


def test_collapse_marks_a_fixed_chain_fixed(getkey):
    tree = nested_tree("inside")  # 0 1 2 | 3 = (0, 1), 4 = (3,), 5 = (4,), root 5 or 6
    factors = htf.gaussian_factors(getkey(), tree, 2, 3, 1.0)
    chain = (3, 4, 5)
    assert [tree.children[k] for k in chain] == [(0, 1), (3,), (4,)]
    collapsed = htf.collapse_chains(dataclasses.replace(factors, fixed=(1, *chain)))
    assert collapsed.tree.nested == ((0, 1), 2)
    assert collapsed.fixed == (1, 3)
    assert_same_tensor(collapsed, factors)


def test_collapse_refuses_a_chain_that_is_fixed_in_part(getkey):
    factors = htf.gaussian_factors(getkey(), nested_tree("inside"), 2, 3, 1.0)
    with pytest.raises(ValueError, match=r"`fixed`.*\[3, 4, 5\]"):
        htf.collapse_chains(dataclasses.replace(factors, fixed=(4,)))


@pytest.mark.slow
def test_collapse_under_jit_and_vmap(getkey):
    tree = nested_tree("everywhere")

    def collapsed(key):
        return htf.collapse_chains(htf.gaussian_factors(key, tree, 2, 3, 1.0))

    keys = jax.random.split(getkey(), 2)
    many = jax.jit(jax.vmap(collapsed))(keys)
    for a, b in zip(many.weights, collapsed(keys[1]).weights, strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-12)


def ones_root_with_fixed(key) -> htf.Factors:
    factors = htf.gaussian_factors(key, htf.perfect(4), 3, 2, 1.0, root="ones")
    return dataclasses.replace(factors, fixed=(0, 5))


def test_flatten_and_unflatten(getkey):
    factors = ones_root_with_fixed(getkey())
    leaves, treedef = jax.tree.flatten(factors)
    assert len(leaves) == 6  # a root of ones is no leaf
    again = jax.tree.unflatten(treedef, leaves)
    assert isinstance(again, htf.Factors)
    assert again.tree == factors.tree
    assert again.fixed == (0, 5)
    assert again.weights[-1] is None
    assert all(a is b for a, b in zip(again.weights, factors.weights, strict=True))


def test_unflatten_takes_anything(getkey):
    treedef = jax.tree.structure(ones_root_with_fixed(getkey()))
    assert jax.tree.unflatten(treedef, range(6)).weights == (0, 1, 2, 3, 4, 5, None)


def test_tree_map_with_a_root_of_ones(getkey):
    factors = ones_root_with_fixed(getkey())
    doubled = jax.tree.map(lambda w: 2 * w, factors)
    assert doubled.weights[-1] is None
    np.testing.assert_allclose(
        htf.end_tensor(doubled), 2**6 * htf.end_tensor(factors), rtol=1e-12
    )


def test_tree_paths_name_the_field(getkey):
    paths = jax.tree.leaves_with_path(
        htf.gaussian_factors(getkey(), htf.flat(2), 3, 2, 1.0)
    )
    assert [jax.tree_util.keystr(path) for path, _ in paths] == [
        ".weights[0]",
        ".weights[1]",
        ".weights[2]",
    ]


def test_tree_and_fixed_are_static_under_jit(getkey):
    traces = []

    @jax.jit
    def touch(factors):
        traces.append((factors.tree, factors.fixed))
        return htf.end_tensor(factors)

    factors = htf.gaussian_factors(getkey(), htf.flat(3), 2, 2, 1.0)
    other_values = htf.gaussian_factors(getkey(), htf.flat(3), 2, 2, 1.0)
    for given in (factors, other_values, dataclasses.replace(factors, fixed=(1,))):
        touch(given)
    assert traces == [(htf.flat(3), ()), (htf.flat(3), (1,))]


def test_trees_of_the_same_shapes_are_told_apart_under_jit(getkey):
    straight, turned = htf.ModeTree.from_nested((0, 1)), htf.ModeTree.from_nested((1, 0))
    first = htf.gaussian_factors(getkey(), straight, 2, 2, 1.0)
    second = dataclasses.replace(first, tree=turned)
    assert jax.tree.structure(first) != jax.tree.structure(second)
    with pytest.raises(ValueError, match="tree"):
        jax.tree.map(jnp.add, first, second)
