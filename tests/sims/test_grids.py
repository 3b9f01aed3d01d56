"""Simulations made of ensembles: what they count, draw, say and resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import htfjax as htf
from sims import phase_diagram, plot, rank_statistics, status
from sims.common import ensembles, models, rises
from tests.sims.small import REPOSITORY

pytestmark = pytest.mark.usefixtures("ordinary_promotion")


TINY: dict[str, Any] = {
    "models": ("mf",), "num_seeds": 3, "widths": 8, "init_scales": (1.0, 30.0),
    "num_steps": 200, "record_every": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rank") / "run"
    with jax.numpy_dtype_promotion("standard"):
        rank_statistics.run(rank_statistics.Config(out=out, **TINY))
    return out


@pytest.mark.slow
def test_rank_statistics_writes_everything(finished: Path) -> None:
    """Results, summary and figures; counts add up."""
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["state"] == "finished"
    assert [row["init_scale"] for row in summary["rows"]] == [1.0, 30.0]
    for row in summary["rows"]:
        assert sum(row["runs"].values()) == sum(row["final_rank"].values()) == 3
        assert row["init_std"] == pytest.approx(1e-3 * row["init_scale"])
    data = htf.load_results(finished)
    assert data.loss.dims == ("model", "init_scale", "seed", "step")
    assert data.singular_value.sizes["index"] == 10
    for name in ("bands", "take_offs", "incrementality"):
        assert (finished / f"{name}.png").stat().st_size > 10_000
        assert (finished / f"{name}.svg").exists()


@pytest.mark.slow
def test_a_run_of_the_ensemble_is_the_run_by_itself(finished: Path) -> None:
    setting = models.Model(model="mf", widths=8, init_scale=30.0)
    lane = htf.runs.make_lane(models.model_lane, setting, 2)
    _, trajectory = htf.continue_descent(
        lane.state, lane.loss, lane.optimizer, num_steps=200, record_every=20,
        observe=lane.observe,
    )  # fmt: skip
    run = htf.load_results(finished).sel(model="mf", init_scale=30.0, seed=2)
    np.testing.assert_array_equal(run.loss, trajectory.losses)


@pytest.mark.slow
def test_plot_draws_a_grid_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From what is saved alone."""
    monkeypatch.setattr(htf.runs, "run", None)
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(plot, "save_figures", lambda figures, out: drawn.update(figures))
    plot.run(plot.Options(folders=(finished,), out=tmp_path))
    assert set(drawn) == {"bands", "take_offs", "incrementality"}
    plt.close("all")


@pytest.mark.slow
def test_status_reads_a_folder(finished: Path, tmp_path: Path) -> None:
    """Finished, at work, dead, not there."""
    found = status.read(finished)
    assert status.sentence(found) == "finished"
    assert (found["done"], found["runs"]) == (6, 6)
    assert status.sentence(found | {"at_work": True}) == "running"
    assert "dead" in status.sentence(found | {"state": "running"})
    assert "resumes" in status.sentence(found | {"state": "interrupted"})
    said = _module("sims.status", str(finished))
    assert said.returncode == 0
    assert "6 of 6 runs done" in said.stdout
    assert json.loads(_module("sims.status", str(finished), "--json").stdout)["runs"] == 6
    missing = _module("sims.status", str(tmp_path))
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: no run in")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"record_every": 30}, "`--record-every 30` does not divide `--num-steps 200`"),
        ({"record_every": 300}, "`--num-steps 200`; use 300 steps."),
        ({"num_seeds": 0}, "`--num-seeds 0`"),
        ({"init_scales": ()}, "axis `init_scale` has no values"),
        ({"models": ("mf", "mf")}, "axis `model` has a value twice"),
        ({"seed": -1}, "`seeds`"),
    ],
    ids=str,
)
def test_bad_options(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    config = rank_statistics.Config(out=tmp_path / "run", **{**TINY, **changes})
    with pytest.raises(ValueError, match=words):
        rank_statistics.run(config)
    assert not (tmp_path / "run").exists()


def test_starts(tmp_path: Path) -> None:
    """Six over 1.5 decades; `--init-std` is one."""
    plain = rank_statistics.Config(out=tmp_path)
    scales = rank_statistics.resolve(plain).init_scales
    assert scales is not None
    np.testing.assert_allclose(np.log10(scales[-1] / scales[0]), 1.5, atol=0.01)
    given = rank_statistics.Config(out=tmp_path, init_std=0.1)
    assert rank_statistics.resolve(given).init_scales == (1.0,)
    assert float(models.completion(models.Model(init_std=0.1)).init_std) == 0.1


def synthetic(rises: list[float], width: float) -> xr.Dataset:
    """Singular values that rise linearly from `rise` on within `width` steps."""
    steps = np.arange(0, 1000, 10)
    values = np.clip((steps[:, None] - np.array(rises)) / width, 1e-6, 1.0)
    losses = np.exp(-steps / 100.0)
    dims = ("seed", "step")
    return xr.Dataset(
        {
            "loss": (dims, losses[None]),
            "chord": (dims, np.full((1, 100), 2.0)),
            "singular_value": (("seed", "step", "modes", "index"), values[None, :, None]),
        },
        {
            "seed": [0], "step": steps, "steps": ("seed", [990]),
            "status": ("seed", ["converged"]),
        },
    )  # fmt: skip


def test_rises_of_known_curves() -> None:
    """Rises 200 and 300 steps apart, width 80 steps from 10 to 90 %."""
    found = rises.rises(synthetic([50, 250, 550], 100.0))
    np.testing.assert_allclose(found.half_rise[0], [100, 300, 600])
    np.testing.assert_allclose(found.width[0], [80, 80, 80])
    assert int(found.final_rank[0]) == 3
    np.testing.assert_allclose(found.index_of_increment[0], (200 / 80 + 300 / 80) / 2)
    take_off = found.take_off.sel(clock="step")[0]
    np.testing.assert_allclose(take_off, [60, 260, 560])
    np.testing.assert_allclose(
        found.take_off.sel(clock="loss")[0], np.exp(-take_off / 100.0)
    )
    np.testing.assert_allclose(
        found.take_off.sel(clock="path_length")[0], 2 * take_off / 10
    )


def test_what_never_rose_is_no_rise() -> None:
    """A dead run: all values stay where they began."""
    data = synthetic([50, 250, 550], 100.0)
    data["singular_value"] = data.singular_value * 0 + 1e-9
    found = rises.rises(data)
    assert int(found.final_rank[0]) == 0
    assert np.isnan(found.index_of_increment[0])


def test_known_targets_are_what_runs_rise_to() -> None:
    """The last rise is cut short: its own last value would pass for the end of it."""
    data = synthetic([50, 250, 950], 100.0)
    finals = np.ones((1, 3))
    own, known = rises.rises(data), rises.rises(data, finals)
    assert float(own.half_rise[0, 2]) < 980
    assert np.isnan(known.half_rise[0, 2])
    np.testing.assert_allclose(known.index_of_increment[0], 200 / 80)
    assert int(known.final_rank[0]) == 3


def test_rises_of_few_records_are_counted() -> None:
    found = rises.rises(synthetic([50, 250, 550], 30.0))
    assert int(found.coarse[0]) == 3
    assert np.isnan(found.index_of_increment[0])


@pytest.mark.slow
def test_targets_of_runs_are_those_of_the_lanes() -> None:
    setting = models.Model(model="mf", target_rank=3, widths=2, observed=5)
    values = models.target_singular_values(setting, 4, 6)
    assert np.count_nonzero(values) == 3
    np.testing.assert_allclose(np.linalg.norm(values), 64.0, rtol=1e-6)


def test_interval_covers_the_median() -> None:
    """Of 200 samples, the 95 % interval misses the true median rarely."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(200):
        found = rises.interval(rng.normal(3.0, 1.0, 40))
        assert found is not None
        missed += not found["low"] <= 3.0 <= found["high"]
    assert 1 <= missed <= 16
    assert rises.interval(np.array([np.nan])) is None


def test_few_runs_bound_no_median() -> None:
    found = rises.interval(np.array([1.0, 2.0, 3.0, np.nan]))
    assert found == {"median": 2.0, "low": None, "high": None, "runs": 3, "dropped": 1}


@pytest.mark.slow
def test_the_index_does_not_depend_on_how_often_one_records(tmp_path: Path) -> None:
    """24 seeds of matrix factorization at its own start; within 5 %."""
    rank_statistics.run(
        rank_statistics.Config(
            out=tmp_path, models=("mf",), num_seeds=24, init_scales=(1.0,),
            num_steps=9960, record_every=15, patience=60,
        )
    )  # fmt: skip
    data = htf.load_results(tmp_path)[["loss", "chord", "singular_value"]]
    found = []
    for every in (1, 2, 4):
        part = data.isel(step=slice(None, None, every))
        index = rises.interval(rises.rises(part).index_of_increment.values.ravel())
        assert index is not None
        assert index["dropped"] == 0
        found.append(index["median"])
    assert max(found) < 1.05 * min(found)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mf", "tf", "htf"])
@pytest.mark.parametrize("rank", [1, 3])
def test_degrees_of_freedom_are_the_rank_of_the_jacobian(model: Any, rank: int) -> None:
    """Tangent space at random factors of the target's format."""
    paper = htf.problems.paper(model)
    nested = (0, 1) if model == "mf" else paper.tree
    factors = htf.gaussian_factors(
        jax.random.key(0), htf.as_tree(nested), paper.mode_dims, rank, 1.0,
        root="trained" if model == "htf" else "ones",
    )  # fmt: skip
    slopes = jax.jacobian(lambda f: htf.end_tensor(f).ravel())(factors)
    matrix = np.concatenate(
        [np.asarray(w).reshape(4096, -1) for w in slopes.weights if w is not None], axis=1
    )
    tolerance = 1e-9 * np.linalg.norm(matrix, 2)
    found = np.linalg.matrix_rank(matrix, tol=tolerance)
    assert found == models.degrees_of_freedom(model, rank)


@pytest.mark.slow
def test_phase_diagram(tmp_path: Path) -> None:
    """Cells observe what they say, share a program, and MF finds an easy target."""
    config = phase_diagram.Config(
        out=tmp_path, models=("mf",), target_ranks=(1, 2), ratios=(0.5, 6.0), num_seeds=2,
        widths=8, init_scale=30.0, num_steps=2000,
    )  # fmt: skip
    rows = phase_diagram.run(config)["rows"]
    assert set(phase_diagram.redraw(tmp_path)) == {"phase_diagram"}
    plt.close("all")
    assert [(r["target_rank"], r["observed"]) for r in rows] == [
        (1, 64), (1, 762), (2, 126), (2, 1512),
    ]  # fmt: skip
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert len(manifest["programs"]) == 1
    lane = htf.runs.make_lane(
        models.cell_lane, models.Cell(model="mf", target_rank=2, ratio=6.0), 0
    )
    assert int(lane.observe.seen.sum()) == 1512
    assert rows[1]["relative_error"] < 0.02 < rows[0]["relative_error"]
    assert (tmp_path / "phase_diagram.png").stat().st_size > 10_000


@pytest.mark.slow
def test_interrupt_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """Ctrl-C ends after the chunk with status 130; SIGKILL later loses nothing either."""
    out = tmp_path / "run"
    options = ["--out", str(out), "--models", "mf", "--num-seeds", "2", "--widths", "8",
               "--init-std", "0.001", "--record-every", "10", "--checkpoint-seconds", "0",
               "--seed", "0"]  # fmt: skip
    command = [sys.executable, "-m", "sims.rank_statistics", *options]
    with subprocess.Popen(
        [*command, "--num-steps", "1000000"], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        while not (out / "status.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "the same command resumes" in said
    reached = int(htf.load_results(out).steps.max())
    assert status.sentence(status.read(out)).startswith("interrupted")
    assert 0 < reached < 1_000_000


def test_headline_says_how_it_stands() -> None:
    progress = htf.runs.Progress(
        runs=10, done=4, active=3, failed=1, steps=100, steps_in_all=200, executed=50,
        steps_per_second=1234.0, seconds_left=3700.0, losses=(0.1, 0.2, 0.3),
        wall_seconds=1.0, device_seconds=1.0, compile_seconds=0.0, changed=0, messages=(),
        state="running",
    )  # fmt: skip
    said = ensembles.headline(progress)
    for words in ("4 of 10", "3 active", "1 diverged", "1,234 steps/s", "1 h 1 min left"):
        assert words in said


def _module(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", name, *arguments], cwd=REPOSITORY, capture_output=True,
        text=True, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
