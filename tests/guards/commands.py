"""Commands run small: their options, their folders, and the numbers they record.

`python -m tests.guards.commands --write [DIR]` keeps the numbers of now. The folders are
left in DIR, if it is given; jobs that ended well there are not run again.
"""

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import jax
import xarray as xr

import htfjax as htf
from tests.guards import snapshot

STEM = "commands"
ROOT = Path(__file__).parents[2]
SECONDS = 3600
TIMES = {"wall_seconds"}
TOGETHER = ("component", "index")  # numbers along these dimensions share a scale
FEW = 40


@dataclasses.dataclass(frozen=True)
class Job:
    """A command with options that make it short.

    `values` are paths into `summary.json`, a star for every key, kept of commands that
    leave no records: counts and words, and floats that no statistics were made of.
    """

    command: str
    options: str
    slow: bool = True
    tolerance: float = 1e-5
    values: tuple[str, ...] = ()


# Differences of nearly equal squares, which in float32 hold rounding that other processors
# round otherwise: by 6e-3 of the largest seen.
CANCELLED = {"unbalancedness": 2e-2}
HTF = "--panel htf --mode-dims 3 --widths 4 --init-std 0.3 --observed 60 --target-ranks 2"
STEPS = "--num-steps 100 --record-every 10"
SAME = "--preset smoke --workers 1 --distances 4 --train-sizes 128 --epochs 5"
NETWORK = 1e-3

JOBS: dict[str, Job] = {
    "incremental_rank": Job("incremental_rank", f"{HTF} {STEPS}"),
    "incremental_rank, paper": Job("incremental_rank", STEPS),
    "incremental_rank, balanced chains": Job(
        "incremental_rank",
        "--panel mf --tree '(((0,),), 1)' --mode-dims 5 6 --widths 5 --init balanced "
        f"--init-std 0.5 --observed 20 --target-ranks 2 --dtype float64 {STEPS}",
    ),
    "incremental_rank, identity": Job(
        "incremental_rank",
        "--panel mf --mode-dims 3 4 --widths 4 --init identity --init-std 0.2 "
        f"--task matrix_sensing --observed 30 --target-ranks 2 {STEPS}",
    ),
    "incremental_rank, sensing": Job(
        "incremental_rank",
        f"{HTF} {STEPS} --task sensing --dtype float64 --optimizer sgd --momentum 0.5 "
        "--learning-rate 1e-3 --schedule exponential --schedule-steps 50",
    ),
    "incremental_rank, minibatches": Job(
        "incremental_rank",
        f"{HTF} {STEPS} --batch-size 20 --penalty huber --schedule cosine "
        "--tree '((0, 2), (1, 3))' --target-tree caterpillar --track-modes 0,2 0 1,2",
    ),
    "incremental_rank, symmetric": Job(
        "incremental_rank",
        "--panel tf --order 4 --mode-dims 4 --widths 6 --init-std 0.3 --observed 100 "
        f"--target-ranks 3 --symmetric --root trained --penalty l1 --seed 3 {STEPS}",
    ),
    "rank_statistics": Job(
        "rank_statistics",
        f"--models mf --num-seeds 2 --widths 8 --init-std 0.01 {STEPS} "
        "--checkpoint-seconds 60 --seed 0",
    ),
    "rank_statistics, starts": Job(
        "rank_statistics", f"--num-seeds 2 --widths 8 --init-scales 1 30 --seed 4 {STEPS}"
    ),
    "phase_diagram": Job(
        "phase_diagram",
        f"--target-ranks 1 2 --ratios 1 4 --num-seeds 2 --widths 8 --init-scale 3 {STEPS}",
    ),
    "mode_tree_shape": Job(
        "mode_tree_shape",
        "--widths 4 --dim 3 --observed 60 --num-steps 300 --seeds 0",
        values=("*/*",),
    ),
    "init_scale": Job(
        "init_scale",
        "--stds 0.2 --seeds 0 --widths 3 --dim 4 --rank 1 --stop-loss 0.05 --rtol 1e-3",
        values=("*/status", "*/evaluations"),
    ),
    "flow_against_descent": Job(
        "flow_against_descent",
        "--init-std 0.3 --widths 4 --dim 3 --observed 60 --num-steps 200 --chord-steps 2 "
        "--stop-loss 20 --learning-rates 3e-2",
        values=(
            "runs/*/status",
            "runs/*/order",  # not the flow's evaluations: rounding moves them by 3 %
            "convergence/span",
            "convergence/steps_and_distance/*",
        ),
    ),
    "component_dynamics": Job(
        "component_dynamics",
        "--widths 2 --rank 1 --stop-loss 0.1",
        values=("*/status", "*/intervals", "*/crossings_left_out"),
    ),
    "complete": Job(
        "complete",
        "examples/readings.csv --method descent --tree '((station, hour), day)'",
        values=(
            "tree",
            "verdict",
            "observed",
            "held_out",
            "nodes/*/rank",
            "degrees_of_freedom",
            "predictions/cells",
        ),
    ),
    "verify": Job(
        "verify",
        "--only A1 A5 D3 --tree '((0, 1), 2)'",
        values=("laws/*/law", "laws/*/passed", "laws/*/tolerance", "laws/*/tree"),
    ),
    "is_same_class": Job("is_same_class", SAME, tolerance=NETWORK),
    "is_same_class, controls": Job(
        "is_same_class",
        f"{SAME} --coefficients 0 --validation-size 40 --controls two_passes "
        "train_and_test dropout=0.2 weight_decay=1e-3 gradient_norm=0.01",
        tolerance=NETWORK,
    ),
    "pathfinder": Job(
        "pathfinder",
        "--preset smoke --workers 1 --train-sizes 128 --test-size 30 --epochs 5",
        tolerance=NETWORK,
    ),
}


def tolerance(name: str, key: str) -> float:
    """Relative tolerance of a recorded variable of a job."""
    return max(JOBS[name].tolerance, CANCELLED.get(key.rpartition("/")[2], 0.0))


def execute(*arguments: str) -> str:
    """What `python -m ...` prints, run as a user runs it.

    Raises:
      AssertionError: it failed; what it printed is the message.
    """
    environment = os.environ | {"MPLBACKEND": "Agg"}
    for name in ("JAX_ENABLE_X64", "JAX_NUMPY_DTYPE_PROMOTION", "XLA_FLAGS"):
        environment.pop(name, None)
    config: Any = jax.config
    if config.jax_compilation_cache_dir:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(config.jax_compilation_cache_dir)
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    said = f"{arguments}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, said
    return done.stdout


def finished(name: str, base: Path) -> Path:
    """The folder that a job left under `base`, run by whoever asks first."""
    folder = base / name.replace(", ", "-").replace(" ", "-")
    done = folder.with_suffix(".done")
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            run(name, folder)
            done.touch()
    return folder


def run(name: str, folder: Path) -> None:
    """Runs a job into a folder, or goes on with it."""
    job = JOBS[name]
    execute(f"sims.{job.command}", "--out", str(folder), *shlex.split(job.options))


def shared_folder(own: Path) -> Path:
    """A folder of this session of tests that its workers share, from a worker's own."""
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / "commands"
    folder.mkdir(exist_ok=True)
    return folder


def numbers(name: str, folder: Path) -> dict[str, Any]:
    """Descriptions of what a job recorded, by job and variable."""
    job = JOBS[name]
    if job.values:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        found = {
            path: snapshot.describe(value)
            for pattern in job.values
            for path, value in picked(summary, pattern.split("/"))
        }
    else:
        found = records(htf.load_results(folder))
    return {f"{name}/{part}": entry for part, entry in found.items()}


def records(data: xr.Dataset) -> dict[str, Any]:
    """Descriptions of all variables and coordinates, without times of the clock."""
    found = {}
    for name in sorted(map(str, data.variables)):
        if name not in TIMES:
            array = data[name]
            rows = [dim for dim in array.dims if dim not in TOGETHER]
            values = array.transpose(*rows, ...).values
            found[name] = snapshot.describe(values, rows=len(rows), few=FEW)
    return found


def picked(values: Any, path: list[str]) -> list[tuple[str, Any]]:
    """The values at a path into nested JSON, a star for every key or place."""
    if not path:
        return [("", values)]
    places = values.items() if isinstance(values, Mapping) else enumerate(values)
    return [
        (f"{key}/{rest}" if rest else str(key), value)
        for key, part in places
        if path[0] in ("*", str(key))
        for rest, value in picked(part, path[1:])
    ]


@contextlib.contextmanager
def kept_or_passing(given: Sequence[str]) -> Iterator[Path]:
    """The folder that is given, or one that is removed in the end."""
    with tempfile.TemporaryDirectory() as passing:
        base = Path(given[0] if given else passing)
        base.mkdir(parents=True, exist_ok=True)
        yield base


def main() -> int:
    """Writes the snapshot."""
    if sys.argv[1:2] != ["--write"]:
        sys.stderr.write("python -m tests.guards.commands --write [DIR]\n")
        return 2
    entries: dict[str, Any] = {}
    tolerances: dict[str, float] = {}
    with kept_or_passing(sys.argv[2:]) as base:
        for name in JOBS:
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
            found = numbers(name, finished(name, base))
            entries |= found
            tolerances |= {key: tolerance(name, key) for key in found}
    sys.stdout.write(snapshot.write(STEM, entries, tolerances) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
