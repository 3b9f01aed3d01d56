"""The package: what is in a wheel and an sdist, and that it runs from there."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import htfjax as htf
from sims import cite

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
    """Files of a folder of the clone, without Python's caches."""
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


@pytest.mark.slow
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


# By `make docs`, of what is there.
MADE = ("docs/gallery/", "docs/figures/schemes/")


def test_an_sdist_has_tests_and_documents(sdist: set[str]) -> None:
    """What a packager needs to build and to test it."""
    wanted = sources("htfjax") | sources("sims") | sources("tests")
    wanted |= {name for name in sources("docs") if not name.startswith(MADE)}
    wanted |= {"docs/gallery/index.md"}
    single = {"pyproject.toml", "conftest.py", "README.md", "CHANGELOG.md", "LICENSE"}
    assert wanted | single <= sdist
    assert not {name for name in sdist if name.startswith((".venv", ".git/", "runs/"))}


def text(name: str) -> str:
    """A file of the clone."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_both_citations_are_of_the_same_paper() -> None:
    """`CITATION.cff` and `htfjax cite`: title, authors, year and number."""
    found = re.search(r"title = \{(.*?)\},", cite.PAPER, re.DOTALL)
    assert found
    cff = text("CITATION.cff")
    assert f'title: "{" ".join(found[1].split())}"' in cff
    people = re.findall(r"family-names: (\w+)\n +given-names: (\w+)", cff)
    assert " and ".join(f"{last}, {first}" for last, first in people) in cite.PAPER
    for words in ("arXiv:2201.11729", "year: 2022"):
        assert words in cff
        assert re.split(r"[ :]+", words)[1] in cite.PAPER


def test_the_version_is_written_once() -> None:
    """No other file has to be changed with it."""
    assert f'__version__ = "{htf.__version__}"' in text("htfjax/__init__.py")
    for name in ("pyproject.toml", "CITATION.cff", "sims/cite.py", "sims/info.py"):
        assert f'"{htf.__version__}"' not in text(name)


def test_hooks_run_the_ruff_of_the_project() -> None:
    """Two versions would format each other's work."""
    lint = tomllib.loads(text("pyproject.toml"))["dependency-groups"]["lint"]
    (wanted,) = (line for line in lint if line.startswith("ruff=="))
    assert set(re.findall(r"ruff==[\d.]+", text(".pre-commit-config.yaml"))) == {wanted}


def test_the_oldest_jax_is_the_one_that_is_tested() -> None:
    """In the requirements, in the workflow, and in the table of the README."""
    found = re.search(r'"jax>=([\d.]+),', text("pyproject.toml"))
    assert found
    assert f"jax=={found[1]} jaxlib=={found[1]}" in text(".github/workflows/ci.yml")
    assert f"| 3.11 | {found[1]} |" in text("README.md")


def test_a_release_tries_the_promised_pythons() -> None:
    """By default, all of the classifiers."""
    pattern = r"Python :: (3\.\d+)"
    promised = re.findall(pattern, text("pyproject.toml"))
    assert promised
    wanted = " ".join(f"python{version}" for version in promised)
    assert f"PYTHONS ?= {wanted}\n" in text("Makefile")
    assert f"${{PYTHONS:-{wanted}}}" in text(".ci/release-check")
