"""The command `htfjax`: names, codes, words after a name, and another `sims` nearby."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest

import htfjax as htf
from sims import __main__ as dispatcher
from sims import cite, info
from sims.common import missing, names
from sims.common.quick import required
from tests.test_extras import ABSENT, WITHOUT

ROOT = Path(__file__).parents[2]
STUDIES = sorted(set(names.questions()) - {"cite", "info", "plot", "report", "status"})


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder that comes first on the import path, as for a user's scripts."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}, timeout=120,
    )  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder in which a package of a user's own is named `sims`."""
    (tmp_path / "sims").mkdir()
    (tmp_path / "sims" / "__init__.py").write_text("raise RuntimeError('not these')\n")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The dispatcher in this process."""
    monkeypatch.setattr("sys.argv", ["sims", *words])
    return dispatcher.main()


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_without_a_name_commands_are_listed(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Each as it is typed, with the question that its file opens with."""
    assert run(monkeypatch, *words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "usage: python -m sims NAME [--options]"
    (line,) = (line for line in shown if line.startswith("init-scale "))
    assert line.endswith(
        "  Do transitions sharpen and separate as the initialization shrinks?"
    )
    assert line.split()[1:5] == " ".join(names.durations()["init_scale"]).split()


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_says_how_long_it_takes_and_has_a_quick_version(name: str) -> None:
    """At most a minute for `--quick`; values are of options."""
    module = importlib.import_module(f"sims.{name}")
    _, quick = names.durations()[name]
    number, unit = quick.split()
    assert float(number) * {"s": 1, "min": 60}[unit] <= 60
    if name != "verify":  # a switch of its own
        given = dict.fromkeys(required(module.Config), Path("x"))
        assert module.Config(**given, **module.QUICK) != module.Config(**given)


def test_the_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Of the library at hand."""
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"htfjax {htf.__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("incremental-rnk", " Did you mean `incremental-rank`?"),
        ("initscale", " Did you mean `init-scale`?"),
        ("qqqq", ""),
        ("--out", ""),
        ("common", ""),
        ("__main__", ""),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(
    word: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """In one line, with exit code 2."""
    assert run(monkeypatch, word) == 2
    line = f"error: `{word}` is no command.{hint} `python -m sims` lists them.\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("name", ["incremental_rank", "incremental-rank"])
def test_words_after_a_name_reach_the_command(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Its help, not the list."""
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, name, "--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python -m sims.incremental_rank ")
    assert "--init-std" in shown


def test_errors_of_a_command_keep_their_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """What the command returns is what the process ends with."""
    assert run(monkeypatch, "status", str(tmp_path)) == 2
    assert capsys.readouterr().err.startswith("error: no run in ")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ModuleNotFoundError("No module named 'tyro'", name="tyro"),
            "`init-scale` needs tyro; install it by `pip install 'htfjax[studies]'`.",
        ),
        (
            ModuleNotFoundError(
                "x needs flax; pip install 'htfjax[networks]'", name="flax"
            ),
            "`init-scale`: x needs flax; pip install 'htfjax[networks]'",
        ),
    ],
)
def test_a_missing_part_is_one_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """Of the command itself, or found by the library while it runs."""

    def lookup(name: str) -> Any:
        raise error

    monkeypatch.setattr(dispatcher, "importlib", SimpleNamespace(import_module=lookup))
    assert run(monkeypatch, "init-scale") == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_missing_module_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a fault, to be seen with its traceback."""

    def lookup(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'sims.gone'", name="sims.gone")

    monkeypatch.setattr(dispatcher, "importlib", SimpleNamespace(import_module=lookup))
    with pytest.raises(ModuleNotFoundError, match="gone"):
        run(monkeypatch, "init-scale")


@pytest.mark.parametrize(
    ("module", "typed"),
    [
        ("sims.init_scale", "python -m sims.init_scale"),
        ("htfjax.sims.is_same_class", "htfjax is-same-class"),
    ],
)
def test_a_command_itself_says_what_it_is_missing(
    module: str, typed: str, tmp_path: Path
) -> None:
    """In one line as the dispatcher, where the imports at its top fail."""
    # What Python imports before anything else refuses every package of an extra.
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(absent=ABSENT))
    done = python(tmp_path, "-m", module, "--out", "x")
    assert (done.returncode, done.stdout) == (2, "")
    install = r"install it by `pip install 'htfjax\[studies\]'`\.\n"
    found = re.fullmatch(rf"error: `{typed}` needs (\w+); {install}", done.stderr)
    assert found, done.stderr
    assert found[1] in ABSENT
    assert not (tmp_path / "x").exists()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the usual hook got, where commands watch for missing packages."""
    seen: list[Any] = []
    monkeypatch.setattr("sys.excepthook", lambda *given: seen.append(given))
    monkeypatch.setattr("sys.argv", ["/x/sims/is_same_class.py"])
    missing.watch()
    return seen


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'sims.gone'", name="sims.gone"),
        ModuleNotFoundError("No module named 'htfjax.gone'", name="htfjax.gone"),
        ModuleNotFoundError("not found"),
        ImportError("cannot import name 'x' from 'tyro'", name="tyro"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors_of_a_command_end_it_as_usual(
    error: BaseException, watched: list[Any], capsys: pytest.CaptureFixture
) -> None:
    sys.excepthook(type(error), error, None)
    assert watched == [(type(error), error, None)]
    assert capsys.readouterr().err == ""


def test_what_the_library_is_missing_is_said_in_its_words(
    watched: list[Any], capsys: pytest.CaptureFixture
) -> None:
    """While the command runs."""
    error = ModuleNotFoundError("x needs flax; pip install 'htfjax[networks]'", name="flax")
    with pytest.raises(SystemExit) as ended:
        sys.excepthook(type(error), error, None)
    assert (ended.value.code, watched) == (2, [])
    line = f"error: `python -m sims.is_same_class`: {error}\n"
    assert capsys.readouterr().err == line


def test_only_a_command_that_is_started_watches() -> None:
    """Its import, by tests or a notebook, leaves the hook of the process alone."""
    code = "import sys; before = sys.excepthook; import sims.common.names, htfjax.sims;"
    done = python(ROOT, "-c", code + "print(sys.excepthook is before)")
    assert done.stdout == "True\n", done.stderr


def test_another_package_named_sims_is_left_alone(hostile: Path) -> None:
    """The installed command runs the files of htfjax, by their names in a wheel."""
    done = python(hostile, "-m", "htfjax", "incremental-rank", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: htfjax incremental-rank ")


def test_worker_processes_find_the_commands(hostile: Path) -> None:
    """Functions go to them by the name of their module."""
    code = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from htfjax.sims.common import names
with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
    print(pool.submit(names.typed, "init_scale").result(), names.__name__)
"""
    done = python(hostile, "-c", code)
    assert done.stdout == "htfjax init-scale htfjax.sims.common.names\n", done.stderr


def test_both_names_of_the_commands_are_the_same_files() -> None:
    """And the folder of a clone is loaded under the name of a wheel."""
    installed = importlib.import_module("htfjax.sims")
    assert list(installed.__path__) == [str(ROOT / "sims")]
    again = importlib.import_module("htfjax.sims.common.names")
    assert again.__file__ == names.__file__
    assert (again.typed("init_scale"), names.typed("init_scale")) == (
        "htfjax init-scale",
        "python -m sims.init_scale",
    )


def test_a_clone_without_its_commands_says_so(tmp_path: Path) -> None:
    """Such as a copy of the library's folder alone."""
    (tmp_path / "htfjax").mkdir()
    for name in ("__init__.py", "__init__.pyi", "_extras.py", "sims.py"):
        source = ROOT / "htfjax" / name
        if source.exists():
            (tmp_path / "htfjax" / name).write_bytes(source.read_bytes())
    done = python(tmp_path, "-c", "import htfjax.sims")
    assert "ImportError: the commands of htfjax are missing" in done.stderr


def test_info_names_versions_devices_and_caches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """As text, and as JSON."""
    monkeypatch.setattr("sys.argv", ["info", "--json"])
    assert info.main() == 0
    values = json.loads(capsys.readouterr().out)
    assert values["htfjax"] == htf.__version__
    assert values["parts"]["jax"] == importlib.import_module("jax").__version__
    assert values["devices"][0].endswith(" x cpu cpu")
    assert values["float64"] is True
    monkeypatch.setattr("sys.argv", ["info"])
    assert info.main() == 0
    shown = capsys.readouterr().out.splitlines()
    assert f"htfjax: {htf.__version__}" in shown
    assert f"  jax: {values['parts']['jax']}" in shown


def test_info_of_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is and how large, or why there is none; a user's own comes first."""
    own = str(jax.config.values["jax_compilation_cache_dir"])
    assert info.cache().startswith(f"{own} (")
    config = SimpleNamespace(values={"jax_compilation_cache_dir": None})
    monkeypatch.setattr(info, "jax", SimpleNamespace(config=config))
    monkeypatch.setenv("HTFJAX_CACHE", "off")
    assert info.cache() == "none: HTFJAX_CACHE=off"
    monkeypatch.setenv("HTFJAX_CACHE", str(tmp_path))
    folder = info.cache().partition(" (")[0]
    assert folder.startswith(str(tmp_path))
    (Path(folder) / "shared").mkdir(parents=True)
    (Path(folder) / "shared" / "program").write_bytes(b"x" * 260_000)
    assert info.cache() == f"{folder} (1 files, 0.3 MB)"


def test_info_works_without_an_installed_htfjax(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone on the import path has no metadata."""

    def lookup(name: str) -> Any:
        raise info.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(info.metadata, "requires", lookup)
    assert info.parts() == list(info.CORE)
    assert info.version_of("no-such-package") == "not installed"


def test_citations_are_complete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The paper, and htfjax with its version; braces are balanced."""
    monkeypatch.setattr("sys.argv", ["cite"])
    assert cite.main() == 0
    text = capsys.readouterr().out
    assert text.count("{") == text.count("}")
    assert "eprint = {2201.11729}" in text
    assert f"version = {{{htf.__version__}}}" in text
