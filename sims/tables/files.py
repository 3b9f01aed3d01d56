"""Files of cells: tables as CSV and Parquet, arrays as npz.

A file is what its ending says, or it is refused: its first bytes are compared.
"""

import contextlib
import csv
import gzip
import importlib
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import htfjax as htf

from ..common.errors import SettingError

PARQUET, ZIP, GZIP = b"PAR1", b"PK\x03\x04", b"\x1f\x8b"
# Endings that are read, and the bytes that such files begin with.
ENDINGS = {
    ".csv": b"", ".csv.gz": GZIP, ".tsv": b"", ".tsv.gz": GZIP, ".parquet": PARQUET,
    ".npz": ZIP,
}  # fmt: skip
KINDS = {
    PARQUET: "a Parquet file",
    ZIP: "a zip archive, as npz and Excel files are",
    GZIP: "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstandard",
    b"\x93NUMPY": "an npy file; `numpy.savez` writes an npz file",
    b"\x89HDF": "an HDF5 file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
}
SEPARATORS = ",;\t"
# What stands for a missing number. In a column of labels it is a label, such as Namibia's.
MISSING = ["", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None",
           "#N/A", "#NA"]  # fmt: skip
DAMAGE = (
    ValueError, OSError, EOFError, zlib.error, NotImplementedError,
    pd.errors.ParserWarning,
)  # fmt: skip


def ending_of(path: Path, what: str) -> str:
    """The ending of a file that can be read, one of `ENDINGS`.

    Args:
      what: names the file for errors.

    Raises:
      SettingError: no file, an empty one, another ending, or contents of another kind.
    """
    if not path.is_file():
        problem = "is a folder; give a file" if path.is_dir() else "does not exist"
        raise SettingError(f"{what} {problem}.")
    fitting = [ending for ending in ENDINGS if path.name.lower().endswith(ending)]
    if not fitting:
        raise SettingError(
            f"{what} has none of the endings {', '.join(ENDINGS)}; save the table in one "
            "of these formats."
        )
    with open_file(path, what) as file:
        begun = file.read(8)
    if not begun:
        raise SettingError(f"{what} is empty.")
    ending = fitting[-1]  # `.csv.gz` ends in no other one
    kind = next((magic for magic in KINDS if begun.startswith(magic)), b"")
    if kind != ENDINGS[ending]:
        wanted = KINDS.get(ENDINGS[ending], "plain text").partition(",")[0]
        is_so = f"it is {KINDS[kind]}" if kind else "it is something else"
        raise SettingError(
            f"{what} ends in {ending}, and so should be {wanted}, but by its first bytes "
            f"{is_so}."
        )
    return ending


@contextlib.contextmanager
def open_file(path: Path, what: str) -> Iterator[Any]:
    """A file to be read.

    Raises:
      SettingError: it cannot be.
    """
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise SettingError(f"{what} cannot be read: {error.strerror or error}.") from error


@contextlib.contextmanager
def named(what: str, kind: str) -> Iterator[None]:
    """Whatever a damaged file raises becomes one error, with the file's name."""
    try:
        yield
    except SettingError:
        raise
    except DAMAGE as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise SettingError(f"{what} cannot be read as {kind}: {problem}") from error


# Tables


def read_frame(
    path: Path, what: str, *, text: Sequence[str] = (), labels: Sequence[str] = ()
) -> Any:
    """The table in a file, a DataFrame.

    Args:
      what: names the file for errors.
      text: columns of a CSV file whose entries are text, even if they look like numbers.
      labels: columns of a CSV file in which only an empty entry is missing.

    Raises:
      SettingError: a file that cannot be read, without rows, or with two columns of a name.
      ModuleNotFoundError: pyarrow is missing, for Parquet.
    """
    ending = ending_of(path, what)
    if ending == ".npz":
        raise SettingError(f"{what} holds arrays, and a table is expected here.")
    if ending == ".parquet":
        frame = _read_parquet(path, what)
    else:
        with named(what, "a table"):
            frame = _read_csv(path, what, ending, text, labels)
    if not len(frame):
        raise SettingError(f"{what} is a table without rows.")
    twice = [name for name in frame.columns if list(frame.columns).count(name) > 1]
    if twice:
        raise SettingError(f"{what} has two columns with the name {twice[0]!r}.")
    return frame


def _read_parquet(path: Path, what: str) -> Any:
    importlib.import_module("pyarrow")  # its absence has one line, with the extra
    with named(what, "a Parquet file"):
        frame = pd.read_parquet(path, engine="pyarrow")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas wrote an index of labels
        frame = frame.reset_index()
    return frame.rename(columns=str)


def _read_csv(
    path: Path, what: str, ending: str, text: Sequence[str], labels: Sequence[str]
) -> Any:
    opened = gzip.open if ending.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        first = file.readline()
    # A table that is exported where commas are decimal has semicolons.
    separator = max(SEPARATORS, key=first.count)
    header = next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:  # pandas would number them
        raise SettingError(f"{what} has two columns with the name {twice[0]!r}.")
    missing = {name: [""] if name in labels else MISSING for name in header}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are too long
        return pd.read_csv(
            path, sep=separator, index_col=False, low_memory=False, encoding="utf-8-sig",
            skipinitialspace=True, keep_default_na=False, na_values=missing,
            dtype=dict.fromkeys(text, str),
            compression="gzip" if ending.endswith(".gz") else None,
        )  # fmt: skip


def write_frame(frame: Any, path: Path) -> None:
    """Writes a table in the format of the path's ending, whole or not at all."""
    with htf.runs.atomic_write(path) as temporary:
        if path.name.endswith(".parquet"):
            frame.to_parquet(temporary, index=False, engine="pyarrow")
            return
        zipped = path.name.endswith(".gz")
        frame.to_csv(
            temporary, index=False, sep="\t" if ".tsv" in path.suffixes else ",",
            compression={"method": "gzip", "mtime": 0} if zipped else None,
        )  # fmt: skip


# Arrays


def read_arrays(path: Path, what: str) -> dict[str, np.ndarray]:
    """The arrays of an npz file; nothing is unpickled.

    Raises:
      SettingError: a file that cannot be read, or without arrays.
    """
    if ending_of(path, what) != ".npz":
        raise SettingError(f"{what} is a table, and an npz file is expected here.")
    try:
        return htf.runs.read_npz(path)
    except (OSError, ValueError) as error:
        problem = str(error).rpartition("archive: ")[2]
        raise SettingError(
            f"{what} is not an npz file of plain arrays: {problem}."
        ) from error


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes an npz file, whole or not at all."""
    with htf.runs.atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
