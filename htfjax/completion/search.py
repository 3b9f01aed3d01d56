"""Search through ranks: from small starts and random ones to neighbours of the best.

A tensor of the right ranks is found from one random start in a few, and one of other ranks
from hardly any; so what counts is to try many ranks, each for a few steps. Which ranks are
tried next is decided by two estimates of the error on unseen cells (`Fit.score`), which are
chosen in the end by the held-out error.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import numpy as np
import optax
from numpy.random import default_rng

from htfjax.completion.cells import Cells
from htfjax.completion.filling import Filling, fillable
from htfjax.completion.gaps import spectra_of, suggested
from htfjax.completion.lanes import (
    LANES,
    Fit,
    Lanes,
    Ranks,
    Tensors,
    exact_fit,
    ranks_of,
    shapes,
)
from htfjax.completion.leverage import expected_square
from htfjax.completion.moves import fewer, moved_to, neighbours, random_tensors
from htfjax.completion.small_start import (
    rounded_starts,
    small_starts,
    transfer_of,
)
from htfjax.formats.cuts import allowed_ranks
from htfjax.formats.freedom import freedom
from htfjax.trees.mode_tree import ModeTree

LIMIT = 0.95  # degrees of freedom of what is tried, as a share of the cells to train on
BEAM, ROUNDS, PATIENCE = 2, 12, 3
SMALL_STEPS, FEW_STEPS, MANY_STEPS = 2000, 20, 60
PATIENT_STEPS, NEARLY = 200, 1e-3
RANDOM_STARTS, WANTED_STARTS = 4, 12  # of every uniform rank at first; of given ones
# What a search looks at: a step costs as much as there are cells, and more than some of
# every level tell little of ranks. All of them are fitted at the end.
MOST_CELLS, CELLS_A_LEVEL = 1536, 16
PROGRAM = 2e10  # operations that take as long as compiling
AFFORDABLE = 1e12  # operations of the last steps on all cells where ranks were filled in
TINY = 1e-7  # singular values of an exact fit, relative to the norm, that are rounding
GAIN = 0.97  # of the score, by which a round is worth its while

Listener = Callable[[int, float], None]  # the round, and the best held-out error


class Trial(NamedTuple):
    """What a stage of a completion found best."""

    stage: str
    ranks: Ranks
    degrees_of_freedom: int
    training_error: float  # relative to the values' root mean square
    heldout_error: float  # likewise


class Found(NamedTuple):
    """Result of a search."""

    fit: Fit  # to the cells to train on
    tensors: Tensors  # after those held out were fitted too
    short: bool  # whether there are too few cells for one rank more
    determined: bool  # whether cells leave no way to change an exact fit
    expected: float | None  # mean squared error on cells that were not observed
    history: list[Trial]

    @property
    def exact(self) -> bool:
        """Whether the tensor is known."""
        return self.determined and self.fit.heldout < exact_fit()

    @property
    def error(self) -> float:
        """The held-out error, if it means anything."""
        return self.fit.heldout if self.determined else math.inf


class Search:
    """The state of a search: fits so far, ranks that were tried, a program."""

    def __init__(
        self,
        key: jax.Array,
        tree: ModeTree,
        cells: Cells,
        optimizer: optax.GradientTransformation,
        *,
        all_ranks: bool = True,
    ) -> None:
        # Whether higher uniform ranks are tried where lower ones were better.
        self.all_ranks = all_ranks
        self.key, self.tree, self.cells, self.optimizer = key, tree, cells, optimizer
        self.rng = default_rng(np.asarray(jax.random.key_data(key)).tolist())
        self.lanes: Lanes | None = None
        self.pool: list[Fit] = []
        self.loose: list[Fit] = []  # exact ones that cells do not determine
        self.expanded: set[Ranks] = set()
        self.patient: set[Ranks] = set()
        self.history: list[Trial] = []

    def take(self, cells: Cells) -> None:
        """Other cells of the same tensor from now on."""
        self.cells, self.lanes = cells, None

    # Ranks and programs

    def affordable(self, ranks: Ranks) -> bool:
        """Whether cells are enough for these ranks."""
        return freedom(self.tree, self.cells.dims, ranks) <= LIMIT * self.cells.trained

    def short(self, fit: Fit) -> bool:
        """Whether cells do not suffice for one rank more everywhere than an inexact fit."""
        more = allowed_ranks(self.tree, self.cells.dims, [k + 1 for k in fit.ranks])
        return fit.heldout >= exact_fit() and not self.affordable(tuple(more))

    def polished(
        self,
        starts: list[Tensors],
        steps: int,
        *,
        all_of_them: bool = False,
        everything: bool = False,
        even: bool = False,
    ) -> list[Fit]:
        """Fits of starts, by a program that holds their ranks."""
        needed = tuple(map(max, zip(*map(ranks_of, starts), strict=True)))
        lanes, work = self.lanes, len(starts) * steps
        held = lanes is not None and all(map(int.__le__, needed, lanes.cap))
        if lanes is None or not held or self._wasteful(work, lanes.cap, needed):
            # One more than needed where steps are cheap: another program costs more.
            more = allowed_ranks(self.tree, self.cells.dims, [k + 1 for k in needed])
            room = tuple(map(max, zip(needed, more, strict=True)))
            cheap = work * self.flops(room) < PROGRAM
            cap = room if cheap else needed
            self.lanes = lanes = Lanes(self.cells, self.tree, cap, self.optimizer)
        return lanes.polished(
            starts, steps, all_of_them=all_of_them, everything=everything, even=even
        )

    def _wasteful(self, work: int, cap: Ranks, needed: Ranks) -> bool:
        """Whether steps at these largest ranks cost more than another program."""
        cost = work * self.flops(cap)
        return cost > max(PROGRAM, 2 * work * self.flops(needed))

    def flops(self, ranks: Ranks) -> float:
        """Of one step: the product of a Jacobian with itself on its short side."""
        rows = len(self.cells.targets)
        sizes = shapes(self.tree, self.cells.dims, ranks)
        columns = sum(math.prod(size) for size in sizes)
        return 2.0 * rows * columns * min(rows, columns)

    def score(self, fit: Fit) -> float:
        """What decides on ways to go."""
        return fit.score(self.cells.trained)

    def best(self) -> Fit:
        """The fit to go on from."""
        return min(self.pool or self.loose, key=self.score)

    def settled(self) -> bool:
        """Whether the best fit is exact, or as good as the noise allows."""
        if not self.pool:
            return False
        least = min(fit.heldout for fit in self.pool)
        noise = self.cells.noise
        return least < exact_fit() or (
            noise is not None and least < noise * (1 + self.slack())
        )

    def slack(self) -> float:
        """Relative standard error of a held-out error."""
        return 1 / math.sqrt(2 * int(np.sum(self.cells.held)))

    # Stages

    def begin(self, wanted: Ranks | None) -> None:
        """Small starts at the ranks they suggest, random starts of uniform ranks; all at
        ranks that are wanted."""
        found = small_starts(self.key, self.tree, self.cells, most_steps=SMALL_STEPS)
        if wanted is not None:
            near = [
                moved_to(transfer_of(small), wanted, self.tree, self.rng) for small in found
            ]
            starts = [*near, *self._drawn([wanted] * WANTED_STARTS)]
            self._tried("given ranks", self.polished(starts, MANY_STEPS, even=True))
            return
        starts = [
            start
            for small in found[:2]
            for start in rounded_starts(small, self.tree, self.cells.dims)
            if self.affordable(ranks_of(start))
        ]
        uniform = self._uniform()
        groups = [starts, *(self._drawn([ranks] * RANDOM_STARTS) for ranks in uniform)]
        together = [start for group in groups for start in group]
        if not uniform or len(together) * FEW_STEPS * self.flops(uniform[-1]) < PROGRAM:
            groups = [together]
        waited = 0
        for group in filter(None, groups):
            before = self.score(self.best()) if self.pool else math.inf
            self._tried(
                "small and random starts", self.polished(group, FEW_STEPS, even=True)
            )
            waited = 0 if self.score(self.best()) < GAIN * before else waited + 1
            if self.settled() or (waited > 1 and not self.all_ranks):
                break

    def _uniform(self) -> list[Ranks]:
        """Ranks as equal as dimensions allow: one, and more as far as cells suffice."""
        found: list[Ranks] = []
        for rank in range(1, 1 + max(self.cells.dims) ** 2):
            ranks = tuple(
                allowed_ranks(self.tree, self.cells.dims, [rank] * self.tree.root)
            )
            if ranks in found or (found and not self.affordable(ranks)):
                break
            found.append(ranks)
        return found

    def round(self, number: int) -> bool:
        """Neighbours of the best ranks that were not gone on from; False for none."""
        beam: dict[Ranks, Fit] = {}
        for fit in sorted(self.pool, key=self.score):
            if fit.ranks not in self.expanded:
                beam.setdefault(fit.ranks, fit)
        chosen = list(beam.values())[:BEAM]
        starts: list[Tensors] = []
        for fit in chosen:
            self.expanded.add(fit.ranks)
            ranks = [r for r in self._nearby(fit) if self.affordable(r)]
            starts += [moved_to(fit.tensors, r, self.tree, self.rng) for r in ranks]
            starts += self._drawn([*ranks, fit.ranks])
        if starts:
            self._tried(f"round {number}", self.polished(starts, FEW_STEPS, even=True))
            self._settle()
        return bool(starts)

    def _settle(self) -> None:
        """More steps for fits that are nearly exact: a small singular value takes them."""
        best: dict[Ranks, Fit] = {}
        for fit in sorted(self.pool, key=self.score):
            if exact_fit() <= fit.heldout < NEARLY and fit.ranks not in self.patient:
                best.setdefault(fit.ranks, fit)
        near = list(best.values())[:LANES]
        if near and not self.settled():
            self.patient |= {fit.ranks for fit in near}
            starts = [fit.tensors for fit in near]
            self._tried("nearly exact", self.polished(starts, PATIENT_STEPS))

    def _nearby(self, fit: Fit) -> Iterable[Ranks]:
        spectra = spectra_of(fit.tensors, self.tree)
        gaps = suggested(spectra, self.tree, self.cells.dims, 0.3 * fit.heldout)
        near = neighbours(self.tree, self.cells.dims, fit.ranks)
        return dict.fromkeys([*gaps, *near])

    def _drawn(self, ranks: Iterable[Ranks]) -> list[Tensors]:
        dims = self.cells.dims
        return [random_tensors(self.tree, dims, r, self.rng) for r in ranks]

    def _tried(self, stage: str, fits: list[Fit]) -> None:
        for fit in fits:
            if np.isfinite(fit.heldout + fit.training):
                (self.loose if self.is_loose(fit) else self.pool).append(fit)
        self.pool = sorted(self.pool, key=self.score)[:100]
        self.note(stage, self.best())

    def is_loose(self, fit: Fit) -> bool:
        """Whether a fit is exact, and others of its ranks are too."""
        if fit.heldout >= exact_fit():
            return False
        lanes = self.lanes or Lanes(self.cells, self.tree, fit.ranks, self.optimizer)
        return not lanes.determined(fit)

    def fill(self, filling: Filling, wanted: Ranks | None, listen: Listener) -> Fit:
        """The chosen one of fits by filling in, which is where the search begins."""
        fits = filling.search() if wanted is None else iter([filling.reached(wanted)])
        for fit in fits:
            listen(0, filling.best().heldout)
            self.note("filled in", fit)
        every = [one for r, one in filling.found.items() if wanted in (None, r)]
        least = min(one.heldout for one in every)
        slack = 1 / math.sqrt(2 * int(np.sum(filling.cells.held)))
        chosen = fewest(every, least, slack, filling.cells.noise)
        self.take(filling.cells.thinned(2 * chosen.freedom + MOST_CELLS, self.rng))
        if FEW_STEPS * self.flops(chosen.ranks) > AFFORDABLE:
            self.pool.append(chosen)
            return chosen
        (fit,) = self.polished([chosen.tensors], FEW_STEPS)
        if wanted is None and fit.heldout < exact_fit():
            # Of too many ranks it is not determined, so these are read off first.
            fit = self.pruned(fit)
        self._tried("some cells", [fit])
        return chosen

    def expected(self, fit: Fit, tensors: Tensors) -> float | None:
        """Mean squared error on cells that were not observed, of a fit of all cells."""
        if fit.heldout < exact_fit():
            return None
        return expected_square(
            fit, tensors, self.tree, self.cells, self.optimizer, self.rng
        )

    def note(self, stage: str, fit: Fit) -> None:
        """One line more of the history."""
        line = Trial(stage, fit.ranks, fit.freedom, fit.training, fit.heldout)
        self.history.append(line)

    def choose(self) -> Fit:
        """The fewest degrees of freedom within one standard error of the least error."""
        if not self.pool:
            return min(self.loose, key=lambda fit: (fit.freedom, fit.heldout))
        least = min(fit.heldout for fit in self.pool)
        return fewest(self.pool, least, self.slack(), self.cells.noise)

    def pruned(self, fit: Fit) -> Fit:
        """An exact fit of the fewest degrees of freedom: others may be exact by chance on
        the cells that are known, and wrong on those that are not."""
        self.lanes = None  # a program of fewer ranks will do
        spectra = spectra_of(fit.tensors, self.tree)
        gaps = suggested(spectra, self.tree, self.cells.dims, TINY)[:2]
        exact = self._exact(fit, [r for r in gaps if self._is_less(r, fit)])
        fit = min([fit, *exact], key=lambda one: one.freedom)
        while True:
            near = fewer(self.tree, self.cells.dims, fit.ranks)
            exact = self._exact(fit, [r for r in near if self._is_less(r, fit)])
            if not exact:
                return fit
            if len(exact) > 1:
                # Nodes that can each do with less can often do so together.
                least = np.min([one.ranks for one in exact], axis=0).tolist()
                joint = allowed_ranks(self.tree, self.cells.dims, least)
                exact += self._exact(fit, [tuple(joint)])
            fit = min(exact, key=lambda one: one.freedom)

    def _is_less(self, ranks: Ranks, fit: Fit) -> bool:
        return freedom(self.tree, self.cells.dims, ranks) < fit.freedom

    def _exact(self, fit: Fit, ranks: list[Ranks]) -> list[Fit]:
        """Exact fits of other ranks, from a fit that is exact."""
        starts = [moved_to(fit.tensors, r, self.tree, self.rng) for r in ranks]
        fits = self.polished(starts, 2 * FEW_STEPS, all_of_them=True) if starts else []
        exact = [one for one in fits if one.heldout < exact_fit()]
        return [one for one in exact if not self.is_loose(one)]


def fewest(fits: list[Fit], least: float, slack: float, noise: float | None) -> Fit:
    """The fewest degrees of freedom at errors that differ from the least by chance, or
    that noise explains."""
    bound = max(exact_fit(), max(least, noise or 0.0) * (1 + slack))
    near = [fit for fit in fits if fit.heldout <= bound]
    return min(near, key=lambda fit: (fit.freedom, fit.heldout))


def search(
    key: jax.Array,
    tree: ModeTree,
    cells: Cells,
    optimizer: optax.GradientTransformation,
    listen: Listener,
    *,
    ranks: Ranks | None = None,
    rounds: int = ROUNDS,
) -> Found:
    """The best fit on one tree, or of given ranks on it."""
    rng = default_rng(np.asarray(jax.random.key_data(key)).tolist())
    few = cells.thinned(max(MOST_CELLS, CELLS_A_LEVEL * sum(cells.dims)), rng)
    state = Search(key, tree, few, optimizer, all_ranks=few is cells)
    if few is not cells and fillable(tree, cells):
        filling = Filling(tree, cells, LIMIT)
        fit = state.fill(filling, ranks, listen)
        if state.best().heldout >= NEARLY or state.best() is fit:
            return _of_all_cells(state, filling, fit)
    else:
        state.begin(ranks)
    waited = 0
    for number in range(1, 1 + rounds) if ranks is None else ():
        before = state.score(state.best())
        listen(number - 1, state.best().heldout)
        if state.settled() or waited >= PATIENCE or not state.round(number):
            break
        waited = 0 if state.score(state.best()) < GAIN * before else waited + 1
    exact = [fit for fit in state.pool if fit.heldout < exact_fit()]
    if exact and ranks is None:
        fit = state.pruned(min(exact, key=lambda fit: fit.freedom))
        state.note("fewer ranks", fit)
    else:
        chosen = state.choose()
        fit = state.polished([chosen.tensors], MANY_STEPS)[0]
        fit = min(fit, chosen, key=lambda fit: fit.heldout)
        state.note("polished", fit)
    if few is not cells:
        state.take(cells)
        (fit,) = state.polished([fit.tensors], FEW_STEPS, all_of_them=True)
        state.note("all cells", fit)
    loose = state.is_loose(fit)
    (last,) = state.polished([fit.tensors], MANY_STEPS, everything=True, all_of_them=True)
    expected = state.expected(fit, last.tensors)
    return Found(fit, last.tensors, state.short(fit), not loose, expected, state.history)


def _of_all_cells(state: Search, filling: Filling, fit: Fit) -> Found:
    """The result where ranks were filled in: some steps on all cells, or one filling."""
    state.take(filling.cells)
    if MANY_STEPS * state.flops(fit.ranks) <= AFFORDABLE:
        (better,) = state.polished([fit.tensors], FEW_STEPS, all_of_them=True)
        fit = min(fit, better, key=lambda one: one.heldout)
        state.note("all cells", fit)
        (last,) = state.polished(
            [fit.tensors], MANY_STEPS, everything=True, all_of_them=True
        )
    else:
        last = filling.fit(fit.ranks, fit.tensors, everything=True)
    expected, loose = state.expected(fit, last.tensors), state.is_loose(fit)
    return Found(fit, last.tensors, state.short(fit), not loose, expected, state.history)
