"""Factors on disk: arrays in an npz archive, the tree as JSON inside it, no pickle."""

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from htfjax import _files
from htfjax import factors as _factors
from htfjax.factors import Factors
from htfjax.mode_tree import ModeTree

__all__ = ["load_factors", "save_factors"]

FORMAT = 1


def save_factors(path: str | os.PathLike, factors: Factors) -> None:
    """Writes factors to one file, replacing it only when all is written.

    The file is an npz archive: `weight_k` for every node k that has a matrix, and
    `header`, a JSON text with the format version, the children of every node and the
    fixed nodes. Any NumPy reads it.

    Raises:
      TypeError, ValueError: malformed factors, or a folder that does not exist.

    Example:
      >>> import htfjax as htf, jax, tempfile, os
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 1.0)
      >>> path = os.path.join(tempfile.mkdtemp(), "factors.npz")
      >>> htf.save_factors(path, factors)
      >>> htf.load_factors(path).tree == factors.tree
      True
    """
    _factors.check(factors)
    header = {
        "format": FORMAT,
        "children": factors.tree.children,
        "fixed": factors.fixed,
    }
    arrays: dict[str, Any] = {"header": np.array(json.dumps(header))} | {
        f"weight_{k}": np.asarray(weight)
        for k, weight in enumerate(factors.weights)
        if weight is not None
    }
    with _files.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def load_factors(path: str | os.PathLike) -> Factors:
    """Reads what `save_factors` wrote.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a damaged file (it is named), or one of a newer format.

    Example: see `save_factors`.
    >>> load_factors("missing.npz")
    Traceback (most recent call last):
    FileNotFoundError: no factors at missing.npz
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no factors at {path}")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            arrays = {name: archive[name] for name in archive.files if name != "header"}
        if header["format"] > FORMAT:
            raise _NewerFormatError(header["format"])
        children = tuple(tuple(kids) for kids in header["children"])
        factors = Factors(
            tree=ModeTree(children),
            weights=tuple(
                jnp.asarray(arrays[f"weight_{k}"]) if f"weight_{k}" in arrays else None
                for k in range(len(children))
            ),
            fixed=tuple(header["fixed"]),
        )
        _factors.check(factors)
    except _NewerFormatError as error:
        raise ValueError(
            f"`path={path}` has format {error}, this htfjax reads up to {FORMAT}; "
            "upgrade htfjax."
        ) from None
    except _DAMAGE as error:
        raise ValueError(
            f"`path={path}` is damaged or holds no factors ({error}); restore it from a "
            "copy."
        ) from error
    return factors


class _NewerFormatError(Exception):
    pass


_DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
