"""Commands record in their first steps what they recorded when the snapshot was made."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.guards import commands, snapshot


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers of a session keep the folders of the commands."""
    return commands.shared_folder(tmp_path_factory.getbasetemp())


def kept(name: str) -> dict[str, Any]:
    """The entries of a job."""
    entries = snapshot.read(commands.STEM)
    return {key: entry for key, entry in entries.items() if key.startswith(f"{name}/")}


def lines(name: str, found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Where recorded numbers differ; more of them than expected may be recorded."""
    lost = [f"{key} is not recorded" for key in expected if key not in found]
    return lost + [
        line
        for key in expected.keys() & found.keys()
        for line in snapshot.differences(
            found[key], expected[key], commands.tolerance(name, key), key
        )
    ]


JOBS = [
    pytest.param(name, marks=pytest.mark.durable if job.slow else ())
    for name, job in commands.JOBS.items()
]


@pytest.mark.parametrize("name", JOBS)
def test_first_steps(name: str, base: Path) -> None:
    """Integers exactly, floats to 1e-5, networks to 1e-3."""
    found = commands.numbers(name, commands.finished(name, base))
    expected = kept(name)
    assert expected
    assert lines(name, found, expected) == []


@pytest.mark.durable
def test_another_seed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record of every step differs."""
    name = "rank_statistics"
    job = commands.JOBS[name]
    moved = dataclasses.replace(job, options=job.options.replace("--seed 0", "--seed 1"))
    assert moved != job
    monkeypatch.setitem(commands.JOBS, name, moved)
    found = commands.numbers(name, commands.finished(name, tmp_path))
    off = {line.partition(":")[0] for line in lines(name, found, kept(name))}
    assert {f"{name}/{part}" for part in ("loss", "grad_norm", "singular_value")} <= off


def test_every_command_has_a_job() -> None:
    """A command without numbers of its own is looked at by the contract."""
    named = {job.command for job in commands.JOBS.values()} | {
        "cite",
        "info",
        "plot",
        "report",
        "status",
    }
    files = (commands.ROOT / "sims").glob("[!_]*.py")
    assert {path.stem for path in files} == named


def test_every_job_is_kept() -> None:
    """None is missing, none is left over."""
    entries = snapshot.read(commands.STEM)
    assert {key.partition("/")[0] for key in entries} == set(commands.JOBS)


def test_a_small_change_is_seen() -> None:
    """A number off by three tolerances, an integer by one, and a lost variable."""
    for name in commands.JOBS:
        expected = kept(name)
        for key, entry in expected.items():
            changed = copy.deepcopy(expected)
            del changed[key]
            assert lines(name, changed, expected) == [f"{key} is not recorded"]
            if entry["kind"] == "text" or not any(map(_some, entry.get("values", [1]))):
                continue
            changed = expected | {key: _moved(entry, 3 * commands.tolerance(name, key))}
            assert len(lines(name, changed, expected)) == 1, key


def _some(x: Any) -> bool:
    """A number that is neither zero nor missing."""
    return isinstance(x, int | float) and x != 0


def _moved(entry: dict[str, Any], share: float) -> dict[str, Any]:
    """The first number moved: the largest one of the row counts."""
    field = "values" if "values" in entry else "size" if "size" in entry else "first"
    numbers = list(entry[field])
    at = max(range(len(numbers)), key=lambda i: abs(numbers[i]) if _some(numbers[i]) else 0)
    integer = entry["kind"] == "int"
    numbers[at] = numbers[at] + 1 if integer else numbers[at] * (1 + share)
    return entry | {field: numbers}
