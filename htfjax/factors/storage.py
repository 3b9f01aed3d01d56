"""Storage of factors: arrays in an npz archive, the tree as JSON inside it, no pickle."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _archives, _files
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.factors.grouping import as_plain
from htfjax.factors.layout import layout_of
from htfjax.factors.selector import Selector, Weight
from htfjax.trees.mode_tree import ModeTree

FORMAT = 2  # 2: selectors


def save_factors(path: str | os.PathLike[str], factors: AnyFactors) -> None:
    """Writes factors to one file, replacing it only when all is written.

    Grouped factors are written, and come back, as `ungroup` gives them.

    The file is an npz archive: `weight_k` for every node k that has a matrix, `picks_k`
    for one that has a selector, and `header`, a JSON text with the format version, the
    children of every node, the fixed nodes and the rows of selectors. Any NumPy reads it.

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
    dtype = layout_of(factors).dtype
    factors = as_plain(factors)
    header = {
        "format": FORMAT,
        "children": factors.tree.children,
        "fixed": factors.fixed,
        "dtype": dtype.name,
        "selectors": {
            k: w.num_rows for k, w in enumerate(factors.weights) if isinstance(w, Selector)
        },
    }
    arrays: dict[str, np.ndarray] = {"header": np.array(json.dumps(header))}
    for k, weight in enumerate(factors.weights):
        if isinstance(weight, Selector):
            arrays[f"picks_{k}"] = np.asarray(weight.picks, np.int32)
        elif weight is not None:
            arrays[f"weight_{k}"] = np.asarray(weight).view(_plain(dtype))
    with _files.atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


def load_factors(path: str | os.PathLike[str]) -> Factors:
    """Reads what `save_factors` wrote.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a damaged file, which the message names, one of a newer format, or
        float64 factors where 64-bit numbers are not enabled.

    Example:
      >>> import htfjax as htf, jax, tempfile, os
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 1.0)
      >>> path = os.path.join(tempfile.mkdtemp(), "factors.npz")
      >>> htf.save_factors(path, factors)
      >>> htf.mode_dims(htf.load_factors(path))
      (3, 3)
      >>> htf.load_factors("missing.npz")
      Traceback (most recent call last):
      FileNotFoundError: no factors at missing.npz
    """
    file = _files.absolute("path", path)
    if not file.is_file():
        raise FileNotFoundError(f"no factors at {path}")
    try:
        arrays = _archives.read_npz(file)
        header = json.loads(str(arrays["header"]))
        if header["format"] > FORMAT:
            raise _NewerFormatError(header["format"])
        dtype = jnp.dtype(header["dtype"])
        children = tuple(tuple(kids) for kids in header["children"])
        weights: list[Weight] = [arrays.get(f"weight_{k}") for k in range(len(children))]
        weights = [None if w is None else w.view(dtype) for w in weights]
        for node, count in header.get("selectors", {}).items():
            picks = arrays[f"picks_{node}"]
            weights[int(node)] = Selector(count, tuple(picks.tolist()))
        factors = Factors(
            tree=ModeTree(children), weights=tuple(weights), fixed=tuple(header["fixed"])
        )
        layout_of(factors)
    except _NewerFormatError as error:
        raise ValueError(
            f"`path={path}` has format {error}, this htfjax reads up to {FORMAT}; "
            "upgrade htfjax."
        ) from None
    except _files.DAMAGE as error:
        raise ValueError(
            f"`path={path}` is damaged or holds no factors ({error}); restore it from a "
            "copy."
        ) from error
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(
            f"`path={path}` holds {dtype.name} factors, which need "
            'jax.config.update("jax_enable_x64", True).'
        )
    return jax.tree.map(jnp.asarray, factors)


def _plain(dtype: np.dtype) -> np.dtype:
    """A dtype that NumPy can write: integers of equal width for bfloat16 and the like."""
    return dtype if dtype.kind == "f" else np.dtype(f"uint{8 * dtype.itemsize}")


class _NewerFormatError(Exception):
    pass
