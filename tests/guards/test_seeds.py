"""Seeds yield what they yielded when the snapshot was made."""

from typing import Any

import pytest

from tests.guards import seeds, snapshot
from tests.marks import slow_unless

# One draw of each kind in every run of the tests; all of them in `make test-all`.
CHOSEN = {
    "factors": (
        "gaussian_factors mixed5 trained float32",
        "gaussian_factors flat3 ones float64",
        "balanced_factors chain2 ones float32",
        "identity_factors binary4 trained float64",
    ),
    "observations": ("random_indices few", "random_vectors float64", "minibatch_loss"),
    "completions": ("Completion flat, ones, seed 0",),
    "patches": ("random_patches apart", "EitherOrder"),
    "images": ("same class, other class",),
    "networks": ("network strided, small",),
}
MOVED = {
    "factors": "gaussian_factors flat3 ones float64",
    "observations": "random_indices few",
    "completions": "Completion flat, ones, seed 0",
    "patches": "random_patches apart",
    "images": "same class, other class",
    "networks": "network strided, small",
}
FAST = ("factors", "images", "patches")  # others compile
BITS = pytest.mark.parametrize("x64", [False, True], ids=["32 bits", "64 bits"])


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return snapshot.read(seeds.STEM)


def lines(entries: dict[str, Any], kept: dict[str, Any]) -> list[str]:
    """Where drawn numbers differ from those kept."""
    return [
        line
        for name, entry in entries.items()
        for line in snapshot.differences(entry, kept[name], seeds.tolerance(name), name)
    ]


@pytest.mark.parametrize("group", slow_unless(seeds.GROUPS, FAST))
def test_chosen_seeds_yield_the_same(group: str, kept: dict[str, Any]) -> None:
    """Integers exactly, floats to 1e-5, networks to 1e-3."""
    assert lines(seeds.found(group, True, CHOSEN[group]), kept) == []


@pytest.mark.slow
@BITS
@pytest.mark.parametrize("group", seeds.GROUPS)
def test_all_seeds_yield_the_same(group: str, x64: bool, kept: dict[str, Any]) -> None:
    """With and without 64 bits, where integers are drawn otherwise."""
    assert lines(seeds.found(group, x64, seeds.names(group, x64)), kept) == []


@pytest.mark.parametrize("group", seeds.GROUPS)
def test_other_seeds_yield_something_else(group: str, kept: dict[str, Any]) -> None:
    """The comparison sees every seed moved by one."""
    assert lines(seeds.found(group, True, [MOVED[group]], shift=1), kept) != []


def test_every_draw_is_kept(kept: dict[str, Any]) -> None:
    """None is missing, none is left over."""
    expected = {
        seeds.label(name, x64)
        for group in seeds.GROUPS
        for x64 in (False, True)
        for name in seeds.names(group, x64)
    }
    assert set(kept) == expected
