"""Marks on the cases of a parametrization."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def slow_unless(
    cases: Iterable[Any],
    fast: Container[Any],
    mark: pytest.MarkDecorator = pytest.mark.slow,
) -> list[Any]:
    """The cases, marked except the fast ones; a tuple is one value per argument."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if case in fast else mark,
        )
        for case in cases
    ]
