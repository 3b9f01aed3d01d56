"""Records on disk: one zarr array a quantity and program, one file a finished chunk."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from htfjax._digests import file_digest

__all__ = [
    "RECORDS",
    "chunk_file",
    "existing_arrays",
    "open_arrays",
    "write_chunk",
    "write_labels",
]

RECORDS = "results.zarr"


def open_arrays(
    folder: Path,
    program: str,
    quantities: dict[str, tuple[tuple[int, ...], str, tuple[str, ...]]],
    *,
    rows: int,
    records: int,
    block: int,
    chunk: int,
) -> dict[str, zarr.Array]:
    """The arrays (rows, records, ...) of a program, made or enlarged as needed.

    Args:
      quantities: name -> (shape of one record, dtype, names of its axes).
      rows: runs, in blocks of `block`.
      records: of the longest run; `chunk` of them share a file.
    """
    root = zarr.open_group(str(folder / RECORDS), mode="a")
    group = root.require_group(program)
    arrays = {}
    for name, (shape, dtype, dims) in quantities.items():
        if name in group:
            array: Any = group[name]
            size = (max(rows, array.shape[0]), max(records, array.shape[1]), *shape)
            if array.shape != size:
                array.resize(size)
        else:
            array = group.create_array(
                name,
                shape=(rows, records, *shape),
                chunks=(block, chunk, *shape),
                dtype=dtype,
                fill_value=np.nan,
                dimension_names=("run", "step", *dims),
                config={"write_empty_chunks": True},
            )
        arrays[name] = array
    return arrays


def existing_arrays(
    folder: Path, program: str, names: tuple[str, ...]
) -> dict[str, zarr.Array]:
    """The arrays of a program that `open_arrays` made."""
    root: Any = zarr.open_group(str(folder / RECORDS), mode="r+")
    return {name: root[program][name] for name in names}


def write_labels(
    folder: Path, program: str, labels: dict[str, tuple[str, np.ndarray, dict[str, Any]]]
) -> None:
    """Coordinates beside the arrays, for other readers of zarr."""
    group: Any = zarr.open_group(str(folder / RECORDS), mode="a").require_group(program)
    for name, (dim, values, attributes) in labels.items():
        group.create_array(
            name,
            data=values,
            chunks=(max(len(values), 1),),
            dimension_names=(dim,),
            attributes=attributes,
            overwrite=True,
        )


def chunk_file(program: str, name: str, block: int, chunk: int, extra: int) -> str:
    """Where a chunk of a quantity lies, from the folder on; `extra` axes follow records."""
    place = "/".join(map(str, (block, chunk, *[0] * extra)))
    return f"{RECORDS}/{program}/{name}/c/{place}"


def write_chunk(
    folder: Path, program: str, arrays: dict[str, zarr.Array], block: int, chunk: int,
    values: dict[str, np.ndarray], known: dict[str, str],
) -> tuple[dict[str, str], int]:  # fmt: skip
    """Writes one chunk of every quantity that is not on disk yet.

    Args:
      values: name -> (lanes, records, ...), at most a chunk of each.
      known: digests of files that are finished and whole.

    Returns:
      File -> digest of all files of the chunk, and how many were there already and
      differ from what would have been written now.
    """
    files, changed = {}, 0
    for name, array in arrays.items():
        path = chunk_file(program, name, block, chunk, array.ndim - 2)
        lanes, records = array.chunks[:2]
        rows = slice(block * lanes, min((block + 1) * lanes, array.shape[0]))
        columns = slice(chunk * records, min((chunk + 1) * records, array.shape[1]))
        size = (rows.stop - rows.start, columns.stop - columns.start, *array.shape[2:])
        full = np.full(size, np.nan, array.dtype)
        given = values[name][: size[0], : size[1]]
        full[: given.shape[0], : given.shape[1]] = given
        whole = path in known and file_digest(folder / path) == known[path]
        if whole:
            stored: Any = array[rows, columns]
            found = np.asarray(stored)
            if np.array_equal(found, full, equal_nan=True):
                continue
            changed += not _extends(found, full)
        array[rows, columns] = full
        files[path] = file_digest(folder / path)
        if path in known and not whole:
            changed += files[path] != known[path]
    return files, changed


def _extends(old: np.ndarray, new: np.ndarray) -> bool:
    """Whether the new chunk holds all numbers of the old one.

    The last record of a run that then went on is passed over: only now its step is known.
    """
    inside = tuple(range(2, old.ndim))
    had = ~np.asarray(np.isnan(old).all(axis=inside))
    has = ~np.asarray(np.isnan(new).all(axis=inside))
    last = had & (np.cumsum(had[:, ::-1], axis=1)[:, ::-1] == 1)
    grown = has.sum(axis=1) > had.sum(axis=1)
    compared = had & ~(last & grown[:, None])
    return np.array_equal(old[compared], new[compared], equal_nan=True)
