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
    """Tests that fail with the plain form, in a copy of the repository that has it."""
    assert form.edit is not None
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
        path.write_text(edited(form))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rfE", *form.tests],
            cwd=folder, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": folder},
        )  # fmt: skip
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{form.name}: the tests did not run\n{done.stdout[-2000:]}")
    lines = done.stdout.splitlines()
    return [line.split()[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]


def edited(form: Form) -> str:
    """The text of a form's file with the plain form in it."""
    assert form.edit is not None
    text = (ROOT / "htfjax" / form.file).read_text()
    old, new = form.edit
    if old not in text:
        raise RuntimeError(f"{form.name}: htfjax/{form.file} has no {old!r}.")
    return text.replace(old, new)


def verdict(found: dict[str, Any]) -> str:
    """What is lost without a form."""
    lost = [
        name for name, pair in found["measured"].items() if pair["ratio"]["median"] > PAYS
    ]
    lost += [test.split("::")[-1] for test in found["failing"]]
    return ", ".join(lost) or "nothing"


def main(words: list[str] | None = None) -> int:
    """Measures, prints and writes the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, no record")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=FORMS, default=FORMS)
    parser.add_argument("--list", action="store_true", help="names and what they are for")
    given = parser.parse_args(words)
    console = Console(width=120)
    if given.list:
        for form in FORMS.values():
            console.print(f"{form.name} ({form.file}): {form.about}", soft_wrap=True)
        return 0
    table = Table(box=None)
    for heading in (
        "form",
        "file",
        "measured",
        "with",
        "without",
        "without / with",
        "lost",
    ):
        table.add_column(heading, justify="right" if "with" in heading else "left")
    record: dict[str, Any] = {}
    for name in given.only:
        form = FORMS[name]
        console.print(f"{name} ({form.file}): {form.about}", soft_wrap=True)
        found = record[name] = {
            "file": form.file,
            "about": form.about,
            "measured": measure(form, given.quick) if form.problem else {},
            "failing": failing(form) if form.tests else [],
        }
        found["lost"] = verdict(found)
        for unit, pair in found["measured"].items():
            table.add_row(
                name, form.file, unit, f"{pair['before']['median']:.4g}",
                f"{pair['after']['median']:.4g}", f"{pair['ratio']['median']:.2f}",
                found["lost"],
            )  # fmt: skip
        for test in found["failing"] or form.tests:
            word = "fails" if test in found["failing"] else "passes"
            table.add_row(name, form.file, test.split("/")[-1], "passes", word, "",
                          found["lost"])  # fmt: skip
    console.print(table)
    if not given.quick and given.only is FORMS:
        path = harness.write_record("barriers", {"forms": record})
        console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
