"""Scale: time and memory against order, width, observations and lanes, beside predictions.

    python -m benchmarks.scaling            # at most 25 minutes on two cores
    python -m benchmarks.scaling --quick    # half a minute; no record

Value and gradient, a step of descent, all spectra (QR route) and an evaluation of the
gradient flow, float32, on one device. A prediction is

    flops / rate of a large product + bytes / rate of a stream + operations x cost of one

with flops, bytes and operations of the compiled program (XLA counts the body of a loop
once, which is one step here) and this machine's rates, the stream's being that of memory:
data that fit a cache move faster, so that a slope is steeper across the edge of the cache.
XLA does not see into LAPACK: the flops of spectra are those of the sweeps, written here.
Slopes are fitted to the sizes of the last decade, in logarithms, the measured ones to each
of three repeats.
"""

import argparse
import dataclasses
import functools
import itertools
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.console import Console
from rich.table import Table

import htfjax as htf
from benchmarks import descent_step, harness, schemes

QUANTITIES = ("value and gradient", "descent", "spectra", "flow")
REPEATS = 3
CALL_SECONDS = 0.3  # that a timed call should last
LEAST_STEPS = 8  # of a timed call: its memory is fresh in the first one
DECADE = 10  # sizes within it of the largest are fitted
ALLOWED = 0.15  # that a slope may be above its prediction
# Instructions that are operations of their own; what is fused or reads a shape is not.
OPERATION = re.compile(
    r"\s+(?:ROOT )?%?\S+ = .*? (fusion|dot|custom-call|call|copy|gather|scatter|sort|"
    r"reduce|while|conditional|rng-bit-generator)\("
)
FUSED = re.compile(r"%?(fused|wrapped|parallel_fu)")
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Size:
    """One point: all numbers but that of the axis as in the axis' base."""

    order: int = 4
    dim: int = 8
    width: int = 16
    observed: int = 512
    lanes: int = 1


# Axis -> base and sizes. The last decade is closer together: a slope is fitted to it.
AXES: dict[str, tuple[Size, tuple[int, ...]]] = {
    "order": (
        Size(dim=2, width=8, observed=1000), (4, 16, 64, 256, 512, 1024, 2048, 4096),
    ),
    "width": (Size(observed=2048), (8, 16, 32, 64, 128, 256, 512, 1024, 2048)),
    "observed": (
        Size(order=8, dim=16), tuple(2**k for k in (10, 12, 14, 16, 18, 19, 20, 21, 22)),
    ),
    "lanes": (Size(), (1, 4, 16, 64, 128, 256, 512, 1024)),
}  # fmt: skip
QUICK: dict[str, tuple[Size, tuple[int, ...]]] = {
    "width": (Size(dim=2, width=4, observed=8), (4, 8)),
    "lanes": (Size(dim=2, width=4, observed=8), (1, 2)),
}
LABELS = {"order": "order", "width": "width", "observed": "observations", "lanes": "lanes"}


def problem(size: Size) -> tuple[Any, Any]:
    """Start and loss; a deep tree is grouped, so that its program follows its height.

    Of a tensor with fewer entries than are observed, some are observed repeatedly.

    The stacks of grouped factors are drawn as they are: to stack thousands of matrices,
    XLA compiles one operation with as many operands.
    """
    tree, dims = htf.perfect(size.order), (size.dim,) * size.order
    if size.order == 4 and size.observed <= size.dim**size.order:
        made = schemes.problem(tree, size.dim, size.width, size.observed)
        factors, indices, targets = made
        return factors, htf.completion_loss(tree, dims, indices, targets)
    rng, stacks = np.random.default_rng(0), []
    empty = jax.eval_shape(functools.partial(_grouped_zeros, tree, size))
    for stack in jax.tree.leaves(empty):
        scale = 1 / max(stack.shape[1], 2) ** 0.5  # so that entries have size one
        stacks.append(jnp.asarray(scale * rng.normal(size=stack.shape), jnp.float32))
    factors = jax.tree.unflatten(jax.tree.structure(empty), stacks)
    indices = rng.integers(0, size.dim, (size.observed, size.order), np.int32)
    targets = rng.normal(size=size.observed).astype(np.float32)
    loss = htf.completion_loss(tree, dims, jnp.asarray(indices), jnp.asarray(targets))
    return factors, loss


def _grouped_zeros(tree: htf.ModeTree, size: Size) -> Any:
    widths = [1 if k == tree.root else size.width for k in range(tree.num_nodes)]
    rows = [size.dim if k < tree.order else size.width for k in range(tree.num_nodes)]
    pairs = zip(rows, widths, strict=True)
    weights = tuple(jnp.zeros(shape, jnp.float32) for shape in pairs)
    return htf.group(htf.Factors(tree=tree, weights=weights))


def asked(axis: str, quantity: str) -> bool:
    """Whether a quantity depends on an axis: spectra know no observations."""
    return (axis, quantity) != ("observed", "spectra")


# Programs


def program(quantity: str, steps: int) -> Callable[[Any, Any], Any]:
    """(factors, loss) -> result, `steps` of the quantity."""
    if quantity == "value and gradient":
        return harness.value_and_gradient(schemes.planned_loss, steps)
    if quantity == "descent":
        return descent_step.descent(None, steps, steps)
    if quantity == "spectra":
        return lambda factors, loss: harness.repeated(_singular_values, steps)(factors)
    return _flow


def _singular_values(factors: Any) -> Any:
    return [found.values for found in htf.spectra(factors, method="qr").values()]


def _flow(factors: Any, loss: Any) -> tuple[Any, jax.Array]:
    """A few steps of the flow, and how many gradients they took."""
    end, trajectory = htf.gradient_flow(
        factors, loss, times=jnp.asarray([1e-3]), rtol=1e-2, atol=1e-4
    )
    return end, trajectory.report.num_evaluations


def over_lanes(one: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """The program over lanes, one after another, as ensembles run on a CPU."""
    return one if lanes == 1 else lambda *batched: lax.map(lambda lane: one(*lane), batched)


def copied(tree: Any, lanes: int) -> Any:
    """A copy of every array for each lane."""
    if lanes == 1:
        return tree
    return jax.tree.map(lambda x: jnp.repeat(x[None], lanes, axis=0), tree)


# Predictions


@dataclasses.dataclass(frozen=True)
class Machine:
    """Rates of this machine.

    Attributes:
      flops: of a large product, a second.
      stream: bytes, read and written, a second, of arrays larger than any cache.
      operation: seconds of one more operation, as ships for CPUs.
    """

    flops: float
    stream: float
    operation: float = htf.platform_rates("cpu").step_seconds


def measured_machine(*, quick: bool) -> Machine:
    """The large product, and the stream of 2^26 numbers."""
    gemm, numbers = (128, 2**16) if quick else (1024, 2**26)
    return Machine(harness.gemm_rate(gemm, REPEATS), harness.stream_rate(numbers, 3))


def predicted_seconds(
    quantity: str, size: Size, count: Row, machine: Machine, factors: Any
) -> float:
    """Of one step of one quantity, over all lanes.

    Args:
      count: what the compiler counts in the quantity; of the flow, whose loops have loops
        inside, in value and gradient: a stage combines five arrays as large as the factors
        beside.
    """
    if quantity == "spectra":
        flops, calls = spectra_work(size)
        return size.lanes * (flops / machine.flops + calls * machine.operation)
    extra = 5 * _bytes_of(factors) / size.lanes if quantity == "flow" else 0
    once = (
        count["flops"] / machine.flops
        + (count["bytes"] + extra) / machine.stream
        + count["operations"] * machine.operation
    )
    return size.lanes * once


def spectra_work(size: Size) -> tuple[float, float]:
    """Flops of the QR sweeps and the decompositions of a perfect tree, and their calls.

    A QR decomposition runs at a third of a product's rate, singular values at a tenth:
    rough numbers, on which slopes hardly depend. On the way up every table is reduced to
    its triangle, on the way down what surrounds a node is; then each pair is decomposed.
    """
    flops, calls, width = 0.0, 0, size.width

    def reduced(count: int, height: int) -> int:
        nonlocal flops, calls
        if height > width:
            flops, calls = flops + 3 * count * 2 * height * width**2, calls + count
        return min(height, width)

    count, heights = size.order, [reduced(size.order, size.dim)]
    while count > 2:
        count //= 2
        joint = reduced(count, heights[-1] ** 2)
        flops += count * 2 * joint * width**2
        heights.append(reduced(count, joint))
    around = 1
    for height in reversed(heights):
        # Two children see the other one's table and what surrounds their parent.
        around = reduced(count, around * height)
        small, large = sorted((height, around))
        flops, calls = flops + 10 * count * small**2 * 2 * large, calls + 2 * count
        flops += count * 2 * around * width**2
        count *= 2
    return flops, calls


def predicted_bytes(quantity: str, size: Size, factors: Any, loss: Any) -> float:
    """Arrays that must be there at once: factors and what moves them, data, node values.

    Value and gradient hold the factors and the gradient, descent two more (the optimizer's
    state and the update), the flow ten (the stages that it combines).
    """
    copies = {"value and gradient": 2, "descent": 4, "spectra": 2, "flow": 10}[quantity]
    weights, data = _bytes_of(factors), _bytes_of(loss)
    if quantity == "spectra":
        return copies * weights + data
    tree = htf.perfect(size.order)
    plan = htf.contraction_plan(tree, (size.dim,) * size.order, size.width, size.observed)
    rows = sum(plan.count(k, plan.routes[k]) for k in range(tree.root))
    if plan.root == "gather":  # reads a row of every table below it for each observation
        tables = [k for k in tree.children[tree.root] if plan.routes[k] == "table"]
        rows += size.observed * len(tables)
    # Values and their cotangents: of one lane, as lanes run one after another.
    return copies * weights + data + 2 * 4 * size.width * rows


def _bytes_of(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


# Measurements


def measure(axis: str, size: Size, machine: Machine) -> list[Row]:
    """Every quantity at one size."""
    one = dataclasses.replace(size, lanes=1)
    factors, loss = problem(one)
    arguments = copied(factors, size.lanes), copied(loss, size.lanes)
    rows: list[Row] = []
    counted = _counted(program("value and gradient", 2), (factors, loss))
    for quantity in (name for name in QUANTITIES if asked(axis, name)):
        own = counted
        if quantity == "descent":
            own = _counted(program(quantity, 2), (factors, loss))
        seconds = predicted_seconds(quantity, size, own, machine, factors)
        steps = int(np.clip(CALL_SECONDS / seconds, LEAST_STEPS, 100))
        run = over_lanes(program(quantity, steps), size.lanes)
        inner = 1 if quantity == "flow" else steps
        row = _timed(run, arguments, inner)
        if quantity == "flow":
            row |= _per_evaluation(row)
        rows.append({
            "axis": axis, "size": getattr(size, axis), "quantity": quantity,
            "predicted_milliseconds": float(f"{1e3 * seconds:.5g}"),
            "predicted_bytes": round(predicted_bytes(quantity, size, *arguments)),
            **row,
        })  # fmt: skip
    return rows


def _counted(run: Callable[..., Any], arguments: tuple) -> Row:
    """Flops, bytes and operations of a program of one lane."""
    compiled = jax.jit(run).lower(*arguments).compile()
    costs: Any = compiled.cost_analysis()
    return {
        "flops": costs.get("flops", 0.0),
        "bytes": costs.get("bytes accessed", 0.0),
        "operations": operations(compiled.as_text() or ""),
    }


def operations(text: str) -> int:
    """Instructions of a compiled program that are operations of their own.

    Example:
      >>> lines = ["fused {", "  a = f[] copy(b)", "}", "ENTRY {", "  c = f[] copy(d)"]
      >>> operations(chr(10).join(lines))
      1
    """
    count, inside = 0, False
    for line in text.splitlines():
        if not line.startswith(" ") and line.endswith("{"):
            inside = not FUSED.match(line)
        count += inside and bool(OPERATION.match(line))
    return count


def _held(compiled: Any) -> int:
    memory = compiled.memory_analysis()
    return int(
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def _timed(run: Callable[..., Any], arguments: tuple, inner: int) -> Row:
    """Milliseconds of a step in every repeat, ascending, and bytes of the program."""
    compiled = jax.jit(run).lower(*arguments).compile()
    result = jax.block_until_ready(compiled(*arguments))
    seen = sorted(
        harness.turn(lambda: jax.block_until_ready(compiled(*arguments))) / inner
        for _ in range(REPEATS)
    )
    found: Row = {
        "milliseconds": [float(f"{ms:.5g}") for ms in seen],
        "bytes": _held(compiled),
    }
    if inner == 1:
        found["evaluations"] = int(np.max(np.asarray(result[1])))
    return found


def _per_evaluation(row: Row) -> Row:
    each = [float(f"{ms / row['evaluations']:.5g}") for ms in row["milliseconds"]]
    return {"milliseconds": each}


# Slopes


def slope(sizes: Any, values: Any) -> float:
    """Exponent of values = c sizes^exponent, least squares in logarithms.

    Example:
      >>> round(slope([1, 2, 4], [3, 12, 48]), 6)
      2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def slopes(rows: list[Row]) -> dict[str, Row]:
    """Slopes over the last decade of every axis and quantity, predicted and measured."""
    found: dict[str, Row] = {}
    order = itertools.product(LABELS, QUANTITIES)
    for axis, quantity in order:
        own = [r for r in rows if (r["axis"], r["quantity"]) == (axis, quantity)]
        top = max((r["size"] for r in own), default=0)
        own = [r for r in own if r["size"] * DECADE >= top]
        if len(own) < 2:
            continue
        sizes = [r["size"] for r in own]
        each = [slope(sizes, [r["milliseconds"][i] for r in own]) for i in range(REPEATS)]
        made = {
            "top": top,
            "milliseconds_at_top": own[-1]["milliseconds"][1],
            "predicted_milliseconds_at_top": own[-1]["predicted_milliseconds"],
            "time": [round(x, 2) for x in sorted(each)],
            "predicted_time": round(
                slope(sizes, [r["predicted_milliseconds"] for r in own]), 2
            ),
            "megabytes_at_top": round(own[-1]["bytes"] / 1e6, 2),
            "memory": round(slope(sizes, [r["bytes"] for r in own]), 2),
            "predicted_memory": round(slope(sizes, [r["predicted_bytes"] for r in own]), 2),
        }
        made["above"] = [
            name
            for name, value in (("time", made["time"][1]), ("memory", made["memory"]))
            if value - made[f"predicted_{name}"] > ALLOWED
        ]
        found[f"{LABELS[axis]}, {quantity}"] = made
    return found


def shown(found: dict[str, Row]) -> Table:
    """One line an axis and quantity."""
    table = Table(box=None)
    for heading in ("", "at", "ms", "slope", "predicted", "MB", "slope", "predicted", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in found.items():
        table.add_row(
            name, str(row["top"]), f"{row['milliseconds_at_top']:.4g}",
            f"{row['time'][1]:.2f}", f"{row['predicted_time']:.2f}",
            f"{row['megabytes_at_top']:.4g}", f"{row['memory']:.2f}",
            f"{row['predicted_memory']:.2f}", ", ".join(row["above"]),
        )  # fmt: skip
    return table


def parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="small sizes of two axes")
    made.add_argument("--axes", nargs="+", choices=LABELS, default=list(LABELS))
    made.add_argument("--minutes", type=float, default=25.0, help="starts no size after")
    made.add_argument("--out", type=Path, default=harness.RECORDS / "scaling",
                      help="folder of finished sizes, not measured again")  # fmt: skip
    return made


def run(axes: dict[str, tuple[Size, tuple[int, ...]]], path: Path, machine: Machine,
        minutes: float) -> tuple[list[Row], list[str]]:  # fmt: skip
    """Rows of all sizes, from the file where they are there; and words on what is not."""
    end, left = time.monotonic() + 60 * minutes, []
    place = {"commit": harness.commit(), "jax": jax.__version__}
    mine = functools.partial(_of, place)
    done = {(r["axis"], r["size"]) for r in filter(mine, harness.read_rows(path))}
    for axis, (base, numbers) in axes.items():
        for number in numbers:
            if (axis, number) in done:
                continue
            if time.monotonic() > end:
                left.append(f"{LABELS[axis]} {number}: no time")
                continue
            try:
                found = measure(axis, dataclasses.replace(base, **{axis: number}), machine)
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                text = " ".join(str(error).split())
                left.append(f"{LABELS[axis]} {number}: out of memory ({text[:120]})")
                break
            for row in found:
                harness.keep_row(path, row | place)
    wanted = {(axis, n) for axis, (_, numbers) in axes.items() for n in numbers}
    rows = [
        row
        for row in filter(mine, harness.read_rows(path))
        if (row["axis"], row["size"]) in wanted
    ]
    return rows, left


def _of(place: Row, row: Row) -> bool:
    return all(row[name] == value for name, value in place.items())


def main(words: list[str] | None = None) -> int:
    """Measures, prints and writes the record."""
    given = parser().parse_args(words)
    given.out.mkdir(parents=True, exist_ok=True)
    axes = QUICK if given.quick else {axis: AXES[axis] for axis in given.axes}
    machine = measured_machine(quick=given.quick)
    path = given.out / f"{'quick' if given.quick else 'rows'}.jsonl"
    rows, left = run(axes, path, machine, given.minutes)
    found = slopes(rows)
    console = Console(width=120)
    console.print(shown(found))
    for words_on_it in left:
        console.print(f"left out: {words_on_it}")
    values = {"machine": dataclasses.asdict(machine), "slopes": found, "left out": left}
    values["rows"] = [{k: v for k, v in r.items() if k not in ("commit", "jax")}
                      for r in rows]  # fmt: skip
    folder = given.out if given.quick or len(axes) < len(AXES) else harness.RECORDS
    written = harness.write_record("scaling", values, folder=folder)
    console.print(f"written to {written}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
