"""Strict numerics for every test and every docstring example."""

import os
from pathlib import Path

# Tests fill the machine; rates measured then are kept apart from the user's.
os.environ.setdefault("HTFJAX_CACHE", str(Path(__file__).parent / ".pytest_cache/htfjax"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def getkey():
    """Fresh keys, always the same ones for one test."""
    root, count = jax.random.key(0), 0

    def fresh() -> jax.Array:
        nonlocal count
        count += 1
        return jax.random.fold_in(root, count)

    return fresh
