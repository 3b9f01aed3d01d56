"""Numeric snapshot: what every public function gives, written once and compared since.

`python -m tests.guards.numeric --write` measures everything anew and replaces the stored
file: only where a value was wrong, which the commit then explains.
"""

import argparse
import dataclasses
import functools
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.guards import network_calls, records, tensor_calls, theory_calls
from tests.guards.cases import Case, all_cases, given
from tests.guards.registry import CALLS, Call
from tests.helpers import LITTLE_WORK

FOLDER = Path(__file__).parent / "stored"
DTYPES = ("float64", "float32")
FORMS = {"plain": 3, "grouped": 1}  # trees that each call is made on
MODULES = (tensor_calls, theory_calls, network_calls)


@dataclasses.dataclass(frozen=True)
class Item:
    """A call on a case, or alone in a dtype."""

    call: Call
    case: Case | None
    dtype: str

    @property
    def name(self) -> str:
        """Of the test and of the record."""
        return f"{self.call.name}-{self.case.name if self.case else self.dtype}"


def items() -> list[Item]:
    """Everything that is measured, the items of a call one after the other."""
    found = []
    for call in CALLS.values():
        if call.alone:
            found += [Item(call, None, dtype) for dtype in DTYPES]
        else:
            found += [Item(call, case, case.dtype) for case in chosen_cases(call)]
    return found


@functools.cache
def chosen_cases(call: Call) -> list[Case]:
    """Each call meets three plain trees and a grouped one, other calls other ones."""
    start, cases = zlib.crc32(call.name.encode()), []
    for form, count in FORMS.items():
        fitting = [c for c in all_cases() if c.form == form and call.takes(c)]
        names = list(dict.fromkeys((c.tree, c.root) for c in fitting))
        apart = max(len(names) // count, 1)
        met = {
            names[(start + i * apart) % len(names)] for i in range(count if names else 0)
        }
        cases += [c for c in fitting if (c.tree, c.root) in met]
    return cases


def fast(item: Item) -> bool:
    """One item per call."""
    first = chosen_cases(item.call)[0] if item.case else None
    return not item.call.slow and item.dtype == "float64" and item.case == first


def measure(item: Item) -> dict[str, Any]:
    """The result, and the gradient of its contraction where there is one."""
    call = item.call
    if item.case is None:
        return {"value": call.compute(item.dtype)}
    inputs = given(item.case)
    if not call.traced:
        return {"value": call.compute(inputs)}

    def both(factors: Any) -> tuple[Any, Any]:
        value = call.compute(inputs.on(factors))
        return records.contracted(value) if call.gradient else 0.0, value

    if not call.gradient:
        return {"value": jax.jit(both, compiler_options=LITTLE_WORK)(inputs.factors)[1]}
    program = jax.jit(jax.value_and_grad(both, has_aux=True), compiler_options=LITTLE_WORK)
    (_, value), slopes = program(inputs.factors)
    return {"value": value, "gradient": slopes}


def compare(item: Item, found: dict[str, Any], stored: "Snapshot") -> list[str]:
    """What differs from the record, in words."""
    wrong = []
    allowed = item.call.double if item.dtype == "float64" else item.call.single
    for part, result in found.items():
        name = f"{item.name}/{part}"
        if name not in stored.types:
            wrong.append(f"{name} has no record")
            continue
        kind = records.describe(result)
        if kind != stored.types[name]:
            wrong.append(f"{name} is {kind}, was {stored.types[name]}")
            continue
        error = records.worst(result, stored.numbers[name], together=part == "gradient")
        if not error <= allowed:
            wrong.append(f"{name} differs by {error:.1e} of the largest, {allowed} allowed")
    return wrong


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Stored types and numbers by name."""

    types: dict[str, str]
    numbers: dict[str, np.ndarray]


def read() -> Snapshot:
    """The stored snapshot."""
    types = json.loads((FOLDER / "numeric.json").read_text())
    numbers: dict[str, np.ndarray] = {}
    with np.load(FOLDER / "numeric.npz", allow_pickle=False) as archive:
        for dtype in DTYPES:
            counts = archive[f"{dtype}_counts"]
            names = [name for name in types if _dtype(name) == dtype]
            pieces = np.split(archive[dtype].astype(np.float64), np.cumsum(counts)[:-1])
            numbers |= dict(zip(names, pieces, strict=True))
    return Snapshot(types, numbers)


def taken(measured: dict[str, Any]) -> Snapshot:
    """Types and numbers of results by name."""
    names = sorted(measured)
    return Snapshot(
        {name: records.describe(measured[name]) for name in names},
        {name: records.numbers(measured[name]) for name in names},
    )


def write(taken: Snapshot) -> None:
    """Replaces the stored snapshot."""
    FOLDER.mkdir(exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for dtype in DTYPES:
        pieces = [taken.numbers[n] for n in taken.types if _dtype(n) == dtype]
        arrays[dtype] = np.concatenate(pieces).astype(dtype)
        arrays[f"{dtype}_counts"] = np.array([p.size for p in pieces], np.int32)
    np.savez_compressed(FOLDER / "numeric.npz", allow_pickle=False, **arrays)
    lines = json.dumps(taken.types, indent=0, ensure_ascii=False)
    (FOLDER / "numeric.json").write_text(lines + "\n", encoding="utf-8")


def _dtype(name: str) -> str:
    """Of a record, as the last word of its item's name."""
    return name.partition("/")[0].rpartition("-")[2]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace what is stored")
    parser.add_argument("--only", default="", help="names that hold this text")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    chosen = [item for item in items() if options.only in item.name]
    if options.write:
        measured = {
            f"{item.name}/{part}": result
            for item in chosen
            for part, result in measure(item).items()
        }
        fresh = taken(measured)
        if options.only:  # the rest stays as it is
            kept, names = read(), {item.name for item in chosen}
            stays = {n for n in kept.types if n.rpartition("/")[0] not in names}
            types = {n: kept.types[n] for n in stays} | fresh.types
            numbers = {n: kept.numbers[n] for n in stays} | fresh.numbers
            fresh = Snapshot(dict(sorted(types.items())), numbers)
        write(fresh)
        return 0
    stored = read()
    wrong = [line for item in chosen for line in compare(item, measure(item), stored)]
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    sys.stdout.write(f"{len(chosen)} calls, {len(wrong)} differences\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
