"""Completion of noisy tensors: ranks, errors and intervals, beside tensap and tensorly.

Cells carry Gaussian noise of 40, 20 and 10 dB below the values. Three targets of
`completion_targets.py` are completed by htfjax, tensap (tree given, no ranks) and tensorly
(masked CP, its rank chosen among 1 to 10 by the same cells held out). Then five targets of
order 3, whose searches are short, are completed twenty times each by htfjax, with other
cells and other noise each time: how often does the interval hold the error on all cells
that were not observed? Intervals were developed on the targets 101 and 103, their width on
105 to 107.
"""

import argparse
import importlib
import itertools
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.random import Generator, default_rng
from rich.console import Console

import htfjax as htf
from benchmarks import completion_tensap, harness
from benchmarks.completion_targets import Target, drawn

DECIBELS = (40, 20, 10)
SEEDS = (105, 106, 107)  # beside the others
FIRST_COVERED, TARGETS = 110, 5  # the first ones of order 3 are completed often
RATIO = 4.0  # cells over degrees of freedom
RUNS = 100
HOLDOUT = 0.1
CP_RANKS = range(1, 11)
Row = dict[str, Any]


def noisy(target: Target, decibels: int, rng: Generator) -> tuple[htf.Observed, np.ndarray]:
    """Some cells of a target with noise, a tenth held out; and which cells are open."""
    chosen = rng.permutation(len(target.cells))[: round(RATIO * target.freedom)]
    cells = tuple(target.cells[chosen].T)
    values = np.full(target.dims, np.nan)
    size = 10 ** (-decibels / 20)  # entries have mean square one
    values[cells] = target.tensor[cells] + size * rng.standard_normal(len(chosen))
    key = jax.random.key(int(rng.integers(2**31)))
    data = htf.observed(values, holdout=HOLDOUT, key=key, scaling="none")
    return data, np.isnan(values)


def parts(data: htf.Observed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices, values and which of them are held out."""
    indices = np.concatenate([data.indices, data.test_indices])
    values = np.append(data.targets, data.test_targets)
    return indices, values, np.arange(len(values)) >= len(data.targets)


def ours(data: htf.Observed, target: Target, noise: float | None) -> Row:
    """`htf.complete`, told the tree."""
    key = jax.random.key(target.seed)
    found = htf.complete(data, tree=target.tree, key=key, noise=noise)
    return {
        "tensor": np.asarray(htf.end_tensor(found.factors)),
        "ranks": list(found.ranks.values()),
        "heldout": found.heldout_error,
        "interval": list(found.interval),
    }


def tensap(data: htf.Observed, target: Target, noise: float | None) -> Row:
    """Its tutorial's learner."""
    del noise
    np.random.seed(target.seed)  # noqa: NPY002  (what tensap draws from)
    indices, values, held = parts(data)
    tensor, ranks = completion_tensap.completed(
        target.tree, target.dims, indices, values, held
    )
    return {
        "tensor": tensor,
        "ranks": [ranks[k] for k in sorted(ranks)],
        "heldout": _heldout(tensor, data),
    }


def tensorly(data: htf.Observed, target: Target, noise: float | None) -> Row:
    """Masked CP of the rank that fits the cells held out best."""
    del noise
    peer = importlib.import_module("tensorly")
    decomposition = importlib.import_module("tensorly.decomposition")
    mask, filled = np.zeros(target.dims), np.zeros(target.dims)
    where = tuple(np.asarray(data.indices).T)
    mask[where], filled[where] = 1.0, np.asarray(data.targets)
    best: Row = {"heldout": np.inf}
    for rank in CP_RANKS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = decomposition.parafac(
                filled, rank, mask=mask, init="random", random_state=0, n_iter_max=500
            )
        tensor = np.asarray(peer.cp_to_tensor(found))
        heldout = _heldout(tensor, data)
        if heldout < best["heldout"]:
            best = {"tensor": tensor, "ranks": [rank], "heldout": heldout}
    return best


LIBRARIES: dict[str, Callable[[htf.Observed, Target, float | None], Row]] = {
    "htfjax": ours,
    "tensap": tensap,
    "tensorly": tensorly,
}


def _heldout(tensor: np.ndarray, data: htf.Observed) -> float:
    """Root of the mean square on the cells held out."""
    errors = tensor[tuple(np.asarray(data.test_indices).T)] - np.asarray(data.test_targets)
    return float(np.sqrt(np.mean(errors**2)))


def measured(library: str, seed: int, decibels: int, draw: int) -> Row:
    """One completion: what it says, and what is true."""
    target = drawn(seed)
    data, unseen = noisy(target, decibels, default_rng([seed, decibels, draw]))
    begun = time.process_time()
    found = LIBRARIES[library](data, target, None)
    seconds = time.process_time() - begun
    clean = float(np.sqrt(np.mean((found["tensor"] - target.tensor)[unseen] ** 2)))
    # Cells that are not observed would have been observed with the same noise.
    truth = float(np.hypot(clean, 10 ** (-decibels / 20)))
    row = {
        "library": library, "seed": seed, "decibels": decibels, "draw": draw,
        "ranks": found["ranks"], "exact_ranks": tuple(found["ranks"]) == target.ranks,
        "heldout_error": found["heldout"], "error": clean,
        "cpu_seconds": round(seconds, 2),
    }  # fmt: skip
    if "interval" in found:
        low, high = found["interval"]
        row |= {"interval": [low, high], "covered": bool(low <= truth <= high)}
    return row


def plan() -> list[tuple[str, int, int, int]]:
    """Every completion: library, seed, decibels, draw."""
    beside = [(name, s, db, 0) for db in DECIBELS for s in SEEDS for name in LIBRARIES]
    covered = often_completed()
    often = [
        ("htfjax", covered[i % TARGETS], DECIBELS[i // TARGETS % 3], i) for i in range(RUNS)
    ]
    return beside + often


def often_completed() -> list[int]:
    """Seeds of the targets whose intervals are counted."""
    order_3 = (k for k in itertools.count(FIRST_COVERED) if len(drawn(k).dims) == 3)
    return list(itertools.islice(order_3, TARGETS))


def summary(rows: list[Row]) -> Row:
    """Errors and ranks beside the others, and how often the interval holds."""
    beside = [row for row in rows if row["seed"] in SEEDS]
    often = [row for row in rows if row["seed"] not in SEEDS]
    return {
        "beside": {
            f"{db} dB, {name}": {
                "exact_ranks": sum(row["exact_ranks"] for row in some),
                "median_error": float(np.median([row["error"] for row in some])),
                "median_heldout": float(np.median([row["heldout_error"] for row in some])),
            }
            for db in DECIBELS
            for name in LIBRARIES
            if (some := [r for r in beside if r["decibels"] == db and r["library"] == name])
        },
        "covered": f"{sum(row['covered'] for row in often)}/{len(often)}",
        "exact_ranks": f"{sum(row['exact_ranks'] for row in often)}/{len(often)}",
        "covered_by_decibels": {
            str(db): f"{sum(r['covered'] for r in some)}/{len(some)}"
            for db in DECIBELS
            if (some := [r for r in often if r["decibels"] == db])
        },
    }


def main() -> int:
    """Measures what is not there yet, prints and writes the record."""
    parser = argparse.ArgumentParser(
        description="Completion of noisy tensors; some 20 minutes on two cores.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=harness.RECORDS / "completion",
                        help="folder of finished rows")  # fmt: skip
    parser.add_argument(
        "--parts", type=int, default=1, help="processes that share the runs"
    )
    parser.add_argument("--part", type=int, default=0, help="which of them this one is")
    parser.add_argument("--quick", action="store_true", help="one target, no record")
    asked = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / f"noise-{asked.part}.jsonl"
    done = {(r["library"], r["seed"], r["decibels"], r["draw"]) for r in read(asked.out)}
    rest = slice(3) if asked.quick else slice(asked.part, None, asked.parts)
    for one in plan()[rest]:
        if one not in done:
            harness.keep_row(path, measured(*one))
    rows = read(asked.out)
    Console(width=110).print(summary(rows), soft_wrap=True)
    if len(rows) == len(plan()):
        values = {"summary": summary(rows), "rows": rows}
        path = harness.write_record("completion-noise", values)
        sys.stdout.write(f"written to {path}\n")
    return 0


def read(out: Path) -> list[Row]:
    """Finished rows."""
    files = sorted(out.glob("noise-*.jsonl"))
    return [row for path in files for row in harness.read_rows(path)]


if __name__ == "__main__":
    sys.exit(main())
