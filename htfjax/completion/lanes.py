"""Lanes: tensors of one tree, filled up to common ranks, polished in one program.

Zeros that fill up stay zeros: where neither a basis vector nor what it is multiplied with
is there, no residual depends on either. So ranks are values, not shapes, and a search
through ranks compiles once.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from htfjax._types import Array, Float
from htfjax.completion.cells import Cells
from htfjax.contraction.entries import entries
from htfjax.factors.factors import Factors
from htfjax.factors.stacks import opened
from htfjax.formats.cuts import Cut
from htfjax.formats.freedom import freedom
from htfjax.formats.rounding import rounded
from htfjax.formats.transfer_tensors import TransferTensors, joined, with_chain_nodes
from htfjax.losses.loss import ObservationLoss
from htfjax.losses.squares import residual_function
from htfjax.motion.descent import DescentState, continue_descent, start_descent
from htfjax.motion.levenberg_marquardt import trained_vector
from htfjax.motion.squares import jacobian
from htfjax.trees.mode_tree import ModeTree

LANES = 8  # at a time, fewer where their Jacobians would be large
LARGEST = 2**26  # entries of the Jacobians of all lanes
STEPS = 10  # between looks
# Compiled for ranks and cells that hardly come again, each some 400 maps of memory, of
# which Linux allows a process 65,530.
MOST_PROGRAMS = 48
LONGER, NEAR = 5, 0.1  # how much longer a fit below this error may take while it falls

Ranks: TypeAlias = tuple[int, ...]  # of every node but the root
Tensors: TypeAlias = list[np.ndarray]  # transfer tensors, one per node


class Fit(NamedTuple):
    """A tensor fitted to cells."""

    heldout: float  # weighted root mean square, targets being of size one
    training: float
    ranks: Ranks
    tensors: Tensors
    freedom: int

    def score(self, cells: int) -> float:
        """Geometric mean of two estimates of the error on cells that were not seen.

        One is the held-out error, the other the training error over 1 - degrees of
        freedom / cells (generalized cross-validation, which has more cells but does not
        see what the data leave open).
        """
        rest = max(1e-3, 1 - self.freedom / cells)
        return float(np.sqrt(self.heldout * self.training / rest))


def ranks_of(tensors: Tensors) -> Ranks:
    """k of every node but the root."""
    return tuple(x.shape[-1] for x in tensors[:-1])


def shapes(tree: ModeTree, dims: Sequence[int], ranks: Ranks) -> list[tuple[int, ...]]:
    """Shapes of the transfer tensors of these ranks."""
    held = (*ranks, 1)
    return [
        (*(held[c] for c in tree.children[k]), held[k]) if tree.children[k]
        else (dims[k], held[k])
        for k in range(tree.num_nodes)
    ]  # fmt: skip


def resized(tensors: Tensors, wanted: Sequence[tuple[int, ...]]) -> Tensors:
    """Tensors cut or filled up with zeros."""
    found = []
    for tensor, shape in zip(tensors, wanted, strict=True):
        cut = tensor[tuple(map(slice, shape))]
        widths = [(0, size - had) for size, had in zip(shape, cut.shape, strict=True)]
        found.append(np.pad(cut, widths))
    return found


class Lanes:
    """A program that polishes tensors of ranks up to `cap`, some at a time."""

    def __init__(
        self,
        cells: Cells,
        tree: ModeTree,
        cap: Ranks,
        optimizer: optax.GradientTransformation,
    ) -> None:
        self.cells, self.tree, self.cap, self.optimizer = cells, tree, cap, optimizer
        self.shapes = shapes(tree, cells.dims, cap)
        self.node_of = with_chain_nodes(tree)[1]
        empty = [jnp.zeros(shape) for shape in self.shapes]
        self.form = joined(TransferTensors(tuple(empty), tree))
        self.dtype = np.asarray(empty[0]).dtype
        size = sum(map(np.size, empty)) * len(cells.targets)
        self.count = max(1, min(LANES, LARGEST // size))

    def polished(
        self,
        starts: Sequence[Tensors],
        steps: int,
        *,
        all_of_them: bool = False,
        everything: bool = False,
        even: bool = False,
    ) -> list[Fit]:
        """Fits from starts, in their order.

        Args:
          all_of_them: whether to go on where one fit is exact already.
          everything: whether cells that are held out are fitted too.
          even: whether large values weigh less.
        """
        loss = self.cells.loss(self.form.tree, everything=everything, even=even)
        filled = [*starts, *[starts[-1]] * (-len(starts) % self.count)]
        fits: list[Fit] = []
        for begin in range(0, len(filled), self.count):
            part = filled[begin : begin + self.count]
            fits += self._run(part, loss, steps, all_of_them)
            if not all_of_them and min(fit.heldout for fit in fits) < exact_fit():
                break
        return fits[: len(starts)]

    def _run(
        self,
        starts: Sequence[Tensors],
        loss: ObservationLoss,
        steps: int,
        all_of_them: bool,
    ) -> list[Fit]:
        states = begun(self._stacked(starts), self.optimizer)
        trained = held = np.full(len(starts), np.inf)
        for made in range(STEPS, LONGER * steps + 1, STEPS):
            before, seen = trained, held
            states, predictions = moved(states, loss, self.optimizer, STEPS)
            trained, held = self.cells.errors(predictions)
            exact = held < exact_fit()
            if exact.any() and not all_of_them:
                break
            # Beyond what was asked, only for a fit that is on its way.
            falls = (held < 0.5 * seen) & (held < NEAR) & ~exact
            moves = (trained < 0.999 * before) & ~exact
            if not (falls if made >= steps else moves).any():
                break
        return [
            self._fit(states.params, i, ranks_of(start), trained[i], held[i])
            for i, start in enumerate(starts)
        ]

    def determined(self, fit: Fit) -> bool:
        """Whether the cells to train on leave no way to change a fit of these ranks.

        Their Jacobian then has as many singular values above the root of eps, relative to
        the largest, as there are degrees of freedom. Where it has fewer, a fit can be
        exact on all cells that are known, those held out among them, and anything on
        others. Bases are orthonormal and the norm is one there, so that it does not
        depend on how factors share their size. Not looked at where it would be large, nor
        of zeros, which no other tensor of rank zero meets.
        """
        if not np.any(fit.tensors[-1]):
            return True
        size = sum(map(math.prod, self.shapes)) * len(self.cells.targets)
        if size > LARGEST:
            return True
        values = np.linalg.svd(self.jacobian(fit)[~self.cells.held], compute_uv=False)
        least = values[fit.freedom - 1] if fit.freedom <= len(values) else 0.0
        return bool(least > exact_fit() * values[0])

    def jacobian(self, fit: Fit) -> np.ndarray:
        """Of the entries at all cells (B, P), in orthonormal bases, at a norm of one."""
        loss = self.cells.loss(self.form.tree, everything=True)
        even = rounded(fit.tensors, self.tree, Cut(fit.ranks, None, sliced=True)).tensors
        even = [*even[:-1], even[-1] / (np.linalg.norm(even[-1]) or 1.0)]
        factors = jax.tree.map(lambda x: x[0], self._stacked([even]))
        return np.asarray(_rows(factors, loss, self.optimizer))

    def predicted(self, tensors: Tensors) -> np.ndarray:
        """Entries at all cells."""
        factors = jax.tree.map(lambda x: x[0], self._stacked([tensors]))
        return np.asarray(entries(factors, self.cells.indices))

    def _stacked(self, starts: Sequence[Tensors]) -> Factors:
        """Factors of all starts, with a leading axis of lanes."""
        filled = [resized(start, self.shapes) for start in starts]
        weights = list(self.form.weights)
        for k, node in enumerate(self.node_of):
            stack = np.stack([one[k] for one in filled]).astype(self.dtype)
            weights[node] = stack.reshape(len(starts), -1, stack.shape[-1])
        return dataclasses.replace(self.form, weights=tuple(weights))

    def _fit(
        self, factors: Factors, lane: int, ranks: Ranks, trained: float, held: float
    ) -> Fit:
        tensors = [
            np.asarray(factors.weights[node])[lane].reshape(shape)
            for node, shape in zip(self.node_of, self.shapes, strict=True)
        ]
        cut = resized(tensors, shapes(self.tree, self.cells.dims, ranks))
        free = freedom(self.tree, self.cells.dims, ranks)
        found = [float(x) if np.isfinite(x) else np.inf for x in (held, trained)]
        return Fit(found[0], found[1], ranks, cut, free)


def exact_fit() -> float:
    """Error below which a fit of values of size one is exact: the root of eps."""
    return float(np.sqrt(np.finfo(jnp.zeros(()).dtype).eps))


def moved(
    states: DescentState,
    loss: ObservationLoss,
    optimizer: optax.GradientTransformation,
    steps: int,
) -> tuple[DescentState, Float[Array, "L B"]]:
    """States of lanes some steps later, and their entries at all cells."""
    return _programs(_signature((states, loss)), optimizer, steps).move(states, loss)


def _rows(
    factors: Factors, loss: ObservationLoss, optimizer: optax.GradientTransformation
) -> Float[Array, "B P"]:
    """The Jacobian of the residuals."""
    return _programs(_signature((factors, loss)), optimizer, 0).rows(factors, loss)


def begun(factors: Factors, optimizer: optax.GradientTransformation) -> DescentState:
    """States of lanes that have not moved."""
    return _programs(_signature(factors), optimizer, 0).begin(factors)


class Programs(NamedTuple):
    """Compiled for arrays of one signature, those of them that are called."""

    rows: Callable[[Factors, ObservationLoss], jax.Array]
    begin: Callable[[Factors], DescentState]
    move: Callable[[DescentState, ObservationLoss], tuple[DescentState, jax.Array]]


@functools.lru_cache(maxsize=MOST_PROGRAMS)
def _programs(
    signature: Hashable, optimizer: optax.GradientTransformation, steps: int
) -> Programs:
    """Programs of their own for every signature, so that old ones can go."""
    del signature

    def rows(factors: Factors, loss: ObservationLoss) -> jax.Array:
        flat, whole = trained_vector(factors)
        return jacobian(residual_function(loss, factors, None), whole, flat)

    def begin(factors: Factors) -> DescentState:
        return jax.vmap(lambda one: start_descent(one, optimizer))(factors)

    def one(state: DescentState, loss: ObservationLoss) -> tuple[DescentState, jax.Array]:
        later, _ = continue_descent(
            state, loss, optimizer, num_steps=steps, record_every=steps
        )
        return later, loss.measurement.measurement.predict(*opened(later.params))

    return Programs(
        jax.jit(rows), jax.jit(begin), jax.jit(jax.vmap(one, in_axes=(0, None)))
    )


def _signature(arrays: object) -> Hashable:
    """What a program is compiled for."""
    leaves, form = jax.tree.flatten(arrays)
    return form, tuple((np.shape(x), jnp.result_type(x)) for x in leaves)
