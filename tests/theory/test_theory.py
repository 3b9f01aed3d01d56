"""`htfjax.theory` beyond the laws: fixed nodes, zeros, random bounds, scaling."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax.theory import oracle
from htfjax.theory.laws import wave
from tests import helpers
from tests.marks import slow_unless

CASES = [("order1_deep", "trained"), ("flat3", "ones"), ("chain_between", "trained")]
CASES += [("mixed5", "trained"), ("mixed5", "ones"), ("leaf_at_root", "trained")]
some_cases = pytest.mark.parametrize(
    ("name", "root"), slow_unless(CASES, [("flat3", "ones"), *CASES[3:5]])
)


# Directions and forces


@pytest.mark.slow
def test_fixed_nodes_keep_their_size_in_directions():
    """Trained vectors only are normalized, so that W = sum sigma_r C_r holds still."""
    free = helpers.random_factors("mixed5")
    factors = htf.Factors(tree=free.tree, weights=free.weights, fixed=(0, 5, 7))
    tensor = htf.end_tensor(factors)
    rates = htf.growth_rates(factors, wave)
    law = htf.theory.exact_growth(factors, wave)
    for v, sigma in htf.local_component_norms(factors).items():
        found = htf.theory.direction_tensors(factors, v)
        total = jnp.tensordot(sigma, found, axes=1)
        helpers.assert_close(total, tensor, size=float(jnp.max(jnp.abs(tensor))))
        helpers.assert_close(law[v], rates[v], rtol=1e-11)


@pytest.mark.slow
def test_a_zero_vector_has_no_direction():
    """C = 0, forces, laws and all their derivatives are zero or finite, never NaN."""
    factors = with_zero_vector(helpers.random_factors("leaf_at_root"), 3, 1)
    assert not np.any(np.asarray(htf.theory.direction_tensors(factors, 3))[1])

    def everything(f):
        bounds = htf.theory.growth_bounds(f, wave)
        parts = (
            htf.theory.component_forces(f, wave),
            htf.theory.exact_growth(f, wave),
            htf.theory.balanced_growth(f, wave),
            bounds.lower,
            bounds.upper,
            htf.theory.direction_tensors(f, 3),
            htf.theory.conserved_quantities(f),
        )
        return sum(jnp.sum(x) for x in jax.tree.leaves(parts))

    assert float(htf.theory.component_forces(factors, wave)[3][1]) == 0
    slope = jax.jit(jax.grad(everything))
    for start in (factors, jax.tree.map(jnp.zeros_like, factors)):
        for leaf in jax.tree.leaves(slope(start)):
            assert np.all(np.isfinite(leaf))


def with_zero_vector(factors, v, r):
    weights = list(factors.weights)
    weights[v] = weights[v].at[r].set(0.0)
    return helpers.rebuilt(factors, weights)


# Growth

BOUND_TREES = ("flat3", "leaf_at_root", "matrix", "chain2")


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUND_TREES)
def test_unbalanced_bounds_hold_in_random_cases(name):
    """F6: 2,500 random factors a tree, scales of vectors spread over two decades."""
    template = helpers.random_factors(name)

    def draw(key):
        keys = jax.random.split(key, 2 * len(template.weights))
        weights = tuple(
            jax.random.normal(a, w.shape)
            * 10.0 ** jax.random.uniform(b, (1, w.shape[1]), minval=-1.5, maxval=0.5)
            for w, a, b in zip(template.weights, keys[::2], keys[1::2], strict=True)
        )
        return htf.Factors(tree=template.tree, weights=weights)

    @jax.jit
    @jax.vmap
    def measure(key):
        factors = draw(key)
        bounds = htf.theory.growth_bounds(factors, wave)
        slowest = htf.theory.balanced_growth(factors, wave)
        rates = htf.growth_rates(factors, wave)
        flat = [
            [x[v] for v in template.tree.interior]
            for x in (bounds.lower, rates, bounds.upper, slowest)
        ]
        return [jnp.concatenate(x) for x in flat]

    keys = jax.random.split(jax.random.key(7), 2500)
    lower, rates, upper, slowest = map(np.asarray, measure(keys))
    slack = 1e-12 * np.maximum(np.abs(lower), np.abs(upper))
    assert np.all(lower <= rates + slack)
    assert np.all(rates <= upper + slack)
    assert np.all(np.abs(slowest) <= np.abs(rates) + slack)
    assert np.any(rates > 0)
    assert np.any(rates < 0)
    # With eps = 0 the upper bound is that of balance, which these cases exceed.
    assert np.mean(np.abs(rates) > np.abs(slowest) + slack) > 0.9


# Truncation and ranks


@pytest.mark.slow
def test_truncation_keeps_the_largest_and_lowers_ranks():
    factors = helpers.random_factors("binary4", (4, 4, 4, 4), (5, 5, 5))
    low = htf.theory.truncate(factors, {4: 2, 6: 3})
    sigma = htf.local_component_norms(factors)
    for v, count in ((4, 2), (6, 3)):
        kept = np.asarray(htf.local_component_norms(low)[v]) > 0
        assert kept.sum() == count
        assert set(np.flatnonzero(kept)) == set(np.argsort(-np.asarray(sigma[v]))[:count])
    ranks = htf.hierarchical_rank(low, rtol=1e-9)
    assert int(ranks[4]) <= 2
    assert int(ranks[0]) <= 2
    assert int(ranks[5]) <= 3
    whole = htf.theory.truncate(factors, 9)
    for a, b in zip(whole.weights, factors.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_rank_bounds_see_zero_components():
    factors = htf.theory.truncate(
        helpers.random_factors("binary4", (4, 4, 4, 4), (5, 5, 5)), {4: 2}
    )
    bounds = htf.theory.node_rank_bounds(factors)
    assert {v: int(b) for v, b in bounds.items()} == {0: 2, 1: 2, 2: 4, 3: 4, 4: 2, 5: 5}


def test_nested_bound_can_exceed_the_min_cut():
    factors = helpers.random_factors("binary4", (8,) * 4, (5,) * 3)
    assert htf.rank_bound(factors, (0, 2)) == 25
    assert htf.theory.nested_rank_bound(factors, (0, 2)) == 64


# Conserved quantities, scaling, sharing


@some_cases
def test_conserved_quantities_are_the_oracles(name, root):
    factors = helpers.random_factors(name, root=root)
    children, weights = helpers.plain(factors)
    largest = 0.0
    for v, found in htf.theory.conserved_quantities(factors).items():
        for r in range(found.shape[1]):
            squares = [w @ w for w in oracle.component(children, weights, v, r)]
            largest = max(largest, *squares)
            helpers.assert_close(found[:, r], np.array(squares[1:]) - squares[0], size=10)
    helpers.assert_close(htf.theory.conserved_scale(factors), largest)


def test_drift_measures_what_moved():
    factors = helpers.random_factors("binary4")
    moved = list(factors.weights)
    moved[4] = moved[4] * 1.01
    one = htf.theory.drift(factors, helpers.rebuilt(factors, moved))
    assert 1e-4 < float(one) < 1.0
    assert float(htf.theory.drift(factors, factors)) == 0
    with pytest.raises(ValueError, match="two different trees"):
        htf.theory.drift(factors, helpers.random_factors("caterpillar4"))


@pytest.mark.slow
@some_cases
def test_normalize(name, root):
    factors = helpers.random_factors(name, root=root)
    tensor = np.asarray(htf.end_tensor(factors))
    assert htf.theory.degree(factors) == len(jax.tree.leaves(factors))
    small = jax.tree.map(lambda w: 1e-3 * w, factors)
    for start in (factors, small):
        found = jax.jit(htf.theory.normalize)(start, 3.0)
        expected = tensor * (3.0 / np.linalg.norm(tensor))
        helpers.assert_close(htf.end_tensor(found), expected, rtol=1e-11)
    norms = jax.vmap(lambda a: htf.squared_norm(htf.theory.normalize(factors, a)))
    helpers.assert_close(norms(jnp.array([0.0, 2.0])), np.array([0.0, 4.0]))


@pytest.mark.slow
def test_normalize_where_the_tensor_underflows():
    factors = jax.tree.map(lambda w: 1e-80 * w, helpers.random_factors("mixed5"))
    assert not np.any(np.asarray(htf.end_tensor(factors)))
    found = np.asarray(htf.end_tensor(htf.theory.normalize(factors, 2.0)))
    assert np.linalg.norm(found) == pytest.approx(2.0, rel=1e-11)
    zero = jax.tree.map(jnp.zeros_like, factors)
    slopes = jax.grad(lambda f: jnp.sum(htf.end_tensor(htf.theory.normalize(f, 2.0))))
    for leaf in jax.tree.leaves(slopes(zero)):
        assert np.all(np.isfinite(leaf))


def test_rescaling_moves_norms_of_neighbours_only():
    """A3: W and this norm stay, those of parent and child change."""
    factors = helpers.random_factors("binary4")
    other = htf.theory.rescale_component(factors, 4, 1, (-2.0, -0.25, 2.0))
    helpers.assert_close(
        htf.end_tensor(other), htf.end_tensor(factors), size=10 * htf_size(factors)
    )
    before, after = map(htf.local_component_norms, (factors, other))
    helpers.assert_close(after[4], before[4])
    assert not np.allclose(after[6], before[6])


def htf_size(factors):
    return oracle.scale(*helpers.plain(factors))


def test_shared_conserved_quantities_are_the_definition():
    tree, rng = htf.square_patches(4, 2), np.random.default_rng(0)
    shared = [jnp.asarray(rng.standard_normal(s)) for s in [(2, 3), (3, 2), (2, 1)]]
    found = htf.theory.shared_conserved_quantities(tree, shared)
    expected = np.sum(np.square(shared[0]), 0) - 4 * np.sum(np.square(shared[1]), 1)
    helpers.assert_close(found[1], expected)
    assert found.keys() == {1, 2}
    assert htf.theory.shared_conserved_quantities(tree, [*shared[:2], None]).keys() == {1}


# Closed forms


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_closed_forms_solve_their_equations(count):
    """F10, F11: start, derivative and blow-up."""
    start, norm = 0.7, 1.3
    scale = functools.partial(
        htf.theory.rank_one_scale, start=start, norm=norm, num_matrices=count
    )
    sigma = functools.partial(
        htf.theory.constant_force_norm, start=start, force=norm, length=count
    )
    assert float(scale(0.0)) == pytest.approx(start, rel=1e-14)
    assert float(sigma(0.0)) == pytest.approx(start, rel=1e-14)
    s, ds = jax.jvp(scale, (jnp.asarray(0.1),), (jnp.asarray(1.0),))
    assert float(ds) == pytest.approx(norm * float(s) ** (count - 1), rel=1e-12)
    s, ds = jax.jvp(sigma, (jnp.asarray(0.1),), (jnp.asarray(1.0),))
    power = 0 if count == 1 else 2 - 2 / count
    assert float(ds) == pytest.approx(count * norm * float(s) ** power, rel=1e-12)
    ends = [htf.theory.rank_one_blow_up_time(start, norm, count)]
    ends += [htf.theory.blow_up_time(start, norm, count)]
    for curve, end in zip((scale, sigma), map(float, ends), strict=True):
        if count <= 2:
            assert math.isinf(end)
        else:
            assert float(curve(0.999 * end)) > 2 * start
            assert math.isinf(float(curve(1.001 * end)))
    limit = float(htf.theory.rank_one_limit(8.0, count))
    assert limit**count == pytest.approx(8.0, rel=1e-13)


def test_closed_forms_take_arrays_and_negative_forces():
    times = jnp.linspace(0.0, 3.0, 4)
    found = htf.theory.constant_force_norm(times, 1.0, -1.0, 3)
    assert found.shape == (4,)
    assert found.dtype == times.dtype
    assert np.all(np.diff(np.asarray(found)) < 0)
    assert math.isinf(float(htf.theory.blow_up_time(1.0, -1.0, 3)))
    single = htf.theory.rank_one_scale(np.float32(0.1), 1.0, 2.0, 4)
    assert single.dtype == np.float32


# Bad input

FLAT = helpers.random_factors("flat3")
BINARY = helpers.random_factors("binary4")
BAD = [
    (lambda: htf.theory.direction_tensors(BINARY, 0), "`node=0` has no local components"),
    (lambda: htf.theory.direction_tensors(BINARY, 9), "`node=9`"),
    (lambda: htf.theory.truncate(BINARY, -1), "`ranks"),
    (lambda: htf.theory.truncate(BINARY, {1: 2}), "`ranks=1`"),
    (
        lambda: htf.theory.truncate(
            htf.Factors(tree=FLAT.tree, weights=FLAT.weights, fixed=(0, 1, 2, 3)), 1
        ),
        "all fixed",
    ),
    (lambda: htf.theory.growth_bounds(FLAT, wave, eps=-0.1), "`eps"),
    (lambda: htf.theory.normalize(FLAT, -1.0), "`norm"),
    (lambda: htf.theory.normalize(FLAT, float("nan")), "`norm"),
    (
        lambda: htf.theory.normalize(
            htf.Factors(tree=FLAT.tree, weights=FLAT.weights, fixed=(0, 1, 2, 3)), 1.0
        ),
        "no trained matrix",
    ),
    (lambda: htf.theory.rescale_component(FLAT, 3, 0, (1.0, 2.0)), "`scales` has 2"),
    (lambda: htf.theory.rescale_component(FLAT, 3, 0, (1.0, 2.0, 1.0, 1.0)), "multiply to"),
    (lambda: htf.theory.rescale_component(FLAT, 3, 99, (1.0,) * 4), "`component=99`"),
    (lambda: htf.theory.rank_one_scale(0.1, 0.0, 1.0, 3), "`start"),
    (lambda: htf.theory.rank_one_scale(0.1, 1.0, 1.0, 0), "`num_matrices"),
    (lambda: htf.theory.constant_force_norm(0.1, 1.0, 1.0, 0), "`length"),
    (lambda: htf.theory.to_factors(BINARY.tree, [jnp.ones((2, 2))]), "`matrices` holds 1"),
    (
        lambda: htf.theory.to_factors(htf.caterpillar(3), [jnp.ones((2, 2))] * 3),
        "different heights",
    ),
    (lambda: htf.theory.nested_rank_bound(BINARY, (0, 9)), "`modes"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message.replace("(", r"\(")):
        call()


def test_mixed_arity_has_no_simple_conserved_quantity():
    tree = htf.ModeTree.from_nested(((0, 1), (2, 3, 4)))
    shared = [jnp.ones((2, 2)), jnp.ones((2, 2)), jnp.ones((2, 1))]
    with pytest.raises(ValueError, match="`tree` mixes nodes"):
        htf.theory.shared_conserved_quantities(tree, shared)
