"""Trajectories as curves: what descent or a flow observed of a node, or of one array."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from htfjax import _checks
from htfjax.instruments.spectra import Spectrum
from htfjax.motion.trajectory import Trajectory
from htfjax.plot.curves import LABELS, Curves, Wanted, chosen, spelled

SINGULAR_VALUE = "singular_value"
LOCAL_COMPONENT_NORM = "local_component_norm"
UNKNOWN = "observed"  # label of records of which nothing says what they are
# Of every run, as files of results name them.
OWN = {
    "loss": "losses", "grad_norm": "grad_norms", "step_length": "step_lengths",
    "chord": "chords", "duration": "durations",
}  # fmt: skip


def from_trajectory(trajectory: Trajectory, wanted: Wanted, *, runs: bool) -> Curves:
    """The curves of a trajectory.

    Args:
      runs: whether it holds many runs, on an axis before that of records.

    Raises:
      TypeError: traced records. ValueError: no such quantity or node, arrays of other axes.
    """
    shape = np.shape(_checks.seen("source.steps", trajectory.steps))
    if len(shape) != 1 + runs:
        raise ValueError(_wrong_axes(shape, runs))
    records, name = _quantity(trajectory, wanted)
    found, where = _placed(records, wanted)
    found = found.values if isinstance(found, Spectrum) else found
    values = np.asarray(_checks.seen(f"source.{name or UNKNOWN}", found), np.float64)
    if name is None:
        name = _guessed(records, values, len(shape), wanted)
    if values.ndim == len(shape):
        values = values[..., None]
    if values.shape[:-1] != shape:
        raise ValueError(
            f"`source` holds a {name} of shape {values.shape}; curves need one list of "
            f"numbers for each record, {(*shape, 'n')}."
        )
    x, label = _positions(trajectory, wanted)
    numbers = tuple(range(wanted.first, wanted.first + values.shape[-1]))
    return Curves(x, values, numbers, label, spelled(name) + where)


def _wrong_axes(shape: tuple[int, ...], runs: bool) -> str:
    if runs:
        return (
            f"`source` holds one run (`steps` of shape {shape}); a band needs many, of "
            "`jax.vmap`, on an axis before the records."
        )
    return (
        f"`source` holds many runs (`steps` of shape {shape}); take one by "
        "`jax.tree.map(lambda x: x[0], source)`, or draw `htfjax.plot.bands`."
    )


def _quantity(trajectory: Trajectory, wanted: Wanted) -> tuple[Any, str | None]:
    """The records of the quantity, and its name; None where nothing names it."""
    observed: Any = trajectory.observed
    named = _named(observed)
    if wanted.quantity in OWN and wanted.quantity not in (named or ()):
        return getattr(trajectory, OWN[wanted.quantity]), str(wanted.quantity)
    if observed is None or named == {}:
        raise ValueError(
            "`source` observed nothing; give `observe=htfjax.local_component_norms`, or "
            f"another function, to the descent, or draw `quantity` of {[*OWN]}."
        )
    if named is not None:
        only = next(iter(named)) if len(named) == 1 and wanted.quantity is None else None
        name = only or chosen(wanted, [*named, *OWN], "`source.observed`")
        return named[name], name
    if wanted.quantity not in (None, *wanted.defaults):
        chosen(wanted, (*wanted.defaults, *OWN), "`source`")
    return observed, wanted.quantity


def _guessed(records: object, values: np.ndarray, axes: int, wanted: Wanted) -> str:
    """What records without a name are, if the plot is of that; else "observed".

    Norms come as a list for each node, singular values as one list, which descends.
    """
    by_node = isinstance(records, Mapping)
    one = next(iter(records.values()), None) if by_node else records
    if isinstance(one, Spectrum):
        return SINGULAR_VALUE
    name = LOCAL_COMPONENT_NORM if by_node else SINGULAR_VALUE
    with np.errstate(invalid="ignore"):  # infinities of runs that diverged
        like = values.ndim > axes and not np.any(values < 0)
        if not by_node:
            like = like and not np.any(np.diff(values, axis=-1) > 0)
    return name if like and name in wanted.defaults else UNKNOWN


def _named(observed: Any) -> dict[str, Any] | None:
    """What was observed by name; None where it has no names."""
    if hasattr(observed, "_asdict") and not isinstance(observed, Spectrum):
        return observed._asdict()
    if not isinstance(observed, Mapping):
        return None
    entries: dict[Any, Any] = dict(observed)
    return entries if all(isinstance(name, str) for name in entries) else None


def _placed(found: Any, wanted: Wanted) -> tuple[Any, str]:
    """The records of one node where there is one for each, and the node for the label."""
    place, name = wanted.place, wanted.place_name
    if not isinstance(found, Mapping):
        if place is not None:
            raise ValueError(
                f"`{name}={_checks.spell(place)}`, but `source` observed one array and no "
                "mapping from nodes."
            )
        return found, ""
    nodes = sorted(found)
    if not nodes:
        raise ValueError("`source` is empty: it observed a mapping without nodes.")
    if place is None:
        place = nodes[-1]
    if place not in nodes:
        raise ValueError(
            f"`{name}={_checks.spell(place)}` is none of the nodes that `source` observed: "
            f"{nodes}."
        )
    return found[place], f", node {place}"


def _positions(trajectory: Trajectory, wanted: Wanted) -> tuple[np.ndarray, str]:
    """Positions (K,) and their label; the first run's where all are at the same ones."""
    flow = trajectory.report is not None
    against = wanted.against or ("time" if flow else "step")
    fields = {
        "step": trajectory.steps,
        "path_length": trajectory.path_lengths,
        "time": trajectory.times,
    }
    x = np.asarray(_checks.seen(f"source.{against}", fields[against]), np.float64)
    label = "record" if flow and against == "step" else LABELS[against]
    if x.ndim == 1:
        return x, label
    if np.array_equal(x, np.broadcast_to(x[:1], x.shape)):
        return x[0], label
    return np.arange(x.shape[1], dtype=np.float64), "record"
