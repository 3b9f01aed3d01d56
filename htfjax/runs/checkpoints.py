"""Descent states on disk, through orbax."""

import contextlib
import dataclasses
import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from htfjax import _checks, _digests, _files
from htfjax._types import JsonObject, PathLike, PyTree

FORMAT = 1
Tree = TypeVar("Tree")
MARK = "checkpoint.json"  # shapes, dtypes and the digest of every file, sealed
ARRAYS = "arrays"  # written by orbax
PYTHON: dict[type[object], str] = {
    bool: "bool",
    int: "int64",
    float: "float64",
    complex: "complex128",
}


def save_state(path: PathLike, state: PyTree, *, label: str = "") -> None:
    """Writes a pytree of arrays, such as a `DescentState`, to a folder.

    Leaves may be arrays of jax or NumPy, typed keys and Python numbers. An existing
    checkpoint at `path` is replaced only when the new one is complete; a folder that holds
    anything else is refused, and nothing in it is touched. The digest of every file is
    kept. What is static in a tree, such as the mode tree of factors, is not written.

    Args:
      path: of the folder; it and its neighbours `.NAME.new` and `.NAME.old` are written.
      state: what to write.
      label: a text that belongs to the state, which `load_state` may ask for.

    Raises:
      TypeError: leaves of other kinds. ValueError: the parent folder does not exist, or
        something other than a checkpoint stands at `path`.
      OSError: the disk is full; an earlier checkpoint is intact.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp, tempfile, os
      >>> state = htf.start_descent(jnp.ones(3), htf.group_rmsprop(1e-2))
      >>> path = os.path.join(tempfile.mkdtemp(), "state")
      >>> htf.save_state(path, state)
      >>> htf.load_state(path, like=state).params.tolist()
      [1.0, 1.0, 1.0]
    """
    target = _target(path)
    _checks.instance("label", label, str, "any text")
    named = _named(state)
    leaves = [_describe("state", name, leaf) for name, leaf in named]
    arrays = [
        _values(leaf.name, x, leaf.dtype)
        for leaf, (_, x) in zip(leaves, named, strict=True)
    ]
    if not target.parent.is_dir():
        raise ValueError(f"`path={path}`: the folder {target.parent} does not exist.")
    fresh, stale = _neighbours(target)
    for folder in (target, fresh, stale):
        _refuse_foreign(folder)
    with _files.name_full_disk(target):
        _remove(fresh)
        fresh.mkdir()
        try:
            _write(fresh, leaves, arrays, label)
        except BaseException:
            _remove(fresh)  # a full disk needs the room
            raise
    # Two renames: a kill between them leaves the old one under its other name, where
    # `load_state` looks too.
    # Where a kill came there, the old one is all that there is until the last rename.
    if target.exists():
        _remove(stale)
        target.rename(stale)
    fresh.rename(target)
    _remove(stale)


def load_state(
    path: PathLike, like: Tree, *, cast: bool = False, label: str | None = None
) -> Tree:
    """Reads what `save_state` wrote into the structure, shapes and dtypes of `like`.

    A leaf comes back as the kind that `like` has: an array of jax (on the devices of that
    in `like`) or NumPy, a typed key, a Python number. What is static is that of `like`.

    Args:
      path: of the checkpoint.
      like: a tree of the same structure; its values are not used. Leaves may also be
        `jax.ShapeDtypeStruct`.
      cast: convert leaves of other dtypes. Floating point numbers are rounded to the
        nearest; whatever else a value would lose (its range, a fraction, an imaginary
        part, a digit of a whole number) is an error.
      label: what was given to `save_state`; not compared if None.

    Raises:
      FileNotFoundError: no checkpoint at `path`.
      ValueError: a damaged checkpoint, or one of another structure, of other dtypes or
        with another label; what differs is named.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp, os, tempfile
      >>> path = os.path.join(tempfile.mkdtemp(), "state")
      >>> htf.save_state(path, {"a": jnp.ones(2), "b": 3})
      >>> found = htf.load_state(path, like={"a": jnp.zeros(2), "b": 0})
      >>> found["a"].tolist(), found["b"]
      ([1.0, 1.0], 3)
    """
    cast = _checks.flag("cast", cast)
    folder = _folder_of(path)
    leaves = [_describe("like", name, leaf) for name, leaf in _named(like)]
    mark = _labelled_mark(folder, path, label)
    stored = {leaf["name"]: leaf for leaf in mark["leaves"]}
    differ = _differences(stored, {leaf.name: leaf for leaf in leaves}, cast)
    if differ:
        raise ValueError(
            f"`path={path}` is a checkpoint of something else, another network perhaps: "
            f"{differ}."
        )
    _check_digests(folder, mark["files"], path)
    arrays = _read(folder, mark["leaves"], path)
    values, treedef = jax.tree.flatten(like)
    restored = [
        _restore(leaf, x, stored[leaf.name], arrays[leaf.name], path)
        for leaf, x in zip(leaves, values, strict=True)
    ]
    return jax.tree.unflatten(treedef, restored)


def check_state(path: PathLike, *, label: str | None = None) -> None:
    """Checks that `load_state` would find every byte that `save_state` wrote.

    Args:
      path, label: as in `load_state`.

    Raises:
      FileNotFoundError: no checkpoint at `path`.
      ValueError: a damaged checkpoint, or one with another label.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp, tempfile, os
      >>> path = os.path.join(tempfile.mkdtemp(), "state")
      >>> htf.save_state(path, jnp.ones(3))
      >>> htf.check_state(path)
    """
    folder = _folder_of(path)
    _check_digests(folder, _labelled_mark(folder, path, label)["files"], path)


# Leaves


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """A leaf in words: its path, shape and dtype, and of a key its generator."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    impl: str = ""


def _describe(argument: str, name: str, leaf: Any) -> _Leaf:
    """The description of a leaf that is written beside its values.

    Raises:
      TypeError: not an array, key or number.
    """
    words = f"`{argument}`: {name or 'the leaf'} is {_checks.spell(leaf)}"
    if type(leaf) in PYTHON:
        return _Leaf(name, (), PYTHON[type(leaf)])
    if isinstance(leaf, np.ma.MaskedArray):
        raise TypeError(f"{words}; a masked array would lose its mask.")
    kinds = jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct
    if not isinstance(leaf, kinds):
        raise TypeError(f"{words}; only arrays, typed keys and numbers are written.")
    shape = tuple(int(length) for length in leaf.shape)
    if _is_key(leaf):
        impl = str(jax.random.key_impl(leaf)) if isinstance(leaf, jax.Array) else ""
        return _Leaf(name, shape, str(leaf.dtype), impl)
    dtype = np.dtype(leaf.dtype)
    known = jnp.issubdtype(dtype, np.number) or dtype.kind == "b"
    if not known or dtype in (np.dtype(np.longdouble), np.dtype(np.clongdouble)):
        raise TypeError(f"{words}; its dtype {dtype} cannot be written.")
    return _Leaf(name, shape, dtype.newbyteorder("=").name)


def _values(name: str, leaf: Any, dtype: str) -> np.ndarray:
    """A leaf on the host.

    Raises:
      TypeError: without values. ValueError: not all of it is here, or a whole number of
        more than 64 bits.
    """
    words = f"`state`: {name or 'the leaf'}"
    if not _checks.concrete(leaf) or isinstance(leaf, jax.ShapeDtypeStruct):
        raise TypeError(f"{words} has no values; save outside of jit.")
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise ValueError(f"{words} lies on devices of other processes; gather it first.")
    if _is_key(leaf):
        return np.asarray(jax.random.key_data(leaf))
    try:
        return np.asarray(leaf, jnp.dtype(dtype))
    except OverflowError:
        raise ValueError(
            f"{words} is {_checks.spell(leaf)}, which 64 bits do not hold."
        ) from None


def _is_key(leaf: object) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _named(tree: PyTree) -> list[tuple[str, object]]:
    """Leaves by their paths, attributes and dictionary keys alike."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    names = ["/".join(_word(key) for key in path) for path, _ in leaves]
    if len(set(names)) < len(names):  # a key "a/b" beside a dictionary "a"
        names = [jax.tree_util.keystr(path) for path, _ in leaves]
    return [(name, leaf) for name, (_, leaf) in zip(names, leaves, strict=True)]


def _word(key: object) -> str:
    kinds = ("name", "key", "idx")
    return next((str(getattr(key, k)) for k in kinds if hasattr(key, k)), str(key))


def _differences(
    stored: JsonObject, wanted: dict[str, _Leaf], cast: bool, most: int = 5
) -> str:
    """Leaves of other shapes or dtypes, or in one only."""
    said = []
    for name in [name for name in stored if name in wanted]:
        there, here = stored[name], wanted[name]
        if tuple(there["shape"]) != here.shape:
            said.append(
                f"{name or 'it'} has shape {tuple(there['shape'])} there, {here.shape} here"
            )
        elif there["dtype"] != here.dtype:
            keys = "key" in there["dtype"] or "key" in here.dtype
            if keys or not cast:
                advice = "" if keys else " (`cast=True` converts it)"
                said.append(
                    f"{name or 'it'} is {there['dtype']} there, {here.dtype} here{advice}"
                )
    said += [f"{name} is only there" for name in stored if name not in wanted]
    said += [f"{name} is only here" for name in wanted if name not in stored]
    more = f"; and {len(said) - most} more" if len(said) > most else ""
    return "; ".join(said[:most]) + more


def _restore(
    leaf: _Leaf, like: Any, stored: JsonObject, values: np.ndarray, path: PathLike
) -> object:
    """Values as the kind of leaf that `like` is."""
    if leaf.dtype.startswith("key"):
        key = jax.random.wrap_key_data(jnp.asarray(values), impl=stored["impl"])
        return _placed(key, like)
    if stored["dtype"] != leaf.dtype:
        values = _cast(leaf, values, path)
    if type(like) in PYTHON:
        return type(like)(values.item())
    if isinstance(like, np.generic):
        return values[()]
    if isinstance(like, np.ndarray):
        return values
    return _placed(values, like)


def _placed(values: np.ndarray | jax.Array, like: object) -> jax.Array:
    """On the devices of `like`, if it has been put on some."""
    if isinstance(like, jax.Array) and getattr(like, "committed", True):
        return jax.device_put(values, like.sharding)
    return jnp.asarray(values)


def _cast(leaf: _Leaf, values: np.ndarray, path: PathLike) -> np.ndarray:
    """Rounded floats; everything else exactly.

    Raises:
      ValueError: a value that the dtype does not hold.
    """
    dtype = jnp.dtype(leaf.dtype)
    rounds = jnp.issubdtype(values.dtype, np.inexact) and jnp.issubdtype(dtype, np.inexact)
    real, imaginary = np.real(values), np.imag(values)
    complex_too = jnp.issubdtype(dtype, np.complexfloating)
    lost = np.zeros(values.shape, bool) if complex_too else imaginary != 0
    with np.errstate(all="ignore"):
        changed = (values if complex_too else real).astype(dtype)
        if rounds:
            lost = lost | (np.isfinite(values) & ~np.isfinite(changed))
        else:  # the sign tells whole numbers apart that wrap around
            back = changed.astype(real.dtype)
            lost = lost | (back != real) | ((changed < 0) != (real < 0))
    if np.any(lost):
        value = values[np.unravel_index(int(np.argmax(lost)), values.shape)]
        raise ValueError(
            f"`path={path}`: {leaf.name or 'it'} holds {value}, which {leaf.dtype} cannot "
            "hold; give a `like` of the stored dtype."
        )
    return changed


# Folders


def _target(path: PathLike) -> Path:
    """An absolute path whose last part may be replaced.

    Raises:
      TypeError, ValueError: not a path, or the current folder or one above it.
    """
    target = _files.absolute("path", path)
    if target.name == "..":
        target = target.resolve()
    with contextlib.suppress(OSError):  # the current folder may be gone
        here = Path.cwd().resolve()
        if target.resolve() in (here, *here.parents):
            raise ValueError(
                f"`path={path}` is the current folder or above it; give a checkpoint a "
                "folder of its own."
            )
    if not target.name:
        raise ValueError(f"`path={path}` is the root of the file system.")
    return target


def _neighbours(target: Path) -> tuple[Path, Path]:
    """Paths of a new checkpoint, and of the old one until that is complete."""
    names = (f".{target.name}.new", f".{target.name}.old")
    return target.with_name(names[0]), target.with_name(names[1])


def _refuse_foreign(folder: Path) -> None:
    """Only what `save_state` wrote, or nothing, may stand at a place that is replaced.

    Raises:
      ValueError: with what else is there.
    """
    if folder.is_symlink():
        raise ValueError(f"`path`: {folder} is a link; choose another name.")
    if not folder.exists():
        return
    if not folder.is_dir():
        kind = "a file" if folder.is_file() else "neither a file nor a folder"
        raise ValueError(f"`path`: {folder} is {kind}; choose another name.")
    try:
        mark = _digests.read_sealed(folder / MARK)
        ours = {MARK, *mark.get("files", ())}
        unfinished = "files" not in mark
    except (FileNotFoundError, ValueError, TypeError):
        ours, unfinished = set(), False
    ours |= {p.as_posix() for name in ours for p in Path(name).parents}
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*"))
    foreign = (
        name
        for name in names
        if name not in ours
        # A write that was killed leaves parts that no list names.
        and not (unfinished and re.match(rf"{ARRAYS}($|/|\.orbax)", name))
        and not (name.startswith(f".{MARK}.") and len(name) == len(MARK) + 15)
    )
    found = list(itertools.islice(foreign, 6))  # a home folder is not searched to its end
    if found:
        listed = ", ".join(sorted(found)[:5]) + (", ..." if len(found) > 5 else "")
        raise ValueError(
            f"`path`: {folder} holds {listed}, which no checkpoint of ours lists; choose "
            "another folder, or move it away. Nothing was touched."
        )


def _remove(folder: Path) -> None:
    """Deletes a checkpoint of ours, the list of its files last.

    A kill in between leaves only what the list names, which the next call removes.
    """
    inside = sorted(folder.rglob("*"), reverse=True)  # files before their folders
    for path in [*(p for p in inside if p != folder / MARK), folder / MARK, folder]:
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.is_file():
                path.unlink()  # of a link only itself
            elif path.exists():
                path.rmdir()


def _write(folder: Path, leaves: list[_Leaf], arrays: list[np.ndarray], label: str) -> None:
    _digests.write_sealed(folder / MARK, {"format": FORMAT})  # an unfinished one
    # Orbax refuses empty arrays; their shape says all.
    filled = {f"{i:04d}": x for i, x in enumerate(arrays) if x.size}
    place = folder / ARRAYS
    if filled:
        with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            checkpointer.save(place, filled)
        # Orbax leaves the path of this machine in a file that says it has finished.
        for said in place.glob("commit_success*"):
            said.unlink()
    _digests.write_sealed(
        folder / MARK,
        {
            "format": FORMAT,
            "label": label,
            "leaves": [
                dataclasses.asdict(leaf) | {"stored": [list(x.shape), x.dtype.name]}
                for leaf, x in zip(leaves, arrays, strict=True)
            ],
            "files": {
                p.relative_to(folder).as_posix(): _digests.file_digest(p)
                for p in sorted(place.rglob("*"))
                if p.is_file()
            },
        },
    )


def _folder_of(path: PathLike) -> Path:
    """The folder of the checkpoint: a kill may have left it under its other name."""
    target = _files.absolute("path", path)
    folder = target if target.is_dir() else _neighbours(target)[1]
    if not folder.is_dir():
        raise FileNotFoundError(f"no checkpoint at {path}")
    return folder


def _labelled_mark(folder: Path, path: PathLike, label: str | None) -> JsonObject:
    if label is not None and not isinstance(label, str):
        raise TypeError(f"`label` must be a text, got {_checks.spell(label)}.")
    mark = _read_mark(folder, path)
    if label is not None and mark["label"] != label:
        raise ValueError(
            f"`path={path}` is the checkpoint of another run: its label is "
            f"{mark['label']!r}, expected {label!r}; restore the right one from a copy, "
            "or choose another path."
        )
    return mark


def _read_mark(folder: Path, path: PathLike) -> JsonObject:
    try:
        mark = _digests.read_sealed(folder / MARK)
        version = int(mark["format"])
        whole = {"label", "leaves", "files"} <= set(mark)
        if whole:
            _ = dict(mark["files"]), [leaf["name"] for leaf in mark["leaves"]]
    except FileNotFoundError:
        raise ValueError(
            f"`path={path}` is damaged, or no checkpoint: it has no {MARK}; restore it "
            "from a copy, or delete it."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`path={path}` is damaged ({error}); restore it from a copy, or delete it."
        ) from error
    if version > FORMAT:
        raise ValueError(
            f"`path={path}` has format {version}, this htfjax reads up to {FORMAT}; "
            "upgrade htfjax."
        )
    if not whole:
        raise ValueError(f"`path={path}` is damaged: it was not written to its end.")
    return mark


def _check_digests(folder: Path, files: dict[str, str], path: PathLike) -> None:
    for name, digest in files.items():
        found = _digests.file_digest(folder / name)
        if found != digest:
            problem = "is missing" if found == "missing" else "has changed"
            raise ValueError(
                f"`path={path}` is damaged: {name} {problem}; restore it from a copy, or "
                "delete it."
            )


def _read(folder: Path, entries: list[JsonObject], path: PathLike) -> dict[str, np.ndarray]:
    place = folder / ARRAYS
    try:
        found: Any = {}
        if place.is_dir():
            with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
                found = checkpointer.restore(place)
        return {
            entry["name"]: np.array(found[f"{i:04d}"])
            if f"{i:04d}" in found
            else np.zeros(entry["stored"][0], jnp.dtype(entry["stored"][1]))
            for i, entry in enumerate(entries)
        }
    except Exception as error:  # orbax raises many kinds for one cause
        raise ValueError(f"`path={path}` is damaged ({error}).") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Errors are raised where they can be caught; orbax also logs them, with tracebacks
    of its threads."""

    def foreign(record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname

    logger = logging.getLogger("absl")
    logger.addFilter(foreign)
    try:
        yield
    finally:
        logger.removeFilter(foreign)
