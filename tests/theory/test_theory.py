"""`htfjax.theory` against the oracle: directions, growth, truncation, ranks, scaling."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests import helpers, reference
from tests.marks import slow_unless

CASES = [("order1_deep", "trained"), ("flat3", "ones"), ("chain_between", "trained")]
CASES += [("mixed5", "trained"), ("mixed5", "ones"), ("leaf_at_root", "trained")]
some_cases = pytest.mark.parametrize(
    ("name", "root"), slow_unless(CASES, [("flat3", "ones"), *CASES[3:5]])
)


def wave_data(shape):
    rng = np.random.default_rng(3)
    return rng.standard_normal(shape), rng.standard_normal(shape)


def wave(factors):
    """A smooth loss of the end tensor whose gradient vanishes nowhere special."""
    tensor = htf.end_tensor(factors)
    heights, shifts = map(jnp.asarray, wave_data(tensor.shape))
    return jnp.sum(heights * jnp.sin(tensor + shifts))


def wave_slope(tensor):
    heights, shifts = wave_data(tensor.shape)
    return heights * np.cos(tensor + shifts)


def forces_by_hand(factors):
    """<-grad L(W), C_r> with the oracle's directions."""
    children, weights = helpers.plain(factors)
    slope = wave_slope(reference.end_tensor(children, weights))
    return {
        v: np.array(
            [
                -np.sum(slope * reference.direction(children, weights, v, r))
                for r in range(reference.width_of(children, weights, v))
            ]
        )
        for v in reference.interior(children)
    }


# Directions and forces


@some_cases
def test_directions_are_the_oracles_and_add_up(name, root):
    """A5, A7: C_r as defined; W = sum_r sigma_r C_r; ||C_r|| is bounded."""
    factors = helpers.random_factors(name, root=root)
    children, weights = helpers.plain(factors)
    tensor = reference.end_tensor(children, weights)
    size = reference.scale(children, weights)
    norms = [np.linalg.norm(w) for w in reference.with_root(children, weights)]
    directions = jax.jit(htf.theory.direction_tensors, static_argnums=1)
    for v in factors.tree.interior:
        found = np.asarray(directions(factors, v))
        for r, direction in enumerate(found):
            expected = reference.direction(children, weights, v, r)
            helpers.assert_close(direction, expected, size=size)
        sigma = reference.sigma(children, weights, v)
        helpers.assert_close(np.tensordot(sigma, found, axes=1), tensor, size=size)
        outside = [n for u, n in enumerate(norms) if u != v and u not in children[v]]
        length = np.linalg.norm(found.reshape(len(found), -1), axis=1)
        assert np.all(length <= math.prod(outside) * (1 + 1e-12))


@some_cases
def test_forces_are_inner_products_with_directions(name, root):
    factors = helpers.random_factors(name, root=root)
    found = jax.jit(lambda f: htf.theory.component_forces(f, wave))(factors)
    for v, expected in forces_by_hand(factors).items():
        helpers.assert_close(found[v], expected, size=np.max(np.abs(expected)) + 1)


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


@pytest.mark.parametrize(("name", "root"), slow_unless(CASES, [("flat3", "ones")]))
def test_exact_growth_is_the_rate(name, root):
    """F5: gamma sigma^2 sum ||w||^-2 equals the derivative along the flow."""
    factors = helpers.random_factors(name, root=root)
    law = jax.jit(lambda f: htf.theory.exact_growth(f, wave))(factors)
    for v, rate in htf.growth_rates(factors, wave).items():
        helpers.assert_close(law[v], rate, rtol=1e-11)


@pytest.mark.parametrize(("name", "root"), slow_unless(CASES, [("flat3", "ones")]))
def test_balanced_growth_is_the_rate_of_balanced_factors(name, root):
    nested = helpers.TREES[name]
    factors = htf.balanced_factors(
        jax.random.key(4),
        htf.ModeTree.from_nested(nested),
        helpers.default_dims(nested),
        helpers.default_widths(nested),
        0.8,
        root=root,
    )
    law = htf.theory.balanced_growth(factors, wave)
    bounds = htf.theory.growth_bounds(factors, wave, eps=0.0)
    for v, rate in htf.growth_rates(factors, wave).items():
        helpers.assert_close(law[v], rate, rtol=1e-11)
        for bound in (bounds.lower[v], bounds.upper[v]):
            helpers.assert_close(bound, rate, rtol=1e-11)


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


@some_cases
def test_truncation_errors_are_bounded(name, root):
    """D6: one node, all nodes, and the tail of singular values."""
    factors = helpers.random_factors(name, root=root)
    tensor = np.asarray(htf.end_tensor(factors))
    children, weights = helpers.plain(factors)
    norms = [float(np.linalg.norm(w)) for w in reference.with_root(children, weights)]
    if weights[-1] is None and len(children[-1]) > 1:
        norms[-1] = 1.0  # a root of ones only adds up products of two columns or more
    for keep in (0, 2):
        bounds = htf.theory.truncation_bounds(factors, keep)
        for v in factors.tree.interior:
            low = htf.theory.truncate(factors, {v: keep})
            error = np.linalg.norm(tensor - np.asarray(htf.end_tensor(low)))
            sigma = np.sort(reference.sigma(children, weights, v))[::-1]
            outside = [n for u, n in enumerate(norms) if u != v and u not in children[v]]
            expected = np.sum(sigma[keep:]) * math.prod(outside)
            helpers.assert_close(bounds[v], expected)
            assert error <= expected * (1 + 1e-12)
            s = np.linalg.svd(
                reference.matricize(tensor, reference.modes_of(children, v)),
                compute_uv=False,
            )
            assert np.linalg.norm(s[keep:]) <= expected * (1 + 1e-12) + 1e-12 * s[0]
        low = htf.theory.truncate(factors, keep)
        error = np.linalg.norm(tensor - np.asarray(htf.end_tensor(low)))
        assert error <= float(sum(bounds.values())) * (1 + 1e-12)


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


@some_cases
def test_rank_bounds_hold_and_are_reached(name, root):
    """D3: never below the rank; reached by generic factors without chains."""
    factors = helpers.random_factors(name, root=root)
    tensor = np.asarray(htf.end_tensor(factors))
    bounds = jax.jit(htf.theory.node_rank_bounds)(factors)
    for v, bound in bounds.items():
        s = np.linalg.svd(
            reference.matricize(tensor, factors.tree.modes[v]), compute_uv=False
        )
        rank = int(np.sum(s > 1e-10 * s[0]))
        assert rank <= int(bound)
        modes = factors.tree.modes[v]
        assert int(bound) >= min(rank, htf.rank_bound(factors, modes))


def test_rank_bounds_see_zero_components():
    factors = htf.theory.truncate(
        helpers.random_factors("binary4", (4, 4, 4, 4), (5, 5, 5)), {4: 2}
    )
    bounds = htf.theory.node_rank_bounds(factors)
    assert {v: int(b) for v, b in bounds.items()} == {0: 2, 1: 2, 2: 4, 3: 4, 4: 2, 5: 5}


@pytest.mark.parametrize("name", ["binary4", "mixed5", "patches3x3"])
def test_nested_bound_is_never_below_the_min_cut(name):
    """D4: rank <= min-cut <= the bound that multiplies up the tree."""
    factors = helpers.random_factors(name)
    order = factors.tree.order
    for size in range(1, order):
        for modes in itertools.combinations(range(order), size):
            cut = htf.rank_bound(factors, modes)
            nested = htf.theory.nested_rank_bound(factors, modes)
            assert cut <= nested


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
            squares = [w @ w for w in reference.component(children, weights, v, r)]
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
def test_homogeneity_and_normalize(name, root):
    """A2: W(a theta) = a^|T| W(theta), whatever the size."""
    factors = helpers.random_factors(name, root=root)
    tensor = np.asarray(htf.end_tensor(factors))
    power = htf.theory.degree(factors)
    assert power == len(jax.tree.leaves(factors))
    doubled = jax.tree.map(lambda w: 2 * w, factors)
    helpers.assert_close(htf.end_tensor(doubled), 2.0**power * tensor)
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
    return reference.scale(*helpers.plain(factors))


@pytest.mark.slow
def test_shared_weights_conserve_their_own_quantity():
    """F9: <S_{l-1}[:, r], dphi> = P <S_l[r, :], dphi>, by the chain rule alone."""
    tree = htf.square_patches(4, 2)
    rng = np.random.default_rng(0)
    shapes = [(2, 3), (3, 2), (2, 1)]
    shared = [jnp.asarray(rng.standard_normal(s)) for s in shapes]

    def loss(s):
        vectors = [jnp.asarray(x) for x in helpers.random_vectors((2,) * 16, 5)]
        values = htf.sense(htf.theory.to_factors(tree, s), vectors)
        return jnp.sum(jnp.sin(values))

    slopes = jax.grad(loss)(shared)
    moved = jax.jvp(
        lambda s: htf.theory.shared_conserved_quantities(tree, s), (shared,), (slopes,)
    )[1]
    columns = [
        np.sum(np.asarray(s * g), axis=0) for s, g in zip(shared, slopes, strict=True)
    ]
    assert max(np.max(np.abs(c)) for c in columns) > 1e-5
    for l, change in moved.items():
        helpers.assert_close(
            change, np.zeros(change.shape), size=np.abs(columns[l - 1]).max()
        )
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
