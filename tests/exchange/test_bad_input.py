"""Errors of the exchange: every row is a mistake, and words that the message must hold."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax import exchange
from htfjax._extras import EXCHANGED
from tests.exchange import stand_ins
from tests.exchange.cases import diagonal
from tests.mistakes import assert_named, every

ROOT = Path(__file__).parent.parent.parent
PERFECT = diagonal(((0, 1), (2, 3)))
WIDE = diagonal((0, 1, 2))
ONES = np.ones
ANYTHING: Any = None


@pytest.fixture(autouse=True)
def libraries() -> Iterator[None]:
    with stand_ins.installed():
        yield


def tensap(cores: Any = None, leaves: Any = (2, 3), edges: Any = None) -> Any:
    cores = [ONES((2, 2)), ONES((3, 2)), ONES((4, 2))] if cores is None else cores
    edges = [[0, 1, 1], [0, 0, 0], [0, 0, 0]] if edges is None else edges
    return stand_ins.TreeBasedTensor(cores, stand_ins.DimensionTree(leaves, edges))


def hiepy(**parts: Any) -> Any:
    return SimpleNamespace(
        **{
            "U": {(0,): ONES((3, 2)), (1,): ONES((4, 2))},
            "B": {(0, 1): ONES((2, 2, 1))},
            "dtree": stand_ins.DimTree((0, 1), {(0, 1): ((0,), (1,))}),
            **parts,
        }
    )


def network(*tensors: Any) -> Any:
    return stand_ins.TensorNetwork([stand_ins.Tensor(ONES(s), inds) for s, inds in tensors])


def train(*shapes: Any, kind: Any = stand_ins.TT, **more: Any) -> Any:
    return kind([ONES(shape) for shape in shapes], **more)


RING = network(((2, 3, 3), "abc"), ((2, 3, 3), "dbe"), ((2, 3, 3), "fec"))
TNTORCH = stand_ins.TntorchTensor
ROWS: list[Any] = [
    ("tensap kind", lambda: exchange.from_tensap(WIDE), TypeError,
     "`tensor` must be a tensap.TreeBasedTensor, got Factors( has no `tensors`"),
    ("tensap tree", lambda: exchange.from_tensap(SimpleNamespace(tensors=[1], tree=(0, 1))),
     TypeError, "`tensor.tree` must be a tensap.DimensionTree, got (0, 1)"),
    ("tensap edges", lambda: exchange.from_tensap(tensap(edges=np.eye(2, dtype=int))),
     ValueError, "`tensor.tree.adjacency_matrix` has shape (2, 2), expected (3, 3)"),
    ("tensap floats", lambda: exchange.from_tensap(tensap(edges=np.eye(3))), TypeError,
     "`tensor.tree.adjacency_matrix` must be integers, got float64"),
    ("tensap roots", lambda: exchange.from_tensap(tensap(edges=np.zeros((3, 3), int))),
     ValueError, "`tensor.tree` has the roots [1, 2, 3] must have one root"),
    ("tensap leaves", lambda: exchange.from_tensap(tensap(leaves=[2, 2])), ValueError,
     "`tensor.tree` leaves [2 2] one leaf from 1 to 3 for every mode"),
    ("tensap mode", lambda: exchange.from_tensap(tensap(leaves=[2])), ValueError,
     "`tensor`: the nodes [2, 3] have no children, and modes are given to [2]"),
    ("tensap rank", lambda: exchange.from_tensap(
        tensap([ONES((2, 2)), ONES((3, 2)), ONES((4, 3))])), ValueError,
     "`tensor.tensors[0]` has shape (2, 2), expected (2, 3, 1)"),
    ("tensap root", lambda: exchange.from_tensap(
        tensap([ONES((2, 2, 5)), ONES((3, 2)), ONES((4, 2))])), ValueError,
     "`tensor.tensors[0]` has shape (2, 2, 5), expected (2, 2, 1)"),
    ("tensap leaf", lambda: exchange.from_tensap(
        tensap([ONES((2, 2)), ONES((3, 2, 1)), ONES((4, 2))])), ValueError,
     "`tensor.tensors[1]` has shape (3, 2, 1), expected a matrix (D, k) for mode 0"),
    ("tensap complex", lambda: exchange.from_tensap(
        tensap([ONES((2, 2)) * 1j, ONES((3, 2)), ONES((4, 2))])), TypeError,
     "`tensor.tensors[0]` must be real numbers, got complex128"),
    ("to tensap", lambda: exchange.to_tensap(diagonal((0,))), ValueError,
     "`factors` are of order 1, and a tensap.TreeBasedTensor has two modes"),
    ("hiepy kind", lambda: exchange.from_hiepy(3), TypeError,
     "`tensor` must be a hiepy.HTTensor, got 3 no `U` and `B` and `dtree`"),
    ("hiepy lists", lambda: exchange.from_hiepy(hiepy(U=[1])), TypeError,
     "`tensor.U` must be a dict of nodes, got [1]"),
    ("hiepy leaf", lambda: exchange.from_hiepy(hiepy(U={(0, 1): ONES((3, 2))})), ValueError,
     "`tensor.U` has the node (0, 1); a leaf is a tuple of one mode"),
    ("hiepy few", lambda: exchange.from_hiepy(hiepy(B={})), ValueError,
     "`tensor.B[(0, 1)]` is missing, expected (2, 2, 1)"),
    ("hiepy rank", lambda: exchange.from_hiepy(hiepy(B={(0, 1): ONES((2, 3, 1))})),
     ValueError, "`tensor.B[(0, 1)]` has shape (2, 3, 1), expected (2, 2, 1)"),
    ("to hiepy", lambda: exchange.to_hiepy(WIDE), ValueError,
     "`factors`: the node of modes (0, 1, 2) has 3 children, and a hiepy.HTTensor has two"),
    ("to hiepy vector", lambda: exchange.to_hiepy(diagonal((0,))), ValueError, "order 1"),
    ("quimb kind", lambda: exchange.from_quimb("abc"), TypeError,
     "`network` must be a quimb.tensor.TensorNetwork, got 'abc', no `tensor_map`"),
    ("quimb list", lambda: exchange.from_quimb(SimpleNamespace(tensor_map=[1])), TypeError,
     "`network.tensor_map` must be a dict of tensors, got [1]"),
    ("quimb tensor", lambda: exchange.from_quimb(SimpleNamespace(tensor_map={0: 1})),
     TypeError, "`network.tensor_map[0]` must be a quimb.tensor.Tensor, got 1"),
    ("quimb loop", lambda: exchange.from_quimb(RING), ValueError,
     "`network` has a loop through the indices b, c, e; factors hold trees"),
    ("quimb two bonds", lambda: exchange.from_quimb(
        network(((2, 3, 4), "axy"), ((3, 4, 2), "xyb"))), ValueError,
     "loop through the indices x, y; fuse_multibonds"),
    ("quimb trace", lambda: exchange.from_quimb(network(((2, 3, 3), "abb"))), ValueError,
     "`network` has a tensor with indices ('a', 'b', 'b'), one of them twice"),
    ("quimb sizes", lambda: exchange.from_quimb(network(((2, 3), "ab"), ((4, 2), "bc"))),
     ValueError, "`network`: index 'b' has the lengths 3 and 4"),
    ("quimb axes", lambda: exchange.from_quimb(network(((2, 3), "abc"))), ValueError,
     "`network` has a tensor of shape (2, 3) and indices ('a', 'b', 'c')"),
    ("quimb number", lambda: exchange.from_quimb(network(((2,), "a"), ((2,), "a"))),
     ValueError, "`network` has no outer index, so that it is a number"),
    ("quimb empty", lambda: exchange.from_quimb(network()), ValueError, "no outer index"),
    ("quimb inds", lambda: exchange.from_quimb(network(((2, 3), "ab")), inds=["a"]),
     ValueError, "`inds=['a']` must name the outer indices, each once: a, b."),
    ("quimb inds twice", lambda: exchange.from_quimb(network(((2,), "a")), inds="aa"),
     TypeError, "`inds` must be a list of names of indices, got 'aa'"),
    ("tensorly kind", lambda: exchange.from_tensorly(ONES((2, 2))), TypeError,
     "`tensor` must be a CPTensor, TuckerTensor or TTTensor of tensorly"),
    ("tensorly three", lambda: exchange.from_tensorly((1, 2, 3)), ValueError,
     "`tensor` is a tuple of 3, expected a CPTensor"),
    ("tensorly none", lambda: exchange.from_tensorly((None, [])), ValueError,
     "`tensor[1]` is empty; it must hold matrices"),
    ("tensorly matrices", lambda: exchange.from_tensorly((None, 3)), TypeError,
     "`tensor[1]` must be a list of matrices, got 3"),
    ("tensorly columns", lambda: exchange.from_tensorly(
        (None, [ONES((3, 2)), ONES((3, 4))])), ValueError,
     "the matrices of `tensor[1]` have (2, 4) columns"),
    ("tensorly weights", lambda: exchange.from_tensorly((ONES(3), [ONES((3, 2))] * 2)),
     ValueError, "`tensor[0]` has shape (3,) and the matrices of `tensor[1]` have (2, 2)"),
    ("tensorly core", lambda: exchange.from_tensorly((ONES((2, 3)), [ONES((3, 2))] * 2)),
     ValueError, "`tensor[0]` has shape (2, 3) a core for those of its axes"),
    ("tensorly vector", lambda: exchange.from_tensorly((None, [ONES(3)])), ValueError,
     "`tensor[1][0]` has shape (3,), expected a matrix (D, R)"),
    ("tensorly train", lambda: exchange.from_tensorly(
        train((1, 2, 3), (2, 2, 1), kind=stand_ins.TTTensor)), ValueError,
     "`tensor.factors[1]` has shape (2, 2, 1), expected (3, D, 1): bonds must match"),
    ("to cp", lambda: exchange.to_tensorly_cp(PERFECT), ValueError,
     "`factors` are of the tree ((0, 1), (2, 3)), and a CP tensor has a flat one "
     "`to_tensorly_tucker`"),
    ("to cp of tucker", lambda: exchange.to_tensorly_cp(
        htf.formats.tucker_factors(ONES((2, 3, 2)), [np.eye(4, k) for k in (2, 3, 2)])),
     ValueError, "components are multiplied one by one"),
    ("to tucker", lambda: exchange.to_tensorly_tucker(diagonal((0,))), ValueError,
     "`factors` are of order 1"),
    ("to tt", lambda: exchange.to_tensorly_tt(PERFECT), ValueError,
     "`factors` are of the tree ((0, 1), (2, 3)), and a TTTensor `htfjax.formats."),
    ("to torchtt", lambda: exchange.to_torchtt(WIDE), ValueError,
     "`factors` are of the tree (0, 1, 2), and a torchtt.TT has one that adds a mode"),
    ("to tntorch", lambda: exchange.to_tntorch(PERFECT), ValueError,
     "and a tntorch.Tensor has one that adds a mode at a time"),
    ("torchtt kind", lambda: exchange.from_torchtt([ONES((1, 2, 1))]), TypeError,
     "`tensor` must be a torchtt.TT no `cores` and `is_ttm`"),
    ("torchtt operator", lambda: exchange.from_torchtt(train((1, 2, 2, 1), is_ttm=True)),
     ValueError, "`tensor` is a TT matrix"),
    ("torchtt bonds", lambda: exchange.from_torchtt(train((1, 2, 3), (3, 2, 2))),
     ValueError,
     "`tensor.cores[1]` has shape (3, 2, 2), expected (3, D, 1)"),
    ("torchtt none", lambda: exchange.from_torchtt(stand_ins.TT([])), ValueError,
     "`tensor.cores` is empty; it must hold cores"),
    ("torchtt array", lambda: exchange.from_torchtt(stand_ins.TT(ONES((2, 2)))), TypeError,
     "`tensor.cores` must be a list of cores"),
    ("tntorch kind", lambda: exchange.from_tntorch(None), TypeError,
     "`tensor` must be a tntorch.Tensor, got None"),
    ("tntorch batch", lambda: exchange.from_tntorch(
        train((2, 1, 2, 1), kind=TNTORCH, batch=True)), ValueError,
     "`tensor` is a batch of tensors; convert them one by one"),
    ("tntorch bonds", lambda: exchange.from_tntorch(
        train((1, 2, 3), (4, 2), kind=TNTORCH)), ValueError,
     "`tensor.cores[1]` has shape (4, 2), expected (3, D, r) or, for CP, (D, 3)"),
    ("tntorch number", lambda: exchange.from_tntorch(train((), kind=TNTORCH)), ValueError,
     "`tensor.cores[0]` has shape ()"),
    ("tntorch matrices", lambda: exchange.from_tntorch(
        train((1, 2, 1), kind=TNTORCH, Us=[None, None])), ValueError,
     "`tensor.Us` has 2 matrices or None, expected 1"),
    ("tntorch columns", lambda: exchange.from_tntorch(
        train((1, 2, 1), kind=TNTORCH, Us=[ONES((4, 3))])), ValueError,
     "`tensor.Us[0]` has shape (4, 3), expected (D, 2) for the core"),
    ("tntorch cp columns", lambda: exchange.from_tntorch(
        train((2, 1), (2, 1), kind=TNTORCH, Us=[ONES((4, 3)), None])), ValueError,
     "`tensor.Us[0]` has shape (4, 3), expected (D, 2) for the core"),
    ("factors", lambda: exchange.to_tensap(ANYTHING), TypeError,
     "`factors` must be htfjax.Factors, got NoneType"),
]  # fmt: skip


@every(ROWS)
def test_mistakes(call: Any, kind: Any, words: str) -> None:
    assert_named(call, kind, words)


SENDERS = [name for name in exchange.__all__ if name.startswith("to_")]


@pytest.mark.parametrize("name", SENDERS)
def test_traced_factors_are_refused(name: str) -> None:
    """Another library holds numbers."""
    matrix = diagonal((0, 1))

    def sent(factors: htf.Factors) -> Any:
        getattr(exchange, name)(factors)
        return jnp.zeros(())

    with pytest.raises(TypeError, match=r"`factors` must be concrete, .* tracing"):
        jax.eval_shape(sent, matrix)


@pytest.mark.parametrize("name", SENDERS)
def test_a_missing_library_is_named(name: str) -> None:
    library = name.removeprefix("to_").split("_")[0]
    package = {"torchtt": "torchTT"}.get(library, library)
    message = rf"`htfjax\.exchange\.{name}` needs {library}; install it by `pip install "
    with (
        stand_ins.absent(library),
        pytest.raises(ImportError, match=f"{message}{package}`"),
    ):
        getattr(exchange, name)(diagonal((0, 1)))


def test_the_group_for_tests_has_every_library() -> None:
    """`pip install --group exchange` installs what the messages name."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))[
        "dependency-groups"
    ]
    names = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in groups["exchange"]}
    assert names == {*EXCHANGED.values()}


def test_double_precision_is_not_lost_in_silence() -> None:
    """float64 where 64-bit numbers are off is an error, as in `load_factors`."""
    pair = ONES(2), [ONES((3, 2)), ONES((4, 2))]
    single = tuple(np.float32(x) for x in pair[1])
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match=r"`tensor\[1\]\[0\]` holds float64 .*x64"):
            exchange.from_tensorly(pair)
        assert exchange.from_tensorly((None, single)).weights[0].dtype == np.float32
        assert exchange.from_tensorly((None, [ONES((3, 2), int)])).weights[0].dtype == "f4"
