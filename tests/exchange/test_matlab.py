"""MATLAB files: what SciPy reads of them, round trips, damage, objects."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

import htfjax as htf
from htfjax import exchange
from tests.exchange.cases import BINARY, TREES, assert_equal, dense, diagonal, every
from tests.exchange.stand_ins import einsum

RANKS = {2: 3, 3: 2, 4: 4, 5: 5}  # of nodes below the root


def fields(rng: Any = None) -> dict[str, Any]:
    """An htensor of shape (6, 7, 8) as htucker holds it: nodes (1: 2 3), (2: 4 5)."""
    rng = np.random.default_rng(0) if rng is None else rng
    leaves = {3: 6, 4: 7, 5: 8}
    cells = {"U": np.empty((1, 5), object), "B": np.empty((1, 5), object)}
    for cell in cells.values():
        cell[0, :] = [np.zeros((0, 0)) for _ in range(5)]
    for node, dim in leaves.items():
        cells["U"][0, node - 1] = rng.normal(size=(dim, RANKS[node]))
    cells["B"][0, 0] = rng.normal(size=(RANKS[2], RANKS[3]))
    cells["B"][0, 1] = rng.normal(size=(RANKS[4], RANKS[5], RANKS[2]))
    children = np.array([[2, 3], [4, 5], [0, 0], [0, 0], [0, 0]], float)
    return {"children": children, "dim2ind": np.array([[3.0, 4.0, 5.0]]), **cells}


def tensor_of(held: dict[str, Any]) -> np.ndarray:
    """The full tensor of `fields`, node by node."""
    arrays = [held["B"][0, 0], held["B"][0, 1], *(held["U"][0, k] for k in (2, 3, 4))]
    axes = ["bc", "deb", "xc", "yd", "ze"]
    return einsum(arrays, axes, "xyz")


def saved(folder: Path, variables: Any, **options: Any) -> str:
    path = str(folder / "x.mat")
    scipy.io.savemat(path, variables, **options)
    return path


@pytest.mark.parametrize("form", ["variables", "struct", "compressed"])
def test_values_are_those_of_the_fields(tmp_path: Path, form: str) -> None:
    """Plain variables, as `-struct` saves them, or one struct."""
    held = fields()
    variables = held if form == "variables" else {"s": held}
    path = saved(tmp_path, variables, do_compression=form == "compressed")
    found = exchange.read_htensor(path)
    assert_equal(dense(found), tensor_of(held))
    assert htf.formats.to_transfer_tensors(found).ranks == (2, 4, 5, 3, 1)
    if form == "struct":
        assert_equal(dense(exchange.read_htensor(path, name="s")), tensor_of(held))


def test_whole_numbers_sparse_leaves_and_single_precision(tmp_path: Path) -> None:
    """MATLAB packs whole numbers into small integers; they come back as numbers."""
    held = fields()
    held["U"][0, 2] = np.arange(12, dtype=np.uint8).reshape(6, 2)  # of mode 0
    held["U"][0, 3] = scipy.sparse.csc_matrix(np.round(held["U"][0, 3]))
    path = saved(tmp_path, held)
    held["U"][0, 2] = held["U"][0, 2].astype(float)
    held["U"][0, 3] = held["U"][0, 3].toarray()
    assert_equal(dense(exchange.read_htensor(path)), tensor_of(held))
    for cell in ("U", "B"):
        for k in range(5):
            held[cell][0, k] = held[cell][0, k].astype(np.float32)
    packed = held["U"][0, 2].astype(np.uint8)
    wanted = tensor_of(held)
    held["U"][0, 2] = packed
    assert_equal(dense(exchange.read_htensor(saved(tmp_path, held))), wanted)


@pytest.mark.parametrize("name", BINARY)
def test_round_trips(tmp_path: Path, name: str) -> None:
    for factors in [*every(TREES[name]), diagonal(TREES[name], dtype=np.float32)]:
        exchange.write_htensor(tmp_path / "y.mat", factors, name="y")
        found = exchange.read_htensor(str(tmp_path / "y.mat"))
        assert_equal(dense(found), dense(factors))


def test_what_is_written_is_what_htucker_takes(tmp_path: Path) -> None:
    """Parents before children, zeros at leaves, cells of one row, no last axis of one."""
    path = tmp_path / "x.mat"
    exchange.write_htensor(path, diagonal(((0, 1), (2, 3))))
    x = scipy.io.loadmat(path)["x"][0, 0]
    assert x.dtype.names == ("children", "dim2ind", "U", "B")
    assert x["children"].tolist() == [[2, 3], [4, 5], [6, 7], *[[0, 0]] * 4]
    assert x["dim2ind"].tolist() == [[4, 5, 6, 7]]
    shapes = [cell.shape for cell in x["B"][0]]
    assert shapes == [(4, 4), (2, 2, 4), (3, 3, 4), *[(0, 0)] * 4]
    assert [cell.shape for cell in x["U"][0]][3:] == [(2, 2), (3, 2), (4, 3), (5, 3)]
    thin = diagonal((((0, 1), 2), 3), alike=True)
    thin = htf.formats.hierarchical_svd(dense(thin), thin.tree, ranks=1)[0]
    exchange.write_htensor(path, thin)  # B{i} of shape (1, 1, 1) is (1, 1)
    assert {b.shape for b in scipy.io.loadmat(path)["x"][0, 0]["B"][0]} == {(1, 1), (0, 0)}
    assert_equal(dense(exchange.read_htensor(path)), dense(thin))


def without(field: str) -> dict[str, Any]:
    return {k: v for k, v in fields().items() if k != field}


def with_cell(field: str, node: int, value: Any) -> dict[str, Any]:
    held = fields()
    held[field][0, node - 1] = value
    return held


def cell(*values: Any) -> np.ndarray:
    found = np.empty((1, len(values)), object)
    found[0, :] = values
    return found


NO_FIELDS = (
    r"`path=.*x.mat` has no fields of an htensor.*it holds \['.*In MATLAB: s = struct"
)
WRONG: dict[str, tuple[Any, str]] = {
    "no U": (without("U"), NO_FIELDS),
    "other": ({"a": np.ones(2)}, NO_FIELDS),
    "two structs": ({"s": fields(), "t": fields()}, r"\['s', 't'\]; choose one by `name`"),
    "three children": (
        fields() | {"children": np.zeros((5, 3))}, r"children has shape \(5, 3\)"
    ),
    "high child": (
        fields() | {"children": np.full((5, 2), 9.0)}, "children has shape .* up to 9"
    ),
    "half child": (fields() | {"children": np.full((5, 2), 0.5)}, "hold whole numbers"),
    "negative": (fields() | {"children": np.full((5, 2), -1.0)}, "negative number -1"),
    "text": (fields() | {"children": "abc"}, "children must hold whole numbers, got"),
    "circle": (
        fields() | {"children": np.array([[2, 3], [1, 5], [0, 0], [0, 0], [0, 0]])},
        "node 1 is reached twice",
    ),
    "no leaf": (fields() | {"dim2ind": np.array([[3, 4, 2]])}, r"U\{2\} is empty"),
    "twice": (fields() | {"dim2ind": np.array([[3, 4, 4]])}, r"dim2ind is \[3, 4, 4\]"),
    "far leaf": (fields() | {"dim2ind": np.array([[3, 4, 9]])}, r"dim2ind is \[3, 4, 9\]"),
    "matrix": (fields() | {"U": np.ones((5, 5))}, "U must be a cell array of 5"),
    "few cells": (fields() | {"B": cell(1.0, 2.0)}, "B must be a cell array of 5"),
    "empty leaf": (with_cell("U", 4, np.zeros((0, 0))), r"U\{4\} is empty"),
    "wrong rank": (
        with_cell("U", 4, np.ones((7, 3))), r"B\{2\} has shape \(4, 5, 3\), expected \(3, 5"
    ),
    "wrong root": (
        with_cell("B", 1, np.ones((3, 3))), r"B\{1\} has shape \(3, 3\), expected \(3, 2"
    ),
    "deep leaf": (
        with_cell("U", 4, np.ones((7, 4, 2))), r"U\{4\} has shape .*expected a matrix"
    ),
    "words": (with_cell("U", 4, "abc"), r"U\{4\}` must hold real numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_fields_that_do_not_fit_are_named(tmp_path: Path, name: str) -> None:
    variables, message = WRONG[name]
    path = saved(tmp_path, variables)
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        exchange.read_htensor(path)
    assert path in str(caught.value)


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, with_cell("U", 4, 1j * np.ones((7, 4))))
    with pytest.raises(TypeError, match=r"U\{4\}` must be real numbers, got complex128"):
        exchange.read_htensor(path)


def test_names(tmp_path: Path) -> None:
    path = saved(tmp_path, {"s": fields(), "t": fields(np.random.default_rng(1))})
    one, other = (dense(exchange.read_htensor(path, name=n)) for n in "st")
    assert not np.allclose(one, other)
    with pytest.raises(ValueError, match=r"no struct `name='x'` .*holds \['s', 't'\]"):
        exchange.read_htensor(path, name="x")
    for name in ("", "1a", "a b", "a" * 64, "_a", "é"):
        with pytest.raises(ValueError, match="is not a name of a MATLAB variable"):
            exchange.write_htensor(path, diagonal((0, 1)), name=name)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    with pytest.raises(FileNotFoundError, match=r"no MATLAB file at .*x\.mat"):
        exchange.read_htensor(path)
    with pytest.raises(ValueError, match="is not a file"):
        exchange.read_htensor(tmp_path)
    for content in (b"", b"hello", b"\0" * 200, b"PK\3\4" + b"a" * 300):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"`path=.* is damaged or no MATLAB file"):
            exchange.read_htensor(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"a" * 300)
    with pytest.raises(ValueError, match=r"of version 7\.3, .*in MATLAB"):
        exchange.read_htensor(path)


def test_version_7_3_is_refused_with_the_line(tmp_path: Path) -> None:
    """HDF5, with MATLAB's header of 512 bytes before it or without."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.mat"
    for block in (0, 512):
        with h5py.File(path, "w", userblock_size=block) as file:
            file["children"] = np.zeros((5, 2))
        if block:
            header = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM"
            content = bytearray(path.read_bytes())
            content[: len(header)] = header
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"7\.3|v7\.3") as caught:
            exchange.read_htensor(path)
        assert "save('x.mat', '-struct', 's', '-v7')" in str(caught.value)


def test_damage_is_named(tmp_path: Path) -> None:
    """Wherever the file ends, and whichever byte is another."""
    rng = np.random.default_rng(0)
    whole = Path(saved(tmp_path, fields(), do_compression=True)).read_bytes()
    path = tmp_path / "damaged.mat"
    for size in rng.integers(0, len(whole) - 8, 15):
        path.write_bytes(whole[:size])
        with pytest.raises((TypeError, ValueError), match=r"damaged\.mat`[: ]"):
            exchange.read_htensor(path)
    plain = Path(saved(tmp_path, {"s": fields()})).read_bytes()
    for at in rng.integers(124, len(whole), 20):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        with pytest.raises((TypeError, ValueError), match=r"damaged\.mat`[: ]"):
            exchange.read_htensor(path)
    for at in rng.integers(124, len(plain), 60):
        path.write_bytes(plain[:at] + bytes([plain[at] ^ 255]) + plain[at + 1 :])
        try:  # a number of a matrix may be any
            exchange.read_htensor(path)
        except (TypeError, ValueError) as error:
            assert "damaged.mat" in str(error)  # noqa: PT017


def opaque() -> bytes:
    """An object of a class as MATLAB saves it: no name, three texts, an array."""

    def element(kind: int, content: bytes) -> bytes:
        filled = content.ljust(-(-len(content) // 8) * 8, b"\0")
        return struct.pack("<II", kind, len(content)) + filled

    def text(content: bytes) -> bytes:
        return element(1, content)

    numbers = element(6, struct.pack("<II", 13, 0)) + element(5, struct.pack("<ii", 1, 1))
    array = element(14, numbers + text(b"") + element(6, struct.pack("<I", 7)))
    inside = element(6, struct.pack("<II", 17, 0)) + text(b"x") + text(b"MCOS")
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    return header + element(14, inside + text(b"htensor") + array)


def test_saved_objects_are_refused_with_the_line(tmp_path: Path) -> None:
    """`save x` of an htensor, of a class as it is now and as it was."""
    path = tmp_path / "x.mat"
    path.write_bytes(opaque())
    kinds = [type(value).__name__ for value in scipy.io.loadmat(path).values()]
    assert "MatlabOpaque" in kinds  # by the name "None" before SciPy 1.18
    old = np.zeros((1, 1), [("children", object)])
    old[0, 0] = (np.zeros((5, 2)),)
    scipy.io.savemat(
        tmp_path / "y.mat", {"x": scipy.io.matlab.MatlabObject(old, "htensor")}
    )
    for file, name in ((path, None), (path, "x"), (tmp_path / "y.mat", None)):
        with pytest.raises(ValueError, match="holds a saved object, an htensor") as caught:
            exchange.read_htensor(file, name=name)
        assert "s = struct('children', x.children" in str(caught.value)
