"""Values in pages: versions, and numbers that benchmarks and commands have recorded."""

import json
from pathlib import Path
from typing import Any

import htfjax
from docs.tools import commands, reference

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "benchmarks" / "records"


def record(name: str) -> dict[str, Any]:
    """The record of a benchmark, `benchmarks/records/NAME.json`."""
    return json.loads((RECORDS / f"{name}.json").read_text("utf-8"))


def define_env(env: Any) -> None:
    """What pages with `render_macros: true` may say between double braces."""
    env.macro(record)
    env.macro(lambda: reference.table(env.page.markdown), "names")
    env.macro(lambda: reference.terms(env.page.markdown), "terms")
    env.macro(reference.stages)
    env.macro(reference.line, "line")
    env.macro(commands.listing, "command_names")
    env.macro(commands.page, "command_help")
    env.variables["version"] = htfjax.__version__


def on_post_page_macros(env: Any) -> None:
    """Entries of the reference are headed as code writes them."""
    env.markdown = reference.with_headings(env.markdown)
