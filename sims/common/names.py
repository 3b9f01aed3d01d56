"""Names of the commands, question and duration of each, and how they are typed."""

import ast
import re
from pathlib import Path

PACKAGE = __name__.removesuffix(".common.names")  # `sims` in a clone
INSTALLED = "htfjax.sims"
# What starts any command by its name.
PROGRAM = "htfjax" if PACKAGE == INSTALLED else f"python -m {PACKAGE}"


TAKES = re.compile(r"^Takes (.+) on two cores, (.+) with `--quick`\.$", re.MULTILINE)


def questions() -> dict[str, str]:
    """Name of every command and the first line of its docstring."""
    return {name: text.partition("\n")[0] for name, text in _docstrings().items()}


def durations() -> dict[str, tuple[str, str]]:
    """How long every study takes on two cores, by default and with `--quick`.

    Example of the line in a docstring: "Takes 5 min on two cores, 30 s with `--quick`."
    """
    found = {name: TAKES.search(text) for name, text in _docstrings().items()}
    return {name: (m[1], m[2]) for name, m in found.items() if m}


def _docstrings() -> dict[str, str]:
    """Of every command, without importing it: the dispatcher needs no package."""
    files = sorted(Path(__file__).parents[1].glob("*.py"))
    return {
        path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for path in files
        if not path.stem.startswith("_")
    }


def dashed(name: str) -> str:
    """A name as it is typed after the program.

    Example: `incremental-rank`.
    """
    return name.replace("_", "-")


def typed(name: str) -> str:
    """The words that start one command.

    Example: `htfjax init-scale`, or `python -m sims.init_scale` in a clone.
    """
    whole = f"python -m {PACKAGE}.{name}"
    return f"{PROGRAM} {dashed(name)}" if PACKAGE == INSTALLED else whole
