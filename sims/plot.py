"""Draws saved runs again: another window, other cuts, several runs over each other."""

import dataclasses
import sys
from pathlib import Path

import tyro
from rich.console import Console

from . import incremental_rank
from .common.command import PACKAGE, command
from .figures import dynamics
from .figures.files import save_figure
from .networks import saved


@dataclasses.dataclass(frozen=True)
class Options:
    """Draws saved runs again, without computing anything.

    One folder is drawn as it was; several are laid over each other, panel by panel.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished or running simulations."""
    window: tuple[float, float] | None = None
    """First and last iteration to show."""
    top: int = 10
    """Lines per panel."""
    marks: bool = False
    """Show the paper's take-offs and final values."""
    out: Path | None = None
    """Where to write; by default the first folder."""


def run(options: Options) -> list[Path]:
    """Draws and returns the PNG files written.

    Raises:
      FileNotFoundError: a folder without results. ValueError: a damaged file.
    """
    if not options.folders:
        raise FileNotFoundError("give at least one folder")
    if len(options.folders) == 1 and (drawn := saved.redraw(options.folders[0])):
        return drawn
    runs = {folder: incremental_rank.load_runs(folder) for folder in options.folders}
    for folder, found in runs.items():
        if not found and (folder / "status.json").exists():
            raise FileNotFoundError(
                f"{folder} holds many runs: its study draws it, `python -m {PACKAGE}"
                f'.status {folder}` says how far it is, `htfjax.load_results("{folder}")` '
                "reads it"
            )
        if not found:
            raise FileNotFoundError(f"no results in {folder}")
    out = options.out or options.folders[0]
    out.mkdir(parents=True, exist_ok=True)
    view = dynamics.View(window=options.window, top=options.top, marks=options.marks)
    if len(runs) == 1:
        figures = dynamics.standard(next(iter(runs.values())), view)
    else:
        shared = [
            name for name in ("mf", "tf", "htf") if all(name in r for r in runs.values())
        ]
        if not shared:
            raise FileNotFoundError("the folders have no panel in common")
        figures = {
            f"overlay_{name}": dynamics.overlay(
                {folder.name: found[name] for folder, found in runs.items()}, view
            )
            for name in shared
        }
    for name, figure in figures.items():
        save_figure(figure, out, name)
    return [out / f"{name}.png" for name in figures]


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
