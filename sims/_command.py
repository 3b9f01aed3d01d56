"""What every command does around its work: options, a terminal, errors in one line."""

import sys
from collections.abc import Callable
from typing import Any

import tyro
from rich.console import Console

from sims._errors import SimError

WIDTH = 140  # of tables where the output is no terminal
INTERRUPTED = 130


def command(
    name: str,
    options: type,
    run: Callable[[Any], Any],
    report: Callable[[Any, Any, Console], int | None],
) -> int:
    """Reads the options, runs, reports.

    Args:
      name: of the module in `sims`.
      options: dataclass of the options; its docstring is the help text.
      run: options -> what came out.
      report: (what came out, options, console) -> exit code; None is 0.

    Returns:
      The exit code: 2 after an error, 130 after Ctrl-C, each said in one line.
    """
    asked = tyro.cli(options, prog=f"python -m sims.{name}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    try:
        found = run(asked)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command goes on from what was saved\n")
        return INTERRUPTED
    except (SimError, ValueError, TypeError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return report(found, asked, console) or 0
