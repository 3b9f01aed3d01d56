"""Calls of the formats, and the kinds of their parameters."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import htfjax as htf
from htfjax import formats
from tests.fuzz.calls import Call, Kind, Wrong
from tests.fuzz.kinds import STRANGE, WORD, choice, list_of, number, reals, whole, wrongs
from tests.fuzz.kinds_objects import (
    DIM_LIST,
    DIMS,
    FACTORS,
    TREE,
    TREES,
    factors,
    named,
    of_factors,
    of_values,
)

TENSOR = (np.arange(12.0).reshape(DIMS) - 5) / 4
# Ranks of another length than the tree's nodes; a list is as good as a tuple.
RANKS = whole(1).but(without="none list array")
RTOL = number(0).but(without="none")
FULL = reals(axes=3).but(without="longer")
ANY_ORDER = FULL.but(without="extra_axis")


def dense(found: Any) -> Any:
    """End tensors of all factors in a result, with what else is in it."""
    if isinstance(found, htf.Factors):
        return htf.end_tensor(found)
    return tuple(map(dense, found)) if isinstance(found, tuple) else found


def of_decomposition(function: Callable[..., Any], **more: tuple[Any, Kind]) -> Call:
    pairs = {"tensor": (TENSOR, FULL), "rtol": (0.25, RTOL), **more}
    return dataclasses.replace(of_values(function, **pairs), read=dense)


def of_ranks(function: Callable[..., Any], **more: tuple[Any, Kind]) -> Call:
    pairs = {"tensor": (TENSOR, FULL), "ranks": (1, RANKS), **more}
    return dataclasses.replace(of_values(function, **pairs), read=dense)


def of_two(function: Callable[..., Any]) -> Call:
    return Call(
        function,
        lambda: {"left": factors(), "right": factors()},
        {"left": named("left"), "right": named("right")},
        dense,
    )


def of_one(function: Callable[..., Any], **more: tuple[Any, Kind]) -> Call:
    return dataclasses.replace(of_factors(function, **more), read=dense)


def transfer() -> Any:
    return formats.to_transfer_tensors(factors())


TRANSFER = Kind(
    "transfer tensors",
    (
        *STRANGE,
        WORD,
        Wrong("factors", lambda _: factors()),
        Wrong(
            "few",
            lambda t: dataclasses.replace(t, tensors=t.tensors[1:]),
            ("transfer.tensors",),
        ),
        Wrong(
            "vector",
            lambda t: dataclasses.replace(t, tensors=(t.tensors[0][0], *t.tensors[1:])),
            ("transfer.tensors",),
        ),
        Wrong(
            "tree", lambda t: dataclasses.replace(t, tree=((0, 1), 2)), ("transfer.tree",)
        ),
    ),
)
FEW = Wrong("few", lambda tensors: tensors[1:])


def saying(name: str, wrong: tuple[Wrong, ...]) -> Kind:
    """A kind whose errors name something else than the parameter."""
    return Kind(name, tuple(dataclasses.replace(w, says=(name,)) for w in wrong))


TREE_OF_TENSOR = TREES.but(wrong=wrongs(("order", lambda _: (0, 1))))
MATRICES = list_of(reals(finite=False, axes=2)).but(without="longer few many")
MODE = whole(0).but(wrong=wrongs(("high", lambda _: 3)))

FORMAT_CALLS = {
    "formats.degrees_of_freedom": Call(
        formats.degrees_of_freedom,
        lambda: {"tree": TREE, "mode_dims": DIMS, "ranks": 1},
        {"tree": TREES.besides((0, 1), says="mode_dims"), "mode_dims": DIM_LIST,
         "ranks": RANKS},
    ),
    "formats.hierarchical_svd": of_decomposition(
        formats.hierarchical_svd,
        tree=(TREE, TREE_OF_TENSOR.besides((0, 1), says="tensor")),
        sweep=("leaves-to-root", choice("leaves-to-root", "root-to-leaves")),
    ),
    "formats.hierarchical_svd of ranks": of_ranks(
        formats.hierarchical_svd, tree=(TREE, TREES)
    ),
    "formats.tensor_train_svd": of_decomposition(
        formats.tensor_train_svd, tensor=(TENSOR, ANY_ORDER)
    ),
    "formats.tensor_train_svd of ranks": of_ranks(
        formats.tensor_train_svd, tensor=(TENSOR, ANY_ORDER)
    ),
    "formats.round_factors": of_one(formats.round_factors, rtol=(0.25, RTOL)),
    "formats.round_factors of ranks": of_one(formats.round_factors, ranks=(1, RANKS)),
    "formats.orthogonalize": of_one(formats.orthogonalize),
    "formats.add": of_two(formats.add),
    "formats.subtract": of_two(formats.subtract),
    "formats.hadamard": of_two(formats.hadamard),
    "formats.scale": of_one(formats.scale, number=(0.5, number())),
    "formats.mode_product": of_one(
        formats.mode_product,
        matrix=(np.full((4, 3), 0.5), reals(finite=False, axes=2).but(without="longer")),
        mode=(1, MODE),
    ),
    "formats.contract_mode": of_one(
        formats.contract_mode,
        vector=(np.array([0.5, 1.0, -0.25]), reals(finite=False)),
        mode=(1, MODE),
    ),
    "formats.cp_factors": dataclasses.replace(
        of_values(
            formats.cp_factors,
            weights=(np.array([0.5, 2.0]), reals(finite=False).but(without="none")),
            matrices=([np.full((3, 2), 0.5)] * 3, MATRICES),
        ),
        read=dense,
    ),
    "formats.tucker_factors": dataclasses.replace(
        of_values(
            formats.tucker_factors,
            core=(np.full((2, 2), 0.5), reals(finite=False, axes=2)),
            matrices=([np.full((3, 2), 0.5)] * 2, list_of(reals(finite=False, axes=2)).but(
                without="longer")),
        ),
        read=dense,
    ),
    "formats.tensor_train_factors": dataclasses.replace(
        of_values(
            formats.tensor_train_factors,
            cores=([np.full((1, 3, 1), 0.5)] * 2, list_of(reals(finite=False, axes=3)).but(
                without="few many longer")),
        ),
        read=dense,
    ),
    "formats.from_transfer_tensors": Call(
        formats.from_transfer_tensors,
        lambda: {"transfer": transfer()},
        {"transfer": TRANSFER},
        dense,
    ),
    "formats.TransferTensors": Call(
        lambda tensors, tree: formats.from_transfer_tensors(
            formats.TransferTensors(tensors, tree)
        ),
        lambda: {"tensors": transfer().tensors, "tree": TREE},
        {
            "tensors": saying("transfer.tensors", (*STRANGE, WORD, FEW)),
            "tree": saying("transfer.tree", (*STRANGE, WORD)),
        },
        dense,
    ),
    "formats.to_transfer_tensors": Call(
        formats.to_transfer_tensors,
        lambda: {"factors": factors()},
        {"factors": FACTORS},
        lambda found: jax.tree.leaves(found),
    ),
    "Selector": of_values(
        htf.Selector,
        num_rows=(3, whole(1)),
        picks=((0, 2, 1), Kind(
            "row numbers",
            (*STRANGE, WORD, *wrongs(
                ("one", lambda _: 1), ("high", lambda _: (0, 3)), ("empty", lambda _: ()),
                ("negative", lambda _: (0, -1)), ("floats", lambda _: (0.0, 1.0)),
                ("words", lambda _: ("0", "1")),
            )),
        )),
    ),
}  # fmt: skip
