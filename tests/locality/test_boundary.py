"""Wrong calls of `htfjax.locality`, each answered by an error that names the argument."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import inspect
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from htfjax import locality
from htfjax.locality import Patch
from tests.fuzz.kinds_locality import CALLS, FILE_CALLS, NOT_CALLED, names_parameter

X = np.random.default_rng(0).normal(size=(4, 6, 6, 1))
P, Q = Patch(0, 0, 2, 2), Patch(3, 3, 2, 2)


def one_logit(x: jax.Array) -> jax.Array:
    """A function that couples all pixels."""
    return jnp.sum(jnp.sin(x + jnp.sum(x, axis=(1, 2, 3), keepdims=True)), axis=(1, 2, 3))


def test_every_public_name_has_its_kinds() -> None:
    """Every function and class, and each of their parameters, or a reason."""
    called = {re.split(r"[ .]", name)[0] for name in CALLS}
    public = {n for n, value in vars(locality).items()
              if not n.startswith("_") and callable(value)}  # fmt: skip
    assert public <= called | set(NOT_CALLED)
    assert set(NOT_CALLED) <= public
    for name, call in CALLS.items():
        assert set(call.arguments()) == set(call.kinds) - {"colour"}, name
        parameters = inspect.signature(call.function).parameters.values()
        wanted = {p.name for p in parameters if p.kind != p.VAR_KEYWORD}
        if name not in FILE_CALLS and "**" not in str(inspect.signature(call.function)):
            assert wanted == set(call.kinds), name


@pytest.mark.parametrize("name", [name for name in CALLS if name not in FILE_CALLS])
def test_wrong_values_are_named(name: str) -> None:
    """Every wrong value of every parameter: TypeError or ValueError, in backticks."""
    call, faults = CALLS[name], []
    for parameter, kind in call.kinds.items():
        for wrong in kind.wrong:
            value = wrong.make(call.arguments().get(parameter))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    call(**{parameter: value})
            except wrong.kinds as error:
                if names_parameter(str(error), parameter, wrong):
                    continue
                faults.append(f"{parameter}={wrong.label}: {type(error).__name__} {error}")
            except Exception as error:
                faults.append(f"{parameter}={wrong.label}: {type(error).__name__} {error}")
            else:
                faults.append(f"{parameter}={wrong.label}: answered")
    assert not faults, "\n" + "\n".join(fault[:200] for fault in faults)
