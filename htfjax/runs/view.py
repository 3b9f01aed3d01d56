"""Results of an ensemble as one labelled dataset, read only as far as it is used.

A process may write there meanwhile: every file is read once, and its bytes compared with
their digest before anything is made of them.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from htfjax._digests import text_digest
from htfjax._types import JsonObject
from htfjax.runs.final import with_final
from htfjax.runs.folder import (
    LOCK,
    MANIFEST,
    identity_of,
    lines_written,
    read_manifest,
    runs_digest,
)
from htfjax.runs.journal import JOURNAL, read_journal
from htfjax.runs.labels import attributes
from htfjax.runs.locks import lock_holder
from htfjax.runs.status import RUN, run_status
from htfjax.runs.store import RECORDS, chunk_file, decoded, metadata_of

AGAIN = "run the same command again, which computes anew what is lost"
# For how long files that do not fit are looked at again while a process writes them.
SECONDS, PAUSE = 10.0, 0.05
T = TypeVar("T")


def is_ensemble(folder: Path) -> bool:
    """Whether a folder holds the results of an ensemble, or what is left of one."""
    return (folder / MANIFEST).exists() or (folder / RECORDS).exists()


def open_records(folder: Path, group: str | None = None) -> xr.Dataset:
    """The dataset over (axes ..., seed, step, ...): arrays are read at first use.

    A quantity is read, and its files checked against their digests, when its values are
    asked for; no other quantity is touched. Runs that have not come so far hold NaN, and
    so do sizes that differ between programs.

    Raises:
      FileNotFoundError: no ensemble in the folder, or a file of it is missing; a `group`,
        which an ensemble does not have.
      ValueError: another format or a damaged file, also when values are read.
    """
    folder = folder.expanduser().absolute()
    if group is not None:
        raise FileNotFoundError(f"{folder} is one ensemble and has no `group={group}`")
    return _settled(folder, lambda: _opened(folder))


class _Anew(ValueError):
    """A file is another one than when the results were opened."""


def _settled(folder: Path, read: Callable[[], T]) -> T:
    """The reading of a folder that a process may be writing.

    It changes one file after another; a moment later they fit together again.

    Raises:
      As `read`, if nobody writes there; ValueError: they do not fit for a long time.
    """
    end = time.monotonic() + SECONDS
    while True:
        try:
            return read()
        except _Anew:
            raise
        except (FileNotFoundError, ValueError) as error:
            holder = None
            with contextlib.suppress(OSError):  # not to be looked at: nobody is known of
                holder = lock_holder(folder / LOCK)
            if holder is None:
                break
            if time.monotonic() > end:
                words = f"{error} (while {holder} works there: open the results again)"
                raise type(error)(words) from error
        time.sleep(PAUSE)
    return read()  # what the last one that wrote there left


def _opened(folder: Path) -> xr.Dataset:
    """The dataset of a folder that nobody changes meanwhile."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise FileNotFoundError(
            f"{folder / MANIFEST} is missing; restore it from a copy, or run the grid into "
            "another folder."
        )
    folded = read_folded(folder, manifest)
    places = _Places(manifest)
    root = f"{RECORDS}/zarr.json"
    check_file(folder, root, manifest["metadata"][root])
    variables: dict[str, xr.Variable] = {}
    for name in manifest["record"]:
        _check_metadata(folder, manifest, name)
        lazy = _Records(folder, manifest, folded, name, places.where)
        dims = (*places.dims, "step", *manifest["record"][name])
        values = indexing.LazilyIndexedArray(lazy)
        variables[name] = xr.Variable(dims, values, attributes(name))
    known_dims = {dim for variable in variables.values() for dim in variable.dims}
    coords = _coords(manifest, places, folded)
    for name, listed in manifest["coords"].items():
        name, labels = _label(name, listed, places)
        if labels.dims[-1] in known_dims:
            coords[name] = labels
    dataset = xr.Dataset(variables, coords, _attributes(manifest))
    reached = int(dataset.steps.max()) // manifest["record_every"]
    return with_final(folder, manifest, dataset.isel(step=slice(0, reached + 1)))


def _attributes(manifest: JsonObject) -> dict[str, Any]:
    """Attributes that all runs share: their setting, and the way they were run."""
    fields = manifest["grid"].items()
    return {name: v for name, v in fields if isinstance(v, str | int | float)} | {
        "htfjax_format": manifest["format"],
        "identity": identity_of(manifest),
        "batching": manifest["batching"],
        "lanes_limited_by_memory": int(manifest["lanes_limited_by_memory"]),
    }


class _Places:
    """Places of all runs of a grid in the store.

    Attributes:
      dims, sizes: of the grid: its axes, then the seeds.
      where: (*sizes, 2) program and row of each run.
    """

    def __init__(self, manifest: JsonObject) -> None:
        axes, seeds = manifest["grid"]["axes"], manifest["seeds"]
        self.dims = (*axes, "seed")
        self.sizes = (*(len(v) for v in axes.values()), len(seeds))
        self.where = np.full((*self.sizes, 2), -1)
        self.position = {s: i for i, s in enumerate(seeds)}
        for p, program in enumerate(manifest["programs"]):
            for b, runs in enumerate(program["blocks"]):
                for lane, at in self.lanes(runs):
                    self.where[at] = (p, b * program["block"] + lane)

    def lanes(self, runs: list) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Lanes of a block, and where they are in the grid."""
        for lane, (*point, seed) in enumerate(runs):
            yield lane, (*point, self.position[seed])


def _coords(manifest: JsonObject, places: _Places, folded: JsonObject) -> dict[str, Any]:
    """Labels of the axes, and how every run stands."""
    every, dims = manifest["record_every"], places.dims
    status = np.full(places.sizes, RUN[0], f"<U{max(map(len, RUN))}")
    for place in manifest["failed"]:
        status[tuple(place)] = "failed"
    info = {
        "steps": np.zeros(places.sizes, np.int32),
        "stop_step": np.full(places.sizes, -1, np.int32),
        "slow_steps": np.full(places.sizes, -1, np.int32),
    }
    for program in manifest["programs"]:
        for b, runs in enumerate(program["blocks"]):
            line = folded["blocks"].get((program["name"], b))
            if line is None:
                continue
            # The record at the end of a chunk stands in the next one.
            chunks = folded["chunks"].get((program["name"], b), 0)
            on_disk = chunks * manifest["chunk_steps"] - every
            for lane, at in places.lanes(runs):
                cause, end = line["cause"][lane], min(line["end"][lane], on_disk)
                status[at] = RUN[run_status(cause, end, manifest["until_step"])]
                info["steps"][at] = end
                info["stop_step"][at] = line["record"][lane] * every if cause else -1
                if line.get("slow"):
                    info["slow_steps"][at] = line["slow"][lane]
    axes = manifest["grid"]["axes"]
    coords: dict[str, Any] = {name: _labels(name, v) for name, v in axes.items()}
    steps = np.arange(manifest["until_step"] // every + 1) * every
    coords |= {"seed": ("seed", list(manifest["seeds"])), "step": ("step", steps)}
    coords |= {k: (dims, v) for k, v in ({"status": status} | info).items()}
    return {k: xr.Variable(d, v, attributes(k)) for k, (d, v) in coords.items()}


def _label(name: str, listed: list, places: _Places) -> tuple[str, xr.Variable]:
    """Labels along an axis of records, over axes of the grid too where programs differ."""
    known = [entry for entry in listed if entry]
    dim, values = known[0]
    if all(entry == known[0] for entry in known):
        return name, xr.Variable(dim, list(values), attributes(name))
    length = max(len(values) for _, values in known)
    blank = "" if isinstance(values[0], str) else np.nan
    rows = [[*(x[1] if x else ()), *[blank] * length][:length] for x in [*listed, None]]
    # The last row is for settings that could not be built.
    which = np.array([rows.index(row) for row in rows])[places.where[..., 0, 0]]
    dims = [*places.dims[:-1], dim]
    for axis in reversed(range(which.ndim)):
        if (which == which.take([0], axis)).all():
            which = which.take(0, axis)
            del dims[axis]
    name = f"{name}_label" if name == dim else name
    return name, xr.Variable(dims, np.array(rows)[which], attributes(name))


def read_folded(folder: Path, manifest: JsonObject) -> JsonObject:
    """The journal, folded.

    Raises:
      FileNotFoundError: no journal. ValueError: it is damaged.
    """
    at_least = lines_written(folder)
    try:
        reading = read_journal(folder / JOURNAL, identity_of(manifest), at_least)
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder / JOURNAL} is missing; {AGAIN}.") from None
    problems = reading.problems + [
        f"{folder / JOURNAL} has a line that does not fit {folder / MANIFEST}"
        for line in reading.lines
        if not fits(line, manifest)
    ]
    if problems:
        raise ValueError(f"{problems[0]}; {AGAIN}.")
    return fold(reading.lines)


def fits(line: JsonObject, manifest: JsonObject) -> bool:
    """Whether a line of the journal is about a block of the manifest."""
    for program in manifest["programs"]:
        if program["name"] == line["program"] and line["block"] < len(program["blocks"]):
            return runs_digest(program["blocks"][line["block"]]) == line["runs"]
    return False


def fold(lines: list[JsonObject]) -> JsonObject:
    """The journal's last word: digests by file, chunks and state of every block."""
    files: dict[str, str] = {}
    blocks: dict[tuple[str, int], JsonObject] = {}
    chunks: dict[tuple[str, int], int] = {}
    for line in lines:
        files |= line["files"]
        key = (line["program"], line["block"])
        chunks[key] = max(chunks.get(key, 0), line["chunk"] + 1)
        if key not in blocks or not line["again"]:
            blocks[key] = {**blocks.get(key, {}), **line}
    return {"files": files, "blocks": blocks, "chunks": chunks}


def _check_metadata(folder: Path, manifest: JsonObject, name: str) -> None:
    """Compares the files by which other readers of zarr find a quantity."""
    for program in manifest["programs"]:
        path = metadata_of(program["name"], name)
        if path in manifest["metadata"]:
            for file in (f"{RECORDS}/{program['name']}/zarr.json", path):
                check_file(folder, file, manifest["metadata"][file])


def check_file(folder: Path, path: str, wanted: str) -> bytes:
    """Content of a file that fits its digest.

    Raises:
      FileNotFoundError: it is missing. ValueError: it is damaged.
    """
    try:
        content = (folder / path).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        if folder.is_dir():
            raise FileNotFoundError(f"{folder / path} is missing; {AGAIN}.") from None
        raise FileNotFoundError(
            f"{folder} is missing: it was moved or removed after its results were opened; "
            "open them where they are now."
        ) from None
    if text_digest(content) != wanted:
        raise ValueError(f"{folder / path} is damaged; {AGAIN}.")
    return content


class _Records(BackendArray):
    """One quantity over the whole grid, read block by block from the programs' chunks."""

    def __init__(
        self, folder: Path, manifest: JsonObject, folded: JsonObject, name: str,
        where: np.ndarray,
    ) -> None:  # fmt: skip
        self.folder, self.manifest, self.name = folder, manifest, name
        self.files, self.counts, self.where = folded["files"], folded["chunks"], where
        listed = [p["arrays"]["records"].get(name) for p in manifest["programs"]]
        kinds, shapes = zip(*(entry for entry in listed if entry), strict=True)
        inside = tuple(np.max(shapes, axis=0).astype(int).tolist())
        records = manifest["until_step"] // manifest["record_every"] + 1
        self.shape = (*where.shape[:-1], records, *inside)
        self.dtype = np.result_type(*kinds)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple) -> np.ndarray:
        """Outer indexing: an int, slice or list for every axis."""
        lead = self.where.ndim - 1
        where = _outer(self.where, (*key[:lead], slice(None)))
        places = where.reshape(-1, 2)
        values = np.full((len(places), *self.shape[lead:]), np.nan, self.dtype)
        for p, program in enumerate(self.manifest["programs"]):
            mine = np.nonzero(places[:, 0] == p)[0]
            blocks, lanes = np.divmod(places[mine, 1], program["block"])
            for block in np.unique(blocks).tolist():
                here, first = blocks == block, 0
                for chunk in self._chunks(program, block):
                    part = chunk[lanes[here], : self.shape[lead] - first]
                    last = first + part.shape[1]
                    ends = (slice(first, last), *map(slice, part.shape[2:]))
                    values[(mine[here], *ends)] = part
                    first = last
        values = values.reshape(*where.shape[:-1], *values.shape[1:])
        keep = (slice(None),) * (where.ndim - 1)
        return _outer(values, (*keep, *key[lead:]))

    def _chunks(self, program: JsonObject, block: int) -> Iterator[np.ndarray]:
        """Chunks of a block that are finished, (lanes, records, ...).

        Files that the journal does not list are not looked at.
        """
        name, every = program["name"], self.manifest["record_every"]
        kind, inside = program["arrays"]["records"].get(self.name, (None, ()))
        shape = (program["block"], self.manifest["chunk_steps"] // every, *inside)
        for chunk in range(self.counts.get((name, block), 0) if kind else 0):
            path = chunk_file(name, self.name, block, chunk, len(inside))
            yield decoded(self._chunk(path), kind, shape)

    def _chunk(self, path: str) -> bytes:
        """Content of a file of records, which must be what it was at first."""
        if path not in self.files:
            raise ValueError(f"{self.folder / JOURNAL} does not list {path}; {AGAIN}.")

        def read() -> bytes:
            try:
                return check_file(self.folder, path, self.files[path])
            except ValueError:
                with contextlib.suppress(FileNotFoundError):
                    identity = identity_of(self.manifest)
                    lines = read_journal(self.folder / JOURNAL, identity).lines
                    if fold(lines)["files"].get(path) not in (None, self.files[path]):
                        raise _Anew(
                            f"{self.folder / path} was written anew after the results "
                            "were opened; open them again."
                        ) from None
                raise

        return _settled(self.folder, read)


def _outer(values: np.ndarray, key: tuple) -> np.ndarray:
    for axis in reversed(range(len(key))):
        index = key[axis]
        values = (
            values[(slice(None),) * axis + (index,)]
            if isinstance(index, slice)
            else np.take(values, index, axis=axis)
        )
    return values


def _labels(name: str, values: list) -> tuple[str, list]:
    """Axis values as coordinates; others are spelled."""
    plain = all(isinstance(v, int | float) for v in values)
    return name, list(values) if plain else [str(v) for v in values]
