"""Results of an ensemble as one labelled dataset, read only as far as it is used."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing

from htfjax._digests import file_digest
from htfjax._types import JsonObject
from htfjax.runs.final import with_final
from htfjax.runs.folder import (
    MANIFEST,
    identity_of,
    lines_written,
    read_manifest,
    runs_digest,
)
from htfjax.runs.journal import JOURNAL, read_journal
from htfjax.runs.labels import attributes
from htfjax.runs.status import RUN, run_status
from htfjax.runs.store import RECORDS, chunk_file, metadata_of

AGAIN = "run the same command again, which computes anew what is lost"


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
        arrays = [
            _open_array(folder, program["name"], name, manifest["metadata"])
            for program in manifest["programs"]
        ]
        known: list[Any] = [a for a in arrays if a is not None]
        if known:
            lazy = _Records(folder, manifest, folded, name, arrays, places.where)
            dims = (*places.dims, "step", *known[0].metadata.dimension_names[2:])
            values = indexing.LazilyIndexedArray(lazy)
            variables[name] = xr.Variable(dims, values, attributes(name))
    known_dims = {dim for variable in variables.values() for dim in variable.dims}
    coords = _coords(manifest, places, folded)
    for name, (dim, values) in manifest["coords"].items():
        if dim in known_dims:
            coords[name] = xr.Variable(dim, list(values), attributes(name))
    dataset = xr.Dataset(variables, coords, _attributes(manifest))
    reached = int(dataset.steps.max()) // manifest["record_every"]
    return with_final(folder, manifest, dataset.isel(step=slice(0, reached + 1)))


def _attributes(manifest: JsonObject) -> dict[str, Any]:
    """What is true of all runs: their setting, and how they were run."""
    fields = manifest["grid"].items()
    return {name: v for name, v in fields if isinstance(v, str | int | float)} | {
        "htfjax_format": manifest["format"],
        "identity": identity_of(manifest),
        "batching": manifest["batching"],
        "lanes_limited_by_memory": int(manifest["lanes_limited_by_memory"]),
    }


class _Places:
    """Where in the store every run of a grid is.

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


def _open_array(
    folder: Path, program: str, name: str, metadata: dict[str, str]
) -> zarr.Array | None:
    """The array of a quantity; None where the program has none of that name."""
    path = metadata_of(program, name)
    if path not in metadata:
        return None
    for file in (f"{RECORDS}/{program}/zarr.json", path):
        check_file(folder, file, metadata[file])
    return zarr.open_array(str((folder / path).parent), mode="r", zarr_format=3)


def check_file(folder: Path, path: str, wanted: str) -> None:
    """Compares a file with its digest.

    Raises:
      FileNotFoundError: it is missing. ValueError: it is damaged.
    """
    found = file_digest(folder / path)
    if found == "missing" and not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is missing: it was moved or removed after its results were opened; "
            "open them where they are now."
        )
    if found == "missing":
        raise FileNotFoundError(f"{folder / path} is missing; {AGAIN}.")
    if found != wanted:
        raise ValueError(f"{folder / path} is damaged; {AGAIN}.")


class _Records(BackendArray):
    """One quantity over the whole grid, read run by run from the programs' arrays."""

    def __init__(
        self, folder: Path, manifest: JsonObject, folded: JsonObject, name: str,
        arrays: list[zarr.Array | None], where: np.ndarray,
    ) -> None:  # fmt: skip
        self.folder, self.manifest, self.name = folder, manifest, name
        self.files, self.chunks = folded["files"], folded["chunks"]
        self.arrays, self.where = arrays, where
        known = [a for a in arrays if a is not None]
        inside = tuple(np.max([a.shape[2:] for a in known], axis=0).astype(int).tolist())
        records = manifest["until_step"] // manifest["record_every"] + 1
        self.shape = (*where.shape[:-1], records, *inside)
        self.dtype = np.result_type(*(a.dtype for a in known))
        self.checked: set[str] = set()

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
        for p, array in enumerate(self.arrays):
            mine = np.nonzero(places[:, 0] == p)[0]
            if array is None or not len(mine):
                continue
            for chunks, some in self._by_length(p, array, places[mine, 1]):
                read = _rows(array, places[mine[some], 1], chunks)
                part = tuple(slice(0, n) for n in np.minimum(read.shape, values.shape)[1:])
                values[(mine[some], *part)] = read[(slice(None), *part)]
        values = values.reshape(*where.shape[:-1], *values.shape[1:])
        keep = (slice(None),) * (where.ndim - 1)
        return _outer(values, (*keep, *key[lead:]))

    def _by_length(
        self, p: int, array: zarr.Array, rows: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Number of chunks that are finished, and which of the rows have so many.

        Files that the journal does not list are not looked at. Those that it lists are
        compared with their digests.
        """
        program = self.manifest["programs"][p]["name"]
        blocks = rows // array.chunks[0]
        lengths = np.zeros(len(rows), int)
        for block in np.unique(blocks).tolist():
            count = self.chunks.get((program, block), 0)
            lengths[blocks == block] = count
            for chunk in range(count):
                path = chunk_file(program, self.name, block, chunk, array.ndim - 2)
                if path not in self.checked:
                    self._check(path)
        for length in np.unique(lengths[lengths > 0]).tolist():
            yield length, np.nonzero(lengths == length)[0]

    def _check(self, path: str) -> None:
        if path not in self.files:
            raise ValueError(f"{self.folder / JOURNAL} does not list {path}; {AGAIN}.")
        try:
            check_file(self.folder, path, self.files[path])
        except ValueError:
            newer = read_folded(self.folder, self.manifest)["files"].get(path)
            if newer not in (None, self.files[path]):
                raise ValueError(
                    f"{self.folder / path} was written anew after the results were opened; "
                    "open them again."
                ) from None
            raise
        self.checked.add(path)


def _rows(array: zarr.Array, rows: np.ndarray, chunks: int) -> np.ndarray:
    """Some rows of the first chunks."""
    columns = slice(0, min(chunks * array.chunks[1], array.shape[1]))
    if len(rows) < array.shape[0]:
        return np.asarray(array.oindex[(rows, columns)])
    return np.asarray(array[:, columns])[rows]


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
