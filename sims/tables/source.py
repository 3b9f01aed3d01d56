"""Source of a completion: what a user's file observes, leaves open, and is called."""

import dataclasses
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
import pandas as pd

import htfjax as htf

from ..common.errors import SettingError
from .files import ENDINGS, read_arrays, read_frame

INDICES, VALUES, DIMS = "indices", "values", "dims"
# Arguments of `htf.complete` that are options of the command, named in its messages.
OPTION = re.compile(r"`(holdout|noise|ranks|tree|method)([=` ])")


class Options(Protocol):
    """Options of the command that say how its file is read."""

    @property
    def file(self) -> Path: ...

    @property
    def value(self) -> str | None: ...

    @property
    def modes(self) -> tuple[str, ...]: ...

    @property
    def array(self) -> str | None: ...

    @property
    def holdout(self) -> float: ...

    @property
    def seed(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Source:
    """What a file holds.

    Attributes:
      data: the observed cells, as they are (not standardized), some of them held out.
      asked: (B, N), cells that the file lists without a value, each once.
      rows: cells with a value that it lists, some perhaps twice.
      notes: sentences on how it was understood.
    """

    data: Any
    asked: np.ndarray
    rows: int
    notes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Cells of the whole tensor."""
        return int(np.prod([float(dim) for dim in self.data.mode_dims]))

    @property
    def observed(self) -> np.ndarray:
        """Indices (B, N) of all observed cells."""
        return np.concatenate([self.data.indices, self.data.test_indices])


def read_source(options: Options) -> Source:
    """The cells of a table, of an array with NaN, or of indices and values.

    Raises:
      SettingError: a file that cannot be read, options that do not fit it, or cells that
        `htfjax.observed` refuses; the message names the file.
    """
    path = options.file
    if path.name.lower().endswith(".npz"):
        if options.value is not None:
            raise SettingError(
                f"`--value {options.value}` names a column of a table, and {path.name} is "
                "an npz file; `--array` names one of its arrays."
            )
        return _read_arrays(options)
    if options.array is not None:
        raise SettingError(
            f"`--array {options.array}` names an array of an npz file, and {path.name} is "
            f"none; {', '.join(end for end in ENDINGS if end != '.npz')} are tables, whose "
            "column of values `--value` names."
        )
    return _read_table(options)


def said(text: str, path: Path) -> str:
    """A message of the library in the words of the command: its file, its options."""
    for name in ("data", "observed"):
        text = text.replace(f"`{name}", f"`{path.name}")
    text = text.replace("`values=`", "`--value`").replace("`modes=`", "`--modes`")
    return OPTION.sub(lambda m: f"`--{m[1]}" + (" " if m[2] == "=" else m[2]), text)


def _observed(data: Any, options: Options, **names: Any) -> tuple[Any, list[str]]:
    """The observed cells, held out as `htfjax.complete` would, and what is warned of."""
    for_cells, _ = jax.random.split(jax.random.key(options.seed))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            found = htf.observed(
                data, holdout=options.holdout, key=for_cells, scaling="none", **names
            )
        except (TypeError, ValueError) as error:
            # A completion, other than a table of observed cells, needs some held out.
            text = str(error).replace("; use holdout=0.", "; observe more.")
            raise SettingError(said(text, options.file)) from error
    return found, [said(str(one.message), options.file) for one in caught]


# Tables


def _read_table(options: Options) -> Source:
    path = options.file
    what = f"`{path}`"
    frame = read_frame(path, what)
    value, modes, notes = _columns(frame, options)
    if path.suffix != ".parquet" and frame[[*modes]].isna().any(axis=None):
        frame = read_frame(path, what, labels=modes)
    for mode in modes:
        _check_labels(frame[mode], path)
    observed, more = _observed(frame[[*modes, value]], options, values=value, modes=modes)
    rows = frame.loc[frame[value].isna(), [*modes]].drop_duplicates()
    asked = _left_open(observed, observed.codes(rows))
    count = int(frame[value].notna().sum())
    return Source(observed, asked, count, tuple([*notes, *more]))


def _left_open(data: Any, indices: np.ndarray) -> np.ndarray:
    """The cells among some that are not observed elsewhere."""
    dims = data.mode_dims
    if np.prod([float(dim) for dim in dims]) >= 2**62:  # codes of whole cells overflow
        return indices
    known = np.concatenate([data.indices, data.test_indices])
    codes, taken = (np.ravel_multi_index(x.T, dims) for x in (indices, known))
    return indices[~np.isin(codes, taken)]


def _check_labels(column: Any, path: Path) -> None:
    """Every row has a level."""
    missing = np.flatnonzero(column.isna())
    if missing.size:
        raise SettingError(
            f"`{path.name}` has no `{column.name}` in {len(missing)} rows, the first is "
            f"row {missing[0] + 1} after the header; name the level there, or leave such "
            "rows out."
        )


def _columns(frame: Any, options: Options) -> tuple[str, list[str], list[str]]:
    """The columns of values and of modes, and what to say of the choice.

    Raises:
      SettingError: a column that is not there, or not of numbers; fewer than two modes.
    """
    name, columns = options.file.name, list(frame.columns)
    for flag, asked in (("--value", [options.value]), ("--modes", options.modes)):
        for column in asked:
            if column is not None and column not in columns:
                raise SettingError(
                    f"`{flag} {column}`: {name} has the columns {', '.join(columns)}."
                )
    rest = [column for column in columns if column not in options.modes]
    notes = []
    if not options.modes:
        numbered = [column for column in rest if _numbers_rows(frame[column])]
        rest = [column for column in rest if column not in numbered]
        notes += [f"column {column!r} numbers the rows; left out" for column in numbered]
    value = options.value
    if value is None:
        value = _last_numeric(frame, rest, name)
        if len(rest) > 1 or not options.modes:
            notes.append(f"values are those of {value!r}, the last column of numbers")
    check_numeric(frame[value], name)
    modes = list(options.modes) or [column for column in rest if column != value]
    _check_modes(modes, value, name)
    if not options.modes:
        notes += [
            f"each number in {mode!r} is a level, though they have fractions; `--modes` "
            "names the columns that are modes"
            for mode in modes
            if _has_fractions(frame[mode])
        ]
    return value, modes, notes


def _last_numeric(frame: Any, columns: list[str], name: str) -> str:
    """The last of some columns that has numbers."""
    numeric = [column for column in columns if _is_numeric(frame[column])]
    if not numeric:
        raise SettingError(
            f"{name} has no column of numbers for the values among "
            f"{', '.join(columns) or 'those that are not modes'}; `--value` names one, and "
            f"says what is wrong with it."
        )
    return numeric[-1]


def _check_modes(modes: list[str], value: str, name: str) -> None:
    """Two columns at least, different ones, none of them that of the values."""
    if value in modes or len(set(modes)) < len(modes):
        raise SettingError(
            f"`--modes {' '.join(modes)}` must be different columns, without that of the "
            f"values, {value!r}."
        )
    if len(modes) < 2:
        raise SettingError(
            f"{name} has too few columns of modes ({', '.join(modes) or 'none'}) beside "
            f"the values {value!r}; a tensor has at least two. A table whose columns are "
            "levels has to be made long first, one row for each cell."
        )


def _numbers_rows(column: Any) -> bool:
    """Whether a column without a name is the index that pandas writes."""
    name = str(column.name)
    if not (name.startswith("Unnamed: ") or name in ("", "__index_level_0__")):
        return False
    return _is_numeric(column) and column.is_unique


def _is_numeric(column: Any) -> bool:
    """Whether there are numbers in a column, and nothing else."""
    if pd.api.types.is_bool_dtype(column) or column.isna().all():
        return False
    if pd.api.types.is_numeric_dtype(column):
        return not pd.api.types.is_complex_dtype(column)
    return pd.api.types.infer_dtype(column, skipna=True) == "decimal"


def check_numeric(column: Any, name: str) -> None:
    """Values are real numbers.

    Raises:
      SettingError: with the first that is none.
    """
    if _is_numeric(column):
        return
    if column.isna().all():
        raise SettingError(f"{name} has no value in its column {column.name!r}.")
    numbers: Any = pd.to_numeric(column.astype(object), errors="coerce")
    wrong = np.flatnonzero(numbers.isna() & column.notna())
    what = f"{column.dtype}"
    if wrong.size and not pd.api.types.is_bool_dtype(column):
        what = f"{column.iloc[wrong[0]]!r} in row {wrong[0] + 1} after the header"
    raise SettingError(
        f"{name} has values in its column {column.name!r} that are not real numbers: "
        f"{what}. `--value` names another column; what is missing is left empty."
    )


def _has_fractions(column: Any) -> bool:
    if not pd.api.types.is_float_dtype(column):
        return False
    numbers = column.dropna().to_numpy(np.float64)
    return bool(np.any(numbers != np.trunc(numbers)))


# Arrays


def _read_arrays(options: Options) -> Source:
    path = options.file
    arrays = read_arrays(path, f"`{path}`")
    names = {"modes": list(options.modes)} if options.modes else {}
    if options.array is None and {INDICES, VALUES} <= arrays.keys():
        return _read_pair(arrays, options, names)
    array = arrays[_chosen(arrays, options)]
    data, notes = _observed(array, options, **names)
    asked = np.argwhere(np.isnan(array)) if array.dtype.kind == "f" else np.empty((0, 2))
    rows = array.size - len(asked)
    asked = asked.reshape(-1, array.ndim).astype(np.int32)
    return Source(data, asked, rows, tuple(notes))


def _read_pair(
    arrays: dict[str, np.ndarray], options: Options, names: dict[str, Any]
) -> Source:
    indices, values = arrays[INDICES], arrays[VALUES]
    if DIMS in arrays:
        names["mode_dims"] = _dims(arrays[DIMS], options.file)
    data, notes = _observed((indices, values), options, **names)
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    asked = np.unique(indices[missing], axis=0).astype(np.int32)
    return Source(data, _left_open(data, asked), int(np.sum(~missing)), tuple(notes))


def _dims(given: np.ndarray, path: Path) -> tuple[int, ...]:
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise SettingError(
            f"`{path.name}` has an array `{DIMS}` of shape {given.shape} and type "
            f"{given.dtype}; it must be one list of integers, the size of every mode."
        )
    return tuple(map(int, given))


def _chosen(arrays: dict[str, np.ndarray], options: Options) -> str:
    """The name of the array that is completed."""
    name, listed = (
        options.file.name,
        ", ".join(
            f"{key} {'x'.join(map(str, array.shape))}" for key, array in arrays.items()
        ),
    )
    if options.array is not None:
        if options.array not in arrays:
            raise SettingError(f"`--array {options.array}`: {name} has {listed or 'none'}.")
        return options.array
    if len(arrays) != 1:
        raise SettingError(
            f"{name} has {len(arrays)} arrays ({listed or 'none'}); `--array` names the "
            f"one to complete, or let there be `{INDICES}` (B, N) and `{VALUES}` (B,)."
        )
    return next(iter(arrays))


def numbers_of(modes: Sequence[str], text: str) -> str:
    """The text of a tree with names of modes replaced by their numbers.

    Example: with modes user and film, "(film, user)" is "(1,0)".

    Raises:
      SettingError: a word inside brackets that is neither.
    """
    nested = text.strip().startswith(("(", "["))

    def number(match: re.Match[str]) -> str:
        word = match[0].strip()
        if nested and word and word not in modes and not word.lstrip("-").isdecimal():
            raise SettingError(
                f"`--tree {text}`: {word!r} is no mode; modes are {', '.join(modes)}."
            )
        return str(modes.index(word)) if word in modes else match[0]

    return re.sub(r"[^()\[\],]+", number, text)
