"""Paths of factors and results: the home folder, what is replaced, a full disk."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import htfjax as htf
from tests.stored import assert_bit_equal, assert_same_results, factors_for, results


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


@pytest.mark.slow
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
