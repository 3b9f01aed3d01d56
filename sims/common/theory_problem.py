"""Completion problem of the theory's simulations, and their small parts."""

import dataclasses
from typing import Any

import jax
import numpy as np

import htfjax as htf

from ..figures.dynamics import save as save_figure
from .errors import SettingError

# Distinguishable in grey: dark to light, with a line style each.
STYLES = ("-", "--", "-.", ":")
GREYS = ("0.0", "0.3", "0.5", "0.65")
COLOURS = ("#1b3a6b", "#b5541c", "#3c8d5a", "#8e6bb0", "#b8a100", "#888888")


@dataclasses.dataclass(frozen=True)
class Completion:
    """A target on a tree, some of its entries, and the loss of any factors on them."""

    target: jax.Array
    loss: Any
    indices: np.ndarray


def completion(
    key: jax.Array,
    target_tree: htf.ModeTree,
    model_tree: htf.ModeTree,
    dim: int,
    rank: int,
    norm: float,
    observed: int,
) -> Completion:
    """Entries of a Gaussian low-rank target, for factors on `model_tree`.

    Raises:
      SettingError: more observations than there are entries.
    """
    entries = dim**target_tree.order
    if observed > entries:
        raise SettingError(
            f"`--dim {dim}` gives {entries} entries, and {observed} are to be observed; "
            "use a larger `--dim`, or observe fewer."
        )
    keys = jax.random.split(key, 2)
    factors = htf.gaussian_factors(keys[0], target_tree, dim, rank, 1.0)
    target = htf.end_tensor(htf.theory.normalize(factors, norm))
    order = target_tree.order
    indices = np.asarray(htf.random_indices(keys[1], dim, observed, order=order))
    values = target[tuple(indices.T)]
    loss = htf.completion_loss(model_tree, dim, indices, values)
    return Completion(target, loss, indices)


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


__all__ = [
    "COLOURS",
    "GREYS",
    "STYLES",
    "Completion",
    "check_given",
    "completion",
    "finite",
    "interpolated_loss",
    "save_figure",
    "share_crossings",
    "top_singular_values",
]
