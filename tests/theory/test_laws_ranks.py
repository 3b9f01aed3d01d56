"""Laws C1, C2, D1-D3, D5, D7: functions of inputs, and ranks of matricizations."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax.factors.stacks import alike
from htfjax.instruments import gram
from tests import helpers, reference
from tests.marks import slow_unless

every_case = pytest.mark.parametrize(
    ("name", "root"), slow_unless(helpers.CASES, helpers.FAST)
)

RANK_TOLERANCE = 1e-9


def rank(matrix: np.ndarray) -> int:
    values = np.linalg.svd(matrix, compute_uv=False)
    return int(np.sum(values > RANK_TOLERANCE * values[0]))


def halves(order: int) -> list[tuple[int, ...]]:
    """Every set of modes but the empty and the full one."""
    sizes = range(1, order)
    return [s for k in sizes for s in itertools.combinations(range(order), k)]


@every_case
def test_c1_sense_is_an_inner_product(name, root):
    """C1: the network's output is <W, x^0 (x) ... (x) x^(N-1)>."""
    factors = helpers.random_factors(name, root=root)
    children, weights = helpers.plain(factors)
    tensor = reference.end_tensor(children, weights)
    vectors = helpers.random_vectors(tensor.shape, 5)
    measured = [
        np.sum(tensor * reference.outer([(x[b], (n,)) for n, x in enumerate(vectors)]))
        for b in range(5)
    ]
    size = reference.scale(children, weights) * math.sqrt(tensor.size)
    found = htf.sense(factors, [jnp.asarray(x) for x in vectors])
    helpers.assert_close(found, measured, size=size)


@every_case
def test_c1_one_hot_inputs_read_entries(name, root):
    """C1: on one-hot vectors the network outputs the tensor's entries."""
    factors = helpers.random_factors(name, root=root)
    children, weights = helpers.plain(factors)
    tensor = reference.end_tensor(children, weights)
    indices = helpers.random_indices(tensor.shape, 6)
    hot = [jnp.asarray(np.eye(d)[i]) for d, i in zip(tensor.shape, indices.T, strict=True)]
    size = reference.scale(children, weights)
    expected = tensor[tuple(indices.T)]
    helpers.assert_close(htf.sense(factors, hot), expected, size=size)
    helpers.assert_close(htf.entries(factors, jnp.asarray(indices)), expected, size=size)


@pytest.mark.parametrize("name", ["chain2", "flat3", "binary4", "caterpillar4"])
@pytest.mark.parametrize("points", [2, 5])
def test_c2_separation_rank(name, points):
    """C2: f on a grid of m points a side has rank min(m, rank of the matricization)."""
    factors = helpers.random_factors(name, (3, 2, 4, 2)[: len_of(name)])
    dims = htf.mode_dims(factors)
    row, column = (x.reshape(-1) for x in np.indices((points, points)))
    left, right = (helpers.random_vectors(dims, points, seed) for seed in (1, 2))
    for rows in halves(len(dims)):
        grid = [
            jnp.asarray(left[n][row] if n in rows else right[n][column])
            for n in range(len(dims))
        ]
        values = np.asarray(htf.sense(factors, grid)).reshape(points, points)
        full = htf.numerical_rank(htf.singular_values(factors, rows), RANK_TOLERANCE)
        assert rank(values) == min(points, int(full))


def len_of(name: str) -> int:
    return htf.ModeTree.from_nested(helpers.TREES[name]).order


@pytest.mark.slow
@pytest.mark.parametrize("name", ["leaf_at_root", "binary4"])
def test_d1_both_sides_of_a_cut_have_one_spectrum(name):
    """D1: rank [W; I] = rank [W; I^c], and so all singular values."""
    factors = helpers.random_factors(name)
    order = factors.tree.order
    for rows in halves(order)[: 2 ** (order - 1)]:
        others = tuple(n for n in range(order) if n not in rows)
        one, other = (htf.singular_values(factors, side) for side in (rows, others))
        helpers.assert_close(one, other)


@pytest.mark.parametrize("root", slow_unless(helpers.ROOTS, ("ones",)))
@pytest.mark.parametrize("name", ["binary4", "caterpillar4"])
def test_d1_children_of_a_binary_root_share_their_rank(name, root):
    """D1: the hierarchical ranks of the two children of the root coincide."""
    factors = helpers.random_factors(name, root=root)
    one, other = factors.tree.children[factors.tree.root]
    ranks = htf.hierarchical_rank(factors, rtol=RANK_TOLERANCE)
    assert int(ranks[one]) == int(ranks[other]) > 0


@every_case
def test_d2_matricization_is_phi_w_psi(name, root):
    """D2: [W; v] = Phi_v W_v Psi_v^T at every node."""
    factors = helpers.random_factors(name, root=root)
    children, weights = helpers.plain(factors)
    matrices = reference.with_root(children, weights)
    size = reference.scale(children, weights)
    tensor = htf.end_tensor(factors)
    for v in range(len(children)):
        parts = [f(children, weights, v) for f in (reference.phi, reference.psi)]
        found = htf.matricize(tensor, reference.modes_of(children, v))
        helpers.assert_close(found, parts[0] @ matrices[v] @ parts[1].T, size=size)


@pytest.mark.parametrize(("name", "root"), slow_unless(helpers.CASES, helpers.FAST[:4]))
def test_d2_gram_matrices(name, root):
    """D2: Phi^T Phi and E^T E with E = Psi W^T, up to what components share out.

    The kernels choose how much of a component is in Phi and how much in E; the elementwise
    product of the two Gram matrices does not depend on it.
    """
    factors = helpers.random_factors(name, root=root)
    children, weights = helpers.plain(factors)
    matrices = reference.with_root(children, weights)
    ((layout, stacks),) = alike(factors)
    inside, outside = gram.component_grams(layout, stacks)
    home = layout.homes
    for v in reference.interior(children):
        g, i = home[v]
        (m, low), (e, high) = inside[g], outside[g]
        below = reference.phi(children, weights, v)
        around = reference.psi(children, weights, v) @ matrices[v].T
        found = m[i] * e[i] * 2.0 ** float(low[i] + high[i])
        helpers.assert_close(found, (below.T @ below) * (around.T @ around))


@pytest.mark.parametrize(
    ("name", "root"),
    slow_unless(
        itertools.product(("chain2", "flat3", "chain_between", "mixed5"), helpers.ROOTS),
        helpers.FAST,
    ),
)
def test_d3_rank_bounds(name, root):
    """D3: ranks are bounded by matrix ranks, live components and both sizes."""
    factors = helpers.random_factors(name, root=root)
    tree, dims = factors.tree, htf.mode_dims(factors)
    live = {v: htf.widths(factors)[v] for v in tree.interior}
    weights = helpers.plain(factors)[1]
    for v in tree.interior[::2]:  # every second node loses its first component
        if live[v] > 1:
            child = tree.children[v][-1]
            weights[child][:, 0] = 0.0
            live[v] -= 1
    thinned = helpers.rebuilt(factors, weights)
    norms = htf.local_component_norms(thinned)
    assert {v: int(np.sum(np.asarray(s) > 0)) for v, s in norms.items()} == live
    for v, found in htf.hierarchical_rank(thinned, rtol=RANK_TOLERANCE).items():
        inside = math.prod(dims[n] for n in tree.modes[v])
        sizes = [inside, math.prod(dims) // inside, live[tree.parent[v]]]
        sizes += [rank(weights[v])] + ([live[v]] if v in live else [])
        assert 1 <= int(found) <= min(sizes)


@pytest.mark.slow
def test_d3_no_more_components_no_more_rank():
    """D3: keeping k components at a node of a wide tree gives exactly rank k there."""
    factors = helpers.random_factors("binary4", (4, 4, 4, 4), (5, 6, 7))
    for kept in (1, 2, 3):
        weights = helpers.plain(factors)[1]
        weights[4][kept:] = 0.0
        ranks = htf.hierarchical_rank(
            helpers.rebuilt(factors, weights), rtol=RANK_TOLERANCE
        )
        assert int(ranks[4]) == int(ranks[5]) == kept
        assert int(ranks[0]) == min(4, kept)
        assert int(ranks[2]) == 4


@pytest.mark.slow
def test_d5_tree_nodes_have_low_rank_other_cuts_do_not():
    """D5: order 4, D = 8, R = 5: rank 5 at {0, 1} and the leaves, 25 at {0, 2}."""
    factors = helpers.random_factors("binary4", (8,) * 4, (5,) * 3)
    ranks = htf.hierarchical_rank(factors, rtol=RANK_TOLERANCE)
    assert {v: int(r) for v, r in ranks.items()} == dict.fromkeys(range(6), 5)
    crossing = htf.singular_values(factors, (0, 2))
    assert crossing.shape == (64,)
    assert int(htf.numerical_rank(crossing, RANK_TOLERANCE)) == 25


def roy_vetterli(s: np.ndarray) -> float:
    p = s[s > 0] / np.sum(s)
    return float(np.exp(-np.sum(p * np.log(p))))


@pytest.mark.parametrize("size", [1, 2, 7])
def test_d7_effective_rank(size):
    """D7: between 1 and the rank, exp of the entropy, free of scale."""
    s = np.sort(np.random.default_rng(size).random(size) + 0.1)[::-1]
    padded = jnp.asarray(np.concatenate([s, np.zeros(3)]))
    found = htf.effective_rank(padded)
    helpers.assert_close(found, roy_vetterli(s))
    assert 1 - 1e-12 <= float(found) <= size + 1e-12
    assert size == 1 or 1.001 < float(found) < size - 1e-6
    helpers.assert_close(htf.effective_rank(1e-30 * padded), found)
    helpers.assert_close(htf.entanglement_entropy(padded), np.log(roy_vetterli(s**2)))


@pytest.mark.parametrize("size", [1, 2, 7])
def test_d7_equal_values_give_the_rank(size):
    """D7: effective rank = rank exactly when the nonzero values are equal."""
    level = jnp.concatenate([jnp.full(size, 0.3), jnp.zeros(2)])
    helpers.assert_close(htf.effective_rank(level), float(size))
    helpers.assert_close(htf.entanglement_entropy(level), np.log(size), size=1.0)
    assert int(htf.numerical_rank(level)) == size
    tilted = level.at[0].multiply(1.5)
    assert size == 1 or float(htf.effective_rank(tilted)) < size - 1e-3


def test_d7_values_below_the_floor_do_not_count():
    """D7: rounding noise under the floor changes neither rank nor entropies."""
    clean, noise = jnp.array([2.0, 1.0, 0.0]), jnp.array([0.0, 0.0, 1e-17])
    for measure in (htf.effective_rank, htf.entanglement_entropy, htf.numerical_rank):
        np.testing.assert_array_equal(measure(clean + noise), measure(clean))
    kept = htf.effective_rank(jnp.array([2.0, 1.0, 1e-3]), floor=1e-2)
    np.testing.assert_array_equal(kept, htf.effective_rank(clean))
    assert float(htf.effective_rank(jnp.array([2.0, 1.0, 1e-3]))) > float(kept) + 1e-4
    batch = jnp.stack([clean, 5 * clean])
    assert jax.vmap(htf.effective_rank)(batch).shape == (2,)
    helpers.assert_close(
        htf.effective_rank(batch), [roy_vetterli(np.array([2.0, 1.0]))] * 2
    )
