"""Results of an ensemble as one labelled dataset, read only as far as it is used."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing

from htfjax._digests import file_digest
from htfjax.ensemble.folder import read_journal, read_manifest
from htfjax.ensemble.store import RECORDS, chunk_file

__all__ = ["is_ensemble", "open_records"]

STATUSES = ("pending", "running", "capped", "converged", "diverged")


def is_ensemble(folder: Path) -> bool:
    """Whether a folder holds the results of an ensemble."""
    return (folder / "manifest.json").exists() and (folder / RECORDS).exists()


def open_records(folder: Path) -> xr.Dataset:
    """The dataset over (axes ..., seed, step, ...): arrays are read at first use.

    A quantity is read, and its files checked against their digests, when its values are
    asked for; no other quantity is touched. Runs that have not come so far hold NaN, and
    so do sizes that differ between programs.

    Raises:
      FileNotFoundError: no ensemble in the folder.
      ValueError: a newer format or, when values are read, a damaged file (it is named).
    """
    manifest = read_manifest(folder)
    if manifest is None or not (folder / RECORDS).exists():
        raise FileNotFoundError(f"no results at {folder}")
    axes, seeds = manifest["grid"]["axes"], manifest["seeds"]
    dims = (*axes, "seed")
    sizes = (*(len(v) for v in axes.values()), len(seeds))
    folded = fold(read_journal(folder))
    where = np.full((*sizes, 2), -1)
    info = {
        "status": np.zeros(sizes, np.int8),
        "steps": np.zeros(sizes, np.int32),
        "stop_step": np.full(sizes, -1, np.int32),
        "slow_steps": np.full(sizes, -1, np.int32),
    }
    every, position = manifest["record_every"], {s: i for i, s in enumerate(seeds)}
    for p, program in enumerate(manifest["programs"]):
        for b, runs in enumerate(program["blocks"]):
            line = folded["blocks"].get((program["name"], b))
            for lane, (*point, seed) in enumerate(runs):
                at = (*point, position[seed])
                where[at] = (p, b * program["block"] + lane)
                if line is None:
                    continue
                cause, end = line["cause"][lane], line["end"][lane]
                capped = not cause and end >= manifest["num_steps"]
                info["status"][at] = 2 if capped else (1, 3, 4)[cause]
                info["steps"][at] = end
                info["stop_step"][at] = line["record"][lane] * every if cause else -1
                if line.get("slow"):
                    info["slow_steps"][at] = line["slow"][lane]
    root: Any = zarr.open_group(str(folder / RECORDS), mode="r")
    sources = [
        root[program["name"]] if program["name"] in root else {}
        for program in manifest["programs"]
    ]
    records = manifest["num_steps"] // every + 1
    variables: dict[str, Any] = {}
    for name in manifest["record"]:
        arrays = [group[name] if name in group else None for group in sources]
        known = [a for a in arrays if a is not None]
        if not known:
            continue
        lazy = _Records(folder, manifest, folded["files"], name, arrays, where, records)
        extra = tuple(known[0].metadata.dimension_names[2:])
        variables[name] = xr.Variable(
            (*dims, "step", *extra), indexing.LazilyIndexedArray(lazy)
        )
    status = np.array(STATUSES)[info.pop("status")]
    coords: dict[str, Any] = {name: _labels(name, v) for name, v in axes.items()}
    coords |= {"seed": list(seeds), "step": np.arange(records) * every}
    coords |= {"status": (dims, status)} | {k: (dims, v) for k, v in info.items()}
    for name, values in manifest.get("coords", {}).items():
        if any(name in v.dims for v in variables.values()):
            coords[name] = (name, list(values))
    attributes = {
        "htfjax_format": manifest["format"],
        "batching": manifest["batching"],
        "lanes_limited_by_memory": int(manifest["lanes_limited_by_memory"]),
        "setting": str(manifest["grid"]["setting"]),
    }
    return xr.Dataset(variables, coords, attributes)


def fold(journal: list[dict[str, Any]]) -> dict[str, Any]:
    """The journal's last word: digests by file, and the state of every block."""
    files: dict[str, str] = {}
    blocks: dict[tuple[str, int], dict[str, Any]] = {}
    for line in journal:
        files |= line.get("files", {})
        key = (line["program"], line["block"])
        blocks[key] = {**blocks.get(key, {}), **line}
    return {"files": files, "blocks": blocks}


class _Records(BackendArray):
    """One quantity over the whole grid, read run by run from the programs' arrays."""

    def __init__(
        self, folder: Path, manifest: dict[str, Any], files: dict[str, str], name: str,
        arrays: list[Any], where: np.ndarray, records: int,
    ) -> None:  # fmt: skip
        self.folder, self.manifest, self.files, self.name = folder, manifest, files, name
        self.arrays, self.where = arrays, where
        known = [a for a in arrays if a is not None]
        inside = tuple(np.max([a.shape[2:] for a in known], axis=0).astype(int).tolist())
        self.shape = (*where.shape[:-1], records, *inside)
        self.dtype = np.result_type(*(a.dtype for a in known))
        self.checked: set[str] = set()

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Outer indexing: an int, slice or list for every axis."""
        lead = self.where.ndim - 1
        where = _outer(self.where, (*key[:lead], slice(None)))
        places = where.reshape(-1, 2)
        values = np.full((len(places), *self.shape[lead:]), np.nan, self.dtype)
        for p, array in enumerate(self.arrays):
            mine = np.nonzero(places[:, 0] == p)[0]
            if array is None or not len(mine):
                continue
            rows = places[mine, 1]
            self._check(p, array, rows)
            read = array.oindex[(rows,)] if len(rows) < array.shape[0] else array[:][rows]
            part = tuple(slice(0, n) for n in np.minimum(read.shape, values.shape)[1:])
            values[(mine, *part)] = read[(slice(None), *part)]
        values = values.reshape(*where.shape[:-1], *values.shape[1:])
        keep = (slice(None),) * (where.ndim - 1)
        return _outer(values, (*keep, *key[lead:]))

    def _check(self, p: int, array: Any, rows: np.ndarray) -> None:
        program = self.manifest["programs"][p]["name"]
        for block in np.unique(rows // array.chunks[0]):
            for chunk in range(-(-array.shape[1] // array.chunks[1])):
                path = chunk_file(program, self.name, int(block), chunk, array.ndim - 2)
                wanted = self.files.get(path)
                if wanted is None or path in self.checked:
                    continue
                if file_digest(self.folder / path) != wanted:
                    raise ValueError(
                        f"{self.folder / path} is damaged; run the same command again, "
                        "which computes it anew."
                    )
                self.checked.add(path)


def _outer(values: np.ndarray, key: tuple[Any, ...]) -> np.ndarray:
    for axis in reversed(range(len(key))):
        index = key[axis]
        values = (
            values[(slice(None),) * axis + (index,)]
            if isinstance(index, slice)
            else np.take(values, index, axis=axis)
        )
    return values


def _labels(name: str, values: list[Any]) -> tuple[str, list[Any]]:
    """Axis values as coordinates; what is no number is spelled."""
    plain = all(isinstance(v, int | float) for v in values)
    return name, list(values) if plain else [str(v) for v in values]
