"""Locks between processes, with the process and host that hold them."""

import contextlib
import errno
import json
import os
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path

import filelock

from htfjax import _checks, _files
from htfjax._types import PathLike

CANNOT = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
# A look at the lock by `lock_holder` holds it for a moment.
SECONDS = 0.5
HOLDER = {"process", "host"}  # what is said of who holds a lock


@contextlib.contextmanager
def exclusive_lock(
    path: PathLike, what: str, *, seconds: float = SECONDS
) -> Iterator[None]:
    """Keeps all other processes, and other threads of this one, out of the block.

    Where the file system cannot lock, the existence of the file is the lock; one left by
    a dead process of this host is taken over.

    Args:
      path: of the lock file, in a folder that exists.
      what: names what is locked, for the error.
      seconds: how long to wait for whoever holds it.

    Raises:
      BlockingIOError: it is in use; process and host are named.
      TypeError, ValueError: not a path, a folder that does not exist, `what` not a
        text, `seconds` not a number or below zero; a file of somebody else where the
        holder of the lock is named.

    Example:
      >>> import htfjax as htf, os, tempfile
      >>> path = os.path.join(tempfile.mkdtemp(), "lock")
      >>> with htf.runs.exclusive_lock(path, "the table"):
      ...     htf.runs.lock_holder(path) is None
      False
    """
    path = _files.absolute("path", path)
    if not isinstance(what, str):
        raise TypeError(f"`what` must be a text, got {type(what).__name__}.")
    _checks.real("seconds", seconds, least=0)
    if not path.parent.is_dir():
        raise ValueError(f"`path={path}`: the folder {path.parent} does not exist.")
    _refuse_foreign(_holder_file(path))
    with warnings.catch_warnings():
        # filelock says that it falls back to the existence of a file, which is fine.
        warnings.simplefilter("ignore", UserWarning)
        lock = _acquire(path, float(seconds))
    if lock is None:
        raise BlockingIOError(
            f"{what} is in use by {_read_holder(path) or 'another process'}; wait for it, "
            "stop it, or choose another folder."
        )
    try:
        with _files.atomic_write(_holder_file(path)) as temporary:
            temporary.write_text(
                json.dumps({"process": os.getpid(), "host": platform.node()}),
                encoding="utf-8",
            )
        yield
    finally:
        lock.release()


def lock_holder(path: PathLike) -> str | None:
    """Who holds the lock now, as "process 12 on host a"; None if nobody does.

    Raises:
      TypeError, ValueError: not a path.
      OSError: it cannot be looked at, in a folder that this user may only read.

    Example:
      >>> import htfjax as htf, os, tempfile
      >>> path = os.path.join(tempfile.mkdtemp(), "lock")
      >>> with htf.runs.exclusive_lock(path, "the table"):
      ...     htf.runs.lock_holder(path) is None
      False
      >>> htf.runs.lock_holder(path) is None
      True
    """
    path = _files.absolute("path", path)
    if not (path.exists() or _holder_file(path).exists()):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            lock = _acquire(path, 0.0)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            return None  # an archive: nobody here can work in it
    if lock is None:
        return _read_holder(path) or "another process"
    lock.release()
    return None


def _acquire(path: Path, seconds: float) -> filelock.BaseFileLock | None:
    """The lock, or None if another process has it."""
    if not issubclass(filelock.FileLock, filelock.SoftFileLock):  # as without fcntl
        lock = filelock.FileLock(
            path, timeout=seconds, thread_local=False, fallback_to_soft=False
        )
        try:
            lock.acquire()
            return lock
        except filelock.Timeout:
            return None
        except OSError as error:
            if error.errno not in CANNOT:
                raise
    # A name of its own, since the attempt above may have made `path`.
    soft = filelock.SoftFileLock(
        path.with_name(f"{path.name}.soft"), timeout=seconds, thread_local=False
    )
    try:
        soft.acquire()
    except filelock.Timeout:
        return None
    return soft


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _refuse_foreign(path: Path) -> None:
    """Only a file that says who holds a lock may be written over.

    Raises:
      ValueError: something else stands there.
    """
    try:
        content = path.read_bytes()
    except OSError:  # none, or not to be read: writing says what is wrong
        return
    try:
        ours = not content or set(json.loads(content)) == HOLDER
    except (ValueError, TypeError):
        ours = False
    if not ours:
        raise ValueError(
            f"{path} is needed to say who works here, and is not ours; move it away, "
            "restore it from a copy, or choose another folder. Nothing was touched."
        )


def _read_holder(path: Path) -> str | None:
    try:
        found = json.loads(_holder_file(path).read_text(encoding="utf-8"))
        return f"process {found['process']} on host {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
