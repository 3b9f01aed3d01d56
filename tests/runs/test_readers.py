"""Readers of a folder that another process writes: a prefix of the runs or an error."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import htfjax as htf
from tests.runs import toy

REPOSITORY = Path(__file__).parents[2]
# More steps and seeds again and again; a chunk is one record.
WRITER = """
import sys
from tests.runs import toy

for turn in range(1, 9):
    grid = toy.grid(1 + turn // 3, size=(2, 3))
    toy.finish(sys.argv[1], grid, until_step=30 * turn, chunk_steps=2, max_lanes=2)
"""
NAMES = ("loss", "norm")


def started(out: Path, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(out)], cwd=REPOSITORY, text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"}, stderr=subprocess.PIPE,
    )  # fmt: skip


def look(out: Path) -> xr.Dataset | str:
    """All numbers of two quantities, read one after the other, or what is complained of."""
    try:
        data = htf.load_results(out)
        return data[[*NAMES]].load()
    except (ValueError, FileNotFoundError) as error:
        return str(error)


def assert_a_prefix(data: xr.Dataset, whole: xr.Dataset) -> None:
    """Every run holds the numbers of its steps so far, and nothing after them."""
    for run in np.ndindex(data.steps.shape):
        steps = int(data.steps.values[run])
        one, all_of_it = (x.isel(size=run[0], seed=run[1]) for x in (data, whole))
        for name in NAMES:
            had = one[name].sel(step=slice(0, steps)).values
            now = all_of_it[name].sel(step=slice(0, steps)).values
            if steps:
                np.testing.assert_array_equal(had, now)
            assert np.isnan(one[name].sel(step=slice(steps + 1, None))).all()


@pytest.mark.durable
def test_a_store_that_is_being_written(tmp_path: Path) -> None:
    """Opened in a loop from the first file to the last, extended meanwhile."""
    out, seen = tmp_path / "run", list[Any]()
    with started(out, WRITER) as writer:
        while writer.poll() is None:
            seen.append(look(out))
        assert writer.stderr is not None
        assert writer.returncode == 0, writer.stderr.read()
    whole = look(out)
    assert isinstance(whole, xr.Dataset)
    read = [x for x in seen if isinstance(x, xr.Dataset)]
    said = {x for x in seen if isinstance(x, str)}
    assert len({int(x.steps.sum()) for x in read}) > 5
    for words in said:
        assert "no results at" in words or "open them again" in words, words
    for data in read:
        assert_a_prefix(data, whole)


def test_a_file_between_two_of_a_chunk_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged file is damage where nobody works, and may be written where one does."""
    monkeypatch.setattr("htfjax.runs.view.SECONDS", 0.2)
    toy.finish(tmp_path)
    path = tmp_path / "results.zarr/p000/loss/c/0/1"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    data = htf.load_results(tmp_path)
    with pytest.raises(
        ValueError, match=r"is damaged; run the same command again.*lost\.$"
    ):
        data.loss.load()
    with htf.runs.locked_folder(tmp_path, "a test"):
        words = rf"is damaged.*while process {os.getpid()} .* works there: open"
        with pytest.raises(ValueError, match=words):
            data.loss.load()
        path.write_bytes(content)
        assert np.isfinite(data.loss.load()).all()
