"""Dispatcher of the commands: `htfjax NAME ...`, and `python -m sims NAME ...` in a clone.

It needs the standard library alone, so that it can name what is not installed.
"""

import difflib
import importlib
import sys

import htfjax as htf

from .common.missing import WRONG, needs
from .common.names import PACKAGE, PROGRAM, dashed, durations, questions, typed


def main() -> int:
    """Runs the command that is named first, with the words after it; the exit code."""
    first, *words = sys.argv[1:] or ["--help"]
    if first in ("-h", "--help"):
        sys.stdout.write(listing())
        return 0
    if first == "--version":
        sys.stdout.write(f"htfjax {htf.__version__}\n")
        return 0
    name = first.replace("-", "_")
    if name not in questions():
        sys.stderr.write(f"error: {unknown(first)}\n")
        return WRONG
    sys.argv = [typed(name), *words]
    try:
        return importlib.import_module(f"{PACKAGE}.{name}").main()
    except ModuleNotFoundError as error:
        if (line := needs(first, error)) is None:
            raise
        sys.stderr.write(f"error: {line}\n")
        return WRONG


def listing() -> str:
    """Every command with its durations and its question."""
    takes = durations()
    rows = [("command", "takes", "--quick", "question")]
    for name, question in questions().items():
        rows.append((dashed(name), *takes.get(name, ("", "")), question))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([f"{row[i]:{widths[i]}}" for i in range(3)] + [row[3]]) for row in rows
    ]
    head = f"usage: {PROGRAM} NAME [--options]"
    foot = (
        f"`{PROGRAM} NAME --help` explains one. What computes takes --out DIR. Times are "
        "of two\ncores with the default options; `--quick` is a small version that shows "
        "the effect\nor says that it is too short to."
    )
    return "\n".join([head, "", *lines, "", foot, ""])


def unknown(first: str) -> str:
    """What to do about a word that names no command."""
    names = [dashed(name) for name in questions()]
    close = difflib.get_close_matches(first.replace("_", "-"), names, n=1)
    meant = f" Did you mean `{close[0]}`?" if close else ""
    return f"`{first}` is no command.{meant} `{PROGRAM}` lists them."


if __name__ == "__main__":
    sys.exit(main())
