"""The folder of an ensemble: its lock, its manifest, its status, errors of its disk."""

import contextlib
import errno
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from htfjax import _checks, _digests, _files
from htfjax._types import JsonObject, PathLike
from htfjax.runs import locks

FORMAT = 5
MANIFEST, STATUS, LOCK = "manifest.json", "status.json", "lock"
PACKAGES = ("htfjax", "jax", "jaxlib", "numpy", "optax", "zarr")
# What more seeds or steps add to; everything else of a manifest is fixed.
GROWING = ("seeds", "until_step", "metadata", "failed", "final")


def versions() -> dict[str, str]:
    """Versions of what computes and writes: Python and the packages.

    Example:
      >>> import htfjax as htf
      >>> sorted(htf.runs.versions())
      ['htfjax', 'jax', 'jaxlib', 'numpy', 'optax', 'python', 'zarr']
    """
    listed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            listed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            listed[name] = "not installed"
    return listed


@contextlib.contextmanager
def locked_folder(folder: PathLike, what: str, *, lock: str = LOCK) -> Iterator[Path]:
    """A folder, made if it is missing, from which other processes are kept out.

    Args:
      what: names the folder for errors, such as "`out=runs`".
      lock: name of the lock file; locks of other names do not exclude each other.

    Raises:
      PermissionError: it cannot be written.
      BlockingIOError: another process works in it; process and host are named.
      TypeError, ValueError: not a path, `what` or `lock` not texts.

    Example:
      >>> import htfjax as htf, tempfile
      >>> with htf.runs.locked_folder(tempfile.mkdtemp(), "`out`") as folder:
      ...     htf.runs.is_locked(folder)
      True
    """
    path = _files.absolute("folder", folder)
    _checks.instance("what", what, str, "any text")
    _checks.instance("lock", lock, str, "the name of a file")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise PermissionError(
            f"{what} cannot be written ({error.strerror}); choose another folder."
        ) from error
    with locks.exclusive_lock(path / lock, what):
        yield path


def is_locked(folder: PathLike) -> bool:
    """Whether a process works in the folder now.

    Raises:
      TypeError, ValueError: not a path.
      PermissionError: its lock cannot be looked at by this user.

    Example:
      >>> import htfjax as htf
      >>> htf.runs.is_locked("no such folder")
      False
    """
    path = _files.absolute("folder", folder)
    lock = path / LOCK
    try:
        holder = locks.lock_holder(lock)
    except OSError as error:
        raise PermissionError(
            f"`folder={path}`: its lock cannot be read ({error.strerror or error}), so "
            "whether a process works there is not known; ask as the user who runs it."
        ) from error
    return holder is not None


def write_manifest(folder: Path, manifest: JsonObject) -> None:
    """Writes the manifest under its digest."""
    _digests.write_sealed(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> JsonObject | None:
    """The manifest, None in a fresh folder.

    Raises:
      ValueError: it is damaged, or of another format.
    """
    path = folder / MANIFEST
    try:
        manifest = _digests.read_sealed(path)
    except FileNotFoundError:
        return None
    version = manifest.get("format")
    if version != FORMAT:
        raise ValueError(
            f"{path} has format {version}, this htfjax reads format {FORMAT}; upgrade "
            "htfjax, or choose another folder."
        )
    return manifest


def identity_of(manifest: JsonObject) -> str:
    """Digest of what never changes in a manifest; lines and checkpoints carry it."""
    fixed = {name: value for name, value in manifest.items() if name not in GROWING}
    fixed["programs"] = [
        {name: value for name, value in program.items() if name != "blocks"}
        for program in manifest["programs"]
    ]
    return _digests.json_digest(fixed)[:16]


def runs_digest(runs: Sequence[Sequence[int]]) -> str:
    """Digest of the runs of a block: which labels its numbers have."""
    return _digests.json_digest([list(run) for run in runs])[:16]


def write_status(folder: Path, values: JsonObject, lines: int) -> None:
    """Writes the progress of the runs, the process, and the length of the journal."""
    _digests.write_sealed(
        folder / STATUS,
        values
        | {"time": time.time(), "pid": os.getpid(), "host": platform.node()}
        | {"journal_lines": lines},
    )


def read_status(folder: Path, name: str) -> float:
    """A number of the status; 0 where it is missing or damaged."""
    try:
        return float(_digests.read_sealed(folder / STATUS).get(name, 0))
    except (OSError, ValueError, TypeError):
        return 0.0


def lines_written(folder: Path) -> int:
    """Lines of the journal that the status knows of."""
    return int(read_status(folder, "journal_lines"))


def list_files(paths: Sequence[Path], most: int = 3) -> str:
    """The first few paths, for a message."""
    named = ", ".join(map(str, paths[:most]))
    rest = len(paths) - most
    return f"{named} and {rest} more" if rest > 0 else named


def differences(found: object, wanted: object, name: str = "") -> list[str]:
    """Differences of two JSON values, as "`field` was ..., now ..."."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return [
            line
            for key in dict.fromkeys((*found, *wanted))
            for line in differences(
                found.get(key), wanted.get(key), f"{name}.{key}" if name else key
            )
        ]
    same = json.dumps(found) == json.dumps(wanted)  # 1, 1.0 and True are equal
    return [] if same else [f"`{name}` was {found!r}, now {wanted!r}"]


@contextlib.contextmanager
def named_errors(folder: Path) -> Iterator[None]:
    """Says in plain words why the folder could not be written.

    Raises:
      OSError: with the folder and what to do, however deep the cause lies.
    """
    try:
        yield
    except Exception as error:
        if _files.is_full_disk(error):
            # `from None`: what zarr says about it is long and says no more.
            raise OSError(
                errno.ENOSPC,
                f"the disk is full: `out={folder}` could not be written. Everything "
                "finished is intact; make room and run the same command again",
            ) from None
        if isinstance(error, FileNotFoundError) or not folder.is_dir():
            raise FileNotFoundError(
                f"`out={folder}` was moved, removed or changed while the run was at work "
                f"({error}); put it back and run the same command again"
            ) from None
        raise
