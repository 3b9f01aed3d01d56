"""A grid of runs as pure data: one setting, seeds, and named axes that vary it."""

import dataclasses
import itertools
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Grid", "Run"]


class Run(typing.NamedTuple):
    """One run of a grid: where it stands on the axes, and its seed."""

    point: tuple[Any, ...]  # one value an axis
    seed: int


@dataclasses.dataclass(frozen=True)
class Grid:
    """Seeds x axes: every combination is one run of `base` with some fields replaced.

    Fields whose type is `float` only change arrays: runs that differ in nothing else share
    one compiled program. All other fields (widths, tree, ...) may change shapes.

    Attributes:
      base: a frozen dataclass that says what a single run is, such as `Completion`.
      seeds: whole numbers, each once.
      axes: pairs of a field of `base` and its values; a mapping is accepted too.

    Raises:
      TypeError: `base` is no frozen dataclass, seeds that are no whole numbers, a value of
        another type than the field has.
      ValueError: an axis that is no field of `base`, no values, a value twice, no seeds.

    Example:
      >>> import htfjax as htf
      >>> grid = htf.ensemble.Grid(
      ...     htf.ensemble.Completion(), seeds=range(2), axes={"init_std": (0.02, 0.03)})
      >>> len(grid.runs()), grid.runs()[3], grid.array_axes
      (4, Run(point=(0.03,), seed=1), ('init_std',))
    """

    base: Any
    seeds: Sequence[int]
    axes: Any = ()

    def __post_init__(self) -> None:
        if not dataclasses.is_dataclass(self.base) or isinstance(self.base, type):
            raise TypeError(
                f"`base` must be an instance of a frozen dataclass, got {self.base!r}."
            )
        object.__setattr__(self, "seeds", _check_seeds(self.seeds))
        pairs = self.axes.items() if isinstance(self.axes, Mapping) else self.axes
        axes = tuple((name, _check_axis(self.base, name, v)) for name, v in pairs)
        names = [name for name, _ in axes]
        if len(names) != len(set(names)):
            raise ValueError(f"`axes` name one field twice: {names}.")
        object.__setattr__(self, "axes", axes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(name for name, _ in self.axes)

    @property
    def array_axes(self) -> tuple[str, ...]:
        """Axes that only change arrays: their runs share one program."""
        floats = float_fields(self.base)
        return tuple(name for name in self.names if name in floats)

    def runs(self) -> list[Run]:
        """Every run, seeds fastest."""
        points = itertools.product(*(values for _, values in self.axes))
        return [Run(point, seed) for point in points for seed in self.seeds]

    def setting(self, run: Run) -> Any:
        """The setting of one run."""
        changed = dict(zip(self.names, run.point, strict=True))
        return dataclasses.replace(self.base, **changed)

    def to_json(self) -> dict[str, Any]:
        """The grid as JSON values, without seeds: what a folder is compared by."""
        fields = {
            f.name: getattr(self.base, f.name)
            for f in dataclasses.fields(self.base)
            if f.name not in self.names
        }
        return json.loads(
            json.dumps(
                {"setting": type(self.base).__name__, **fields, "axes": dict(self.axes)},
                default=str,
            )
        )


def float_fields(base: Any) -> tuple[str, ...]:
    """Fields whose type is `float`: they are traced, whatever their value."""
    hints = typing.get_type_hints(type(base))
    return tuple(f.name for f in dataclasses.fields(base) if hints[f.name] is float)


def _check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, int) or not all(
        isinstance(s, int) and not isinstance(s, bool) for s in seeds
    ):
        raise TypeError(f"`seeds` must be whole numbers such as range(64), got {seeds!r}.")
    found = tuple(seeds)
    if not found:
        raise ValueError("`seeds` is empty: there is nothing to run.")
    if len(set(found)) != len(found) or min(found) < 0:
        raise ValueError(f"`seeds` must be distinct and not negative, got {found}.")
    return found


def _check_axis(base: Any, name: str, values: Any) -> tuple[Any, ...]:
    hints = typing.get_type_hints(type(base))
    known = [f.name for f in dataclasses.fields(base)]
    if name not in known:
        raise ValueError(
            f"axis `{name}` does not exist; {type(base).__name__} has {known}."
        )
    if isinstance(values, str) or not isinstance(values, Sequence | range):
        raise TypeError(f"axis `{name}` must be a list of values, got {values!r}.")
    if not len(values):
        raise ValueError(f"axis `{name}` has no values; give at least one or leave it out.")
    plain = tuple(map(_plain, values))
    for value in plain:
        if not _fits(value, hints[name]):
            raise TypeError(
                f"axis `{name}`: {value!r} has the wrong type, expected "
                f"{_spell(hints[name])}."
            )
    if len(set(map(repr, plain))) != len(plain):
        raise ValueError(f"axis `{name}` has a value twice: {plain}.")
    return tuple(float(v) for v in plain) if hints[name] is float else plain


def _plain(value: Any) -> Any:
    """Lists as tuples, NumPy scalars as Python's."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return (
        value.item() if hasattr(value, "item") and not hasattr(value, "nested") else value
    )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has the type that a field is annotated with."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is typing.Literal:
        return value in inside
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in inside)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(inside) == 2 and inside[1] is Ellipsis:
            return all(_fits(v, inside[0]) for v in value)
        return len(value) == len(inside) and all(map(_fits, value, inside))
    if hint in (float, int) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, hint if isinstance(hint, type) else origin or object)


def _spell(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
