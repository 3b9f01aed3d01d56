"""The frame of every command: options, errors in one line, exit codes."""

import dataclasses
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import htfjax as htf
from sims.common.command import INTERRUPTED, _arguments, command
from sims.common.errors import FolderError, RunError, SettingError
from sims.common.names import durations


@dataclasses.dataclass(frozen=True)
class Options:
    """A command for tests."""

    number: int = 3


def run_with(monkeypatch: pytest.MonkeyPatch, work: Any, code: int | None = None) -> int:
    """The command with `--number 4`."""
    monkeypatch.setattr("sys.argv", ["test", "--number", "4"])

    def report(found: Any, options: Options, console: Console) -> int | None:
        console.print(f"found {found} with {options.number}")
        return code

    return command("test", Options, work, report)


def test_what_came_out_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The report gets result and options; its code is the command's."""
    assert run_with(monkeypatch, lambda options: options.number + 1) == 0
    assert capsys.readouterr().out == "found 5 with 4\n"
    assert run_with(monkeypatch, lambda options: 0, INTERRUPTED) == 130


@pytest.mark.parametrize("kind", [SettingError, FolderError, RunError, ValueError, OSError])
def test_errors_are_one_line(
    kind: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """No traceback, exit code 2."""

    def work(options: Options) -> None:
        raise kind("`--number 4` is odd.")

    assert run_with(monkeypatch, work) == 2
    assert capsys.readouterr().err == "error: `--number 4` is odd.\n"


def test_an_interrupt_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Ctrl-C outside of the steps, where nothing listens for it: exit code 130."""

    def work(options: Options) -> None:
        raise KeyboardInterrupt

    assert run_with(monkeypatch, work) == INTERRUPTED
    assert capsys.readouterr().err.startswith("interrupted: the same command resumes")


def test_faults_of_ours_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken report shows where it broke."""

    def work(options: Options) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_with(monkeypatch, work)


@pytest.mark.parametrize(
    ("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 143)]
)
@pytest.mark.parametrize("listening", [True, False])
def test_signals_have_their_exit_codes(
    name: str, code: int, listening: bool, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """Saved and reported where a run listens, one line elsewhere."""
    before = signal.getsignal(getattr(signal, name))

    def work(options: Options) -> str:
        if not listening:
            signal.raise_signal(getattr(signal, name))
        with htf.runs.stop_requested() as requested:
            signal.raise_signal(getattr(signal, name))
            assert requested()
        return "saved"

    assert run_with(monkeypatch, work, INTERRUPTED) == code
    out, err = capsys.readouterr()
    assert ("saved" in out) == listening
    assert len(err.splitlines()) == (0 if listening else 1)
    assert signal.getsignal(getattr(signal, name)) is before


def test_home_folders_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves `--out=~/runs` alone."""

    @dataclasses.dataclass(frozen=True)
    class Places:
        """Paths in every form."""

        out: Path
        more: tuple[Path, ...] = ()
        none: Path | None = None

    found = []
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["test", "--out=~/runs", "--more", "~/a", "b"])
    command("test", Places, found.append, lambda *_: 0)
    assert (found[0].out, found[0].more) == (tmp_path / "runs", (tmp_path / "a", Path("b")))
    assert found[0].none is None


@pytest.mark.parametrize(
    "words", [["--out", ""], ["--out="], ["--number", "1", "--out", ""]]
)
def test_an_empty_path_is_not_the_current_folder(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Such as `--out "$UNSET"`."""
    monkeypatch.setattr("sys.argv", ["test", *words])
    with pytest.raises(SystemExit) as stopped:
        command("test", Options, lambda options: 0, lambda *_: 0)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: `--out` is empty; give it a value.\n"


def test_a_value_may_end_in_an_equals_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what follows the first one is the value."""
    monkeypatch.setattr("sys.argv", ["test", "--out=a=", "--out", "b="])
    assert _arguments() == ["--out=a=", "--out", "b="]


@dataclasses.dataclass(frozen=True)
class Larger:
    """A command for tests with a small version."""

    out: Path
    """Folder."""
    widths: tuple[int, ...] = (64,)
    """Widths."""
    steps: int = 100
    """Steps."""


QUICK = {"widths": (2, 3), "steps": 10}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], ((64,), 100)),
        (["--quick"], ((2, 3), 10)),
        (["--quick", "--steps", "20"], ((2, 3), 20)),
        (["--steps", "100", "--quick"], ((2, 3), 100)),  # given, if equal to the default
    ],
    ids=str,
)
def test_quick_stands_for_options_that_are_not_given(
    words: list[str], wanted: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command gets its own class; neither folders nor runs know of the switch."""
    monkeypatch.setattr("sys.argv", ["test", "--out", "x", *words])
    given: list[Any] = []
    code = command("test", Larger, given.append, lambda *_: 0, quick=QUICK)
    assert (code, given) == (0, [Larger(Path("x"), *wanted)])
    assert type(given[0]) is Larger


def test_help_says_what_quick_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Beside the options, whose help is still there."""
    monkeypatch.setattr("sys.argv", ["test", "--help"])
    with pytest.raises(SystemExit):
        command("test", Larger, print, lambda *_: 0, quick=QUICK)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--quick A small version" in shown
    assert "widths 2 3, steps 10" in shown
    assert "A command for tests with a small version." in shown
    assert "Widths." in shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "phase_diagram: takes about {0} on two cores by default, {1} with --quick\n"),
        (["--quick"], "phase_diagram: takes about {1}\n"),
    ],
)
def test_the_start_says_how_long_it_takes(
    words: list[str],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """On the stream of the progress, so that results can be piped."""
    monkeypatch.setattr("sys.argv", ["test", "--out", "x", *words])
    command("phase_diagram", Larger, lambda _: 0, lambda *_: 0, quick=QUICK)
    assert capsys.readouterr().err == line.format(*durations()["phase_diagram"])
