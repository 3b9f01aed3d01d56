"""One run as a pytree, made from its setting and seed by one compiled function."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from htfjax.contraction.rates import Rates, device_rates
from htfjax.descent import DescentState, continue_descent
from htfjax.ensemble.grid import float_fields
from htfjax.trajectory import Trajectory

__all__ = ["SCALARS", "Lane", "advance_lane", "lane_shapes", "make_lane"]

# What every descent records of itself.
SCALARS = ("loss", "grad_norm", "step_length", "chord", "duration")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Lane:
    """One descent, ready to start: a pytree, so that many can be stacked.

    Attributes:
      state: from `start_descent`. Hyperparameters that vary belong into the optimizer's
        state (`optax.inject_hyperparams`).
      loss: a loss that is a pytree; a plain function goes into `jax.tree_util.Partial`.
      observe: a pytree callable on the parameters that returns named arrays, or None.
      key: for random losses, as in `continue_descent`.
      optimizer: the transformation, the same object for all lanes of one kind.
      dims: names of the axes of observed arrays, pairs such as ("norm", ("component",)).
      coords: labels along such axes, pairs such as ("modes", ("0,1", "0,2")).

    Example: see `make_lane`.
    """

    state: DescentState
    loss: Any
    observe: Any
    key: jax.Array | None
    optimizer: Any = dataclasses.field(metadata={"static": True})
    dims: tuple = dataclasses.field(default=(), metadata={"static": True})
    coords: tuple = dataclasses.field(default=(), metadata={"static": True})


Build = Callable[[Any, jax.Array, Rates], Lane]


def make_lane(build: Build, setting: Any, seed: int, rates: Rates | None = None) -> Lane:
    """The run that an ensemble makes of a setting and a seed.

    A lane of an ensemble equals, bit for bit, this lane run by `continue_descent`.

    Args:
      build: traceable function (setting, key, rates) -> `Lane`, such as
        `completion_lane`; float fields of the setting are traced, so that they can vary
        inside one program.
      setting: a frozen dataclass.
      seed: becomes the key.
      rates: device rates that contraction plans are made with; by default measured.

    Raises:
      TypeError: `build` returns something else.

    Example:
      >>> import htfjax as htf
      >>> setting = htf.ensemble.Completion(mode_dims=3, widths=4, observed=30)
      >>> lane = htf.ensemble.make_lane(htf.ensemble.completion_lane, setting, 0)
      >>> isinstance(lane, Lane), lane.state.params.weights[0].shape
      (True, (3, 4))
    """
    names = float_fields(setting)
    numbers = {name: getattr(setting, name) for name in names}
    static = dataclasses.replace(setting, **dict.fromkeys(names, 0.0))
    program = _builder(build, static, rates or device_rates())
    lane = program(numbers, jax.random.key(seed))
    if not isinstance(lane, Lane):
        raise TypeError(f"`build` must return a Lane, got {type(lane).__name__}.")
    return lane


def lane_shapes(build: Build, setting: Any, rates: Rates) -> Lane:
    """The lane of a setting with shapes in place of arrays."""
    names = float_fields(setting)
    numbers = {name: getattr(setting, name) for name in names}
    static = dataclasses.replace(setting, **dict.fromkeys(names, 0.0))
    key = jax.eval_shape(jax.random.key, 0)
    return jax.eval_shape(_builder(build, static, rates), numbers, key)


@functools.lru_cache(maxsize=512)
def _builder(build: Build, static: Any, rates: Rates) -> Any:
    def make(numbers: dict[str, Any], key: jax.Array) -> Lane:
        return build(dataclasses.replace(static, **numbers), key, rates)

    return jax.jit(make)


def advance_lane(
    state: DescentState, lane: Lane, names: tuple[str, ...], num_steps: int, every: int
) -> tuple[DescentState, dict[str, jax.Array]]:
    """A chunk of one lane: the state after it, and (records, ...) arrays by name."""
    wanted = tuple(name for name in names if name not in SCALARS)
    observe: Any = None
    if lane.observe is not None and wanted:
        see = lane.observe

        def chosen(params: Any) -> dict[str, jax.Array]:
            seen = see(params)
            return {name: seen[name] for name in wanted}

        observe = chosen

    state, piece = continue_descent(
        state,
        lane.loss,
        lane.optimizer,
        num_steps=num_steps,
        record_every=every,
        observe=observe,
        key=lane.key,
    )
    return state, {name: _field(piece, name) for name in names}


def _field(piece: Trajectory, name: str) -> jax.Array:
    own = {
        "loss": piece.losses,
        "grad_norm": piece.grad_norms,
        "step_length": piece.step_lengths,
        "chord": piece.chords,
        "duration": piece.durations,
    }
    found = own[name] if name in own else piece.observed[name]
    if np.issubdtype(found.dtype, np.integer):
        return found.astype(piece.losses.dtype)
    return found
