"""Records on disk: one zarr array per quantity and program, one file per finished chunk.

zarr makes the metadata, by which other readers find the chunks. A chunk is encoded here:
zarr does it in Python's thread pools, which are shut where a process that ends still has
to save. The checksum of a chunk is its digest in the journal; the codecs have none.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.codecs
import zarr.storage
from numcodecs.zstd import Zstd

from htfjax._digests import file_digest, text_digest
from htfjax._files import atomic_write
from htfjax._types import JsonObject

RECORDS = "results.zarr"
# Shape of one record, dtype and names of its axes.
Quantities = dict[str, tuple[tuple[int, ...], str, tuple[str, ...]]]
Labels = dict[str, tuple[str, np.ndarray, JsonObject]]  # dimension, values, attributes
CODEC = Zstd(level=0)


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
            compressors=zarr.codecs.ZstdCodec(level=CODEC.level),
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


def chunk_file(program: str, name: str, block: int, chunk: int, extra: int) -> str:
    """Path of a chunk of a quantity within the folder; `extra` axes follow records."""
    place = "/".join(map(str, (block, chunk, *[0] * extra)))
    return f"{RECORDS}/{program}/{name}/c/{place}"


def write_chunk(
    folder: Path, program: str, quantities: Quantities, place: tuple[int, int],
    shape: tuple[int, int], values: dict[str, np.ndarray], known: dict[str, str],
) -> tuple[dict[str, str], int]:  # fmt: skip
    """Writes one chunk of every quantity that is not on disk yet.

    Args:
      place: number of the block and of the chunk in it.
      shape: lanes and records of a chunk.
      values: name -> (lanes, records, ...), at most a chunk of each.
      known: digests of files that are finished and whole.

    Returns:
      File -> digest of all files of the chunk, and how many were there already and
      differ from what would have been written now.
    """
    files, changed = {}, 0
    for name, (inside, kind, _) in quantities.items():
        path = chunk_file(program, name, *place, len(inside))
        full, given = np.full((*shape, *inside), np.nan, kind), values[name][:, : shape[1]]
        full[: len(given), : given.shape[1]] = given
        content = bytes(CODEC.encode(full.astype(_stored(kind))))
        digest = text_digest(content)
        if path in known and file_digest(folder / path) == known[path]:
            found = decoded((folder / path).read_bytes(), kind, full.shape)
            if np.array_equal(found, full, equal_nan=True):
                continue
            changed += not _extends(found, full)
        elif path in known:
            changed += digest != known[path]
        _replace(folder / path, content)
        files[path] = digest
    return files, changed


def decoded(content: bytes, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values in a file of a chunk."""
    values = np.frombuffer(CODEC.decode(content), _stored(kind))
    return values.reshape(shape).astype(kind)


def _stored(kind: str) -> np.dtype:
    return np.dtype(kind).newbyteorder("<")


def _replace(path: Path, content: bytes) -> None:
    """Writes a file that is whole or not there; its digest says whether it lasted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)


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
