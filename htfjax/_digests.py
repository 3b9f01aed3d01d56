"""SHA-256 digests of files, and JSON files sealed by one."""

import hashlib
import json
from pathlib import Path
from typing import Any

from htfjax import _files

__all__ = ["file_digest", "json_digest", "read_sealed", "text_digest", "write_sealed"]

SEAL = "sha256"


def file_digest(path: Path) -> str:
    """SHA-256 of a file, "missing" if there is none.

    Example:
      >>> file_digest(Path("no such file"))
      'missing'
    """
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


def json_digest(values: Any) -> str:
    """SHA-256 of JSON values, whatever the order of keys.

    Example:
      >>> json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
      True
    """
    return text_digest(json.dumps(values, sort_keys=True, separators=(",", ":")))


def write_sealed(path: Path, values: dict[str, Any]) -> None:
    """Writes a JSON object together with its digest, replacing the file at once.

    Raises:
      ValueError: values that JSON does not hold (NaN), or a bad path.

    Example: see `read_sealed`.
    """
    plain = json.loads(json.dumps(values, allow_nan=False))
    text = json.dumps(plain | {SEAL: json_digest(plain)}, indent=1)
    with _files.atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_sealed(path: Path) -> dict[str, Any]:
    """Reads what `write_sealed` wrote, without the digest.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a byte of it was changed or is missing; the file is named.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "options.json"
      >>> write_sealed(path, {"seed": 0})
      >>> read_sealed(path)
      {'seed': 0}
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        seal = values.pop(SEAL)
        if json_digest(values) != seal:
            raise ValueError("its content does not fit its digest")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        problem = "it has no digest" if isinstance(e, KeyError) else str(e)
        raise ValueError(
            f"{path} is damaged ({problem}); restore it from a copy or choose another "
            "folder."
        ) from e
    return values
