"""Extras: what works without them, and what is said where one is missing."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import htfjax as htf
from htfjax import _extras

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# Names under which packages are imported, where these differ from those on the index.
IMPORTED = {"orbax-checkpoint": "orbax", "scikit-learn": "sklearn"}

# Refuses every package of an extra, as if it were not installed.
WITHOUT = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
"""


def packages(extra: str | None) -> set[str]:
    """Packages that an extra brings, or a plain install, as they are imported."""
    project = PROJECT["project"]
    lines = project["dependencies"] if extra is None else extras()[extra]
    names = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines}
    return {IMPORTED.get(name, name.replace("-", "_")) for name in names}


def extras() -> dict[str, list[str]]:
    return PROJECT["project"]["optional-dependencies"]


OURS = ("networks", "studies", "baselines")
# jax itself brings scipy.
ABSENT = {package for extra in OURS for package in packages(extra)} - {"scipy"}


def python(code: str) -> list[str]:
    """Lines of a new interpreter in which no extra is installed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT.format(absent=ABSENT) + code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def third_party(folder: str) -> set[str]:
    """Packages that the files of a folder import, anywhere but for type checkers."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        typing = [node for node in ast.walk(tree) if _is_for_types(node)]
        for node in {*ast.walk(tree)} - {n for part in typing for n in ast.walk(part)}:
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"htfjax"}


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_every_import_of_the_library_is_in_the_core_or_named_by_an_extra() -> None:
    """A package that is used and not declared works on our machines alone."""
    used = third_party("htfjax")
    assert used <= packages(None) | _extras.EXTRAS.keys()
    # But these, which are imported by their names as a text.
    assert {*_extras.EXTRAS} - {"rich", "sklearn", "tqdm"} <= used


@pytest.mark.parametrize(("package", "extra"), _extras.EXTRAS.items())
def test_an_extra_brings_what_its_name_promises(package: str, extra: str) -> None:
    """The message of a missing package helps."""
    assert package in packages(extra)


def test_commands_need_the_extra_of_studies_only() -> None:
    """What they import themselves; networks are the library's."""
    assert third_party("sims") <= packages(None) | packages("studies")


def test_the_core_is_small() -> None:
    """A package more in it is a decision."""
    assert packages(None) == {
        "jax", "jaxlib", "diffrax", "equinox", "jaxtyping", "lazy_loader", "lineax",
        "numpy", "optax", "wadler_lindig",
    }  # fmt: skip
    assert not packages(None) & ABSENT


def test_all_is_every_extra_of_ours() -> None:
    """Those of jax itself, and rivals, are chosen by who needs them."""
    (line,) = extras()["all"]
    found = re.fullmatch(r"htfjax\[(.*)\]", line)
    assert found
    assert set(found[1].split(",")) == set(OURS)
    for name in ("cuda12", "cuda13", "tpu"):
        assert extras()[name] == [f"jax[{name}]"]


def test_the_core_works_without_the_extras() -> None:
    """A descent and its records; every public name of the rooms that need no extra."""
    lines = python(
        """
import htfjax as htf, jax
tree = htf.flat(2)
indices = htf.random_indices(jax.random.key(1), 3, 8, order=2)
loss = htf.completion_loss(tree, 3, indices, jax.numpy.ones(8))
start = htf.gaussian_factors(jax.random.key(2), tree, 3, 2, 0.3)
_, run = htf.descend(start, loss, htf.group_rmsprop(1e-2), num_steps=4, record_every=2,
                     observe=htf.local_component_norms)
print(run.steps.tolist(), run.observed[tree.root].shape)
print(htf.runs.json_digest([1])[:4], htf.locality.Patch(0, 0, 2, 2).height)
needing = set()
for room in (htf, htf.losses, htf.theory):
    for name in room.__all__:
        try:
            getattr(room, name)
        except ImportError:
            needing.add(name)
print(*sorted(needing))
"""
    )
    assert lines[0] == "[0, 2, 4] (3, 2)"
    assert lines[1].endswith(" 2")
    assert lines[2].split() == [
        "check_state", "load_results", "load_state", "save_results", "save_state",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("load_results", "studies"),
        ("save_results", "studies"),
        ("save_state", "studies"),
        ("plot.tree", "studies"),
        ("runs.run", "studies"),
        ("runs.locked_folder", "studies"),
        ("locality.resnet", "networks"),
        ("locality.ConvAC", "networks"),
    ],
)
def test_a_name_of_an_extra_says_what_to_install(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the package is missing: the error is an `ImportError` and no attribute's."""
    *rooms, last = name.split(".")
    room: Any = getattr(htf, rooms[0]) if rooms else htf
    missing = next(p for p, e in _extras.EXTRAS.items() if e == extra)

    def lookup(_: str) -> Any:
        raise ModuleNotFoundError(f"No module named '{missing}.x'", name=f"{missing}.x")

    fake = (lookup, lambda: [], [])
    monkeypatch.setattr(_extras.lazy_loader, "attach_stub", lambda *_: fake)
    get, _, _ = _extras.attach(room.__name__, "")
    words = rf"`{room.__name__}\.{last}` needs {missing}; install it by `pip install '"
    with pytest.raises(ImportError, match=rf"{words}htfjax\[{extra}\]'`\."):
        get(last)


def test_names_of_extras_without_them() -> None:
    """Through the public names, by attribute and by `from`, and inside a function."""
    lines = python(
        """
import htfjax as htf
def said(do):
    try:
        do()
    except ImportError as error:
        print(error)
def imported():
    from htfjax import load_results
for name in ("load_results", "save_state"):
    said(lambda: getattr(htf, name))
said(lambda: htf.plot.tree)
said(lambda: htf.runs.run)
said(lambda: htf.locality.resnet)
said(imported)
from htfjax import _extras
said(lambda: _extras.load("sklearn.ensemble", "htfjax.locality.baseline"))
"""
    )
    names = ["load_results", "save_state", "plot.tree", "runs.run", "locality.resnet"]
    names += ["load_results", "locality.baseline"]
    for line, name in zip(lines, names, strict=True):
        pattern = rf"`htfjax\.{name}` needs (\w+); install it by `pip install '(.*)'`\."
        found = re.fullmatch(pattern, line)
        assert found, line
        assert found[2] == f"htfjax[{_extras.EXTRAS[found[1]]}]"


def test_a_module_that_no_extra_brings_is_a_fault_of_ours() -> None:
    """Its error is left as it is."""
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module'"):
        _extras.load("no_such_module", "htfjax.x")


def test_the_command_works_without_the_extras() -> None:
    """It lists, says its version, and what a study is missing."""
    lines = python(
        """
import io, sys
from htfjax.sims.__main__ import main
sys.stderr = sys.stdout
for words in (["--version"], ["cite"], ["info"], ["init-scale", "--out", "x"]):
    sys.argv = ["htfjax", *words]
    print(words[0], main())
"""
    )
    assert f"htfjax {htf.__version__}" in lines
    assert {"--version 0", "cite 0", "info 0", "init-scale 2"} <= set(lines)
    (line,) = (line for line in lines if line.startswith("error: "))
    assert re.fullmatch(
        r"error: `init-scale` needs \w+; install it by `pip install 'htfjax\[studies\]'`\.",
        line,
    )
