"""Records on disk: one zarr array per quantity and program, one file per finished chunk."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import zarr
import zarr.api.asynchronous
import zarr.storage

from htfjax._digests import file_digest
from htfjax._files import atomic_write
from htfjax._types import JsonObject

RECORDS = "results.zarr"
# Shape of one record, dtype and names of its axes.
Quantities = dict[str, tuple[tuple[int, ...], str, tuple[str, ...]]]
T = TypeVar("T")
P = ParamSpec("P")
Labels = dict[str, tuple[str, np.ndarray, JsonObject]]  # dimension, values, attributes


def root_metadata() -> dict[str, bytes]:
    """Metadata beside the programs: file -> content."""
    files: dict[str, Any] = {}
    zarr.create_group(zarr.storage.MemoryStore(files), zarr_format=3)
    return {f"{RECORDS}/{path}": content.to_bytes() for path, content in files.items()}


def program_metadata(
    program: str, quantities: Quantities, labels: Labels, *,
    rows: int, records: int, block: int, chunk: int,
) -> dict[str, bytes]:  # fmt: skip
    """All files of a program but its chunks of records: file -> content.

    They follow from the arguments, so that a damaged one is noticed and written anew.

    Args:
      labels: coordinates beside the arrays, for other readers of zarr.
      rows: runs, in blocks of `block`.
      records: of the longest run; `chunk` of them share a file.
    """
    files: dict[str, Any] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(files), zarr_format=3)
    for name, (shape, dtype, dims) in quantities.items():
        group.create_array(
            name,
            shape=(rows, records, *shape),
            chunks=(block, chunk, *shape),
            dtype=dtype,
            fill_value=np.nan,
            dimension_names=("run", "step", *dims),
            config={"write_empty_chunks": True},
        )
    for name, (dim, values, attributes) in labels.items():
        group.create_array(
            name,
            data=values,
            chunks=(max(len(values), 1),),
            dimension_names=(dim,),
            attributes=attributes,
            config={"write_empty_chunks": True},
        )
    head = f"{RECORDS}/{program}"
    return {f"{head}/{path}": content.to_bytes() for path, content in files.items()}


def metadata_of(program: str, name: str) -> str:
    """Path of a quantity's metadata within the folder."""
    return f"{RECORDS}/{program}/{name}/zarr.json"


def write_metadata(folder: Path, files: dict[str, bytes], digests: dict[str, str]) -> None:
    """Writes the files that are not there as they should be.

    Args:
      digests: of the contents.
    """
    for path, content in files.items():
        if file_digest(folder / path) != digests[path]:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / path) as temporary:
                temporary.write_bytes(content)


def open_array(folder: Path, program: str, name: str) -> zarr.Array:
    """The array of a quantity, to read and write; no other format of zarr is looked for."""
    options: dict[str, Any] = {
        "store": str(folder / RECORDS / program / name), "mode": "r+", "zarr_format": 3,
    }  # fmt: skip
    # A chunk of NaN alone, of runs that have all diverged, is a file like the others.
    with zarr.config.set({"array.write_empty_chunks": True}):
        return _done(
            lambda: zarr.open_array(**options),
            lambda: _array(zarr.api.asynchronous.open_array(**options)),
        )


async def _array(opening: Awaitable[zarr.AsyncArray]) -> zarr.Array:
    return zarr.Array(await opening)


def _done(plain: Callable[[], T], coroutine: Callable[[], Awaitable[T]]) -> T:
    """The result of a call of zarr, also when Python has shut its thread pools.

    It does so when the main thread ends, before exit handlers and the end of other
    threads; zarr can then be used only on a loop that calls its functions in place.
    """
    if threading.main_thread().is_alive():
        return plain()
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_InPlace())
    try:
        return loop.run_until_complete(coroutine())
    finally:
        loop.close()


class _InPlace(ThreadPoolExecutor):
    """An executor without threads."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future that is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def chunk_file(program: str, name: str, block: int, chunk: int, extra: int) -> str:
    """Path of a chunk of a quantity within the folder; `extra` axes follow records."""
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
        place = (rows, columns, *[slice(None)] * (array.ndim - 2))
        whole = path in known and file_digest(folder / path) == known[path]
        if whole:
            found = _get(array, place)
            if np.array_equal(found, full, equal_nan=True):
                continue
            changed += not _extends(found, full)
        else:  # zarr would read what stands there, to fill the rest of an edge chunk
            (folder / path).unlink(missing_ok=True)
        _set(array, place, full)
        files[path] = file_digest(folder / path)
        if path in known and not whole:
            changed += files[path] != known[path]
    return files, changed


def _get(array: zarr.Array, place: tuple[slice, ...]) -> np.ndarray:
    aside = array.async_array
    return np.asarray(_done(lambda: array[place], lambda: aside.getitem(place)))


def _set(array: zarr.Array, place: tuple[slice, ...], values: np.ndarray) -> None:
    aside = array.async_array

    def write() -> None:
        array[place] = values

    _done(write, lambda: aside.setitem(place, values))


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
