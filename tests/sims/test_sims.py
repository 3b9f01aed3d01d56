"""The simulations at a size of seconds: what they write, resume, draw and refuse."""

import dataclasses
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

import htfjax as htf
from htfjax.runs.progress import Clock
from sims import incremental_rank, plot
from sims.common.errors import FolderError, SettingError
from sims.common.names import questions
from sims.common.plateau import plateau_steps
from sims.common.problem import make_problem
from sims.common.settings import Config, resolve
from sims.figures import dynamics
from tests.sims.small import REPOSITORY, small

pytestmark = pytest.mark.usefixtures("ordinary_promotion")


@pytest.mark.slow
def test_all_panels_write_everything(tmp_path: Path) -> None:
    """Results, config, summary and figures of a run of three panels."""
    config = Config(out=tmp_path / "run", num_steps=50, record_every=25)
    summary = incremental_rank.run(config)
    assert list(summary) == ["mf", "tf", "htf"]
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.json", "summary.json", "mf", "tf", "htf"} <= written
    for figure in ("dynamics", "errors", "htf_components_and_spectra"):
        assert {f"{figure}.png", f"{figure}.svg"} <= written
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    together = htf.load_results(tmp_path / "run")
    assert together.panel.values.tolist() == ["htf", "mf", "tf"]
    htf_run = htf.load_results(tmp_path / "run", "htf")
    assert htf_run.sizes["component"] == 512
    assert htf_run.step.values.tolist() == [0, 25, 50]
    assert htf_run.status.item() == "capped"
    assert summary["htf"]["eps_phase_share"] == 1.0  # the eps phase of THEORY 3.8
    assert 0 <= summary["mf"]["eps_phase_share"] < 1.0


@pytest.mark.slow
def test_summary_is_what_the_factors_say(tmp_path: Path, no_figures: None) -> None:
    """Final values of the records, recomputed from the checkpointed factors."""
    config = small(tmp_path, dtype="float64")
    summary = incremental_rank.run(config)["htf"]
    data = htf.load_results(tmp_path)
    setting = resolve(config, "htf")
    job = incremental_rank._job(config, setting, make_problem(config, setting))
    grid = htf.runs.Grid(job.setting, (job.seed,))
    build = htf.runs.untraced(lambda setting, key: job.lane)
    (state,) = htf.runs.load_states(tmp_path / "htf", grid, build).values()
    factors = state.params
    values = htf.singular_values(factors, (0, 1))
    np.testing.assert_allclose(
        data.singular_value[0, -1, 0, :9].values, values, rtol=1e-9, atol=1e-12
    )
    assert np.all(np.isnan(data.singular_value[0, -1, 0, 9:]))
    norms = htf.local_component_norms(factors)
    for i, node in enumerate(data.node_id.values):
        found = data.local_component_norm[0, -1, i].values
        np.testing.assert_allclose(found, norms[int(node)], rtol=1e-9)
    share = htf.component_contributions(factors)[6] / np.linalg.norm(
        htf.end_tensor(factors).ravel()
    )
    np.testing.assert_allclose(data.contribution[0, 1].values, share, rtol=1e-9)
    assert summary["steps"] == 100
    assert summary["final"]["train_mse"] == float(data.train_mse[0, -1])


@pytest.mark.slow
def test_extending_equals_one_run(tmp_path: Path, no_figures: None) -> None:
    """`--num-steps` on a finished folder goes on bit for bit."""
    incremental_rank.run(small(tmp_path / "one", num_steps=600))
    incremental_rank.run(small(tmp_path / "two", num_steps=305))
    incremental_rank.run(small(tmp_path / "two", num_steps=600))
    one, two = (htf.load_results(tmp_path / name) for name in ("one", "two"))
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, two[name].values, str(name))


@pytest.mark.slow
def test_minibatches_and_surplus_records_resume(tmp_path: Path, no_figures: None) -> None:
    """A kill between saving records and saving the state leaves surplus records."""
    options: dict[str, Any] = {"batch_size": 20, "penalty": "huber", "schedule": "cosine"}
    incremental_rank.run(small(tmp_path / "one", num_steps=600, **options))
    incremental_rank.run(small(tmp_path / "two", num_steps=300, **options))
    late = tmp_path / "two" / "htf" / "checkpoints"
    early = Path(shutil.copytree(late, tmp_path / "checkpoints"))
    incremental_rank.run(small(tmp_path / "two", num_steps=400, **options))
    shutil.rmtree(late)
    early.rename(late)
    incremental_rank.run(small(tmp_path / "two", num_steps=600, **options))
    one, two = (htf.load_results(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_array_equal(one.loss.values, two.loss.values)


@pytest.mark.slow
def test_a_run_that_stays_on_the_plateau_says_so(tmp_path: Path, no_figures: None) -> None:
    """With the step of its first rise; no other run does."""
    config = small(tmp_path, init_std=1e-2, num_steps=10, dtype="float64")
    summary = incremental_rank.run(config)
    problem = make_problem(config, resolve(config, "htf"))
    wait = float(htf.plateau_wait(problem.start, problem.loss))
    wanted = wait * config.eps / config.learning_rate
    assert summary["htf"]["plateau_steps"] == pytest.approx(wanted, rel=1e-6)
    console = Console(record=True, file=io.StringIO())
    incremental_rank.report(summary, config, console)
    assert f"predicted at step {wanted:.0f}" in console.export_text()
    row = dict(summary["htf"], eps_phase_share=0.9)
    assert plateau_steps(config, problem, row) is None
    row = dict(summary["htf"], status="converged")
    assert plateau_steps(config, problem, row) is None


@pytest.mark.slow
def test_converged_run_is_not_continued(tmp_path: Path, no_figures: None) -> None:
    """The stopping rule ends it, says where, and the folder stays as it is."""
    changes: dict[str, Any] = {"tolerance": 1e9, "patience": 3, "num_steps": 1000}
    summary = incremental_rank.run(small(tmp_path, **changes))["htf"]
    assert (summary["status"], summary["stop_step"], summary["steps"]) == (
        "converged", 15, 200,
    )  # fmt: skip
    again = incremental_rank.run(small(tmp_path, **{**changes, "num_steps": 2000}))
    assert again["htf"]["steps"] == 200


@pytest.mark.slow
def test_divergence_is_reported(tmp_path: Path) -> None:
    """A run that blows up stops with what it has, and is drawn."""
    config = small(tmp_path, optimizer="sgd", learning_rate=1e3, num_steps=1000)
    summary = incremental_rank.run(config)["htf"]
    assert summary["status"] == "diverged"
    assert summary["steps"] == 200
    assert (tmp_path / "dynamics.png").exists()


LONG_OPTIONS: list[dict[str, Any]] = [
    {"task": "sensing", "dtype": "float64"},
    {"panel": "tf", "order": 4, "symmetric": True, "root": "trained"},
    {"panel": "mf", "task": "matrix_sensing", "mode_dims": (3, 4), "init": "identity"},
    {"panel": "mf", "tree": "(((0,),), 1)", "init": "balanced", "observed": 9},
    {"order": 5, "tree": "caterpillar", "target_tree": "flat", "track_nodes": (5, 8)},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"tree": "((0, 2), (1, 3))", "track_modes": ("0,2", "0", "1,2"), "penalty": "l1"},
        {"schedule": "exponential", "optimizer": "sgd", "momentum": 0.5},
        *LONG_OPTIONS,
    ],
    ids=str,
)
def test_every_option_runs(
    tmp_path: Path, changes: dict[str, Any], no_figures: None
) -> None:
    """One short run each; records are finite and of the sizes asked for."""
    config = small(tmp_path, **changes)
    incremental_rank.run(config)
    data = htf.load_results(tmp_path)
    assert np.all(np.isfinite(data.train_mse))
    if config.track_nodes is not None:
        assert tuple(data.node_id.values) == config.track_nodes
    if config.track_modes is not None:
        assert tuple(data.modes.values) == config.track_modes


def test_symmetric_target_is_symmetric(tmp_path: Path) -> None:
    """Swapping two modes of a symmetric CP target changes nothing."""
    config = small(tmp_path, panel="tf", order=3, symmetric=True, dtype="float64")
    target = resolve(config, "tf").target(jax.random.key(0))
    np.testing.assert_allclose(target, target.transpose(1, 0, 2), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(target), 64.0, rtol=1e-12)


def observed_entries(path: Path, **changes: Any) -> Path:
    """An observations file of the small problem, with arrays replaced or removed."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "indices": rng.integers(0, 3, (40, 4)),
        "targets": rng.normal(size=40),
        "test_indices": rng.integers(0, 3, (7, 4)),
        "test_targets": rng.normal(size=7),
        **changes,
    }
    save_arrays(path, {name: x for name, x in arrays.items() if x is not None})
    return path


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """An npz file."""
    np.savez(path, **arrays)


@pytest.mark.slow
def test_own_observations_replace_the_target(tmp_path: Path, no_figures: None) -> None:
    """Entries with a test split, and rank-one measurements without."""
    file = observed_entries(tmp_path / "entries.npz")
    incremental_rank.run(small(tmp_path / "entries", observations=file))
    data = htf.load_results(tmp_path / "entries")
    start_error = np.mean(np.load(file)["test_targets"] ** 2)
    np.testing.assert_allclose(data.test_mse[0, 0], start_error, rtol=0.2)
    assert "relative_error" not in data
    arrays = {f"vectors_{n}": np.ones((5, 3)) for n in range(4)} | {"targets": np.ones(5)}
    save_arrays(tmp_path / "vectors.npz", arrays)
    incremental_rank.run(
        small(tmp_path / "vectors", observations=tmp_path / "vectors.npz", num_steps=300)
    )
    assert float(htf.load_results(tmp_path / "vectors").train_mse[0, -1]) < 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets": None}, ["misses", "targets"]),
        ({"indices": None}, ["misses", "vectors_0", "indices"]),
        ({"targets": np.ones(3)}, ["`targets`", "(3,)", "(40,)"]),
        ({"indices": np.full((40, 4), 3)}, ["`indices[0, 0]`", "3"]),
        ({"indices": np.zeros((40, 3), int)}, ["`indices`", "(40, 3)"]),
        ({"test_targets": None}, ["misses", "test_targets"]),
        ({"targets": np.full(40, np.nan)}, ["`targets[0]`", "nan"]),
    ],
    ids=str,
)
def test_bad_observations(
    tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    """The file and the array are named."""
    file = observed_entries(tmp_path / "bad.npz", **changes)
    with pytest.raises(SettingError) as error:
        incremental_rank.run(small(tmp_path / "run", observations=file))
    for word in ["bad.npz", *words]:
        assert word in str(error.value)
    assert not (tmp_path / "run").exists()


def test_damaged_or_missing_observations(tmp_path: Path) -> None:
    """A cut file and no file."""
    file = observed_entries(tmp_path / "cut.npz")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(SettingError, match=r"cut\.npz.*damaged"):
        incremental_rank.run(small(tmp_path / "run", observations=file))
    with pytest.raises(SettingError, match="no such file"):
        incremental_rank.run(small(tmp_path / "run", observations=tmp_path / "none.npz"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observed": 82}, ["--observed 82", "81"]),
        ({"panel": "all"}, ["--mode-dims", "--panel"]),
        ({"tree": "((0, 1)"}, ["`--tree='((0, 1)'`", "column 8", "'((0, 1), (2, 3))'"]),
        (
            {"tree": "Catterpillar"},
            ["--tree Catterpillar", "flat, binary,", "mean `--tree caterpillar`?"],
        ),
        ({"target_tree": "3"}, ["`--target-tree 3`", "'((0, 1), (2, 3))'.", "binary"]),
        ({"tree": "((0, 1), (2, 2))"}, ["--tree", "repeats", "[2]"]),
        ({"target_tree": "(0, 1)"}, ["--target-tree (0, 1)", "2 modes", "4"]),
        ({"target_ranks": (0,)}, ["--target-ranks 0", "at least 1"]),
        ({"track_nodes": (2,)}, ["--track-nodes", "4..6"]),
        ({"track_modes": ("0;1",)}, ["--track-modes", "commas"]),
        ({"track_modes": ("0,9",)}, ["--track-modes 0,9", "0..3"]),
        ({"track_modes": ("0,0",)}, ["--track-modes 0,0", "different"]),
        ({"record_every": 7}, ["--record-every 7", "98 or 105"]),
        ({"mode_dims": (100,) * 4}, ["--mode-dims", "100000000"]),
        ({"task": "matrix_sensing"}, ["matrix_sensing", "order 2"]),
        ({"init_std": -1.0}, ["--init-std -1.0", "at least 0"]),
        ({"init_mean": np.nan}, ["--init-mean nan", "finite"]),
        ({"widths": (2, 2, 2, 2)}, ["widths", "4 entries"]),
        ({"panel": "mf", "order": 3, "mode_dims": (3,)}, ["--order 3", "--panel tf"]),
        ({"batch_size": 61}, ["batch_size=61", "60"]),
        ({"top": 0}, ["top"]),
        ({"patience": -1}, ["patience"]),
    ],
    ids=str,
)
def test_bad_options(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    """Refused before anything is written."""
    with pytest.raises((SettingError, ValueError)) as error:
        incremental_rank.run(small(tmp_path / "run", **changes))
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_folder_of_another_run_is_refused(tmp_path: Path, no_figures: None) -> None:
    """The fields that differ are named with both values."""
    incremental_rank.run(small(tmp_path))
    with pytest.raises(FolderError, match=r"`--seed` was 0, now 3"):
        incremental_rank.run(small(tmp_path, seed=3))


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"):
        incremental_rank.run(small(tmp_path / "file" / "run"))


@pytest.mark.parametrize(
    "part", [pytest.param("htf/manifest.json", marks=pytest.mark.slow), "config.json"]
)
def test_truncated_files_are_named(tmp_path: Path, part: str, no_figures: None) -> None:
    """Never read as data, never overwritten."""
    incremental_rank.run(small(tmp_path))
    path = tmp_path / part
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises((ValueError, FolderError), match=part):
        incremental_rank.run(small(tmp_path, num_steps=200))


@pytest.mark.slow
def test_plot_redraws_without_computing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None
) -> None:
    """Windows, cuts and overlays from saved results alone."""
    for name in ("a", "b"):
        incremental_rank.run(small(tmp_path / name, seed=len(name)))
    monkeypatch.setattr(htf, "continue_descent", None)
    one = plot.run(plot.Options(folders=(tmp_path / "a",), window=(20.0, 80.0), top=2))
    assert {path.name for path in one} >= {"dynamics.png", "errors.png"}
    both = plot.Options(folders=(tmp_path / "a", tmp_path / "b"), out=tmp_path / "both")
    assert [path.name for path in plot.run(both)] == ["overlay_htf.png"]
    assert (tmp_path / "both" / "overlay_htf.svg").exists()
    with pytest.raises(FileNotFoundError, match="no results"):
        plot.run(plot.Options(folders=(tmp_path,)))


@pytest.mark.slow
def test_dynamics_figure_shows_what_was_recorded(tmp_path: Path, no_figures: None) -> None:
    """Lines are the largest final components; axes are labelled."""
    incremental_rank.run(small(tmp_path))
    run = htf.load_results(tmp_path)
    figure = dynamics.dynamics([run], dynamics.View(top=3, marks=True))
    ax = figure.axes[0]
    drawn = sorted(line.get_ydata()[-1] for line in ax.lines if len(line.get_ydata()) == 21)
    wanted = np.sort(run.local_component_norm[0, -1, 1].values)[-3:]
    np.testing.assert_allclose(drawn, wanted)
    assert ax.get_xlabel() == "step"
    assert "local component norm" in ax.get_ylabel()


def test_every_simulation_is_listed_and_has_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """`python -m sims` names each with its question; each explains its options."""
    assert {"incremental_rank", "plot"} <= set(questions())
    assert all(text for text in questions().values())
    shown = {}
    for name in questions():
        monkeypatch.setattr("sys.argv", [name, "--help"])
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(f"sims.{name}").main()
        assert ended.value.code == 0
        shown[name] = capsys.readouterr().out
        assert ("(default:" in shown[name]) == (name != "cite")  # which has no options
    for field in dataclasses.fields(Config):
        assert "--" + field.name.replace("_", "-") in shown["incremental_rank"]


@pytest.mark.slow
def test_command_line_errors_are_one_line(tmp_path: Path) -> None:
    """No traceback; exit status 2."""
    done = _run_module("sims.incremental_rank", "--out", str(tmp_path), "--order", "3")
    assert done.returncode == 2
    assert done.stderr.startswith("error: `--order`")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_interrupt_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """Ctrl-C ends after the current chunk with status 130; nothing is lost."""
    out = tmp_path / "run"
    options = ["--out", str(out), "--panel", "htf", "--widths", "16", "--init-std", "0.06",
               "--mode-dims", "4", "--observed", "100", "--tolerance", "0",
               "--checkpoint-seconds", "0"]  # fmt: skip
    command = [sys.executable, "-m", "sims.incremental_rank", *options]
    # The second process finds compiled what the first one compiled.
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with subprocess.Popen(
        [*command, "--num-steps", "50000000"], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while not list(out.glob("htf/checkpoints/[!.]*.npz")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command resumes" in said
    reached = json.loads((out / "summary.json").read_text())["htf"]["steps"]
    assert reached == int(htf.load_results(out).step[-1]) > 0
    again = subprocess.run(
        [*command, "--num-steps", str(reached + 500)],
        cwd=REPOSITORY, capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert str(reached + 500) in again.stdout


def test_plot_says_what_a_folder_of_many_runs_is(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"sims\.status"):
        plot.run(plot.Options(folders=(tmp_path,)))


def test_compile_time_within_compile_time_counts_once(tmp_path: Path) -> None:
    """Events of jax come as they end, inner ones first."""
    with Clock.running(tmp_path) as clock:
        time.sleep(0.2)
        for duration in (0.05, 0.1):  # the first lies within the second
            jax.monitoring.record_event_duration_secs("/jax/core/compile/x", duration)
    assert 0.09 < clock.compile < 0.11


def _run_module(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
