"""What do all tree singular values cost, and how exact are they?

Float64 and float32: every route against the plain program (make the tensor, lay out each
matricization, decompose it), in JAX and in NumPy, at order 8, and the factored routes alone
at order 64.

As a program that records spectra does it, many times in one loop, and as single calls.
"""

import math
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import htfjax as htf
from benchmarks import harness

ROUTES = ("dense", "qr", "gram")
TIMES = 100


def plain(factors: htf.Factors) -> dict[int, jax.Array]:
    """Every matricization of the end tensor decomposed as it is."""
    tensor = htf.end_tensor(factors)
    return {
        k: jnp.linalg.svd(htf.matricize(tensor, factors.tree.modes[k]), compute_uv=False)
        for k in range(factors.tree.root)
    }


def plain_numpy(factors: htf.Factors) -> dict[int, np.ndarray]:
    """The same in NumPy but for the tensor, which JAX makes."""
    tensor, found = np.asarray(htf.end_tensor(factors)), {}
    for k in range(factors.tree.root):
        rows = factors.tree.modes[k]
        columns = [mode for mode in range(tensor.ndim) if mode not in rows]
        height = math.prod(tensor.shape[mode] for mode in rows)
        matrix = np.transpose(tensor, (*rows, *columns)).reshape(height, -1)
        found[k] = np.linalg.svd(matrix, compute_uv=False)
    return found


def route(name: Any) -> Any:
    """All singular values of all nodes by one route."""
    return lambda factors: {
        k: found.values for k, found in htf.spectra(factors, method=name).items()
    }


def worst_error(values: Mapping[int, Any], exact: Mapping[int, Any]) -> float:
    """Largest error of a singular value over the largest singular value of its node."""
    errors = [
        float(np.max(np.abs(np.asarray(v, np.float64) - exact[k][: len(v)])) / exact[k][0])
        for k, v in values.items()
    ]
    return max(errors)


def problem(order: int, width: int, std: float, dtype: Any) -> htf.Factors:
    """Gaussian factors of dimension 4."""
    return htf.gaussian_factors(
        jax.random.key(0), htf.perfect(order), 4, width, std, dtype=dtype
    )


def measure_order_8(dtype: Any) -> dict[str, Any]:
    """Routes side by side with the plain program, errors against it in float64."""
    factors = problem(8, 32, 0.2, jnp.float64)
    exact = {k: np.asarray(v) for k, v in plain(factors).items()}
    factors = jax.tree.map(lambda w: w.astype(dtype), factors)
    functions = {"plain": plain} | {name: route(name) for name in ROUTES}
    results = harness.measure(
        {
            name: (harness.repeated(function, TIMES), (factors,))
            for name, function in functions.items()
        },
        inner=TIMES,
        shortest_turn=20.0,
    )
    calls = harness.measure(
        {name: (function, (factors,)) for name, function in functions.items()},
        inner=1,
        shortest_turn=20.0,
    )
    # By itself: the threads of its BLAS go on spinning into the next one's turn.
    calls["plain, NumPy"] = harness.milliseconds(lambda: plain_numpy(factors))
    functions["plain, NumPy"] = plain_numpy
    for name, function in functions.items():
        calls[name]["error"] = worst_error(function(factors), exact)
    return {
        "results": results,
        "calls": calls,
        "ratios": _over(results, "plain"),
        "ratios of calls": _over(calls, "plain") | _over(calls, "plain, NumPy"),
    }


def _over(results: dict[str, Any], slow: str) -> dict[str, float]:
    return {
        f"{slow} / {name}": round(
            results[slow]["milliseconds"] / results[name]["milliseconds"], 1
        )
        for name in ROUTES
    }


def measure_order_64() -> dict[str, Any]:
    """The routes that never make the tensor, width 16, float64, without jit."""
    factors = problem(64, 16, 0.25, jnp.float64)
    found = {}
    for name in ("qr", "gram"):
        found[name] = harness.milliseconds(
            lambda name=name: jax.block_until_ready(route(name)(factors))
        )
    return found


def main() -> int:
    """Measures, prints and writes the record."""
    console, record = Console(width=110), {}
    with jax.enable_x64(True):
        for dtype in (jnp.float64, jnp.float32):
            name = f"order 8, D 4, width 32, {jnp.dtype(dtype).name}"
            found = record[name] = measure_order_8(dtype)
            table = Table(title=name, box=None, title_justify="left")
            for heading in ("", "ms in a loop", "one call ms", "error / largest"):
                table.add_column(heading, justify="right" if heading else "left")
            for scheme, row in found["calls"].items():
                looped = found["results"].get(scheme)
                table.add_row(
                    scheme,
                    f"{looped['milliseconds']:.3f}" if looped else "",
                    f"{row['milliseconds']:.3f}",
                    f"{row['error']:.1e}",
                )
            console.print(table)
            console.print(found["ratios"], found["ratios of calls"])
        record["order 64, D 4, width 16, float64"] = found = measure_order_64()
    console.print("order 64, ms:", {k: row["milliseconds"] for k, row in found.items()})
    path = harness.write_record("spectra", record)
    console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
