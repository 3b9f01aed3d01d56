"""Platforms: choices that follow the device a program is lowered for."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from htfjax import _checks
from htfjax._types import PyTree

PLATFORMS = ("cpu", "cuda", "tpu")
Platform = Literal["cpu", "cuda", "gpu", "tpu"]

Choice = TypeVar("Choice")
Result = TypeVar("Result")


def check_platform(platform: object, advice: str = "") -> str:
    """One of `PLATFORMS`; "gpu", as CUDA devices call themselves, is "cuda".

    Raises:
      TypeError, ValueError: another one; `advice` says what else to give.
    """
    if isinstance(platform, str) and platform == "gpu":
        return "cuda"
    try:
        return _checks.one_of("platform", platform, PLATFORMS)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}{advice}") from None


def default_platform() -> str:
    """The platform of the device where jax puts arrays now (`jax.default_device`)."""
    with jax.ensure_compile_time_eval():
        platform = _platform_of(jnp.zeros(()))
    assert platform is not None
    return platform


def by_platform(
    choices: Mapping[str, Choice],
    run: Callable[..., Result],
    *operands: PyTree,
    platform: str | None = None,
) -> Result:
    """run(choice, *operands) with the choice for the platform it is lowered for.

    A jitted function is traced before its platform is known, and may be lowered for one
    that this machine does not have. So where choices differ every one is traced, as a
    branch of which lowering keeps one; where they are equal nothing but it is traced.
    Other accelerators than those known take the choice for "cuda".

    Args:
      choices: one for each of `PLATFORMS`, hashable; equal ones share a branch.
      run: the same shapes and dtypes for every choice.
      operands: pytrees of arrays.
      platform: takes the choice for it, whatever the program is lowered for.
    """
    if platform is not None:
        return run(choices[platform], *operands)
    branches = {choice: _branch(choices, run, choice) for choice in choices.values()}
    if len(branches) == 1:
        return run(choices["cpu"], *operands)
    other = choices["cuda"]
    own = {k: branches[choice] for k, choice in choices.items() if choice != other}
    return lax.platform_dependent(*operands, default=branches[other], **own)


def _branch(
    choices: Mapping[str, Choice], run: Callable[..., Result], choice: Choice
) -> Callable[..., Result]:
    def branch(*operands: PyTree) -> Result:
        # Unjitted, jax asks for the default device; arrays may be committed to another.
        here = _platform_of(operands)
        return run(choice if here is None else choices[here], *operands)

    return branch


def _platform_of(operands: PyTree) -> str | None:
    """Platform of the first array; None while tracing."""
    for x in jax.tree.leaves(operands):
        if isinstance(x, jax.Array):
            return (
                _nearest(next(iter(x.devices())).platform) if _checks.concrete(x) else None
            )
    return None


def _nearest(platform: str) -> str:
    return platform if platform in PLATFORMS else "cuda"
