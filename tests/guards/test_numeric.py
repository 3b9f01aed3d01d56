"""Every public function gives what the stored snapshot says it gave."""

import inspect

import numpy as np
import pytest

import htfjax as htf
from htfjax import locality
from tests.guards import numeric, records
from tests.guards.registry import CALLS

RANDOM = "what a key gives is the business of the seed snapshot"
FILES = "reads or writes files"
SEARCHES = "a search by random starts: what it finds is tested, not its way"
TIMING = "predicts times: any route is right, and several are snapshots"
UNCALLED = {
    "gaussian_factors": RANDOM,
    "balanced_factors": RANDOM,
    "random_indices": RANDOM,
    "random_matrices": RANDOM,
    "random_vectors": RANDOM,
    "load_factors": FILES,
    "save_factors": FILES,
    "load_results": FILES,
    "save_results": FILES,
    "check_state": FILES,
    "load_state": FILES,
    "save_state": FILES,
    "complete": SEARCHES,
    "Completion": SEARCHES,
    "Rates": TIMING,
    "loss_plan": TIMING,
    "platform_rates": TIMING,
    "StepProgress": "words on a run: its own tests have the values",
    "observed": "no computation of its own: its tests have the values",
    "Observed": "no computation of its own: its tests have the values",
    "sharded_loss": "the loss that it is made of: its own tests have the values",
    "Selector": "an index map: its own tests have the values",
    "alternating_least_squares": "a path to a solution: its own tests have the values",
    "levenberg_marquardt": "a path to a solution: its own tests have the values",
    "as_tree": "a tree: its own tests have the values",
    "locality.class_tree": "a tree: its own tests have the values",
    "locality.download_cifar10": FILES,
    "locality.load_cifar10": FILES,
    "locality.load_digits": FILES,
    "locality.load_pathfinder": FILES,
    "locality.save_pathfinder": FILES,
    "locality.stored_pathfinder": FILES,
    "locality.draw_pathfinder": RANDOM,
    "locality.either_order": RANDOM,
    "locality.EitherOrder": RANDOM,
    "locality.random_patches": RANDOM,
    "locality.RandomPatches": RANDOM,
    "locality.same_class_pairs": RANDOM,
    "locality.marker_distance_baseline": "a statistic: its own tests have the values",
    "crossings": "a statistic: its own tests have the values",
    "incrementality": "a statistic: its own tests have the values",
    "locality.marker_position_baseline": "a statistic: its own tests have the values",
    "locality.PositionBaseline": "a statistic: its own tests have the values",
    "locality.MarkerBaseline": "a statistic: its own tests have the values",
}

ITEMS = numeric.items()


@pytest.fixture(scope="module")
def stored() -> numeric.Snapshot:
    """The stored snapshot."""
    return numeric.read()


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(
            item,
            id=item.name,
            marks=[] if numeric.fast(item) else [pytest.mark.slow],
        )
        for item in ITEMS
    ],
)
def test_values_gradients_and_types_are_those_stored(
    item: numeric.Item, stored: numeric.Snapshot
) -> None:
    assert numeric.compare(item, numeric.measure(item), stored) == []


def test_the_snapshot_holds_what_is_measured_and_nothing_else(
    stored: numeric.Snapshot,
) -> None:
    assert {name.rpartition("/")[0] for name in stored.types} == {i.name for i in ITEMS}


def test_nothing_stored_is_unknown(stored: numeric.Snapshot) -> None:
    """NaN stands only where an epoch has not ended yet."""
    nans = {
        name.partition("/")[0]
        for name, values in stored.numbers.items()
        if np.isnan(values).any()
    }
    assert nans <= {f"training-{dtype}" for dtype in numeric.DTYPES}


def test_every_public_name_is_called_or_has_a_reason() -> None:
    called = {name for call in CALLS.values() for name in call.covers}
    public = {n for n in htf.__all__ if not inspect.ismodule(getattr(htf, n))}
    for prefix, module in (("theory", htf.theory), ("locality", locality)):
        public |= {
            f"{prefix}.{name}"
            for name, value in ((n, getattr(module, n)) for n in module.__all__)
            if not name.startswith("_") and not inspect.ismodule(value)
        }
    assert public - called - UNCALLED.keys() == set()
    assert UNCALLED.keys() - public == set()
    assert UNCALLED.keys() & called == set()


def test_every_call_has_a_fast_item_or_is_marked_slow() -> None:
    fast = {item.call.name for item in ITEMS if numeric.fast(item)}
    assert fast == {name for name, call in CALLS.items() if not call.slow}


@pytest.mark.parametrize("size", [5, 60])
def test_a_difference_is_seen(size: int) -> None:
    """One entry of a small array, and all entries of a large one in any pattern."""
    rng = np.random.default_rng(0)
    array = rng.standard_normal(size)
    kept = records.numbers(array)
    assert records.worst(array, kept, together=False) == 0
    moved = array.copy()
    moved[3] += 1e-9
    assert records.worst(moved, kept, together=False) > 1e-11
    assert records.worst(moved[::-1], kept, together=False) > 1e-3
    assert records.worst(array.astype(int), records.numbers(array), together=False) > 0


def test_descriptions_tell_types_apart() -> None:
    kinds = [np.zeros(2), np.zeros(2, np.float32), [1.0], (1.0,), 1, True, None, {"a": 1.0}]
    kinds += [htf.Stop("converged", 1), ("converged", 1), np.float64(1.0), 1.0]
    assert len({records.describe(kind) for kind in kinds}) == len(kinds)
