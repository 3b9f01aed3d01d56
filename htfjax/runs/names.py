"""Names and shapes of records: what results could not hold is refused before runs begin."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from htfjax import _checks
from htfjax.runs.lanes import SCALARS, Lane
from htfjax.runs.store import Quantities

# Coordinates of every dataset.
COORDINATES = ("seed", "step", "steps", "status", "stop_step", "slow_steps")
# A file on every system, none of zarr's own.
FILE = re.compile(r"(?!__|zarr\.json$)\w[\w .,+=()-]*")


def check_observed(observed: object) -> dict[str, Any]:
    """Observed quantities, shapes in place of arrays, each of which can be recorded.

    Raises:
      TypeError: not named arrays of numbers. ValueError: a name that is taken, no entries.
    """
    if not isinstance(observed, dict):
        raise TypeError(
            f"`observe` must return named arrays, got {type(observed).__name__}."
        )
    for name, x in observed.items():
        if not isinstance(name, str) or not FILE.fullmatch(name):
            raise ValueError(
                f"`observe` returns {name!r}, which cannot be the name of a file; use "
                "letters, digits and `_`."
            )
        if name in (*SCALARS, *COORDINATES):
            raise ValueError(
                f"`observe` returns `{name}`, which every run has of its own; use another "
                "name."
            )
        if getattr(getattr(x, "dtype", None), "kind", "V") not in "biufc":
            raise TypeError(
                f"`observe` returns `{name}={_checks.spell(x)}`, which is not an array of "
                "numbers that files hold; give each array a name of its own, and cast "
                "others, such as bfloat16, to float32."
            )
        if 0 in x.shape:
            raise ValueError(
                f"`observe` returns `{name}` of shape {x.shape}, which has no entries; "
                "leave it out."
            )
    return observed


def check_names(axes: Sequence[str], recorded: Sequence[tuple[Lane, Quantities]]) -> None:
    """Checks that one dataset can hold the axes of a grid and what its programs record.

    Raises:
      ValueError: a name that is used twice, dims or coords that do not fit arrays.
    """
    own = dict.fromkeys(name for _, quantities in recorded for name in quantities)
    for name in axes:
        if name in own or name in COORDINATES:
            what = "a recorded quantity" if name in own else "a coordinate of all results"
            raise ValueError(f"axis `{name}` has the name of {what}; rename the field.")
    indices = {f"{name}_index" for name in axes}
    taken = {*own, *COORDINATES, *axes, "run", *indices}
    for lane, quantities in recorded:
        _check_dims(quantities, taken)
        _check_coords(lane, quantities, taken)
    shown = {f"{name}_label" for lane, _ in recorded for name, _ in lane.coords}
    hidden = [name for name in own if name in shown | indices]
    if hidden:
        raise ValueError(
            f"`observe` returns `{hidden[0]}`, the name of labels; use another name."
        )
    _check_sizes(recorded)


def _check_dims(quantities: Quantities, taken: set[str]) -> None:
    for name, (shape, _, dims) in quantities.items():
        if len(dims) != len(shape) or len(set(dims)) != len(dims):
            raise ValueError(
                f"`build.dims` names {dims} for `{name}` of shape {shape}; give one name "
                "per axis, each once."
            )
        for dim in dims:
            if dim in taken:
                raise ValueError(
                    f"`build.dims` names an axis of `{name}` `{dim}`, which is taken; use "
                    "another name."
                )


def _check_coords(lane: Lane, quantities: Quantities, taken: set[str]) -> None:
    named, sizes = dict(lane.dims), dict(_sizes(quantities))
    for name, values in lane.coords:
        along = named.get(name, (name,))
        if name in taken or len(along) != 1 or (name in sizes and along != (name,)):
            raise ValueError(
                f"`build.coords` names `{name}` along {along}; it must be one axis, and a "
                "name that nothing else has."
            )
        if len(values) != sizes.get(along[0], len(values)):
            raise ValueError(
                f"`build.coords` gives {len(values)} labels `{name}`, but the axis "
                f"`{along[0]}` has {sizes[along[0]]} entries; give one label for each."
            )


def _sizes(quantities: Quantities) -> Iterator[tuple[str, int]]:
    for shape, _, dims in quantities.values():
        yield from zip(dims, shape, strict=True)


def _check_sizes(recorded: Sequence[tuple[Lane, Quantities]]) -> None:
    """An axis is as long in all quantities, at its longest of all settings."""
    dims_of: dict[str, tuple[str, ...]] = {}
    longest: dict[str, dict[str, int]] = {}
    for _, quantities in recorded:
        for name, (shape, _, dims) in quantities.items():
            if dims_of.setdefault(name, dims) != dims:
                raise ValueError(
                    f"`build.dims` names {dims} for `{name}`, {dims_of[name]} for another "
                    "setting; give one name for both, or run them into two folders."
                )
            for dim, size in zip(dims, shape, strict=True):
                found = longest.setdefault(dim, {})
                found[name] = max(size, found.get(name, 0))
    for dim, found in longest.items():
        if len(set(found.values())) > 1:
            raise ValueError(
                f"`build.dims` names axes of several lengths `{dim}`: {found}; use a name "
                "for each length."
            )
