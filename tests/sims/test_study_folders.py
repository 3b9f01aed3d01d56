"""Folders of network studies: removed, swapped and foreign files."""

import shutil
from pathlib import Path

import jax
import pytest

from htfjax import locality
from sims import (
    is_same_class,
)
from sims.common.errors import FolderError, RunError
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
