"""The report of a flow: clocks, integrals, error meter and ending."""

import dataclasses

import jax
from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax._types import PyTree

# How a flow ends, by code. The first two are as planned.
ENDINGS = (
    "reached the last time",
    "stopped by an event",
    "failed: more than `max_steps` steps; allow more, or loosen the tolerances (a loss "
    "that is not smooth may have reached a sliding mode: steps shrink without end)",
    "failed: the step size collapsed; loosen the tolerances, or tighten them if they are "
    "above one, and look whether the loss is smooth there",
    "failed: the implicit solver's equations were not solved",
    "failed: the loss or its gradient is no longer finite",
    "failed: sliding mode of a non-smooth loss: a residual of the l1 loss reached zero, "
    "where the gradient jumps and no step is accurate; use penalty='huber', or end before",
)
REACHED, STOPPED, TOO_MANY, COLLAPSED, UNSOLVED, NOT_FINITE, SLIDING = range(len(ENDINGS))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class FlowReport:
    """Records of a flow beside its trajectory: clocks, integrals, errors, its ending.

    Arc lengths, and natural times on the clock "arc", are integrated along with the flow;
    on other clocks than "arc" arc lengths were off by 3 to 30 times `rtol`.

    Attributes:
      positions: where the records were made, on the clock of the run.
      natural_times, arc_lengths: the same on these two clocks, from the start of the flow.
      reached: (K,) bool, whether the flow got there; False repeats the last state.
      ending: () int32, a code; `status` says it in words.
      integrals: what `integrate` asked for, integrated over natural time from the start to
        each record; None without.
      num_evaluations: () int32, gradients that the solver took, rejected steps included
        and the recording's own not; -1 for implicit solvers, which do not count them.
      num_steps, num_rejected: () int32, steps tried and steps thrown away.
      drift: (K,) how far the conserved quantities had moved from the start, over the
        largest squared norm of a trained vector: an error meter. NaN for parameters that
        are not `Factors`.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> _, trajectory = htf.gradient_flow(
      ...     jnp.ones(2), lambda x: x @ x, times=jnp.arange(3.0), rtol=1e-3, atol=0.0)
      >>> trajectory.report.status
      'reached the last time'
    """

    positions: jax.Array
    natural_times: jax.Array
    arc_lengths: jax.Array
    reached: jax.Array
    ending: jax.Array
    integrals: PyTree
    num_evaluations: jax.Array
    num_steps: jax.Array
    num_rejected: jax.Array
    drift: jax.Array

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Ending, clocks with their first and last number, and counts."""
        return _reprs.record(
            self,
            status=_status(self.ending),
            natural_times=_reprs.ends(self.natural_times),
            arc_lengths=_reprs.ends(self.arc_lengths),
            integrals=self.integrals,
            num_evaluations=self.num_evaluations,
            num_steps=self.num_steps,
            num_rejected=self.num_rejected,
            drift=_reprs.ends(self.drift),
        )

    @property
    def status(self) -> str:
        """Ending of the run in words (of one run, not under `vmap`).

        Raises:
          TypeError, ValueError: `ending` is not one of the codes.
        """
        code = _checks.at_least("ending", self.ending, 0)
        if code >= len(ENDINGS):
            raise ValueError(f"`ending={code}` must be from 0 to {len(ENDINGS) - 1}.")
        return ENDINGS[code]

    @property
    def failed(self) -> jax.Array:
        """Whether the solver gave up."""
        return self.ending > STOPPED


def _status(ending: object) -> object:
    """The ending in words, before any advice; the array of those of many runs."""
    code = _reprs.number(ending)
    return ending if code is None else ENDINGS[code].partition("; ")[0].partition(" (")[0]
