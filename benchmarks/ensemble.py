"""What do many runs at once gain, and what do durable results cost?

The hierarchical run of order 4, D = 8, widths 64, std 3e-2, 2048 observed, float32, with
one CPU device a core: 64 seeds beside a single run, lane after lane and vectorized; 256
runs of 5,000 steps with all records and checkpoints; one quantity read out of 10,000 runs.

Predicted: lanes share nothing, so two cores give at least twice the rate that one core
gives a single run; a single run on two cores gains little, its matrix products being
64 x 64 x 64. Overhead is writing 12 numbers a run and record: below a percent, plus a
quarter second a checkpoint.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

import htfjax as htf
from benchmarks import harness

STEPS, SEEDS = 2000, 64
LONG_STEPS, LONG_RUNS = 5000, 256
MANY = 10_000


def single_rate(steps: int = STEPS) -> float:
    """Steps per second of one run, nothing recorded but its loss and norms."""
    lane = htf.runs.make_lane(htf.runs.completion_lane, htf.problems.Completion(), 0)
    best = float("inf")
    for _ in range(4):
        begun = time.perf_counter()
        done = htf.continue_descent(
            lane.state, lane.loss, lane.optimizer, num_steps=steps, record_every=500,
            observe=lane.observe,
        )  # fmt: skip
        jax.block_until_ready(done)
        best = min(best, time.perf_counter() - begun)
    return steps / best


def ensemble(out: Path, runs: int, steps: int, batching: Any, record_every: int) -> Any:
    """The last progress of a grid; run it once before, so that nothing compiles."""
    shutil.rmtree(out, ignore_errors=True)
    grid = htf.runs.Grid(htf.problems.Completion(), range(runs))
    runs_of = htf.runs.run(
        grid, out, until_step=steps, record_every=record_every, batching=batching,
        chunk_steps=500, checkpoint_seconds=20.0,
    )  # fmt: skip
    return list(runs_of)[-1]


def read_one(out: Path) -> dict[str, Any]:
    """Bytes that reading one quantity of 10,000 runs takes from the disk's files."""
    shutil.rmtree(out, ignore_errors=True)
    setting = htf.problems.Completion(
        mode_dims=3, widths=4, observed=40, target_rank=2, init_std=0.3
    )
    grid = htf.runs.Grid(setting, range(MANY))
    for _ in htf.runs.run(grid, out, until_step=40, record_every=2, chunk_steps=20):
        pass
    files = [f for f in (out / "results.zarr").rglob("*") if f.is_file()]
    whole = sum(f.stat().st_size for f in files)
    own = sum(f.stat().st_size for f in files if "/loss/" in str(f))
    before, begun = _bytes_read(), time.perf_counter()
    data = htf.load_results(out)
    opened = time.perf_counter() - begun
    shape = data.loss.values.shape
    return {
        "runs": MANY, "shape": list(shape), "megabytes_in_all": round(whole / 1e6, 2),
        "megabytes_of_the_quantity": round(own / 1e6, 2),
        "megabytes_read": round((_bytes_read() - before) / 1e6, 2),
        "seconds_to_open": round(opened, 3),
        "seconds_to_open_and_read": round(time.perf_counter() - begun, 3),
    }  # fmt: skip


def _bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(lines[0].split()[1])


def main() -> int:
    """Measures, prints a table, writes the record."""
    if os.getenv("JAX_PLATFORMS", "cpu") == "cpu":
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    folder = Path(tempfile.mkdtemp())
    single = single_rate()
    rates: dict[str, float] = {}
    for batching in ("map", "vmap"):
        ensemble(folder / "warm", SEEDS, 1000, batching, 500)
        last = ensemble(folder / "run", SEEDS, STEPS, batching, 500)
        rates[batching] = last.executed / last.wall_seconds
    ensemble(folder / "warm", LONG_RUNS, 1000, "auto", 100)
    long = ensemble(folder / "run", LONG_RUNS, LONG_STEPS, "auto", 100)
    overhead = 1 - long.device_seconds / long.wall_seconds
    values = {
        "setting": "order 4, D = 8, widths 64, std 3e-2, 2048 observed, float32",
        "devices": jax.device_count(),
        "single_steps_per_second": round(single),
        "steps_per_second": {k: round(v) for k, v in rates.items()},
        "times_the_single_rate": {k: round(v / single, 2) for k, v in rates.items()},
        "grid": {
            "runs": LONG_RUNS, "steps": LONG_STEPS, "record_every": 100,
            "wall_seconds": round(long.wall_seconds, 2),
            "device_seconds": round(long.device_seconds, 2),
            "overhead": round(overhead, 4),
        },
        "reading": read_one(folder / "many") if "--no-reading" not in sys.argv else None,
    }  # fmt: skip
    shutil.rmtree(folder)
    path = harness.write_record("ensemble", values)
    table = Table(box=None)
    for heading in ("", "steps per second", "times a single run"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("single run", f"{single:,.0f}", "1")
    for batching, rate in rates.items():
        table.add_row(f"{SEEDS} seeds, {batching}", f"{rate:,.0f}", f"{rate / single:.2f}")
    console = Console(width=100)
    console.print(table)
    console.print(f"{LONG_RUNS} runs of {LONG_STEPS} steps: overhead {overhead:.1%}")
    console.print(values["reading"])
    console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
