"""How far is the command in a folder, and is anyone working on it?"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

import htfjax as htf

from .common import parts
from .common.command import command, command_of
from .common.display import spell_seconds
from .common.ensembles import headline
from .common.folder import LOCK, STATUS

ANY = {"state", "time", "pid"}
RUNS = ANY | {field.name for field in dataclasses.fields(htf.runs.Progress)}
MOST = 4  # missing parts that are named


@dataclasses.dataclass(frozen=True)
class Options:
    """Reads the folder of a running, stopped or killed command."""

    folder: tyro.conf.Positional[Path]
    """Folder given as --out to the simulation."""
    json: bool = False
    """Print all numbers as JSON."""


def run(options: Options) -> dict[str, Any]:
    """As `read`, of a folder that is named by the options."""
    return read(options.folder)


def read(folder: Path) -> dict[str, Any]:
    """What `status.json` says, which parts are missing, and whether a process is at work.

    Raises:
      FileNotFoundError: nothing there. ValueError, FolderError: a damaged file.
    """
    if folder.is_file():
        raise FileNotFoundError(f"{folder} is a file; give the folder of a command")
    if (standing := getattr(command_of(folder), "standing", None)) is not None:
        return standing(folder)
    path = folder / STATUS
    if not path.exists():
        inside = sorted(folder.glob(f"*/{STATUS}"), key=lambda p: p.stat().st_mtime)
        if not inside:
            raise FileNotFoundError(
                f"no run in {folder}" if folder.exists() else f"{folder} does not exist"
            )
        path, folder = inside[-1], inside[-1].parent  # the run that was at work last
        run = f"{folder.name}, the last of {len(inside)} to be at work"
        return read(folder) | ({"run": run} if len(inside) > 1 else {})
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        wanted = ANY if "parts" in found else RUNS
        missing = sorted(wanted - set(found))
        if missing or not isinstance(found, dict):
            raise ValueError(f"it lacks {', '.join(missing)}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); the next chunk of the run, or the same command "
            "again, writes it anew"
        ) from error
    if "parts" not in found:
        return found | {"at_work": htf.runs.is_locked(folder)}
    missing = [name for name in found["parts"] if not _done(parts.place_of(folder, name))]
    at_work = htf.runs.lock_holder(folder / LOCK) is not None
    return found | {"missing": missing, "at_work": at_work}


def _done(place: Path) -> bool:
    """Whether a part is a file, or a descent that has ended."""
    if (place / STATUS).exists():
        return read(place)["state"] == "finished"
    return parts.file_of(place).exists()


def sentence(found: dict[str, Any]) -> str:
    """The state in words."""
    if found["at_work"]:
        return "running"
    if found["state"] == "running":
        return "dead: its process ended without a word; the same command resumes"
    if found["state"] == "interrupted":
        return "interrupted: the same command resumes"
    return "finished"


def lines(found: dict[str, Any]) -> list[str]:
    """How far it is."""
    if "parts" not in found:
        steps = f"{found['steps']:,} of at most {found['steps_in_all']:,} steps"
        notes = [found["note"]] if "note" in found else []
        return [headline(type("Known", (), found)), *notes, steps]
    total, missing = len(found["parts"]), found["missing"]
    more = f"; and {len(missing) - MOST} more" if len(missing) > MOST else ""
    left = [f"missing: {'; '.join(missing[:MOST])}{more}"] if missing else []
    return [*left, f"{total - len(missing)} of {total} parts done"]


def report(found: dict[str, Any], options: Options, console: Console) -> None:
    """A few sentences, or JSON."""
    if options.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    age = spell_seconds(max(time.time() - found["time"], 0.0))
    said = [sentence(found), *lines(found)]
    if "run" in found:
        said[0] = f"{found['run']}: {said[0]}"
    said[-1] += f", last heard {age} ago from process {found['pid']}"
    for line in said:
        console.print(line, soft_wrap=True, highlight=False)


def main() -> int:
    """The command line."""
    return command("status", Options, run, report, compiles=False)


if __name__ == "__main__":
    sys.exit(main())
