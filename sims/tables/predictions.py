"""Predictions: cells that a file leaves open or that are asked for, and their table."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import htfjax as htf

from ..common.errors import SettingError
from .files import ending_of, read_arrays, read_frame, write_arrays, write_frame
from .source import INDICES, VALUES, Source, check_numeric

MOST = 1_000_000  # open cells that are predicted without being asked for
LARGEST = 2**26  # entries of an array that is filled
PIECE = 2**17  # cells that are predicted at once


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Cells to predict.

    Attributes:
      indices: (B, N).
      given: (B,) values that the file of `--predict` has for them, NaN where it has none;
        or None.
      ending: of the file to be written.
      which: the cells, in words.
    """

    indices: np.ndarray
    given: np.ndarray | None
    ending: str
    which: str


def wanted(source: Source, file: Path, predict: Path | None) -> Wanted:
    """The cells of `--predict`, or those that are open.

    Raises:
      SettingError: a file that cannot be read, without a mode, or with an unknown level.
    """
    if predict is not None:
        return _asked_for(source, file, predict)
    ending, count = ending_of(file, f"`{file}`"), len(source.observed)
    if source.size - count <= MOST:
        indices = htf.unobserved_indices(source.observed, source.data.mode_dims)
        return Wanted(indices, None, ending, "all cells that are not observed")
    which = f"the cells that {file.name} lists without a value"
    return Wanted(source.asked, None, ending, which)


def _asked_for(source: Source, file: Path, predict: Path) -> Wanted:
    data, what = source.data, f"`--predict {predict}`"
    ending = ending_of(predict, what)
    if ending == ".npz":
        if not file.name.lower().endswith(".npz"):
            raise SettingError(
                f"{what} holds indices, and {file.name} is a table; ask by a table of "
                f"labels, with the columns {', '.join(data.mode_names)}."
            )
        arrays = read_arrays(predict, what)
        if INDICES not in arrays:
            raise SettingError(f"{what} has no array `{INDICES}` (B, N).")
        indices, given = arrays[INDICES], arrays.get(VALUES)
    else:
        indices, given = _read_cells(data, predict, what)
    try:
        data.labels(indices)
        values = None if given is None else np.asarray(given, np.float64)
        if values is not None and values.shape != (len(indices),):
            raise ValueError(f"`{VALUES}` has shape {values.shape}, not {(len(indices),)}.")
    except (TypeError, ValueError) as error:
        raise SettingError(f"{what}: {error}") from error
    return Wanted(np.asarray(indices), values, ending, f"the cells of {predict.name}")


def _read_cells(data: Any, path: Path, what: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Indices of the cells of a table, and the values that it has for them."""
    frame = read_frame(path, what)
    lacking = [name for name in data.mode_names if name not in frame.columns]
    if lacking:
        raise SettingError(
            f"{what} has no column {', '.join(lacking)}; it needs a column for each mode, "
            f"{', '.join(data.mode_names)}."
        )
    if path.suffix.lower() != ".parquet":
        frame = read_frame(path, what, text=_text_modes(data), labels=data.mode_names)
    indices = _codes(data, frame, what)
    given = frame.get(data.value_name)
    if given is None or given.isna().all():
        return indices, None
    check_numeric(given, path.name)
    return indices, given.to_numpy(np.float64, na_value=np.nan)


def _codes(data: Any, frame: Any, what: str) -> np.ndarray:
    try:
        return data.codes(frame)
    except (TypeError, ValueError) as error:
        text = str(error).replace("`labels[", "`column[")
        raise SettingError(f"{what}: {text}") from error


def _text_modes(data: Any) -> list[str]:
    """Modes whose levels are text, also where they look like numbers."""
    named = zip(data.mode_names, data.levels, strict=True)
    return [name for name, labels in named if isinstance(labels.tolist()[0], str)]


def file_in(folder: Path, ending: str) -> Path:
    """Where predictions are written."""
    return folder / f"predictions{ending}"


def predicted(factors: Any, indices: np.ndarray) -> np.ndarray:
    """Values (B,) of cells, some at a time."""
    pieces = [
        np.asarray(htf.entries(factors, indices[begin : begin + PIECE]))
        for begin in range(0, len(indices), PIECE)
    ]
    return np.concatenate([*pieces, np.empty(0)])


def save(
    folder: Path, source: Source, cells: Wanted, factors: Any, error: float
) -> dict[str, Any]:
    """Writes `predictions` with the ending of the cells' file; what to say of it.

    A row for each cell: labels, value, the error to expect, and the value that was given.
    Indices in place of labels for npz, where the whole array is filled too.

    Args:
      error: root mean square error to expect, in the user's units.
    """
    values = predicted(factors, cells.indices)
    path = file_in(folder, cells.ending)
    said: dict[str, Any] = {"cells": len(values), "which": cells.which, "file": None}
    if cells.given is not None and np.isfinite(cells.given).any():
        there = np.isfinite(cells.given)
        off = values[there] - cells.given[there]
        said["given"] = int(there.sum())
        said["error_of_given"] = float(np.sqrt(np.mean(np.square(off))))
    if not len(values):
        return said
    if cells.ending == ".npz":
        arrays = {
            INDICES: cells.indices,
            VALUES: values,
            "error": np.full(len(values), error),
        }
        write_arrays(arrays | _completed(source, cells, values), path)
    else:
        write_frame(_table(source.data, cells, values, error), path)
    return said | {"file": path.name}


def _completed(source: Source, cells: Wanted, values: np.ndarray) -> dict[str, np.ndarray]:
    """The array `completed`: observed values and predictions, if these are all others."""
    data = source.data
    filled = len(values) + len(source.observed) == source.size
    if not filled or cells.given is not None or source.size > LARGEST:
        return {}
    array = np.empty(data.mode_dims)
    array[tuple(cells.indices.T)] = values
    array[tuple(source.observed.T)] = np.append(data.targets, data.test_targets)
    return {"completed": array}


def _table(data: Any, cells: Wanted, values: np.ndarray, error: float) -> pd.DataFrame:
    columns = data.decode(values, cells.indices)
    name = data.value_name
    more = {f"{name}_error": np.full(len(values), error)}
    if cells.given is not None:
        more[f"{name}_given"] = cells.given
    for key, column in more.items():
        while key in columns:  # a mode of this name
            key += "_"
        columns[key] = column
    return pd.DataFrame(columns)
