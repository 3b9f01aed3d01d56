"""Files of results: they come back whole, damage is named, no other file is read."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import htfjax as htf
from tests.stored import Interrupted, assert_same_results, bits, results


def test_results_round_trip(tmp_path):
    htf.save_results(tmp_path / "run.nc", results())
    assert_same_results(htf.load_results(tmp_path / "run.nc"), results())


def test_results_keep_special_values(tmp_path):
    values = np.array([np.nan, np.inf, -0.0, 5e-324])
    htf.save_results(tmp_path / "run.nc", xr.Dataset({"x": ("step", values)}))
    assert bits(htf.load_results(tmp_path / "run.nc")["x"].values) == values.tobytes()


def test_saving_leaves_the_dataset_alone(tmp_path):
    dataset = results()
    htf.save_results(tmp_path / "run.nc", dataset)
    xr.testing.assert_identical(dataset, results())


def test_results_do_not_lock_or_lazily_read_the_file(tmp_path):
    htf.save_results(tmp_path / "run.nc", results())
    loaded = htf.load_results(tmp_path / "run.nc")
    (tmp_path / "run.nc").unlink()
    assert_same_results(loaded, results())


def test_results_of_a_folder_with_one_file(tmp_path):
    htf.save_results(tmp_path / "run.nc", results())
    assert_same_results(htf.load_results(tmp_path), results())


def test_results_of_a_folder_with_several_files(tmp_path):
    saved = {name: results(i) for i, name in enumerate(("a", "b", "c"))}
    for name in ("c", "a", "b"):
        htf.save_results(tmp_path / f"{name}.nc", saved[name])
    (tmp_path / "config.json").write_text("{}")
    loaded = htf.load_results(tmp_path)
    assert loaded["panel"].values.tolist() == ["a", "b", "c"]
    for name, dataset in saved.items():
        panel = loaded.sel(panel=name)
        for variable in dataset.data_vars:
            np.testing.assert_array_equal(panel[variable], dataset[variable])


def test_panels_of_other_lengths_are_padded_with_nan(tmp_path):
    htf.save_results(tmp_path / "long.nc", results(steps=5)[["losses"]])
    htf.save_results(tmp_path / "short.nc", results(steps=3)[["losses"]])
    loaded = htf.load_results(tmp_path)
    assert loaded["losses"].shape == (2, 2, 5)
    assert not np.isnan(loaded["losses"].sel(panel="long")).any()
    short = np.isnan(loaded["losses"].sel(panel="short").values)
    np.testing.assert_array_equal(short, [[False] * 3 + [True] * 2] * 2)


def test_panels_of_other_lengths_without_coordinates_are_padded_too(tmp_path):
    for name, size in (("five", 5), ("three", 3)):
        dataset = xr.Dataset({"norms": ("component", np.ones(size))})
        htf.save_results(tmp_path / f"{name}.nc", dataset)
    loaded = htf.load_results(tmp_path)
    assert loaded["norms"].shape == (2, 5)
    assert int(np.isnan(loaded["norms"]).sum()) == 2


def test_results_by_group(tmp_path):
    for i, name in enumerate(("a", "b")):
        htf.save_results(tmp_path / f"{name}.nc", results(i))
    assert_same_results(htf.load_results(tmp_path, group="b"), results(1))


def test_an_unknown_group_lists_the_others(tmp_path):
    for name in ("a", "b"):
        htf.save_results(tmp_path / f"{name}.nc", results())
    with pytest.raises(FileNotFoundError, match=r"`group=c`.*\['a', 'b'\]"):
        htf.load_results(tmp_path, group="c")


@pytest.mark.parametrize("name", ["missing", "missing.nc"])
def test_missing_results(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=name):
        htf.load_results(tmp_path / name)


def test_a_folder_without_results(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        htf.load_results(tmp_path)


def test_saving_results_into_a_missing_folder(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.* does not exist"):
        htf.save_results(tmp_path / "nowhere" / "run.nc", results())


@pytest.mark.filterwarnings("ignore:Exception ignored in.*File.close")
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_results(tmp_path, share):
    path = tmp_path / "cut.nc"
    htf.save_results(path, results())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"`path=.*cut\.nc` is damaged"):
        htf.load_results(path)


def test_flipped_bits_in_numbers_are_found(tmp_path):
    path = tmp_path / "flip.nc"
    values = np.random.default_rng(0).random(500)
    htf.save_results(path, xr.Dataset({"losses": ("step", values)}))
    data = path.read_bytes()
    start, size = stored_chunk(path)
    for position in np.linspace(start, start + size - 1, 9).astype(int):
        damaged = bytearray(data)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"flip\.nc"):
            htf.load_results(path)


def test_a_flipped_bit_beside_the_numbers_is_found(tmp_path):
    """The checksums cover chunks; the table that says where chunks lie has none."""
    path = tmp_path / "flip.nc"
    htf.save_results(path, xr.Dataset({"losses": ("step", np.ones(500))}))
    damaged = bytearray(path.read_bytes())
    table = damaged.find(b"TREE\x01")  # the table of chunks, if there is one
    count = table + 6 if table >= 0 else len(damaged) // 2
    damaged[count] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"flip\.nc"):
        htf.load_results(path)


def stored_chunk(path: Path) -> tuple[int, int]:
    """Where the file holds the numbers of `losses`: first byte and number of bytes."""
    import h5py

    with h5py.File(path) as file:
        info = file["losses"].id.get_chunk_info(0)
        return info.byte_offset, info.size


def test_a_netcdf_file_of_others_is_no_result(tmp_path):
    results().to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"foreign\.nc"):
        htf.load_results(tmp_path / "foreign.nc")


def test_results_of_a_newer_format_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "newer.nc"
    with monkeypatch.context() as later:
        later.setattr("htfjax.runs.netcdf.FORMAT", 2)
        htf.save_results(path, results())
    with pytest.raises(ValueError, match=r"newer\.nc.*format 2.*upgrade"):
        htf.load_results(path)


def test_an_interrupted_write_leaves_the_old_results(tmp_path, monkeypatch):
    path = tmp_path / "run.nc"
    htf.save_results(path, results(0))
    write, targets = Path.write_bytes, []

    def stop_in_the_middle(target, content):
        targets.append(target)
        write(target, content[: len(content) // 2])
        raise Interrupted

    monkeypatch.setattr(Path, "write_bytes", stop_in_the_middle)
    with pytest.raises(Interrupted):
        htf.save_results(path, results(1))
    monkeypatch.undo()
    assert targets[0] != path
    assert_same_results(htf.load_results(path), results(0))
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]


def seal(path: Path) -> None:
    """Gives a file the end that makes it one of ours."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).digest()
    path.write_bytes(content + b"htfjax sha256 digest of all before:" + digest)


def external_storage(file, secret: Path) -> None:
    file.create_dataset("x", (4,), "u1", external=[(str(secret), 0, 4)])


def external_link(file, secret: Path) -> None:
    import h5py

    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["x"] = np.arange(4)
    file["x"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/x")


def external_group(file, secret: Path) -> None:
    external_link(file.create_group("inner"), secret)


def soft_link(file, secret: Path) -> None:
    import h5py

    file["y"] = np.arange(4)
    file["x"] = h5py.SoftLink("/y")


def virtual_dataset(file, secret: Path) -> None:
    import h5py

    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["x"] = np.arange(4)
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "x", (4,))
    file.create_virtual_dataset("x", layout)


def huge(file, secret: Path) -> None:
    file.create_dataset("x", (10**15,), "f8", chunks=(1000,))


HOSTILE = (
    external_storage,
    external_link,
    external_group,
    soft_link,
    virtual_dataset,
    huge,
)


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_sealed_files_that_read_other_files_are_refused(tmp_path, make):
    import h5py

    secret, path = tmp_path / "secret", tmp_path / "hostile.nc"
    secret.write_bytes(b"abcd")
    htf.save_results(path, xr.Dataset({"fine": ("k", [1.0])}))
    path.write_bytes(path.read_bytes()[:-67])
    with h5py.File(path, "a") as file:
        make(file, secret)
    seal(path)
    with pytest.raises(ValueError, match=r"hostile\.nc` is damaged or holds no results"):
        htf.load_results(path)


def test_a_sealed_file_of_our_own_is_read(tmp_path):
    """The seal of these tests is the library's."""
    path = tmp_path / "run.nc"
    htf.save_results(path, results())
    path.write_bytes(path.read_bytes()[:-67])
    seal(path)
    assert_same_results(htf.load_results(path), results())


def test_results_of_nothing_but_dimensions(tmp_path):
    dataset = xr.Dataset({"empty": (("a", "b"), np.zeros((0, 3)))})
    htf.save_results(tmp_path / "run.nc", dataset)
    assert htf.load_results(tmp_path / "run.nc")["empty"].shape == (0, 3)
    constant = xr.Dataset({"x": ("a", np.zeros(10**6))})
    htf.save_results(tmp_path / "run.nc", constant)
    assert htf.load_results(tmp_path / "run.nc").sizes["a"] == 10**6
