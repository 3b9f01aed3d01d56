"""CIFAR-10 from its official binary files. No pickle is ever read."""

import hashlib
import os
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from htfjax import _checks, _files
from htfjax.locality.images import Images

__all__ = ["download_cifar10", "load_cifar10"]

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
SIZE = 170_052_171
FILES = {
    "train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    "test": ("test_batch.bin",),
}
RECORDS = 10_000  # a file
RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
FOLDER = "cifar-10-batches-bin"  # inside the archive
MEAN, STD = (0.491, 0.482, 0.446), (0.247, 0.243, 0.261)
BLOCK = 1 << 20


def load_cifar10(
    folder: str | os.PathLike, split: str, *, name: str = "CIFAR-10"
) -> Images:
    """The 50,000 training or 10,000 test images from a folder of official binary files.

    Args:
      folder: where data_batch_1.bin ... data_batch_5.bin and test_batch.bin lie, or the
        folder above `cifar-10-batches-bin`.
      split: "train" or "test".
      name: what results on these files are labelled with, for example
        "CIFAR-10 (JPEG-75 copy)" for a copy whose pixels are not the original ones.

    Returns:
      (N, 32, 32, 3) images with labels 0 to 9, to be normalized by the usual mean and
      standard deviation of the channels.

    Raises:
      FileNotFoundError: a file is missing. ValueError: it is truncated or too long, holds
      labels above 9, or another split is asked for. The file, the size expected and where
      to get it are said.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html (binary version).

    Example:
      >>> load_cifar10("nowhere", "test")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      FileNotFoundError: nowhere/test_batch.bin is missing: ...
    """
    _checks.one_of("split", split, tuple(FILES))
    where = Path(folder)
    if not (where / FILES[split][0]).exists() and (where / FOLDER).is_dir():
        where = where / FOLDER
    records = np.concatenate([_records(where / file) for file in FILES[split]])
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    pixels = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return Images(pixels, records[:, 0].copy(), name, mean=MEAN, std=STD)


def download_cifar10(
    folder: str | os.PathLike,
    *,
    url: str = URL,
    md5: str = MD5,
    size: int = SIZE,
    timeout: float = 60.0,
) -> Path:
    """Fetches the official binary archive, checks its md5 and unpacks its six data files.

    Nothing is unpacked from an archive with another checksum. A finished folder is left
    alone. 170 MB are fetched, 184 MB unpacked.

    Args:
      folder: where to put `cifar-10-batches-bin`; made if it does not exist.
      url: another place for the same archive (https, http or file).
      md5: the archive's checksum.
      size: the archive's bytes, to tell a broken transfer from another file.
      timeout: seconds without an answer before it gives up.

    Returns:
      The folder for `load_cifar10`.

    Raises:
      ValueError: an archive of another size or checksum, or without the files.
      OSError: the address cannot be read; it is said.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html (binary version).

    Example:
      >>> import tempfile
      >>> folder = tempfile.mkdtemp()
      >>> download_cifar10(folder, url="file:///nowhere.gz")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      OSError: file:///nowhere.gz cannot be read ...
    """
    target = Path(folder) / FOLDER
    names = [name for split in FILES.values() for name in split]
    if all(_complete(target / name) for name in names):
        return target
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".cifar-10.", dir=folder) as scratch:
        archive = Path(scratch) / "archive.tar.gz"
        _fetch(url, archive, md5, size, timeout)
        _unpack(archive, target, names)
    return target


def _records(path: Path) -> np.ndarray:
    """One file as (10000, 3073) bytes."""
    expected = RECORDS * RECORD
    advice = (
        f"expected {expected} bytes; get {URL} (md5 {MD5}), for example with "
        "`download_cifar10`, or give another folder"
    )
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {advice}.")
    found = path.stat().st_size
    if found != expected:
        wrong = "truncated" if found < expected else "too long"
        raise ValueError(f"{path} is {wrong}, {found} bytes: {advice}.")
    records = np.fromfile(path, np.uint8).reshape(RECORDS, RECORD)
    if records[:, 0].max() > 9:
        row = int(np.argmax(records[:, 0] > 9))
        raise ValueError(
            f"{path} holds label {records[row, 0]} in record {row}, expected 0 to 9: it is "
            f"damaged or no CIFAR-10 file; {advice}."
        )
    return records


def _complete(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == RECORDS * RECORD


def _fetch(url: str, path: Path, md5: str, size: int, timeout: float) -> None:
    """Writes what lies at `url` to `path`, and refuses it if it is something else."""
    digest, found = hashlib.md5(usedforsecurity=False), 0
    try:
        with (
            urllib.request.urlopen(url, timeout=timeout) as source,
            path.open("wb") as file,
        ):
            while block := source.read(BLOCK):
                digest.update(block)
                file.write(block)
                found += len(block)
    except (OSError, urllib.error.URLError) as error:
        raise OSError(
            f"{url} cannot be read ({error}); fetch the archive elsewhere, and give the "
            "unpacked folder to `load_cifar10`."
        ) from error
    if found != size:
        raise ValueError(
            f"{url} gave {found} bytes, expected {size}: a broken transfer or another "
            "file; try again."
        )
    if digest.hexdigest() != md5:
        raise ValueError(
            f"{url} has md5 {digest.hexdigest()}, expected {md5}: not the official "
            "archive; nothing was unpacked."
        )


def _unpack(archive: Path, target: Path, names: list[str]) -> None:
    """The named members of the archive, by their last path component, and nothing else."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = {Path(m.name).name: m for m in tar.getmembers() if m.isfile()}
            missing = sorted(set(names) - set(members))
            if missing:
                raise ValueError(f"the archive lacks {', '.join(missing)}.")
            target.mkdir(exist_ok=True)
            for name in names:
                source: Any = tar.extractfile(members[name])
                with _files.atomic_write(target / name) as path:
                    _copy(source, path)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise ValueError(f"the archive is damaged ({error}).") from error


def _copy(source: IO[bytes], path: Path) -> None:
    with path.open("wb") as file:
        while block := source.read(BLOCK):
            file.write(block)
