"""Files of factors: they come back bit for bit, damage is named, nothing is unpickled."""

import dataclasses
import io
import json
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests.stored import Interrupted, assert_bit_equal, bits, factors_for, hidden_files

STARTS = {
    "float64": {"dtype": jnp.float64},
    "float32": {"dtype": jnp.float32},
    "float16": {"dtype": jnp.float16},
    "bfloat16": {"dtype": jnp.bfloat16},
    "root_of_ones": {"root": "ones"},
    "float32_root_of_ones": {"root": "ones", "dtype": jnp.float32},
}


@pytest.mark.parametrize("name", STARTS)
def test_factors_round_trip(getkey, tmp_path, name):
    factors = factors_for(getkey(), **STARTS[name])
    htf.save_factors(tmp_path / "f.npz", factors)
    assert_bit_equal(htf.load_factors(tmp_path / "f.npz"), factors)


@pytest.mark.parametrize("nested", [(0,), ((0,), 1), ((2, (0,)), (3, 1)), (((0,),),)])
def test_factors_on_odd_trees_round_trip(getkey, tmp_path, nested):
    factors = factors_for(getkey(), htf.ModeTree.from_nested(nested))
    htf.save_factors(tmp_path / "f.npz", factors)
    assert_bit_equal(htf.load_factors(tmp_path / "f.npz"), factors)


def test_fixed_nodes_round_trip(getkey, tmp_path):
    factors = dataclasses.replace(factors_for(getkey(), root="ones"), fixed=(4, 0))
    htf.save_factors(tmp_path / "f.npz", factors)
    loaded = htf.load_factors(tmp_path / "f.npz")
    assert loaded.fixed == (4, 0)
    assert loaded.weights[-1] is None


@pytest.mark.parametrize("fixed", [(), (0, 1, 2, 3)])
def test_grouped_factors_come_back_ungrouped(getkey, tmp_path, fixed):
    factors = dataclasses.replace(factors_for(getkey(), root="ones"), fixed=fixed)
    htf.save_factors(tmp_path / "f.npz", htf.group(factors))
    assert_bit_equal(htf.load_factors(tmp_path / "f.npz"), factors)


def test_special_values_round_trip(tmp_path):
    column = np.array([[-0.0], [np.nan], [np.inf], [5e-324]])
    factors = htf.Factors(tree=htf.flat(1), weights=(jnp.asarray(column), None))
    htf.save_factors(tmp_path / "f.npz", factors)
    assert bits(htf.load_factors(tmp_path / "f.npz").weights[0]) == column.tobytes()


@pytest.mark.slow
def test_factors_of_order_1024_round_trip(getkey, tmp_path):
    factors = factors_for(getkey(), htf.caterpillar(1024), dtype=jnp.float32)
    htf.save_factors(tmp_path / "f.npz", factors)
    assert htf.load_factors(tmp_path / "f.npz").tree == factors.tree


@pytest.mark.parametrize("name", ["f.npz", "no_suffix", "two.dots.bin"])
def test_factors_are_written_at_exactly_this_path(getkey, tmp_path, name):
    htf.save_factors(str(tmp_path / name), factors_for(getkey()))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    htf.load_factors(str(tmp_path / name))


def test_plain_numpy_reads_the_archive(getkey, tmp_path):
    factors = factors_for(getkey())
    htf.save_factors(tmp_path / "f.npz", factors)
    with np.load(tmp_path / "f.npz", allow_pickle=False) as archive:
        header = json.loads(str(archive["header"]))
        assert bits(archive["weight_0"]) == bits(factors.weights[0])
    assert header["children"][4:] == [[0, 1], [2, 3], [4, 5]]


def test_saving_again_replaces(getkey, tmp_path):
    first, second = factors_for(getkey()), factors_for(getkey())
    for factors in (first, second):
        htf.save_factors(tmp_path / "f.npz", factors)
    assert_bit_equal(htf.load_factors(tmp_path / "f.npz"), second)


def test_malformed_factors_are_not_written(getkey, tmp_path):
    factors = factors_for(getkey())
    wrong = dataclasses.replace(factors, weights=factors.weights[1:])
    with pytest.raises(ValueError, match="`weights`"):
        htf.save_factors(tmp_path / "f.npz", wrong)
    assert not list(tmp_path.iterdir())


def test_missing_factors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        htf.load_factors(tmp_path / "missing.npz")


def test_saving_into_a_missing_folder(getkey, tmp_path):
    path = tmp_path / "nowhere" / "f.npz"
    with pytest.raises(ValueError, match=r"`path=.*nowhere.* does not exist"):
        htf.save_factors(path, factors_for(getkey()))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.999])
def test_truncated_factors(getkey, tmp_path, share):
    path = tmp_path / "cut.npz"
    htf.save_factors(path, factors_for(getkey()))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"`path=.*cut\.npz` is damaged"):
        htf.load_factors(path)


def test_flipped_bits_never_read_as_other_factors(getkey, tmp_path):
    path = tmp_path / "flip.npz"
    factors = dataclasses.replace(factors_for(getkey(), root="ones"), fixed=(0, 4))
    htf.save_factors(path, factors)
    data, refused, named = path.read_bytes(), 0, 0
    for position in range(0, len(data), 5):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            loaded = htf.load_factors(path)
        except ValueError as error:
            named += "flip.npz" in str(error)
            refused += 1
        else:  # bits that no reader looks at, such as time stamps
            assert_bit_equal(loaded, factors)
    assert refused == named > len(data) // 10


def test_an_unknown_compression_is_damage(getkey, tmp_path):
    path = tmp_path / "method.npz"
    htf.save_factors(path, factors_for(getkey()))
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 10] = 77  # the last entry's compression method
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"method\.npz"):
        htf.load_factors(path)


def write_archive(path: Path, header, **arrays) -> None:
    text = header if isinstance(header, str) else json.dumps(header)
    with open(path, "wb") as file:
        np.savez(file, header=np.array(text), **arrays)


def write_text(path: Path) -> None:
    path.write_text("not an archive at all")


def write_array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.ones(3))


def write_headless(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, weight_0=np.ones((3, 2)))


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


PAIR = {"weight_0": np.ones((3, 2)), "weight_1": np.ones((3, 2))}

CHILDREN = [[], [], [0, 1]]

WRONG_FILES = {
    "text": write_text,
    "array": write_array,
    "headless": write_headless,
    "zip": write_zip,
    "header_is_no_json": lambda p: write_archive(p, "{", **PAIR),
    "header_is_a_list": lambda p: write_archive(p, [1], **PAIR),
    "header_is_deep": lambda p: write_archive(p, "[" * 100_000, **PAIR),
    "no_format": lambda p: write_archive(p, {"children": CHILDREN, "fixed": []}, **PAIR),
    "no_tree": lambda p: write_archive(
        p, {"format": 1, "children": [[], [0], [0]], "fixed": []}, **PAIR
    ),
    "float_children": lambda p: write_archive(
        p, {"format": 1, "children": [[], [], [0.0, 1.0]], "fixed": []}, **PAIR
    ),
    "unknown_fixed": lambda p: write_archive(
        p, {"format": 1, "children": CHILDREN, "fixed": [9]}, **PAIR
    ),
    "matrix_missing": lambda p: write_archive(
        p, {"format": 1, "children": CHILDREN, "fixed": []}, weight_0=np.ones((3, 2))
    ),
    "shapes_differ": lambda p: write_archive(
        p,
        {"format": 1, "children": CHILDREN, "fixed": []},
        weight_0=np.ones((3, 2)),
        weight_1=np.ones((3, 4)),
    ),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_files_of_another_kind_are_no_factors(tmp_path, name):
    path = tmp_path / "wrong.npz"
    WRONG_FILES[name](path)
    with pytest.raises(ValueError, match=r"`path=.*wrong\.npz`"):
        htf.load_factors(path)


def test_factors_of_a_newer_format_are_refused(tmp_path):
    path = tmp_path / "newer.npz"
    write_archive(path, {"format": 3, "something": "new"})
    with pytest.raises(ValueError, match=r"newer\.npz.*format 3.*upgrade"):
        htf.load_factors(path)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("field", ["header", "weight_0"])
def test_nothing_is_unpickled(tmp_path, field):
    path, trace = tmp_path / "bomb.npz", tmp_path / "went_off"
    header = {"format": 1, "children": CHILDREN, "fixed": []}
    arrays = {"header": np.array(json.dumps(header)), **PAIR}
    bomb = np.empty((), object)
    bomb[()] = Bomb(trace)
    with open(path, "wb") as file:
        np.savez(file, **(arrays | {field: bomb}))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"bomb\.npz"):
        htf.load_factors(path)
    assert not trace.exists()
    with np.load(path, allow_pickle=True) as archive:  # the bomb is a real one
        archive[field]
    assert trace.exists()


def test_an_interrupted_write_leaves_the_old_factors(getkey, tmp_path, monkeypatch):
    path, old = tmp_path / "f.npz", factors_for(getkey())
    htf.save_factors(path, old)
    write, calls = io.BufferedWriter.write, []

    def stop_in_the_middle(file, **arrays):
        calls.append(arrays)
        write(file, b"half of")
        raise Interrupted

    monkeypatch.setattr(np, "savez", stop_in_the_middle)
    with pytest.raises(Interrupted):
        htf.save_factors(path, factors_for(getkey()))
    assert calls
    assert_bit_equal(htf.load_factors(path), old)
    assert not hidden_files(tmp_path)


def npy(shape: tuple, dtype: str = "<f8", content: bytes = b"") -> bytes:
    """An array file whose header says what it likes."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape})
    return raw_npy(header, content)


def raw_npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


HOSTILE_ARRAYS = {
    "huge": npy((10**15,)),
    "huge_product": npy((10**9, 10**9)),
    "negative": npy((-1, 3)),
    "short": npy((3, 2), content=bytes(40)),
    "long": npy((3, 2), content=bytes(56)),
    "object": npy((1,), "|O", bytes(8)),
    "open_bracket": raw_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,"),
    "no_shape": raw_npy("{'descr': '<f8', 'fortran_order': False}"),
    "call": raw_npy("__import__('os').abort()"),
    "deep": raw_npy("(" * 110),
    "none": b"",
    "magic_only": b"\x93NUMPY\x03\x00",
}


@pytest.mark.parametrize("name", HOSTILE_ARRAYS)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_hostile_arrays_take_no_memory_and_name_the_file(tmp_path, name, method):
    path = tmp_path / "hostile.npz"
    header = io.BytesIO()
    text = json.dumps({"format": 1, "children": CHILDREN, "fixed": [], "dtype": "float64"})
    np.save(header, np.array(text))
    fine = io.BytesIO()
    np.save(fine, np.ones((3, 2)))
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("header.npy", header.getvalue())
        archive.writestr("weight_0.npy", fine.getvalue())
        archive.writestr("weight_1.npy", HOSTILE_ARRAYS[name])
    with pytest.raises(ValueError, match=r"`path=.*hostile\.npz` is damaged"):
        htf.load_factors(path)
    with zipfile.ZipFile(path, "w", method) as archive:  # the rest of it is fine
        archive.writestr("header.npy", header.getvalue())
        archive.writestr("weight_0.npy", fine.getvalue())
        archive.writestr("weight_1.npy", fine.getvalue())
    assert htf.load_factors(path).weights[1] is not None


@pytest.mark.parametrize("field", ["file_size", "compress_size"])
def test_sizes_of_zip_entries_are_checked_against_the_file(getkey, tmp_path, field):
    path = tmp_path / "hostile.npz"
    htf.save_factors(path, factors_for(getkey()))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    place = entry + (24 if field == "file_size" else 20)
    content[place : place + 4] = (0x7FFFFFFF).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"`path=.*hostile\.npz` is damaged"):
        htf.load_factors(path)


def test_an_encrypted_or_repeated_entry_is_refused(getkey, tmp_path):
    path = tmp_path / "hostile.npz"
    htf.save_factors(path, factors_for(getkey()))
    whole = bytearray(path.read_bytes())
    content = whole.copy()
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is encrypted"):
        htf.load_factors(path)
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplic"):
        archive.writestr("weight_0.npy", b"")
    with pytest.raises(ValueError, match="names an array twice"):
        htf.load_factors(path)
