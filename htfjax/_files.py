"""Atomic file writes, full disks, and paths in the forms that users type."""

import contextlib
import errno
import os
import secrets
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from htfjax._types import PathLike

# What reading a damaged npz file, or one of something else, may raise.
DAMAGE = (
    NotImplementedError,
    RecursionError,
    MemoryError,
    OSError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

FULL_NUMBERS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG")
    if hasattr(errno, name)  # Windows has no quota error
}
FULL_WORDS = ("No space left", "File too large", "Disk quota")


def absolute(name: str, path: object) -> Path:
    """An absolute path with `~` expanded, which stays the same file after `os.chdir`.

    Args:
      name: of the argument that has the path, for errors.
      path: text or `os.PathLike`.

    Raises:
      TypeError: not a path. ValueError: empty, without a home folder to expand `~` to, or
        with a null character.

    Example:
      >>> import htfjax as htf
      >>> htf.runs.absolute("out", "runs").is_absolute()
      True
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"`{name}` must be a path, got {type(path).__name__}.")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ValueError(f"`{name}={text!r}` must be the path of a file or folder.")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(
            f"`{name}={text}`: `~` has no meaning here ({error}); write the path out."
        ) from error


@contextlib.contextmanager
def atomic_write(path: PathLike, name: str = "path") -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block succeeds.

    The temporary file is removed if the block fails; nothing else ever is.

    Args:
      path: of the file to write.
      name: of the argument that has the path, for errors.

    Raises:
      ValueError: the folder of `path` does not exist, or something stands at `path` that
        is not a file.

    Example:
      >>> import htfjax as htf, pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
      >>> with htf.runs.atomic_write(path) as temporary:
      ...     _ = temporary.write_text("done")
      >>> path.read_text()
      'done'
    """
    path = absolute(name, path)
    if not path.parent.is_dir():
        raise ValueError(f"`{name}={path}`: the folder {path.parent} does not exist.")
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise ValueError(f"`{name}={path}` is {kind}; choose the name of a file.")
    # Made by `open`, so that the file has the permissions that the user's umask gives.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
    with name_full_disk(path):
        with open(temporary, "xb"):
            pass
        try:
            yield temporary
            with open(temporary, "rb+") as file:  # a rename must not reach the disk first
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def name_full_disk(path: Path) -> Iterator[None]:
    """Raises one plain error where the disk is full, whoever noticed it and how.

    Raises:
      OSError: with the path and what to do; other errors pass.
    """
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise OSError(
            errno.ENOSPC,
            f"the disk is full: {path} could not be written, what it held before is "
            "intact; make room and do the same again",
        ) from error


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that the disk is full."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number in FULL_NUMBERS or any(w in str(error) for w in FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
