"""npz archives whose sizes are checked against the file before memory is taken."""

import errno
import math
import os
import zipfile

import numpy as np

from htfjax import _files
from htfjax._types import PathLike

# Deflate gives at most 1032 bytes for one.
RATIO, SLACK = 1032, 1024
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: PathLike) -> dict[str, np.ndarray]:
    """All arrays of an npz file. Nothing is unpickled.

    Raises:
      TypeError: not a path. FileNotFoundError: no such file.
      ValueError: not such an archive, or one that states sizes other than its own.

    Example:
      >>> import htfjax as htf, numpy as np, os, tempfile
      >>> path = os.path.join(tempfile.mkdtemp(), "pair.npz")
      >>> np.savez(path, a=np.arange(3), b=np.ones(2))
      >>> {name: x.tolist() for name, x in htf.runs.read_npz(path).items()}
      {'a': [0, 1, 2], 'b': [1.0, 1.0]}
    """
    path = _files.absolute("path", path)
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            size = os.fstat(file.fileno()).st_size
            return _read_all(archive, size)
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path)) from error
    except _files.DAMAGE as error:  # one kind for whatever a damaged file may raise
        problem = str(error) or type(error).__name__
        raise ValueError(f"{path} is not a whole npz archive: {problem}") from error


def _read_all(archive: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise ValueError("it names an array twice")
    if sum(entry.compress_size for entry in entries) > size:
        raise ValueError("its entries are larger than the file")
    for entry in entries:
        _check_entry(entry)
    return {
        entry.filename.removesuffix(".npy"): _read_array(archive, entry)
        for entry in entries
    }


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if not name.endswith(".npy"):
        raise ValueError(f"{name} is no array")
    if entry.flag_bits & 1:
        raise ValueError(f"{name} is encrypted")
    if entry.compress_type == zipfile.ZIP_STORED:
        fits = entry.file_size == entry.compress_size
    elif entry.compress_type == zipfile.ZIP_DEFLATED:
        fits = entry.file_size <= RATIO * entry.compress_size + SLACK
    else:
        raise ValueError(f"{name} has an unknown compression {entry.compress_type}")
    if not fits:
        raise ValueError(
            f"{name} states {entry.file_size} bytes and takes {entry.compress_size}"
        )


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    name = entry.filename
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        if version not in HEADERS:
            raise ValueError(f"{name} has the npy version {version}")
        shape, by_columns, dtype = HEADERS[version](member)
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects")
        if any(length < 0 for length in shape):
            raise ValueError(f"{name} states the shape {shape}")
        wanted = math.prod(shape) * dtype.itemsize
        present = entry.file_size - member.tell()
        if wanted != present:
            raise ValueError(
                f"{name} states {wanted} bytes for the shape {shape}, {present} are there"
            )
        content = member.read()  # to its end, where its checksum is compared
    values: np.ndarray = np.frombuffer(bytearray(content), dtype)
    return values.reshape(shape, order="F" if by_columns else "C")
