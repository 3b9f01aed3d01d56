"""Any tree, dims and widths: the library agrees with the oracle and with itself."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import htfjax as htf
from htfjax.theory import oracle
from tests import helpers

many, few, fewer = map(helpers.examples, (30, 14, 10))


@many
@given(helpers.nested_trees())
def test_nodes_are_numbered_as_the_contract_says(nested):
    """Leaf of mode n is n, interior nodes in left-to-right post-order, root last."""
    tree, children = htf.ModeTree.from_nested(nested), oracle.children_of(nested)
    nodes = range(len(children))
    assert tree.children == children
    assert tree.order == len(children) - len(oracle.interior(children))
    assert tree.root == len(children) - 1
    assert list(tree.interior) == oracle.interior(children)
    assert list(tree.parent) == [oracle.parent_of(children, v) for v in nodes]
    assert list(tree.modes) == [oracle.modes_of(children, v) for v in nodes]
    assert list(tree.height) == [oracle.height_of(children, v) for v in nodes]


@many
@given(helpers.nested_trees())
def test_nested_round_trip_and_hash(nested):
    """`nested` spells the tree: equal trees are equal keys, other trees are not."""
    tree = htf.ModeTree.from_nested(nested)
    again = htf.ModeTree.from_nested(tree.nested)
    assert tree.nested == nested
    assert again == tree
    assert hash(again) == hash(tree)
    assert htf.ModeTree.from_nested((nested,)) != tree


@few
@given(helpers.factors())
def test_values_equal_the_oracle(factors):
    """End tensor, entries along both routes and one-hot sensing (C1) are one tensor."""
    children, weights = helpers.plain(factors)
    indices = helpers.all_indices(htf.mode_dims(factors))
    read = jax.jit(functools.partial(all_readings, indices=indices))
    tensor, *lists = read(factors)
    expected = oracle.end_tensor(children, weights)
    size = oracle.scale(children, weights)
    helpers.assert_close(tensor, expected, size=size)
    for values in lists:
        helpers.assert_close(values, expected.reshape(-1), size=size)


def all_readings(factors: htf.Factors, indices: np.ndarray) -> list[jax.Array]:
    """End tensor; all entries from the dense tensor, row by row and from one-hot inputs."""
    dims = htf.mode_dims(factors)
    one_hot = [jnp.asarray(np.eye(d)[i]) for d, i in zip(dims, indices.T, strict=True)]
    readings = [htf.end_tensor(factors), htf.sense(factors, one_hot)]
    for force in ("rows", "gather", "dense"):
        plan = htf.contraction_plan(
            factors.tree, dims, htf.widths(factors)[len(dims) :], len(indices), force=force
        )
        readings.append(htf.entries(factors, jnp.asarray(indices), plan=plan))
    return readings


@few
@given(helpers.factors())
def test_local_components_equal_the_oracle(factors):
    """Norms of every interior node, and the largest gap inside a component."""
    children, weights = helpers.plain(factors)
    norms, gap = jax.jit(norms_and_gap)(factors)
    assert sorted(norms) == oracle.interior(children)
    for v in norms:
        helpers.assert_close(norms[v], oracle.sigma(children, weights, v))
    expected = oracle.unbalancedness(children, weights)
    size = max(float(np.sum(w**2)) for w in weights if w is not None)
    helpers.assert_close(gap, expected, size=size)


def norms_and_gap(factors: htf.Factors) -> tuple:
    return htf.local_component_norms(factors), htf.unbalancedness(factors)


@pytest.mark.slow
@fewer
@given(helpers.factors(max_entries=100))
def test_singular_values_of_every_node(factors):
    """NumPy's values, as many as the contract says, and nothing but noise beyond."""
    children, weights = helpers.plain(factors)
    tensor = oracle.end_tensor(children, weights)
    size = oracle.scale(children, weights) * math.sqrt(tensor.size)
    spectra = jax.jit(all_spectra)(factors)
    for v in range(len(children)):
        matrix = oracle.matricize(tensor, oracle.modes_of(children, v))
        parent = oracle.parent_of(children, v)
        around = 1 if parent is None else oracle.width_of(children, weights, parent)
        length = min(*matrix.shape, oracle.width_of(children, weights, v), around)
        expected = np.linalg.svd(matrix, compute_uv=False)
        assert spectra[v].shape == (length,)
        helpers.assert_close(spectra[v], expected[:length], size=size)
        assert np.all(expected[length:] <= 1e-12 * size)


def all_spectra(factors: htf.Factors) -> list[jax.Array]:
    return [htf.singular_values(factors, v) for v in range(factors.tree.num_nodes)]


@pytest.mark.parametrize("rows", [(0,), (3, 1), (4, 0, 2), (0, 1, 2, 3, 4)])
def test_matricize_and_singular_values_of_any_modes(rows):
    """Rows need not belong to a node and count in the order given."""
    factors = helpers.random_factors("mixed5")
    tensor = oracle.end_tensor(*helpers.plain(factors))
    matrix = oracle.matricize(tensor, rows)
    np.testing.assert_array_equal(htf.matricize(jnp.asarray(tensor), rows), matrix)
    expected = np.linalg.svd(matrix, compute_uv=False)
    helpers.assert_close(htf.singular_values(factors, rows), expected)
