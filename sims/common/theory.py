"""Completions that the theory's simulations run, and their small parts."""

from typing import Any, NamedTuple

import jax
import numpy as np

import htfjax as htf

from .errors import SettingError

# Distinguishable in grey: dark to light, with a line style each.
STYLES = ("-", "--", "-.", ":")
COLOURS = ("#1b3a6b", "#b5541c", "#3c8d5a", "#8e6bb0", "#b8a100", "#888888")


class Problem(NamedTuple):
    """A target, the loss on some of its entries, and where a model starts."""

    target: jax.Array
    loss: Any
    start: htf.Factors


def completion(keys: Any, *, dim: int, observed: int, **fields: Any) -> Problem:
    """A completion of order 4 in double precision.

    Args:
      keys: of target and observations, and of the start.
      dim: of every mode.
      observed: number of entries.
      fields: others of `htfjax.problems.Completion`.

    Raises:
      SettingError: more observations than there are entries.
    """
    if observed > dim**4:
        raise SettingError(
            f"`--dim {dim}` gives {dim**4} entries, and {observed} are to be observed; "
            "use a larger `--dim`, or observe fewer."
        )
    setting = htf.problems.Completion(
        mode_dims=dim, observed=observed, dtype="float64", **fields
    )
    target_key, observations_key = jax.random.split(keys[0], 2)
    factors = setting.target_factors(target_key)
    # Scaled before it is contracted, unlike `setting.target`: the steps of a flow at a
    # tight tolerance depend on the last digit.
    target = htf.end_tensor(htf.theory.normalize(factors, setting.target_norm))
    loss = setting.loss(target, setting.indices(observations_key))
    return Problem(target, loss, setting.start(keys[1]))


def check_given(option: str, values: tuple[Any, ...]) -> None:
    """An option of several values has at least one.

    Raises:
      SettingError: none.
    """
    if not values:
        raise SettingError(f"`--{option}` is empty; give at least one value.")


def share_crossings(positions: Any, values: Any, share: float = 0.1) -> np.ndarray:
    """Where each quantity last rises above `share` of its final value, interpolated.

    NaN for quantities that end below a hundredth of the largest.
    """
    y = np.abs(np.asarray(values, float))
    levels = np.where(y[-1] > 1e-2 * y[-1].max(), share * y[-1], np.nan)
    return htf.crossings(positions, y, levels)


def interpolated_loss(losses: Any, values: Any) -> np.ndarray:
    """Training loss at each take-off, interpolated in its logarithm."""
    return np.exp(share_crossings(np.log(np.asarray(losses, float)), values))


def top_singular_values(count: int, modes: tuple[int, ...]) -> Any:
    """An observer of the largest singular values of one matricization."""

    def observe(factors: htf.Factors) -> jax.Array:
        return htf.singular_values(factors, modes)[:count]

    return observe


def finite(values: Any) -> Any:
    """Numbers for JSON: NaN becomes None."""
    array = np.asarray(values, float)
    return [None if not np.isfinite(x) else float(x) for x in array.ravel()]
