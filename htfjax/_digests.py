"""SHA-256 digests of files, and JSON files sealed by one."""

import errno
import hashlib
import json
from typing import Any

import numpy as np

from htfjax import _files
from htfjax._types import JsonObject, PathLike

SEAL = "sha256"


def file_digest(path: PathLike) -> str:
    """SHA-256 of a file, "missing" if there is none.

    Raises:
      TypeError, ValueError: not a path, or that of a folder.

    Example:
      >>> import htfjax as htf
      >>> htf.runs.file_digest("no such file")
      'missing'
    """
    path = _files.absolute("path", path)  # an integer would be a file that is open
    if path.is_dir():
        raise ValueError(f"`path={path}` is a folder; give the path of a file.")
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"


def text_digest(text: str | bytes) -> str:
    """SHA-256 of a text in UTF-8, or of bytes.

    Example:
      >>> text_digest("a")[:8]
      'ca978112'
    """
    content = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(content).hexdigest()


def array_digest(x: np.ndarray) -> str:
    """SHA-256 of an array: dtype, shape and bytes."""
    return text_digest(f"{x.dtype}{x.shape}".encode() + np.ascontiguousarray(x).tobytes())


def json_digest(values: object) -> str:
    """SHA-256 of JSON values, whatever the order of keys.

    Raises:
      TypeError, ValueError: values that JSON does not hold.

    Example:
      >>> import htfjax as htf
      >>> htf.runs.json_digest({"a": 1, "b": 2}) == htf.runs.json_digest({"b": 2, "a": 1})
      True
    """
    return text_digest(_as_text(values, sort_keys=True, separators=(",", ":")))


def _as_text(values: object, **options: Any) -> str:
    try:
        return json.dumps(values, **options)
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"`values` cannot be written as JSON: {error}.") from error


def write_sealed(path: PathLike, values: JsonObject) -> None:
    """Writes a JSON object together with its digest, replacing the file at once.

    Raises:
      TypeError, ValueError: not a dictionary, values that JSON does not hold (NaN), or a
        bad path.

    Example:
      >>> import htfjax as htf, pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "options.json"
      >>> htf.runs.write_sealed(path, {"seed": 0})
      >>> "sha256" in path.read_text()
      True
    """
    if not isinstance(values, dict):
        raise TypeError(f"`values` must be a dictionary, got {type(values).__name__}.")
    plain = json.loads(_as_text(values, allow_nan=False))
    text = json.dumps(plain | {SEAL: json_digest(plain)}, indent=1)
    with _files.atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_sealed(path: PathLike) -> JsonObject:
    """Reads what `write_sealed` wrote, without the digest.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a byte of it was changed or is missing; the file is named.

    Example:
      >>> import htfjax as htf, os, tempfile
      >>> path = os.path.join(tempfile.mkdtemp(), "options.json")
      >>> htf.runs.write_sealed(path, {"seed": 0})
      >>> htf.runs.read_sealed(path)
      {'seed': 0}
    """
    path = _files.absolute("path", path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        seal = values.pop(SEAL)
        if json_digest(values) != seal:
            raise ValueError("its content does not fit its digest")
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path)) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        problem = "it has no digest" if isinstance(e, KeyError) else str(e)
        raise ValueError(
            f"{path} is damaged ({problem}); restore it from a copy or choose another "
            "folder."
        ) from e
    return values
