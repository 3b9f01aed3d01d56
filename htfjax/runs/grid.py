"""A grid of runs as pure data: one setting, seeds, and named axes that vary it."""

import dataclasses
import itertools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax._digests import array_digest
from htfjax._types import JsonObject
from htfjax.runs.identity import described, text
from htfjax.trees.mode_tree import TreeLike, as_tree

# Keys of jax are made of 32 bits where x64 is off; beyond, two seeds give one key.
SEEDS = 2**32
TAKEN = ("setting", "axes", "data")  # beside the fields, where a folder names its grid
TREES = typing.get_args(TreeLike)
# An instance of a frozen dataclass: whatever a `Build` makes a lane of.
Setting: TypeAlias = Any
Place: TypeAlias = tuple[int, ...]  # number of the value on every axis


class Run(typing.NamedTuple):
    """One run of a grid: its values on the axes, and its seed.

    Example:
      >>> import htfjax as htf
      >>> grid = htf.runs.Grid(
      ...     htf.problems.Completion(), seeds=range(2), axes={"init_std": (0.02, 0.03)})
      >>> grid.runs()[0]
      Run(point=(0.02,), seed=0)
    """

    point: tuple[object, ...]  # one value per axis
    seed: int


@dataclasses.dataclass(frozen=True)
class Grid:
    """Seeds x axes: every combination is one run of `base` with some fields replaced.

    Fields whose type is `float` only change arrays: runs that differ in nothing else share
    one compiled program. All other fields (widths, tree, ...) may change shapes.

    Attributes:
      base: a frozen dataclass that describes a single run, such as `Completion`.
      seeds: whole numbers from 0 to 2**32 - 1, each once; a list, range or array.
      axes: pairs of a field of `base` and its values (a list, tuple or array); a mapping
        is accepted too.
      data: arrays by name, the same for all runs, which `build` gets as its third
        argument: observations of one's own, for example. None: it gets none.

    Raises:
      TypeError: `base` is not a frozen dataclass, seeds that are not whole numbers, a field
        or value of another type than the field has.
      ValueError: an axis that is not a field of `base`, no values, a value twice, no seeds,
        a seed out of range, a setting that `base` itself refuses.

    Example:
      >>> import htfjax as htf
      >>> grid = htf.runs.Grid(
      ...     htf.problems.Completion(), seeds=range(2), axes={"init_std": (0.02, 0.03)})
      >>> len(grid.runs()), grid.runs()[3], grid.array_axes
      (4, Run(point=(0.03,), seed=1), ('init_std',))
    """

    base: Setting
    seeds: Sequence[int]
    axes: Any = ()
    data: Mapping[str, Any] | None = dataclasses.field(default=None, compare=False)
    _settings: Mapping[Place, Setting] = dataclasses.field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", check_data(self.data))
        base = check_setting("base", self.base)
        object.__setattr__(self, "base", base)
        taken = [f.name for f in dataclasses.fields(base) if f.name in TAKEN]
        if taken:
            raise ValueError(
                f"`base` has a field `{taken[0]}`, which a folder keeps for the grid's own "
                f"({', '.join(TAKEN)}); rename it."
            )
        object.__setattr__(self, "seeds", _check_seeds(self.seeds))
        axes = tuple(
            (name, _check_axis(base, name, values)) for name, values in _pairs(self.axes)
        )
        names = [name for name, _ in axes]
        if len(names) != len(set(names)):
            raise ValueError(f"`axes` name one field twice: {names}.")
        object.__setattr__(self, "axes", axes)
        numbered = [list(enumerate(values)) for _, values in axes]
        made = {}
        for pairs in itertools.product(*numbered):
            place, point = tuple(i for i, _ in pairs), tuple(v for _, v in pairs)
            made[place] = _setting_at(self, point)
        object.__setattr__(self, "_settings", made)

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Fields, axes by name."""
        return _reprs.record(
            self,
            base=self.base,
            seeds=_reprs.as_range(self.seeds),
            axes=dict(self.axes),
            data=self.data,
        )

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

    def setting(self, run: Run) -> Setting:
        """The setting of one run."""
        advice = "`runs` lists those of the grid"
        _checks.instance("run", run, Run, advice)
        values = [values for _, values in self.axes]
        there = isinstance(run.point, tuple) and len(run.point) == len(values)
        if not there or not all(map(_is_among, run.point, values)):
            raise ValueError(
                f"`run={_checks.spell(run)}` is not a point of the axes {self.axes}; "
                f"{advice}."
            )
        changed = dict(zip(self.names, run.point, strict=True))
        return dataclasses.replace(self.base, **changed)

    def to_json(self) -> JsonObject:
        """The grid as JSON values, without seeds, by which a folder is compared."""
        fields = {
            f.name: getattr(self.base, f.name)
            for f in dataclasses.fields(self.base)
            if f.name not in self.names
        }
        named = {"setting": type(self.base).__qualname__}
        named |= {name: described(v) for name, v in fields.items()}
        named["axes"] = {name: described(values) for name, values in self.axes}
        if self.data is not None:
            named["data"] = {name: array_digest(x) for name, x in self.data.items()}
        return named


def settings_of(grid: Grid) -> Mapping[Place, Setting]:
    """Every setting of a grid by its place on the axes, the last axis fastest."""
    return grid._settings


def check_data(data: object) -> dict[str, Any] | None:
    """Arrays by name.

    Raises:
      TypeError: others.
    """
    if data is None:
        return None
    if not isinstance(data, Mapping) or not all(isinstance(n, str) for n in data):
        raise TypeError(
            f"`data` must be arrays by name such as {{'values': y}}, got "
            f"{_checks.spell(data)}."
        )
    return {name: _checks.array(f"data.{name}", x) for name, x in data.items()}


def float_fields(base: Setting) -> tuple[str, ...]:
    """Fields whose type is `float`: they are traced, whatever their value."""
    hints = typing.get_type_hints(type(base))
    return tuple(f.name for f in dataclasses.fields(base) if hints[f.name] is float)


def check_setting(name: str, setting: Setting) -> Setting:
    """A setting whose fields have their types, NumPy's numbers turned into Python's.

    Raises:
      TypeError: not an instance of a frozen dataclass with fields that can be hashed, or a
        field of another type than its annotation.
    """
    if not dataclasses.is_dataclass(setting) or isinstance(setting, type):
        raise TypeError(
            f"`{name}` must be an instance of a frozen dataclass, got "
            f"{_checks.spell(setting)}."
        )
    hints = typing.get_type_hints(type(setting))
    changed = {}
    for field in dataclasses.fields(setting):
        value, at = getattr(setting, field.name), f"{name}.{field.name}"
        said = f"`{at}={_checks.spell(value)}`"
        plain = _typed(at, said, _plain(at, value), hints[field.name])
        if field.init and plain is not value:
            changed[field.name] = plain
    found = dataclasses.replace(setting, **changed) if changed else setting
    try:
        hash(found)
    except TypeError as error:
        raise TypeError(
            f"`{name}` must be an instance of a frozen dataclass whose fields can be "
            f"hashed: {error}; use `@dataclass(frozen=True)` and tuples."
        ) from error
    return found


def _typed(name: str, said: str, value: Any, hint: Any) -> Any:
    """A value of the type that a field is annotated with, which can be written down.

    Args:
      said: the value in words, for the error.

    Raises:
      TypeError: of another type, or without a name of its own.
    """
    if not _fits(value, hint):
        raise TypeError(f"{said} has the wrong type, expected {_spell(hint)}.")
    if hint is float:
        value = float(value)
    elif value is not None and set(TREES) <= set(typing.get_args(hint)):
        tree = as_tree(value, name=name.removeprefix("axes.")).nested
        value = value if value == tree else tree  # three spellings are one tree
    _check_describable(name, value)
    return value


def _check_describable(name: str, value: object) -> None:
    try:
        hash(value)
        text(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"`{name}={_checks.spell(value)}` cannot be written down ({error}), so that a "
            "folder could not tell it from another one; use numbers, text and tuples."
        ) from error


def check_seed(name: str, seed: object) -> int:
    """One seed.

    Raises:
      TypeError: not a whole number. ValueError: negative, or of more than 32 bits.
    """
    number = _checks.at_least(name, seed, -(2**1000))
    if number < 0:
        raise ValueError(f"`{name}` must be not negative, got {number}.")
    if number >= SEEDS:
        raise ValueError(
            f"`{name}` must be below 2**32, got {number}: jax uses no more bits of it."
        )
    return number


def _check_seeds(seeds: object) -> tuple[int, ...]:
    given = _listed("seeds", seeds)
    if given is None:
        raise TypeError(
            f"`seeds` must be whole numbers such as range(64), got {_checks.spell(seeds)}."
        )
    if not len(given):
        raise ValueError("`seeds` is empty: there is nothing to run.")
    found = tuple(map(_plain_seed, given))
    if len(set(found)) != len(found):
        twice = next(s for s in found if found.count(s) > 1)
        raise ValueError(f"`seeds` must be distinct, got {twice} twice.")
    return found


def _plain_seed(seed: object) -> int:
    try:
        return check_seed("seeds", _plain("seeds", seed))
    except TypeError as error:
        raise TypeError(
            f"`seeds` must be whole numbers such as range(64), got {_checks.spell(seed)}."
        ) from error


def _listed(name: str, values: object) -> Sequence[Any] | None:
    """Any list, range, array, series or index as a sequence; None for anything else."""
    if hasattr(values, "__array__") and not hasattr(values, "nested"):
        values = _plain(name, values)
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        return None
    return values


def _pairs(axes: object) -> list[tuple[str, object]]:
    pairs = list(axes.items()) if isinstance(axes, Mapping) else _listed("axes", axes)
    if pairs is None or not all(
        isinstance(p, Sequence) and len(p) == 2 and isinstance(p[0], str) for p in pairs
    ):
        raise TypeError(
            "`axes` must be a mapping from fields to their values such as "
            f"{{'init_std': (0.02, 0.03)}}, got {_checks.spell(axes)}."
        )
    return [(name, values) for name, values in pairs]


def _check_axis(base: Setting, name: str, values: object) -> tuple[object, ...]:
    hints = typing.get_type_hints(type(base))
    known = [f.name for f in dataclasses.fields(base) if f.init]
    if name not in known:
        raise ValueError(
            f"axis `{name}` does not exist; {type(base).__name__} has {known}."
        )
    given = _listed(f"axes.{name}", values)
    if given is None:
        raise TypeError(
            f"axis `{name}` must be a list of values, got {_checks.spell(values)}."
        )
    if not len(given):
        raise ValueError(f"axis `{name}` has no values; give at least one or leave it out.")
    plain = tuple(
        _typed(f"axes.{name}", f"axis `{name}`: {_checks.spell(v)}", v, hints[name])
        for v in _plain(f"axes.{name}", tuple(given))
    )
    if len(set(plain)) != len(plain) or len(set(map(text, plain))) != len(plain):
        raise ValueError(f"axis `{name}` has a value twice: {plain}.")
    return plain


def _setting_at(grid: Grid, point: tuple[object, ...]) -> Setting:
    """The setting at a point; its own class says whether it takes the values together."""
    values = dict(zip(grid.names, point, strict=True))
    try:
        return dataclasses.replace(grid.base, **values)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"axes {values}: {error}") from error


def _plain(name: str, value: Any) -> Any:
    """Lists and arrays as tuples, numbers of NumPy, pandas and jax as Python's."""
    if isinstance(value, list | tuple):
        kind = getattr(value, "_make", tuple)  # of a named tuple
        return kind(_plain(name, v) for v in value)
    if isinstance(value, np.generic) or hasattr(value, "__array__"):
        return _plain(name, _checks.array(name, value).tolist())
    return value


def _is_among(value: object, values: tuple[object, ...]) -> bool:
    """Whether one of the values is equal and of the same type, whatever `==` says."""
    return any(type(value) is type(v) and value == v for v in values)


def _fits(value: object, hint: Any) -> bool:
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


def _spell(hint: object) -> str:
    if hint is float:
        return "float, a finite one"
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
