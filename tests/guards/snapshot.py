"""Snapshots: arrays described in a few numbers, and what differs from those kept.

Integers, truth values and words are kept exactly, long ones as a digest. Of floats the
small arrays are kept; of long ones the largest size, the first entries and projections
onto fixed vectors.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

DATA = Path(__file__).parent / "data"
FEW = 24  # integers or words kept one by one
FIRST = 4
PROJECTIONS = 3
DIGITS = 7


def describe(array: Any, *, rows: int = 0, few: int = 12) -> dict[str, Any]:
    """An array in a few numbers.

    Args:
      array: anything that NumPy takes.
      rows: leading axes along which floats are described one by one; each row has a
        scale of its own.
      few: floats up to which all are kept; so are those of short rows.
    """
    x = np.asarray(array)
    if x.dtype.kind in "biu":
        return {"kind": "int"} | _exactly(x, x.astype("<i8").tobytes())
    if x.dtype.kind != "f":
        words = x.astype(str)
        return {"kind": "text"} | _exactly(words, "\n".join(words.ravel()).encode())
    shape = list(x.shape)
    table = x.astype(np.float64).reshape(math.prod(shape[:rows]), -1)
    found = {"kind": x.dtype.name, "shape": shape, "rows": len(table)}
    if x.size <= few or table.shape[1] <= FIRST:
        return found | {"values": _numbers(table)}
    finite = np.isfinite(table)
    if not np.all(finite):
        # Which are not, and whether they are infinite.
        odd = np.where(finite, 0, np.where(np.isnan(table), 2, np.sign(table)))
        found["odd"] = hashlib.sha256(odd.astype("i1").tobytes()).hexdigest()[:16]
        table = np.where(finite, table, 0.0)
    return found | {
        "size": _numbers(np.max(np.abs(table), axis=1)),
        "first": _numbers(table[:, :FIRST]),
        "projections": _numbers(table @ _directions(table.shape[1])),
    }


def _exactly(x: np.ndarray, content: bytes) -> dict[str, Any]:
    if x.size <= FEW:
        return {"shape": list(x.shape), "values": x.ravel().tolist()}
    return {
        "shape": list(x.shape),
        "first": x.ravel()[:FIRST].tolist(),
        "sha256": hashlib.sha256(content).hexdigest()[:32],
    }


def _directions(length: int) -> np.ndarray:
    """Fixed vectors (length, PROJECTIONS) of norm about one, no random generator's."""
    steps = np.sqrt([2.0, 3.0, 5.0])[:PROJECTIONS]
    phases = np.arange(1, length + 1)[:, None] * steps
    return np.cos(2 * np.pi * phases) * math.sqrt(2 / length)


def _numbers(values: np.ndarray) -> list[Any]:
    """Rounded, with words for what JSON has no numbers for."""
    return [
        float(f"{x:.{DIGITS}g}") if math.isfinite(x) else str(x) for x in values.ravel()
    ]


def differences(found: Any, kept: Any, tolerance: float, name: str = "") -> list[str]:
    """Where a description differs from the one kept, a line per place.

    Floats may differ by `tolerance` times the size of their row.
    """
    if set(found) != set(kept):
        changed = sorted(set(found) ^ set(kept))
        return [f"{name}: {changed} found or kept, not both"]
    if "kind" not in kept:
        return [
            line
            for part in kept
            for line in differences(found[part], kept[part], tolerance, f"{name}/{part}")
        ]
    lines = []
    for field, old in kept.items():
        new = found[field]
        if kept["kind"] in ("int", "text") or field not in _FLOATS:
            if new != old:
                lines.append(f"{name}: `{field}` was {old}, is {new}")
        elif len(new) != len(old):
            lines.append(f"{name}: `{field}` had {len(old)} numbers, has {len(new)}")
        else:
            off = _worst(new, old, kept)
            if not off <= tolerance:
                lines.append(f"{name}: `{field}` is off by {off:.1e} of {_short(old)}")
    return lines


_FLOATS = ("values", "size", "first", "projections")


def _worst(new: Sequence[Any], old: Sequence[Any], kept: Mapping[str, Any]) -> float:
    """The largest difference, each in units of its row's size; inf where one is NaN."""
    a, b = (np.array(x, np.float64).reshape(kept["rows"], -1) for x in (new, old))
    if not a.size:
        return 0.0
    if np.any(np.isnan(a) != np.isnan(b)):
        return math.inf
    same = (a == b) | np.isnan(b)  # equal infinities among them
    size = np.array(kept["size"], np.float64) if "size" in kept else _sizes(b)
    # Beneath the smallest normal number of single precision rounding is absolute.
    size = np.maximum(size[:, None], np.finfo(np.float32).tiny)
    off = np.abs(np.where(same, 0, a) - np.where(same, 0, b)) / size
    return float(np.max(off))


def _sizes(table: np.ndarray) -> np.ndarray:
    return np.max(np.abs(np.where(np.isfinite(table), table, 0.0)), axis=1)


def _short(values: Sequence[Any]) -> str:
    return str(list(values[:FIRST])) + (" ..." if len(values) > FIRST else "")


def read(stem: str) -> dict[str, Any]:
    """What is kept, with the entries of this version of jax put over the common ones."""
    return _load(_path(stem))["entries"] | _load(_path(stem, jax.__version__))["entries"]


def write(stem: str, entries: Mapping[str, Any], tolerance: Mapping[str, float]) -> str:
    """Keeps descriptions; returns what was done.

    The version of jax that wrote the common file writes it anew; another one writes only
    what differs, to a file of its own.
    """
    DATA.mkdir(exist_ok=True)
    common = _load(_path(stem))
    if common["jax"] in (None, jax.__version__):
        _save(_path(stem), entries)
        return f"{len(entries)} entries to {_path(stem)}"
    own = {
        name: entry
        for name, entry in entries.items()
        if name not in common["entries"]
        or differences(entry, common["entries"][name], tolerance[name])
    }
    path = _path(stem, jax.__version__)
    path.unlink(missing_ok=True)
    if own:
        _save(path, own)
    return f"{len(own)} entries of {len(entries)} differ from the common ones"


def _path(stem: str, version: str | None = None) -> Path:
    return DATA / (f"{stem}.json" if version is None else f"{stem}-jax-{version}.json")


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"jax": None, "entries": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def _save(path: Path, entries: Mapping[str, Any]) -> None:
    lines = [
        f"{json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}"
        for name, entry in entries.items()
    ]
    head = f'{{"jax": "{jax.__version__}", "entries": {{\n'
    path.write_text(head + ",\n".join(lines) + "\n}}\n", encoding="utf-8")
