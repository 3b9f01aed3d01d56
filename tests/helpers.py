"""Tables of trees, random factors and hypothesis strategies that the tests share."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import htfjax as htf
from htfjax.theory import oracle

TREES: dict[str, Any] = {
    "order1": (0,),
    "order1_deep": (((0,),),),
    "matrix": (0, 1),
    "chain2": ((0,), 1),
    "chain_both_sides": (((0,),), (1,)),
    "flat3": (0, 1, 2),
    "leaf_at_root": ((0, 1), 2),
    "backwards": (2, (1, 0)),
    "binary4": ((0, 1), (2, 3)),
    "caterpillar4": (((0, 1), 2), 3),
    "chain_between": ((((0, 1),), (3, 2)),),
    "mixed5": ((0, 3), (1, 2, 4)),
    "patches3x3": ((0, 1, 3, 4), (2, 5), (6, 7), (8,)),
}
CHAINS = ("order1_deep", "chain2", "chain_both_sides", "chain_between", "patches3x3")
ROOTS = ("trained", "ones")
CASES = [(name, "trained") for name in TREES]
CASES += [
    (name, "ones") for name in ("order1", "chain2", "flat3", "chain_between", "mixed5")
]
# The cases of `make test`, the quickest first.
FAST = [(name, "trained") for name in ("order1", "flat3", "leaf_at_root")]
FAST += [("chain_between", "ones"), ("mixed5", "trained"), ("mixed5", "ones")]

# The least work for the compiler, for programs that are large and run once.
LITTLE_WORK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}

DIMS = (2, 3, 4, 2, 3)
SMALL_DIMS = (2, 1, 2, 3, 1, 2, 2, 1, 2)
WIDTHS = (3, 2, 4, 3, 2)


def default_dims(nested: Any) -> tuple[int, ...]:
    """Unequal mode dimensions, few entries in all."""
    order = htf.ModeTree.from_nested(nested).order
    return DIMS[:order] if order <= len(DIMS) else SMALL_DIMS[:order]


def default_widths(nested: Any) -> tuple[int, ...]:
    """Unequal widths, one for each interior node."""
    return WIDTHS[: len(htf.ModeTree.from_nested(nested).interior)]


def random_factors(
    nested: Any,
    dims: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    seed: int = 0,
    root: str = "trained",
    dtype: Any = np.float64,
) -> htf.Factors:
    """Standard normal matrices on a tree spelled by nested tuples (or named)."""
    nested = TREES.get(nested, nested) if isinstance(nested, str) else nested
    rng = np.random.default_rng(seed)
    children = oracle.children_of(nested)
    dims = default_dims(nested) if dims is None else dims
    widths = default_widths(nested) if widths is None else widths
    rows, last = [*dims, *widths], len(children) - 1
    weights: list[Any] = []
    for v in range(len(children)):
        parent = oracle.parent_of(children, v)
        columns = 1 if parent is None else rows[parent]
        weights.append(jnp.asarray(rng.standard_normal((rows[v], columns)), dtype))
    if root == "ones":
        weights[last] = None
    return htf.Factors(tree=htf.ModeTree.from_nested(nested), weights=tuple(weights))


def plain(factors: htf.Factors) -> tuple[oracle.Children, list[Any]]:
    """The factors as the oracle takes them; the numbering is the oracle's own."""
    weights = [None if w is None else np.array(w, np.float64) for w in factors.weights]
    return oracle.children_of(factors.tree.nested), weights


def rebuilt(factors: htf.Factors, weights: Sequence[Any]) -> htf.Factors:
    """The same tree with other matrices."""
    arrays = tuple(None if w is None else jnp.asarray(w) for w in weights)
    return dataclasses.replace(factors, weights=arrays)


def random_indices(dims: Sequence[int], count: int, seed: int = 0) -> np.ndarray:
    """Indices (count, N), repetitions allowed."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, dim, count) for dim in dims], axis=1)


def random_vectors(dims: Sequence[int], count: int, seed: int = 0) -> list[np.ndarray]:
    """N arrays (count, D_n)."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((count, dim)) for dim in dims]


def all_indices(dims: Sequence[int]) -> np.ndarray:
    """Every index of a tensor in C order, (prod D, N)."""
    return np.array(list(np.ndindex(*dims)), dtype=np.int64).reshape(-1, len(dims))


def assert_close(
    actual: Any, expected: Any, *, size: float | None = None, rtol: float = 1e-12
) -> None:
    """Same shape, and no entry is off by more than rtol times the size of the data."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    size = float(np.max(np.abs(expected), initial=0.0)) if size is None else size
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * size)


def count_traces(fn: Callable[..., Any]) -> tuple[Callable[..., Any], list[None]]:
    """`fn` and a list that grows by one whenever Python runs it."""
    traces: list[None] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        traces.append(None)
        return fn(*args, **kwargs)

    return counted, traces


def examples(count: int) -> settings:
    """So many examples, always the same; a third of them in `make test`."""
    share = settings().max_examples / 100
    return settings(max_examples=round(share * count), deadline=None, derandomize=True)


@st.composite
def nested_trees(draw: Any, max_order: int = 8) -> tuple:
    """Nested tuples of any shape: arity 1 to 4, modes in any order, one-child chains."""
    order = draw(st.integers(1, max_order))
    modes = draw(st.permutations(range(order)))

    def grow(part: list[int]) -> Any:
        if len(part) == 1:
            node: Any = part[0]
        else:
            arity = draw(st.integers(2, min(4, len(part))))
            inside = st.integers(1, len(part) - 1)
            cuts = st.lists(inside, min_size=arity - 1, max_size=arity - 1, unique=True)
            ends = [0, *sorted(draw(cuts)), len(part)]
            pieces = [part[a:b] for a, b in itertools.pairwise(ends)]
            node = tuple(grow(piece) for piece in pieces)
        return (node,) if draw(st.integers(0, 4)) == 4 else node

    grown = grow(list(modes))
    return grown if isinstance(grown, tuple) else (grown,)


@st.composite
def factors(draw: Any, max_entries: int = 200) -> htf.Factors:
    """Random factors: dims and widths from {1, 2, 3}, trained or ones roots."""
    nested = draw(nested_trees())
    children = oracle.children_of(nested)
    small = st.sampled_from((1, 2, 3))
    widths = [draw(small) for _ in oracle.interior(children)]
    dims: list[int] = []
    for _ in range(len(children) - len(widths)):
        dim = draw(small)
        dims.append(dim if math.prod(dims) * dim <= max_entries else 1)
    seed, root = draw(st.integers(0, 2**16)), draw(st.sampled_from(ROOTS))
    return random_factors(nested, dims, widths, seed, root)
