"""Fixtures of the tests of commands."""

from collections.abc import Iterator

import jax
import matplotlib as mpl
import pytest

from sims import incremental_rank

mpl.use("Agg")


@pytest.fixture
def ordinary_promotion() -> Iterator[None]:
    """Commands run as users run them; optax schedules mix ints and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than a small run."""
    monkeypatch.setattr(incremental_rank, "draw", lambda folder, view: None)
