"""Standing of a study of networks: how far its runs are."""

import collections
from pathlib import Path
from typing import Any

import htfjax as htf

from ..common.folder import LOCK
from .options import Point
from .training import read_records


def progress_of(points: list[Point], folder: Path) -> dict[str, Any]:
    """Progress of runs in the folder of a study, with the fields of `htf.runs.Progress`.

    Beside them what `status.json` of a run says of its process, whether one is at work,
    and a note on which run it works.

    Raises:
      FileNotFoundError: no run has begun.
      FolderError, RunError, ValueError: files that are damaged.
    """
    counts, working, told = collections.Counter(), [], []
    for point in points:
        out = folder / "runs" / point.name
        run = read_records(out, point.label)
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
