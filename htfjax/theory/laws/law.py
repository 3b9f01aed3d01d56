"""Law, a statement with two sides, and Case, the factors that it is checked on."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import Generator, default_rng

from htfjax._types import PyTree
from htfjax.contraction.end_tensor import end_tensor
from htfjax.factors.balanced import balanced_factors
from htfjax.factors.factors import Factors
from htfjax.factors.layout import mode_dims, widths
from htfjax.theory import oracle
from htfjax.trees.mode_tree import ModeTree

Plain = tuple[oracle.Children, list[Any]]


@dataclasses.dataclass(frozen=True)
class Between:
    """A side of a law that says lower <= x <= upper, entry by entry."""

    lower: PyTree
    upper: PyTree


@dataclasses.dataclass(frozen=True)
class Near:
    """A side whose error is measured by `size`, not by the largest entry of `value`."""

    value: PyTree
    size: float


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """Factors that laws are checked on.

    Left sides read `factors` with the library's functions, right sides read `plain()` with
    the oracle's. In a broken case the latter has another matrix at leaf 0.

    Attributes:
      factors: plain ones in float64, no node fixed; a root of ones is welcome.
      seed: of inputs and random starts.
      broken: whether the oracle sees another matrix.

    Raises:
      TypeError, ValueError: other factors.

    Example:
      >>> import htfjax as htf
      >>> factors = htf.identity_factors(htf.flat(2), 2, 2, 1.0, dtype="float64")
      >>> case = htf.theory.laws.Case(factors, seed=0)
      >>> htf.theory.oracle.end_tensor(*case.plain()).tolist()
      [[1.0, 0.0], [0.0, 1.0]]
    """

    factors: Factors
    seed: int
    broken: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.factors, Factors):
            raise TypeError(
                f"`factors` is {type(self.factors).__name__}; give plain Factors."
            )
        dtypes = {str(w.dtype) for w in jax.tree.leaves(self.factors)}
        if self.factors.fixed or dtypes != {"float64"}:
            raise ValueError(
                f"`factors` are {', '.join(sorted(dtypes))} with fixed nodes "
                f"{self.factors.fixed}; laws hold for float64 and need all nodes trained."
            )

    @property
    def tree(self) -> ModeTree:
        """The mode tree."""
        return self.factors.tree

    @property
    def dims(self) -> tuple[int, ...]:
        """D_0, ..., D_{N-1}."""
        return mode_dims(self.factors)

    @property
    def rng(self) -> Generator:
        """The same numbers at every access."""
        return default_rng(self.seed)

    @property
    def key(self) -> jax.Array:
        """A key of the case's seed."""
        return jax.random.key(self.seed)

    def plain(self, factors: Factors | None = None) -> Plain:
        """Children and matrices of the case's factors, or of others, for the oracle.

        A broken case repeats a twentieth of the first column of leaf 0's matrix.
        """
        factors = self.factors if factors is None else factors
        weights: list[Any] = [
            None if w is None else np.array(w, np.float64) for w in factors.weights
        ]
        if self.broken:
            weights[0] = spoiled(weights[0])
        return factors.tree.children, weights

    def tensor(self, factors: Factors | None = None) -> np.ndarray:
        """W by the oracle."""
        return oracle.end_tensor(*self.plain(factors))

    def sigma(self, factors: Factors | None = None) -> dict[int, np.ndarray]:
        """All local component norms by the oracle."""
        plain = self.plain(factors)
        return {v: oracle.sigma(*plain, v) for v in self.tree.interior}

    def length(self, v: int) -> int:
        """L_v: vectors of a local component."""
        return len(oracle.component(self.tree.children, self.factors.weights, v, 0))

    def forces(self, factors: Factors | None = None) -> dict[int, np.ndarray]:
        """gamma_r = <-grad L(W), C_r> of `wave` at every interior node, by the oracle."""
        slope = wave_slope(self.tensor(factors))
        return oracle.forces(*self.plain(factors), slope)

    def changed(self, matrices: Mapping[int, Any]) -> Factors:
        """The case's factors with other matrices at some nodes."""
        arrays = {k: jnp.asarray(w) for k, w in matrices.items()}
        weights = (arrays.get(k, w) for k, w in enumerate(self.factors.weights))
        return dataclasses.replace(self.factors, weights=tuple(weights))

    @property
    def balanced(self) -> Factors:
        """Balanced factors of the case's shapes, every matrix of norm 0.8."""
        return _balanced(self.factors, self.seed, None)

    @property
    def thin(self) -> Factors:
        """Balanced factors of width one."""
        return _balanced(self.factors, self.seed, 1)


# Broken and sound cases share these, and so the flows that start from them.
@functools.lru_cache(maxsize=64)
def _balanced(factors: Factors, seed: int, inner: int | None) -> Factors:
    sizes, order = widths(factors), factors.tree.order
    root: Any = "ones" if factors.weights[-1] is None else "trained"

    @jax.jit  # one program instead of dozens
    def draw(key: jax.Array) -> Factors:
        columns = sizes[order:] if inner is None else inner
        return balanced_factors(key, factors.tree, sizes[:order], columns, 0.8, root=root)

    return draw(jax.random.key(seed))


def spoiled(matrix: np.ndarray) -> np.ndarray:
    """Every column becomes a twentieth of the first: no law survives."""
    return 0.05 * np.repeat(matrix[:, :1], matrix.shape[1], axis=1)


Pair = tuple[PyTree, PyTree]  # left and right side
Sides = Callable[[Case], Pair]


@dataclasses.dataclass(frozen=True)
class Law:
    """A statement left = right, whose sides come from different code; made by `law`.

    A side is an array, `Near` or `Between`, or a mapping or list of sides.

    Attributes:
      name: letter and number.
      formula: the statement in one line.
      sides: case -> what the library finds, and what must be found by definition: from
        the oracle or a closed form. Of a broken case the right side is false.
      tolerance: largest error; 0 for ranks and counts.
      source: where the statement is from; the numbers are this project's own.
      applies: whether a case has anything to check.
      slow: whether it integrates a flow or draws thousands of factors.

    Example:
      >>> import htfjax as htf
      >>> htf.theory.laws.LAWS["A9"].formula
      "a one-child node multiplies its child's matrix"
    """

    name: str
    formula: str
    sides: Sides
    tolerance: float = 1e-12
    source: str = "derived here"
    applies: Callable[[Case], bool] = lambda case: True
    slow: bool = False

    def left(self, case: Case) -> PyTree:
        """The library's value."""
        return self.sides(case)[0]

    def right(self, case: Case, *, broken: bool = False) -> PyTree:
        """The value it must equal; with `broken` a wrong one."""
        return self.sides(dataclasses.replace(case, broken=broken))[1]

    def error(self, case: Case, *, broken: bool = False) -> float:
        """The worst relative error of the law on a case, or of the law made false."""
        return error_of(*self.sides(dataclasses.replace(case, broken=broken)))


def law(name: str, formula: str, **options: Any) -> Callable[[Sides], Law]:
    """Makes a law of a function of a case that returns both sides.

    Args:
      name, formula, options: the fields of `Law`.

    Example:
      >>> import htfjax as htf
      >>> @htf.theory.laws.law("Z1", "the end tensor is that of the oracle")
      ... def recursion(case):
      ...     return htf.end_tensor(case.factors), case.tensor()
      >>> recursion.tolerance
      1e-12
    """
    return lambda sides: Law(name, formula, sides, **options)


def error_of(left: PyTree, right: PyTree) -> float:
    """Largest error over all parts of two sides; infinite where they do not match."""
    if isinstance(right, Mapping):
        if not left.keys() >= right.keys():
            return math.inf
        return max((error_of(left[k], right[k]) for k in right), default=0.0)
    if isinstance(right, list):
        if len(left) != len(right):
            return math.inf
        return max(map(error_of, left, right), default=0.0)
    if isinstance(left, Between):
        return error_of(right, left)
    if isinstance(right, Between):
        error = max(_excess(right.lower, left), _excess(left, right.upper))
    elif isinstance(right, Near):
        error = _gap(left, right.value, right.size)
    else:
        error = _gap(left, right, None)
    return math.inf if math.isnan(error) else error


def _gap(left: PyTree, right: PyTree, size: float | None) -> float:
    """Largest difference over the size of the right-hand side."""
    left, right = np.asarray(left, float), np.asarray(right, float)
    if left.shape != right.shape:
        return math.inf
    size = float(np.max(np.abs(right), initial=0.0)) if size is None else float(size)
    return float(np.max(np.abs(left - right), initial=0.0)) / (size or 1.0)


def _excess(smaller: Any, larger: Any) -> float:
    """Violation of `smaller <= larger` over the largest entry; zero if it holds."""
    smaller, larger = np.asarray(smaller, float), np.asarray(larger, float)
    sizes = np.abs(np.concatenate([smaller.ravel(), larger.ravel()]))
    size = float(np.max(sizes[np.isfinite(sizes)], initial=0.0))
    return float(np.max(smaller - larger, initial=0.0)) / (size or 1.0)


def wave(factors: Factors) -> jax.Array:
    """sum_i cos(i + 1) sin(W_i + i^2), whose gradient vanishes nowhere special."""
    tensor = end_tensor(factors)
    i = jnp.arange(tensor.size, dtype=tensor.dtype).reshape(tensor.shape)
    return jnp.sum(jnp.cos(i + 1) * jnp.sin(tensor + i * i))


def wave_slope(tensor: np.ndarray) -> np.ndarray:
    """The gradient of `wave` with respect to the end tensor, by hand."""
    i = np.arange(tensor.size, dtype=float).reshape(tensor.shape)
    return np.cos(i + 1) * np.cos(tensor + i * i)
