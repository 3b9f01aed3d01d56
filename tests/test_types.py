"""Annotations of public functions hold where the functions are called."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array, Float, TypeCheckError

import htfjax as htf
from tests.guards import typed

ROOT = Path(__file__).parent.parent
ROOMS = ("factors", "contraction", "instruments", "losses", "theory", "motion")


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--all",)], ids=["core", "all"])
def test_no_annotation_is_violated(options: tuple[str, ...]) -> None:
    """In a process of its own, as public functions are replaced by checked ones."""
    command = [sys.executable, "-m", "tests.guards.typed", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert re.match(r"\d\d+ calls, 0 violations$", done.stdout.strip()), (
        done.stdout + done.stderr
    )


def test_a_wrong_shape_is_seen() -> None:
    matrix = htf.identity_factors(htf.flat(2), (2, 3), 2, 1.0, root="ones")

    def square(factors: htf.Factors) -> Float[Array, "D D"]:
        return htf.end_tensor(factors)

    def rectangular(factors: htf.Factors) -> Float[Array, "D_0 D_1"]:
        return htf.end_tensor(factors)

    assert typed.checked(rectangular)(matrix).shape == (2, 3)
    with pytest.raises(TypeCheckError, match="square"):
        typed.checked(square)(matrix)
    with pytest.raises(TypeCheckError, match="rectangular"):
        typed.checked(rectangular)(jnp.ones((2, 3)))


def says_nothing(annotation: object) -> bool:
    """Whether there is an array of no particular shape, or anything, in an annotation."""
    return annotation in (jax.Array, Any) or any(map(says_nothing, get_args(annotation)))


def test_public_functions_say_which_shapes_they_return() -> None:
    silent = [
        f"{function.__module__}.{name}"
        for _, name, function in typed.public_functions()
        if function.__module__.startswith(tuple(f"htfjax.{room}." for room in ROOMS))
        and says_nothing(function.__annotations__["return"])
    ]
    assert silent == []
