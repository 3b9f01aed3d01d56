"""The paired comparison: rows, order of calls, ratios, states, interrupts."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks import paired, paired_states
from benchmarks.paired_programs import PROGRAMS
from benchmarks.paired_rows import ROWS, UNITS
from benchmarks.paired_states import ROOT, RowError

COMMAND = [sys.executable, "-m", "benchmarks.paired"]


def worktrees(below: Path) -> list[str]:
    """Names of worktrees of this repository in a folder; others may come and go."""
    lines = paired_states.git("worktree", "list", "--porcelain").splitlines()
    found = [Path(line.split(" ", 1)[1]) for line in lines if line.startswith("worktree ")]
    return [path.name for path in found if path.is_relative_to(below.resolve())]


def fake_library(folder: Path, text: str) -> Path:
    """A state whose library is these lines."""
    (folder / "htfjax").mkdir(parents=True)
    (folder / "htfjax" / "__init__.py").write_text(text)
    return folder


def test_every_row_is_listed_with_its_kind(capsys):
    assert paired.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, row in paired.EVERY.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert ("fresh" in line.split()) == (name in PROGRAMS)
        assert row.about
        assert row.unit in UNITS
    assert len(lines) == 1 + len(ROWS) + len(PROGRAMS)


def test_help_says_how_long_it_takes(capsys):
    with pytest.raises(SystemExit):
        paired.main(["--help"])
    assert "minutes on two cores" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--before", "HEAD", "--rows", "eager/nothing"], ["eager/nothing", *ROWS]),
        (["--before", "no-such-ref"], ["`--before no-such-ref`", "commit"]),
        (["--before=--all"], ["`--before --all`"]),
        (["--rows", "eager"], ["`--before`"]),
        (["--before", "HEAD", "--repeats", "0"], ["`--repeats 0`"]),
        (["--before", "HEAD", "--out", "/nowhere/x.json"], ["`--out /nowhere/x.json`"]),
        (["--before", "HEAD", "--out", "/"], ["`--out /`", "folder"]),
    ],
)
def test_what_cannot_be_is_named(words, named, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert paired.main(words) == 2
    errors = capsys.readouterr().err
    assert all(word in errors for word in named), errors
    assert not worktrees(tmp_path)
    assert not list(tmp_path.iterdir())


def test_rows_are_chosen_by_name_and_group():
    assert [row.name for row in paired.chosen(["size", "eager/entries"])] == [
        "eager/entries", "size/state", "size/ensemble",
    ]  # fmt: skip
    assert len(paired.chosen(None)) == len(ROWS) + len(PROGRAMS)


def test_ratios_are_those_of_pairs_and_the_interval_is_exact():
    drift = np.arange(1, 7)  # the machine slows down sixfold: the ratio stays
    found = paired.compared(list(2.0 * drift), list(3.0 * drift))
    assert found["before"]["median"] == 7.0
    assert found["ratio"] == {
        "median": 1.5, "quarters": [1.5, 1.5], "interval": [1.5, 1.5],
    }  # fmt: skip
    # Six values hold their median with probability 1 - 2 / 64, five with 1 - 2 / 32 only.
    ratios = [1.0, 9.0, 2.0, 5.0, 3.0, 4.0]
    ratio = paired.compared([1.0] * 6, ratios)["ratio"]
    assert (ratio["median"], ratio["interval"]) == (3.5, [1.0, 9.0])
    assert paired.compared([1.0] * 5, ratios[:5])["ratio"]["interval"] is None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.5e-4, "us", "250.0"),
        (2.5e-4, "steps a second", "4,000"),
        (90.0, "runs an hour", "40.00"),
        (11_070.0, "bytes", "11,070"),
        (0.0, "bytes", "0"),
    ],
)
def test_values_are_spelled_in_their_unit(value, unit, text):
    assert paired.spelled(value, unit) == text


class Recorder:
    """A worker that notes what it is asked; a row named in `broken` fails."""

    def __init__(self, side: str, notes: list[str], broken: str = "") -> None:
        self.side, self.notes, self.broken = side, notes, broken

    def ask(self, method: str, *arguments: str) -> float:
        if self.broken in arguments:
            raise RowError("AttributeError: no such name")
        self.notes.append(f"{'A' if self.side == 'before' else 'B'} {method}")
        return 2.0 if self.side == "after" else 1.0


def test_calls_alternate_within_and_between_starts():
    notes, row = [], ROWS["eager/entries"]
    findings = paired.Findings([row])
    running = {side: Recorder(side, notes) for side in paired.SIDES}
    counts = paired.Counts(pairs=5, starts=2, programs=1)
    first = 0
    for start in range(2):
        pairs = counts.at(row, start)
        paired.compare_calls(row, running, pairs, first, findings)  # type: ignore[arg-type]
        first += pairs
    turns = [note.split()[0] for note in notes if "turn" in note]
    assert "".join(turns) == "ABBAABBAAB"
    assert findings.record()[row.name]["ratio"]["median"] == 2.0
    assert len(findings.values[row.name]["after"]) == 5


def test_a_row_that_one_state_lacks_fails_alone():
    notes: list[str] = []
    rows = [ROWS["eager/entries"], ROWS["eager/spectra"]]
    findings = paired.Findings([*rows])
    running = {
        "before": Recorder("before", notes, broken="eager/entries"),
        "after": Recorder("after", notes),
    }
    for row in rows:
        paired.compare_calls(row, running, 1, 0, findings)  # type: ignore[arg-type]
    record = findings.record()
    failed = {"failed": {"before": "AttributeError: no such name"}}
    assert record["eager/entries"] == failed
    assert record["eager/spectra"]["ratio"]["median"] == 2.0


def test_a_worker_that_dies_is_named_with_its_last_words(tmp_path, capsys):
    lines = "import os, sys\nsys.stderr.write('no such device')\nsys.stderr.flush()\n"
    folder = fake_library(tmp_path / "state", lines + "os._exit(3)\n")
    code = paired.main(["--before", str(folder), "--after", str(folder), "--quick"])
    errors = capsys.readouterr().err
    assert code == 2
    for words in (f"the worker of `--before {folder}`", "status 3", "no such device"):
        assert words in errors


def test_what_a_library_prints_is_not_taken_for_a_reply(tmp_path):
    lines = "import os\nprint('noise')\nos.write(1, b'more noise')\n"
    folder = fake_library(tmp_path / "state", lines)
    with paired_states.opened("after", str(folder), tmp_path) as state:
        worker = paired_states.Worker(state)
        try:
            assert worker.greeting()["device"].startswith("cpu")
            assert "more noise" in paired_states.last_words(worker.errors)
        finally:
            worker.close()


@pytest.mark.slow
def test_a_commit_beside_the_working_tree(tmp_path):
    out = tmp_path / "found.json"
    words = ["--before", "HEAD", "--rows", "eager/entries", "size/state", "fresh/import"]
    done = subprocess.run(
        [*COMMAND, *words, "--quick", "--out", str(out)],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["finished"]
    for side in paired.SIDES:
        assert found[side]["versions"]["jax"]
        assert len(found["rows"]["eager/entries"][side]["values"]) == 4
        assert found["rows"]["size/state"][side]["median"] > 1000
    assert found["rows"]["fresh/import"]["ratio"]["median"] > 0
    assert not worktrees(tmp_path)
    assert "about" in done.stderr
    assert "eager/entries" in done.stdout


def heed_interrupts():
    """A shell's background jobs, and what they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


# jax warns where a function runs between fork and exec; that one only sets a handler.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.durable
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("until", ["worktree-before", "eager/entries"])
def test_an_interrupt_takes_back_the_worktrees_and_nothing_else(tmp_path, number, until):
    errors, other = tmp_path / "errors", tmp_path / "other"
    paired_states.git("worktree", "add", "--quiet", "--detach", str(other), "HEAD")
    words = ["--before", "HEAD", "--after", "HEAD", "--rows", "eager", "--repeats", "1000"]
    try:
        with errors.open("w") as stream, subprocess.Popen(
            [*COMMAND, *words], cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)},
            stdout=subprocess.DEVNULL, stderr=stream, preexec_fn=heed_interrupts,
        ) as process:  # fmt: skip
            for _ in range(600):
                if until in [*worktrees(tmp_path), *errors.read_text().split()]:
                    break
                time.sleep(0.1)
            started = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            try:
                assert process.wait(60) == 130, errors.read_text()
            finally:
                process.kill()
        assert worktrees(tmp_path) == ["other"]
        assert not psutil.wait_procs(started, 5)[1]
        assert not list(tmp_path.glob("htfjax-paired-*"))
    finally:
        paired_states.git("worktree", "remove", "--force", str(other))
