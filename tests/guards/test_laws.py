"""All laws hold as closely as when their errors were stored, and each can fail."""

import pytest

from sims import verify
from tests.guards import laws
from tests.marks import slow_unless

GROWTH = 100  # times its stored size: rounding differs between machines
FLOOR = 1e-14  # what counts as no error at all
QUICK = ("A1", "D4")


@pytest.mark.slow
def test_errors_are_those_stored() -> None:
    stored, rows = laws.read(), verify.run(verify.Config())
    assert [row["law"] for row in rows] == list(stored)
    assert len(stored) == 43
    assert [row["law"] for row in rows if not row["passed"]] == []
    grown = {
        row["law"]: (row["error"], stored[row["law"]])
        for row in rows
        if row["error"] > GROWTH * stored[row["law"]] + FLOOR
    }
    assert grown == {}


@pytest.mark.parametrize("name", slow_unless(laws.read(), QUICK))
def test_a_broken_law_fails(name: str) -> None:
    (row,) = verify.run(verify.Config(tree=("((0, 1), (2, 3))",), breaks=name))
    assert (row["law"], row["passed"]) == (name, False)
