"""All laws hold as closely as when their errors were stored."""

import pytest

from sims import verify
from tests.guards import laws

GROWTH = 100  # times its stored size: rounding differs between machines
FLOOR = 1e-14  # what counts as no error at all


@pytest.mark.slow
def test_errors_are_those_stored() -> None:
    stored, rows = laws.read(), verify.run(verify.Config())
    assert [row["law"] for row in rows] == list(stored)
    assert [row["law"] for row in rows if not row["passed"]] == []
    grown = {
        row["law"]: (row["error"], stored[row["law"]])
        for row in rows
        if row["error"] > GROWTH * stored[row["law"]] + FLOOR
    }
    assert grown == {}
