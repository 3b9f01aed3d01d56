"""Tables of pandas and xarray as cells, without importing either.

Whoever has a table has imported its library, where its classes are found.
"""

import sys
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from htfjax._integers import spell
from htfjax.data.arrays import VALUE, check_order
from htfjax.data.cells import (
    Cells,
    real_values,
    refuse_infinite,
    refuse_rounded,
    sparse,
)
from htfjax.data.levels import distinct_names, nearest


def is_a(data: object, library: str, kind: str) -> bool:
    """Whether an object is of a class of a library, which may not even be installed."""
    return isinstance(data, getattr(sys.modules.get(library), kind, ()))


# pandas


def frame_cells(data: Any, modes: Sequence[Hashable] | None, values: Hashable) -> Cells:
    """The cells of a DataFrame: a row each, with columns of levels and one of values.

    Raises:
      TypeError, ValueError: an empty table, no such column, one column twice, a missing
        level, levels of several types, values that are not finite real numbers.
    """
    _check_frame(data)
    chosen, value = _chosen(list(data.columns), modes, values)
    columns = {mode: data[mode] for mode in chosen}
    cells = _column_cells(columns, data[value], f"data[{value!r}]", str(value))
    if modes is not None:
        return cells  # whoever names a column as a mode means its levels
    doubtful = [str(mode) for mode, column in columns.items() if _has_fractions(column)]
    return cells._replace(doubtful=tuple(doubtful))


def _has_fractions(column: Any) -> bool:
    """Whether a column has floating numbers that are not whole."""
    if is_a(column.dtype, "pandas", "CategoricalDtype"):
        return False
    if column.dtype == object:
        return any(isinstance(x, float) and not x.is_integer() for x in column)
    if column.dtype.kind != "f":
        return False
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return bool(np.any(np.isfinite(numbers) & (numbers != np.trunc(numbers))))


def doubt(cells: Cells) -> str:
    """What to say of columns of floating numbers that were read as modes, or ""."""
    if not cells.doubtful:
        return ""
    several = len(cells.doubtful) > 1
    return (
        f"`data` has {'columns' if several else 'a column'} of floating numbers with "
        f"fractions, {spell(list(cells.doubtful))}, and each different number was read as "
        f"a level of a mode; the values are those of {cells.value_name!r}. `values=` names "
        "another column of values, `modes=` the columns that are modes; of a wide table "
        "`data.stack()` makes one with a row for each cell. If levels are meant, make "
        "them text by `.astype(str)` or categories by `.astype('category')`."
    )


def _chosen(
    columns: list[Hashable], modes: Sequence[Hashable] | None, values: Hashable
) -> tuple[Sequence[Hashable], Any]:
    """The columns of the modes and that of the values, by default the last one left."""
    given = [] if modes is None else list(modes)
    for mode in given:
        _check_column("modes", mode, columns)
    if values is not None:
        _check_column("values", values, columns)
    if len(set(given)) < len(given) or values in given:
        raise ValueError(
            f"`modes={spell(given)}` must be different columns, without that of `values`."
        )
    rest = [column for column in columns if column not in given]
    if not rest:
        raise ValueError("`modes` are all the columns, and none is left for the values.")
    value = rest[-1] if values is None else values
    if modes is not None:
        check_order("modes", len(given))
        return given, value
    return [column for column in columns if column != value], value


def _check_frame(data: Any) -> None:
    """A table with rows, whose modes are columns of one name each."""
    if data.columns.nlevels > 1 or data.columns.has_duplicates:
        raise ValueError(
            f"`data` must have columns of one name each, got {spell(list(data.columns))}."
        )
    if data.index.nlevels > 1:
        raise ValueError(
            f"`data` has levels in its index, {list(data.index.names)}: "
            "`data.reset_index()` makes columns of them, `data[column]` is a Series."
        )
    if not len(data):
        raise ValueError("`data` is empty: the table has no rows.")


def series_cells(data: Any, modes: Sequence[Hashable] | None) -> Cells:
    """The cells of a Series, whose index has the levels.

    Raises:
      As `frame_cells`.
    """
    if not len(data):
        raise ValueError("`data` is empty: the Series has no rows.")
    index = data.index
    names = [f"mode_{n}" if name is None else name for n, name in enumerate(index.names)]
    columns = {name: index.get_level_values(n) for n, name in enumerate(names)}
    if len(columns) < len(names):
        raise ValueError(f"`data` must have different names in its index, got {names}.")
    if modes is not None:
        _check_all(modes, names)
        columns = {mode: columns[mode] for mode in modes}
    return _column_cells(columns, data, "data", _value_name(data.name))


def _column_cells(columns: dict[Any, Any], values: Any, name: str, value: str) -> Cells:
    """Cells of columns of levels, and of the column with their values."""
    check_order("data", len(columns))
    numbers = _column_values(name, values)
    refuse_infinite(numbers, lambda at: f"`{name}` in row {spell(values.index[at])}")
    coded = [_coded(mode, column, values.index) for mode, column in columns.items()]
    codes, levels = zip(*coded, strict=True)
    names = distinct_names("data", list(map(str, columns)), len(columns))
    return Cells(np.stack(codes, axis=1), numbers, levels, names, value)


def _check_column(name: str, column: Any, columns: Sequence[Hashable]) -> None:
    if not isinstance(column, Hashable) or column not in columns:
        raise ValueError(
            f"`{name}` names {spell(column)}, which is not one of {spell(columns)}"
            f"{nearest(column, columns) or '.'}"
        )


def _check_all(modes: Sequence[Hashable], names: Sequence[Hashable]) -> None:
    for mode in modes:
        _check_column("modes", mode, names)
    if len(modes) != len(names) or len(set(modes)) < len(modes):
        raise ValueError(
            f"`modes={spell(list(modes))}` must name each of {spell(list(names))} once."
        )


def _column_values(name: str, column: Any) -> np.ndarray:
    """A column of real numbers as float64, NaN where one is missing."""
    kind = column.dtype.kind
    if kind in "iu":
        plain = getattr(column.dtype, "numpy_dtype", column.dtype)
        integers = column.fillna(0).to_numpy(dtype=plain)
        refuse_rounded(integers, lambda at: f"`{name}` in row {spell(column.index[at])}")
    if kind in "iuf":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if column.dtype == object:
        return real_values(name, column.to_numpy())
    what = "booleans" if kind == "b" else f"{column.dtype}"
    raise TypeError(
        f"`{name}` must hold real numbers, got {what}; `values=` names the column with "
        "the values, by default the last one."
    )


def _coded(mode: Hashable, column: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Codes (B,) and levels (D,): categories in their order, all else sorted."""
    pandas = sys.modules["pandas"]
    try:
        coded = pandas.Categorical(column).remove_unused_categories()
    except TypeError as error:  # lists, for example
        raise TypeError(f"`data[{mode!r}]` cannot be levels: {error}.") from error
    missing = np.flatnonzero(coded.codes < 0)
    if missing.size:
        raise ValueError(
            f"`data[{mode!r}]` has no level in {len(missing)} rows, the first is row "
            f"{spell(rows[missing[0]])}; remove them, for example by `data.dropna(subset="
            f"[{mode!r}])`, or name them: `data.fillna({{{mode!r}: 'unknown'}})`."
        )
    if not is_a(column.dtype, "pandas", "CategoricalDtype"):
        _check_sorted(mode, coded.categories)
    return coded.codes.astype(np.int32), _labels(coded.categories)


def _check_sorted(mode: Hashable, categories: Any) -> None:
    """Labels that have an order; pandas leaves others as they come."""
    try:
        sorted(categories) if categories.dtype == object else None
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in categories})
        raise TypeError(
            f"`data[{mode!r}]` mixes levels of types {kinds}; make them one, for example "
            f"by `data[{mode!r}].astype(str)`."
        ) from error


def _labels(index: Any) -> np.ndarray:
    """Labels of a pandas index as an array of our own, nullable numbers as NumPy's."""
    return np.array(index.to_numpy(dtype=getattr(index.dtype, "numpy_dtype", None)))


def _value_name(name: object) -> str:
    return VALUE if name is None else str(name)


# xarray


def labelled_cells(data: Any, modes: Sequence[Hashable] | None) -> Cells:
    """The cells of a DataArray, whose coordinates are the levels, in their order.

    Raises:
      TypeError, ValueError: an empty array, one dimension, a coordinate with a level twice
        or missing, values that are not finite real numbers.
    """
    if modes is not None:
        _check_all(modes, list(data.dims))
        data = data.transpose(*modes)
    check_order("data", data.ndim)
    if not data.size:
        raise ValueError(f"`data` is empty: its shape is {data.shape}.")
    levels = tuple(_coordinate(dim, data.get_index(dim)) for dim in data.dims)
    values = real_values("data", data.values)

    def place(at: int) -> str:
        where = np.unravel_index(at, values.shape)
        labels = zip(data.dims, levels, where, strict=True)
        return f"`data` at {', '.join(f'{dim}={level[i]}' for dim, level, i in labels)}"

    refuse_infinite(values, place)
    names = distinct_names("data", list(map(str, data.dims)), data.ndim)
    return Cells(*sparse(values), levels, names, _value_name(data.name))


def _coordinate(dim: Hashable, index: Any) -> np.ndarray:
    """The labels of a dimension."""
    if index.nlevels > 1:
        raise ValueError(
            f"`data` has several levels in dimension {dim!r}; `data.unstack({dim!r})` "
            "makes dimensions of them."
        )
    if index.hasnans:
        raise ValueError(f"`data` has a missing label in coordinate {dim!r}; drop it.")
    if not index.is_unique:
        twice = spell(index[index.duplicated()][0])
        raise ValueError(f"`data` has the label {twice} twice in coordinate {dim!r}.")
    return _labels(index)
