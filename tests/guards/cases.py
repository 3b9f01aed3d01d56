"""Cases of the numeric snapshot: a tree, a form and a dtype, and inputs made by NumPy."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf
from tests import helpers

BATCH = 7
GROUPED = ("flat3", "chain_both_sides", "binary4", "mixed5", "patches3x3")


@dataclasses.dataclass(frozen=True)
class Case:
    """What a call is made on."""

    tree: str
    root: str
    form: str  # "plain" or "grouped"
    dtype: str

    @property
    def name(self) -> str:
        """As it stands in the names of tests and in the snapshot."""
        return f"{self.tree}-{self.root}-{self.form}-{self.dtype}"


def all_cases() -> list[Case]:
    """Every case tree in both dtypes; five of them also as grouped factors."""
    plain = [(tree, root, "plain") for tree, root in helpers.CASES]
    grouped = [(tree, root, "grouped") for tree, root in helpers.CASES if tree in GROUPED]
    return [
        Case(*case, dtype) for case in plain + grouped for dtype in ("float64", "float32")
    ]


@dataclasses.dataclass(frozen=True)
class Given:
    """The inputs of a case."""

    case: Case
    factors: Any
    other: htf.Factors

    @property
    def tree(self) -> htf.ModeTree:
        """The mode tree."""
        return self.other.tree

    @property
    def dims(self) -> tuple[int, ...]:
        """D_0, ..., D_{N-1}."""
        return tuple(w.shape[0] for w in self.other.weights[: self.tree.order])

    @property
    def dtype(self) -> Any:
        """Of every floating input."""
        return np.dtype(self.case.dtype)

    @property
    def indices(self) -> np.ndarray:
        """(B, N)."""
        return helpers.random_indices(self.dims, BATCH, seed=3)

    @property
    def vectors(self) -> list[jax.Array]:
        """N arrays (B, D_n)."""
        vectors = helpers.random_vectors(self.dims, BATCH, seed=4)
        return [jnp.asarray(rounded(x), self.dtype) for x in vectors]

    @property
    def targets(self) -> jax.Array:
        """(B,)."""
        return self.normal(5, BATCH)

    @property
    def last(self) -> tuple[int, ...]:
        """Rows of a matricization that are those of no node in most trees."""
        return (self.tree.order - 1,) if self.tree.order < 3 else (0, self.tree.order - 1)

    def normal(self, seed: int, *shape: int) -> jax.Array:
        """Standard normal numbers."""
        return normal(seed, shape, self.dtype)

    def on(self, factors: Any) -> "Given":
        """The same inputs with other factors."""
        return dataclasses.replace(self, factors=factors)


def given(case: Case) -> Given:
    """The inputs of a case, equal in both dtypes."""
    one, other = (_factors(case, seed) for seed in (1, 2))
    return Given(case, htf.group(one) if case.form == "grouped" else one, other)


def normal(seed: int, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Standard normal numbers, equal in both dtypes."""
    return jnp.asarray(rounded(np.random.default_rng(seed).standard_normal(shape)), dtype)


def rounded(numbers: np.ndarray) -> np.ndarray:
    """Numbers that single precision holds."""
    return numbers.astype(np.float32).astype(np.float64)


def _factors(case: Case, seed: int) -> htf.Factors:
    # Alike nodes, or nothing would be grouped; mixed5 keeps groups of one.
    alike = case.form == "grouped" and case.tree != "mixed5"
    tree = htf.ModeTree.from_nested(helpers.TREES[case.tree])
    drawn = helpers.random_factors(
        case.tree,
        dims=(3 if tree.order < 6 else 2,) * tree.order if alike else None,
        widths=(2,) * len(tree.interior) if alike else None,
        seed=seed,
        root=case.root,
    )
    weights = [w if w is None else rounded(np.asarray(w)) for w in drawn.weights]
    dtype = np.dtype(case.dtype)
    return htf.Factors(
        tree=tree, weights=tuple(w if w is None else jnp.asarray(w, dtype) for w in weights)
    )
