"""Draws saved runs again: another window, other cuts, several runs over each other."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from . import incremental_rank
from .common.command import command, command_of
from .common.errors import FolderError, SettingError
from .common.names import typed
from .figures import dynamics
from .figures.files import save_figures


@dataclasses.dataclass(frozen=True)
class Options:
    """Draws the figures of saved runs again, without computing anything.

    One folder, of any command, is drawn as it was; several of incremental_rank are laid
    over each other, panel by panel.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished or running simulations."""
    window: tuple[float, float] | None = None
    """First and last step to show, of incremental_rank."""
    top: int = 10
    """Lines per panel, of incremental_rank."""
    marks: bool = False
    """Show the paper's take-offs and final values, of incremental_rank."""
    out: Path | None = None
    """Where to write; by default the first folder."""


def run(options: Options) -> list[Path]:
    """Draws and returns the PNG files written.

    Raises:
      SettingError: options that do not fit the command of a folder.
      FolderError, FileNotFoundError: a folder without results, or not with all of them.
      ValueError: a damaged file.
    """
    if not options.folders:
        raise FileNotFoundError("give at least one folder")
    modules = [command_of(folder) for folder in options.folders]
    others = [m for m in modules if m not in (None, incremental_rank)]
    figures = _redrawn(options, others[0]) if others else _dynamics(options)
    out = options.out or options.folders[0]
    try:
        out.mkdir(parents=True, exist_ok=True)
        save_figures(figures, out)
    except OSError as error:
        raise FolderError(
            f"{out} cannot be written ({error.strerror or error}); choose another place by "
            "`--out`."
        ) from error
    return [out / f"{name}.png" for name in figures]


def _redrawn(options: Options, module: Any) -> dict[str, Any]:
    """The figures of one folder, by its command."""
    name = module.__name__.rpartition(".")[2]
    if not hasattr(module, "redraw"):
        raise SettingError(f"`{name}` draws no figures from what it saves.")
    folder, *others = options.folders
    if others or options.window or options.marks:
        raise SettingError(
            f"`{name}`: several folders, --window and --marks are for incremental_rank; "
            "give one folder and no such option."
        )
    return module.redraw(folder)


def _dynamics(options: Options) -> dict[str, Any]:
    """The figures of one folder of incremental_rank, or of several over each other."""
    runs = {folder: incremental_rank.load_runs(folder) for folder in options.folders}
    for folder, found in runs.items():
        if not found and (folder.parent / "config.json").exists():
            raise FileNotFoundError(
                f"{folder} is one run of several; give the folder of all, {folder.parent}"
            )
        if not found and (folder / "status.json").exists():
            raise FileNotFoundError(
                f"{folder} holds many runs: its study draws it, `{typed('status')} "
                f'{folder}` says how far it is, `htfjax.load_results("{folder}")` reads '
                "it; `htfjax.plot.bands` and `.phase_diagram` draw a grid made in Python"
            )
        if not found:
            raise FileNotFoundError(f"no results in {folder}")
    view = dynamics.View(window=options.window, top=options.top, marks=options.marks)
    if len(runs) == 1:
        return dynamics.standard(next(iter(runs.values())), view)
    shared = [name for name in ("mf", "tf", "htf") if all(name in r for r in runs.values())]
    if not shared:
        raise FileNotFoundError("the folders have no panel in common")
    return {
        f"overlay_{name}": dynamics.overlay(
            {folder.name: found[name] for folder, found in runs.items()}, view
        )
        for name in shared
    }


def report(written: list[Path], options: Options, console: Console) -> None:
    """What was written."""
    del options
    for path in written:
        console.print(str(path), soft_wrap=True)


def main() -> int:
    """The command line."""
    return command("plot", Options, run, report)


if __name__ == "__main__":
    sys.exit(main())
