"""Worker: compiles one program for one target and prints what became of it.

`python -m benchmarks.ahead_of_time.compile_one TARGET PROGRAM` prints a line of JSON last.
"""

import json
import os
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.ahead_of_time.targets import TARGETS, Target, devices_of, prepare

# Operations by which routes differ; products and convolutions with their shapes.
ROUTED = ("dot_general", "convolution", "gather", "scatter", "dynamic_slice")
LONGEST = 2000  # characters of a refusal that are kept


def compiled(target: Target, name: str) -> dict[str, Any]:
    """What compiling a program said, as a row of the record."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding

    from benchmarks.ahead_of_time import products, program_text
    from benchmarks.ahead_of_time.programs import AXIS, PROGRAMS, shapes

    mesh = Mesh(np.array(devices_of(target), object), (AXIS,))
    case = PROGRAMS[name].build(mesh)

    def place(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return x if x.sharding else x.update(sharding=NamedSharding(mesh, case.spec))

    def lower(function: Any, arguments: Any) -> Any:
        placed = jax.tree.map(place, shapes(arguments))
        return jax.jit(function, donate_argnums=case.donated).trace(*placed).lower(
            lowering_platforms=(target.platform,)
        ), jax.make_jaxpr(function)(*shapes(arguments))

    row: dict[str, Any] = {"target": target.name, "program": name, "steps": case.steps}
    begun = time.perf_counter()
    lowered, jaxpr = lower(case.function, case.arguments)
    row["lower_seconds"] = round(time.perf_counter() - begun, 2)
    row["flops"] = products.flops(jaxpr.jaxpr)
    if case.forced is not None:
        own = routes(lowered.as_text())
        there = routes(lower(*case.forced(target.platform))[0].as_text())
        host = routes(lower(*case.forced("cpu"))[0].as_text())
        row |= {"routes_of_the_platform": own == there, "routes_of_the_host": own == host}
    begun, worked = time.perf_counter(), processor_seconds()
    program = lowered.compile()
    row["compile_seconds"] = round(time.perf_counter() - begun, 2)
    row["compile_processor_seconds"] = round(processor_seconds() - worked, 2)
    memory: Any = program.memory_analysis()
    row["temporary_bytes"] = memory.temp_size_in_bytes
    row["peak_bytes"] = (
        memory.argument_size_in_bytes + memory.output_size_in_bytes
        + memory.temp_size_in_bytes - memory.alias_size_in_bytes
    )  # fmt: skip
    counts = program_text.step_of(program.as_text(), case.loops)
    row |= counts._asdict()
    row["predicted_seconds_of_a_step"] = max(
        row["flops"] / case.steps / target.flops, counts.bytes / target.bandwidth
    )
    return row


def processor_seconds() -> float:
    """Of this process so far, with the assemblers that it called."""
    return sum(os.times()[:4])


def routes(text: str) -> Counter[str]:
    """Operations of a lowered program by which routes differ, with what they take."""
    found: Counter[str] = Counter()
    for line in text.splitlines():
        for op in ROUTED:
            if f"stablehlo.{op}" in line:
                types = line.rpartition(" : ")[2].strip()
                found[f"{op} {types}" if "->" in types else op] += 1
    return found


def main() -> int:
    """One row, or the compiler's refusal."""
    target, name = TARGETS[sys.argv[1]], sys.argv[2]
    prepare(target)
    row: dict[str, Any] = {"target": target.name, "program": name}
    try:
        row |= compiled(target, name)
    except Exception as error:
        row["refusal"] = f"{type(error).__name__}: {error}"[:LONGEST]
    sys.stdout.write(json.dumps(row) + "\n")
    return 1 if "refusal" in row else 0


if __name__ == "__main__":
    sys.exit(main())
