"""Moves between ranks, and lanes that are filled up with zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax.completion.cells import cells_of
from htfjax.completion.lanes import Lanes, ranks_of
from htfjax.completion.moves import fewer, fitting, moved_to, neighbours, random_tensors
from htfjax.formats.cuts import check_ranks
from htfjax.formats.transfer_tensors import TransferTensors, joined
from tests.marks import slow_unless

DIMS = (4, 5, 3, 4)
TREES = [((0, 1), (2, 3)), (0, (1, (2, 3))), (0, 1, 2, 3), ((0, 2), 1, 3)]


def end_tensor(tensors: list[np.ndarray], tree: htf.ModeTree) -> np.ndarray:
    held = TransferTensors(tuple(map(jnp.asarray, tensors)), tree)
    return np.asarray(htf.end_tensor(joined(held)))


@pytest.mark.parametrize("nested", TREES, ids=str)
def test_neighbours_exist_and_lead_everywhere(nested: tuple) -> None:
    """From rank one every node can grow, and from there to rank one it can shrink."""
    tree = htf.as_tree(nested)
    ones = (1,) * tree.root
    grown = neighbours(tree, DIMS, ones)
    assert grown
    assert all(check_ranks(tree, DIMS, ranks) == ranks for ranks in grown)
    for k in range(tree.root):
        assert any(ranks[k] == 2 for ranks in grown)
    twos = check_ranks(tree, DIMS, 2)
    for ranks in fewer(tree, DIMS, twos):
        assert fitting(tree, DIMS, ranks)
        assert sum(ranks) < sum(twos)


@pytest.mark.slow
@pytest.mark.parametrize(
    "nested", slow_unless([(tree,) for tree in TREES], [(TREES[-1],)]), ids=str
)
def test_more_ranks_leave_the_tensor_and_fewer_round_it(nested: tuple) -> None:
    tree, rng = htf.as_tree(nested), np.random.default_rng(0)
    ranks = check_ranks(tree, DIMS, 2)
    tensors = random_tensors(tree, DIMS, ranks, rng)
    before = end_tensor(tensors, tree)
    for other in neighbours(tree, DIMS, ranks):
        moved = moved_to(tensors, other, tree, rng)
        assert ranks_of(moved) == other
        if all(a >= b for a, b in zip(other, ranks, strict=True)):
            assert np.abs(end_tensor(moved, tree) - before).max() < 1e-12
        for k in range(tree.root):  # bases are orthonormal
            if other[k] >= ranks[k]:
                basis = moved[k].reshape(-1, other[k])
                if k < tree.order:
                    assert np.abs(basis.T @ basis - np.eye(other[k])).max() < 1e-12


@pytest.mark.slow
def test_lanes_of_other_ranks_are_as_if_alone() -> None:
    """What fills up stays zero, and a lane moves as in a program of its own ranks."""
    tree, rng = htf.as_tree(((0, 1), (2, 3))), np.random.default_rng(0)
    truth = rng.standard_normal(DIMS)
    data = htf.observed(truth, holdout=0.1, key=jax.random.key(0), scaling="none")
    cells = cells_of(data, 0.1, jax.random.key(0), None)
    optimizer = htf.levenberg_marquardt()
    small, large = check_ranks(tree, DIMS, 2), check_ranks(tree, DIMS, 3)
    start = random_tensors(tree, DIMS, small, rng)
    (alone,) = Lanes(cells, tree, small, optimizer).polished([start], 10)
    other = random_tensors(tree, DIMS, large, rng)
    together = Lanes(cells, tree, large, optimizer).polished([start, other], 10)[0]
    assert together.ranks == small
    assert together.training == pytest.approx(alone.training, rel=1e-6)
    found = end_tensor(together.tensors, tree)
    assert np.abs(found - end_tensor(alone.tensors, tree)).max() < 1e-6
