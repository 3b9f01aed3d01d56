"""Completion of tensors beside tensap: success, ranks, processor seconds.

Every target of `completion_targets.py` is completed from 1.5, 2, 3 and 4 times as many
cells as it has degrees of freedom, by htfjax and by tensap: the same cells, the same ones
held out, the target's tree, no ranks. A completion succeeds with a relative error of 1e-6
at most on the cells that were not observed. Processor seconds include compiling. The
libraries run at the same time, each in a process on a core of its own; finished rows are
kept, so that a run that was stopped goes on.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

import htfjax as htf
from benchmarks import completion_tensap, harness
from benchmarks.completion_targets import RATIOS, SEEDS, Target, drawn

SUCCESS = 1e-6  # relative error on cells that are not observed
HOLDOUT = 0.1
LIBRARIES = ("htfjax", "tensap")
Row = dict[str, Any]
Filled = tuple[np.ndarray, dict[int, int]]  # the tensor, and ranks by node id


def ours(data: htf.Observed, target: Target) -> Filled:
    """`htf.complete`, told the tree."""
    found = htf.complete(data, tree=target.tree, key=jax.random.key(target.seed))
    return np.asarray(htf.end_tensor(found.factors)), found.ranks


def peer(data: htf.Observed, target: Target) -> Filled:
    """tensap on the same cells, the same ones held out."""
    np.random.seed(target.seed)  # noqa: NPY002  (what tensap draws from)
    indices = np.concatenate([data.indices, data.test_indices])
    values = np.append(data.targets, data.test_targets)
    held = np.arange(len(values)) >= len(data.targets)
    return completion_tensap.completed(target.tree, target.dims, indices, values, held)


COMPLETE: dict[str, Callable[[htf.Observed, Target], Filled]] = {
    "htfjax": ours,
    "tensap": peer,
}


def observed(target: Target, ratio: float) -> htf.Observed:
    """The cells of a target, a tenth of them held out."""
    cells = target.observed(ratio)
    values = np.full(target.dims, np.nan)
    values[tuple(cells.T)] = target.tensor[tuple(cells.T)]
    key = jax.random.key(target.seed)
    return htf.observed(values, holdout=HOLDOUT, key=key, scaling="none")


def row(library: str, seed: int, ratio: float) -> Row:
    """One completion: error, ranks, processor seconds; what was raised is a failure."""
    target = drawn(seed)
    data = observed(target, ratio)
    begun = time.process_time()
    try:
        tensor, ranks = COMPLETE[library](data, target)
    except Exception as error:  # whatever a library raises: it has not completed
        found: Row = {"failed": f"{type(error).__name__}: {error}"[:200]}
    else:
        error = target.unobserved_error(tensor, ratio)
        found = {
            "error": error,
            "ranks": [ranks[k] for k in sorted(ranks)],
            "exact_ranks": tuple(ranks[k] for k in sorted(ranks)) == target.ranks,
        }
    found["cpu_seconds"] = round(time.process_time() - begun, 2)
    return {
        "seed": seed,
        "ratio": ratio,
        "observations": len(target.observed(ratio)),
    } | found


def succeeded(found: Row) -> bool:
    """Whether the cells that were not observed are known."""
    return found.get("error", np.inf) <= SUCCESS


def worked(library: str, out: Path, seeds: tuple[int, ...]) -> None:
    """All rows of a library that are not there yet, one after another."""
    jax.config.update("jax_enable_x64", True)
    path = out / f"{library}.jsonl"
    done = {(one["seed"], one["ratio"]) for one in harness.read_rows(path)}
    for seed in seeds:
        for ratio in RATIOS:
            if (seed, ratio) not in done:
                harness.keep_row(path, row(library, seed, ratio))


def race(out: Path, seeds: tuple[int, ...]) -> None:
    """Both libraries at once, each on one core."""
    cores = sorted(os.sched_getaffinity(0))
    running = []
    for i, library in enumerate(LIBRARIES):
        command = [sys.executable, "-m", "benchmarks.completion", "--out", str(out)]
        command += ["--library", library, "--seeds", *map(str, seeds)]
        core = {cores[i % len(cores)]}
        running.append(subprocess.Popen(command, preexec_fn=lambda core=core: _pin(core)))
    for process in running:
        process.wait()


def _pin(core: set[int]) -> None:
    os.sched_setaffinity(0, core)


def summary(found: dict[str, list[Row]]) -> dict[str, Any]:
    """Success by ratio, exact ranks and summed processor seconds of each library."""
    answer: dict[str, Any] = {}
    for library, lines in found.items():
        by_ratio = {r: [one for one in lines if one["ratio"] == r] for r in RATIOS}
        answer[library] = {
            "success": {
                str(r): f"{sum(map(succeeded, some))}/{len(some)}"
                for r, some in by_ratio.items()
            },
            "exact_ranks": {
                str(r): sum(one.get("exact_ranks", False) for one in some)
                for r, some in by_ratio.items()
            },
            "cpu_seconds": round(sum(one["cpu_seconds"] for one in lines)),
        }
    return answer


def targets(seeds: tuple[int, ...]) -> list[Row]:
    """What the race ran on."""
    found = map(drawn, seeds)
    return [
        {
            "seed": t.seed,
            "tree": str(t.tree.nested),
            "dims": list(t.dims),
            "ranks": list(t.ranks),
            "degrees_of_freedom": t.freedom,
            "entries": t.tensor.size,
        }
        for t in found
    ]


def main() -> int:
    """Races, prints and writes the record."""
    parser = argparse.ArgumentParser(
        description="Completion beside tensap; some half an hour on two cores.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=harness.RECORDS / "completion",
                        help="folder of finished rows")  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS),
                        help="targets; the default ones alone make a record")  # fmt: skip
    parser.add_argument("--library", choices=LIBRARIES, help="this one, in this process")
    parser.add_argument("--quick", action="store_true", help="one target, some 5 minutes")
    asked = parser.parse_args()
    seeds = (1001,) if asked.quick else tuple(asked.seeds)
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.library:
        worked(asked.library, asked.out, seeds)
        return 0
    race(asked.out, seeds)
    kept = {
        name: [
            one
            for one in harness.read_rows(asked.out / f"{name}.jsonl")
            if one["seed"] in seeds
        ]
        for name in LIBRARIES
    }
    console = Console(width=110)
    console.print(summary(kept), soft_wrap=True)
    if seeds == SEEDS:
        values = {"summary": summary(kept), "targets": targets(seeds), "rows": kept}
        console.print(f"written to {harness.write_record('completion', values)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
