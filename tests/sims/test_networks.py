"""The simulations of trained networks: smoke presets, resuming, bad input."""

import dataclasses
import functools
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

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import htfjax as htf
from htfjax import locality
from sims import is_same_class, pathfinder
from sims.common.errors import FolderError, SettingError
from sims.figures import contact_sheet
from sims.networks import measures, results, study, training
from sims.networks.options import arms_of, resolve, runs_of
from sims.networks.results import _choose, gaps, spread


def config(out: Path, **options: Any) -> is_same_class.Config:
    """The smoke preset, one distance, two epochs, in this process."""
    options = {
        "distances": (4,),
        "epochs": 2,
        "workers": 1,
        "train_sizes": (128,),
    } | options
    return is_same_class.Config(out=out, preset="smoke", **options)


def built(options: is_same_class.Config) -> Any:
    """What makes the task of a point, as a study hands it to its runs."""
    return functools.partial(is_same_class.build, config=options)


@pytest.mark.slow
def test_a_study_its_files_and_its_extension(tmp_path: Path) -> None:
    """Results by name, figures, and that what is done is not done again."""
    summary = is_same_class.run(config(tmp_path, coefficients=(0.0,)))
    data = htf.load_results(tmp_path)
    assert data.sizes["arm"] == 1
    assert {"train_accuracy", "test_accuracy", "change", "change_test"} <= set(data)
    assert np.isfinite(data.test_accuracy.values).all()
    assert summary["rows"][0]["runs"] == {"capped": 1}
    for name in ("config.json", "summary.json", "distance.png", "distance.svg"):
        assert (tmp_path / name).stat().st_size > 0
    (run,) = (tmp_path / "runs").glob("*/manifest.json")
    before = run.stat().st_mtime_ns
    more = is_same_class.run(
        config(tmp_path, coefficients=(0.0,), controls=("train_and_test",), test_size=40)
    )
    assert run.stat().st_mtime_ns == before
    assert [gap["arm"] for gap in more["gaps"]] == ["train and test"]
    assert json.loads((tmp_path / "summary.json").read_text())["state"] == "finished"


@pytest.mark.slow
def test_an_interrupted_run_equals_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after two of four epochs, then run again: the same records and weights."""
    monkeypatch.setattr(training, "EPOCHS_PER_CHUNK", 2)
    found = []
    for pauses in ((), (True,)):
        options = resolve(
            config(tmp_path, coefficients=(1.0,), epochs=4), is_same_class.PRESETS
        )
        (point,) = runs_of(options, (4,)).points
        folder = tmp_path / f"runs{len(pauses)}"
        folder.mkdir()
        for pause in (*pauses, False):
            status = training.train(
                point, options, built(options), folder, Silent(), lambda p=pause: p
            )
            assert status == ("interrupted" if pause else "capped")
        found.append(htf.load_results(folder / point.name))
    for name in found[0].data_vars:
        np.testing.assert_array_equal(found[0][name], found[1][name])


class Silent:
    """A progress display that shows nothing."""

    disable = False

    def __init__(self) -> None:
        self.console = self

    def add_task(self, *_: Any, **__: Any) -> int:
        return 0

    def update(self, *_: Any, **__: Any) -> None:
        pass

    def print(self, *_: Any, **__: Any) -> None:
        pass


@pytest.mark.slow
def test_pathfinder_smoke(tmp_path: Path) -> None:
    """Images are made, the baseline stands in the summary."""
    summary = pathfinder.run(pathfinder.Config(out=tmp_path, preset="smoke", workers=2))
    assert 0.5 < summary["marker_distance_baseline"]["32x32"]["3"] <= 1.0
    assert (tmp_path / "path_length.png").exists()


@pytest.mark.slow
def test_pathfinder_on_two_canvases_with_validation(tmp_path: Path) -> None:
    """Every image is in one set only; every canvas has its baseline and its choice."""
    asked = pathfinder.Config(
        out=tmp_path, preset="smoke", workers=1, canvases=("32x32", "64x64"),
        coefficients=(0.0,), train_sizes=(64,), test_size=30, validation_size=20, epochs=1,
    )  # fmt: skip
    summary = pathfinder.run(asked)
    assert {row["canvas"] for row in summary["chosen"]} == {"32x32", "64x64"}
    assert set(summary["marker_distance_baseline"]) == {"32x32", "64x64"}
    options = resolve(asked, pathfinder.PRESETS)
    options = dataclasses.replace(options, image_folder=tmp_path / "images")
    for point in runs_of(options, (3,)).points:
        task = pathfinder.build(point, options)
        size = study.read_canvas(point.canvas)
        parts = [np.asarray(p.pixels) for p in (task.train, task.test, task.validation)]
        assert [part.shape[:3] for part in parts] == [(n, *size) for n in (64, 30, 20)]
        everyone = np.concatenate(parts).reshape(114, -1)
        assert len(np.unique(everyone, axis=0)) == 114


def test_a_table_names_what_differs(tmp_path: Path) -> None:
    """Sizes, canvases and networks are columns where there are several of them."""
    scores = spread(np.array([0.5, 0.75]))
    same = {"path_length": 3, "train_size": 9, "network": "tiny", "arm": "coefficient 0"}
    names = ("test_accuracy", "train_accuracy", "change_test", "epochs")
    same |= dict.fromkeys(names, scores) | {"runs": {"capped": 2}}
    summary = {
        "state": "finished", "axis": "path_length", "chosen": None,
        "rows": [same | {"canvas": canvas} for canvas in ("32x32", "64x64")],
        "gaps": [{"path_length": 3, "canvas": "64x64", "arm": "coefficient 1", "gap": 0.1,
                  "standard_error": None, "interval": None, "seeds": 1}],
        "coefficient_chosen_on": "nothing",
    }  # fmt: skip
    console = Console(width=200, record=True, file=io.StringIO())
    study.report(summary, config(tmp_path), console)
    text = console.export_text()
    assert "canvas" in text
    assert "train size" not in text
    assert "path length 3, canvas 64x64: coefficient 1 is +10.0 points" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"distances": (0, 5)}, "the maximum is 4"),
        ({"canvases": ("8by20",)}, "height x width"),
        ({"controls": ("drop",)}, "none of two_passes"),
        ({"controls": ("dropout=much",)}, "none of two_passes"),
        ({"batch_size": 127}, "at least two images"),
        ({"batch_size": 1}, "--batch-size 1"),
        ({"seeds": (1, 1)}, "twice"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"controls": ("dropout=1",)}, "dropout below 1"),
        ({"controls": ("weight_decay=-1",)}, "at least 0"),
        ({"controls": ("dropout", "dropout")}, "twice"),
        ({"canvases": ("8x20", "8x20")}, "one twice"),
        ({"canvases": ()}, "none"),
        ({"width": 0.5}, "about ResNets"),
        ({"images": "cifar10"}, "--data"),
    ],
)
def test_bad_options_are_named(tmp_path: Path, options: dict, words: str) -> None:
    """Before anything is trained."""
    with pytest.raises((ValueError, SettingError), match=words):
        is_same_class.run(config(tmp_path, **options))
    assert not (tmp_path / "runs").exists()


def test_patches_of_one_number_are_refused(tmp_path: Path) -> None:
    """Before images are drawn: the regularizer would read 1 for every network."""
    with pytest.raises(SettingError, match="--patch-size 1"):
        pathfinder.run(pathfinder.Config(out=tmp_path, preset="smoke", patch_size=1))
    assert not any(tmp_path.iterdir())


def test_baselines_are_named_by_what_they_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of positions always, of the distance where it is not matched away."""
    found = locality.PositionBaseline(0.529, 0.006, (0.517, 0.541))
    monkeypatch.setattr(pathfinder, "_position_baseline", lambda *_: found)
    monkeypatch.setattr(pathfinder, "_distance_baseline", lambda *_: 0.5)
    options = pathfinder.Config(out=tmp_path, path_lengths=(5,), canvases=("32x32",))
    extra = pathfinder._extra(options)
    shown = {"markers' positions alone": {5: 0.529}}
    assert pathfinder._shown(dataclasses.replace(options, matched=True), extra) == shown
    shown["markers' distance alone"] = {5: 0.5}
    assert pathfinder._shown(options, extra) == shown
    assert pathfinder._shown(options, {}) == {}
    assert extra["marker_distance_baseline"] == {"32x32": {"5": 0.5}}
    position = extra["marker_position_baseline"]["32x32"]["5"]
    assert position == {"accuracy": 0.529, "standard_error": 0.006,
                        "interval": (0.517, 0.541)}  # fmt: skip


def test_a_baseline_that_is_not_installed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study goes on without it, and its figure has the other one."""

    def missing(*_: Any) -> Any:
        raise ModuleNotFoundError("needs sklearn", name="sklearn")

    monkeypatch.setattr(locality, "marker_position_baseline", missing, raising=False)
    monkeypatch.setattr(pathfinder, "_images", lambda *_: None)
    monkeypatch.setattr(pathfinder, "_distance_baseline", lambda *_: 0.5)
    options = pathfinder.Config(out=tmp_path, path_lengths=(5,), canvases=("32x32",))
    extra = pathfinder._extra(options)
    assert extra["marker_position_baseline"] == {"32x32": {}}
    assert pathfinder._shown(options, extra) == {"markers' distance alone": {5: 0.5}}


def test_a_folder_of_other_options_is_refused(tmp_path: Path) -> None:
    """The option that differs is named."""
    asked = config(tmp_path)
    htf.runs.write_sealed(
        tmp_path / "config.json", {"config": {"learning_rate": 0.5}, "versions": {}}
    )
    with pytest.raises(FolderError, match="--learning-rate"):
        is_same_class.run(asked)


@pytest.mark.slow
def test_a_folder_of_other_images_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pixel of one test image is enough; nothing is lost."""
    one = config(tmp_path, samples_only=True)
    is_same_class.run(one)
    is_same_class.run(one)
    images = is_same_class._images

    def changed(name: str, data: Any, split: str, held_out: bool) -> locality.Images:
        found = images(name, data, split, held_out)
        pixels = np.array(found.pixels)
        pixels[-1, -1, -1, -1] += split == "test"
        return dataclasses.replace(found, pixels=pixels)

    monkeypatch.setattr(is_same_class, "_images", changed)
    with pytest.raises(FolderError, match="other images"):
        is_same_class.run(one)
    assert (tmp_path / "samples.png").exists()


def test_arms_and_gaps(tmp_path: Path) -> None:
    """Controls have strengths; a gap's error is that of the mean difference of seeds."""
    options = dataclasses.replace(
        config(tmp_path), coefficients=(0.0,), controls=("two_passes", "dropout=0.3")
    )
    assert [(a.control, a.coefficient, a.strength) for a in arms_of(options)] == [
        ("", 0.0, 0.0), ("two_passes", 1e-6, 1e-6), ("dropout", 0.0, 0.3)
    ]  # fmt: skip
    import xarray as xr

    values = np.array([[[[[[0.5, 0.6]]]], [[[[0.7, 0.9]]]]]])
    dims = ("distance", "arm", "train_size", "canvas", "network", "seed")
    data = xr.Dataset(
        {"test_accuracy": (dims, values)},
        {"arm": ["coefficient 0", "coefficient 1"], "distance": [4], "train_size": [9],
         "canvas": ["8x20"], "network": ["tiny"]},
    )  # fmt: skip
    (gap,) = gaps(data, "distance")
    assert gap["gap"] == pytest.approx(0.25)
    assert gap["standard_error"] == pytest.approx(np.std([0.2, 0.3], ddof=1) / np.sqrt(2))
    assert gap["interval"] == pytest.approx(
        [0.25 - 0.05 * 12.706205, 0.25 + 0.05 * 12.706205]
    )


def test_a_few_seeds_have_t_intervals() -> None:
    """Five seeds with mean 12.7 and standard error 1.8, four with 6.0 and 1.1."""
    for count, mean, error, wanted in (
        (5, 12.7, 1.8, (7.7, 17.7)),
        (4, 6.0, 1.1, (2.5, 9.5)),
    ):
        unit = np.arange(count) - (count - 1) / 2
        values = mean + error * np.sqrt(count) * unit / np.std(unit, ddof=1)
        assert spread(values)["standard_error"] == pytest.approx(error)
        np.testing.assert_allclose(spread(values)["interval"], wanted, atol=0.05)
    assert spread(np.array([0.5]))["interval"] is None


def test_what_was_chosen_on_test_images_is_said(tmp_path: Path) -> None:
    """In the summary and in the table, with the interval of a gap."""
    scores = spread(np.array([0.5, 0.75]))
    row = {"distance": 4, "train_size": 9, "canvas": "8x20", "network": "tiny",
           "arm": "coefficient 0", "runs": {"capped": 2}}  # fmt: skip
    names = ("test_accuracy", "train_accuracy", "change_test", "epochs")
    summary = {
        "state": "finished", "axis": "distance", "chosen": None,
        "rows": [row | dict.fromkeys(names, scores)],
        "gaps": [{"distance": 4, "arm": "coefficient 1", "gap": 0.127, "seeds": 5,
                  "standard_error": 0.018, "interval": [0.077, 0.177]}],
        "coefficient_chosen_on": results.UNCHOSEN,
        "settings_chosen_on": results.SETTINGS,
    }  # fmt: skip
    console = Console(width=400, record=True, file=io.StringIO())
    study.report(summary, config(tmp_path), console)
    text = console.export_text()
    assert "+12.7 points from coefficient 0 (95 % interval 7.7 to 17.7, 5 seeds)" in text
    assert "chosen by test accuracy of other seeds on these test images" in text


@pytest.mark.slow
def test_a_contact_sheet_without_training(tmp_path: Path) -> None:
    """Samples are drawn before anything is trained, and nothing is if so asked."""
    found = is_same_class.run(config(tmp_path, samples_only=True))
    assert found == {"state": "sampled"}
    assert (tmp_path / "samples.png").stat().st_size > 0
    assert not (tmp_path / "runs").exists()


def test_what_samples_show(tmp_path: Path) -> None:
    """Label 1 before label 0, three of each, grey between 0 and 1."""
    options = resolve(config(tmp_path), is_same_class.PRESETS)
    point = runs_of(options, (4,)).points[0]
    task = is_same_class.build(point, options)
    pixels, labels = contact_sheet._first(task)
    assert labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert pixels.shape == (6, 8, 20)
    assert (pixels.min(), pixels.max()) == (0, 1)
    assert not pixels[:, :, 8:12].any()  # the columns between the images


def test_validation_images_are_in_no_training_pair(tmp_path: Path) -> None:
    """A fifth of the training images is kept for choosing the coefficient."""
    options = resolve(config(tmp_path, validation_size=40), is_same_class.PRESETS)
    task = is_same_class.build(runs_of(options, (4,)).points[0], options)
    everyone = locality.load_digits("train").pixels
    cut = len(task.train.pixels)
    np.testing.assert_array_equal(task.train.pixels, everyone[:cut])
    np.testing.assert_array_equal(task.validation.pixels, everyone[cut:])
    assert task.validation.count == 40
    assert cut == len(everyone) * 4 // 5


def run_folders(folder: Path) -> list[Path]:
    """Folders of the runs of a study."""
    return sorted(path.parent for path in folder.glob("*/manifest.json"))


@pytest.mark.durable
def test_killed_workers_go_on_where_they_were(tmp_path: Path) -> None:
    """SIGKILL to parent and workers amid training; the same command ends as if unbroken."""
    words = [
        "--preset", "smoke", "--distances", "4", "--epochs", "300", "--workers", "2",
        "--checkpoint-seconds", "0",
    ]  # fmt: skip
    for name in ("unbroken", "killed"):
        asked = [sys.executable, "-m", "sims.is_same_class", "--out", str(tmp_path / name)]
        if name == "killed":
            process = subprocess.Popen([*asked, *words], start_new_session=True)
            folder = tmp_path / name / "runs"
            while not any(folder.glob("*/checkpoints/*")) and process.poll() is None:
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            found = [htf.load_results(path).status.item() for path in run_folders(folder)]
            assert "running" in found
        subprocess.run([*asked, *words], check=True)
    for path in run_folders(tmp_path / "unbroken" / "runs"):
        whole, resumed = (
            htf.load_results(tmp_path / name / "runs" / path.name)
            for name in ("unbroken", "killed")
        )
        for name in whole.data_vars:
            np.testing.assert_array_equal(whole[name], resumed[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    "control", ["two_passes", "train_and_test", "dropout", "weight_decay", "gradient_norm"]
)
def test_every_control_trains(tmp_path: Path, control: str) -> None:
    """From start to summary, with a measure of locality at the end."""
    summary = is_same_class.run(
        config(tmp_path, coefficients=(), controls=(control,), measure=True)
    )
    (row,) = summary["rows"]
    assert row["runs"] == {"capped": 1}
    assert row["test_accuracy"]["count"] == 1
    assert (tmp_path / "locality.png").exists()


def test_fewer_epochs_in_an_old_folder_are_refused(tmp_path: Path) -> None:
    """Its runs trained longer than new ones would."""
    htf.runs.write_sealed(tmp_path / "config.json", {"config": {"epochs": 9}})
    with pytest.raises(SettingError, match="only be given more"):
        is_same_class.run(config(tmp_path))


@pytest.mark.slow
def test_an_end_without_its_state_is_computed_again(tmp_path: Path) -> None:
    """Put back as it was before the last records, without what was read off the end."""
    options = resolve(
        config(tmp_path, coefficients=(0.0,), epochs=40), is_same_class.PRESETS
    )
    (point,) = runs_of(options, (4,)).points
    words = point, options, built(options), tmp_path, Silent()
    for enough in (lambda: True, lambda: False):
        training.train(*words, enough)
        if enough():
            shutil.copytree(tmp_path / point.name / "checkpoints", tmp_path / "early")
    path = tmp_path / point.name
    whole = htf.load_results(path).load()
    assert whole.status.item() in ("converged", "capped")
    shutil.rmtree(path / "checkpoints")
    shutil.move(tmp_path / "early", path / "checkpoints")
    (path / "final.nc").unlink()
    training.train(*words, lambda: False)
    again = htf.load_results(path)
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name], again[name])


def test_what_is_averaged_and_chosen(tmp_path: Path) -> None:
    """Only coefficients whose seeds all came to their end can be chosen."""

    def row(arm: str, *values: float) -> dict:
        labels = {"distance": 4, "train_size": 9, "canvas": "8x20", "network": "tiny"}
        scores = spread(np.array(values))
        return labels | {"arm": arm, "validation_accuracy": scores, "test_accuracy": scores}

    rows = [row("coefficient 1", 0.7, 0.8), row("coefficient 9", 0.9, np.nan)]
    (chosen,) = _choose(rows, "distance")
    assert chosen["arm"] == "coefficient 1"
    assert chosen["validation_accuracy"] == pytest.approx(0.75)


def test_a_canvas_is_filled_with_contents() -> None:
    """Curves over distance would otherwise swap empty background for empty background."""
    x = np.zeros((4, 32, 64, 1), np.float32)
    x[:, 12:20, 4:12] = np.arange(1, 5)[:, None, None, None]
    filled = np.asarray(measures.fill(jnp.asarray(x), locality.Patch(12, 4, 8, 8)))
    assert filled.shape == x.shape
    assert filled.all()
    assert len(np.unique(filled[0])) == 4
