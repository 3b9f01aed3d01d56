"""Do all laws of the theory hold, on these trees and on yours?

Expected: every law passes. Left and right side of a law come from different code, the
library's and a NumPy transcription of the definition; `--break LAW` changes one matrix on
the right side only, and the law must fail.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from rich.console import Console
from rich.table import Table

from .common.command import command
from .common.errors import SettingError
from .common.folder import open_folder, write_json
from .common.settings import read_tree
from .laws import algebra, flow, network, ranks, register

MODULES = (algebra, ranks, flow, network)


@dataclasses.dataclass(frozen=True)
class Config:
    """Checks the laws of the theory numerically and prints a table.

    By default on five trees: binary of order 4, flat, two interleaved groups,
    caterpillar, and a leaf attached to the root. Ends with status 1 if a law fails.
    """

    out: Path | None = None
    """Folder for `summary.json`; without it the table is all there is."""
    tree: tuple[str, ...] = ()
    """Trees of your own, such as "((0, 2), (1, 3))"; replace the five."""
    only: tuple[str, ...] = ()
    """Laws to check, such as A1 F5; all of them without."""
    breaks: Annotated[str | None, tyro.conf.arg(name="break")] = None
    """A law to break on purpose: it must fail."""
    seed: int = 0
    """Seed of the factors."""


def run(config: Config) -> list[dict[str, Any]]:
    """Checks and returns one row per law.

    Raises:
      SettingError: an unknown law, a tree that is none.
    """
    names = _chosen(config)
    trees = ranks.five_trees()
    if config.tree:
        trees = {text: read_tree("--tree", text, None) for text in config.tree}
    rows = []
    with jax.enable_x64(True):
        cases = {
            broken: [
                register.random_case(name, tree, config.seed, broken)
                for name, tree in trees.items()
            ]
            for broken in (False, True)
        }
        for name in names:
            rows.append(_check(register.LAWS[name], cases[name == config.breaks]))
    return rows


def _check(law: register.Law, cases: list[register.Case]) -> dict[str, Any]:
    begun, worst, where = time.monotonic(), -1.0, ""
    for case in cases:
        error = law.error(case)
        if error is not None and not error <= worst:
            worst, where = error, case.name
    return {
        "law": law.name,
        "formula": law.formula,
        "error": None if worst < 0 else float(worst),
        "tolerance": law.tolerance,
        "tree": where,
        "passed": bool(worst <= law.tolerance),
        "seconds": round(time.monotonic() - begun, 2),
    }


def _chosen(config: Config) -> list[str]:
    wanted = config.only or tuple(register.LAWS)
    asked = [*wanted, *([] if config.breaks is None else [config.breaks])]
    unknown = [name for name in asked if name not in register.LAWS]
    if unknown:
        raise SettingError(
            f"no law {', '.join(unknown)}; there are {' '.join(register.LAWS)}."
        )
    if config.breaks is not None and not config.only:
        return [config.breaks]
    return sorted(dict.fromkeys(asked), key=lambda name: (name[0], int(name[1:])))


def run_into_folder(config: Config) -> list[dict[str, Any]]:
    """As `run`, with `summary.json` where a folder was asked for.

    Raises: as `run`. FolderError: the folder cannot be used.
    """
    if config.out is None:
        return run(config)
    with open_folder(config.out, config, may_differ=tuple(vars(config))) as folder:
        rows = run(config)
        write_json(folder / "summary.json", {"laws": rows, "jax": jax.__version__})
    return rows


def report(rows: list[dict[str, Any]], config: Config, console: Console) -> int:
    """The table; the exit code."""
    del config
    table = Table(box=None, pad_edge=False)
    table.add_column("law", no_wrap=True)
    table.add_column("formula")
    for heading in ("worst error", "allowed", "on tree", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        error = row["error"]
        table.add_row(
            row["law"],
            row["formula"].replace("[", r"\["),
            "-" if error is None else f"{error:.1e}",
            f"{row['tolerance']:.0e}",
            row["tree"],
            "pass" if row["passed"] else "FAIL",
        )
    console.print(table)
    failed = [row["law"] for row in rows if not row["passed"]]
    seconds = sum(row["seconds"] for row in rows)
    verdict = f"FAILED: {' '.join(failed)}" if failed else "all pass"
    console.print(f"{len(rows)} laws, {verdict} ({seconds:.0f} s)")
    return 1 if failed else 0


def main() -> int:
    """The command line."""
    return command("verify", Config, run_into_folder, report)


if __name__ == "__main__":
    sys.exit(main())
