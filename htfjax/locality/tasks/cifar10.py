"""CIFAR-10 from its official binary files, read without pickle."""

import contextlib
import hashlib
import http.client
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np

from htfjax import _checks, _digests, _files
from htfjax._types import PathLike
from htfjax.locality.tasks.images import Images

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
SIZE = 170_052_171
FILES: dict[str, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    "test": ("test_batch.bin",),
}
RECORDS = 10_000  # a file
RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
FOLDER = "cifar-10-batches-bin"  # inside the archive
DIGESTS = "htfjax-cifar-10.json"  # beside that folder: SHA-256 of what was unpacked, sealed
MEAN, STD = (0.491, 0.482, 0.446), (0.247, 0.243, 0.261)
BLOCK = 1 << 20


def load_cifar10(folder: PathLike, split: str, *, name: str = "CIFAR-10") -> Images:
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
      FileNotFoundError: a file is missing.
      ValueError: it is truncated or too long, holds labels above 9, is not the one that
        `download_cifar10` unpacked there, or another split is asked for. The error names
        the file, the size expected and where to get it.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html (binary version).

    Example:
      >>> from htfjax import locality
      >>> locality.load_cifar10("/nowhere", "test")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      FileNotFoundError: /nowhere/test_batch.bin is missing: ...
    """
    _checks.one_of("split", split, tuple(FILES))
    _checks.instance("name", name, str, "any text")
    where = _files.absolute("folder", folder)
    if not (where / FILES[split][0]).exists() and (where / FOLDER).is_dir():
        where = where / FOLDER
    known = _unpacked_digests(where)
    records = np.concatenate(
        [_records(where / file, known.get(file)) for file in FILES[split]]
    )
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    pixels = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return Images(pixels, records[:, 0].copy(), name, mean=MEAN, std=STD)


def download_cifar10(
    folder: PathLike,
    *,
    url: str = URL,
    md5: str = MD5,
    size: int = SIZE,
    timeout: float = 60.0,
    deadline: float = 3600.0,
) -> Path:
    """Fetches the official binary archive, checks its md5 and unpacks its six data files.

    Nothing is unpacked from an archive with another checksum, and no file of others is
    replaced. The SHA-256 of every file unpacked is kept in `htfjax-cifar-10.json`; a
    folder whose files fit it is left alone. 170 MB are fetched, 184 MB unpacked.

    Args:
      folder: where to put `cifar-10-batches-bin`; made if it does not exist.
      url: another place for the same archive (https, http or file).
      md5: the archive's checksum.
      size: the archive's bytes; no more are read.
      timeout: seconds without an answer before it gives up.
      deadline: seconds for the whole transfer before it gives up.

    Returns:
      The folder for `load_cifar10`.

    Raises:
      ValueError: an archive of another size or checksum, or without the files; or another
        file stands where one of them would go.
      OSError: the address cannot be read, or not in time; the error names it.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html (binary version).

    Example:
      >>> import tempfile
      >>> from htfjax import locality
      >>> folder = tempfile.mkdtemp()
      >>> locality.download_cifar10(folder, url="file:///nowhere.gz")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      OSError: file:///nowhere.gz cannot be read ...
    """
    _checks.instance("url", url, str, "the address of the archive")
    _checks.instance("md5", md5, str, "32 hexadecimal digits")
    _checks.positive("timeout", timeout, strict=True)
    _checks.positive("deadline", deadline, strict=True)
    size = _checks.at_least("size", size, 1)
    above = _files.absolute("folder", folder)
    target = above / FOLDER
    names = [name for split in FILES.values() for name in split]
    known = {}
    with contextlib.suppress(ValueError):  # a damaged list: all is fetched and compared
        known = _unpacked_digests(target)
    if known and all(known[n] == _digests.file_digest(target / n) for n in names):
        return target
    above.mkdir(parents=True, exist_ok=True)
    with (
        _files.name_full_disk(target),
        tempfile.TemporaryDirectory(prefix=".cifar-10.", dir=above) as scratch,
    ):
        archive = Path(scratch) / "archive.tar.gz"
        _fetch(url, archive, md5, size, timeout, deadline)
        _unpack(archive, target, names, known)
    return target


def _unpacked_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, if `download_cifar10` filled the folder; otherwise nothing."""
    try:
        return _digests.read_sealed(folder.parent / DIGESTS)["files"]
    except FileNotFoundError:
        return {}


def _records(path: Path, digest: str | None) -> np.ndarray:
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
    if digest is not None and _digests.file_digest(path) != digest:
        raise ValueError(
            f"{path} has changed since it was unpacked; delete it and call "
            "`download_cifar10` again."
        )
    records = np.fromfile(path, np.uint8).reshape(RECORDS, RECORD)
    if records[:, 0].max() > 9:
        row = int(np.argmax(records[:, 0] > 9))
        raise ValueError(
            f"{path} holds label {records[row, 0]} in record {row}, expected 0 to 9: it is "
            f"damaged or no CIFAR-10 file; {advice}."
        )
    return records


def _fetch(
    url: str, path: Path, md5: str, size: int, timeout: float, deadline: float
) -> None:
    """Writes what lies at `url` to `path`, and refuses it if it is something else."""
    digest, found = hashlib.md5(usedforsecurity=False), 0
    end = time.monotonic() + deadline
    try:
        with (
            urllib.request.urlopen(url, timeout=min(timeout, deadline)) as source,
            path.open("wb") as file,
        ):
            # `read1` returns what has come, so that a slow sender is noticed.
            while found <= size and (block := source.read1(BLOCK)):
                if time.monotonic() > end:
                    raise TimeoutError(f"{found} bytes in {deadline:g} s")
                digest.update(block)
                file.write(block)
                found += len(block)
    except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno in _files.FULL_NUMBERS:
            raise
        raise OSError(
            f"{url} cannot be read ({error}); fetch the archive elsewhere, and give the "
            "unpacked folder to `load_cifar10`."
        ) from error
    if found > size:
        raise ValueError(
            f"{url} gives more than {size} bytes: another file; nothing was unpacked."
        )
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


def _unpack(archive: Path, target: Path, names: list[str], known: dict[str, str]) -> None:
    """The named members of the archive, by their last path component, and nothing else."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = {Path(m.name).name: m for m in tar.getmembers() if m.isfile()}
            missing = sorted(set(names) - set(members))
            if missing:
                raise ValueError(f"the archive lacks {', '.join(missing)}.")
            for name in names:
                if members[name].size != RECORDS * RECORD:
                    raise ValueError(f"the archive's {name} has another size.")
            target.mkdir(exist_ok=True)
            digests = {}
            for name in names:
                source = tar.extractfile(members[name])
                assert source is not None  # a regular file
                content = source.read()
                digests[name] = hashlib.sha256(content).hexdigest()
                present = _digests.file_digest(target / name)
                if present == digests[name]:
                    continue
                if present != "missing" and name not in known:
                    raise ValueError(
                        f"{target / name} is not the official file, and was not unpacked "
                        "here; move it away or choose another folder."
                    )
                with _files.atomic_write(target / name) as path:
                    path.write_bytes(content)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise ValueError(f"the archive is damaged ({error}).") from error
    _digests.write_sealed(target.parent / DIGESTS, {"files": digests})
