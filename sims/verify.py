"""Do all laws of the theory hold, on these trees and on yours?

Expected: every law passes. Left and right side of a law come from different code, the
library's and a NumPy transcription of the definition; `--break LAW` makes the right side
false, mostly by another matrix at one leaf, and the law must fail.

Takes 2 min on two cores, 20 s with `--quick`.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import jax
import rich.progress
import tyro
from rich.console import Console
from rich.table import Table

import htfjax as htf

from .common.command import command
from .common.errors import SettingError
from .common.folder import open_folder, write_json
from .common.settings import nested_tree
from .laws import LAWS

Case: TypeAlias = htf.theory.laws.Case
Law: TypeAlias = htf.theory.laws.Law

TREES = {
    "binary": htf.perfect(4),
    "flat": htf.flat(3),
    "interleaved": htf.ModeTree.from_nested(((0, 3), (1, 2, 4))),
    "caterpillar": htf.caterpillar(4),
    "leaf_at_root": htf.ModeTree.from_nested(((0, 1), 2)),
}


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
    quick: bool = False
    """Leave out the laws that integrate flows or draw thousands of factors."""
    breaks: Annotated[str | None, tyro.conf.arg(name="break")] = None
    """A law to break on purpose: it must fail."""
    seed: int = 0
    """Seed of the factors."""


def run(config: Config) -> list[dict[str, Any]]:
    """Checks and returns one row per law.

    Raises:
      SettingError: an unknown law, a tree that is none.
    """
    laws, trees = chosen_laws(config), TREES
    if config.tree:
        trees = {text: nested_tree("--tree", text) for text in config.tree}
    console = Console(stderr=True)
    with (
        jax.enable_x64(True),
        rich.progress.Progress(
            console=console, transient=True, disable=not console.is_terminal
        ) as progress,
    ):
        cases = {
            name: Case(random_factors(tree, config.seed), config.seed)
            for name, tree in trees.items()
        }
        task = progress.add_task("laws", total=len(laws) * len(cases))
        rows = []
        for law in laws:
            progress.update(task, description=f"{law.name:4}")
            rows.append(_check(law, cases, config, lambda: progress.advance(task)))
    return rows


def random_factors(tree: htf.ModeTree, seed: int) -> htf.Factors:
    """Gaussian factors with unequal dimensions and widths."""
    dims = [(2, 3, 2, 4, 2)[n % 5] for n in range(tree.order)]
    widths = [(3, 2, 4)[i % 3] for i in range(len(tree.interior))]
    return htf.gaussian_factors(jax.random.key(seed), tree, dims, widths, 1.0)


def _check(
    law: Law, cases: dict[str, Case], config: Config, advance: Callable[[], None]
) -> dict[str, Any]:
    begun, worst, where = time.monotonic(), -1.0, ""
    for name, case in cases.items():
        if law.applies(case):
            error = law.error(case, broken=law.name == config.breaks)
            if error > worst:
                worst, where = error, name
        advance()
    return {
        "law": law.name,
        "formula": law.formula,
        "source": law.source,
        "error": None if worst < 0 else worst,
        "tolerance": law.tolerance,
        "tree": where,
        "passed": worst <= law.tolerance,
        "seconds": round(time.monotonic() - begun, 2),
    }


def chosen_laws(config: Config) -> list[Law]:
    """The laws asked for, in the order of the register.

    Raises:
      SettingError: an unknown law.
    """
    broken = () if config.breaks is None else (config.breaks,)
    default = [name for name, law in LAWS.items() if not (config.quick and law.slow)]
    asked = {*(config.only or broken or default), *broken}
    unknown = sorted(asked - LAWS.keys())
    if unknown:
        raise SettingError(f"no law {', '.join(unknown)}; there are {' '.join(LAWS)}.")
    return [law for name, law in LAWS.items() if name in asked]


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
            row["formula"],
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
