"""The frame of every command: options, errors in one line, exit codes."""

import dataclasses
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import htfjax as htf
from sims import incremental_rank, init_scale, rank_statistics
from sims.common.command import INTERRUPTED, command
from sims.common.display import progress_display
from sims.common.errors import FolderError, RunError, SettingError
from sims.common.names import durations
from sims.common.words import parsed


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

    @dataclasses.dataclass(frozen=True)
    class Places:
        """Two paths."""

        out: Path
        more: Path

    monkeypatch.setattr("sys.argv", ["test", "--out=a=", "--more", "b="])
    assert parsed(Places, "test") == Places(Path("a="), Path("b="))


COMMANDS = {
    "incremental_rank": incremental_rank,
    "rank_statistics": rank_statistics,
    "init_scale": init_scale,
}
TWICE = "give it once (a list takes its values in a row)."
QUOTE = "quote a value that has spaces."
SWALLOWED = [
    # Lists without values
    ("init_scale", "--seeds --out D", "`--seeds` has no value; give it one or several."),
    ("init_scale", "--out D --stds", "`--stds` has no value; give it one or several."),
    ("incremental_rank", "--widths --out=D",
     "`--widths` has no value; give it one or several."),
    ("incremental_rank", "--out D --track_modes",
     "`--track-modes` has no value; give it one or several."),
    ("rank_statistics", "--init-scales --out D",
     "`--init-scales` has no value; give it one or several."),
    ("rank_statistics", "--models --out D",
     "`--models` has no value; give it one or several."),
    # Given twice
    ("incremental_rank", "--out D --seed 1 --seed=2", f"`--seed` is given twice; {TWICE}"),
    ("incremental_rank", "--out D --out D", f"`--out` is given twice; {TWICE}"),
    ("incremental_rank", "--num_steps 5 --out D --num-steps 6",
     f"`--num-steps` is given twice; {TWICE}"),
    ("incremental_rank", "--symmetric --out D --no-symmetric",
     f"`--no-symmetric` is given twice, as `--symmetric` before; {TWICE}"),
    ("rank_statistics", "--init-scales 1 --init-scales 2 --out D",
     f"`--init-scales` is given twice; {TWICE}"),
    ("init_scale", "--seeds 1 2 --out D --seeds 3", f"`--seeds` is given twice; {TWICE}"),
    # Switches with a value, lists with one value twice
    ("init_scale", "--quick=True --out D",
     "`--quick=True` is a switch, which takes no value; leave the value out."),
    ("incremental_rank", "--out D --symmetric=yes",
     "`--symmetric=yes` is a switch, which takes no value; leave the value out."),
    ("init_scale", "--seeds 0 1 0 --out D", "`--seeds` has 0 twice; give it once."),
    # Words that belong to no option
    ("incremental_rank", "--widths 4 --out=D extra words",
     f"`extra words` is not expected after `--out=D`; {QUOTE}"),
    ("incremental_rank", "--out D --tree ((0, 1), (2, 3)) --top 3",
     f"`1), (2, 3))` is not expected after `--tree ((0,`; {QUOTE}"),
    ("incremental_rank", "--out D --panel=htf tf",
     f"`tf` is not expected after `--panel=htf`; {QUOTE}"),
    ("incremental_rank", "--out D --symmetric true",
     f"`true` is not expected after `--symmetric`; {QUOTE}"),
    ("rank_statistics", "--out D --target-rank 5 5",
     f"`5` is not expected after `--target-rank 5`; {QUOTE}"),
    ("init_scale", "--rank=3 -4 --out D",
     f"`-4` is not expected after `--rank=3`; {QUOTE}"),
    ("init_scale", "D --out E --rank 3", "`D` is not expected; options begin with `--`."),
    # Numbers below zero are values, and refused as such
    ("incremental_rank", "--out D --init-std -0.1",
     "`--init-std -0.1` must be at least 0."),
    ("incremental_rank", "--out D --widths 4 -1", "`--widths 4 -1` must be at least 1."),
    ("rank_statistics", "--out D --init-scales 1 -1e-3",
     "`--init-scales -0.001` must be above 0."),
    ("rank_statistics", "--out D --num-seeds -1", "`--num-seeds -1` must be at least 1."),
    ("init_scale", "--out D --stds 0.1 -0.2", "`--stds -0.2` must be above 0."),
    ("init_scale", "--out D --stds inf", "`--stds inf` must be above 0."),
    ("init_scale", "--out D --seeds 0 -1", "`--seeds -1` must be at least 0."),
]  # fmt: skip


def ended(monkeypatch: pytest.MonkeyPatch, name: str, words: list[str]) -> object:
    """The exit code of a command, started as a process starts it."""
    monkeypatch.setattr("sys.argv", ["test", *words])
    try:
        return COMMANDS[name].main()
    except SystemExit as stopped:
        return stopped.code


@pytest.mark.parametrize(("name", "words", "line"), SWALLOWED, ids=lambda text: text[:40])
def test_no_word_is_swallowed(
    name: str, words: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """One line that names the option, code 2, and nothing begun."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTFJAX_CACHE", "off")
    # As if asked for: jax has started in this process, with what devices it has.
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
    assert ended(monkeypatch, name, words.split()) == 2
    assert capsys.readouterr() == ("", f"error: {line}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("incremental_rank", "--out D --top", "'--top'"),
        ("rank_statistics", "--num-seeds --out D", "'--num-seeds'"),
        ("init_scale", "--out", "'--out'"),
        ("init_scale", "--out D --seed 3 4", "--seeds"),
        ("init_scale", "--out D -rank 3", "-rank, 3"),
    ],
)
def test_what_the_parser_refuses_itself(
    name: str, words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """With its own advice, once."""
    monkeypatch.chdir(tmp_path)
    assert ended(monkeypatch, name, words.split()) == 2
    out, err = capsys.readouterr()
    assert said in out + err
    assert (out + err).count("--help") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("--out D --seeds 1 2 --stds=0.1", {"seeds": (1, 2), "stds": (0.1,)}),
        ("--rank=3 --out D --widths 3", {"rank": 3, "widths": 3}),
        ("--out D --stop_loss -1e-3", {"stop_loss": -1e-3}),
    ],
)
def test_words_that_are_right_are_options(
    words: str, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["test", *words.split()])
    asked = parsed(init_scale.Config, "init_scale")
    assert asked == init_scale.Config(out=Path("D"), **found)


def test_help_comes_before_mistakes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["test", "--seeds", "--seeds", "--out=", "--help"])
    with pytest.raises(SystemExit) as stopped:
        parsed(init_scale.Config, "init_scale")
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m sims.init_scale")


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
    assert "--widths 2 3, --steps 10" in shown
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
    begun = [lambda _: progress_display(), lambda _: 0]
    for work in begun:  # what was refused before its first display says nothing of it
        command("phase_diagram", Larger, work, lambda *_: 0, quick=QUICK)
    assert capsys.readouterr().err == line.format(*durations()["phase_diagram"])
