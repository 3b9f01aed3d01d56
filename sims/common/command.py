"""Command line shared by the simulations: options, signals, errors in one line."""

import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

import htfjax as htf

from .display import opening
from .distributed import Job, joined, use_all_cores
from .errors import FolderError, SimError
from .folder import CONFIG, read_entry
from .names import PACKAGE, PROGRAM, durations, questions
from .programs import kept_programs
from .quick import SWITCH, narrowed
from .words import parsed

WIDTH = 140  # of tables where the output is no terminal
INTERRUPTED = 130


def command(
    name: str,
    options: type,
    run: Callable[[Any], Any],
    report: Callable[[Any, Any, Console], int | None],
    *,
    compiles: bool = True,
    quick: Mapping[str, Any] | None = None,
    grids: bool = False,
) -> int:
    """Reads the options, says how long it takes, runs, reports.

    Args:
      name: of the command's module.
      options: dataclass of the options; its docstring is the help text.
      run: options -> what came out.
      report: (what came out, options, console) -> exit code; None is 0, `INTERRUPTED`
        that a signal stopped it.
      compiles: whether to keep compiled programs for the next command.
      quick: values of options that `--quick` puts in the place of the defaults; without
        any, there is no such option.
      grids: whether it runs grids: on all cores, and by the processes of a job. What came
        out then has a `state`.

    Returns:
      The exit code: 2 after an error, 130 after Ctrl-C, 143 after SIGTERM or SIGUSR1,
      each with a message of one line.
    """
    given = parsed(options, name, quick=quick, more=Job if grids else None)
    asked, job = narrowed(given, options), narrowed(given, Job) if grids else Job()
    console = Console(markup=False)
    if not console.is_terminal:
        console = Console(width=WIDTH, markup=False)
    with htf.runs.stop_signals() as signals:
        try:
            asked = _expanded(asked)
            try:
                programs = kept_programs() if compiles else contextlib.nullcontext()
                if grids:
                    use_all_cores()
                with joined(job) as process, opening(_duration(name)), programs:
                    found = run(asked)
            except (SimError, ValueError, TypeError, OSError, MemoryError) as error:
                sys.stderr.write(f"error: {error}\n")
                return 2
            if process.number:  # the first one reports
                code = INTERRUPTED if found["state"] == "interrupted" else 0
            else:
                code = report(found, asked, console) or 0
        except KeyboardInterrupt as stop:
            said = str(stop) or "the same command resumes from what was saved"
            sys.stderr.write(f"interrupted: {said}\n")
            code = INTERRUPTED
        return signals.exit_code if code == INTERRUPTED else code


def _duration(name: str) -> str:
    """How long a study takes; nothing of what is none."""
    if name not in durations():
        return ""
    whole, small = durations()[name]
    said = f"{whole} on two cores by default, {small} with --quick"
    return f"{name}: takes about {small if SWITCH in sys.argv[1:] else said}"


def _expanded(options: Any) -> Any:
    """`~` in paths, which a shell leaves alone in `--out=~/runs`."""

    def expand(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(expand, value))
        return value.expanduser() if isinstance(value, Path) else value

    names = [field.name for field in dataclasses.fields(options)]
    changes = {name: expand(getattr(options, name)) for name in names}
    return dataclasses.replace(options, **changes)


def command_of(folder: Path) -> Any:
    """The module of the command that a folder is of; None where no `config.json` is.

    Raises:
      FolderError: that file is damaged, or of no command that there is.
    """
    name = read_entry(folder / CONFIG, "command")
    if name not in (None, *questions()):
        raise FolderError(
            f"{folder / CONFIG} is of `{name}`, which is no command here; "
            f"`{PROGRAM}` lists them."
        )
    return None if name is None else importlib.import_module(f"{PACKAGE}.{name}")
