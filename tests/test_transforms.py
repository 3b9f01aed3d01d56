"""Kernels x trees x transformations: jit, vmap, derivatives, dtypes."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import htfjax as htf
from tests import helpers
from tests.marks import slow_unless

Kernel = Callable[[htf.Factors], Any]

TREES = [("leaf_at_root", "trained"), ("chain_both_sides", "ones")]


def wide(factors: htf.Factors, count: int = 40) -> jax.Array:
    return jnp.asarray(helpers.random_indices(htf.mode_dims(factors), count))


def inputs(factors: htf.Factors) -> list[jax.Array]:
    vectors = helpers.random_vectors(htf.mode_dims(factors), 6)
    return [jnp.asarray(x, factors.weights[0].dtype) for x in vectors]


def completion(penalty: Any, count: int = 40) -> Kernel:
    def loss(factors: htf.Factors) -> jax.Array:
        dims = htf.mode_dims(factors)
        indices = helpers.random_indices(dims, count)
        targets = np.random.default_rng(1).standard_normal(count)
        return htf.completion_loss(
            factors.tree, dims, indices, targets, penalty=penalty, threshold=0.7
        )(factors)

    return loss


def sensing(factors: htf.Factors) -> jax.Array:
    return htf.sensing_loss(inputs(factors), np.linspace(-1, 1, 6))(factors)


def some_spectrum(factors: htf.Factors) -> jax.Array:
    return htf.singular_values(factors, factors.tree.interior[0])


def matrix_gap(factors: htf.Factors) -> jax.Array:
    return htf.unbalancedness(factors, kind="matrix")


SMOOTH: dict[str, Kernel] = {
    "end_tensor": htf.end_tensor,
    "entries_dense": lambda f: htf.entries(f, wide(f, 500)),
    "entries_rows": lambda f: htf.entries(f, wide(f, 1)),
    "sense": lambda f: htf.sense(f, inputs(f)),
    "local_component_norms": htf.local_component_norms,
    "weight_vector_norms": htf.weight_vector_norms,
    "component_contributions": htf.component_contributions,
    "unbalancedness": htf.unbalancedness,
    "singular_values": some_spectrum,
    "effective_rank": lambda f: htf.effective_rank(some_spectrum(f)),
    "entanglement_entropy": lambda f: htf.entanglement_entropy(some_spectrum(f)),
    "nuclear_norm": lambda f: htf.nuclear_norm(f, f.tree.interior[0]),
    "completion_l2": completion("l2"),
    "completion_l1": completion("l1"),
    "completion_huber": completion("huber"),
    "sensing_l2": sensing,
}
CHAINED: dict[str, Kernel] = {"matrix_unbalancedness": matrix_gap}
COUNTING: dict[str, Kernel] = {
    "growth_rates": lambda f: htf.growth_rates(f, completion("l2")),
    "hierarchical_rank": lambda f: htf.hierarchical_rank(f, rtol=1e-3),
}
ALL = SMOOTH | CHAINED | COUNTING


def has_chain(factors: htf.Factors) -> bool:
    kids = factors.tree.children
    bend = factors.weights[-1] is None and len(kids[-1]) == 2
    return bend or any(len(k) == 1 for k in kids)


def everything(factors: htf.Factors, kernels: Sequence[str] = tuple(ALL)) -> dict[str, Any]:
    """Every kernel that the tree allows, by name."""
    chain = has_chain(factors)
    return {k: ALL[k](factors) for k in kernels if chain or k not in CHAINED}


def all_slopes(factors: htf.Factors) -> dict[str, htf.Factors]:
    """The gradient of the sum of everything that a kernel returns."""
    chain = has_chain(factors)
    kernels = {k: f for k, f in (SMOOTH | CHAINED).items() if chain or k not in CHAINED}
    return {k: jax.grad(lambda f, g=g: total(g(f)))(factors) for k, g in kernels.items()}


def total(values: Any) -> jax.Array:
    return jnp.sum(jnp.stack([jnp.sum(x) for x in jax.tree.leaves(values)]))


every_kernel = pytest.mark.parametrize("kernel", ALL)
smooth_kernel = pytest.mark.parametrize("kernel", SMOOTH | CHAINED)
every_tree = pytest.mark.parametrize(("name", "root"), TREES)


def allowed(factors: htf.Factors, kernel: str) -> None:
    if kernel in CHAINED and not has_chain(factors):
        pytest.skip("the tree has no chain")


def assert_same(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    both = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for left, right in both:
        assert left.dtype == right.dtype
        # Values may cancel in a kernel; its inputs have size one.
        size = max(1.0, float(np.max(np.abs(right))))
        helpers.assert_close(left, right, size=size)


@functools.cache
def eager(name: str, root: str, seed: int) -> dict[str, Any]:
    return everything(helpers.random_factors(name, root=root, seed=seed))


@functools.cache
def compiled(name: str, root: str) -> dict[str, Any]:
    return jax.jit(everything)(helpers.random_factors(name, root=root))


@functools.cache
def mapped(name: str, root: str) -> dict[str, Any]:
    draws = [helpers.random_factors(name, root=root, seed=seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *draws)
    return jax.jit(jax.vmap(everything))(stacked)


@pytest.mark.slow
@every_tree
@every_kernel
def test_jit_equals_eager(kernel, name, root):
    """Compiling a kernel changes nothing."""
    factors = helpers.random_factors(name, root=root)
    allowed(factors, kernel)
    assert_same(compiled(name, root)[kernel], eager(name, root, 0)[kernel])


@pytest.mark.slow
@every_tree
@every_kernel
def test_vmap_equals_a_loop(kernel, name, root):
    """A batch of factors gives what each of them gives alone."""
    factors = helpers.random_factors(name, root=root)
    allowed(factors, kernel)
    for seed in range(2):
        alone = eager(name, root, seed)[kernel]
        lane = jax.tree.map(lambda x, i=seed: x[i], mapped(name, root)[kernel])
        assert_same(lane, alone)


@pytest.mark.slow
def test_equal_trees_share_one_trace():
    """A tree is static by value: equal trees and new values retrace nothing."""
    counted, traces = helpers.count_traces(everything)
    fn = jax.jit(counted)
    for seed in range(3):
        fn(helpers.random_factors("flat3", root="ones", seed=seed))
    assert len(traces) == 1
    fn(helpers.random_factors((2, 1, 0), (4, 3, 2), root="ones"))
    assert len(traces) == 2


def test_data_of_one_shape_share_one_trace():
    """Losses are pytrees: new indices and targets retrace nothing."""
    factors = helpers.random_factors("flat3")
    dims = htf.mode_dims(factors)
    counted, traces = helpers.count_traces(lambda loss, f: jax.grad(loss)(f))
    fn, found = jax.jit(counted), []
    for seed in range(2):
        indices = helpers.random_indices(dims, 9, seed)
        loss = htf.completion_loss(factors.tree, dims, indices, np.ones(9) * seed)
        found.append(np.asarray(fn(loss, factors).weights[0]))
    assert len(traces) == 1
    assert not np.allclose(*found)


@pytest.mark.slow
@smooth_kernel
@pytest.mark.parametrize(("name", "root"), TREES[1:])
def test_derivatives_of_each_kernel(kernel, name, root):
    """First derivatives, forward and reverse, against finite differences."""
    factors = helpers.random_factors(name, root=root)
    fn = (SMOOTH | CHAINED)[kernel]
    check_grads(fn, (factors,), order=1, modes=("fwd", "rev"), rtol=1e-5, atol=1e-5)


SEVERAL = (
    "end_tensor",
    "entries_dense",
    "entries_rows",
    "sense",
    "local_component_norms",
    "component_contributions",
    "unbalancedness",
    "singular_values",
)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "root"), [("mixed5", "trained")])
def test_derivatives_on_other_trees(name, root):
    """Several kernels at once, forward and reverse, against finite differences."""
    factors = helpers.random_factors(name, root=root)
    fn = jax.jit(functools.partial(everything, kernels=SEVERAL))
    check_grads(fn, (factors,), order=1, modes=("fwd", "rev"), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["sense", "local_component_norms"])
def test_second_derivatives(kernel):
    """Second derivatives of some kernels against finite differences of the first."""
    factors = helpers.random_factors("leaf_at_root", (2, 3, 2), (2, 3))
    fn = jax.jit(SMOOTH[kernel])
    check_grads(fn, (factors,), order=2, modes=("fwd", "rev"), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("measure", [htf.effective_rank, htf.entanglement_entropy])
def test_second_derivatives_of_entropies(measure):
    """Second derivatives where no value is zero."""
    s = jnp.array([3.0, 2.0, 0.5])
    check_grads(jax.jit(measure), (s,), order=2, rtol=1e-4, atol=1e-4)


@functools.cache
def slopes_at_zero(name: str, root: str) -> dict[str, Any]:
    factors = helpers.random_factors(name, root=root)
    zero = jax.tree.map(lambda w: jnp.asarray(np.zeros(w.shape)), factors)
    return jax.jit(all_slopes)(zero)


@functools.cache
def slopes_at_a_zero_component(name: str, root: str) -> dict[str, Any]:
    factors = helpers.random_factors(name, root=root)
    weights = helpers.plain(factors)[1]
    for child in factors.tree.children[factors.tree.root]:
        weights[child][:, 0] = 0.0
    return jax.jit(all_slopes)(helpers.rebuilt(factors, weights))


@pytest.mark.slow
@smooth_kernel
@every_tree
def test_derivatives_are_finite_at_zero(kernel, name, root):
    """Small starts live at zero: no NaN there, nor where one component is zero."""
    allowed(helpers.random_factors(name, root=root), kernel)
    for slopes in (slopes_at_zero(name, root), slopes_at_a_zero_component(name, root)):
        for leaf in jax.tree.leaves(slopes[kernel]):
            assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("measure", [htf.effective_rank, htf.entanglement_entropy])
@pytest.mark.parametrize("s", [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 2.0, 0.0]])
def test_entropies_are_smooth_at_zero_values(measure, s):
    """Singular values that are zero give finite values, slopes and curvatures."""
    s = jnp.array(s)
    for found in (
        measure(s),
        jax.jit(jax.grad(measure))(s),
        jax.jit(jax.hessian(measure))(s),
    ):
        assert np.all(np.isfinite(found))


@pytest.mark.parametrize("penalty", ["l2", "l1", "huber"])
def test_penalties_are_smooth_at_zero_residuals(penalty):
    """No residual at all gives loss, slope and curvature without NaN; values by hand."""
    penalize = functools.partial(htf.penalize, penalty=penalty, threshold=0.5)
    zero = jnp.zeros(3)
    np.testing.assert_array_equal(penalize(zero), 0.0)
    np.testing.assert_array_equal(jax.grad(penalize)(zero), np.zeros(3))
    assert np.all(np.isfinite(jax.jit(jax.hessian(penalize))(zero)))
    x = np.array([2.0, -0.25, 0.5])
    by_hand = {
        "l2": np.mean(x**2),
        "l1": np.mean(np.abs(x)),
        "huber": (1.75 + 0.0625 + 0.25) / 3,
    }
    helpers.assert_close(penalize(jnp.asarray(x)), by_hand[penalty])


FIXED = (0, 6)


@functools.cache
def slopes_with_fixed_nodes() -> dict[str, Any]:
    factors = helpers.random_factors("mixed5")
    program = jax.jit(all_slopes, compiler_options=helpers.LITTLE_WORK)
    return program(dataclasses.replace(factors, fixed=FIXED))


@pytest.mark.parametrize(
    "kernel",
    slow_unless(SMOOTH, SMOOTH.keys() - {"end_tensor", "entries_dense", "entries_rows"}),
)
def test_fixed_nodes_get_no_gradient(kernel):
    """Fixed matrices are data to every kernel; the trained ones are not."""
    weights = slopes_with_fixed_nodes()[kernel].weights
    for node in FIXED:
        np.testing.assert_array_equal(weights[node], np.zeros(weights[node].shape))
    others = [w for k, w in enumerate(weights) if k not in FIXED]
    assert any(np.any(np.asarray(w) != 0) for w in others)


def test_fixed_nodes_change_no_value():
    """Whether a node is fixed does not touch the tensor."""
    factors = helpers.random_factors("mixed5")
    frozen = dataclasses.replace(factors, fixed=FIXED)
    np.testing.assert_array_equal(htf.end_tensor(frozen), htf.end_tensor(factors))


# dtypes

DTYPES = (np.float32, np.float64)


def dtypes_of(values: Any) -> set[Any]:
    return {np.dtype(x.dtype) for x in jax.tree.leaves(values)}


@every_kernel
@pytest.mark.parametrize(
    ("name", "root"),
    slow_unless([*TREES, ("mixed5", "trained")], (TREES[0], ("mixed5", "trained"))),
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_in_is_dtype_out(kernel, name, root, dtype):
    """Every kernel and instrument, and its gradient, keeps the factors' dtype."""
    factors = helpers.random_factors(name, root=root, dtype=dtype)
    allowed(factors, kernel)
    expected = np.int32 if kernel == "hierarchical_rank" else dtype
    assert dtypes_of(jax.eval_shape(ALL[kernel], factors)) == {np.dtype(expected)}
    if kernel in SMOOTH:
        slope = jax.grad(lambda f: total(ALL[kernel](f)))
        assert dtypes_of(jax.eval_shape(slope, factors)) == {np.dtype(dtype)}


@every_kernel
def test_single_precision_without_x64(kernel):
    """The same where 64 bit types do not exist at all."""
    with jax.enable_x64(False):
        factors = helpers.random_factors("chain_between", dtype=np.float32)
        found = dtypes_of(jax.eval_shape(ALL[kernel], factors))
    expected = np.int32 if kernel == "hierarchical_rank" else np.float32
    assert found == {np.dtype(expected)}


@pytest.mark.slow
@every_kernel
def test_single_precision_values(kernel):
    """float32 agrees with float64 to its own precision."""
    exact = eager("chain_both_sides", "ones", 0)[kernel]
    single = single_precision()[kernel]
    for left, right in zip(jax.tree.leaves(single), jax.tree.leaves(exact), strict=True):
        size = max(1.0, float(np.max(np.abs(right))))
        np.testing.assert_allclose(left, right, rtol=0, atol=2e-5 * size)


@functools.cache
def single_precision() -> dict[str, Any]:
    factors = helpers.random_factors("chain_both_sides", root="ones", dtype=np.float32)
    return jax.jit(everything)(factors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", [htf.gaussian_factors, htf.balanced_factors])
def test_initial_factors_have_the_dtype_asked_for(draw, dtype):
    """`dtype` decides, by default JAX's own."""
    tree = htf.ModeTree.from_nested(helpers.TREES["chain_between"])
    start = functools.partial(draw, jax.random.key(0), tree, 2, 3, 0.5)
    assert dtypes_of(jax.eval_shape(functools.partial(start, dtype=dtype))) == {
        np.dtype(dtype)
    }
    assert dtypes_of(jax.eval_shape(start)) == {np.dtype(np.float64)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), htf.group_rmsprop(0.1)])
def test_descent_keeps_the_dtype(dtype, optimizer):
    """Parameters, optimizer state and records stay in the factors' dtype."""
    factors = helpers.random_factors("flat3", dtype=dtype)
    run = functools.partial(
        htf.descend,
        loss=completion("l2"),
        optimizer=optimizer,
        num_steps=4,
        record_every=2,
        observe=htf.local_component_norms,
    )
    final, trajectory = jax.eval_shape(run, factors)
    assert dtypes_of(final) == {np.dtype(dtype)}
    assert dtypes_of(trajectory) == {np.dtype(np.int32), np.dtype(dtype)}
    assert trajectory.losses.dtype == dtype
