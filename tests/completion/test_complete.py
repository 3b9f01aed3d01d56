"""Completion of tensors whose ranks are known to the test alone."""

import gc
import warnings
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from benchmarks.completion_noise import noisy
from benchmarks.completion_targets import drawn
from htfjax.completion import lanes
from htfjax.completion.cells import cells_of
from htfjax.completion.filling import Filling, fillable
from htfjax.completion.lanes import Fit, Lanes
from htfjax.completion.result import error_interval, verdict_of
from htfjax.formats.transfer_tensors import TransferTensors
from tests.helpers import assert_close

KEY = jax.random.key(0)
DIMS = (5, 6, 4)
TREE = ((0, 1), 2)


def low_rank(dims: tuple[int, ...] = DIMS, rank: int = 2, seed: int = 0) -> np.ndarray:
    """A tensor of CP rank, so of hierarchical ranks at most that, at every node."""
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((d, rank)) for d in dims]
    found = parts[0]
    for part in parts[1:]:
        found = found[..., None, :] * part
    return found.sum(axis=-1)


def with_holes(tensor: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    """Some entries missing, of no level all."""
    rng = np.random.default_rng(seed)
    mine = np.where(rng.random(tensor.shape) < share, np.nan, tensor)
    mine[tuple(np.arange(max(tensor.shape)) % d for d in tensor.shape)] = tensor[
        tuple(np.arange(max(tensor.shape)) % d for d in tensor.shape)
    ]
    return mine


@pytest.mark.slow
def test_a_tensor_comes_back_with_its_ranks() -> None:
    truth = 30 * low_rank()
    mine = with_holes(truth, 0.4)
    found = htf.complete(mine, tree=TREE, key=KEY)
    missing = np.argwhere(np.isnan(mine))
    assert found.verdict == "exact"
    assert found.ranks == {0: 2, 1: 2, 2: 2, 3: 2}
    assert found.degrees_of_freedom == htf.formats.degrees_of_freedom(TREE, DIMS, 2)
    error = found.predict(missing) - truth[tuple(missing.T)]
    assert np.abs(error).max() < 1e-6 * np.abs(truth).max()
    assert np.abs(htf.end_tensor(found.factors) - truth).max() < 1e-6 * np.abs(truth).max()
    assert found.observations == np.sum(~np.isnan(mine))
    assert found.history[-1].heldout_error < 1e-7
    assert "verdict='exact'" in repr(found)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pair", "held out", "table"])
def test_whatever_observed_takes(form: str) -> None:
    truth = low_rank()
    mine = with_holes(truth, 0.4)
    indices = np.argwhere(~np.isnan(mine))
    values = mine[tuple(indices.T)]
    data: Any = (indices, values)
    if form == "held out":
        data = htf.observed(data, holdout=0.2, key=KEY)
    if form == "table":
        pd = pytest.importorskip("pandas")
        names = [f"level {i}" for i in range(9)]
        columns = {n: [names[i] for i in indices[:, n]] for n in range(3)}
        data = pd.DataFrame(columns | {"value": values})
    found = htf.complete(data, tree=TREE, key=KEY)
    assert found.verdict == "exact"
    if form == "held out":
        assert len(found.data.test_targets) == round(0.2 * len(indices))
    if form == "table":
        table = found.decode()
        there = {"0": "level 1", "1": "level 2", "2": "level 3"}
        assert float(table.sel(there)) == pytest.approx(truth[1, 2, 3], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["als", "descent"])
def test_methods(method: Any) -> None:
    """Alternating least squares are exact too; descent alone leaves an error."""
    truth = low_rank()
    found = htf.complete(with_holes(truth, 0.4), tree=TREE, method=method, key=KEY)
    error = np.linalg.norm(htf.end_tensor(found.factors) - truth) / np.linalg.norm(truth)
    assert found.verdict == ("exact" if method == "als" else "approximate")
    assert error < (1e-6 if method == "als" else 0.5)


@pytest.mark.slow
def test_given_ranks() -> None:
    truth = low_rank()
    mine = with_holes(truth, 0.4)
    assert htf.complete(mine, tree=TREE, ranks=2, key=KEY).verdict == "exact"
    one = htf.complete(mine, tree=TREE, ranks=[1, 1, 1, 1], key=KEY)
    assert set(one.ranks.values()) == {1}
    assert one.verdict == "approximate"


@pytest.mark.slow
def test_a_tree_is_found() -> None:
    """Modes 0 and 2 share nothing with 1 and 3 but one vector each: the tree joins them."""
    rng = np.random.default_rng(3)
    left, right = rng.standard_normal((2, 2, 4, 4))
    truth = np.einsum("rac,rbd->abcd", left, right)
    found = htf.complete(with_holes(truth, 0.35), key=KEY)
    assert found.verdict == "exact"
    error = np.linalg.norm(htf.end_tensor(found.factors) - truth)
    assert error < 1e-6 * np.linalg.norm(truth)


@pytest.mark.slow
def test_noise() -> None:
    """Ranks that the noise permits, an error of its size, and bounds around the error on
    what is not observed."""
    truth = low_rank((8, 8, 8))
    noise = 0.1 * truth.std()
    noisy = truth + noise * np.random.default_rng(5).standard_normal(truth.shape)
    mine = with_holes(noisy, 0.3)
    found = htf.complete(mine, tree=TREE, noise=noise, key=KEY)
    missing = np.argwhere(np.isnan(mine))
    error = found.predict(missing) - noisy[tuple(missing.T)]
    size = float(np.sqrt(np.mean(error**2)))
    assert set(found.ranks.values()) == {2}
    assert found.verdict == "approximate"
    assert found.interval.low < size < found.interval.high
    assert noise * 0.8 < size < noise * 1.4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*one observed cell only")
def test_no_low_rank_and_not_enough_data() -> None:
    full = np.random.default_rng(0).standard_normal((6, 6, 6))
    found = htf.complete(with_holes(full, 0.2), tree=TREE, key=KEY)
    assert found.verdict != "exact"
    assert found.relative_error > 0.5
    few = htf.complete(with_holes(low_rank((6, 6, 6), 4), 0.86), tree=TREE, key=KEY)
    assert few.verdict == "not enough data"


@pytest.mark.slow
def test_many_cells() -> None:
    """Ranks are searched on some of them, and all are fitted."""
    rng = np.random.default_rng(5)
    truth = low_rank((30, 30, 30), rank=2)
    mine = np.where(rng.random(truth.shape) < 0.4, truth, np.nan)
    mine = mine + 0.05 * rng.standard_normal(truth.shape)
    found = htf.complete(mine, tree=TREE, key=KEY)
    assert set(found.ranks.values()) == {2}
    assert [line.stage for line in found.history][-1] == "all cells"
    errors = (htf.end_tensor(found.factors) - truth)[np.isnan(mine)]
    # Of the noise of B cells n degrees of freedom leave a share of the root of n / B.
    share = np.sqrt(found.degrees_of_freedom / found.observations)
    assert np.sqrt(np.mean(errors**2)) < 1.3 * 0.05 * share


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_most_cells(noise: float) -> None:
    """Where half of many cells are there, ranks come from filling in, and are right."""
    rng = np.random.default_rng(5)
    truth = low_rank((24, 23, 22), rank=2)
    mine = np.where(rng.random(truth.shape) < 0.55, truth, np.nan)
    mine = mine + noise * rng.standard_normal(truth.shape)
    found = htf.complete(mine, tree=TREE, key=KEY)
    assert set(found.ranks.values()) == {2}
    assert "filled in" in {line.stage for line in found.history}
    errors = np.asarray(htf.end_tensor(found.factors) - truth)[np.isnan(mine)]
    share = np.sqrt(found.degrees_of_freedom / found.observations)
    assert np.sqrt(np.mean(errors**2)) < max(1.3 * noise * share, 1e-9)
    assert (found.verdict == "exact") == (noise == 0.0)


def test_filled_in() -> None:
    """Of the target's ranks, and of fewer the hierarchical SVD of a full tensor."""
    rng = np.random.default_rng(1)
    truth = low_rank((6, 7, 8), rank=2)
    mine = np.where(rng.random(truth.shape) < 0.9, truth, np.nan)
    tree = htf.ModeTree.from_nested(TREE)
    cells = cells_of(mine, 0.1, KEY, None)
    filling = Filling(tree, cells, 0.95)
    assert fillable(tree, cells)
    fit = filling.fit((2, 2, 2, 2))
    assert fit.heldout < 0.02
    assert filling.best() is fit
    whole = Filling(tree, cells_of(truth, 0.1, KEY, None), 0.95)
    less = whole.fit((1, 1, 1, 1), everything=True)
    assert not whole.found
    factors, _ = htf.formats.hierarchical_svd(truth, tree, ranks=1)
    expected = np.asarray(htf.end_tensor(factors)) / whole.cells.scale
    held = TransferTensors(tuple(map(jnp.asarray, less.tensors)), tree)
    assert_close(htf.end_tensor(htf.formats.from_transfer_tensors(held)), expected)


def of_rank_two() -> np.ndarray:
    """Most cells of a tensor that is filled in."""
    rng, truth = np.random.default_rng(0), np.zeros((13, 12, 12))
    for _ in range(2):
        truth += np.einsum("i,j,k", *(rng.standard_normal(d) for d in truth.shape))
    return np.where(np.random.default_rng(1).random(truth.shape) < 0.05, np.nan, truth)


def test_ranks_that_are_too_many_are_reached_by_way_of_fewer() -> None:
    """Straight from zeros, a held-out cell of this tensor stays one: an error of 0.46."""
    tree = htf.ModeTree.from_nested(TREE)
    cells = cells_of(of_rank_two(), 0.1, jax.random.split(KEY)[0], None)
    filling = Filling(tree, cells, 0.95)
    assert filling.fit((3, 3, 3, 3)).heldout > 0.3
    fit = filling.reached((3, 3, 3, 3))
    assert fit.ranks == (3, 3, 3, 3)
    assert fit.heldout < 0.01


@pytest.mark.slow
def test_zeros_are_exact() -> None:
    """Filled in they are zeros of any basis, which a Jacobian does not tell."""
    found = htf.complete(np.zeros((13, 12, 12)), tree=TREE, key=KEY)
    assert (found.verdict, set(found.ranks.values())) == ("exact", {1})
    assert found.interval == (0.0, 0.0)


@pytest.mark.slow
def test_given_ranks_are_kept() -> None:
    """Of a tensor of fewer too; any open cell can be changed alone then."""
    found = htf.complete(of_rank_two(), tree=TREE, ranks=3, key=KEY)
    assert set(found.ranks.values()) == {3}
    assert found.relative_error < 1e-8
    assert found.verdict == "not enough data"


@pytest.mark.slow
def test_an_outlier_does_not_make_others_exact() -> None:
    """Zero is near all other values then, and says nothing of them."""
    noise = np.random.default_rng(0).standard_normal((13, 12, 12))
    noise[3, 4, 5] = 1e12
    found = htf.complete(with_holes(noise, 0.2), tree=TREE, key=KEY)
    assert found.relative_error < 1e-8
    assert found.verdict != "exact"


def test_few_cells_are_not_filled_in() -> None:
    """Neither those of which most are open, nor those of different noise."""
    tree = htf.ModeTree.from_nested(TREE)
    truth = low_rank((6, 7, 8), rank=1)
    few = np.where(np.random.default_rng(0).random(truth.shape) < 0.3, truth, np.nan)
    assert not fillable(tree, cells_of(few, 0.1, KEY, None))
    noise = np.ones(truth.shape)
    noise[0] = 2.0
    assert not fillable(tree, cells_of(truth, 0.1, KEY, noise))


@pytest.mark.slow
def test_cells_that_leave_errors_of_any_size() -> None:
    """A noisy fit whose held-out error is small by chance is not called approximate."""
    target = drawn(227)
    data, unseen = noisy(target, 40, np.random.default_rng([227, 40, 16]))
    found = htf.complete(data, tree=target.tree, key=jax.random.key(227))
    errors = np.asarray(htf.end_tensor(found.factors) - target.tensor)[unseen]
    assert found.heldout_error < 0.02 < 1 < np.sqrt(np.mean(errors**2))
    assert found.verdict == "not enough data"
    assert np.sqrt(np.mean(errors**2)) < found.interval.high


def test_old_programs_go() -> None:
    """A process has room for some thirty searches' programs at most."""
    lanes._programs.cache_clear()
    optimizer = htf.levenberg_marquardt()
    kept = [weakref.ref(lanes._programs(k, optimizer, 0).move) for k in range(50)]
    gc.collect()
    assert [one() is None for one in kept] == [True] * 2 + [False] * 48


def test_thinned_cells() -> None:
    """Of no level all, held-out cells in their share; fewer cells stay as they are."""
    rng = np.random.default_rng(0)
    mine = np.where(rng.random((40, 9, 8)) < 0.3, 1.0, np.nan)
    mine[:, :, 7] = np.nan
    mine[[3, 5, 6], [4, 6, 1], 7] = 2.0  # a level with few cells
    cells = cells_of(mine, 0.1, KEY, None)
    few = cells.thinned(200, rng)
    assert cells.thinned(len(cells.targets), rng) is cells
    assert 200 <= len(few.targets) < 200 + sum(cells.dims)
    assert abs(few.held.mean() - cells.held.mean()) < 0.03
    for n, dim in enumerate(cells.dims):
        assert len(np.unique(few.indices[~few.held, n])) == dim
    values = {tuple(i): x for i, x in zip(cells.indices, cells.targets, strict=True)}
    assert all(values[tuple(i)] == x for i, x in zip(few.indices, few.targets, strict=True))


@pytest.mark.parametrize("size", [1.0, 1e-9])
def test_what_cells_determine_does_not_depend_on_the_form(size: float) -> None:
    """A basis of any size, with its inverse above it."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 6, 2))
    cells = cells_of(left @ right.T, 0.1, KEY, None)
    lanes = Lanes(cells, htf.flat(2), (2, 2), htf.levenberg_marquardt())
    core = np.eye(2)[..., None] / size
    fit = Fit(0.0, 0.0, (2, 2), [size * left, right, core], freedom=20)
    assert lanes.determined(fit)


def test_exact_cells_that_leave_others_open() -> None:
    """Two rows have one cell each, which a tensor of rank two meets in many ways."""
    truth = low_rank((6, 6), rank=2)
    mine = truth.copy()
    mine[4:] = np.nan
    mine[4, 1], mine[5, 2] = truth[4, 1], truth[5, 2]
    with pytest.warns(UserWarning, match="rests on one value"):
        found = htf.complete(mine, tree=(0, 1), ranks=2, key=KEY)
    assert found.degrees_of_freedom == 20 < found.observations == 26
    assert found.relative_error < 1e-8
    assert np.abs(found.predict([[4, 3], [5, 3]]) - truth[4:, 3]).max() > 1e-3
    assert found.verdict == "not enough data"
    assert found.interval.high == np.inf


def test_intervals_hold_the_error() -> None:
    """Of normal errors about 95 of 100; of a tenth three times as large 85."""
    rng = np.random.default_rng(0)
    for wide, least in ((1.0, 0.93), (3.0, 0.8)):
        truth, inside = np.sqrt(0.9 + 0.1 * wide**2), 0
        for _ in range(400):
            sizes = np.where(rng.random(60) < 0.1, wide, 1.0)
            low, high = error_interval(sizes * rng.standard_normal(60))
            inside += low < truth < high
        assert inside / 400 > least


def test_uneven_noise_is_explained_by_its_own_level() -> None:
    """Weighted errors of noise alone are what the cells say they are."""
    spread = np.where(np.arange(40) < 20, 0.1, 10.0)[:, None]
    rng = np.random.default_rng(0)
    noise = spread * rng.standard_normal((40, 40))
    data = htf.observed(5 + noise, holdout=0.5, key=KEY, scaling="none")
    cells = cells_of(data, 0.5, KEY, spread)
    assert cells.noise is not None
    trained, held = cells.errors(np.full(1600, 5 / cells.scale))
    assert trained == pytest.approx(cells.noise, rel=0.1)
    assert held == pytest.approx(cells.noise, rel=0.1)


def test_verdicts() -> None:
    assert verdict_of(1e-12, short=False, determined=False) == "not enough data"
    assert verdict_of(1e-9, short=True) == "exact"
    assert verdict_of(1e-3, short=True) == "not enough data"
    assert verdict_of(1e-3, short=False) == "approximate"


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_values_of_any_size(size: float) -> None:
    """Squares of these are not held by any dtype."""
    sums = size * np.add.outer(np.arange(5.0), np.arange(6.0))
    found = htf.complete(sums, tree=(0, 1), key=KEY)
    assert (found.verdict, found.ranks) == ("exact", {0: 2, 1: 2})
    assert found.heldout_error < 1e-6 * size
    assert htf.complete(0 * sums, tree=(0, 1), key=KEY).ranks == {0: 1, 1: 1}


HOLES = with_holes(low_rank(), 0.4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tree": (0, 1)}, "`tree` has 2 modes, the data have 3"),
        ({"ranks": [1, 2]}, "`ranks=\\[1, 2\\]` has 2 numbers, expected 4"),
        ({"ranks": 6}, "`ranks=6` have .* degrees of freedom .* there are 70 cells"),
        ({"ranks": "few"}, "`ranks='few'`"),
        ({"method": "magic"}, "`method='magic'`"),
        ({"holdout": 0}, "`observed` has no cells held out"),
        ({"holdout": 1.5}, "`holdout=1.5` must be below 1"),
        ({"noise": 0.0}, "`noise` must be above zero"),
        ({"noise": True}, "`noise` must be numbers"),
        ({"progress": dict}, "`progress` must be True"),
        ({"observed": "nonsense"}, "`observed` must be an array"),
        ({"noise": np.ones((2, 2))}, "`noise` has shape \\(2, 2\\)"),
        ({"tree": "auto", "ranks": [2, 2, 2, 2]}, "`tree` is 'auto'"),
        ({"ranks": 2, "method": "descent"}, "`ranks` cannot be given with `method="),
        ({"key": 3}, "`key`"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        htf.complete(**({"observed": HOLES, "tree": TREE, "key": KEY} | options))


def test_bad_data() -> None:
    empty = HOLES.copy()
    empty[2] = np.nan
    with pytest.raises(ValueError, match="no cell to train on with level 2 of mode"):
        htf.complete(empty, tree=TREE, key=KEY)
    few = np.full(DIMS, np.nan)
    few[tuple(np.arange(12) % d for d in DIMS)] = 1.0  # the rank one has 13
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = htf.observed(few, holdout=0.1, key=KEY)
    with pytest.raises(ValueError, match="degrees of freedom: too few"):
        htf.complete(data, tree=TREE, key=KEY)
    with pytest.raises(ValueError, match="finite"):
        htf.complete(np.where(np.isnan(HOLES), np.inf, HOLES), tree=TREE, key=KEY)


def test_progress_tells_of_rounds() -> None:
    told: list[htf.StepProgress] = []
    htf.complete(HOLES, tree=TREE, key=KEY, progress=told.append)
    assert told
    assert told[0].step == 0
    assert told[-1].loss <= told[0].loss


def test_the_result_is_in_the_textbook_form() -> None:
    found = htf.complete(HOLES, tree=TREE, key=KEY)
    transfer = htf.formats.to_transfer_tensors(found.factors)
    assert isinstance(transfer, TransferTensors)
    assert transfer.ranks == (*found.ranks.values(), 1)
