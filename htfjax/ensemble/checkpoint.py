"""Checkpoint of a block: one npz file of host arrays that says what it belongs to.

Plain files, written in the calling thread: a handler at the end of the process, when
Python has already shut its thread pools, can still save.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from htfjax._files import DAMAGE, atomic_write

__all__ = ["load_checkpoint", "save_checkpoint"]

LABEL = "label"


def save_checkpoint(path: Path, owner: dict[str, Any], tree: Any) -> None:
    """Writes a pytree of NumPy arrays, replacing an earlier checkpoint at once.

    Args:
      owner: JSON values that say what the arrays belong to.

    Raises:
      ValueError: the folder of `path` does not exist. OSError: it cannot be written.
    """
    arrays: dict[str, Any] = {
        f"{i:04d}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(tree))
    }
    label = {"owner": owner, "arrays": {name: _seal(x) for name, x in arrays.items()}}
    arrays[LABEL] = np.array(json.dumps(label, sort_keys=True))
    with atomic_write(path) as temporary:
        np.savez(temporary, **arrays)


def load_checkpoint(path: Path, owner: dict[str, Any], like: Any) -> Any:
    """What `save_checkpoint` wrote, in the structure and dtypes of `like`; None if absent.

    Raises:
      ValueError: a damaged checkpoint, or one of something else; the message names it.
    """
    if not path.exists():
        return None
    leaves, treedef = jax.tree.flatten(like)
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            label = json.loads(str(file[LABEL][()]))
            if label["owner"] != owner:
                raise _AnotherOwner
            arrays = [
                _read(file, f"{i:04d}", np.asarray(x), label["arrays"])
                for i, x in enumerate(leaves)
            ]
    except _AnotherOwner:
        raise ValueError(
            f"the checkpoint {path} belongs to another block or folder"
        ) from None
    except DAMAGE as error:
        raise ValueError(f"the checkpoint {path} is damaged ({error})") from error
    return jax.tree.unflatten(treedef, arrays)


class _AnotherOwner(Exception):
    """The checkpoint is whole, and not the one that is wanted."""


def _read(file: Any, name: str, like: np.ndarray, seals: dict[str, Any]) -> np.ndarray:
    stored = file[name]
    # npz knows no bfloat16: it comes back as bytes of that size.
    found = stored.view(like.dtype) if stored.dtype.kind == "V" else stored
    if found.shape != like.shape or found.dtype != like.dtype:
        raise ValueError(
            f"array {name} is {found.dtype}{list(found.shape)}, expected "
            f"{like.dtype}{list(like.shape)}"
        )
    if _seal(found) != seals[name]:
        raise ValueError(f"array {name} does not fit its digest")
    return found


def _seal(x: np.ndarray) -> list[Any]:
    """Dtype, shape and SHA-256 of the bytes of an array."""
    flat = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    return [str(x.dtype), list(x.shape), hashlib.sha256(flat.data).hexdigest()]
