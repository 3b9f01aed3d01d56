"""Descent states on disk, through orbax."""

import os
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

__all__ = ["load_state", "save_state"]


def save_state(path: str | os.PathLike, state: Any) -> None:
    """Writes a pytree of arrays, such as a `DescentState`, to a folder.

    An existing checkpoint at `path` is replaced only when the new one is complete.

    Raises:
      ValueError: the parent folder does not exist.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp, tempfile, os
      >>> state = htf.start_descent(jnp.ones(3), htf.group_rmsprop(1e-2))
      >>> path = os.path.join(tempfile.mkdtemp(), "state")
      >>> htf.save_state(path, state)
      >>> htf.load_state(path, like=state).params.tolist()
      [1.0, 1.0, 1.0]
    """
    path = Path(path).absolute()
    if not path.parent.is_dir():
        raise ValueError(f"`path={path}`: the folder {path.parent} does not exist.")
    fresh, stale = (
        path.with_name(f".{path.name}.new"),
        path.with_name(f".{path.name}.old"),
    )
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(fresh, state, force=True)
        checkpointer.wait_until_finished()
    # Two renames: a kill between them leaves the old one under its other name, where
    # `load_state` looks too.
    shutil.rmtree(stale, ignore_errors=True)
    if path.exists():
        path.rename(stale)
    fresh.rename(path)
    shutil.rmtree(stale, ignore_errors=True)


def load_state(path: str | os.PathLike, like: Any) -> Any:
    """Reads what `save_state` wrote into the structure, shapes and dtypes of `like`.

    Raises:
      FileNotFoundError: no checkpoint at `path`.
      ValueError: a damaged checkpoint, or one of another structure (it is named).

    Example: see `save_state`.
    """
    path = Path(path).absolute()
    stale = path.with_name(f".{path.name}.old")
    found = path if path.is_dir() else stale
    if not found.is_dir():
        raise FileNotFoundError(f"no checkpoint at {path}")
    wanted = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
    )
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            stored = _shapes(checkpointer.metadata(found).item_metadata.tree)
            differ = _differences(stored, _shapes(wanted))
            if differ:
                raise _AnotherStructure(differ)
            return checkpointer.restore(found, wanted)
    except _AnotherStructure as error:
        raise ValueError(
            f"`path={path}` is a checkpoint of something else, another network perhaps: "
            f"{error}."
        ) from None
    except Exception as error:  # orbax raises many kinds for one cause
        raise ValueError(
            f"`path={path}` is damaged, or a checkpoint of something else: {error}"
        ) from error


class _AnotherStructure(Exception):
    """The checkpoint does not hold what is wanted."""


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shape of every array by its path, attributes and dictionary keys alike."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        "/".join(_word(key) for key in path): tuple(leaf.shape) for path, leaf in leaves
    }


def _word(key: Any) -> str:
    kinds = ("name", "key", "idx")
    return next((str(getattr(key, k)) for k in kinds if hasattr(key, k)), str(key))


def _differences(stored: dict, wanted: dict, most: int = 5) -> str:
    """Arrays of other shapes, or in one only; names alone are left to orbax."""
    said = [
        f"{name} has shape {stored[name]} there, {wanted[name]} here"
        for name in stored
        if name in wanted and stored[name] != wanted[name]
    ]
    if len(stored) != len(wanted):
        said += [f"{name} is only there" for name in stored if name not in wanted]
        said += [f"{name} is only here" for name in wanted if name not in stored]
    more = f"; and {len(said) - most} more" if len(said) > most else ""
    return "; ".join(said[:most]) + more
