"""The contract holds, and its comparison sees what is lost."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.guards import commands, contract, contract_folders
from tests.marks import slow_unless

LONG = ("mappings", "locality", "flow", "chunks")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers of a session keep the folders of the commands."""
    return commands.shared_folder(tmp_path_factory.getbasetemp())


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=name, marks=pytest.mark.slow if name in LONG else ())
        for name, check in contract.CHECKS.items()
    ],
)
def test_calls_and_results(check: Callable[[], None]) -> None:
    """Names, positional forms, results and their order."""
    check()


FAST = {name for name, job in commands.JOBS.items() if not job.slow}


@pytest.mark.parametrize(
    "name", slow_unless(contract_folders.NAMES, FAST, pytest.mark.durable)
)
def test_folders(name: str, base: Path) -> None:
    """Files, keys, variables, dimensions and coordinates; more of them are allowed."""
    assert (
        contract_folders.broken(
            contract_folders.facts(name, base), contract_folders.kept()[name], name
        )
        == []
    )


def test_every_folder_is_kept() -> None:
    """None is missing, none is left over."""
    assert set(contract_folders.kept()) == set(contract_folders.NAMES)


def test_rank_statistics_takes_its_options() -> None:
    """The job whose folder is looked at uses each of them."""
    options = commands.JOBS["rank_statistics"].options.split()
    for name in ("num-seeds", "widths", "init-std", "num-steps", "record-every",
                 "checkpoint-seconds", "seed"):  # fmt: skip
        assert f"--{name}" in options


@pytest.mark.durable
@pytest.mark.parametrize("name", ["incremental_rank", "rank_statistics"])
def test_the_same_command_keeps_a_finished_folder(
    name: str, base: Path, tmp_path: Path
) -> None:
    """Run again it ends well, with the same numbers."""
    before, again = commands.finished(name, base), tmp_path / "again"
    shutil.copytree(before, again)
    commands.run(name, again)
    assert commands.numbers(name, again) == commands.numbers(name, before)


def test_losses_are_seen() -> None:
    """A key, a file, a variable, a dimension or a label that is gone is named."""
    for name, facts in contract_folders.kept().items():
        assert contract_folders.broken(facts, facts, name) == []
        for part, values in facts.items():
            for key in values:
                found: Any = copy.deepcopy(facts)
                if isinstance(values, dict):
                    del found[part][key]
                else:
                    found[part].remove(key)
                assert len(contract_folders.broken(found, facts, name)) == 1
