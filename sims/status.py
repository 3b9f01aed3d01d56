"""How far is the ensemble in a folder, and is anyone working on it?"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

import htfjax as htf

from .common.command import command
from .common.display import spell_seconds
from .common.ensembles import headline
from .networks import saved


@dataclasses.dataclass(frozen=True)
class Options:
    """Reads the folder of a running, stopped or killed ensemble."""

    folder: tyro.conf.Positional[Path]
    """Folder given as --out to the simulation."""
    json: bool = False
    """Print all numbers as JSON."""


def read(folder: Path) -> dict[str, Any]:
    """What `status.json` says, and whether a process is at work.

    Raises:
      FileNotFoundError: no ensemble there. ValueError: a damaged file.
    """
    if (study := saved.standing(folder)) is not None:
        return study
    path = folder / "status.json"
    if not path.exists():
        parts = sorted(folder.glob("*/status.json"), key=lambda p: p.stat().st_mtime)
        if not parts:
            raise FileNotFoundError(f"no ensemble in {folder}")
        path, folder = parts[-1], parts[-1].parent  # the run that was at work last
    wanted = {f.name for f in dataclasses.fields(htf.runs.Progress)} | {"time", "pid"}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        missing = sorted(wanted - set(found))
        if missing or not isinstance(found, dict):
            raise ValueError(f"it lacks {', '.join(missing)}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); the next chunk of the run, or the same command "
            "again, writes it anew"
        ) from error
    return found | {"at_work": htf.runs.is_locked(folder)}


def sentence(found: dict[str, Any]) -> str:
    """The state in words."""
    if found["at_work"]:
        return "running"
    if found["state"] == "running":
        return "dead: its process ended without a word; the same command resumes"
    if found["state"] == "interrupted":
        return "interrupted: the same command resumes"
    return "finished"


def report(found: dict[str, Any], options: Options, console: Console) -> None:
    """Three sentences, or JSON."""
    if options.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    console.print(sentence(found), soft_wrap=True)
    known = type("Known", (), found)
    console.print(headline(known), soft_wrap=True, highlight=False)
    if "note" in found:
        console.print(found["note"], soft_wrap=True, highlight=False)
    age = spell_seconds(max(time.time() - found["time"], 0.0))
    console.print(
        f"{found['steps']:,} of at most {found['steps_in_all']:,} steps, last heard "
        f"{age} ago from process {found['pid']}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


def main() -> int:
    """The command line."""
    return command("status", Options, lambda options: read(options.folder), report)


if __name__ == "__main__":
    sys.exit(main())
