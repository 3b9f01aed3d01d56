"""Register of all laws, and the case that a law is checked on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf

from . import oracle

# What is broken by `--break`: this leaf's matrix, on the right-hand side only.
BROKEN = 0


@dataclasses.dataclass(frozen=True)
class Law:
    """A statement, how it is checked and within what."""

    name: str
    formula: str
    tolerance: float
    error: Callable[["Case"], float | None]  # None where a tree has nothing to check


@dataclasses.dataclass(frozen=True)
class Case:
    """One tree with random factors. The left side reads `factors`, the right `other`."""

    name: str
    factors: htf.Factors
    broken: bool

    @property
    def tree(self) -> htf.ModeTree:
        """The mode tree."""
        return self.factors.tree

    @property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The tree as the oracle takes it."""
        return self.tree.children

    @property
    def rng(self) -> np.random.Generator:
        """Always the same numbers."""
        return np.random.default_rng(17)

    def right(self, factors: htf.Factors | None = None) -> list[np.ndarray]:
        """Matrices for the right-hand side, one of them changed if the law is broken."""
        chosen = self.factors if factors is None else factors
        weights = [np.asarray(w, np.float64) for w in chosen.weights]
        return spoil(weights) if self.broken else weights


LAWS: dict[str, Law] = {}


def law(name: str, formula: str, tolerance: float = 1e-12) -> Callable[[Any], Any]:
    """Registers a check: a function of a case that gives the worst relative error."""

    def register(check: Callable[[Case], float | None]) -> Callable[[Case], float | None]:
        LAWS[name] = Law(name, formula, tolerance, check)
        return check

    return register


def spoil(weights: list[np.ndarray]) -> list[np.ndarray]:
    """Every column of one matrix becomes a twentieth of its first: no law survives."""
    changed = list(weights)
    matrix = changed[BROKEN]
    changed[BROKEN] = 0.05 * np.repeat(matrix[:, :1], matrix.shape[1], axis=1)
    return changed


def gap(left: Any, right: Any, size: float | None = None) -> float:
    """Largest difference over the size of the right-hand side."""
    left, right = np.asarray(left, float), np.asarray(right, float)
    if left.shape != right.shape:
        return float("inf")
    size = float(np.max(np.abs(right), initial=0.0)) if size is None else size
    return float(np.max(np.abs(left - right), initial=0.0)) / (size or 1.0)


def excess(smaller: Any, larger: Any) -> float:
    """How far `smaller <= larger` is violated, relative; zero if it holds."""
    smaller, larger = np.asarray(smaller, float), np.asarray(larger, float)
    size = np.maximum(np.abs(smaller), np.abs(larger))
    over = (smaller - larger) / np.where(size == 0, 1, size)
    return float(max(np.max(over, initial=0.0), 0.0))


def built(factors: htf.Factors, weights: list[Any]) -> htf.Factors:
    """The same tree with other matrices."""
    return dataclasses.replace(factors, weights=tuple(map(jnp.asarray, weights)))


def random_case(name: str, tree: htf.ModeTree, seed: int, broken: bool = False) -> Case:
    """Gaussian factors with unequal dimensions and widths."""
    dims = [(2, 3, 2, 4, 2)[n % 5] for n in range(tree.order)]
    widths = [(3, 2, 4)[i % 3] for i in range(len(tree.interior))]
    factors = htf.gaussian_factors(jax.random.key(seed), tree, dims, widths, 1.0)
    return Case(name, factors, broken)


def balanced(case: Case, scale: float = 0.8, widths: Any = None) -> htf.Factors:
    """A balanced start on the case's tree."""
    sizes = htf.widths(case.factors)
    return htf.balanced_factors(
        jax.random.key(3),
        case.tree,
        sizes[: case.tree.order],
        sizes[case.tree.order :] if widths is None else widths,
        scale,
    )


def wave_data(dims: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Heights and shifts of the test loss."""
    rng = np.random.default_rng(5)
    return rng.standard_normal(dims), rng.standard_normal(dims)


def wave(factors: htf.Factors) -> jax.Array:
    """L(W) = sum a sin(W + b): smooth, and its gradient vanishes nowhere special."""
    tensor = htf.end_tensor(factors)
    heights, shifts = wave_data(tensor.shape)
    return jnp.sum(jnp.asarray(heights) * jnp.sin(tensor + jnp.asarray(shifts)))


def wave_slope(tensor: np.ndarray) -> np.ndarray:
    """grad L, by hand."""
    heights, shifts = wave_data(tensor.shape)
    return heights * np.cos(tensor + shifts)


def forces(case: Case, weights: list[np.ndarray]) -> dict[int, np.ndarray]:
    """gamma_r = <-grad L(W), C_r> by definition."""
    tree = case.children
    slope = wave_slope(oracle.end_tensor(tree, weights))
    return {
        v: np.array(
            [
                -np.sum(slope * oracle.direction(tree, weights, v, r))
                for r in range(len(weights[v]))
            ]
        )
        for v in oracle.interior(tree)
    }
