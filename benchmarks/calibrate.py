"""Calibration: the rates of the default device, and what a plan's alternatives cost on it.

    python -m benchmarks.calibrate
    python -m benchmarks.calibrate --dims 8 8 8 8 --widths 512 --observations 2048

Prints a `Rates(...)` for `htfjax.contraction_plan(..., rates=...)`: medians of some rounds,
and how far apart the rounds were. With the sizes of a problem it also prints predicted and
measured milliseconds of every alternative at every node. Takes about 10 seconds, with
sizes some 10 more; with --quick about 3 and 5. Nothing is written.
"""

import argparse
import dataclasses
import functools
import math
import operator
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import htfjax as htf
from benchmarks.timing import seconds_inside, with_gradient

ROUNDS, QUICK_ROUNDS = 5, 1

Operands = tuple[list[jax.Array], jax.Array | None, list[jax.Array | None]]


def measure_rates() -> htf.Rates:
    """Times five small programs on the default device; takes about a second."""
    f32 = jnp.float32
    x, weight = jnp.full((256, 512), 0.5, f32), jnp.full((512, 512), 1e-3, f32)
    rows, table = jnp.full((2048, 128), 0.5, f32), jnp.full((256, 128), 0.5, f32)
    index = jnp.arange(2048, dtype=jnp.int32) * 37 % 256

    def multiplied(operands: Any) -> jax.Array:
        return jnp.matmul(*operands, precision="highest")

    def chained(x: jax.Array) -> jax.Array:
        return functools.reduce(lambda y, _: multiplied((y, x)), range(8), x)

    def time(function: Any, operands: Any) -> float:
        # The fastest repeat: what else runs on the machine now does not belong to it.
        return seconds_inside(function, operands, repeats=25, summary=min)

    product = time(with_gradient(multiplied), (x, weight))
    stream = time(lambda pair: pair[0] * pair[1], (rows, rows))
    gather = time(with_gradient(lambda t: t[index]), table)
    short = time(with_gradient(lambda t: t[index]), table[:, :4])
    small = time(chained, jnp.full((16, 16), 1e-2, f32))
    return htf.Rates(
        flops=6 * x.size * weight.shape[1] / product,
        stream_bytes=3 * rows.nbytes / stream,
        gather_bytes=4 * rows.nbytes / gather,
        step_seconds=small / 8,
        row_seconds=short / len(index),
    )


def measure_plan(plan: htf.Plan, *, repeats: int = 9) -> Any:
    """Measured seconds of value and gradient of every alternative at every node.

    Each is a small program of its own on float32 operands of the sizes that the plan's
    other choices give them, so that the sum over nodes is what the plan costs up to
    overlap. The form is that of `plan.costs`; `plan.explain(measured)` prints both.
    """
    return tuple(
        tuple((route, _alternative(plan, k, route, repeats)) for route, _ in costs)
        for k, costs in enumerate(plan.costs)
    )


def spelled(rates: list[htf.Rates]) -> str:
    """Medians with two digits as Python, and how far apart the rounds were."""
    fields = [field.name for field in dataclasses.fields(htf.Rates)]
    seen = {name: [getattr(r, name) for r in rates] for name in fields}
    lines = [
        f"    {name}={float(np.median(x)):.1e},  # {min(x):.1e} to {max(x):.1e}"
        for name, x in seen.items()
    ]
    return "\n".join(("htfjax.Rates(", *lines, ")"))


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="one round, fewer repeats")
    made.add_argument("--dims", type=int, nargs="+", help="mode dimensions of a problem")
    made.add_argument("--tree", choices=("perfect", "flat"), default="perfect")
    made.add_argument("--widths", type=int, default=64, help="of every node inside")
    made.add_argument("--observations", type=int, default=2048)
    return made


def main(words: list[str] | None = None) -> int:
    """Measures and prints."""
    given = parser().parse_args(words)
    device, write = (
        jax.devices()[0],
        Console(soft_wrap=True, highlight=False, markup=False).print,
    )
    rounds = QUICK_ROUNDS if given.quick else ROUNDS
    measured = [measure_rates() for _ in range(rounds)]
    write(
        f"# {device.platform} {device.device_kind}, jax {jax.__version__}, {rounds} rounds"
    )
    write(spelled(measured))
    if given.dims:
        make = htf.perfect if given.tree == "perfect" else htf.flat
        middle = {
            field.name: float(np.median([getattr(r, field.name) for r in measured]))
            for field in dataclasses.fields(htf.Rates)
        }
        plan = htf.contraction_plan(
            make(len(given.dims)), given.dims, given.widths, given.observations,
            masked=True, rates=htf.Rates(**middle),
        )  # fmt: skip
        write(plan.explain(measure_plan(plan, repeats=3 if given.quick else 9)))
    return 0


def _alternative(plan: htf.Plan, node: int, route: str, repeats: int) -> float:
    if node < plan.tree.order:
        return 0.0  # a leaf's table is its matrix
    function = {
        "table": _table,
        "dense": _dense,
        "masked": _masked,
    }.get(route, _rows)
    tables, weight, reads = _operands(plan, node, route)
    work = with_gradient(lambda arrays: function((arrays[0], arrays[1], reads)))
    seconds = seconds_inside(work, (tables, weight), repeats=repeats)
    if seconds < 1e-4:  # too short to be told from the call itself
        seconds = seconds_inside(work, (tables, weight), repeats=repeats, inner=300)
    return seconds


def _rows(operands: Operands) -> jax.Array:
    """Rows of the children, read where they are not per observation, times the matrix."""
    tables, weight, reads = operands
    joint = functools.reduce(
        operator.mul,
        [
            table if read is None else table[read]
            for table, read in zip(tables, reads, strict=True)
        ],
    )
    return joint if weight is None else jnp.matmul(joint, weight, precision="highest")


def _table(operands: Operands) -> jax.Array:
    """One row for every combination of the children's, times the matrix."""
    tables, weight, _ = operands
    assert weight is not None
    joint = tables[0]
    for table in tables[1:]:
        joint = (joint[:, None] * table[None]).reshape(-1, table.shape[1])
    return jnp.matmul(joint, weight, precision="highest")


def _dense(operands: Operands) -> jax.Array:
    return _tensor(operands)[operands[2][0]]


def _masked(operands: Operands) -> jax.Array:
    values = _tensor(operands)
    return values * (values - 1)


def _tensor(operands: Operands) -> jax.Array:
    """The whole tensor: at the root, tables are the leaves of a flat tree."""
    tables, weight, _ = operands
    leaves = htf.Factors(tree=htf.flat(len(tables)), weights=(*tables, weight))
    return htf.end_tensor(leaves).reshape(-1)


def _operands(plan: htf.Plan, node: int, route: str) -> Operands:
    tree = plan.tree
    columns = 1 if node == tree.root else plan.width(tree.parent[node])
    width = plan.width(node)
    count = plan.count(node, "rows" if route == "gather" else route)
    tables: list[jax.Array] = []
    reads: list[jax.Array | None] = []
    for child in tree.children[node]:
        below = plan.routes[child] if route in ("rows", "dedup", "gather") else "table"
        size = plan.count(child, below)
        tables.append(_filled(size, width))
        per_row = below == "rows" and route != "dedup"
        reads.append(None if per_row else _read(size, count))
    if route == "dense":
        size = math.prod(table.shape[0] for table in tables)
        reads = [_read(size, plan.batch)]
    return tables, _filled(width, columns), reads


def _filled(rows: int, columns: int) -> jax.Array:
    """Values of both signs; what they are does not matter for speed."""
    angles = jnp.arange(rows * columns, dtype=jnp.float32).reshape(rows, columns)
    return jnp.cos(angles)


def _read(size: int, count: int) -> jax.Array:
    """Rows out of order, as observations come."""
    return jnp.asarray(np.arange(count) * 7919 % size, jnp.int32)


if __name__ == "__main__":
    sys.exit(main())
