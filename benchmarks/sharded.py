"""Cost of a sharded loss: time and memory of one device against eight.

Value and gradient, float32, of sensing with 2^20 observations (order 4, dimensions and
widths 16) and of the paper's largest run, on one CPU device and sharded over eight that
are forced on the same cores. Each number of devices is a process of its own; their turns
alternate, first to last and back.

Predicted: eight devices on the cores of one gain nothing. Sensing is made of products by
rows, of which each device has an eighth, and one sum of 1,553 numbers; the ratio should
stay near 1. The paper's tables do not depend on observations: each device makes all of
them, so that eight do nearly eight times the work.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import htfjax as htf
from benchmarks import harness

DEVICES = (1, 8)
COUNT, DIM, WIDTH = 2**20, 16, 16
ROUNDS = 16  # first to last and back are two
SHORTEST_TURN = 500.0  # milliseconds


def sensing() -> tuple[Any, Any]:
    """Order 4 on a binary tree, Gaussian measurements."""
    keys = jax.random.split(jax.random.key(0), 3)
    start = htf.gaussian_factors(keys[0], htf.perfect(4), DIM, WIDTH, 0.3)
    vectors = htf.random_vectors(keys[1], DIM, COUNT, order=4)
    return start, htf.sensing_loss(vectors, jax.random.normal(keys[2], (COUNT,)))


def paper() -> tuple[Any, Any]:
    """Order 4, D = 8, widths 512, 2048 observations: the start and loss of the paper."""
    made = htf.problems.paper("htf").make(*jax.random.split(jax.random.key(0), 3))
    return made.start, made.loss


# Problem, and evaluations in a call.
PROBLEMS: dict[str, tuple[Callable[[], tuple[Any, Any]], int]] = {
    "sensing": (sensing, 2),
    "paper": (paper, 50),
}


def work() -> None:
    """A child: prepares the problems, then makes a turn of each that is asked for."""
    calls: dict[str, tuple[Callable[[], Any], int]] = {}
    for name, (make, inner) in PROBLEMS.items():
        start, loss = make()
        shared = htf.sharded_loss(loss) if jax.device_count() > 1 else loss
        run = jax.jit(harness.value_and_gradient(lambda f, data: data(f), inner))
        program = run.lower(start, shared).compile()
        value, gradient = program(start, shared)
        norm = jnp.sqrt(sum(jnp.vdot(x, x) for x in jax.tree.leaves(gradient)))
        analysis: Any = program.memory_analysis()
        reply({
            "value": float(value), "gradient_norm": float(norm),
            "sums": str(program.as_text()).count(" all-reduce("),
            "argument_bytes": int(analysis.argument_size_in_bytes),
            "temporary_bytes": int(analysis.temp_size_in_bytes),
        })  # fmt: skip

        calls[name] = functools.partial(waited, program, start, shared), inner
        del loss
    for line in sys.stdin:
        call, inner = calls[line.strip()]
        reply(harness.turn(call, SHORTEST_TURN) / inner)


def waited(program: Callable[..., Any], *arguments: Any) -> Any:
    return jax.block_until_ready(program(*arguments))


def reply(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def child(devices: int) -> subprocess.Popen[str]:
    """A worker with so many devices on the cores of this process."""
    flag = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sharded", "--worker"], text=True,
        env=os.environ | {"XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def answer(worker: subprocess.Popen[str]) -> Any:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a worker ended; its message stands above")
    return json.loads(line)


def asked(worker: subprocess.Popen[str], name: str) -> float:
    """Milliseconds of one evaluation."""
    assert worker.stdin is not None
    worker.stdin.write(f"{name}\n")
    worker.stdin.flush()
    return answer(worker)


def measured() -> dict[str, dict[int, dict[str, Any]]]:
    """What workers say of their programs, and their times in turns."""
    workers = {}
    found: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in PROBLEMS}
    for devices in DEVICES:  # one after another, as each compiles
        workers[devices] = child(devices)
        for name in PROBLEMS:
            found[name][devices] = answer(workers[devices])
    for name, rows in found.items():
        check_equal(name, list(rows.values()))
        times: dict[int, list[float]] = {devices: [] for devices in DEVICES}
        for turn in range(ROUNDS):
            for devices in DEVICES if turn % 2 == 0 else reversed(DEVICES):
                times[devices].append(asked(workers[devices], name))
        for devices, seen in times.items():
            rows[devices] |= {
                "milliseconds": round(float(np.median(seen)), 3),
                "fastest": round(min(seen), 3),
                "slowest": round(max(seen), 3),
            }
    for worker in workers.values():
        worker.communicate()
    return found


def check_equal(name: str, rows: list[dict[str, Any]]) -> None:
    for quantity in ("value", "gradient_norm"):
        values = [row[quantity] for row in rows]
        if not np.allclose(values, values[0], rtol=1e-5):
            raise SystemExit(f"{name}: {quantity} differs by devices: {values}")


def main() -> int:
    """Measures, prints a table, writes the record."""
    if "--worker" in sys.argv:
        work()
        return 0
    found = measured()
    first, last = DEVICES[0], DEVICES[-1]
    ratios = {
        name: round(rows[last]["milliseconds"] / rows[first]["milliseconds"], 2)
        for name, rows in found.items()
    }
    values = {
        "setting": "sensing: order 4, D = widths = 16, 2^20 observations; "
        "paper: order 4, D 8, widths 512, 2048 observed; float32",
        "results": found, "eight_over_one": ratios,
    }  # fmt: skip
    path = harness.write_record("sharded", values)
    table = Table(box=None)
    for heading in ("", "devices", "ms", "fastest", "slowest", "temporary MB"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, rows in found.items():
        for devices, row in rows.items():
            table.add_row(
                name, str(devices), f"{row['milliseconds']:.2f}", f"{row['fastest']:.2f}",
                f"{row['slowest']:.2f}", f"{row['temporary_bytes'] / 1e6:.1f}",
            )  # fmt: skip
    console = Console(width=100)
    console.print(table)
    console.print(f"eight devices / one: {ratios}")
    console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
