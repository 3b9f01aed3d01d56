"""Trajectory of a descent or a flow: its records."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax._tables import table
from htfjax.motion.flow_report import FlowReport

if TYPE_CHECKING:
    import typing_extensions

Observed = TypeVar("Observed")
Report = TypeVar("Report", bound=FlowReport | None)
if TYPE_CHECKING:
    # Of functions that take `observe`: what it returns, None where there is none. Python
    # has defaults of type variables from 3.13 on.
    Observations = typing_extensions.TypeVar("Observations", default=None)
else:
    Observations = TypeVar("Observations")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory(Generic[Observed, Report]):
    """Records of a run: of descent at the start, every `record_every` steps and at the end,
    of a flow one per requested time.

    All arrays lead with the record axis; under `vmap` an axis of runs comes before it.

    The last record of a descent reads loss and gradient of the step that would come next;
    where steps hand something on (`Carrying`), it repeats those of the last step made, as
    another evaluation would compile a network's step twice.

    In a flow `steps` numbers the records, `step_lengths` are zero, and `times` and
    `path_lengths` count from the start of the flow, wherever the first record is. After
    an event or a failure the remaining records repeat the last state.

    Attributes:
      steps: number of updates made before the record, int32.
      losses: loss before the update of that step.
      observed: `observe(params)` before the update, stacked; None without `observe`.
      grad_norms: norm of the whole gradient before the update.
      step_lengths: norm of the update made at that step; 0 at the last record.
      chords: distance between the parameters of this record and the next, of a flow the
        length of its path between them; 0 at the last.
      durations: flow time between this record and the next, the sum of step length over
        gradient norm (the learning rate, for a method with one scalar step); 0 at the
        last.
      report: what only a flow has, a `FlowReport`; None for descent.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp, optax
      >>> _, trajectory = htf.descend(
      ...     jnp.ones(2), lambda x: x @ x, optax.sgd(0.25), num_steps=4, record_every=2)
      >>> trajectory.losses.tolist(), trajectory.times.tolist()
      ([2.0, 0.125, 0.0078125], [0.0, 0.5, 1.0])
    """

    steps: jax.Array
    losses: jax.Array
    observed: Observed
    grad_norms: jax.Array
    step_lengths: jax.Array
    chords: jax.Array
    durations: jax.Array
    report: Report

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """First and last step, loss and gradient norm, and what was observed."""
        shown = {name: _reprs.ends(getattr(self, name)) for name in SHOWN}
        return _reprs.record(self, **shown, observed=self.observed, report=self.report)

    def _repr_html_(self) -> str:
        """A table of records: array, first and last number."""
        return table(self, "Trajectory", ("records", "array", "first", "last"), _rows(self))

    @property
    def times(self) -> jax.Array:
        """Flow time at each record: of descent from 0, the sum of its durations."""
        if self.report is not None:
            return self.report.natural_times
        return _running_sum(self.durations)

    @property
    def path_lengths(self) -> jax.Array:
        """Length of the recorded path up to each record: the sum of its chords.

        Chords over many steps measure the path that descent zig-zags around; the sum of
        single step lengths exceeds it up to 3.4 times. A flow does not zig-zag; its path
        is measured along the arc.
        """
        if self.report is not None:
            return self.report.arc_lengths
        return _running_sum(self.chords)

    @property
    def finite(self) -> jax.Array:
        """Whether the loss was finite at each record."""
        return jnp.isfinite(self.losses)


SHOWN = ("steps", "losses", "grad_norms")


def _rows(trajectory: Trajectory[Any, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Name, array, first and last number of what is shown and of what was observed."""
    observed, _ = jax.tree_util.tree_flatten_with_path(trajectory.observed)
    named = [(name, getattr(trajectory, name)) for name in SHOWN]
    named += [(f"observed{jax.tree_util.keystr(path)}", x) for path, x in observed]
    for name, values in named:
        first, last = _reprs.ends_of(values) or ("", "")
        yield name, _reprs.text(values), first, last


def join(pieces: Sequence[Trajectory[Observed, None]]) -> Trajectory[Observed, None]:
    """Trajectories of consecutive chunks as one; equals that of an unbroken run.

    The last record of a piece is the first of the next one and is read from the latter,
    where it was computed inside the scan like all others.

    Raises:
      TypeError: not a list of trajectories.
      ValueError: no pieces, one that does not start where the previous one ended, or
        arrays of other lengths than `steps`.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> loss, sgd = lambda x: x @ x, htf.group_rmsprop(0.1)
      >>> state = htf.start_descent(jnp.ones(2), sgd)
      >>> pieces = []
      >>> for _ in range(2):
      ...     state, piece = htf.continue_descent(
      ...         state, loss, sgd, num_steps=4, record_every=2)
      ...     pieces.append(piece)
      >>> htf.join(pieces).steps.tolist()
      [0, 2, 4, 6, 8]
    """
    if not isinstance(pieces, Sequence):
        raise TypeError(f"`pieces` must be a list, got {_checks.spell(pieces)}.")
    if not pieces:
        raise ValueError("`pieces` is empty: nothing was recorded.")
    for i, piece in enumerate(pieces):
        _checks.instance(f"pieces[{i}]", piece, Trajectory, "`continue_descent` gives one")
        _check_piece(f"pieces[{i}]", piece)
        if jax.tree.structure(piece) != jax.tree.structure(pieces[0]):
            raise ValueError(f"`pieces[{i}]` has records of another kind than the first.")
    for before, after in itertools.pairwise(pieces):
        if int(before.steps[-1]) != int(after.steps[0]):
            raise ValueError(
                f"`pieces` do not follow each other: one ends at step "
                f"{int(before.steps[-1])}, the next starts at {int(after.steps[0])}."
            )
    heads = [jax.tree.map(lambda x: x[:-1], piece) for piece in pieces[:-1]]
    return jax.tree.map(lambda *xs: np.concatenate(xs), *heads, pieces[-1])


def _check_piece(name: str, piece: Trajectory[Any, Any]) -> None:
    """Records of descent, one number each."""
    if piece.report is not None:
        raise TypeError(
            f"`{name}` is the trajectory of a flow; only those of descent are joined, a "
            "flow records all its `times` in one run."
        )
    steps = _checks.integer_array(f"{name}.steps", piece.steps)
    _checks.shape(f"{name}.steps", steps, (None,), "(K,)")
    for field in ("losses", "grad_norms", "step_lengths", "chords", "durations"):
        values = _checks.real_array(f"{name}.{field}", getattr(piece, field))
        _checks.shape(f"{name}.{field}", values, steps.shape, "(K,)")
    for leaf in jax.tree.leaves(piece.observed):
        if np.shape(leaf)[:1] != steps.shape:
            raise ValueError(
                f"`{name}.observed` has an array of shape {np.shape(leaf)} for "
                f"{len(steps)} records."
            )


def _running_sum(increments: jax.Array) -> jax.Array:
    """Sum of all increments before each record."""
    total = jnp.cumsum(jnp.asarray(increments), axis=-1)
    return jnp.concatenate([jnp.zeros_like(total[..., :1]), total[..., :-1]], axis=-1)
