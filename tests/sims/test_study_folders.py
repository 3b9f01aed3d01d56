"""Folders of network studies: removed, swapped and foreign files."""

import dataclasses
import shutil
from pathlib import Path

import jax
import pytest

from htfjax import locality
from sims import is_same_class, plot, status
from sims.common.errors import FolderError, RunError, SettingError
from tests.sims.small import assert_same_results

pytestmark = pytest.mark.usefixtures("ordinary_promotion")


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
@pytest.mark.parametrize(
    "part", ["runs/*/results.zarr", "runs/measures/*.nc", "runs/*/checkpoints"]
)
def test_removed_files_of_a_study_are_made_again(
    study: Path, study_folder: Path, part: str, capsys: pytest.CaptureFixture
) -> None:
    lost = sorted(study_folder.glob(part))[0]
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    is_same_class.run(study_config(study_folder))
    assert_same_results(study, study_folder, but="wall_seconds")
    if part == "runs/*/results.zarr":
        assert "computed anew" in " ".join(capsys.readouterr().err.split())


@pytest.mark.durable
@pytest.mark.parametrize("part", ["runs/*_seed0", "runs/measures/*_seed0.nc"])
def test_swapped_files_of_a_study_are_refused(study_folder: Path, part: str) -> None:
    (target,) = study_folder.glob(part)
    if target.is_dir():
        (other,) = study_folder.glob("runs/*_seed1")
        shutil.rmtree(target)
        shutil.copytree(other, target)
    else:
        shutil.copy(study_folder / "results.nc", target)
    with pytest.raises(RunError, match=f"{target.name} holds records of another run"):
        is_same_class.run(study_config(study_folder))


@pytest.mark.slow
def test_a_study_is_counted_and_drawn_again_without_its_images(
    study_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From runs and measures alone; a run that is missing is pending."""
    monkeypatch.delattr(is_same_class, "_examples")
    names = ["distance.png", "training.png", "locality.png"]
    out = study_folder.with_name("drawn")
    options = plot.Options((study_folder,), out=out)
    assert plot.run(options) == [out / name for name in names]
    assert all((out / name).stat().st_size for name in names)
    with pytest.raises(SettingError, match="--window"):
        plot.run(dataclasses.replace(options, window=(0.0, 1.0)))
    (study_folder / "summary.json").unlink()  # as while the first session is at work
    assert plot.run(options) == [out / name for name in names]
    found = status.read(study_folder)
    assert (found["runs"], found["done"], found["note"]) == (2, 2, "2 capped")
    assert status.sentence(found) == "finished"
    (other,) = study_folder.glob("runs/*_seed1")
    shutil.rmtree(other)
    found = status.read(study_folder)
    assert (found["done"], found["note"]) == (1, "1 capped, 1 pending")
    assert found["steps_in_all"] == 2 * found["steps"]
    assert "the same command resumes" in status.sentence(found)
    shutil.rmtree(study_folder / "runs")
    with pytest.raises(FolderError, match=r"no run in .* has begun"):
        plot.run(options)
    with pytest.raises(FileNotFoundError, match=r"no run in .* has begun"):
        status.read(study_folder)


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
