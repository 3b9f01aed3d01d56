"""Two states of the repository side by side, row by row, in turns.

One worker process for each state calls the same rows, alternately and in the order
A B B A, so that a machine that slows down slows both alike. What counts is the median of
the ratios after / before of neighbouring calls. Every ratio is one of costs (seconds of a
unit of work, or bytes): below 1 the second state is better.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from scipy import stats

from benchmarks import paired_states
from benchmarks.paired_programs import PROGRAMS, Program
from benchmarks.paired_rows import ROWS, UNITS, Row
from benchmarks.paired_states import PairedError, RowError, State, Worker
from benchmarks.paired_worker import SHORTEST_TURN

SIDES = ("before", "after")
INTERRUPTED = 130
WIDTH = 160  # of tables, whatever the terminal: no digit is left out
SIZES = 9  # pairs of a size at most
EVERY: dict[str, Row | Program] = {**ROWS, **PROGRAMS}


@dataclasses.dataclass(frozen=True)
class Counts:
    """How often is called.

    Attributes:
      pairs: calls on each side of a row in a worker; of a program at most.
      starts: pairs of workers that these are spread over. What is a matter of luck
        within one process, such as where its memory lies, differs between them.
      programs: runs of a program on each side at most, whatever it asks for.
    """

    pairs: int
    starts: int
    programs: int

    def of(self, row: Row | Program) -> int:
        """Pairs of one row; sizes differ little from call to call."""
        if isinstance(row, Program):
            return min(row.pairs, self.programs, self.pairs)
        return min(SIZES, self.pairs) if row.unit == "bytes" else self.pairs

    def at(self, row: Row, start: int) -> int:
        """Pairs of a row in one of the starts."""
        pairs = self.of(row)
        return pairs // self.starts + (start < pairs % self.starts)

    def seconds(self, row: Row | Program) -> float:
        """About how long a row takes."""
        if isinstance(row, Program):
            return 2 * self.of(row) * row.seconds
        starts = min(self.starts, self.of(row))
        call = max(2 * row.seconds, 2e-3 * SHORTEST_TURN)
        return 2 * starts * row.prepare + self.of(row) * call


FULL, QUICK = Counts(24, 3, 5), Counts(4, 1, 1)


def chosen(asked: list[str] | None) -> list[Row | Program]:
    """The rows of these names and groups, in the order in which they are defined.

    Raises:
      PairedError: a name that is none; the known ones are named.
    """
    if asked is None:
        return list(EVERY.values())
    groups = {name: name.split("/")[0] for name in EVERY}
    for word in asked:
        if word not in EVERY and word not in groups.values():
            known = "\n  ".join([", ".join(dict.fromkeys(groups.values())), *EVERY])
            raise PairedError(
                f"`--rows {word}` is neither a row nor a group. Known are\n  {known}"
            )
    return [row for name, row in EVERY.items() if {name, groups[name]} & set(asked)]


def order(pair: int) -> tuple[str, str]:
    """Which side is called first: A B, B A, A B, ..."""
    return SIDES if pair % 2 == 0 else (SIDES[1], SIDES[0])


class Findings:
    """What was measured of each row on each side, where, and which rows failed."""

    def __init__(self, rows: list[Row | Program]) -> None:
        self.rows = rows
        self.values = {row.name: {side: [] for side in SIDES} for row in rows}
        self.machines: dict[str, Any] = {}
        self.failed: dict[str, dict[str, str]] = {}

    def fail(self, row: Row | Program, side: str, error: RowError) -> None:
        """Notes why a row cannot be compared; it is left out from here on."""
        self.failed.setdefault(row.name, {})[side] = str(error)

    def pairs(self, row: Row | Program) -> tuple[list[float], list[float]]:
        """Values that have a partner, before and after."""
        before, after = (self.values[row.name][side] for side in SIDES)
        whole = min(len(before), len(after))
        return before[:whole], after[:whole]

    def record(self) -> dict[str, Any]:
        """Of every row that was begun."""
        found: dict[str, Any] = {}
        for row in self.rows:
            before, after = self.pairs(row)
            if row.name in self.failed:
                found[row.name] = {"failed": self.failed[row.name]}
            elif before:
                measured = "bytes" if row.unit == "bytes" else "seconds"
                found[row.name] = {
                    "measured": measured, "shown": row.unit, **compared(before, after)
                }  # fmt: skip
        return found


def compared(before: list[float], after: list[float]) -> dict[str, Any]:
    """Medians of both, and median and spread of the ratios of pairs.

    Returns:
      `before` and `after` in seconds or bytes; `ratio` with its `median`, `quarters`
      (between which the middle half lies) and `interval`, which holds the median with a
      confidence of 95 %, from the ranks alone; None where there are fewer than 6 pairs.
    """
    ratios = np.asarray(after) / np.asarray(before)
    interval = stats.quantile_test(ratios, p=0.5).confidence_interval(0.95)
    ends = [float(interval.low), float(interval.high)]
    return {
        "before": {"median": float(np.median(before)), "values": before},
        "after": {"median": float(np.median(after)), "values": after},
        "ratio": {
            "median": float(np.median(ratios)),
            "quarters": np.quantile(ratios, (0.25, 0.75)).tolist(),
            "interval": ends if np.isfinite(ends).all() else None,
        },
    }


class Display:
    """Progress on standard error, weighed by what each row is expected to take."""

    def __init__(self, rows: list[Row | Program], counts: Counts) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(),
            TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )  # fmt: skip
        self.total = sum(counts.seconds(row) for row in rows)
        self.task = self.bar.add_task("starting", total=self.total)
        self.begun, self.told = time.monotonic(), ""

    def show(self, row: Row | Program) -> None:
        """Says what runs now; a line where there is no terminal."""
        if self.told == row.name:
            return
        self.told = row.name
        self.bar.update(self.task, description=row.name)
        if not self.console.is_terminal:
            done = self.bar.tasks[0].completed
            pace = (time.monotonic() - self.begun) / done if done else 1.0
            left = f"about {pace * (self.total - done) / 60:.0f} min left"
            sys.stderr.write(f"{done / self.total:4.0%}, {left}: {row.name}\n")

    def advance(self, seconds: float) -> None:
        """Counts expected seconds as done."""
        self.bar.advance(self.task, seconds)


@contextlib.contextmanager
def workers(states: list[State], start: int) -> Iterator[dict[str, Worker]]:
    """One worker for each state; which is started first alternates."""
    with contextlib.ExitStack() as stack:
        running = {}
        for state in states if start % 2 == 0 else reversed(states):
            running[state.side] = worker = Worker(state)
            stack.callback(worker.close)
        yield running


def compare_calls(
    row: Row, running: dict[str, Worker], pairs: int, first: int, findings: Findings
) -> None:
    """Pairs of calls of one row, numbered from `first` on."""
    for side in order(first):
        try:
            running[side].ask("make", row.name)
        except RowError as error:
            findings.fail(row, side, error)
    if row.name not in findings.failed:
        for pair in range(first, first + pairs):
            for side in order(pair):
                try:
                    found = running[side].ask("turn")
                except RowError as error:
                    findings.fail(row, side, error)
                    return
                findings.values[row.name][side].append(found)
    for worker in running.values():
        worker.ask("forget")


def run_rows(
    rows: list[Row], states: list[State], counts: Counts, findings: Findings,
    display: Display,
) -> None:  # fmt: skip
    """All rows of the workers, which also say what machine they find."""
    for start in range(counts.starts if rows else 1):
        with workers(states, start) as running:
            findings.machines = {side: running[side].greeting() for side in SIDES}
            for row in rows:
                pairs = counts.at(row, start)
                first = sum(counts.at(row, earlier) for earlier in range(start))
                if pairs and row.name not in findings.failed:
                    display.show(row)
                    compare_calls(row, running, pairs, first, findings)
                display.advance(counts.seconds(row) / counts.starts)


def run_programs(
    programs: list[Program], states: list[State], counts: Counts, findings: Findings,
    display: Display,
) -> None:  # fmt: skip
    """All rows that are processes of their own."""
    by_side = {state.side: state for state in states}
    for program in programs:
        display.show(program)
        for pair in range(counts.of(program)):
            for side in order(pair):
                if program.name in findings.failed:
                    continue
                try:
                    found = seconds_of(program, by_side[side], pair)
                except RowError as error:
                    findings.fail(program, side, error)
                    continue
                findings.values[program.name][side].append(found)
            display.advance(counts.seconds(program) / counts.of(program))


def seconds_of(program: Program, state: State, pair: int) -> float:
    """Seconds of one unit of a program's work."""
    out = state.scratch / f"{program.name.replace('/', '_')}_{pair}"
    lasted, printed = paired_states.run_program(state, program.arguments(out))
    if program.clocked:
        try:
            lasted = float(printed.split()[-1])
        except (ValueError, IndexError):
            raise RowError(f"printed {printed!r} in place of seconds") from None
    return lasted / program.inner


def warm(states: list[State]) -> None:
    """Lets both states write their bytecode."""
    first_step = PROGRAMS["fresh/first_step"]
    for state in states:
        folders = [name for name in ("htfjax", "sims") if (state.folder / name).is_dir()]
        for words in (["-m", "compileall", "-q", *folders],
                      first_step.arguments(state.scratch)):  # fmt: skip
            with contextlib.suppress(RowError):  # the rows themselves will say why
                paired_states.run_program(state, words)


def spelled(value: float, unit: str) -> str:
    """Four digits, no exponent."""
    shown = UNITS[unit](value)
    digits = max(0, 3 - int(np.floor(np.log10(abs(shown))))) if shown else 0
    return f"{shown:,.{digits}f}"


def table_of(record: dict[str, Any]) -> Table:
    """One line for each row."""
    table = Table(box=None)
    for heading in ("", "before", "after", "unit", "after / before", "95 % interval",
                    "middle half", "pairs"):  # fmt: skip
        left = heading in ("", "unit")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for name, found in record.items():
        if "failed" in found:
            table.add_row(name, "failed in " + " and ".join(found["failed"]))
            continue
        ratio, unit = found["ratio"], found["shown"]
        pairs = len(found["before"]["values"])
        spread = (ratio["interval"], ratio["quarters"] if pairs > 1 else None)
        table.add_row(
            name, *(spelled(found[side]["median"], unit) for side in SIDES), unit,
            f"{ratio['median']:.3f}",
            *(f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "" for ends in spread),
            str(pairs),
        )  # fmt: skip
    return table


def report(record: dict[str, Any], out: Path | None) -> None:
    """Prints the table and what failed, and writes the file."""
    console = Console(width=WIDTH)
    for side in SIDES:
        state = record[side]
        console.print(f"{side}: {state['asked']}, {state['commit']}", soft_wrap=True)
    console.print(table_of(record["rows"]))
    console.print(
        "Ratios are of costs: below 1 is better after, in rows that show a rate too."
    )
    for name, found in record["rows"].items():
        for side, error in found.get("failed", {}).items():
            console.print(f"{name} failed in {side}: {error}", soft_wrap=True, markup=False)
    if out is not None:
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        console.print(f"written to {out}", soft_wrap=True)


def compare(
    asked: dict[str, str], rows: list[Row | Program], counts: Counts, out: Path | None
) -> int:
    """Compares two states and reports, after an interrupt what there is by then.

    Returns:
      Exit code: 1 where a row failed, 130 after an interrupt.

    Raises:
      PairedError: a state that is none, a worker that died.
    """
    findings, display = Findings(rows), Display(rows, counts)
    record: dict[str, Any] = {
        "benchmark": "paired", "finished": False, "counts": dataclasses.asdict(counts),
        "load": getattr(os, "getloadavg", lambda: None)(),
    }  # fmt: skip
    code = INTERRUPTED
    with contextlib.ExitStack() as stack:
        scratch = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="htfjax-paired-"))
        )
        states = [
            stack.enter_context(paired_states.opened(side, asked[side], scratch))
            for side in SIDES
        ]
        for state in states:
            record[state.side] = {"asked": state.asked, "commit": state.commit}
        try:
            with display.bar:
                programs = [row for row in rows if isinstance(row, Program)]
                inside = [row for row in rows if isinstance(row, Row)]
                run_rows(inside, states, counts, findings, display)
                if programs:
                    warm(states)
                    run_programs(programs, states, counts, findings, display)
            record["finished"] = True
            code = 1 if findings.failed else 0
        except KeyboardInterrupt:
            sys.stderr.write("interrupted: what was measured by then follows\n")
        finally:
            for side, machine in findings.machines.items():
                record[side] |= machine
            record["rows"] = findings.record()
            if record["rows"]:
                report(record, out)
    return code


def listing() -> Table:
    """Every row, with what it takes."""
    table = Table(box=None)
    for heading in ("row", "unit", "seconds", "process", "what"):
        right = heading == "seconds"
        table.add_column(
            heading, justify="right" if right else "left", no_wrap=heading != "what"
        )
    for row in EVERY.values():
        fresh = "fresh" if isinstance(row, Program) else "worker"
        seconds = f"{FULL.seconds(row):.0f}"
        table.add_row(row.name, row.unit, seconds, fresh, row.about)
    return table


def minutes(counts: Counts, rows: list[Row | Program]) -> str:
    """About how long rows take on two cores."""
    return f"{sum(map(counts.seconds, rows)) / 60:.0f} minutes"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    every = list(EVERY.values())
    inside: list[Row | Program] = list(ROWS.values())
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.paired", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=(
            f"All rows take about {minutes(FULL, every)} on two cores that do nothing "
            f"else, with --quick {minutes(QUICK, every)};\nthose in workers alone (the "
            f"groups {', '.join(dict.fromkeys(n.split('/')[0] for n in ROWS))})\n"
            f"{minutes(FULL, inside)} and {minutes(QUICK, inside)}."
        ),
    )  # fmt: skip
    made.add_argument("--before", metavar="REF_OR_PATH",
                      help="commit, or folder that holds htfjax/")  # fmt: skip
    made.add_argument("--after", metavar="REF_OR_PATH",
                      help="the same; by default the working tree")  # fmt: skip
    made.add_argument("--rows", nargs="+", metavar="NAME",
                      help="rows or groups of rows; all by default")  # fmt: skip
    made.add_argument("--list", action="store_true", help="list the rows and end")
    made.add_argument("--quick", action="store_true",
                      help="few calls: do rows run? Says little of speed")  # fmt: skip
    made.add_argument("--repeats", type=int, metavar="N",
                      help=f"pairs of calls of a row (default: {FULL.pairs})")  # fmt: skip
    made.add_argument("--out", type=Path, metavar="FILE.json",
                      help="file for all numbers, versions and machine")  # fmt: skip
    return made


def main(words: list[str] | None = None) -> int:
    """The command: 2 after an error, 1 where a row failed, 130 after Ctrl-C."""
    options = parser()
    given = options.parse_args(words)
    if given.list:
        console = Console()
        console = console if console.is_terminal else Console(width=WIDTH)
        console.print(listing())
        return 0
    counts = QUICK if given.quick else FULL
    if given.repeats is not None:
        counts = dataclasses.replace(counts, pairs=given.repeats)
    try:
        if given.before is None:
            raise PairedError("`--before` is missing: a commit or a folder.")
        if counts.pairs < 1:
            raise PairedError(f"`--repeats {given.repeats}` must be at least 1.")
        if given.out is not None and not given.out.absolute().parent.is_dir():
            raise PairedError(f"`--out {given.out}`: its folder does not exist.")
        if given.out is not None and given.out.is_dir():
            raise PairedError(f"`--out {given.out}` is a folder; name a file.")
        asked = {"before": given.before, "after": given.after or str(paired_states.ROOT)}
        with paired_states.terminated_as_interrupted():
            return compare(asked, chosen(given.rows), counts, given.out)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except (PairedError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
