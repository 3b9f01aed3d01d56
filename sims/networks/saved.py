"""Saved studies of networks: drawn again without training, and how far they are."""

import collections
from pathlib import Path
from typing import Any

import htfjax as htf

from .. import is_same_class, pathfinder
from ..common.command import command_of
from ..common.folder import LOCK, saved_config
from . import study
from .options import points_of
from .training import label_of, read_records

COMMANDS = (is_same_class, pathfinder)


def restored(folder: Path) -> tuple[Any, study.Study] | None:
    """What was asked of a folder last, and the study it is of; None of other commands.

    Raises:
      FolderError: config.json is damaged.
    """
    module = command_of(folder)
    if module not in COMMANDS or not (folder / "runs").is_dir():
        return None
    config = saved_config(folder, module.Config)  # digests in place of paths of data
    return config, module.study_of(config)


def redraw(folder: Path) -> list[Path] | None:
    """Draws the figures of a study from what is saved; the files, None without a study.

    Raises:
      FolderError, RunError, ValueError, OSError: files that are damaged or missing.
    """
    found = restored(folder)
    if found is None:
        return None
    config, task = found
    data = study.collected(config, task, folder / "runs")
    summary = study.read_summary(folder)
    return study.draw(data, summary, config, task, folder)


def standing(folder: Path) -> dict[str, Any] | None:
    """Progress of all runs of a study, with the fields of `htf.runs.Progress`.

    Beside them what `status.json` of a run says of its process, whether one is at work,
    and a note on which run it works. None without a study.

    Raises:
      FileNotFoundError: no run has begun.
      FolderError, RunError, ValueError: files that are damaged.
    """
    found = restored(folder)
    if found is None:
        return None
    config, task = found
    points = points_of(config, task.values, task.canvases)
    counts, working, told = collections.Counter(), [], []
    for point in points:
        out = folder / "runs" / point.name
        run = read_records(out, label_of(point, config))
        counts["pending" if run is None else run.status.item()] += 1
        if (out / "status.json").exists():
            told.append(htf.runs.read_sealed(out / "status.json"))
            if htf.runs.is_locked(out):
                working.append((point.name, told[-1]))
    if not told:
        raise FileNotFoundError(f"no run in {folder} has begun")
    last = max(told, key=lambda said: said["time"])
    steps = sum(said["steps"] for said in told)
    longest = max(said["steps_in_all"] for said in told)
    in_all = sum(said["steps_in_all"] for said in told)
    in_all += longest * (len(points) - len(told))
    rate = sum(said["steps_per_second"] for _, said in working)
    ended = len(points) - counts["pending"] - counts["running"]
    state = "interrupted" if last["state"] == "finished" else last["state"]
    words = [f"{n} {status}" for status, n in sorted(counts.items())]
    names = [f"at work on {name}" for name, _ in working]
    return last | {
        "runs": len(points), "done": ended, "active": len(working),
        "failed": counts["diverged"], "steps": steps, "steps_in_all": in_all,
        "steps_per_second": rate, "losses": None, "note": ", ".join(words + names),
        "seconds_left": (in_all - steps) / rate if rate else None,
        "state": "finished" if ended == len(points) else state,
        "at_work": htf.runs.lock_holder(folder / LOCK) is not None,
    }  # fmt: skip
