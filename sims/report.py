"""What happened in these runs, on one page to look at and to send?

Curves over steps or path length with bands over seeds, the mode tree, tables, settings
and digests in one HTML file that needs neither a server nor a network. A report takes
some seconds, of thousands of runs a minute.
"""

import dataclasses
import sys
from pathlib import Path

import tyro
from rich.console import Console

from .common.command import command
from .common.errors import SettingError
from .reports.curves import recorded
from .reports.folders import Folder, read_folder
from .reports.page import MOST_BYTES, check_out, notices_of, page_of, said_of, write_page

NAME = "report.html"
MOST_DATA = 2_800_000  # characters of numbers; plotly takes 4.8 million
INCOMPLETE = 1  # exit code


@dataclasses.dataclass(frozen=True)
class Options:
    """Writes one self-contained HTML file about folders of runs.

    Of any command, or of `htfjax.runs.run`; several are laid over each other. It takes some
    seconds, of thousands of runs a minute. Folders are only read, also while a process
    works in them. Ends with status 1 if something in them cannot be read, and says what.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished, stopped or running simulations."""
    out: Path | None = None
    """The HTML file; by default `report.html` in the first folder. An older report is
    replaced, any other file is not."""
    quantity: tuple[str, ...] = ()
    """Quantities to show, such as loss singular_value; all of them without."""


@dataclasses.dataclass(frozen=True)
class Written:
    """A report that was written, and what it cannot show."""

    out: Path
    notices: list[tuple[str, str]]
    said: str


def run(options: Options) -> Written:
    """Reads the folders and writes the page.

    Raises:
      SettingError: no folder, a quantity that none has, an output that may not be written.
      FileNotFoundError, FolderError: a folder that is none, or not of htfjax.
    """
    if not options.folders:
        raise SettingError("no folder is given; give the folder of a run, or several.")
    for i, folder in enumerate(options.folders):
        if folder.absolute() in [other.absolute() for other in options.folders[:i]]:
            raise SettingError(f"{folder} is given twice; give it once.")
    folders = read_folders(options.folders)
    out = options.out or options.folders[0] / NAME
    check_out(out)
    most = MOST_DATA
    found = recorded(folders, options.quantity, most)
    text = page_of(folders, found)
    while len(text.encode()) > MOST_BYTES and most > 1:
        most //= 2
        found = recorded(folders, options.quantity, most)
        text = page_of(folders, found)
    write_page(text, out)
    return Written(out, notices_of(folders, found), said_of(folders, found))


def read_folders(paths: tuple[Path, ...]) -> list[Folder]:
    """The folders, under names that tell them apart."""
    names = [path.absolute().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [read_folder(path, name) for path, name in zip(paths, names, strict=True)]


def report(written: Written, options: Options, console: Console) -> int:
    """Where the page is and what it lacks; the exit code."""
    del options
    bad = [text for kind, text in written.notices if kind == "bad"]
    for kind, text in written.notices:
        if kind == "bad":
            sys.stderr.write(f"warning: {text}\n")
        else:
            console.print(text, soft_wrap=True, highlight=False)
    console.print(f"{written.out}: {written.said}", soft_wrap=True, highlight=False)
    return INCOMPLETE if bad else 0


def main() -> int:
    """The command line."""
    return command("report", Options, run, report, compiles=False)


if __name__ == "__main__":
    sys.exit(main())
