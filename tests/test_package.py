"""The package: what is in a wheel and an sdist, and that it runs from there."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import htfjax as htf

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from this clone."""
    builders = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling")
    folder = str(tmp_path_factory.mktemp("wheel"))
    (path,) = builders.WheelBuilder(str(ROOT)).build(
        directory=folder, versions=["standard"]
    )
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Files of an sdist built from this clone, without its own folder."""
    builders = pytest.importorskip("hatchling.builders.sdist", reason="needs hatchling")
    folder = str(tmp_path_factory.mktemp("sdist"))
    (path,) = builders.SdistBuilder(str(ROOT)).build(directory=folder)
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def sources(folder: str) -> set[str]:
    """Files of a folder of the clone that are no products of Python."""
    paths = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    kept = [path for path in paths if "__pycache__" not in path.parts]
    return {path.relative_to(ROOT).as_posix() for path in kept}


def test_a_wheel_has_one_top_level_package(wheel: zipfile.ZipFile) -> None:
    """`sims` and `tests` at the top would collide with packages of users."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"htfjax", f"htfjax-{htf.__version__}.dist-info"}


def test_a_wheel_has_the_library_and_the_commands(wheel: zipfile.ZipFile) -> None:
    """Every file of both folders, and nothing else."""
    library = sources("htfjax") - {"htfjax/sims.py"}  # the folder stands in its place
    commands = {f"htfjax/{name}" for name in sources("sims")}
    inside = {name for name in wheel.namelist() if name.startswith("htfjax/")}
    assert inside == library | commands
    assert {"htfjax/py.typed", "htfjax/__init__.pyi", "htfjax/sims/plot.py"} <= inside


def test_a_wheel_has_the_digits_and_their_licence(wheel: zipfile.ZipFile) -> None:
    """Beside the data, and among the licences of the distribution."""
    names = wheel.namelist()
    assert "htfjax/locality/tasks/digits.npz" in names
    assert "htfjax/locality/tasks/digits.LICENSE.txt" in names
    licences = [name for name in names if "dist-info/licenses/" in name]
    assert {Path(name).name for name in licences} == {"LICENSE", "digits.LICENSE.txt"}


def test_a_wheel_runs_its_own_commands(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """By the entry point, from a folder where another `sims` is."""
    wheel.extractall(tmp_path / "site")
    (tmp_path / "sims.py").write_text("raise RuntimeError('not these')\n")
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "htfjax = htfjax.sims.__main__:main" in wheel.read(entry).decode()
    code = (
        "import sys, htfjax.sims.__main__ as m; print(m.__file__)\n"
        "sys.argv = ['htfjax', 'incremental-rank', '--help']; sys.exit(m.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "JAX_PLATFORMS": "cpu"},
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place, usage, *_ = done.stdout.splitlines()
    assert Path(place) == tmp_path / "site" / "htfjax" / "sims" / "__main__.py"
    assert usage.startswith("usage: htfjax incremental-rank ")


def test_an_sdist_has_tests_and_documents(sdist: set[str]) -> None:
    """What a packager needs to build and to test it."""
    wanted = sources("htfjax") | sources("sims") | sources("tests") | sources("docs")
    single = {"pyproject.toml", "conftest.py", "README.md", "CHANGELOG.md", "LICENSE"}
    assert wanted | single <= sdist
    assert not {name for name in sdist if name.startswith((".venv", ".git/", "runs/"))}
