"""Times compiled functions side by side and writes a record.

Compilation is timed apart; every function is compiled ahead of time, so a timing cannot
hide a recompilation. Repeats are interleaved: a machine that slows down slows all.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

RECORDS = Path(__file__).parent / "records"


def measure(
    cases: dict[str, tuple[Callable[..., Any], tuple]], *, inner: int, repeats: int = 9
) -> dict[str, dict[str, float]]:
    """Medians over interleaved repeats.

    Args:
      cases: name -> (function, arguments); a function does `inner` steps of work.
      inner: steps of work per call.
      repeats: calls per function after a first one that is not counted.

    Returns:
      name -> milliseconds per step (median, min, max), compile seconds, flops of the
      whole program as XLA counts them, temporary bytes.
    """
    compiled, results = {}, {}
    for name, (function, arguments) in cases.items():
        begun = time.perf_counter()
        program = jax.jit(function).lower(*arguments).compile()
        results[name] = {"compile_seconds": round(time.perf_counter() - begun, 3)}
        analysis: Any = program.memory_analysis()
        results[name]["temporary_bytes"] = int(analysis.temp_size_in_bytes)
        compiled[name] = (program, arguments)
        jax.block_until_ready(program(*arguments))
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, (program, arguments) in compiled.items():
            begun = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            times[name].append(1e3 * (time.perf_counter() - begun) / inner)
    for name, seen in times.items():
        results[name] |= {
            "milliseconds": round(float(np.median(seen)), 4),
            "fastest": round(min(seen), 4),
            "slowest": round(max(seen), 4),
        }
    return results


def gemm_rate(size: int = 1024, repeats: int = 9) -> float:
    """Measured flops per second of a large float32 matrix product on this machine."""
    x = jax.random.normal(jax.random.key(0), (size, size), np.float32)
    case = {"gemm": (lambda a: jax.numpy.matmul(a, a, precision="highest"), (x,))}
    return (
        2
        * size**3
        / (1e-3 * measure(case, inner=1, repeats=repeats)["gemm"]["milliseconds"])
    )


def write_record(name: str, values: dict[str, Any]) -> Path:
    """Writes `records/NAME-jaxVERSION-DEVICE.json` with versions, device and commit."""
    device = jax.devices()[0]
    record = {
        "benchmark": name,
        "versions": {
            "python": platform.python_version(),
            **{p: metadata.version(p) for p in ("jax", "jaxlib", "numpy", "optax")},
        },
        "device": f"{device.platform} {device.device_kind}",
        "cores": len(_cores()),
        "commit": _commit(),
        **values,
    }
    RECORDS.mkdir(exist_ok=True)
    path = RECORDS / f"{name}-jax{jax.__version__}-{device.platform}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return done.stdout.strip() or "unknown"
