"""Calls of the exchange, with stand-ins for other libraries, and kinds of parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

import htfjax as htf
from htfjax import exchange
from tests.exchange import stand_ins
from tests.fuzz import kinds_files
from tests.fuzz.calls import Call, Kind, Wrong
from tests.fuzz.kinds import STRANGE, WORD, path_arguments, wrongs
from tests.fuzz.kinds_formats import dense
from tests.fuzz.kinds_objects import FACTORS, factors

__all__ = ["EXCHANGE_CALLS"]

ONES = np.ones
EDGES = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]])
CORES = (ONES((1, 3, 2)), ONES((2, 4, 1)))


def with_part(name: str, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A stand-in with one attribute changed."""

    def changed(tensor: Any) -> Any:
        setattr(tensor, name, make(getattr(tensor, name)))
        return tensor

    return changed


def foreign(name: str, *parts: str) -> Kind:
    """A tensor of another library: nothing else, and none whose parts are wrong."""
    broken = [
        Wrong(f"{part}_{label}", with_part(part, make))
        for part in parts
        for label, make in (
            ("none", lambda _: None),
            ("word", lambda _: "nonsense"),
            ("empty", lambda _: []),
            ("objects", lambda _: [None, None]),
        )
    ]
    more = wrongs(("number", lambda _: 1.0), ("factors", lambda _: factors()))
    return Kind(name, (*STRANGE, WORD, *more, *broken))


def of_foreign(
    function: Callable[..., Any], make: Callable[[], Any], *parts: str, name: str = "tensor"
) -> Call:
    return Call(function, lambda: {name: make()}, {name: foreign(name, *parts)}, dense)


def tensap() -> Any:
    tree = stand_ins.DimensionTree([2, 3], EDGES)
    return stand_ins.TreeBasedTensor([ONES((2, 2)), ONES((3, 2)), ONES((4, 2))], tree)


def hiepy() -> Any:
    tree = stand_ins.DimTree((0, 1), {(0, 1): ((0,), (1,))})
    leaves = {(0,): ONES((3, 2)), (1,): ONES((4, 2))}
    return stand_ins.HTTensor(leaves, {(0, 1): ONES((2, 2, 1))}, tree)


def network() -> Any:
    parts = [
        stand_ins.Tensor(core.squeeze(), inds)
        for core, inds in zip(CORES, ("ab", "bc"), strict=True)
    ]
    return stand_ins.TensorNetwork(parts)


def cp() -> Any:
    return stand_ins.CPTensor((ONES(2), [ONES((3, 2)), ONES((4, 2))]))


def pair() -> Any:
    return ONES((2, 2)), [ONES((3, 2)), ONES((4, 2))]


def sent(function: Callable[..., Any], read: Callable[[Any], Any], start: Any) -> Call:
    """Factors that another library is given, and its full tensor."""

    def with_library(factors: Any) -> Any:
        with stand_ins.installed():
            return read(function(factors))

    return Call(with_library, lambda: {"factors": start()}, {"factors": FACTORS})


def vectors() -> htf.Factors:
    return factors(htf.ModeTree.from_nested((0, 1, 2)), widths=(2,))


def full(tensor: Any) -> Any:
    return np.asarray(tensor.full())


def file_arguments() -> dict[str, Any]:
    given = path_arguments(
        "x.mat", lambda p: exchange.write_htensor(p, factors(), name="x")
    )
    return {**given, "name": "x"}


NAME = kinds_files.TEXT.but(
    wrong=wrongs(("empty", lambda _: ""), ("dash", lambda _: "a-b"))
)
READ_PATH = kinds_files.READ_PATH.but(
    wrong=(kinds_files.IS_FOLDER, Wrong("damaged", kinds_files.damaged))
)

EXCHANGE_CALLS: dict[str, Call] = {
    "exchange.from_tensap": of_foreign(exchange.from_tensap, tensap, "tensors", "tree"),
    "exchange.from_hiepy": of_foreign(exchange.from_hiepy, hiepy, "U", "B", "dtree"),
    "exchange.from_torchtt": of_foreign(
        exchange.from_torchtt, lambda: stand_ins.TT([*CORES]), "cores"
    ),
    "exchange.from_tntorch": of_foreign(
        exchange.from_tntorch, lambda: stand_ins.TntorchTensor([*CORES]), "cores"
    ),
    "exchange.from_tensorly": of_foreign(exchange.from_tensorly, cp, "factors"),
    "exchange.from_tensorly of a pair": Call(
        exchange.from_tensorly,
        lambda: {"tensor": pair()},
        {
            "tensor": foreign("tensor").but(
                wrong=wrongs(
                    ("one", lambda v: v[:1]),
                    ("three", lambda v: (*v, None)),
                    ("turned", lambda v: v[::-1]),
                    ("complex", lambda v: (1j * v[0], v[1])),
                    ("columns", lambda v: (v[0], [v[1][0], ONES((4, 3))])),
                )
            )
        },
        dense,
    ),
    "exchange.from_quimb": of_foreign(
        exchange.from_quimb, network, "tensor_map", name="network"
    ),
    "exchange.from_quimb of indices": Call(
        exchange.from_quimb,
        lambda: {"network": network(), "inds": ["a", "c"]},
        {
            "network": foreign("network"),
            "inds": Kind(
                "indices",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("one", lambda v: v[:1]),
                        ("twice", lambda v: [*v, v[0]]),
                        ("unknown", lambda v: [*v, "z"]),
                        ("numbers", lambda _: [0, 1]),
                    ),
                ),
            ).or_none(),
        },
        dense,
    ),
    "exchange.to_tensap": sent(exchange.to_tensap, lambda t: t.numpy(), factors),
    "exchange.to_quimb": sent(
        exchange.to_quimb, lambda t: t.contract(["k0", "k1", "k2"]), factors
    ),
    "exchange.to_hiepy": sent(exchange.to_hiepy, full, factors),
    "exchange.to_torchtt": sent(exchange.to_torchtt, full, factors),
    "exchange.to_tntorch": sent(exchange.to_tntorch, full, factors),
    "exchange.to_tensorly_cp": sent(exchange.to_tensorly_cp, full, vectors),
    "exchange.to_tensorly_tucker": sent(exchange.to_tensorly_tucker, full, factors),
    "exchange.to_tensorly_tt": sent(exchange.to_tensorly_tt, full, factors),
    "exchange.read_htensor": Call(
        exchange.read_htensor,
        file_arguments,
        {"path": READ_PATH, "name": NAME.or_none()},
        dense,
    ),
    "exchange.write_htensor": Call(
        exchange.write_htensor,
        lambda: {"path": kinds_files.new_path("x.mat"), "factors": factors(), "name": "x"},
        {
            "path": kinds_files.PATH.but(
                wrong=(kinds_files.NO_FOLDER, kinds_files.IS_FOLDER)
            ),
            "factors": dataclasses.replace(FACTORS, equal=()),
            "name": NAME,
        },
    ),
}
