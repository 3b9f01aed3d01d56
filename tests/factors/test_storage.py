"""Files: what is written comes back bit for bit, damage is named, nothing is unpickled."""

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import htfjax as htf

STARTS = {
    "float64": {"dtype": jnp.float64},
    "float32": {"dtype": jnp.float32},
    "float16": {"dtype": jnp.float16},
    "bfloat16": {"dtype": jnp.bfloat16},
    "root_of_ones": {"root": "ones"},
    "float32_root_of_ones": {"root": "ones", "dtype": jnp.float32},
}


def factors_for(key, tree: htf.ModeTree | None = None, **options) -> htf.Factors:
    tree = htf.perfect(4) if tree is None else tree
    return htf.gaussian_factors(key, tree, 3, 2, 1.0, **options)


def bits(array) -> bytes:
    return np.asarray(array).tobytes()


def assert_bit_equal(first, second) -> None:
    a, b = jax.tree.flatten(first), jax.tree.flatten(second)
    assert a[1] == b[1]
    for x, y in zip(a[0], b[0], strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        assert bits(x) == bits(y)


def hidden_files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


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


def test_special_values_round_trip(tmp_path):
    column = np.array([[-0.0], [np.nan], [np.inf], [5e-324]])
    factors = htf.Factors(tree=htf.flat(1), weights=(jnp.asarray(column), None))
    htf.save_factors(tmp_path / "f.npz", factors)
    assert bits(htf.load_factors(tmp_path / "f.npz").weights[0]) == column.tobytes()


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
    write_archive(path, {"format": 2, "something": "new"})
    with pytest.raises(ValueError, match=r"newer\.npz.*format 2.*upgrade"):
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


class Interrupted(Exception):
    pass


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


def results(seed: int = 0, seeds: int = 2, steps: int = 5) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "losses": (("seed", "step"), rng.random((seeds, steps))),
            "rank": (("step", "node"), rng.integers(0, 9, (steps, 3)).astype(np.int32)),
            "small": ("step", rng.random(steps).astype(np.float32)),
            "grown": ("seed", rng.random(seeds) > 0.5),
            "scale": ((), 0.25),
        },
        coords={
            "seed": np.arange(seeds),
            "step": 10 * np.arange(steps),
            "node": [4, 5, 6],
            "label": ("node", ["left", "right", "root"]),
        },
        attrs={"tree": "((0, 1), (2, 3))"},
    )


def assert_same_results(loaded: xr.Dataset, saved: xr.Dataset) -> None:
    xr.testing.assert_identical(loaded.drop_attrs(deep=False), saved.drop_attrs(deep=False))
    assert loaded.attrs["tree"] == saved.attrs["tree"]
    for name, variable in saved.variables.items():
        assert loaded[name].dtype == variable.dtype, name


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
        later.setattr("htfjax.runs.results.FORMAT", 2)
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


def square(factors: htf.Factors) -> jax.Array:
    return jnp.sum(jnp.square(htf.end_tensor(factors)))


def descent_state(key, optimizer, dtype=None) -> htf.DescentState:
    start = factors_for(key, htf.flat(2), root="ones", dtype=dtype)
    # Optax mixes int counts with float rates, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        return htf.continue_descent(
            htf.start_descent(start, optimizer),
            square,
            optimizer,
            num_steps=3,
            record_every=3,
        )[0]


GROUP_RMS, ADAM = htf.group_rmsprop(1e-2), optax.adam(1e-2)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("optimizer", [GROUP_RMS, ADAM], ids=["group_rms", "adam"])
def test_checkpoints_round_trip(getkey, tmp_path, optimizer, dtype):
    state = descent_state(getkey(), optimizer, dtype)
    htf.save_state(tmp_path / "state", state)
    fresh = factors_for(getkey(), htf.flat(2), root="ones", dtype=dtype)
    like = htf.start_descent(fresh, optimizer)
    loaded = htf.load_state(tmp_path / "state", like=like)
    assert isinstance(loaded, htf.DescentState)
    assert int(loaded.step) == 3
    assert_bit_equal(loaded, state)
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_a_loaded_state_goes_on_bit_for_bit(getkey, tmp_path):
    state = descent_state(getkey(), GROUP_RMS)
    htf.save_state(tmp_path / "state", state)
    ends = [
        htf.continue_descent(s, square, GROUP_RMS, num_steps=4, record_every=2)[0]
        for s in (state, htf.load_state(tmp_path / "state", like=state))
    ]
    assert_bit_equal(*ends)


def test_a_checkpoint_replaces_the_one_before(getkey, tmp_path):
    first, second = (descent_state(getkey(), GROUP_RMS) for _ in range(2))
    for state in (first, second):
        htf.save_state(tmp_path / "state", state)
    assert_bit_equal(htf.load_state(tmp_path / "state", like=first), second)
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_a_missing_checkpoint(getkey, tmp_path):
    like = descent_state(getkey(), GROUP_RMS)
    with pytest.raises(FileNotFoundError, match="missing"):
        htf.load_state(tmp_path / "missing", like=like)


def test_saving_a_checkpoint_into_a_missing_folder(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.* does not exist"):
        htf.save_state(tmp_path / "nowhere" / "state", jnp.ones(3))


def test_an_interrupted_checkpoint_leaves_the_old_one(getkey, tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    old, new = (descent_state(getkey(), GROUP_RMS) for _ in range(2))
    htf.save_state(tmp_path / "state", old)

    def stop(*_, **__):
        raise Interrupted

    monkeypatch.setattr(ocp.Checkpointer, "save", stop)
    with pytest.raises(Interrupted):
        htf.save_state(tmp_path / "state", new)
    monkeypatch.undo()
    assert_bit_equal(htf.load_state(tmp_path / "state", like=old), old)
    htf.save_state(tmp_path / "state", new)
    assert_bit_equal(htf.load_state(tmp_path / "state", like=old), new)


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_kill_between_the_renames_leaves_one_readable(
    getkey, tmp_path, monkeypatch, stop_at
):
    old, new = (descent_state(getkey(), GROUP_RMS) for _ in range(2))
    path = tmp_path / "state"
    htf.save_state(path, old)
    rename, calls = Path.rename, []

    def count_then_stop(self, target):
        if tmp_path in Path(self).parents and Path(self).parent == tmp_path:
            if "state" in (Path(self).name, Path(target).name):
                calls.append(target)
                if len(calls) == stop_at:
                    raise Interrupted
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", count_then_stop)
    with pytest.raises(Interrupted):
        htf.save_state(path, new)
    monkeypatch.undo()
    assert_bit_equal(htf.load_state(path, like=old), old)
    htf.save_state(path, new)
    assert_bit_equal(htf.load_state(path, like=old), new)


def test_a_damaged_checkpoint(getkey, tmp_path):
    state = descent_state(getkey(), GROUP_RMS)
    htf.save_state(tmp_path / "state", state)
    for file in (tmp_path / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"`path=.*state`"):
        htf.load_state(tmp_path / "state", like=state)


def test_a_checkpoint_of_another_structure(getkey, tmp_path):
    state = descent_state(getkey(), GROUP_RMS)
    htf.save_state(tmp_path / "state", state)
    other = htf.start_descent(state.params, ADAM)
    with pytest.raises(ValueError, match=r"`path=.*state`"):
        htf.load_state(tmp_path / "state", like=other)


def test_a_checkpoint_of_other_shapes(tmp_path):
    htf.save_state(tmp_path / "state", {"x": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"`path=.*state`"):
        htf.load_state(tmp_path / "state", like={"x": jnp.ones(4)})


def test_a_plain_folder_is_no_checkpoint(tmp_path):
    (tmp_path / "state").mkdir()
    with pytest.raises(ValueError, match=r"`path=.*state`"):
        htf.load_state(tmp_path / "state", like={"x": jnp.ones(3)})


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


def test_paths_in_the_home_folder_and_after_a_change_of_folder(
    getkey, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    factors = factors_for(getkey())
    htf.save_factors("~/f.npz", factors)
    assert_bit_equal(htf.load_factors("~/f.npz"), factors)
    htf.save_results("~/run.nc", results())
    assert_same_results(htf.load_results("~/run.nc"), results())
    assert {p.name for p in tmp_path.iterdir()} == {"f.npz", "run.nc"}
    monkeypatch.chdir(tmp_path)
    assert_same_results(htf.load_results("run.nc"), results())


@pytest.mark.parametrize("write", ["factors", "results"])
@pytest.mark.parametrize("kind", ["folder", "device"])
def test_only_files_are_replaced(getkey, tmp_path, write, kind):
    path = tmp_path / "there" if kind == "folder" else Path(os.devnull)
    if kind == "folder":
        path.mkdir()
        (path / "notes").write_text("mine")
    save: Any
    value: Any
    save, value = (
        (htf.save_factors, factors_for(getkey()))
        if write == "factors"
        else (htf.save_results, results())
    )
    with pytest.raises(ValueError, match=r"`path=.* choose the name of a file"):
        save(path, value)
    assert kind == "device" or (path / "notes").read_text() == "mine"


FULL = """
import resource, sys
import numpy as np, xarray as xr
import htfjax as htf
numbers = np.random.default_rng(0).random(200_000)
tree = htf.flat(1)
few = htf.Factors(tree=tree, weights=(numbers[:, None], None))
htf.save_results("run.nc", xr.Dataset({"x": ("k", numbers[:100])}))
htf.save_factors("f.npz", htf.Factors(tree=tree, weights=(numbers[:9, None], None)))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for write in (
    lambda: htf.save_results("run.nc", xr.Dataset({"x": ("k", numbers)})),
    lambda: htf.save_factors("f.npz", few),
):
    try:
        write()
    except OSError as error:
        print(error)
"""


def test_a_full_disk_is_one_error_and_loses_nothing(tmp_path):
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", FULL], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [("the disk is full" in line) for line in done.stdout.splitlines()] == [True] * 2
    assert {p.name for p in tmp_path.iterdir()} == {"f.npz", "run.nc"}
    assert htf.load_results(tmp_path / "run.nc").sizes["k"] == 100


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
