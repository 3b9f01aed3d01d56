"""Rows of the record as people read them: what is wrong, and tables."""

from collections.abc import Sequence
from typing import Any

from benchmarks.ahead_of_time.programs import PROGRAMS
from benchmarks.ahead_of_time.targets import TARGETS

Row = dict[str, Any]


def faults(row: Row) -> list[str]:
    """What a program should not have, in words."""
    if "refusal" in row:
        return [f"refused: {' '.join(row['refusal'].split())[:200]}"]
    program, target = PROGRAMS[row["program"]], TARGETS[row["target"]]
    found = [
        f"{row[name]} {name} in a step"
        for name in ("scatters", "sorts", "loops")
        if row[name]
    ]
    if row["host"]:
        found.append(f"{row['host']} transfers to the host")
    if row["doubles"]:
        found.append(f"{row['doubles']} instructions in float64")
    if row["collectives"] and "lanes" in row["program"]:
        found.append(f"collectives: {row['collectives']}")
    if not row.get("routes_of_the_platform", True):
        found.append("routes of another platform")
    if row["peak_bytes"] > target.memory:
        found.append(f"needs {row['peak_bytes'] / 1e9:.1f} GB")
    if compile_seconds(row) > program.seconds:
        found.append(f"{compile_seconds(row):.0f} s to compile")
    return found


def compile_seconds(row: Row) -> float:
    """Seconds to compile; of a processor, where that is less, as beside other work."""
    seconds = row["compile_seconds"]
    return min(seconds, row.get("compile_processor_seconds", seconds))


def table(rows: Sequence[Row], target: str) -> str:
    """Markdown: one row a program."""
    headings = ("program", "compile s", "Mflop a step", "MB moved a step", "peak MB",
                "fusions", "library calls", "collectives", "predicted ms a step",
                "seen")  # fmt: skip
    lines = [headings, ("---", *["---:"] * (len(headings) - 2), "---")]
    lines += [_cells(row) for row in rows if row["target"] == target]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    seen = "; ".join(faults(row))
    if "refusal" in row:
        return (row["program"], *[""] * 8, seen)
    libraries = ", ".join(f"{n} `{name}`" for name, n in row["libraries"].items())
    collectives = ", ".join(f"{n} {name}" for name, n in row["collectives"].items())
    return (
        row["program"], f"{compile_seconds(row):.1f}",
        f"{row['flops'] / row['steps'] / 1e6:.4g}", f"{row['bytes'] / 1e6:.4g}",
        f"{row['peak_bytes'] / 1e6:.4g}", str(row["fusions"]), libraries, collectives,
        f"{1e3 * row['predicted_seconds_of_a_step']:.3g}", seen,
    )  # fmt: skip
