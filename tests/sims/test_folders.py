"""Folders of commands: locks, digests, lost and foreign files."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import htfjax as htf
from sims import (
    complete,
    component_dynamics,
    flow_against_descent,
    incremental_rank,
    init_scale,
    is_same_class,
    mode_tree_shape,
    pathfinder,
    phase_diagram,
    rank_statistics,
    status,
    verify,
)
from sims.common.errors import FolderError, SettingError
from sims.common.folder import write_json
from sims.common.settings import Config
from tests.marks import slow_unless
from tests.sims.small import REPOSITORY, assert_same_results, small

pytestmark = pytest.mark.usefixtures("ordinary_promotion")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run without figures, to be copied."""
    out = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(incremental_rank, "draw", lambda folder, view: None)
        with jax.numpy_dtype_promotion("standard"):
            incremental_rank.run(small(out))
    return out


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def run_module(name: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", f"sims.{name}", *words], cwd=REPOSITORY, text=True,
        capture_output=True, check=False, timeout=300,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
        **options,
    )  # fmt: skip


# One command at a time


COMMANDS = {
    "incremental_rank": lambda out: incremental_rank.run(small(out)),
    "rank_statistics": lambda out: rank_statistics.run(
        rank_statistics.Config(out=out, models=("mf",), num_seeds=1, widths=4)
    ),
    "phase_diagram": lambda out: phase_diagram.run(
        phase_diagram.Config(out=out, models=("mf",), num_seeds=1, widths=4)
    ),
    "is_same_class": lambda out: is_same_class.run(
        is_same_class.Config(out=out, preset="smoke", distances=(4,))
    ),
    "pathfinder": lambda out: pathfinder.run(pathfinder.Config(out=out, preset="smoke")),
    "component_dynamics": lambda out: component_dynamics.run(
        component_dynamics.Config(out=out)
    ),
    "flow_against_descent": lambda out: flow_against_descent.run(
        flow_against_descent.Config(out=out)
    ),
    "init_scale": lambda out: init_scale.run(init_scale.Config(out=out)),
    "mode_tree_shape": lambda out: mode_tree_shape.run(mode_tree_shape.Config(out=out)),
    "complete": lambda out: complete.run(
        complete.Config(file=REPOSITORY / "examples" / "readings.csv", out=out)
    ),
    "verify": lambda out: verify.run_into_folder(verify.Config(out=out, only=("A1",))),
}


@pytest.mark.parametrize(
    "name", slow_unless(COMMANDS, COMMANDS.keys() - {"incremental_rank"})
)
def test_a_folder_in_use_is_refused(tmp_path: Path, name: str) -> None:
    """By process and host, and nothing is computed or written."""
    with htf.runs.exclusive_lock(tmp_path / ".lock", "a test"):
        before = {path.name for path in tmp_path.iterdir()}
        with pytest.raises(BlockingIOError, match=rf"`--out .*process {os.getpid()} on "):
            COMMANDS[name](tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_the_second_of_two_equal_commands_is_refused(tmp_path: Path) -> None:
    """In one line with exit code 2, while the first one ends as if alone."""
    words = ["--out", str(tmp_path), "--only", "A1"]
    with htf.runs.exclusive_lock(tmp_path / ".lock", "a test"):
        done = run_module("verify", *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: `--out ")
    assert f"process {os.getpid()} on" in line


# What was asked


def observations(path: Path, seed: int) -> Path:
    """Measured entries of the small problem."""
    rng = np.random.default_rng(seed)
    np.savez(path, indices=rng.integers(0, 3, (40, 4)), targets=rng.normal(size=40))
    return path


@pytest.mark.slow
def test_other_observations_of_the_same_name_are_another_run(
    tmp_path: Path, no_figures: None
) -> None:
    """The error names the file and both digests; a moved file is the same."""
    file = observations(tmp_path / "measured.npz", 0)
    out = tmp_path / "run"
    incremental_rank.run(small(out, observations=file))
    first = htf.runs.file_digest(file)
    moved = tmp_path / "elsewhere" / "measured.npz"
    moved.parent.mkdir()
    shutil.copy(file, moved)
    incremental_rank.run(small(out, observations=moved))
    observations(file, 1)
    second = htf.runs.file_digest(file)
    for steps in (100, 200):
        with pytest.raises(FolderError, match="holds another run") as error:
            incremental_rank.run(small(out, observations=file, num_steps=steps))
        words = ("config.json", "--observations", "measured.npz", first[:12], second[:12])
        for word in words:
            assert word in str(error.value)


@pytest.mark.slow
def test_config_holds_names_and_digests_but_no_paths(
    tmp_path: Path, no_figures: None
) -> None:
    file = observations(tmp_path / "measured.npz", 0)
    incremental_rank.run(small(tmp_path / "run", observations=file))
    text = (tmp_path / "run" / "config.json").read_text()
    assert str(tmp_path) not in text
    config = json.loads(text)["config"]
    digest = htf.runs.file_digest(file)
    assert config["observations"] == {"file": "measured.npz", "sha256": digest}
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_changed_config_is_noticed(run_folder: Path) -> None:
    """Another seed in it would let another run go on here."""
    path = run_folder / "config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    for seed in (0, 1):
        with pytest.raises(FolderError, match=r"config\.json is damaged"):
            incremental_rank.run(small(run_folder, seed=seed))


@pytest.mark.slow
def test_results_without_their_config_are_refused(run_folder: Path) -> None:
    (run_folder / "config.json").unlink()
    with pytest.raises(FolderError, match=r"config\.json is missing.*htf"):
        incremental_rank.run(small(run_folder))
    assert (run_folder / "htf").exists()


# Lost and foreign files


@pytest.mark.parametrize("part", ["results.zarr", "checkpoints"])
def test_lost_records_or_states_are_computed_anew_with_a_message(
    run_folder: Path, finished: Path, part: str, no_figures: None,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    shutil.rmtree(run_folder / "htf" / part)
    incremental_rank.run(small(run_folder))
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(
        rf"{part}.* is missing.* is computed (anew|again from its start)", said
    )
    assert_same_results(run_folder, finished)


@pytest.mark.slow
def test_records_older_than_their_state_are_computed_anew(
    run_folder: Path, tmp_path: Path, no_figures: None, capsys: pytest.CaptureFixture
) -> None:
    """A copy from a backup; it would leave a gap."""
    journal = run_folder / "htf" / "journal.jsonl"
    old = journal.read_bytes()
    incremental_rank.run(small(run_folder, num_steps=600))
    journal.write_bytes(old)
    incremental_rank.run(small(run_folder, num_steps=600))
    said = " ".join(capsys.readouterr().err.split())
    assert "journal.jsonl has lost" in said
    incremental_rank.run(small(tmp_path / "whole", num_steps=600))
    assert_same_results(run_folder, tmp_path / "whole")


@pytest.mark.slow
def test_files_of_another_run_are_refused(
    run_folder: Path, finished: Path, tmp_path: Path, no_figures: None,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """Manifest and journal of another seed, in turn; its state is named and passed over."""
    other = tmp_path / "other"
    incremental_rank.run(small(other, seed=1))
    for name in ("manifest.json", "journal.jsonl"):
        own = (run_folder / "htf" / name).read_bytes()
        shutil.copy(other / "htf" / name, run_folder / "htf" / name)
        with pytest.raises(ValueError, match=r"another (grid|folder).*manifest\.json"):
            incremental_rank.run(small(run_folder))
        (run_folder / "htf" / name).write_bytes(own)
    shutil.rmtree(run_folder / "htf" / "checkpoints")
    shutil.copytree(other / "htf" / "checkpoints", run_folder / "htf" / "checkpoints")
    capsys.readouterr()
    incremental_rank.run(small(run_folder))
    said = " ".join(capsys.readouterr().err.split())
    assert "belongs to another block or folder" in said
    assert_same_results(run_folder, finished)


@pytest.mark.slow
def test_records_of_another_panel_are_refused(tmp_path: Path, no_figures: None) -> None:
    config = Config(out=tmp_path, num_steps=25, record_every=25)
    incremental_rank.run(config)
    shutil.rmtree(tmp_path / "tf")
    shutil.copytree(tmp_path / "mf", tmp_path / "tf")
    with pytest.raises(ValueError, match=r"tf` holds another grid: .*`panel` was 'mf'"):
        incremental_rank.run(config)


@pytest.mark.slow
def test_summary_and_figures_come_back(finished: Path, run_folder: Path) -> None:
    (run_folder / "summary.json").unlink()
    incremental_rank.run(small(run_folder))
    before = {path.name for path in run_folder.iterdir()}
    assert {"summary.json", "dynamics.png", "errors.svg"} <= before
    for name in ("summary.json", "dynamics.png"):
        (run_folder / name).write_bytes(b"\0")
    incremental_rank.run(small(run_folder))
    assert {path.name for path in run_folder.iterdir()} == before
    assert (run_folder / "dynamics.png").stat().st_size > 10_000
    assert json.loads((run_folder / "summary.json").read_text())["htf"]["steps"] == 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["summary.json", "dynamics.png", "htf.nc"])
def test_folders_of_the_user_are_left_alone(tmp_path: Path, name: str) -> None:
    mine = tmp_path / name / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises((FolderError, ValueError, OSError), match=name):
        incremental_rank.run(small(tmp_path))
    assert mine.read_text() == "years of work"


@pytest.mark.parametrize("name", ["summary.json", "dynamics.png", "mine.svg", "a.nc"])
@pytest.mark.parametrize("command", ["rank", "theory", "ensemble"])
def test_files_of_the_user_are_left_alone(tmp_path: Path, command: str, name: str) -> None:
    """A folder that no command began: its results would be written over."""
    mine = tmp_path / name
    mine.write_text("years of work")
    run = {
        "rank": lambda: incremental_rank.run(small(tmp_path)),
        "theory": lambda: init_scale.run(init_scale.Config(out=tmp_path)),
        "ensemble": lambda: rank_statistics.run(
            rank_statistics.Config(out=tmp_path, num_seeds=1, num_steps=100)
        ),
    }[command]
    with pytest.raises(FolderError, match=f"is missing, so nothing .*{name}"):
        run()
    assert mine.read_text() == "years of work"


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [np.nan, 1.0], "b": (np.float64("inf"), 2)})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": [None, 1.0],
        "b": [None, 2],
    }


@pytest.mark.slow
def test_a_refused_command_leaves_no_config(tmp_path: Path) -> None:
    """So that the corrected command may use the folder."""
    wrong = [
        ("`--dim 3` gives 81 entries", init_scale, {"dim": 3}),
        ("`--widths 0`", init_scale, {"widths": 0}),
        ("`--dim 2` gives 16 entries", mode_tree_shape, {"dim": 2}),
        ("`--seeds` is empty", mode_tree_shape, {"seeds": ()}),
        ("`--stds` is empty", init_scale, {"stds": ()}),
        ("`--num-steps 0`", mode_tree_shape, {"num_steps": 0, "widths": 2, "dim": 5}),
    ]
    for words, command, options in wrong:
        with pytest.raises((SettingError, ValueError), match=words):
            command.run(command.Config(out=tmp_path, **options))
        assert not (tmp_path / "config.json").exists()


def test_a_checkpoint_folder_of_the_user_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "checkpoints" / "htf" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    with pytest.raises((FolderError, ValueError)):
        incremental_rank.run(small(tmp_path))
    assert mine.read_text() == "years of work"


def test_the_status_of_a_single_run(finished: Path) -> None:
    found = status.read(finished)
    assert (found["state"], found["steps"], found["runs"]) == ("finished", 100, 1)
    assert status.sentence(found) == "finished"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"state": "finished"}', "[" * 9])
def test_a_damaged_status_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(ValueError, match=r"status\.json is damaged"):
        status.read(tmp_path)
