"""Check of every program on every target: compiled ahead of time, a process for each.

Rows go into `benchmarks/records/ahead_of_time.jsonl` as they come; one that was compiled
from the same sources by the same versions is kept. At the end what is wrong is listed:
refusals, callbacks to the host, collectives in lanes, scatters, sorts and serial loops in a
step, float64, the routes of another platform, more memory than the device has, and programs
that take long to compile.
"""

import argparse
import fnmatch
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.ahead_of_time.programs import PROGRAMS
from benchmarks.ahead_of_time.reading import faults
from benchmarks.ahead_of_time.targets import TARGETS
from benchmarks.harness import RECORDS, commit, read_rows

RECORD = RECORDS / "ahead_of_time.jsonl"
ROOT = Path(__file__).parents[2]
SOURCES = ("htfjax/**/*.py", "benchmarks/ahead_of_time/*.py", "benchmarks/schemes.py")

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles what is asked for; 1 if the compiler refused something."""
    asked = parsed(arguments)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    pythons = {"tpu": asked.tpu_python, "cuda": asked.cuda_python, "cpu": sys.executable}
    wanted = [
        (target, program)
        for target in asked.targets
        for program in PROGRAMS
        if fnmatch.fnmatch(program, asked.programs)
        and PROGRAMS[program].many == (TARGETS[target].devices > 1)
    ]
    kept = {(row["target"], row["program"]): row for row in read_rows(RECORD)}
    identities: dict[str, str] = {}
    begun = time.monotonic()
    for number, (target, program) in enumerate(wanted, 1):
        python = pythons[TARGETS[target].platform]
        identity = identities.setdefault(python, identity_of(python))
        row = kept.get((target, program), {})
        said = "kept"
        if asked.force or row.get("identity") != identity:
            row = compile_apart(python, target, program, asked.limit)
            row |= {"identity": identity, "commit": commit(ROOT)}
            kept[target, program] = row
            write(kept)
            said = f"{row.get('compile_seconds', '-')} s"
        wrong = "; ".join(faults(row))
        left = (time.monotonic() - begun) / number * (len(wanted) - number)
        console.print(
            f"[{number}/{len(wanted)}, {left:.0f} s left] {target}, {program}: {said}"
            + (f"; {wrong}" if wrong else "")
        )
    return 1 if any("refusal" in kept[key] for key in wanted) else 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ahead_of_time.check",
        description="Compiles the library's programs for TPUs and GPUs that are not there. "
        "Most take seconds, networks minutes each; `make check-accelerators` installs the "
        "compilers and calls it.",
    )
    here = sys.executable
    parser.add_argument("--tpu-python", default=here, help="interpreter with libtpu")
    parser.add_argument("--cuda-python", default=here, help="one with jax-cuda12-plugin")
    own = [name for name in TARGETS if TARGETS[name].platform != "cpu"]
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=own)
    parser.add_argument("--programs", default="*", help="a pattern, such as 'spectra*'")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds for a program")
    parser.add_argument("--force", action="store_true", help="compile kept ones too")
    return parser.parse_args(arguments)


def compile_apart(python: str, target: str, program: str, limit: float) -> Row:
    """A row from a process of its own, which a compiler's failure may end."""
    command = [python, "-m", "benchmarks.ahead_of_time.compile_one", target, program]
    row: Row = {"target": target, "program": program}
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False,
            env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return row | {"refusal": f"not compiled after {limit:.0f} s"}
    lines = done.stdout.splitlines()
    if lines and lines[-1].startswith("{"):
        return json.loads(lines[-1])
    said = " ".join(done.stderr.split()[-60:])
    return row | {"refusal": f"the process ended with status {done.returncode}: {said}"}


def identity_of(python: str) -> str:
    """Digest of the sources and of the versions of an interpreter's compiler."""
    code = "from importlib import metadata as m; print([(d.name, d.version) for d in " \
        "sorted(m.distributions(), key=lambda d: d.name) " \
        "if d.name.startswith(('jax', 'libtpu', 'nvidia'))])"  # fmt: skip
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    digest = hashlib.sha256(done.stdout.encode())
    for file in _sources():
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for pattern in SOURCES:
        yield from sorted(ROOT.glob(pattern))


def write(rows: dict[tuple[str, str], Row]) -> None:
    """All rows in the order of targets and programs."""
    targets, programs = list(TARGETS), list(PROGRAMS)
    known = [key for key in rows if key[0] in targets and key[1] in programs]
    known.sort(key=lambda key: (targets.index(key[0]), programs.index(key[1])))
    text = "".join(json.dumps(rows[key]) + "\n" for key in known)
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
