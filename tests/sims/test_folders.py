"""Folders of commands: locks, digests, lost and foreign files, and how commands end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
import pytest

import htfjax as htf
from htfjax import locality
from sims import (
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
from sims.common.errors import FolderError, RunError, SettingError
from sims.common.folder import open_folder, write_json
from sims.common.settings import Config
from tests.marks import slow_unless

mpl.use("Agg")
REPOSITORY = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "panel": "htf", "mode_dims": (3,), "widths": (4,), "init_std": 0.3, "observed": 60,
    "target_ranks": (2,), "num_steps": 100, "record_every": 5, "tolerance": 1e-12,
}  # fmt: skip


def small(out: Path, **changes: Any) -> Config:
    """A run of the hierarchical panel that takes a second."""
    return Config(out=out, **{**SMALL, **changes})


@pytest.fixture(autouse=True)
def ordinary_promotion() -> Any:
    """Commands run as users run them."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than a small run."""
    monkeypatch.setattr(incremental_rank, "draw", lambda folder, view: None)


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


def assert_same_results(one: Path, two: Path, but: str = "") -> None:
    """Every array, bit for bit, but for one that tells the time."""
    a, b = htf.load_results(one), htf.load_results(two)
    assert set(a.variables) == set(b.variables)
    for name, variable in a.variables.items():
        if name != but:
            np.testing.assert_array_equal(variable.values, b[name].values, str(name))


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


def test_a_changed_config_is_noticed(run_folder: Path) -> None:
    """Another seed in it would let another run go on here."""
    path = run_folder / "config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    for seed in (0, 1):
        with pytest.raises(FolderError, match=r"config\.json is damaged"):
            incremental_rank.run(small(run_folder, seed=seed))


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
        ("`widths=0`", init_scale, {"widths": 0}),
        ("`--dim 2` gives 16 entries", mode_tree_shape, {"dim": 2}),
        ("`--seeds` is empty", mode_tree_shape, {"seeds": ()}),
        ("`--stds` is empty", init_scale, {"stds": ()}),
        ("`num_steps=0`", mode_tree_shape, {"num_steps": 0, "widths": 2, "dim": 5}),
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


# Studies of networks


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two runs."""
    out = tmp_path_factory.mktemp("study") / "run"
    with jax.numpy_dtype_promotion("standard"):
        is_same_class.run(study_config(out))
    return out


def study_config(out: Path) -> is_same_class.Config:
    """Two runs of one epoch."""
    return is_same_class.Config(
        out=out, preset="smoke", distances=(4,), epochs=1, workers=1, train_sizes=(128,),
        seeds=(0, 1), coefficients=(0.0,), measure=True,
    )  # fmt: skip


@pytest.fixture
def study_folder(study: Path, tmp_path: Path) -> Path:
    """A copy of the finished study."""
    return Path(shutil.copytree(study, tmp_path / "run"))


@pytest.mark.durable
@pytest.mark.parametrize("part", ["runs/*.nc", "runs/measures/*.nc", "runs/checkpoints/*"])
def test_removed_files_of_a_study_are_made_again(
    study: Path, study_folder: Path, part: str, capsys: pytest.CaptureFixture
) -> None:
    lost = sorted(study_folder.glob(part))[0]
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    is_same_class.run(study_config(study_folder))
    assert_same_results(study, study_folder, but="wall_seconds")
    if part == "runs/*.nc":
        assert "computed anew" in " ".join(capsys.readouterr().err.split())


@pytest.mark.durable
@pytest.mark.parametrize("part", ["runs/*.nc", "runs/measures/*_seed0.nc"])
def test_swapped_files_of_a_study_are_refused(study_folder: Path, part: str) -> None:
    target = sorted(study_folder.glob(part))[0]
    other = next(p for p in sorted((study_folder / "runs").glob("*.nc")) if p != target)
    shutil.copy(other, target)
    with pytest.raises(RunError, match=f"{target.name} holds records of another run"):
        is_same_class.run(study_config(study_folder))


@pytest.mark.durable
@pytest.mark.parametrize("part", ["images.json", "config.json"])
def test_a_study_that_does_not_know_its_past_is_refused(
    study_folder: Path, part: str
) -> None:
    (study_folder / part).unlink()
    with pytest.raises(FolderError, match=f"{part} is missing"):
        is_same_class.run(study_config(study_folder))


def test_other_images_in_the_store_are_noticed(tmp_path: Path) -> None:
    """Of the same settings and number, but another key, under the right name."""
    settings = locality.paper_pathfinder(3)
    mine, other = jax.random.split(jax.random.key(0), 2)
    locality.stored_pathfinder(tmp_path / "mine", settings, 4, key=mine)
    locality.stored_pathfinder(tmp_path / "other", settings, 4, key=other)
    (path,), (foreign,) = (list((tmp_path / name).iterdir()) for name in ("mine", "other"))
    shutil.copy(foreign, path)
    with pytest.raises(ValueError, match="holds other images than its name says"):
        locality.stored_pathfinder(tmp_path / "mine", settings, 4, key=mine)


# Numbers that a resume must not change


ON_ONE_CORE = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from pathlib import Path
from sims import incremental_rank
from tests.sims.test_folders import small
incremental_rank.draw = lambda folder, view: None
incremental_rank.run(small(Path("OUT"), num_steps=200))
"""


@pytest.mark.slow
def test_a_resume_on_another_cpu_set_keeps_every_number(
    tmp_path: Path, no_figures: None
) -> None:
    """Begun on one core, with another home and no caches; plans are the same."""
    subprocess.run(
        [sys.executable, "-c", ON_ONE_CORE.replace("OUT", str(tmp_path / "two"))],
        cwd=REPOSITORY, check=True, timeout=300,
        env=os.environ | {
            "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3",
            "JAX_ENABLE_X64": "1", "HOME": str(tmp_path / "home"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        },
    )  # fmt: skip
    incremental_rank.run(small(tmp_path / "one", num_steps=200))
    for name in ("one", "two"):
        incremental_rank.run(small(tmp_path / name, num_steps=600))
    assert_same_results(tmp_path / "one", tmp_path / "two")


# How commands end


def run_module(name: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", f"sims.{name}", *words], cwd=REPOSITORY, text=True,
        capture_output=True, check=False, timeout=300,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
        **options,
    )  # fmt: skip


LIMITED = """
import resource, runpy, sys
sys.argv = ["x", *{words!r}]
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
runpy.run_module("sims.incremental_rank", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [2_000, 20_000])
def test_a_full_disk_ends_a_command_with_one_line(tmp_path: Path, limit: int) -> None:
    """Records or checkpoint do not fit; nothing comes after the message."""
    pytest.importorskip("resource")
    words = ["--out", str(tmp_path), "--panel", "htf", "--widths", "16", "--mode-dims",
             "4", "--observed", "100", "--num-steps", "2000"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(words=words, limit=limit)],
        cwd=REPOSITORY, text=True, capture_output=True, timeout=300, check=False,
        env=os.environ
        | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
        | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    )  # fmt: skip
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "step" not in line]
    assert len(lines) == 1, done.stderr
    assert "the disk is full" in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_signals_end_a_theory_command_with_one_line(tmp_path: Path, name: str) -> None:
    """The folder is as good as before; the same command starts again."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sims.component_dynamics", "--out", str(tmp_path)],
        cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    try:
        while not (tmp_path / "config.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == (130 if name == "SIGINT" else 143), said
    assert said.splitlines() == [
        "interrupted: the same command resumes from what was saved"
    ]
    config = component_dynamics.Config(out=tmp_path)
    with open_folder(tmp_path, config, may_differ=()):
        pass


STUDY = ["--preset", "smoke", "--distances", "4", "--epochs", "2000", "--patience", "9999",
         "--workers", "2", "--checkpoint-seconds", "0"]  # fmt: skip


def started_study(out: Path) -> subprocess.Popen:
    """A study with two workers, both at work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sims.is_same_class", "--out", str(out), *STUDY],
        cwd=REPOSITORY, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    end = time.monotonic() + 300
    while len(list((out / "runs").glob("[!.]*.nc"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


@pytest.mark.durable
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """SIGKILL to the parent alone; its folder is free and quiet at once."""
    psutil = pytest.importorskip("psutil")
    process = started_study(tmp_path)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert htf.runs.lock_holder(tmp_path / ".lock") is None


@pytest.mark.durable
@pytest.mark.parametrize("to_all", [False, True])
def test_sigterm_to_a_study_saves_and_leaves_no_worker(
    tmp_path: Path, to_all: bool
) -> None:
    """To the parent, or to every process as a batch system sends it."""
    psutil = pytest.importorskip("psutil")
    process = started_study(tmp_path)
    children = psutil.Process(process.pid).children(recursive=True)
    steps = {p.name: int(htf.load_results(p).step[-1])
             for p in (tmp_path / "runs").glob("[!.]*.nc")}  # fmt: skip
    if to_all:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 143, said
    assert "Traceback" not in said
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    for name, step in steps.items():
        assert int(htf.load_results(tmp_path / "runs" / name).step[-1]) >= step
    assert json.loads((tmp_path / "summary.json").read_text())["state"] == "interrupted"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"state": "finished"}', "[" * 9])
def test_a_damaged_status_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(ValueError, match=r"status\.json is damaged"):
        status.read(tmp_path)
