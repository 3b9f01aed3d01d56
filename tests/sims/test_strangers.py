"""Folders of one command that another command is pointed at: refused by name."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

import htfjax as htf
from sims import init_scale, is_same_class, rank_statistics
from sims.common.errors import FolderError
from sims.common.folder import open_folder
from tests.sims.small import small
from tests.sims.test_folders import COMMANDS, run_module

pytestmark = pytest.mark.usefixtures("ordinary_promotion")
BEGUN: dict[str, Any] = {
    "incremental_rank": (small, ()),
    "rank_statistics": (lambda out: rank_statistics.Config(out=out), None),
    "is_same_class": (lambda out: is_same_class.Config(out=out, epochs=1), ()),
    "init_scale": (lambda out: init_scale.Config(out=out), ()),
}


def begun(name: str, out: Path) -> dict[Path, bytes]:
    """A folder in which a command has begun, and the contents of its files."""
    config, may_differ = BEGUN[name]
    with open_folder(out, config(out), may_differ=may_differ, command=name):
        (out / "mine.txt").write_text("years of work")
    return contents(out)


def contents(out: Path) -> dict[Path, bytes]:
    """All files but those of locks."""
    files = [path for path in out.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if "lock" not in path.name}


PAIRS = [(first, name) for first in BEGUN for name in COMMANDS if name != first]


@pytest.mark.parametrize(("first", "name"), PAIRS)
def test_a_folder_of_another_command_is_refused(
    first: str, name: str, tmp_path: Path
) -> None:
    """With the name of the command that began it, and nothing is written."""
    before = begun(first, tmp_path)
    with pytest.raises(FolderError, match=rf"{first}.*choose another"):
        COMMANDS[name](tmp_path)
    assert contents(tmp_path) == before


def test_a_grid_that_was_killed_early_is_still_its_command_s(tmp_path: Path) -> None:
    """Its manifest alone, without the file that names the command."""
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(FolderError, match=r"nothing says which run manifest\.json is of"):
        COMMANDS["init_scale"](tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "name", "words"),
    [
        ("incremental_rank", "rank_statistics", ["--models", "mf", "--num-seeds", "1"]),
        ("rank_statistics", "is_same_class", ["--preset", "smoke"]),
        ("is_same_class", "component_dynamics", []),
    ],
)
def test_the_refusal_is_one_line(
    first: str, name: str, words: list[str], tmp_path: Path
) -> None:
    """Of a process of its own, one after the other and at the same time."""
    before = begun(first, tmp_path)

    def refused() -> str:
        done: subprocess.CompletedProcess[str] = run_module(
            name, "--out", str(tmp_path), *words
        )
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert "choose another" in line
        return line

    assert first in refused()
    with htf.runs.exclusive_lock(tmp_path / ".lock", "a test"):
        line = refused()  # studies look at their options before the lock
        assert "is in use by process" in line or f"of a run of {first}" in line
    assert contents(tmp_path) == before
