"""Strict numerics for every test and every docstring example."""

import gc
import os
import re
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

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


# Every compiled program holds memory maps. A process may have 65,530 of them by Linux's
# default, and thousands of tests in one worker get there: the compiler then crashes.
MOST_MAPS = 56_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as slow what `tests/slow.txt` lists."""
    lines = (Path(__file__).parent / "tests/slow.txt").read_text().splitlines()
    listed = re.compile("|".join(s for s in lines if s and not s.startswith("#")))
    for item in items:
        if listed.search(item.nodeid):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_teardown() -> None:
    """Forgets compiled programs once there are many."""
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def getkey():
    """Fresh keys, always the same ones for one test."""
    root, count = jax.random.key(0), 0

    def fresh() -> jax.Array:
        nonlocal count
        count += 1
        return jax.random.fold_in(root, count)

    return fresh
