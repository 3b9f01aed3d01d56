"""Factors that are exchanged: trees of every kind, diagonal and full, and their values."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import htfjax as htf
from htfjax.trees.mode_tree import without_chains
from tests.exchange.stand_ins import einsum

ROUNDING = 1e-12  # relative to the largest entry, in float64

# Modes in any order, any arity, chains of one-child nodes.
TREES: dict[str, Any] = {
    "perfect": ((0, 1), (2, 3)),
    "shuffled": ((2, (0, 1)), 3),
    "wide": ((3, 0, 1), (2, 4), 5),
    "flat": (0, 1, 2),
    "permuted": (2, 0, 1),
    "matrix": (0, 1),
    "chains": (((0,), 1), ((2,),)),
    "over the root": (((0, 1), 2),),
    "vector": (0,),
}
SEVERAL = [name for name in TREES if name != "vector"]  # modes
BINARY = [name for name in TREES if name not in ("wide", "flat", "permuted", "vector")]
# Trees that add one mode at a time, from either end.
TRAINS: dict[str, Any] = {
    "forward": (((0, 1), 2), 3),
    "backward": (0, (1, (3, 2))),
    "children swapped": (3, (2, (1, 0))),
    "order 3": ((0, 1), 2),
    "matrix": (0, 1),
    "vector": (0,),
}


def diagonal(
    nested: Any, root: str = "trained", dtype: Any = np.float64, *, alike: bool = False
) -> htf.Factors:
    """Gaussian factors; no two modes or widths are equal, or all are `alike`."""
    tree = htf.as_tree(nested)
    count = 0 if alike else 1
    widths = [2 + count * n for n in range(tree.order)]
    widths += [2 + count * n for n in range(len(tree.interior))]
    columns = [1 if p is None else widths[p] for p in tree.parent]
    rng = np.random.default_rng(tree.order)
    weights: list[Any] = [
        jnp.asarray(rng.normal(size=shape), dtype)
        for shape in zip(widths, columns, strict=True)
    ]
    if root == "ones":
        weights[tree.root] = None
    return htf.Factors(tuple(weights), tree)


def full(nested: Any) -> htf.Factors:
    """Factors with selectors, which hold full transfer tensors."""
    tree = without_chains(htf.as_tree(nested))
    rng = np.random.default_rng(tree.order)
    ranks = [*(2 + k % 2 for k in range(tree.root)), 1]
    tensors = []
    for k, rank in enumerate(ranks):
        below = [ranks[c] for c in tree.children[k]] or [3 + k]
        tensors.append(jnp.asarray(rng.normal(size=(*below, rank))))
    return htf.formats.from_transfer_tensors(
        htf.formats.TransferTensors(tuple(tensors), tree)
    )


def dense(factors: htf.Factors) -> np.ndarray:
    """The end tensor by NumPy, one sum over all matrices: nothing is compiled."""
    tree = factors.tree
    dtype = next(w.dtype for w in factors.weights if hasattr(w, "dtype"))
    arrays, axes = [], []
    for k, weight in enumerate(factors.weights):
        if isinstance(weight, htf.Selector):
            weight = np.eye(weight.num_rows, dtype=dtype)[:, list(weight.picks)]
        if weight is not None:
            arrays.append(weight)
            axes.append([f"i{k}", f"i{tree.parent[k]}"])
    return einsum(arrays, axes, [f"i{n}" for n in range(tree.order)])


def assert_equal(found: Any, wanted: Any) -> None:
    """Same shape, dtype and values, but for rounding."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    rounding = ROUNDING if wanted.dtype == np.float64 else 1e-5
    assert np.abs(found - wanted).max() <= rounding * np.abs(wanted).max()


def every(nested: Any) -> list[htf.Factors]:
    """Diagonal factors, those with a root of ones, and full ones."""
    return [diagonal(nested), diagonal(nested, "ones"), full(nested)]


def assert_round_trip(
    nested: Any, there: Callable[[Any], Any], back: Callable[[Any], Any], read: Any
) -> None:
    """Values in the other library, and again in factors, are those that were sent."""
    for factors in every(nested):
        wanted = dense(factors)
        held = there(factors)
        assert_equal(read(held), wanted)
        assert_equal(dense(back(held)), wanted)
    narrow = diagonal(nested, dtype=np.float32)
    held = there(narrow)
    assert_equal(read(held), dense(narrow))
    assert_equal(dense(back(held)), dense(narrow))
