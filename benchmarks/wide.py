"""Do compile time and program size follow the number of levels, not of nodes?

Perfect trees of order 256 and 1024, dimension 2, width 8, 1000 observations, float32:
first call (compilation included) and later calls on grouped factors, and lines of the
lowered program.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import htfjax as htf
from benchmarks import harness, schemes

ORDERS = (256, 1024)


def first_and_later(
    function: Callable[..., Any], *arguments: Any, repeats: int = 9, jit: bool = True
) -> dict[str, Any]:
    """Seconds of the first call, milliseconds of later ones, lines of the program.

    Without `jit` the function is called as it is: it compiles its parts itself.
    """
    jax.clear_caches()
    program: Any = jax.jit(function) if jit else function
    begun = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    first, seen = time.perf_counter() - begun, []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        seen.append(1e3 * (time.perf_counter() - begun))
    lines = len(program.lower(*arguments).as_text().splitlines()) if jit else None
    return {
        "first_call_seconds": round(first, 3),
        "milliseconds": round(float(np.median(seen)), 3),
        "fastest": round(min(seen), 3),
        "slowest": round(max(seen), 3),
        "program_lines": lines,
    }


def measure(order: int) -> dict[str, Any]:
    """Value and gradient of losses, and instruments, on grouped factors."""
    factors, indices, targets = schemes.problem(htf.perfect(order), 2, 8, 1000)
    grouped = htf.group(factors)
    completion = htf.completion_loss(factors.tree, 2, indices, targets)
    vectors = htf.random_vectors(jax.random.key(2), (2,) * order, 1000, dtype=jnp.float32)
    sensing = htf.sensing_loss(jnp.stack(vectors), targets)
    many = htf.sensing_loss(vectors, targets)
    batch = htf.minibatch_loss(completion, 100)
    gradient = jax.value_and_grad(schemes.planned_loss)
    found = {
        "completion": first_and_later(gradient, grouped, completion),
        "minibatch of 100": first_and_later(
            jax.value_and_grad(lambda f, loss: loss(f, jax.random.key(0))), grouped, batch
        ),
        "sensing": first_and_later(gradient, grouped, sensing),
        "sensing, an array a mode": first_and_later(gradient, grouped, many),
        "local component norms": first_and_later(htf.local_component_norms, grouped),
        "squared norm, gradient": first_and_later(
            jax.value_and_grad(htf.squared_norm), grouped
        ),
        "component contributions": first_and_later(htf.component_contributions, grouped),
        "singular values, QR": first_and_later(
            lambda f: htf.spectra(f, method="qr"), grouped
        ),
        "singular values, Gram": first_and_later(
            lambda f: htf.spectra(f, method="gram"), grouped
        ),
        "singular values, QR, not jitted": first_and_later(
            lambda f: htf.spectra(f, method="qr"), grouped, jit=False
        ),
    }
    if order == ORDERS[0]:
        found["completion, single matrices"] = first_and_later(
            gradient, factors, completion
        )
    return found


def main() -> int:
    """Measures, prints and writes the record."""
    console, record = Console(width=110), {}
    for order in ORDERS:
        found = record[f"order {order}"] = measure(order)
        table = Table(title=f"order {order}", box=None, title_justify="left")
        for heading in ("", "first call s", "later ms", "lines"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, row in found.items():
            table.add_row(
                name, f"{row['first_call_seconds']:.2f}", f"{row['milliseconds']:.2f}",
                str(row["program_lines"] or ""),
            )  # fmt: skip
        console.print(table)
    small, large = (record[f"order {order}"] for order in ORDERS)
    record["lines, order 1024 / order 256"] = {
        name: round(large[name]["program_lines"] / small[name]["program_lines"], 2)
        for name in large
        if large[name]["program_lines"]
    }
    console.print("program size:", record["lines, order 1024 / order 256"])
    path = harness.write_record("wide", record)
    console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
