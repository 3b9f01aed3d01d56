"""Writing files so that a reader never meets half of one."""

import contextlib
import fcntl
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["DAMAGE", "replacing", "taking_turns"]

# What reading a damaged npz file, or one of something else, may raise.
DAMAGE = (
    NotImplementedError,
    RecursionError,
    OSError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block succeeds.

    Raises:
      ValueError: the folder of `path` does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"`path={path}`: the folder {path.parent} does not exist.")
    handle, name = tempfile.mkstemp(
        prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def taking_turns(path: str | os.PathLike) -> Iterator[None]:
    """Only one process at a time is inside; the others wait. `path` is an empty file.

    Raises:
      OSError: `path` cannot be written.
    """
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
