"""Table of the simulations with the question that each answers: `python -m sims`."""

import ast
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table


def questions() -> dict[str, str]:
    """Name of every simulation and the first line of its docstring."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.stem.startswith("_"):
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            found[path.stem] = text.splitlines()[0] if text else ""
    return found


def main() -> None:
    """Prints the table."""
    table = Table(box=None, pad_edge=False)
    table.add_column(f"python -m {__package__}.", style="bold")
    table.add_column("question")
    for name, question in questions().items():
        table.add_row(name, question)
    console = Console(markup=False)
    console.print(table)
    console.print("\nEvery command takes --help, and --out DIR for its results.")


if __name__ == "__main__":
    sys.exit(main())
