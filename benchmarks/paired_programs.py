"""Rows of a paired comparison that are whole processes, started anew for every pair."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from benchmarks.paired_first_calls import FIRST_CALLS

SCRIPT = Path(__file__).with_name("paired_first_calls.py")


@dataclasses.dataclass(frozen=True)
class Program:
    """One process that is compared.

    Attributes:
      name: GROUP/NAME.
      unit: a key of `paired_rows.UNITS`.
      about: what runs.
      arguments: of the interpreter, given a folder for results that does not exist yet.
      seconds: about how long it takes.
      inner: units of work in it.
      clocked: it prints its seconds; else all of the process counts.
      pairs: runs on each side, at most.
    """

    name: str
    unit: str
    about: str
    arguments: Callable[[Path], list[str]]
    seconds: float
    inner: int = 1
    clocked: bool = False
    pairs: int = 3


def _first_call(name: str, seconds: float) -> Program:
    about = (FIRST_CALLS[name].__doc__ or "").splitlines()[0].rstrip(".")
    arguments = ["-P", str(SCRIPT), name]
    return Program(
        f"fresh/{name}", "s", about, lambda _: arguments, seconds, clocked=True, pairs=5
    )


def _command(
    name: str, unit: str, about: str, words: str, seconds: float, inner: int = 1
) -> Program:
    """A simulation; its first word is the command's name, `--out` is added."""
    first, *rest = words.split()

    def arguments(out: Path) -> list[str]:
        return ["-m", f"sims.{first}", "--out", str(out), *rest]

    return Program(f"command/{name}", unit, about, arguments, seconds, inner)


LISTED = [
    _first_call("import", 1.5),
    _first_call("first_step", 6),
    _first_call("entries_1024", 14),
    _first_call("loss_gradient_1024", 14),
    _first_call("local_component_norms_1024", 14),
    _command(
        "is_same_class", "runs an hour", "Preset smoke, 4 runs: mostly compiling",
        "is_same_class --preset smoke --workers 1", 25, inner=4,
    ),
    _command(
        "is_same_class_training", "runs an hour", "Preset cpu, 2 runs of 10 epochs",
        "is_same_class --preset cpu --seeds 10 --distances 16 --epochs 10 --workers 1",
        45, inner=2,
    ),
    _command("demo", "s", "The command of `make demo`", "incremental_rank", 90),
]  # fmt: skip
PROGRAMS = {program.name: program for program in LISTED}
