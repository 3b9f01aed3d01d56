"""The accelerator's record: order, budget, kept rows, errors, a rehearsal on the CPU."""

import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from benchmarks import accelerator, accelerator_rows, harness, tables
from benchmarks.accelerator_rows import FULL, SMALL, Row


def row(name: str, measure: Any = dict, seconds: float = 0.0) -> Row:
    return Row(name, f"size of {name}", seconds, "--lanes 1", measure)


def run(
    monkeypatch: pytest.MonkeyPatch, out: Path, rows: list[Row], *words: str
) -> dict[str, Any]:
    """The record that the command writes of these rows."""
    monkeypatch.setattr(accelerator, "all_rows", lambda sizes: rows)
    assert accelerator.main(["--small", "--out", str(out), *words]) == 0
    (path,) = out.glob("accelerator-*.json")
    return json.loads(path.read_text())


def test_without_an_accelerator_it_says_so(capsys):
    assert accelerator.main([]) == 2
    said = capsys.readouterr().err
    assert "finds none here" in said
    assert "--small" in said


@pytest.mark.parametrize(
    "words", [["--minutes", "-1.0"], ["--lanes", "0"], ["--only", "x"]]
)
def test_what_cannot_be_is_named(words, capsys):
    assert accelerator.main(["--small", *words]) == 2
    assert f"`{' '.join(words)}`" in capsys.readouterr().err


def test_the_paper_comes_first_and_every_size_is_there():
    names = [one.name for one in accelerator_rows.all_rows(FULL)]
    assert names[:2] == ["rates", "value and gradient, plan"]
    assert [n for n in names if n.startswith("lanes")] == [
        f"lanes, {4**k}" for k in range(7)
    ]
    for side in (224, 150):
        for dtype in ("float32", "bfloat16"):
            for word in ("plain", "regularized"):
                assert f"resnet18, {side}, {dtype}, {word}" in names
    assert len(set(names)) == len(names)


def test_rows_are_kept_and_not_repeated(monkeypatch, tmp_path):
    made = []

    def measure() -> dict[str, Any]:
        made.append(1)
        return {"images_per_second": 3.0}

    def failing() -> dict[str, Any]:
        made.append(2)
        raise ValueError("the compiler\n gave up")

    rows = [row("one", measure), row("two", failing), row("three", measure)]
    record = run(monkeypatch, tmp_path, rows)
    assert [r["row"] for r in record["rows"]] == ["one", "two", "three"]
    assert record["rows"][1]["error"] == "ValueError: the compiler gave up"
    assert record["small"]
    record = run(monkeypatch, tmp_path, rows)  # only what failed is tried again
    assert made == [1, 2, 1, 2]
    assert len(record["rows"]) == 3
    monkeypatch.setattr(harness, "commit", lambda: "another")
    run(monkeypatch, tmp_path, rows)
    assert made == [1, 2, 1, 2, 1, 2, 1]


def test_rows_that_do_not_fit_in_the_time_are_left_out(monkeypatch, tmp_path):
    rows = [row("long", seconds=100.0), row("short", seconds=1.0)]
    record = run(monkeypatch, tmp_path, rows, "--minutes", "1")
    assert [r["row"] for r in record["rows"]] == ["short"]
    assert record["not measured"] == ["long"]


def test_a_row_that_does_not_end_is_cut_off(monkeypatch, tmp_path):
    """What was finished is in the record, which is written before the process ends."""
    ended: list[dict[str, Any]] = []

    def end(code: int) -> None:
        (path,) = tmp_path.glob("accelerator-*.json")
        ended.append(json.loads(path.read_text()) | {"code": code})

    monkeypatch.setattr(os, "_exit", end)

    def endless() -> dict[str, Any]:
        while not ended:
            time.sleep(0.01)
        return {}

    rows = [row("one"), row("two", endless), row("three")]
    run(monkeypatch, tmp_path, rows, "--minutes", "0.01")
    assert ended[0]["code"] == 0
    assert [r["row"] for r in ended[0]["rows"]] == ["one"]
    assert ended[0]["cut off"] == "two"
    assert ended[0]["not measured"] == ["two", "three"]


def test_out_of_memory_names_size_and_option(monkeypatch, tmp_path):
    """A real one: more bytes than there are addresses."""

    def measure() -> dict[str, Any]:
        return {"sum": float(jax.block_until_ready(jnp.zeros((2**50,), jnp.int8))[0])}

    (found,) = run(monkeypatch, tmp_path, [row("large", measure)])["rows"]
    assert found["error"].startswith("out of memory: size of large (")
    assert found["change"] == "--lanes 1"
    assert "1125899906842624 bytes" in found["error"]


def test_the_paper_row_measures_and_is_shown(tmp_path, capsys):
    """One real row of every quick kind at reduced size, to the table of the page."""
    words = ["--small", "--out", str(tmp_path), "--only", "value and gradient, plan"]
    assert accelerator.main(words) == 0
    assert "table" in capsys.readouterr().out
    (path,) = tmp_path.glob("accelerator-*.json")
    record = json.loads(path.read_text())
    (found,) = record["rows"]
    assert found["milliseconds"] > 0
    assert found["compile_seconds"] > 0
    assert found["routes"][-1] == "gather"
    assert "value and gradient, plan" in tables.accelerator([record])


@pytest.mark.slow
def test_a_rehearsal_of_every_row(tmp_path):
    assert accelerator.main(["--small", "--out", str(tmp_path), "--minutes", "20"]) == 0
    (path,) = tmp_path.glob("accelerator-*.json")
    record = json.loads(path.read_text())
    assert record["not measured"] == []
    assert not [r for r in record["rows"] if "error" in r]
    rows = {r["row"]: r for r in record["rows"]}
    assert len(rows) == len(accelerator_rows.all_rows(SMALL))
    errors = [r["errors"] for r in record["rows"] if "errors" in r]
    single = [e for kernels in errors for k, e in kernels.items() if "bfloat16" not in k]
    assert max(single) < 1e-3
