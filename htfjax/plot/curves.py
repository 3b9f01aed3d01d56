"""Curves of a quantity over steps, path length or time, read off records of runs."""

import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeGuard

import numpy as np

from htfjax import _checks

Against = Literal["step", "path_length", "time"]
LABELS: dict[str, str] = {"step": "step", "path_length": "path length", "time": "time"}
# A node by its id or its modes, or a set of modes.
Place = int | str | Sequence[int] | None


class Curves(NamedTuple):
    """Curves over one axis of positions.

    Example:
      >>> Curves(np.arange(2), np.ones((2, 1)), (0,), "step", "loss").names
      (0,)
    """

    x: np.ndarray  # (K,)
    values: np.ndarray  # (K, n), or (runs, K, n)
    names: tuple[Any, ...]  # n numbers or labels
    x_label: str
    y_label: str


class Wanted(NamedTuple):
    """What a plot asks for, checked.

    Example:
      >>> Wanted(("singular_value",), 1, "modes", None, None, "step").first
      1
    """

    defaults: tuple[str, ...]  # quantities, the best first
    first: int  # number of the first curve, where curves have no labels
    place_name: str  # parameter that says which node or modes
    quantity: str | None
    place: Place
    against: str | None


def wanted(
    defaults: tuple[str, ...], first: int, place_name: str, *, quantity: object,
    place: object, against: object = None,
) -> Wanted:  # fmt: skip
    """The options that plots share, checked.

    Raises:
      TypeError, ValueError: a quantity that is not a name, a place that is neither a number
        nor modes, another axis.
    """
    if quantity is not None and not isinstance(quantity, str):
        raise TypeError(
            f"`quantity` must be the name of a quantity, got {_checks.spell(quantity)}."
        )
    known: Any = place
    if place is not None and not isinstance(place, str):
        if not isinstance(place, Sequence | np.ndarray) or np.ndim(known) == 0:
            known = _checks.at_least(place_name, place, 0)
        else:
            listed = _checks.sequence(place_name, place, "modes")
            known = tuple(_checks.at_least(place_name, mode, 0) for mode in listed)
    if against is not None:
        against = _checks.one_of("against", against, tuple(LABELS))
    return Wanted(defaults, first, place_name, quantity, known, against)


def is_dataset(source: object) -> TypeGuard[Any]:
    """Whether an object is an xarray Dataset, without importing xarray.

    Example:
      >>> is_dataset({})
      False
    """
    xarray = sys.modules.get("xarray")
    return xarray is not None and isinstance(source, xarray.Dataset)


def chosen(wanted: Wanted, known: Iterable[Any], where: str) -> str:
    """The name of the quantity to draw: the one asked for, or the first default there is.

    Raises:
      ValueError: no such quantity; the nearest name is suggested.

    Example:
      >>> ask = Wanted(("singular_value",), 1, "modes", "singular_vale", None, None)
      >>> chosen(ask, ["loss", "singular_value"], "`source`")
      Traceback (most recent call last):
      ValueError: `quantity='singular_vale'` is not in `source`; did you mean \
'singular_value'?
    """
    names = [str(name) for name in known]
    if wanted.quantity is None:
        for name in wanted.defaults:
            if name in names:
                return name
        raise ValueError(
            f"`source` has no {' or '.join(map(repr, wanted.defaults))}; choose one of "
            f"{names} by `quantity`."
        )
    if wanted.quantity not in names:
        close = difflib.get_close_matches(wanted.quantity, names, 1, 0.4)
        advice = f"did you mean {close[0]!r}?" if close else f"there are {names}."
        raise ValueError(f"`quantity={wanted.quantity!r}` is not in {where}; {advice}")
    return wanted.quantity


def spelled(name: str) -> str:
    """A quantity as an axis says it.

    Example:
      >>> spelled("train_mse"), spelled("local_component_norm")
      ('train MSE', 'local component norm')
    """
    return name.replace("_", " ").replace("mse", "MSE")


def as_modes(place: str | Sequence[int]) -> str:
    """Modes as results label them.

    Example:
      >>> as_modes((0, 1)), as_modes("0,1")
      ('0,1', '0,1')
    """
    return place if isinstance(place, str) else ",".join(map(str, place))


def with_values(curves: Curves) -> Curves:
    """The curves that hold a number; others are padding of smaller nodes.

    Raises:
      ValueError: no records, no curves, or nothing but NaN.
    """
    if not curves.values.size:
        raise ValueError(
            f"`source` is empty: {curves.y_label} has shape {curves.values.shape}."
        )
    axes = tuple(range(curves.values.ndim - 1))
    keep = np.atleast_1d(np.isfinite(curves.values).any(axis=axes))
    if not keep.any():
        raise ValueError(
            f"`source` has no finite {curves.y_label}: every record is NaN or infinite, so "
            "that there is nothing to draw. Did the run diverge, or not begin yet?"
        )
    if not np.isfinite(curves.x).any():
        raise ValueError(f"`source` has no finite {curves.x_label} to draw against.")
    names = tuple(name for name, good in zip(curves.names, keep, strict=True) if good)
    return curves._replace(values=curves.values[..., keep], names=names)


def last_values(values: np.ndarray) -> np.ndarray:
    """The last finite value along the axis of records, (..., K, n) -> (..., n).

    Example:
      >>> last_values(np.array([[1.0, 2.0], [3.0, np.nan]])).tolist()
      [3.0, 2.0]
    """
    return held(values)[..., -1, :]


def held(values: np.ndarray) -> np.ndarray:
    """Records (..., K, n) in which what is not finite is the last that was.

    Example:
      >>> held(np.array([[1.0], [np.nan], [2.0], [np.nan]]))[:, 0].tolist()
      [1.0, 1.0, 2.0, 2.0]
    """
    places = np.arange(values.shape[-2])[:, None]
    last = np.maximum.accumulate(np.where(np.isfinite(values), places, 0), axis=-2)
    return np.take_along_axis(values, last, axis=-2)
