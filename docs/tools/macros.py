"""Values in pages: versions, and numbers that benchmarks and commands have recorded."""

import json
from pathlib import Path
from typing import Any

import htfjax

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "benchmarks" / "records"


def record(name: str) -> dict[str, Any]:
    """The record of a benchmark, `benchmarks/records/NAME.json`."""
    return json.loads((RECORDS / f"{name}.json").read_text("utf-8"))


def define_env(env: Any) -> None:
    """What pages with `render_macros: true` may say between double braces."""
    env.macro(record)
    env.variables["version"] = htfjax.__version__
