"""Checkpoint of a block: one npz file of host arrays, labelled with its owner.

Plain files, written in the calling thread: a handler at the end of the process, when
Python has already shut its thread pools, can still save.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from htfjax._files import DAMAGE, atomic_write
from htfjax._types import JsonObject, PyTree

LABEL = "label"
Tree = TypeVar("Tree")


def save_checkpoint(path: Path, owner: JsonObject, tree: PyTree) -> None:
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


def load_checkpoint(path: Path, owner: JsonObject, like: Tree) -> Tree | None:
    """A checkpoint in the structure and dtypes of `like`; None if absent.

    Raises:
      ValueError: a damaged checkpoint, or one of something else; the error names it.
    """
    if not path.exists():
        return None
    leaves, treedef = jax.tree.flatten(like)
    found = _arrays(path, owner)
    kinds, wanted = (
        [f"{x.dtype}{list(x.shape)}" for x in map(np.asarray, arrays)]
        for arrays in (found, leaves)
    )
    if kinds != wanted:
        differ = [pair for pair in zip(kinds, wanted, strict=False) if pair[0] != pair[1]]
        said = "{}, expected {}".format(*(differ or [(len(kinds), len(wanted))])[0])
        raise ValueError(f"the checkpoint {path} is damaged (it holds {said})")
    return jax.tree.unflatten(treedef, found)


def read_arrays(path: Path, owner: JsonObject) -> list[np.ndarray]:
    """All that `save_checkpoint` wrote, as a list of leaves.

    Raises:
      ValueError: it is missing or damaged, or of something else; the error names it.
    """
    if not path.exists():
        raise ValueError(f"the checkpoint {path} is missing")
    return _arrays(path, owner)


def _arrays(path: Path, owner: JsonObject) -> list[np.ndarray]:
    """The arrays of a checkpoint, each with the digest that it was written with."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            label = json.loads(str(file[LABEL][()]))
            if label["owner"] != owner:
                raise _AnotherOwner
            arrays = []
            for name, seal in sorted(label["arrays"].items()):
                stored = file[name]
                # npz knows no bfloat16: it comes back as bytes of that size.
                kind = np.dtype(seal[0]) if stored.dtype.kind == "V" else stored.dtype
                arrays.append(stored.view(kind))
                if _seal(arrays[-1]) != seal:
                    raise ValueError(f"array {name} does not fit its digest")
            return arrays
    except _AnotherOwner:
        raise ValueError(
            f"the checkpoint {path} belongs to another block or folder"
        ) from None
    except DAMAGE as error:
        raise ValueError(f"the checkpoint {path} is damaged ({error})") from error


class _AnotherOwner(Exception):
    """The checkpoint is whole, and not the one that is wanted."""


def _seal(x: np.ndarray) -> list:
    """Dtype, shape and SHA-256 of the bytes of an array."""
    flat = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    return [str(x.dtype), list(x.shape), hashlib.sha256(flat.data).hexdigest()]
