"""Round trips with the other libraries themselves, against their own full tensors.

`pip install --group exchange` brings them; each is skipped where it is not installed.
"""

import warnings
from typing import Any

import jax
import numpy as np
import pytest

import htfjax as htf
from htfjax import exchange
from tests.exchange.cases import (
    BINARY,
    SEVERAL,
    TRAINS,
    TREES,
    assert_equal,
    assert_round_trip,
    dense,
    diagonal,
)

# Warnings of other libraries are theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


def library(name: str) -> Any:
    """The module, or a skip; none of them may change the settings of jax."""
    before = jax.config.read("jax_enable_x64")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pytest.importorskip(name)
    assert jax.config.read("jax_enable_x64") == before
    return found


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


@pytest.mark.parametrize("name", SEVERAL)
def test_tensap(name: str) -> None:
    library("tensap")
    assert_round_trip(
        TREES[name], exchange.to_tensap, exchange.from_tensap, lambda t: t.full().data
    )


def test_tensors_that_tensap_makes() -> None:
    """By truncation on its own trees, balanced and linear, and a train."""
    tensap = library("tensap")
    tensor = tensap.FullTensor(random(2, 3, 4, 5))
    truncator = tensap.Truncator(tolerance=1e-14)
    for tree in (tensap.DimensionTree.balanced(4), tensap.DimensionTree.linear(4)):
        found = truncator.hsvd(tensor, tree)
        assert_equal(dense(exchange.from_tensap(found)), found.full().data)
    active = np.ones(7, bool)
    tree = tensap.DimensionTree.linear(4)
    active[tree.dim2ind[1:] - 1] = False
    train = truncator.hsvd(tensor, tree, active)
    factors = exchange.from_tensap(train)
    assert_equal(dense(factors), train.full().data)
    assert sum(w.size for w in jax.tree.leaves(factors)) == train.storage()


@pytest.mark.parametrize("name", TREES)
def test_quimb(name: str) -> None:
    library("quimb")
    out = [f"k{n}" for n in range(htf.as_tree(TREES[name]).order)]
    assert_round_trip(
        TREES[name],
        exchange.to_quimb,
        exchange.from_quimb,
        lambda t: t.contract(output_inds=out).transpose(*out).data,
    )


def test_networks_that_quimb_makes() -> None:
    """Matrix product states, trees, a random tree, an exponent; loops are refused."""
    qtn = library("quimb.tensor")
    state = qtn.MPS_rand_state(5, 4, phys_dim=3, dtype="float64", seed=0)
    found = exchange.from_quimb(state)
    assert_equal(dense(found), state.contract().transpose(*state.site_inds).data)
    assert sum(w.size for w in jax.tree.leaves(found)) == sum(t.size for t in state)
    many = qtn.MPS_rand_state(12, 2, dtype="float64", seed=0)  # k2 comes before k10
    wanted = many.contract().transpose(*many.site_inds).data
    assert_equal(dense(exchange.from_quimb(many)), wanted)
    scaled = state.copy()
    scaled.exponent = 2.0
    assert_equal(dense(exchange.from_quimb(scaled)), 100 * dense(found))
    edges = [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5)]
    tree = qtn.TN_from_edges_rand(edges, D=3, phys_dim=2, dtype="float64", seed=0)
    inds = sorted(tree.outer_inds())
    wanted = tree.contract().transpose(*inds).data
    assert_equal(dense(exchange.from_quimb(tree, inds=inds)), wanted)
    ring = qtn.MPS_rand_state(4, 3, cyclic=True, dtype="float64", seed=0)
    with pytest.raises(ValueError, match="`network` has a loop through the indices"):
        exchange.from_quimb(ring)


@pytest.mark.parametrize("nested", [(0, 1, 2), (2, 0, 1), ((0,), 1), (0,)])
def test_tensorly_cp(nested: Any) -> None:
    tensorly = library("tensorly")
    for root in ("trained", "ones"):
        factors = diagonal(nested, root)
        held = exchange.to_tensorly_cp(factors)
        assert_equal(tensorly.cp_to_tensor(held), dense(factors))
        assert_equal(dense(exchange.from_tensorly(held)), dense(factors))


@pytest.mark.parametrize("name", SEVERAL)
def test_tensorly_tucker(name: str) -> None:
    tensorly = library("tensorly")
    assert_round_trip(
        TREES[name],
        exchange.to_tensorly_tucker,
        exchange.from_tensorly,
        lambda t: tensorly.tucker_to_tensor(t),
    )


@pytest.mark.parametrize("name", TRAINS)
def test_tensorly_tt(name: str) -> None:
    tensorly = library("tensorly")
    assert_round_trip(
        TRAINS[name],
        exchange.to_tensorly_tt,
        exchange.from_tensorly,
        lambda t: tensorly.tt_to_tensor(t),
    )


def test_tensors_that_tensorly_makes() -> None:
    tensorly = library("tensorly")
    decomposition = library("tensorly.decomposition")
    tensor = random(4, 5, 6)
    cp = decomposition.parafac(tensor, rank=3, n_iter_max=5, init="random", random_state=0)
    assert_equal(dense(exchange.from_tensorly(cp)), tensorly.cp_to_tensor(cp))
    tucker = decomposition.tucker(tensor, rank=[2, 3, 4], n_iter_max=5)
    assert_equal(dense(exchange.from_tensorly(tucker)), tensorly.tucker_to_tensor(tucker))
    train = decomposition.tensor_train(tensor, rank=[1, 3, 4, 1])
    assert_equal(dense(exchange.from_tensorly(train)), tensorly.tt_to_tensor(train))
    ring = tensorly.random.random_tr((3, 3, 3), [2, 2, 2, 2])
    with pytest.raises(TypeError, match="`tensor` must be a CPTensor"):
        exchange.from_tensorly(ring)


@pytest.mark.parametrize("name", BINARY)
def test_hiepy(name: str) -> None:
    library("hiepy")
    assert_round_trip(
        TREES[name], exchange.to_hiepy, exchange.from_hiepy, lambda t: t.full().numpy()
    )


def test_tensors_that_hiepy_makes() -> None:
    hiepy, torch = library("hiepy"), library("torch")
    dense_tensor = torch.from_numpy(random(2, 3, 4, 5, 2))
    tensor, _ = hiepy.to_htt(dense_tensor, {"atol": 1e-13})
    assert_equal(dense(exchange.from_hiepy(tensor)), tensor.full().numpy())
    tensor.requires_grad_()
    assert_equal(dense(exchange.from_hiepy(tensor)), tensor.full().detach().numpy())


@pytest.mark.parametrize("name", TRAINS)
@pytest.mark.parametrize("kind", ["torchtt", "tntorch"])
def test_trains_of_torch(name: str, kind: str) -> None:
    library(kind)
    read = {"torchtt": lambda t: t.full().numpy(), "tntorch": lambda t: t.numpy()}[kind]
    if (kind, name) == ("torchtt", "vector"):
        assert_equal(
            read(exchange.to_torchtt(diagonal((0,)))).ravel(), dense(diagonal((0,)))
        )
        return
    there, back = getattr(exchange, f"to_{kind}"), getattr(exchange, f"from_{kind}")
    assert_round_trip(TRAINS[name], there, back, read)


def test_tensors_that_torchtt_makes() -> None:
    torchtt, torch = library("torchtt"), library("torch")
    train = torchtt.TT(torch.from_numpy(random(4, 5, 6)), eps=1e-14)
    assert_equal(dense(exchange.from_torchtt(train)), train.full().numpy())
    operator = torchtt.eye([2, 3])
    with pytest.raises(ValueError, match="`tensor` is a TT matrix"):
        exchange.from_torchtt(operator)


def test_tensors_that_tntorch_makes() -> None:
    """Every one of its formats."""
    tntorch, torch = library("tntorch"), library("torch")
    tensor = torch.from_numpy(random(4, 5, 6))
    made = [
        tntorch.Tensor(tensor),
        tntorch.Tensor(tensor, ranks_tt=3),
        tntorch.Tensor(tensor, ranks_tucker=3),
        tntorch.rand([4, 5, 6], ranks_cp=3),
        tntorch.rand([4, 5, 6], ranks_tt=2, ranks_tucker=3),
        tntorch.rand([4, 5, 6], ranks_cp=3, ranks_tucker=2),
        tntorch.rand([4, 5, 6], ranks_tt=2, requires_grad=True),
    ]
    for found in made:
        held = found.torch().detach().numpy()
        assert_equal(dense(exchange.from_tntorch(found)), held)
    cp = exchange.to_tntorch(diagonal((0, 1, 2)))
    assert_equal(cp.numpy(), dense(diagonal((0, 1, 2))))
    assert all(core.dim() == 2 for core in cp.cores)


def test_tensors_of_a_graph_are_detached() -> None:
    torch = library("torch")
    pair = None, [torch.ones(3, 2, requires_grad=True), torch.ones(4, 2).bfloat16()]
    assert dense(exchange.from_tensorly(pair)).dtype == np.float32
