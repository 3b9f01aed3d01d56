"""Small runs of commands, and how they are compared."""

import re
from pathlib import Path
from typing import Any

import numpy as np

import htfjax as htf
from sims.common.settings import Config

REPOSITORY = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "panel": "htf", "mode_dims": (3,), "widths": (4,), "init_std": 0.3, "observed": 60,
    "target_ranks": (2,), "num_steps": 100, "record_every": 5, "tolerance": 1e-12,
}  # fmt: skip


def small(out: Path, **changes: Any) -> Config:
    """A run of the hierarchical panel that takes a second."""
    return Config(out=out, **{**SMALL, **changes})


def messages(said: str) -> list[str]:
    """Lines of a command's standard error, without those of its progress."""
    progress = re.compile(r"step \d|: takes about |: compiling$")
    return [line for line in said.splitlines() if not progress.search(line)]


def assert_same_results(one: Path, two: Path, but: str = "") -> None:
    """Every array, bit for bit, but for one that tells the time."""
    a, b = htf.load_results(one), htf.load_results(two)
    assert set(a.variables) == set(b.variables)
    for name, variable in a.variables.items():
        if name != but:
            np.testing.assert_array_equal(variable.values, b[name].values, str(name))
