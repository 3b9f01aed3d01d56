"""The folder of an ensemble: its lock, its manifest, its journal of what is finished."""

import contextlib
import errno
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from htfjax import _digests, _files, _locks

__all__ = [
    "FORMAT",
    "append_journal",
    "clear_of_disk",
    "differences",
    "is_locked",
    "locked",
    "read_journal",
    "read_manifest",
    "versions",
    "write_json",
]

FORMAT = 1
MANIFEST, JOURNAL, LOCK = "manifest.json", "journal.jsonl", "lock"
PACKAGES = ("htfjax", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint", "zarr")


def versions() -> dict[str, str]:
    """Versions of what computes and writes."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder and keeps every other process out of it.

    Raises:
      PermissionError: it cannot be written.
      BlockingIOError: another process works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"`out={folder}` cannot be written ({error.strerror}); choose another folder."
        ) from error
    with _locks.exclusive_lock(folder / LOCK, f"`out={folder}`"):
        yield


def is_locked(folder: Path) -> bool:
    """Whether a process works in the folder now."""
    return _locks.lock_holder(folder / LOCK) is not None


def write_json(path: Path, values: Any) -> None:
    """Writes JSON, replacing the file only when all is written."""
    with _files.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest, None in a fresh folder.

    Raises:
      ValueError: it is damaged, or of a newer format.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text())
        version = int(manifest["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); restore it from a copy or choose another folder."
        ) from error
    if version > FORMAT:
        raise ValueError(
            f"{path} has format {version}, this htfjax reads up to {FORMAT}; upgrade "
            "htfjax."
        )
    return manifest


def differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Where two JSON values differ, as "`field` was ..., now ..."."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return [
            line
            for key in dict.fromkeys((*found, *wanted))
            for line in differences(
                found.get(key), wanted.get(key), f"{name}.{key}" if name else key
            )
        ]
    return [] if found == wanted else [f"`{name}` was {found!r}, now {wanted!r}"]


def append_journal(folder: Path, line: dict[str, Any]) -> None:
    """Adds a line, with its own digest, and sees it written."""
    text = json.dumps(line, separators=(",", ":"))
    with open(folder / JOURNAL, "a") as file:
        file.write(f"{_digests.text_digest(text)[:16]} {text}\n")
        file.flush()
        os.fsync(file.fileno())


def read_journal(folder: Path, *, mend: bool = False) -> list[dict[str, Any]]:
    """All lines that are whole. A torn last line is what a kill leaves: it is dropped.

    Args:
      mend: also cut a torn end off the file, so that new lines do not join it.
    """
    path = folder / JOURNAL
    if not path.exists():
        return []
    content = path.read_bytes()
    whole, lines = 0, []
    for raw in content.splitlines(keepends=True):
        check, _, text = raw.rstrip(b"\n").partition(b" ")
        good = _digests.text_digest(text)[:16].encode() == check
        if good and raw.endswith(b"\n"):
            lines.append(json.loads(text))
        whole += len(raw) if raw.endswith(b"\n") else 0
    if mend and whole < len(content):
        os.truncate(path, whole)
    return lines


@contextlib.contextmanager
def clear_of_disk(folder: Path) -> Iterator[None]:
    """Says in plain words that the disk is full, wherever the error came up.

    Raises:
      OSError: with the folder and what to do.
    """
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            number = cause.errno if isinstance(cause, OSError) else None
            words = ("No space left", "File too large", "Disk quota")
            if number in full or any(w in str(cause) for w in words):
                raise OSError(
                    errno.ENOSPC,
                    f"the disk is full: `out={folder}` could not be written. Everything "
                    "finished is intact; make room and run the same command again",
                ) from error
            cause = cause.__cause__ or cause.__context__
        raise


def process_zero() -> bool:
    """Whether this process writes."""
    return jax.process_index() == 0
