"""Calls of trees and factors, and the kinds of their parameters."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

from typing import Any

import numpy as np

import htfjax as htf
from tests.fuzz.calls import Call, Form, Kind, always
from tests.fuzz.kinds import STRANGE, WORD, choice, number, positive_wholes, whole, wrongs
from tests.fuzz.kinds_objects import (
    ANY,
    FACTORS,
    GROUPED,
    PLAIN,
    START,
    TREE,
    TREES,
    deep,
    factors,
    of_factors,
    of_values,
    start_arguments,
)


def read_tree(tree: htf.ModeTree) -> Any:
    return tree.children


TREE_CALLS = {
    "ModeTree": Call(
        htf.ModeTree,
        lambda: {"children": ((), (), (), (0, 1), (3, 2))},
        {
            "children": Kind(
                "children",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("one", always(1)),
                        ("empty", always(())),
                        ("floats", always(((), (), (0.0, 1.0)))),
                        ("words", always(((), (), ("0", "1")))),
                        ("strings", always(("", "", "01"))),
                        ("high", always(((), (), (0, 3)))),
                        ("negative", always(((), (), (0, -1)))),
                        ("order", always(((0, 1), (), ()))),
                        ("bools", always(((), (), (False, True)))),
                    ),
                ),
                (
                    Form("lists", lambda v: [list(k) for k in v]),
                    Form("numpy", lambda v: [np.array(k, int) for k in v]),
                ),
            )
        },
        read_tree,
    ),
    "ModeTree.from_nested": Call(
        htf.ModeTree.from_nested,
        lambda: {"nested": ((0, 1), 2)},
        {
            "nested": Kind(
                "nested",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("one", always(0)),
                        ("empty", always(())),
                        ("hole", always((0, ()))),
                        ("floats", always((0.0, 1.0))),
                        ("twice", always((0, 0))),
                        ("missing", always((0, 2))),
                        ("negative", always((0, -1))),
                        ("bools", always((False, True))),
                        ("words", always(("0", "1"))),
                        ("nan", always((0, float("nan")))),
                    ),
                ),
                (
                    Form("lists", lambda v: [list(v[0]), v[1]]),
                    Form("numpy", lambda v: (np.array(v[0]), np.int64(2))),
                    Form("range", lambda v: (range(2), 2)),
                ),
            )
        },
        read_tree,
    ),
    "as_tree": Call(
        htf.as_tree,
        lambda: {"tree": TREE, "name": "tree"},
        {"tree": TREES, "name": ANY},
        read_tree,
    ),
    "caterpillar": of_values(htf.caterpillar, order=(4, whole(1))),
    "flat": of_values(htf.flat, order=(3, whole(1))),
    "interleaved": of_values(htf.interleaved, order=(5, whole(1))),
    "perfect": of_values(htf.perfect, order=(4, whole(1)), arity=(2, whole(1))),
    "square_patches": of_values(
        htf.square_patches, side=(3, whole(1)), patch=(2, whole(2))
    ),
    "pooled": of_values(
        htf.pooled,
        order=(4, whole(1)),
        window=((2, 2), positive_wholes("windows").but(without="many")),
        pattern=("adjacent", choice("adjacent", "half")),
    ),
}

FACTOR_CALLS = {
    "group": Call(htf.group, lambda: {"factors": factors()}, {"factors": PLAIN}),
    "ungroup": Call(
        htf.ungroup, lambda: {"factors": htf.group(factors())}, {"factors": GROUPED}
    ),
    "collapse_chains": Call(
        htf.collapse_chains, lambda: {"factors": deep()}, {"factors": FACTORS}
    ),
    "mode_dims": of_factors(htf.mode_dims),
    "widths": of_factors(htf.widths),
    "gaussian_factors": Call(
        htf.gaussian_factors,
        start_arguments(std=0.5, mean=0.25),
        START
        | {
            "std": number(0).but(wrong=wrongs(("overflow", always(1e300)),
                                              ("underflow", always(1e-300)))),
            "mean": number().but(wrong=wrongs(("overflow", always(-1e300)))),
        },
    ),
    "identity_factors": Call(
        htf.identity_factors,
        lambda: {k: v for k, v in start_arguments(scale=0.5)().items() if k != "key"},
        {k: v for k, v in START.items() if k != "key"}
        | {"scale": number(0).but(wrong=wrongs(("overflow", always(1e300))))},
    ),
    "balanced_factors": Call(
        htf.balanced_factors,
        start_arguments(scale=0.5),
        START | {"scale": number(0).but(wrong=wrongs(("overflow", always(1e300))))},
        slow=True,
    ),
}  # fmt: skip
