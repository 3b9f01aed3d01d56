"""Times compiled functions side by side and writes a record.

Compilation is timed apart; every function is compiled ahead of time, so a timing cannot
hide a recompilation. Repeats are interleaved: a machine that slows down slows all.
"""

import collections
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

RECORDS = Path(__file__).parent / "records"


def measure(
    cases: dict[str, tuple[Callable[..., Any], tuple]],
    *,
    inner: int,
    repeats: int = 9,
    besides: dict[str, Callable[[], Any]] | None = None,
    shortest_turn: float = 0.0,
) -> dict[str, dict[str, float]]:
    """Medians over interleaved repeats.

    Args:
      cases: name -> (function, arguments); a function does `inner` steps of work.
      inner: steps of work per call.
      repeats: calls per function after a first one that is not counted.
      besides: calls of other libraries, timed as they are in the same rounds.
      shortest_turn: milliseconds; a function is called again until its turn has lasted so
        long, and the mean counts. Else a short call finds the caches full of the others'.

    Returns:
      name -> milliseconds per step (median, min, max), compile seconds, flops and bytes
      of the program as XLA counts them (the body of a loop once), temporary bytes.

    Raises:
      RuntimeError: a function was traced more than once.
    """
    compiled, results, traces = {}, {}, collections.Counter()
    for name, (function, arguments) in cases.items():
        begun = time.perf_counter()

        def counted(*args: Any, name: str = name, function: Any = function) -> Any:
            traces[name] += 1
            return function(*args)

        program = jax.jit(counted).lower(*arguments).compile()
        results[name] = {"compile_seconds": round(time.perf_counter() - begun, 3)}
        analysis: Any = program.memory_analysis()
        results[name]["temporary_bytes"] = int(analysis.temp_size_in_bytes)
        # XLA counts the body of a loop once, which is one step here.
        costs: Any = program.cost_analysis()
        results[name]["flops"] = round(costs.get("flops", 0))
        results[name]["bytes"] = round(costs.get("bytes accessed", 0))
        compiled[name] = (program, arguments)
        jax.block_until_ready(program(*arguments))
    calls = {
        name: lambda program=program, arguments=arguments: jax.block_until_ready(
            program(*arguments)
        )
        for name, (program, arguments) in compiled.items()
    } | (besides or {})
    for name in besides or {}:
        results[name] = {}
        calls[name]()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            steps = inner if name in compiled else 1
            times[name].append(turn(call, shortest_turn) / steps)
    if any(count != 1 for count in traces.values()):
        raise RuntimeError(f"something was traced again while it was timed: {traces}")
    for name, seen in times.items():
        results[name] |= {
            "milliseconds": round(float(np.median(seen)), 4),
            "fastest": round(min(seen), 4),
            "slowest": round(max(seen), 4),
        }
    return results


def turn(call: Callable[[], Any], shortest: float = 0.0) -> float:
    """Mean milliseconds of a call, which is repeated until `shortest` ones have passed."""
    begun, count, lasted = time.perf_counter(), 0, 0.0
    while count == 0 or lasted < shortest:
        call()
        count, lasted = count + 1, 1e3 * (time.perf_counter() - begun)
    return lasted / count


def milliseconds(function: Callable[[], Any], repeats: int = 9) -> dict[str, float]:
    """Median, fastest and slowest call after one that is not counted."""
    function()
    seen = []
    for _ in range(repeats):
        begun = time.perf_counter()
        function()
        seen.append(1e3 * (time.perf_counter() - begun))
    return {
        "milliseconds": round(float(np.median(seen)), 4),
        "fastest": round(min(seen), 4),
        "slowest": round(max(seen), 4),
    }


def repeated(function: Callable[..., Any], times: int) -> Callable[..., Any]:
    """A program that does function(*arguments) `times` times; it returns the last result.

    What a turn finds is carried to the next, whose arguments wait for it: nothing can be
    left out or moved out of the loop.
    """

    def run(*arguments: Any) -> Any:
        def again(carry: tuple, _: None) -> tuple[tuple, None]:
            now, tie = lax.optimization_barrier((arguments, carry[0]))
            found = function(*now)
            used = [x.ravel()[0].astype(tie.dtype) for x in jax.tree.leaves(found)]
            return (tie + sum(used), found), None

        shapes = jax.eval_shape(function, *arguments)
        first = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        zero = jnp.zeros((), jax.tree.leaves(arguments)[0].dtype)
        return lax.scan(again, (zero, first), length=times)[0][1]

    return run


def value_and_gradient(loss: Callable[..., jax.Array], times: int) -> Callable[..., Any]:
    """A program of `times` values and gradients of loss(parameters, data), one by one.

    Neither a call nor fresh memory for the gradient nor an update of parameters is timed.
    """

    def run(parameters: Any, data: Any) -> Any:
        gradient = jax.value_and_grad(lambda p: loss(p, data))
        return repeated(gradient, times)(parameters)

    return run


def profile(function: Callable[..., Any], arguments: tuple, inner: int) -> dict[str, float]:
    """Microseconds per step of every operation of a program on a CPU, longest first.

    Read off the profiler's trace of three calls, in which an operation of the compiled
    program has an event each time that it runs; threads that help it have none.

    Args:
      inner: steps of work per call.
    """
    program = jax.jit(function).lower(*arguments).compile()
    names = set(
        re.findall(r"^\s+(?:ROOT )?%?(\S+) = ", program.as_text() or "", re.MULTILINE)
    )
    jax.block_until_ready(program(*arguments))
    calls, spent = 3, collections.Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                jax.block_until_ready(program(*arguments))
        (path,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
        for plane in data.planes:
            for line in plane.lines:
                for event in line.events:
                    if event.name in names:
                        spent[event.name] += event.duration_ns
    return {k: 1e-3 * v / (calls * inner) for k, v in spent.most_common()}


def gemm_rate(size: int = 1024, repeats: int = 9) -> float:
    """Measured flops per second of a large float32 matrix product on this machine."""
    x = jax.random.normal(jax.random.key(0), (size, size), np.float32)
    case = {"gemm": (lambda a: jnp.matmul(a, a, precision="highest"), (x,))}
    found = measure(case, inner=1, repeats=repeats)["gemm"]["milliseconds"]
    return 2 * size**3 / (1e-3 * found)


def stream_rate(size: int = 2**26, repeats: int = 5) -> float:
    """Measured bytes per second of x + y on arrays far larger than any cache."""
    x = jnp.ones((size,), jnp.float32)
    ten = (lambda a: lax.fori_loop(0, 4, lambda _, b: b + a, a), (x,))
    found = measure({"add": ten}, inner=4, repeats=repeats)["add"]["milliseconds"]
    return 3 * x.nbytes / (1e-3 * found)


def machine() -> dict[str, Any]:
    """Versions, device and cores of this process."""
    device = jax.devices()[0]
    return {
        "versions": {
            "python": platform.python_version(),
            **{p: metadata.version(p) for p in ("jax", "jaxlib", "numpy", "optax")},
        },
        "device": f"{device.platform} {device.device_kind}",
        "cores": len(_cores()),
    }


def commit(folder: Path = Path(__file__).parent) -> str:
    """Commit that a folder stands at, marked where files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done.stdout.strip() or "unknown"


def write_record(name: str, values: dict[str, Any], *, folder: Path = RECORDS) -> Path:
    """Writes `records/NAME-jaxVERSION-DEVICE.json` with versions, device and commit."""
    device = jax.devices()[0]
    record = {"benchmark": name, **machine(), "commit": commit(), **values}
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-jax{jax.__version__}-{device.platform}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows that a benchmark which can be stopped has finished, a JSON text a line."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def keep_row(path: Path, row: dict[str, Any]) -> None:
    """Adds a finished row, and shows it."""
    line = json.dumps(row) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
    sys.stdout.write(line)
    sys.stdout.flush()
