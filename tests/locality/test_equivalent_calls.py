"""Equal calls of `htfjax.locality`: the same values in whatever form a user has them."""

from typing import Any

import jax
import numpy as np
import pytest

from tests.fuzz.kinds_locality import CALLS
from tests.fuzz.kinds_tasks import FILE_CALLS

QUICK = [name for name, call in CALLS.items() if name not in FILE_CALLS and not call.slow]


def assert_equal(found: Any, wanted: Any, exact: bool) -> None:
    """Equal structure and numbers, to 1e-6 where the form has another dtype."""
    found, wanted = jax.tree.leaves(found), jax.tree.leaves(wanted)
    assert len(found) == len(wanted)
    pair: tuple[Any, Any]
    for pair in zip(found, wanted, strict=True):
        if isinstance(pair[1], jax.Array | np.ndarray | np.generic | float | int):
            np.testing.assert_allclose(*pair, rtol=0 if exact else 1e-6)
        else:
            assert pair[0] == pair[1]


@pytest.mark.parametrize("name", QUICK)
def test_equal_forms_have_equal_results(name: str) -> None:
    """Lists, NumPy, pandas, jax; bytes, other byte orders and precisions."""
    call = CALLS[name]
    wanted, given, faults = call(), call.arguments(), []
    for parameter, kind in call.kinds.items():
        if given.get(parameter) is None:
            continue
        for form in kind.equal:
            try:
                found = call(**{parameter: form.make(given[parameter])})
                assert_equal(found, wanted, form.exact)
            except Exception as error:
                faults.append(f"{parameter} as {form.label}: {error}")
    assert not faults, "\n" + "\n".join(fault[:300] for fault in faults)
