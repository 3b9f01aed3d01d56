"""Round trips without the other libraries: their tensors as stand-ins hold them."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import htfjax as htf
from htfjax import exchange
from tests.exchange import stand_ins
from tests.exchange.cases import (
    BINARY,
    SEVERAL,
    TRAINS,
    TREES,
    assert_equal,
    assert_round_trip,
    dense,
    diagonal,
    full,
)


@pytest.fixture(autouse=True)
def libraries() -> Iterator[None]:
    with stand_ins.installed():
        yield


@pytest.mark.parametrize("name", SEVERAL)
def test_tensap(name: str) -> None:
    assert_round_trip(
        TREES[name], exchange.to_tensap, exchange.from_tensap, lambda t: t.numpy()
    )


@pytest.mark.parametrize("name", TREES)
def test_quimb(name: str) -> None:
    out = [f"k{n}" for n in range(htf.as_tree(TREES[name]).order)]
    assert_round_trip(
        TREES[name], exchange.to_quimb, exchange.from_quimb, lambda t: t.contract(out)
    )


@pytest.mark.parametrize("name", BINARY)
def test_hiepy(name: str) -> None:
    assert_round_trip(
        TREES[name], exchange.to_hiepy, exchange.from_hiepy, lambda t: t.full()
    )


@pytest.mark.parametrize("name", TRAINS)
@pytest.mark.parametrize("library", ["torchtt", "tntorch", "tensorly_tt"])
def test_trains(name: str, library: str) -> None:
    there = getattr(exchange, f"to_{library}")
    back = getattr(exchange, f"from_{library.removesuffix('_tt')}")
    assert_round_trip(TRAINS[name], there, back, lambda t: t.full())


@pytest.mark.parametrize("name", SEVERAL)
def test_tucker(name: str) -> None:
    assert_round_trip(
        TREES[name], exchange.to_tensorly_tucker, exchange.from_tensorly, lambda t: t.full()
    )


@pytest.mark.parametrize("nested", [(0, 1, 2), (2, 0, 1), (0,), ((0,), 1), ((((0,), 1),),)])
@pytest.mark.parametrize("library", ["tensorly_cp", "tntorch"])
def test_cp(nested: Any, library: str) -> None:
    """Components are kept: their number is the width of the root."""
    for root in ("trained", "ones"):
        factors = diagonal(nested, root)
        held = getattr(exchange, f"to_{library}")(factors)
        back = getattr(exchange, f"from_{library.removesuffix('_cp')}")(held)
        assert_equal(held.full(), dense(factors))
        assert_equal(dense(back), dense(factors))
        if library == "tensorly_cp":
            assert held.weights.shape == held.factors[0].shape[1:]
            assert htf.widths(back)[-1] == len(held.weights)


def test_the_tree_comes_back() -> None:
    """Chains, order of children, selectors: a network has what factors have."""
    for nested in TREES.values():
        for factors in (diagonal(nested), full(nested)):
            back = exchange.from_quimb(exchange.to_quimb(factors))
            assert back.tree == factors.tree
            sizes = [len(jax.tree.leaves(f)) for f in (factors, back)]
            assert sizes[0] == sizes[1]
    short = [n for n in SEVERAL if n not in ("chains", "over the root")]
    for nested in (TREES[n] for n in short):
        back = exchange.from_tensap(exchange.to_tensap(full(nested)))
        assert back.tree == full(nested).tree


def test_inactive_leaves_store_nothing() -> None:
    """A train of tensap: leaves without matrices are selectors."""
    rng = np.random.default_rng(0)
    cores = [rng.normal(size=s) for s in ((3, 4), (0,), (5, 6, 3), (0,), (2, 5))]
    edges = np.zeros((5, 5), int)
    edges[0, [2, 3]] = edges[2, [4, 1]] = 1
    # Node 3 has the children 2 (mode 1) and 5 (mode 0); tensap goes by their numbers.
    cores[2] = rng.normal(size=(6, 5, 3))
    tensor = stand_ins.TreeBasedTensor(cores, stand_ins.DimensionTree([5, 2, 4], edges))
    factors = exchange.from_tensap(tensor)
    assert_equal(dense(factors), tensor.numpy())
    assert sum(w.size for w in jax.tree.leaves(factors)) == 3 * 4 + 6 * 5 * 3 + 2 * 5


def test_one_child_nodes_of_tensap_stay() -> None:
    rng = np.random.default_rng(0)
    cores = [rng.normal(size=s) for s in ((2, 3), (4, 2), (5, 3), (6, 4))]
    edges = np.zeros((4, 4), int)
    edges[0, [1, 2]] = edges[1, 3] = 1
    tensor = stand_ins.TreeBasedTensor(cores, stand_ins.DimensionTree([4, 3], edges))
    factors = exchange.from_tensap(tensor)
    assert factors.tree.nested == (((0,),), (1,))
    assert_equal(dense(factors), tensor.numpy())


def test_matrices_of_tntorch() -> None:
    """Trains, CP and mixtures of both, with and without Tucker matrices, open ends."""
    rng = np.random.default_rng(0)

    def torch(*shape: int) -> stand_ins.Torch:
        return stand_ins.Torch(rng.normal(size=shape))

    for shapes, tucker in (
        ([(1, 3, 2), (2, 4, 5), (5, 2, 1)], (None, 6, None)),
        ([(1, 3, 2), (2, 4, 5), (5, 2, 1)], (4, None, 3)),
        ([(3, 2), (4, 2), (5, 2)], (None, 3, None)),
        ([(3, 2), (4, 2), (2, 5, 3), (6, 3)], (5, None, None, 2)),
        ([(2, 3, 2), (2, 4, 3)], (None, None)),
        ([(3, 2)], (4,)),
    ):
        sizes = [shape[-2] for shape in shapes]
        matrices = [
            None if d is None else torch(d, s) for d, s in zip(tucker, sizes, strict=True)
        ]
        tensor = stand_ins.TntorchTensor([torch(*s) for s in shapes], matrices)
        assert_equal(dense(exchange.from_tntorch(tensor)), tensor.full())


def test_trains_are_held_as_formats_hold_them() -> None:
    rng = np.random.default_rng(0)
    cores = [rng.normal(size=s) for s in ((1, 3, 2), (2, 4, 5), (5, 2, 1))]
    ours = htf.formats.tensor_train_factors(cores)
    for found in (
        exchange.from_torchtt(stand_ins.TT(cores)),
        exchange.from_tensorly(stand_ins.TTTensor(cores)),
        exchange.from_tntorch(stand_ins.TntorchTensor(cores)),
    ):
        assert jax.tree.structure(found) == jax.tree.structure(ours)
        assert all(map(jnp.array_equal, jax.tree.leaves(found), jax.tree.leaves(ours)))


def test_pairs_of_tensorly() -> None:
    rng = np.random.default_rng(0)
    matrices = [rng.normal(size=(d, 2)) for d in (3, 4)]
    weights, core = rng.normal(size=2), rng.normal(size=(2, 2))
    cp, tucker = stand_ins.CPTensor, stand_ins.TuckerTensor
    for pair, kind in (
        ((weights, matrices), cp),
        ([None, tuple(matrices)], cp),
        ((core, matrices), tucker),
    ):
        wanted = kind(pair).full()
        assert_equal(dense(exchange.from_tensorly(pair)), wanted)
        assert_equal(dense(exchange.from_tensorly(kind(pair))), wanted)
    assert exchange.from_tensorly((None, matrices)).weights[-1] is None


def test_grouped_factors_are_sent() -> None:
    factors = diagonal((0, 1, 2))
    alike = diagonal(((0, 1), (2, 3)), alike=True)
    out = ["k0", "k1", "k2", "k3"]
    held = exchange.to_quimb(htf.group(alike))
    assert_equal(held.contract(out), dense(alike))
    assert_equal(exchange.to_tensap(htf.group(alike)).numpy(), dense(alike))
    assert_equal(exchange.to_tensorly_cp(htf.group(factors)).full(), dense(factors))


def test_dtypes() -> None:
    """Half precision becomes float32, integers the default dtype; the widest is kept."""
    ones = np.ones((3, 2))
    half = exchange.from_tensorly((None, [ones.astype(np.float16), jnp.ones((4, 2), "f")]))
    assert dense(half).dtype == np.float32
    mixed = exchange.from_tensorly((None, [ones, jnp.ones((4, 2), jnp.bfloat16)]))
    assert dense(mixed).dtype == np.float64
    whole = exchange.from_tensorly((None, [ones.astype(int), ones.astype(int)]))
    assert_equal(dense(whole), np.full((3, 3), 2.0))
    sparse = exchange.from_tensorly((None, [scipy.sparse.csc_matrix(ones), ones]))
    assert_equal(dense(sparse), np.full((3, 3), 2.0))
    brain = exchange.from_torchtt(
        stand_ins.TT([stand_ins.HalfTorch(np.ones((1, 3, 1), np.float32))])
    )
    assert_equal(dense(brain), np.ones(3, np.float32))
    sent = exchange.to_tensorly_cp(diagonal((0, 1, 2), dtype=jnp.bfloat16))
    assert sent.weights.dtype == np.float32


def test_arrays_sent_are_copies() -> None:
    """Another library may write to them."""
    factors = diagonal((0, 1))
    before = np.array(factors.weights[0])
    exchange.to_tensorly_cp(factors).factors[0][:] = 0
    assert np.array_equal(factors.weights[0], before)
