"""Record of an accelerator: measured in the minutes that there are, most valuable first.

    python -m benchmarks.accelerator --minutes 8
    python -m benchmarks.accelerator --list
    python -m benchmarks.accelerator --small --out runs/accelerator  # rehearsal on a CPU

Every row that is finished stands on the disk at once; what is there from the same commit,
device and sizes is not measured again, so the same command goes on after a kill. When time
is up the record is written of what there is, and the process ends, in the middle of a row
if need be. A row that fails is kept with its error.
"""

import argparse
import dataclasses
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from benchmarks import harness
from benchmarks.accelerator_rows import FULL, SMALL, Row, Sizes, all_rows

NO_MEMORY = "RESOURCE_EXHAUSTED"


class Work:
    """Rows, the file they are kept in, and the record that is made of them.

    Attributes:
      row: the one under way.
    """

    def __init__(self, rows: list[Row], out: Path, *, small: bool) -> None:
        device = jax.devices()[0]
        words = f"{device.platform}-{device.device_kind}{'-small' if small else ''}"
        self.out, self.small, self.rows = out, small, rows
        self.path = out / f"{re.sub(r'[^A-Za-z0-9.]+', '-', words)}.jsonl"
        self.commit = harness.commit()
        self.row: Row | None = None
        self.lock = threading.RLock()

    def kept(self) -> dict[str, dict[str, Any]]:
        """Rows on the disk that are of this commit, device and size, by name."""
        asked = {(row.name, row.size, self.commit) for row in self.rows}
        rows = harness.read_rows(self.path)
        return {
            row["row"]: row
            for row in rows
            if (row["row"], row["size"], row["commit"]) in asked
        }

    def run(self, minutes: float) -> None:
        """Measures what is missing and can be done in time."""
        end = time.monotonic() + 60 * minutes
        done = [name for name, row in self.kept().items() if "error" not in row]
        for row in self.rows:
            if row.name in done or time.monotonic() + row.seconds > end:
                continue
            self.row, begun = row, time.perf_counter()
            found: dict[str, Any] = {"row": row.name, "size": row.size}
            found |= {"commit": self.commit} | measured(row)
            found["seconds"] = round(time.perf_counter() - begun, 2)
            with self.lock:
                self.row = None
                harness.keep_row(self.path, found)

    def finish(self) -> Path:
        """Writes the record of what there is."""
        with self.lock:
            kept = self.kept()
            rows = [kept[row.name] for row in self.rows if row.name in kept]
            rows = [{k: v for k, v in row.items() if k != "commit"} for row in rows]
            missing = [row.name for row in self.rows if row.name not in kept]
            values: dict[str, Any] = {"small": self.small, "rows": rows}
            values["not measured"] = missing
            if self.row is not None:
                values["cut off"] = self.row.name
            # A rehearsal stays out of the committed records: nobody can take it for one.
            folder = self.out if self.small else harness.RECORDS
            return harness.write_record("accelerator", values, folder=folder)


def measured(row: Row) -> dict[str, Any]:
    """What a row found, or its error; out of memory with what was asked for."""
    try:
        return row.measure()
    except Exception as error:  # whatever the compiler or the device says; others go on
        text = f"{type(error).__name__}: {error}"
        if NO_MEMORY not in text and not isinstance(error, MemoryError):
            return {"error": " ".join(text.split())[:400]}
        asked = re.search(r"allocat\w*\D{0,40}([\d.]+ ?[KMGT]?i?B(?:ytes)?\b|\d+)", text)
        amount = f" ({asked[1]}{' bytes' if asked[1].isdigit() else ''})" if asked else ""
        return {
            "error": f"out of memory: {row.size}{amount} do not fit on {jax.devices()[0]}",
            "change": row.option,
        }


def shown(record: dict[str, Any]) -> Table:
    """A line a row."""
    table = Table(box=None)
    for heading in ("", "ms", "compile s", "temporary MB", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for row in record["rows"]:
        ms, compiled = row.get("milliseconds"), row.get("compile_seconds")
        table.add_row(
            row["row"], "" if ms is None else f"{ms:.4f}",
            "" if compiled is None else f"{compiled:.2f}",
            "" if ms is None else f"{row['temporary_bytes'] / 1e6:.2f}", remark(row),
        )  # fmt: skip
    return table


def remark(row: dict[str, Any]) -> str:
    """What else a row says, in a few words."""
    if "change" in row:
        return f"{row['error']}; change it by {row['change']}"
    for key in ("error", "left out"):
        if key in row:
            return row[key]
    if "errors" in row:
        name = max(row["errors"], key=lambda k: row["errors"][k])
        return f"largest error {row['errors'][name]:.0e} ({name})"
    if "gemm_flops_per_second" in row:
        return f"large product {row['gemm_flops_per_second'] / 1e12:.3g} Tflop/s"
    if "steps_per_second" in row:
        return f"{row['steps_per_second']:,.0f} steps a second of all runs"
    if "images_per_second" in row:
        return f"{row['images_per_second']:,.0f} images a second"
    return ", ".join(row.get("routes", ()))


def parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--minutes", type=float, default=8.0, help="in all; default 8")
    made.add_argument("--out", type=Path, default=harness.RECORDS / "accelerator",
                      help="folder of finished rows")  # fmt: skip
    made.add_argument("--only", nargs="+", metavar="WORD", help="rows that begin so")
    made.add_argument("--lanes", type=int, help="most runs at once; default 4096")
    made.add_argument("--batch", type=int, help="images of a network's step; default 32")
    made.add_argument("--small", action="store_true",
                      help="reduced sizes, on a CPU too; record in --out")  # fmt: skip
    made.add_argument("--list", action="store_true", help="rows, sizes, seconds at most")
    return made


def sizes_of(asked: argparse.Namespace) -> Sizes:
    """Sizes of the rows as asked."""
    sizes = SMALL if asked.small else FULL
    most, batch = asked.lanes or sizes.lanes[-1], asked.batch or sizes.batch
    lanes = tuple(count for count in sizes.lanes if count <= most)
    return dataclasses.replace(sizes, lanes=lanes, batch=batch)


def refused(asked: argparse.Namespace, rows: list[Row]) -> str:
    """A sentence on what cannot be; nothing where all can."""
    for name, least in (("minutes", 0), ("lanes", 1), ("batch", 2)):
        value = getattr(asked, name)
        if value is not None and not least <= value < float("inf"):
            return f"`--{name} {value}` must be at least {least}."
    if not rows:
        return f"`--only {' '.join(asked.only)}` names no row; `--list` shows them."
    device = jax.devices()[0]
    if device.platform == "cpu" and not asked.small:
        return (
            "this measures an accelerator, and jax finds none here "
            f"({device.device_kind}); `--small --out FOLDER` rehearses it on a CPU at "
            "reduced sizes."
        )
    return ""


def main(words: list[str] | None = None) -> int:
    """Measures, prints and writes the record."""
    asked = parser().parse_args(words)
    sizes = sizes_of(asked)
    starts = tuple(asked.only or [""])
    rows = [row for row in all_rows(sizes) if row.name.startswith(starts)]
    console = Console(width=120)
    if asked.list:
        for row in rows:
            console.print(f"{row.name}  ({row.size}; {row.seconds:.0f} s at most)")
        return 0
    if problem := refused(asked, rows):
        sys.stderr.write(f"error: {problem}\n")
        return 2
    asked.out.mkdir(parents=True, exist_ok=True)
    work = Work(rows, asked.out, small=asked.small)
    console.print(f"{jax.devices()[0].device_kind}: {len(rows)} rows, {asked.minutes} min")
    watch = threading.Timer(60 * asked.minutes, _stop, (work, console))
    watch.daemon = True
    watch.start()
    work.run(asked.minutes)
    watch.cancel()
    _report(work, console)
    return 0


def _stop(work: Work, console: Console) -> None:
    """Time is up: a compiler or a device that does not come back cannot be waited for."""
    with work.lock:
        _report(work, console)
        sys.stdout.flush()
        os._exit(0)


def _report(work: Work, console: Console) -> None:
    with work.lock:
        path = work.finish()
        console.print(shown({"rows": list(work.kept().values())}))
        console.print(f"written to {path}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
