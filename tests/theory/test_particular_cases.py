"""Cases of laws A6, B2, D2, D3 and D7 that take factors or kernels of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax.factors.stacks import alike
from htfjax.instruments import gram
from htfjax.theory import oracle
from tests import helpers
from tests.marks import slow_unless


@pytest.mark.parametrize("root", helpers.ROOTS)
def test_a6_relabelling_modes_permutes_axes(root):
    """A6: other numbers at the leaves permute axes; the order of children is free."""
    factors = helpers.random_factors(((0, 3), (1, 2, 4)), root=root)
    w = factors.weights
    names = {0: 1, 3: 3, 1: 0, 2: 2, 4: 4}
    new = htf.ModeTree.from_nested(((4, 2, 0), (1, 3)))
    leaves = [w[old] for old in sorted(names, key=lambda old: names[old])]
    moved = htf.Factors(tree=new, weights=(*leaves, w[6], w[5], w[7]))
    axes = sorted(names, key=lambda old: names[old])
    size = oracle.scale(*helpers.plain(factors))
    expected = np.transpose(htf.end_tensor(factors), axes)
    helpers.assert_close(htf.end_tensor(moved), expected, size=size)


@pytest.mark.parametrize("root", helpers.ROOTS)
def test_b2_component_norms_are_singular_values_of_orthogonal_columns(root):
    factors = helpers.random_factors("matrix", (5, 4), (3,), root=root)
    u, v, w = helpers.plain(factors)[1]
    straight = [np.linalg.qr(u)[0] * [3.0, 2.0, 0.5], np.linalg.qr(v)[0], w]
    orthogonal = helpers.rebuilt(factors, straight)
    sigma = [np.sort(htf.local_component_norms(f)[2])[::-1] for f in (factors, orthogonal)]
    helpers.assert_close(htf.singular_values(orthogonal, 0), sigma[1])
    assert not np.allclose(htf.singular_values(factors, 0), sigma[0], rtol=1e-3)


def test_b2_component_balance_is_less_than_matrix_balance():
    """B2: on a chain components can be balanced while the matrices are not."""
    factors = helpers.random_factors("chain2", (3, 3), (3, 3), root="ones")
    w0, w1, w2, _ = helpers.plain(factors)[1]
    w0, w1 = w0 / np.linalg.norm(w0, axis=0), w1 / np.linalg.norm(w1, axis=0)
    squares = w2**2
    for _ in range(2000):  # rows and columns of norm one
        squares /= np.sum(squares, axis=1, keepdims=True)
        squares /= np.sum(squares, axis=0, keepdims=True)
    middle = np.sign(w2) * np.sqrt(squares)
    half = helpers.rebuilt(factors, [w0, w1, middle, None])
    assert float(htf.unbalancedness(half)) < 1e-12
    gap = np.linalg.norm(w0.T @ w0 - middle @ middle.T)
    assert gap > 0.1
    assert float(htf.unbalancedness(half, kind="matrix")) >= gap * (1 - 1e-12)


@pytest.mark.parametrize(("name", "root"), slow_unless(helpers.CASES, helpers.FAST[:4]))
def test_d2_gram_matrices(name, root):
    """D2: Phi^T Phi and E^T E with E = Psi W^T, up to what components share out.

    The kernels choose how much of a component is in Phi and how much in E; the elementwise
    product of the two Gram matrices does not depend on it.
    """
    factors = helpers.random_factors(name, root=root)
    children, weights = helpers.plain(factors)
    matrices = oracle.with_root(children, weights)
    ((layout, stacks),) = alike(factors)
    inside, outside = gram.component_grams(layout, stacks)
    home = layout.homes
    for v in oracle.interior(children):
        g, i = home[v]
        (m, low), (e, high) = inside[g], outside[g]
        below = oracle.phi(children, weights, v)
        around = oracle.psi(children, weights, v) @ matrices[v].T
        found = m[i] * e[i] * 2.0 ** float(low[i] + high[i])
        helpers.assert_close(found, (below.T @ below) * (around.T @ around))


@pytest.mark.slow
def test_d3_no_more_components_no_more_rank():
    """D3: keeping k components at a node of a wide tree gives exactly rank k there."""
    factors = helpers.random_factors("binary4", (4, 4, 4, 4), (5, 6, 7))
    for kept in (1, 2, 3):
        weights = helpers.plain(factors)[1]
        weights[4][kept:] = 0.0
        ranks = htf.hierarchical_rank(helpers.rebuilt(factors, weights), rtol=1e-9)
        assert int(ranks[4]) == int(ranks[5]) == kept
        assert int(ranks[0]) == min(4, kept)
        assert int(ranks[2]) == 4


@pytest.mark.slow
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
    helpers.assert_close(htf.effective_rank(batch), [3 / 2 ** (2 / 3)] * 2)
