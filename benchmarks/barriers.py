"""Optimization barriers and spellings for XLA: what is lost without each.

    python -m benchmarks.barriers [--quick] [--only NAME ...]

Compilers change. For every place of the library whose form was chosen for what XLA makes of
it (`barrier_forms.py`), this runs a problem with the library as it is and with the plain
form in its place, alternately in one process, and prints the ratio without / with: above 1
the form pays. Where a form is there for equal bits or for fewer traces, tests are run with
the plain form, and one must fail. What is neither slower, larger nor wrong without its form
can go.
"""

import argparse
import contextlib
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from benchmarks import harness
from benchmarks.barrier_forms import FORMS, Form
from benchmarks.paired import compared, order

ROOT = Path(__file__).parent.parent
SHORTEST_TURN = 50.0  # milliseconds
SIDES = ("before", "after")  # as it is, and with the plain form
PAYS = 1.03  # what is less is taken for noise
COMPILATIONS = 5  # pairs at most: each takes seconds
Context = contextlib.AbstractContextManager[Any]


def measure(form: Form, quick: bool) -> dict[str, Any]:
    """What a form costs and what its plain form does, for each of its measures."""
    assert form.problem is not None
    assert form.plain is not None
    function, arguments = form.problem(quick)
    contexts = {"before": contextlib.nullcontext, "after": form.plain}
    found: dict[str, Any] = {}
    programs, texts = {}, {}
    pairs = 4 if quick else 24
    few = 1 if quick else COMPILATIONS
    if set(form.measures) & {"ms", "MB", "compile s"}:
        count = few if "compile s" in form.measures else 1
        taken: dict[str, list[float]] = {side: [] for side in SIDES}
        for pair in range(count):
            for side in order(pair):
                with contexts[side]():
                    seconds, texts[side], programs[side] = compiled(function, arguments)
                taken[side].append(seconds)
        if texts["before"] == texts["after"]:
            raise RuntimeError(f"{form.name}: the plain form gives the same program.")
        if "compile s" in form.measures:
            found["compile s"] = compared(taken["before"], taken["after"])
        sizes = [programs[s].memory_analysis().temp_size_in_bytes / 1e6 for s in SIDES]
        if "MB" in form.measures:
            found["MB"] = compared(sizes[:1], sizes[1:])
    for name in form.measures:
        if name == "ms":
            calls = {
                s: _call(programs[s], arguments, contextlib.nullcontext) for s in SIDES
            }
            found[name] = compared(*_turns(calls, pairs))
        elif name == "eager ms":
            calls = {s: _call(function, arguments, contexts[s]) for s in SIDES}
            found[name] = compared(*_turns(calls, pairs))
        elif name == "first call s":
            calls = {s: _call(function, arguments, contexts[s]) for s in SIDES}
            found[name] = compared(*_turns(calls, few, first=True))
    return found


def compiled(function: Callable[..., Any], arguments: tuple) -> tuple[float, str, Any]:
    """Seconds to trace and compile a function anew, its program lowered and compiled."""
    jax.clear_caches()
    begun = time.perf_counter()
    # A new function each time, or what was traced before would be taken.
    lowered = jax.jit(lambda *args: function(*args)).lower(*arguments)
    program = lowered.compile()
    return time.perf_counter() - begun, lowered.as_text(), program


def _call(
    function: Callable[..., Any], arguments: tuple, context: Callable[[], Context]
) -> Callable[[], Any]:
    def call() -> Any:
        with context():
            return jax.block_until_ready(function(*arguments))

    return call


def _turns(
    calls: dict[str, Callable[[], Any]], pairs: int, *, first: bool = False
) -> tuple[list[float], list[float]]:
    """Turns of both sides, A B B A; of first calls, with nothing compiled before."""
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    for side in SIDES:
        calls[side]()
    for pair in range(pairs):
        for side in order(pair):
            gc.collect()
            if first:
                jax.clear_caches()
                taken[side].append(1e-3 * harness.turn(calls[side]))
            else:
                taken[side].append(harness.turn(calls[side], SHORTEST_TURN))
    return taken["before"], taken["after"]


def failing(form: Form) -> list[str]:
    """Tests that pass with the form and fail with the plain form.

    Raises:
      RuntimeError: one fails with the form too, or they do not run.
    """
    if broken := _failing(form, (ROOT / "htfjax" / form.file).read_text()):
        raise RuntimeError(f"{form.name}: {broken} fail as it is.")
    return _failing(form, edited(form))


def _failing(form: Form, text: str) -> list[str]:
    """Tests that fail in a copy of the repository where a form's file has this text."""
    listed = subprocess.run(
        ["git", "ls-files", "htfjax", "tests", "benchmarks", "sims", "*.py", "*.toml"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name in listed:
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
        path = Path(folder) / "htfjax" / form.file
        path.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rfE", *form.tests],
            cwd=folder, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": folder},
        )  # fmt: skip
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{form.name}: the tests did not run\n{done.stdout[-2000:]}")
    lines = done.stdout.splitlines()
    failed = [line.split()[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return sorted({name.split("[")[0] for name in failed})


def edited(form: Form) -> str:
    """The text of a form's file with the plain form in it."""
    assert form.edit is not None
    text = (ROOT / "htfjax" / form.file).read_text()
    old, new = form.edit
    if old not in text:
        raise RuntimeError(f"{form.name}: htfjax/{form.file} has no {old!r}.")
    return text.replace(old, new)


def examined(form: Form, quick: bool) -> dict[str, Any]:
    """What is measured of a form, which tests fail without it, and what is lost."""
    found: dict[str, Any] = {"file": form.file, "about": form.about}
    try:
        found["measured"] = measure(form, quick) if form.problem else {}
        failed = failing(form) if form.tests else []
    except RuntimeError as error:
        return found | {"error": str(error)}
    found["tests"] = {test: test in failed for test in form.tests}
    return found | {"lost": verdict(found["measured"], failed)}


def verdict(measured: dict[str, Any], failed: list[str]) -> str:
    """What is lost without a form."""
    lost = []
    for name, pair in measured.items():
        ratio = pair["ratio"]
        if ratio["median"] > PAYS and (ratio["interval"] or [2])[0] > 1:
            lost.append(name)
    return ", ".join([*lost, *(test.split("::")[-1] for test in failed)]) or "nothing"


def shown(record: dict[str, Any]) -> Table:
    """A row for each quantity and test of each form."""
    table = Table(box=None)
    for heading in ("form", "measured", "with", "without", "without / with", "lost"):
        table.add_column(heading, justify="right" if "with" in heading else "left")
    for name, found in record.items():
        if "error" in found:
            table.add_row(name, found["error"])
            continue
        lost = found["lost"]
        for unit, pair in found["measured"].items():
            with_it, without = (f"{pair[side]['median']:.4g}" for side in SIDES)
            ratio = f"{pair['ratio']['median']:.2f}"
            table.add_row(name, unit, with_it, without, ratio, lost)
        for test, fails in found["tests"].items():
            word = "fails" if fails else "passes"
            table.add_row(name, test.split("::")[-1], "passes", word, "", lost)
    return table


def main(words: list[str] | None = None) -> int:
    """Measures, prints and writes the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, no record")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=FORMS, default=FORMS)
    parser.add_argument("--list", action="store_true", help="names and what they are for")
    given = parser.parse_args(words)
    console, record = Console(width=140), {}
    for name in given.only:
        form = FORMS[name]
        console.print(f"{name} ({form.file}): {form.about}", soft_wrap=True)
        if not given.list:
            record[name] = examined(form, given.quick)
    if given.list:
        return 0
    console.print(shown(record))
    if not given.quick and given.only is FORMS:
        path = harness.write_record("barriers", {"forms": record})
        console.print(f"written to {path}", soft_wrap=True)
    return int(any("error" in found for found in record.values()))


if __name__ == "__main__":
    sys.exit(main())
