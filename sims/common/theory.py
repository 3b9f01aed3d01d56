"""Completions that the theory's simulations run, and their small parts."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import htfjax as htf

from .errors import SettingError
from .single import Asked, Job

# Distinguishable in grey: dark to light, with a line style each.
STYLES = ("-", "--", "-.", ":")
COLOURS = ("#1b3a6b", "#b5541c", "#3c8d5a", "#8e6bb0", "#8f7d00", "#888888")
# Of a descent, between looks at its end and at signals.
RECORDS_PER_CHUNK = 40


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


def arc_flow(
    start: htf.Factors,
    loss: Any,
    observe: Any,
    *,
    length: float,
    num: int,
    stop_loss: float,
    **options: Any,
) -> tuple[htf.Trajectory, int]:
    """A flow by arc length, and how many of its `num` records it reached.

    Raises:
      SettingError: the start is at `stop_loss` already.
    """
    if (at_start := float(loss(start))) <= stop_loss:
        raise SettingError(
            f"`--stop-loss {stop_loss:g}` is not below the loss at the start, "
            f"{at_start:.3g}, so that nothing would move; use a smaller one."
        )
    _, path = htf.gradient_flow(
        start, loss, times=np.linspace(0.0, length, num), atol=0.0, clock="arc",
        observe=observe, stop_loss=stop_loss, **options,
    )  # fmt: skip
    return path, int(np.sum(path.report.reached))


def descent(
    start: htf.Factors, loss: Any, optimizer: Any, observe: Any, *, num_steps: int,
    record_every: int, dims: tuple, coords: tuple = (), stop_loss: float | None = None,
) -> Job:  # fmt: skip
    """A descent that is a part: until `stop_loss`, or all its steps.

    Args:
      observe: parameters -> arrays by name.
      dims, coords: of these, as in `htfjax.runs.Lane`.

    Raises:
      ValueError: fewer than two steps.
    """
    if num_steps < 2:
        raise ValueError(f"`num_steps={num_steps}` must be at least 2.")
    lane = htf.runs.Lane(
        state=htf.start_descent(start, optimizer), loss=loss,
        observe=jax.tree_util.Partial(observe), key=None, optimizer=optimizer,
        dims=dims, coords=coords,
    )  # fmt: skip
    return Job(
        name="", setting=Asked(""), seed=0, lane=lane, num_steps=num_steps,
        record_every=record_every, chunk_steps=RECORDS_PER_CHUNK * record_every,
        tolerance=stop_loss, patience=0, watch="loss", headline=_headline,
    )  # fmt: skip


def _headline(dataset: xr.Dataset) -> str:
    return f"loss {float(dataset.loss[0, -1]):.2e}"


def path_lengths(part: xr.Dataset) -> np.ndarray:
    """Length of the recorded path up to each record of a descent."""
    # By jax, as the path lengths of a trajectory, for the same last digits.
    return np.append(0.0, jnp.cumsum(part.chord.values)[:-1])


def share_crossings(positions: Any, values: Any, share: float = 0.1) -> np.ndarray:
    """Positions at which each quantity last rises above `share` of its final value.

    Interpolated; NaN for quantities that end below a hundredth of the largest.
    """
    y = np.abs(np.asarray(values, float))
    levels = np.where(y[-1] > 1e-2 * y[-1].max(), share * y[-1], np.nan)
    return htf.crossings(positions, y, levels)


def interpolated_loss(losses: Any, values: Any) -> np.ndarray:
    """Training loss at each take-off, interpolated in its logarithm."""
    return np.exp(share_crossings(np.log(np.asarray(losses, float)), values))


@functools.cache  # the same function for all parts: a flow is compiled for its observer
def top_singular_values(count: int, modes: tuple[int, ...]) -> Any:
    """An observer of the largest singular values of one matricization."""

    def observe(factors: htf.Factors) -> jax.Array:
        return htf.singular_values(factors, modes)[:count]

    return observe


def finite(values: Any) -> Any:
    """Numbers for JSON: NaN becomes None."""
    array = np.asarray(values, float)
    return [None if not np.isfinite(x) else float(x) for x in array.ravel()]
