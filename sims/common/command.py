"""Command line shared by the simulations: options, signals, errors in one line."""

import contextlib
import dataclasses
import importlib
import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

import htfjax as htf

from .errors import FolderError, SimError
from .folder import CONFIG, read_entry
from .names import PACKAGE, PROGRAM, durations, questions, typed
from .programs import kept_programs

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

    Returns:
      The exit code: 2 after an error, 130 after Ctrl-C, 143 after SIGTERM or SIGUSR1,
      each with a message of one line.
    """
    words = _arguments()
    asked = _asked(name, options, words, quick)
    if compiles:
        _say_duration(name, quick="--quick" in words)
    console = Console(markup=False)
    if not console.is_terminal:
        console = Console(width=WIDTH, markup=False)
    with htf.runs.stop_signals() as signals:
        try:
            asked = _expanded(asked)
            try:
                with kept_programs() if compiles else contextlib.nullcontext():
                    found = run(asked)
            except (SimError, ValueError, TypeError, OSError) as error:
                sys.stderr.write(f"error: {error}\n")
                return 2
            code = report(found, asked, console) or 0
        except KeyboardInterrupt as stop:
            said = str(stop) or "the same command resumes from what was saved"
            sys.stderr.write(f"interrupted: {said}\n")
            code = INTERRUPTED
        return signals.exit_code if code == INTERRUPTED else code


def _asked(
    name: str, options: type, words: list[str], quick: Mapping[str, Any] | None
) -> Any:
    """The options that the words give; what they leave out has the default of `--quick`."""
    if quick is None:
        return tyro.cli(options, prog=typed(name), args=words)
    listed = ", ".join(f"{key} {_spell(value)}" for key, value in quick.items())
    hint = tyro.conf.arg(help=f"A small version, for options that are not given: {listed}.")
    switch = ("quick", Annotated[tyro.conf.FlagCreatePairsOff[bool], hint], False)
    # A subclass, so that neither folders nor runs know of the switch.
    wider = dataclasses.make_dataclass(
        options.__name__, [switch], bases=(options,), frozen=True
    )
    wider.__doc__, wider.__module__ = options.__doc__, options.__module__
    default = wider(out=tyro.MISSING, **(quick if "--quick" in words else {}))
    asked = tyro.cli(wider, default=default, prog=typed(name), args=words)
    names = [field.name for field in dataclasses.fields(options)]
    return options(**{name: getattr(asked, name) for name in names})


def _spell(value: Any) -> str:
    """A value as it is typed."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _say_duration(name: str, *, quick: bool) -> None:
    """Tells how long the defaults take, on the stream where progress is shown."""
    if name not in durations():  # no study
        return
    whole, small = durations()[name]
    said = f"{whole} on two cores by default, {small} with --quick"
    sys.stderr.write(f"{name}: takes about {small if quick else said}\n")


def _arguments() -> list[str]:
    """The words of the command line; an empty one is a variable that was never set.

    Ends the process with code 2 at `--out ""`, which would be the current folder.
    """
    words = sys.argv[1:]
    parts = [word.partition("=") for word in words]
    empty = [name for name, equals, value in parts if equals and not value]
    empty += [before for before, word in itertools.pairwise(words) if not word]
    named = [word for word in empty if word.startswith("--") and "=" not in word]
    if named:
        sys.stderr.write(f"error: `{named[0]}` is empty; give it a value.\n")
        sys.exit(2)
    return words


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
