"""The completion of a tensor from some of its entries, ranks and tree included."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._types import Key, Numbers
from htfjax.completion.cells import Cells, cells_of
from htfjax.completion.gaps import spectra_of, suggested
from htfjax.completion.lanes import Ranks, Tensors, exact_fit
from htfjax.completion.result import (
    Completion,
    Interval,
    error_interval,
    verdict_of,
)
from htfjax.completion.search import LIMIT, ROUNDS, Found, Trial, search
from htfjax.completion.small_start import small_starts, transfer_of
from htfjax.completion.trees import by_entanglement, plain_trees
from htfjax.contraction.entries import entries
from htfjax.data.holdout import check_share
from htfjax.factors.factors import Factors
from htfjax.formats.arithmetic import scale
from htfjax.formats.cuts import Ranks as GivenRanks
from htfjax.formats.cuts import check_ranks
from htfjax.formats.freedom import freedom
from htfjax.formats.transfer_tensors import (
    TransferTensors,
    joined,
)
from htfjax.motion.alternating import alternating_least_squares
from htfjax.motion.levenberg_marquardt import levenberg_marquardt
from htfjax.motion.progress import Asked, Listener, Pace, StepProgress, telling
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree, without_chains

Method = Literal["auto", "small_start", "als", "descent"]
OPTIMIZERS = {
    "small_start": levenberg_marquardt(shrink=1e-3),
    "als": alternating_least_squares(ridge=1e-10),
}
DESCENT_STEPS, DESCENT_STD = 20_000, 0.15
# Mean squared error on unobserved cells, values being of size one, that is worse than none.
HOPELESS = 4.0
FIRST_ROUNDS = 3  # on every tree, before one of them is searched to the end


def complete(
    observed: object,
    *,
    tree: TreeLike = "auto",
    ranks: GivenRanks | Literal["auto"] = "auto",
    method: Method = "auto",
    holdout: float = 0.1,
    noise: Numbers | None = None,
    key: Key[jax.Array, ""],
    progress: Asked = None,
) -> Completion:
    """A tensor from some of its entries: factors, ranks, and the error to expect.

    Small starts descend until the error on cells held out stops falling; their singular
    values suggest ranks. From there, and from random starts, ranks are searched, a few
    steps of Levenberg-Marquardt each, for the least held-out error; an exact fit is brought
    to the fewest ranks. Ranks with more degrees of freedom than 0.95 of the cells are not
    tried. In float64 (`jax.enable_x64`) a tensor of low rank comes back to rounding.

    Args:
      observed: what `htfjax.observed` takes (an array with NaN, a pair of indices and
        values, a table) or gives.
      tree: of any arity; "auto" tries halves of the modes in their order, all modes at one
        node, and modes joined by what they share in the better fit of these.
      ranks: one for all nodes, one for every node but the root, or "auto".
      method: "small_start" is as above, and what "auto" is; "als" searches with alternating
        least squares; "descent" only descends from small starts, as the paper does, which
        leaves an error of some per cent where others are exact (with tree="auto" on halves
        of the modes).
      holdout: share of the cells that chooses ranks and tells the error; not used where
        `observed` has cells held out already.
      noise: standard deviation of the values, where it is known: a number, or an array that
        broadcasts to the tensor. Cells weigh as its inverse square, and ranks are the
        fewest whose held-out error it explains.
      key: typed key: what is held out, and starts.
      progress: as in `descend`, by rounds of the search; the loss is the held-out error.

    Warns:
      UserWarning: as `htfjax.observed`: cells given twice with different values, ...

    Raises:
      TypeError, ValueError: data that `htfjax.observed` refuses, a level without a cell to
        train on, fewer cells than a tensor of rank one has degrees of freedom, a tree of
        another order, ranks that dimensions or cells do not allow, an unknown method.

    Source: descent from a small start as in arXiv:2201.11729; the search is ours.

    Example:
      >>> import htfjax as htf, jax, numpy as np
      >>> rng = np.random.default_rng(0)
      >>> truth = np.einsum("ir,jr,kr->ijk", *rng.normal(size=(3, 6, 2)))
      >>> mine = np.where(rng.random(truth.shape) < 0.6, truth, np.nan)
      >>> found = htf.complete(mine, tree=((0, 1), 2), key=jax.random.key(0))
      >>> found.verdict, found.ranks
      ('exact', {0: 2, 1: 2, 2: 2, 3: 2})
      >>> bool(np.abs(found.predict([[1, 2, 3]]) - truth[1, 2, 3]) < 1e-6)
      True
    """
    _checks.one_of("method", method, get_args(Method))
    share = check_share("holdout", holdout)
    _checks.key("key", key)
    for_cells, for_search = jax.random.split(key)
    cells = cells_of(observed, share, for_cells, noise)
    auto = isinstance(tree, str) and tree == "auto"
    trees = [*plain_trees(len(cells.dims))] if auto else [_fitting(tree, cells)]
    wanted = _wanted(trees[0], cells, ranks, auto)
    if wanted is not None and method == "descent":
        raise ValueError(
            "`ranks` cannot be given with `method='descent'`, which reads them off at its "
            "end; leave one of the two out."
        )
    with telling(progress, "completion") as listener:
        if method == "descent":
            return _descended(for_search, trees[0], cells)
        optimizer = OPTIMIZERS["als" if method == "als" else "small_start"]
        listen = _listening(listener)

        def find(tree: ModeTree, rounds: int) -> tuple[ModeTree, Found]:
            return tree, search(
                for_search, tree, cells, optimizer, listen, ranks=wanted, rounds=rounds
            )

        if not auto:
            return _searched(*find(trees[0], ROUNDS), cells)
        best = _best_of(find(one, FIRST_ROUNDS) for one in trees)
        guess = by_entanglement(best[1].tensors, best[0])
        if not best[1].exact and guess is not None and guess not in trees:
            best = _best_of(iter([best, find(guess, FIRST_ROUNDS)]))
        if not best[1].exact and wanted is None:
            best = _best_of(iter([best, find(best[0], ROUNDS)]))
        return _searched(*best, cells)


def _fitting(tree: TreeLike, cells: Cells) -> ModeTree:
    """A tree of as many modes as the data, without one-child nodes."""
    found = without_chains(as_tree(tree))
    if found.order != len(cells.dims):
        raise ValueError(
            f"`tree` has {found.order} modes, the data have {len(cells.dims)}: "
            f"{', '.join(cells.data.mode_names)}."
        )
    return found


def _wanted(
    tree: ModeTree, cells: Cells, ranks: GivenRanks | str, auto: bool
) -> Ranks | None:
    """Ranks that were asked for, with no more degrees of freedom than there are cells."""
    if isinstance(ranks, str):
        _checks.one_of("ranks", ranks, ["auto"])
        return None
    if auto and not isinstance(ranks, int):
        raise ValueError(
            f"`ranks={_checks.spell(ranks)}` are for the nodes of a tree, and `tree` is "
            "'auto'; give both, or neither."
        )
    found = check_ranks(tree, cells.dims, ranks)
    free = freedom(tree, cells.dims, found)
    if free > cells.trained:
        raise ValueError(
            f"`ranks={_checks.spell(ranks)}` have {free} degrees of freedom on the tree "
            f"{tree.nested}, and there are {cells.trained} cells to train on; ask for "
            "fewer, or observe more."
        )
    return found


def _best_of(found: Iterable[tuple[ModeTree, Found]]) -> tuple[ModeTree, Found]:
    """The least held-out error; the first exact one, without looking further."""
    best: tuple[ModeTree, Found] | None = None
    for one in found:
        if best is None or one[1].error < best[1].error:
            best = one
        if best[1].exact:
            break
    assert best is not None
    return best


def _listening(listener: Listener | None) -> Callable[[int, float], None]:
    """Tells a listener of the rounds of a search."""
    pace = Pace()

    def listen(number: int, heldout: float) -> None:
        if listener is not None:
            left = pace.seconds_left(number, ROUNDS)
            listener(StepProgress(number, ROUNDS, heldout, left))

    return listen


def _searched(tree: ModeTree, found: Found, cells: Cells) -> Completion:
    """The result of a search."""
    fitted = _factors(found.fit.tensors, tree, 1.0)
    return _result(
        cells,
        tree,
        fitted,
        found.fit.ranks,
        _factors(found.tensors, tree, cells.scale),
        found.short,
        found.history,
        determined=found.determined,
        expected=found.expected,
    )


def _factors(tensors: Tensors, tree: ModeTree, size: float) -> Factors:
    held = TransferTensors(tuple(map(jnp.asarray, tensors)), tree)
    return scale(joined(held), size)


def _descended(key: jax.Array, tree: ModeTree, cells: Cells) -> Completion:
    """The best of several descents from small starts, as it is."""
    best = small_starts(
        key, tree, cells, most_steps=DESCENT_STEPS, std=DESCENT_STD, patience=20
    )[0]
    tensors = transfer_of(best)
    ranks = suggested(spectra_of(tensors, tree), tree, cells.dims, best.heldout)[0]
    free = freedom(tree, cells.dims, ranks)
    line = Trial("descent", ranks, free, best.training, best.heldout)
    factors = scale(best.factors, cells.scale)
    short = free > LIMIT * cells.trained
    return _result(cells, tree, best.factors, ranks, factors, short, [line])


def _result(
    cells: Cells,
    tree: ModeTree,
    fitted: Factors,
    ranks: Ranks,
    factors: Factors,
    short: bool,
    history: Sequence[Trial],
    *,
    determined: bool = True,
    expected: float | None = None,
) -> Completion:
    """A result, with the held-out error of factors that were fitted without these cells."""
    predictions = np.asarray(entries(fitted, cells.indices[cells.held]))
    errors = predictions - cells.targets[cells.held]
    relative = float(np.sqrt(np.mean(np.square(errors))))
    low, high = error_interval(errors, expected)
    short = short or (expected is not None and expected > HOPELESS)
    high = high if determined else np.inf
    return Completion(
        factors=factors,
        tree=tree,
        ranks=dict(enumerate(ranks)),
        heldout_error=relative * cells.scale,
        interval=Interval(low * cells.scale, high * cells.scale),
        relative_error=relative,
        heldout_predictions=predictions * cells.scale,
        verdict=verdict_of(relative / _shown(cells), short, determined=determined),
        degrees_of_freedom=freedom(tree, cells.dims, ranks),
        observations=len(cells.targets),
        history=tuple(history),
        data=cells.data,
    )


def _shown(cells: Cells) -> float:
    """Size of the values held out where it is less than one: a few values may be so large
    that zero is near all others. Zeros, and what is rounding of one, show nothing."""
    size = float(np.sqrt(np.mean(np.square(cells.targets[cells.held])))) or 1.0
    return min(1.0, max(size, exact_fit()))
