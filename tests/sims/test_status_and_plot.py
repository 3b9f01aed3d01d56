"""Status and plot of places that are not what they should be."""

import errno
import os
import shutil
from pathlib import Path

import pytest

import htfjax as htf
from htfjax.runs import locks
from sims import incremental_rank, plot, status
from sims.common.errors import FolderError
from tests.sims.small import small

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one panel."""
    out = tmp_path_factory.mktemp("runs") / "one"
    incremental_rank.run(small(out, num_steps=10))
    return out


def test_a_file_is_no_folder(run: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"summary.json is a file; give the folder"):
        status.read(run / "summary.json")


def test_the_run_that_is_meant_is_named(run: Path, tmp_path: Path) -> None:
    """Where there are several; it is the one that was at work last."""
    assert "run" not in status.read(run)
    for name in ("one", "two"):
        shutil.copytree(run / "htf", tmp_path / name)
        os.utime(tmp_path / name / "status.json", (1, 1) if name == "one" else (2, 2))
    assert status.read(tmp_path)["run"] == "two, the last of 2 to be at work"


def test_one_run_of_several_is_not_drawn_alone(run: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"give the folder of all, {run}$"):
        plot.run(plot.Options((run / "htf",)))


def test_an_archive(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that is mounted to be read: finished, and drawn elsewhere."""

    def refuse(*words: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(locks, "_acquire", refuse)
        assert htf.runs.lock_holder(run / "htf" / "lock") is None
        assert status.sentence(status.read(run)) == "finished"
    monkeypatch.setattr(plot, "save_figures", refuse)
    with pytest.raises(FolderError, match=rf"{run} cannot be written .* by `--out`"):
        plot.run(plot.Options((run,)))
