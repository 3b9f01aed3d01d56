"""MATLAB files with an htensor of the htucker toolbox, whose fields are saved as a struct.

MATLAB keeps objects of classes in a form that no other program reads, so that the fields
are saved. The line of MATLAB for an htensor x is `SAVE`, and the file is read back there by
`load('x.mat'); x = htensor(x.children, x.dim2ind, x.U, x.B);`.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from htfjax import _extras, _files
from htfjax._integers import spell
from htfjax._types import Foreign, PathLike
from htfjax.exchange.arrays import host_array
from htfjax.exchange.mat_elements import HEADER, check_elements, version
from htfjax.exchange.trees import (
    TransferTree,
    check_binary,
    from_root,
    from_transfer_tree,
    to_transfer_tree,
)
from htfjax.factors.factors import AnyFactors, Factors

SAVE = (
    "s = struct('children', x.children, 'dim2ind', x.dim2ind, 'U', {x.U}, 'B', {x.B}); "
    "save('x.mat', '-struct', 's', '-v7')"
)
FIELDS = ("children", "dim2ind", "U", "B")
LARGEST = 2**31  # beyond the number of any node
# What MATLAB takes for the name of a variable.
NAME = re.compile(r"[A-Za-z]\w{0,62}", re.ASCII)


def read_htensor(path: PathLike, *, name: str | None = None) -> Factors:
    """Factors of an htensor in a MATLAB file: U_i = (U_r (x) U_l) B_i, leaf by leaf.

    In MATLAB, for an htensor x,

        s = struct('children', x.children, 'dim2ind', x.dim2ind, 'U', {x.U}, 'B', {x.B});
        save('x.mat', '-struct', 's', '-v7')

    writes such a file; `save('x.mat', 's', '-v7')` is read too.

    Args:
      path: of a MAT-file up to version 7 (7.3 is HDF5 and refused).
      name: of the struct, where the file holds several.

    Returns:
      Factors in the form of `from_transfer_tensors`; single and double precision are kept.

    Raises:
      FileNotFoundError: no such file. TypeError: complex numbers.
      ValueError: no MATLAB file, a damaged one, one of version 7.3, a saved object, fields
        that are missing or do not fit each other, double precision where 64-bit numbers
        are not enabled. The message has the line of MATLAB that writes what can be read.

    Source: Kressner and Tobler, htucker.

    Example:
      >>> import htfjax as htf, jax, tempfile, os
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 5, 3, 1.0)
      >>> path = os.path.join(tempfile.mkdtemp(), "x.mat")
      >>> htf.exchange.write_htensor(path, factors)
      >>> again = htf.exchange.read_htensor(path)
      >>> bool(abs(htf.end_tensor(again) - htf.end_tensor(factors)).max() < 1e-4)
      True
    """
    if name is not None:
        _check_name(name)
    file = _files.absolute("path", path)
    if not file.exists():
        raise FileNotFoundError(f"no MATLAB file at {path}")
    if not file.is_file():
        raise ValueError(f"`path={path}` is not a file; give the name of a MATLAB file.")
    held = _fields(path, _variables(path, file), name)
    return from_transfer_tree(_transfer_tree(f"path={path}", held))


def _variables(path: PathLike, file: Path) -> dict[str, Foreign]:
    """The variables of a MAT-file."""
    content = file.read_bytes()
    found = version(content[:HEADER])
    if found == 7:
        raise ValueError(
            f"`path={path}` is a MATLAB file of version 7.3, which is HDF5; in MATLAB save "
            f"it with '-v7': {SAVE}"
        )
    if found is None:
        raise ValueError(
            f"`path={path}` is damaged or no MATLAB file of version 5 to 7; in "
            f"MATLAB: {SAVE}"
        )
    scipy_io = _extras.load("scipy.io", "htfjax.exchange.read_htensor")
    try:
        check_elements(content)
        return scipy_io.loadmat(io.BytesIO(content))
    except Exception as error:  # of a damaged file, even names that are not bound yet
        raise ValueError(
            f"`path={path}` is damaged or no MATLAB file ({error}); restore it from a "
            f"copy, or write it again, in MATLAB: {SAVE}"
        ) from error


def _fields(
    path: PathLike, variables: Mapping[str, Foreign], name: str | None
) -> Mapping[str, Foreign]:
    """The four fields: those of a struct, or variables of these names."""
    # SciPy before 1.18 names an object of a class "None".
    held = {
        k: v for k, v in variables.items() if not k.startswith("__") and not _is_object(v)
    }
    objects = [k for k, v in variables.items() if _is_object(v)]
    structs = {k: _struct(v) for k, v in held.items() if _struct(v)}
    if name is not None and name in structs:
        return structs[name]
    if name is None and set(FIELDS) <= held.keys():
        return held
    if name is None and len(structs) == 1:
        return next(iter(structs.values()))
    if objects or (name is None and not held and variables.get("__function_workspace__")):
        raise ValueError(
            f"`path={path}` holds a saved object, an htensor perhaps, which MATLAB alone "
            f"can read; save its fields as a struct: {SAVE}"
        )
    if name is None and len(structs) > 1:
        raise ValueError(
            f"`path={path}` holds the structs {sorted(structs)}; choose one by `name`."
        )
    wanted = "fields" if name is None else f"struct `name={spell(name)}`"
    raise ValueError(
        f"`path={path}` has no {wanted} of an htensor ({', '.join(FIELDS)}); it holds "
        f"{sorted(held)}. In MATLAB: {SAVE}"
    )


def _is_object(value: Foreign) -> bool:
    """Whether SciPy read an object of a MATLAB class, or a function."""
    kinds = ("MatlabObject", "MatlabOpaque", "MatlabFunction")
    return type(value).__name__ in kinds


def _struct(value: Foreign) -> dict[str, Foreign]:
    """The fields of a struct that an htensor has, all four; else none."""
    names = getattr(getattr(value, "dtype", None), "names", None) or ()
    if not set(FIELDS) <= set(names) or np.size(value) != 1:
        return {}
    return {field: value.flat[0][field] for field in FIELDS}


def _transfer_tree(name: str, held: Mapping[str, Foreign]) -> TransferTree:
    """The tree of nodes 1, 2, ... that the fields describe."""
    children, leaves = _whole(name, held, "children"), _whole(name, held, "dim2ind")
    count, order = len(children), leaves.size
    if children.ndim != 2 or children.shape[1] != 2 or children.max(initial=0) > count:
        raise ValueError(
            f"`{name}`: children has shape {children.shape} and numbers up to "
            f"{children.max(initial=0)}, expected (nodes, 2) and the numbers of nodes, 0 "
            "for the children of a leaf."
        )
    modes = {int(node): mode for mode, node in enumerate(leaves.ravel())}
    if len(modes) < order or not modes.keys() <= {*range(1, count + 1)}:
        raise ValueError(
            f"`{name}`: dim2ind is {leaves.ravel().tolist()}, expected a leaf from 1 to "
            f"{count} for every mode."
        )
    cells = {field: _cells(name, held, field, count) for field in ("U", "B")}
    nodes = range(1, count + 1)
    spelled = {k: f"`{name}`: {'U' if k in modes else 'B'}{{{k}}}" for k in nodes}
    inside = {k: [int(c) for c in children[k - 1] if c] for k in nodes}
    held_by = {k: cells["U" if k in modes else "B"][k - 1] for k in nodes}
    tensors: dict[Foreign, np.ndarray | None] = {}
    for k, cell in _as_saved(held_by).items():
        if hasattr(cell, "check_format"):  # of a sparse matrix, before it is spread out
            cell.check_format()
        if np.size(cell) == 0:
            raise ValueError(f"{spelled[k]} is empty; it must hold numbers.")
        tensor = host_array(spelled[k].replace("`", ""), cell)
        # MATLAB drops a last axis of one.
        dropped = k not in modes and k != 1 and tensor.ndim == 2
        tensors[k] = tensor[..., None] if dropped else tensor
    return TransferTree(name, 1, inside, modes, tensors, spelled)


def _as_saved(cells: Mapping[int, Foreign]) -> dict[int, Foreign]:
    """Whole numbers in the precision of the others: MATLAB packs them into integers."""
    kinds = {k: getattr(cell, "dtype", np.dtype(object)) for k, cell in cells.items()}
    floats = [dtype for k, dtype in kinds.items() if dtype.kind == "f" and cells[k].size]
    if not floats:
        return dict(cells)
    dtype = np.result_type(*floats)
    packed = [k for k in cells if kinds[k].kind in "iu"]
    return {**cells, **{k: cells[k].astype(dtype) for k in packed}}


def _whole(name: str, held: Mapping[str, Foreign], field: str) -> np.ndarray:
    """A field of node numbers as integers."""
    found = np.asarray(held[field])
    numbers = found.dtype.kind in "fiu" and found.size > 0
    if not numbers or not ((found == np.round(found)) & (found < LARGEST)).all():
        raise ValueError(f"`{name}`: {field} must hold whole numbers, got {spell(found)}.")
    if (found < 0).any():
        raise ValueError(f"`{name}`: {field} has the negative number {found.min()}.")
    return found.astype(int)


def _cells(name: str, held: Mapping[str, Foreign], field: str, count: int) -> np.ndarray:
    """A cell array with one entry for every node."""
    found = np.asarray(held[field])
    if found.dtype != object or found.size != count:
        raise ValueError(
            f"`{name}`: {field} must be a cell array of {count}, one for every node, got "
            f"{found.dtype} of shape {found.shape}."
        )
    return found.ravel()


def write_htensor(path: PathLike, factors: AnyFactors, *, name: str = "x") -> None:
    """Writes the fields of an htensor as a struct of a MATLAB file, from a binary tree.

    In MATLAB, `load('x.mat'); x = htensor(x.children, x.dim2ind, x.U, x.B);` reads it. A
    node of R components becomes a transfer tensor of R^2 R_parent entries; one-child nodes
    are multiplied out.

    Args:
      path: of the file (MAT-file version 5, which any MATLAB reads), replaced only when all
        is written.
      name: of the struct.

    Raises:
      TypeError, ValueError: malformed or traced factors, nodes of other than two children,
        a name that MATLAB does not take, a folder that does not exist.

    Source: Kressner and Tobler, htucker.

    Example:
      >>> import htfjax as htf, jax, os, tempfile
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 5, 3, 1.0)
      >>> path = os.path.join(tempfile.mkdtemp(), "x.mat")
      >>> htf.exchange.write_htensor(path, factors)
      >>> htf.mode_dims(htf.exchange.read_htensor(path))
      (5, 5, 5, 5)
    """
    _check_name(name)
    tree, tensors = to_transfer_tree(factors)
    check_binary(tree, "htensor")
    order = from_root(tree)
    place = {node: i + 1 for i, node in enumerate(order)}
    leaves, transfer = (np.empty((1, len(order)), object) for _ in range(2))
    children = np.zeros((len(order), 2))
    for i, node in enumerate(order):
        empty, tensor = np.zeros((0, 0)), tensors[node]
        leaves[0, i], transfer[0, i] = (
            (tensor, empty) if node < tree.order else (empty, _squeezed(tensor))
        )
        if node >= tree.order:
            children[i] = [place[c] for c in tree.children[node]]
    fields = {
        "children": children,
        "dim2ind": np.array([[float(place[n]) for n in range(tree.order)]]),
        "U": leaves,
        "B": transfer,
    }
    scipy_io = _extras.load("scipy.io", "htfjax.exchange.write_htensor")
    with _files.atomic_write(path) as temporary, open(temporary, "wb") as file:
        scipy_io.savemat(file, {name: fields}, do_compression=True)


def _squeezed(tensor: np.ndarray) -> np.ndarray:
    """Without a third axis of one, as MATLAB holds it."""
    return tensor[..., 0] if tensor.ndim == 3 and tensor.shape[-1] == 1 else tensor


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"`name` must be the name of a variable, got {spell(name)}.")
    if not NAME.fullmatch(name):
        raise ValueError(
            f"`name={spell(name)}` is not a name of a MATLAB variable: a letter and up "
            "to 62 letters, digits and underscores."
        )
