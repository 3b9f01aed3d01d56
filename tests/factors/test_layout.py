"""Layouts: what follows from shapes alone, found once and without arrays."""

import dataclasses
import itertools
import math
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax.factors import layout as layouts
from htfjax.factors.layout import Layout, layout_of
from htfjax.instruments.rank_bound import min_cut
from htfjax.instruments.sweep_costs import dense_cost, gram_cost, qr_cost
from tests import helpers


def without_arrays(tree, widths, has_root=True):
    groups = tuple((k,) for k in range(tree.num_nodes))
    return Layout(tree, widths, np.dtype("float32"), (), has_root, groups)


@pytest.mark.parametrize(("name", "root"), helpers.CASES)
def test_a_layout_says_what_matricizations_show(name, root):
    factors = helpers.random_factors(name, root=root)
    layout = layout_of(factors)
    tensor = htf.end_tensor(factors)
    assert layout.dims == tensor.shape == htf.mode_dims(factors)
    assert layout.size == tensor.size
    assert layout.widths == htf.widths(factors)
    for v in range(layout.tree.num_nodes):
        modes = layout.tree.modes[v]
        matrix = htf.matricize(tensor, modes)
        assert layout.sides[v] == layout.sides_of(modes) == matrix.shape
        above = 1 if v == layout.tree.root else layout.widths[layout.tree.parent[v]]
        assert layout.columns[v] == above
        assert layout.counts[v] == min(*matrix.shape, layout.widths[v], above)
        assert layout.trained[v] == (factors.weights[v] is not None)


@pytest.mark.parametrize(("name", "root"), helpers.CASES)
def test_stacks_have_the_layout_of_the_matrices(name, root):
    factors = helpers.random_factors(name, root=root)
    one, other = layout_of(factors), layout_of(htf.group(factors))
    assert dataclasses.replace(other, groups=one.groups, grouped=False) == one
    assert sorted(k for nodes in other.groups for k in nodes) == list(
        range(len(one.groups))
    )
    for nodes in other.groups:
        assert [other.homes[k] for k in nodes] == [
            (other.groups.index(nodes), i) for i in range(len(nodes))
        ]
        for j, (kids, g, places) in enumerate(other.slots(nodes)):
            assert kids == tuple(one.tree.children[k][j] for k in nodes)
            assert [other.groups[g][i] for i in places] == list(kids)


def test_a_layout_is_static_and_hashable():
    made = [helpers.random_factors("mixed5", seed=seed) for seed in (0, 1)]
    first, second = map(layout_of, made)
    assert first == second
    assert hash(first) == hash(second)
    assert layout_of(helpers.random_factors("mixed5", root="ones")) != first
    frozen = dataclasses.replace(made[0], fixed=(0,))
    assert layout_of(frozen).trained == (False, *first.trained[1:])


def test_the_dtype_is_what_jax_makes_of_the_weights():
    weights = (np.ones((3, 2)), np.ones((3, 2)), None)
    factors = htf.Factors(tree=htf.flat(2), weights=weights)
    assert layout_of(factors).dtype == np.float64
    with jax.enable_x64(False):
        assert layout_of(factors).dtype == np.float32


def test_costs_and_bounds_need_no_arrays():
    """Of a tree whose tensor nobody can make."""
    tree = htf.perfect(1024)
    layout = without_arrays(tree, (8,) * 1024 + (16,) * 1023)
    assert layout.size == 8**1024
    assert layout.counts[0] == 8
    assert layout.counts[tree.interior[-2]] == 16
    assert dense_cost(layout, [layout.sides[0]]) > layout.size
    nodes = range(tree.root)
    assert 0 < gram_cost(layout, nodes) < qr_cost(layout, nodes) < 10**12
    assert min_cut(layout, range(512)) == 16
    assert min_cut(layout, range(0, 1024, 2)) == math.prod([8] * 512)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "method"),
    [*itertools.product(("plain", "grouped"), ("dense", "gram", "qr"))],
)
def test_one_call_finds_one_layout(method, given):
    factors = helpers.random_factors("binary4")
    factors = htf.group(factors) if given == "grouped" else factors
    fresh = jax.tree.map(jnp.asarray, factors)
    with mock.patch.object(layouts, "check_factors", wraps=layouts.check_factors) as check:
        htf.spectra(fresh, method=method)
        htf.local_component_norms(fresh)
    assert check.call_count == 1


def test_stacks_have_the_dtype_that_jax_gave_them():
    """Whatever jax is set to later."""
    rng = np.random.default_rng(0)
    shapes = [(3, 2)] * 4 + [(2, 2)] * 2 + [(2, 1)]
    factors = htf.Factors(
        tree=htf.perfect(4), weights=tuple(map(rng.normal, [0] * 7, [1] * 7, shapes))
    )
    htf.group(factors)  # what is remembered of this call is of no use to the next
    with jax.enable_x64(False):
        grouped = htf.group(factors)
    assert layout_of(grouped).dtype == grouped.stacks[0].dtype == np.float32
    with pytest.raises(ValueError, match="float32"):
        htf.spectrum(grouped, 4, accuracy=1e-10)


ALIKE = {
    "a leaf beside a node inside": (((0, 1, 2, 3), (4,)), "alike children"),
    "parents before children": (((3,), (0, 1, 2), (4,)), "alike children"),
    "an empty group": (((0, 1), (2,), (), (3,), (4,)), "every node"),
    "floats": (((0.0, 1.0), (2,), (3,), (4,)), "every node"),
    "lists": (([0, 1], (2,), (3,), (4,)), "every node"),
    "a list in it": ((((0,), 1), (2,), (3,), (4,)), "every node"),
}


@pytest.mark.parametrize("case", ALIKE)
def test_groups_that_do_not_fit_the_tree(case):
    """One observation once came back as two values."""
    groups, said = ALIKE[case]
    tree = htf.ModeTree.from_nested(((0, 1), 2))
    stacks = tuple(jnp.ones((len(g), 2, 1 if 4 in g else 2)) for g in groups)
    grouped = htf.GroupedFactors(stacks=stacks, tree=tree, groups=groups)
    with pytest.raises(ValueError, match=f"`groups` must .*{said}"):
        htf.entries(grouped, np.array([[0, 1, 1]]))
