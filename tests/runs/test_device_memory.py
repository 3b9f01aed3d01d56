"""A device with too little memory: what was asked of it, and what to change."""

from pathlib import Path
from typing import Any

import jax
import pytest

import htfjax as htf
from htfjax.runs import batch
from tests.runs import toy

ASKED = "RESOURCE_EXHAUSTED: Out of memory allocating 123456789 bytes."


def run(out: Path, runs: int) -> None:
    grid = htf.runs.Grid(toy.Toy(), range(runs))
    for _ in htf.runs.run(
        grid, out, until_step=toy.NUM_STEPS, record_every=toy.EVERY, build=toy.toy_lane,
        chunk_steps=toy.CHUNK,
    ):  # fmt: skip
        pass


def failing(text: str) -> Any:
    def advance(*_: Any, **__: Any) -> Any:
        raise jax.errors.JaxRuntimeError(text)

    return advance


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (3, r"3 runs on .*123456789 bytes.*`max_lanes` or `memory_bytes`"),
        (1, r"1 run on .*123456789 bytes.*smaller batches, widths or data"),
    ],
)
def test_size_and_option_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int, words: str
) -> None:
    """The folder is as it was: with memory the same call makes the runs."""
    with monkeypatch.context() as patch:
        patch.setattr(batch, "advance", failing(ASKED))
        with pytest.raises(MemoryError, match=words):
            run(tmp_path, runs)
    run(tmp_path, runs)
    assert set(htf.load_results(tmp_path).status.values.ravel()) == {"capped"}


def test_other_errors_of_a_device_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "advance", failing("INTERNAL: the device is lost"))
    with pytest.raises(jax.errors.JaxRuntimeError, match="device is lost"):
        run(tmp_path, 2)
