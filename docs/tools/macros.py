"""Values in pages: versions, and numbers that benchmarks and commands have recorded."""

import json
from pathlib import Path
from typing import Any

import htfjax
from benchmarks.ahead_of_time import reading
from docs.tools import commands, reference, reproduction
from sims.common.names import durations

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "benchmarks" / "records"


def record(name: str) -> dict[str, Any]:
    """The record of a benchmark, `benchmarks/records/NAME.json`."""
    return json.loads((RECORDS / f"{name}.json").read_text("utf-8"))


def accelerators(target: str) -> str:
    """The table of what was compiled for a target."""
    lines = (RECORDS / "ahead_of_time.jsonl").read_text("utf-8").splitlines()
    return reading.table([json.loads(line) for line in lines], target)


def define_env(env: Any) -> None:
    """What pages with `render_macros: true` may say between double braces."""
    env.macro(record)
    env.macro(accelerators)
    env.macro(reproduction.record, "study")
    env.macro(reproduction.provenance)
    env.macro(reproduction.duration)
    env.macro(lambda: reference.table(env.page.markdown), "names")
    env.macro(lambda: reference.terms(env.page.markdown), "terms")
    env.macro(reference.stages)
    env.macro(reference.line, "line")
    env.macro(commands.listing, "command_names")
    env.macro(commands.page, "command_help")
    env.macro(lambda name: durations()[name][1], "quick_duration")
    env.variables["version"] = htfjax.__version__


def on_post_page_macros(env: Any) -> None:
    """Entries of the reference are headed as code writes them."""
    env.markdown = reference.with_headings(env.markdown)
