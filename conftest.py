"""Strict numerics for every test and every docstring example."""

import gc
import importlib.util
import itertools
import os
import re
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Commands in processes of their own compile as on a fresh machine.
os.environ.setdefault("HTFJAX_CACHE", "off")

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# The next run finds what this one compiled. Each worker has a folder of its own: two that
# shared one were seen to wait for each other for ever.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
jax.config.update(
    "jax_compilation_cache_dir", str(Path(__file__).parent / ".pytest_cache/jax" / WORKER)
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


# Every compiled program holds memory, and maps of it. A process may have 65,530 of these
# by Linux's default, and thousands of tests in one worker get there: the compiler then
# crashes. The system takes tens of milliseconds to list them, so they are counted after
# some tests only. Two workers of the slow tests once took 9 GB each.
MOST_MAPS, TESTS_BETWEEN = 50_000, 20
MOST_BYTES, GROWTH = 4_000_000_000, 1_000_000_000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0  # tests patch it
TESTS = itertools.count(1)
kept = [0]  # bytes in use after programs were forgotten last


# Docstrings carry no marks: long examples whose functions tests cover, of whole modules or
# of one name.
SLOW_EXAMPLES = (
    "htfjax.completion.result.Completion",
    "htfjax.instruments.local_components.component_contributions",
    "htfjax.instruments.spectra.spectra",
    "htfjax.instruments.spectra.spectrum",
    "htfjax.locality.measures.gradient_distance",
    "htfjax.locality.networks.conv_ac.ConvAC",
    "htfjax.locality.measures.separation",
    "htfjax.locality.networks.network",
    "htfjax.locality.regularizer.regularizer",
    "htfjax.locality.tasks.pathfinder.baseline.marker_position_baseline",
    "htfjax.locality.tasks.pathfinder.examples.load_pathfinder",
    "htfjax.locality.regularizer.patch_draws.RandomPatches",
    "htfjax.locality.training",
    "htfjax.losses.gradient.ScaledGradient",
    "htfjax.losses.population",
    "htfjax.losses.scaled",
    "htfjax.motion.descent.descend",
    "htfjax.motion.flow",
    "htfjax.motion.flow_report",
    "htfjax.motion.pieces.piece_lengths",
    "htfjax.motion.plateau",
    "htfjax.problems.Completion",
    "htfjax.runs.completion.completion_lane",
    "htfjax.runs.engine",
    "htfjax.runs.final",
    "htfjax.runs.integrity",
    "htfjax.runs.lanes",
    "htfjax.runs.states.load_states",
    "htfjax.theory.growth",
    "htfjax.theory.scaling",
    "htfjax.theory.truncation.truncation_bounds",
)

# Examples that make an object of another library, which the group `exchange` installs.
EXCHANGED = re.compile(r"htfjax\.exchange\.(\w+)\.to_")


def pytest_configure(config: pytest.Config) -> None:
    """Fewer examples of a property where slow tests are left out."""
    settings.register_profile("quick", max_examples=33)
    if "not slow" in config.option.markexpr:
        settings.load_profile("quick")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks long examples of docstrings as slow, and skips those of absent libraries."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and (found := EXCHANGED.match(item.name)):
            absent = importlib.util.find_spec(found[1]) is None
            item.add_marker(pytest.mark.skipif(absent, reason=f"{found[1]} is absent"))
        if isinstance(item, pytest.DoctestItem) and f"{item.name}.".startswith(
            tuple(f"{name}." for name in SLOW_EXAMPLES)
        ):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Modules and collected tests are kept out of the search for garbage."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown() -> None:
    """Forgets compiled programs once there are many."""
    if next(TESTS) % TESTS_BETWEEN:
        return
    if _bytes() > max(MOST_BYTES, kept[0] + GROWTH) or _maps() > MOST_MAPS:
        jax.clear_caches()
        gc.collect()
        kept[0] = _bytes()


def _bytes() -> int:
    """Memory in use, 0 where the system does not tell."""
    path = Path("/proc/self/statm")
    pages = int(path.read_text().split()[1]) if path.exists() else 0
    return pages * PAGE_BYTES


def _maps() -> int:
    """Memory maps, 0 where the system does not tell."""
    path = Path("/proc/self/maps")
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture
def getkey():
    """Fresh keys, always the same ones for one test."""
    root, count = jax.random.key(0), 0

    def fresh() -> jax.Array:
        nonlocal count
        count += 1
        return jax.random.fold_in(root, count)

    return fresh
