"""Runs that are ended while they compile their first chunk: the folder resumes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import htfjax as htf
from tests.runs import toy
from tests.runs.test_durable import assert_same

pytestmark = pytest.mark.durable
REPOSITORY = Path(__file__).parents[2]
CHILD = """
import dataclasses, sys, time
from pathlib import Path
import jax
import htfjax as htf
from tests.runs import toy

out, mark = Path(sys.argv[1]), Path(sys.argv[2])


def slow(data, x):
    if (out / "manifest.json").exists():
        mark.touch()
        time.sleep(2)
    return toy.look(data, x)


def toy_lane(setting, key):
    lane = toy.toy_lane(setting, key)
    observe = jax.tree_util.Partial(slow, *lane.observe.args)
    return dataclasses.replace(lane, observe=observe)


state = "ended by force"
try:
    with htf.runs.stop_requested() as requested:
        options = toy.DEFAULTS | {"build": toy_lane, "interrupted": requested}
        for progress in htf.runs.run(toy.grid(), out, **options):
            state = progress.state
except KeyboardInterrupt:
    pass
print(state)
"""


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((signal.SIGINT,), "interrupted"),
        ((signal.SIGTERM,), "interrupted"),
        ((signal.SIGINT, signal.SIGINT), "ended by force"),
        ((signal.SIGKILL,), ""),
    ],
    ids=str,
)
def test_an_end_while_the_first_chunk_is_traced(
    tmp_path: Path, numbers: tuple[int, ...], said: str
) -> None:
    """Manifest and files of others are whole, and the same call ends as if unbroken."""
    out, mark = tmp_path / "run", tmp_path / "tracing"
    out.mkdir()
    (out / "mine.txt").write_text("years of work")
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(out), str(mark)], cwd=REPOSITORY, text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        while not mark.exists():
            assert child.poll() is None
            time.sleep(0.01)
        for number in numbers:
            time.sleep(0.2)
            child.send_signal(number)
        words, errors = child.communicate(timeout=120)
    assert words.strip() == said
    assert not errors
    assert htf.runs.read_sealed(out / "manifest.json")["seeds"] == [0, 1, 2]
    assert not [path for path in out.rglob(".*")]
    assert (out / "mine.txt").read_text() == "years of work"
    assert int(htf.load_results(out).steps.max()) == (
        toy.CHUNK if said == "interrupted" else 0
    )
    assert toy.finish(out).state == "finished"
    toy.finish(tmp_path / "whole")
    assert_same(tmp_path / "whole", out)
    assert (out / "mine.txt").read_text() == "years of work"
