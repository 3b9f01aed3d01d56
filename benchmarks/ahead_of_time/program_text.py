"""Texts of compiled programs: what a step of them does."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][a-z0-9\-]*)\((.*)$")
CALLED = re.compile(
    r"(?:body|condition|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)"
)
BRANCHES = re.compile(r"(?:branch_computations|called_computations)=\{([^}]*)\}")
BODY = re.compile(r"body=%?([\w.\-]+)")
LIBRARY = re.compile(r'custom_call_target="([^"]*)"')
OPERAND = re.compile(r"%([\w.\-]+)")
ARRAY = re.compile(r"\b(pred|[suf]\d+|bf16|c64|c128)\[([\d,]*)\]")
BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128}
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter",
               "collective-permute", "collective-broadcast")  # fmt: skip
# What reaches the host from inside a program.
HOST = ("infeed", "outfeed", "send", "recv")
# What moves nothing.
FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while",
        "conditional", "call", "after-all", "partition-id", "replica-id")  # fmt: skip


class Instruction(NamedTuple):
    """A line of a computation."""

    name: str
    type: str
    op: str
    rest: str  # operands and attributes


class Counts(NamedTuple):
    """What one step of a program holds.

    Attributes:
      fusions: launches of fused code.
      libraries: calls of libraries by their targets.
      collectives: by their names.
      host: transfers to and from the host, callbacks among them.
      scatters, sorts, loops: inside of the step, those in fusions too.
      doubles: instructions in float64.
      bytes: read and written by the instructions of a step, as operands and results have
        them: an upper bound, since caches may keep some.
    """

    fusions: int
    libraries: dict[str, int]
    collectives: dict[str, int]
    host: int
    scatters: int
    sorts: int
    loops: int
    doubles: int
    bytes: int


def computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Instructions of every computation, and the name of the entry."""
    found: dict[str, list[Instruction]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if head := COMPUTATION.match(line):
            lines = found.setdefault(head[1], [])
            entry = head[1] if line.startswith("ENTRY") else entry
        elif body := INSTRUCTION.match(line):
            lines.append(Instruction(*body.groups()))
    return found, entry


def step_of(text: str, loops: int) -> Counts:
    """Counts of one step of a program, `loops` loops deep.

    In each loop the largest body counts: a descent with records is a loop of loops.

    Raises:
      ValueError: fewer loops, so that a step cannot be told from the program.
    """
    known, name = computations(text)
    for depth in range(loops):
        bodies = [
            body[1]
            for instruction in reached(known, name, fused=False)
            if instruction.op == "while" and (body := BODY.search(instruction.rest))
        ]
        if not bodies:
            raise ValueError(f"the program has {depth} loops, expected {loops}.")
        name = max(bodies, key=lambda body: len(list(reached(known, body, fused=True))))
    return _counts(known, name)


def _counts(known: dict[str, list[Instruction]], name: str) -> Counts:
    everywhere = list(reached(known, name, fused=True))
    launched = list(reached(known, name, fused=False))
    ops = Counter(instruction.op for instruction in everywhere)
    libraries = Counter(
        target[1]
        for instruction in launched
        if instruction.op == "custom-call" and (target := LIBRARY.search(instruction.rest))
    )
    host = sum(ops[op] for op in HOST)
    host += sum(count for target, count in libraries.items() if "callback" in target)
    return Counts(
        fusions=sum(instruction.op == "fusion" for instruction in launched),
        libraries=dict(libraries),
        collectives={
            op: count
            for op in COLLECTIVES
            if (count := ops[op] + ops[f"{op}-start"])
        },
        host=host,
        scatters=ops["scatter"],
        sorts=ops["sort"],
        loops=ops["while"],
        doubles=sum("f64[" in instruction.type for instruction in everywhere),
        bytes=_moved(known, name),
    )  # fmt: skip


def reached(
    known: dict[str, list[Instruction]], name: str, *, fused: bool
) -> Iterator[Instruction]:
    """Instructions of a computation and of those that it calls, each computation once.

    Args:
      fused: whether those inside of fusions count, which are not launched by themselves.
    """
    seen, waiting = set(), [name]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        for instruction in known[name]:
            yield instruction
            if fused or instruction.op not in ("fusion", "custom-call"):
                waiting += CALLED.findall(instruction.rest)
                for listed in BRANCHES.findall(instruction.rest):
                    waiting += OPERAND.findall(listed)


def _moved(known: dict[str, list[Instruction]], name: str) -> int:
    """Bytes of operands and results of what a step launches, loops inside it once."""
    total, seen, waiting = 0, set(), [name]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        sizes = {x.name: nbytes(x.type) for x in known[name]}
        for x in known[name]:
            if x.op in ("while", "conditional", "call"):
                waiting += CALLED.findall(x.rest)
                for listed in BRANCHES.findall(x.rest):
                    waiting += OPERAND.findall(listed)
            if x.op not in FREE:
                operands = OPERAND.findall(x.rest.partition("), ")[0])
                total += sizes[x.name] + sum(sizes.get(other, 0) for other in operands)
    return total


def nbytes(kind: str) -> int:
    """Bytes of a type, tuples with all their parts.

    Example:
      >>> nbytes("(f32[2,3]{1,0}, s8[])")
      25
    """
    total = 0
    for name, dims in ARRAY.findall(kind):
        count = 1
        for length in dims.split(",") if dims else ():
            count *= int(length)
        total += count * BITS.get(name, int(re.sub(r"\D", "", name) or 8)) // 8
    return total
