"""Equal calls of `htfjax.locality`: the same values in whatever form a user has them."""

from typing import Any

import jax
import numpy as np
import pytest

from tests.fuzz.kinds_locality import CALLS, FILE_CALLS

QUICK = [name for name, call in CALLS.items() if name not in FILE_CALLS and not call.slow]


def assert_equal(found: Any, wanted: Any, exact: bool) -> None:
    """Equal structure and numbers, to 1e-6 where the form has another dtype."""
    found, wanted = jax.tree.leaves(found), jax.tree.leaves(wanted)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        if isinstance(b, jax.Array | np.ndarray | np.generic | float | int):
            if hasattr(b, "dtype") and jax.dtypes.issubdtype(b.dtype, jax.dtypes.prng_key):
                a, b = jax.random.key_data(a), jax.random.key_data(b)
            np.testing.assert_allclose(a, b, rtol=0 if exact else 1e-6)
        else:
            assert a == b


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
