"""Names of the commands, the question of each, and how they are typed."""

import ast
from pathlib import Path

PACKAGE = __name__.removesuffix(".common.names")  # `sims` in a clone
INSTALLED = "htfjax.sims"
# What starts any command by its name.
PROGRAM = "htfjax" if PACKAGE == INSTALLED else f"python -m {PACKAGE}"


def questions() -> dict[str, str]:
    """Name of every command and the first line of its docstring."""
    lines = {}
    for path in sorted(Path(__file__).parents[1].glob("*.py")):
        if not path.stem.startswith("_"):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            lines[path.stem] = text.partition("\n")[0]
    return lines


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
