"""Ensembles in child processes: killed, on eight devices, on two processes."""

import dataclasses
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import htfjax as htf
from tests.runs import toy
from tests.runs.test_durable import assert_same

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]


def start(out: Path, *arguments: Any, flags: str = "") -> subprocess.Popen[str]:
    """A child that runs the toy grid."""
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.runs.toy", str(out), *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def start_two(out: Path, *arguments: Any) -> list[subprocess.Popen[str]]:
    """Two processes of two devices each that run the grid together.

    The first one writes to `out`, the other is given a folder of another name.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = "--xla_force_host_platform_device_count=2"
    return [
        start(folder, *arguments, "--process", i, "--port", port, flags=flags)
        for i, folder in enumerate((out, out.with_name("elsewhere")))
    ]


def finished(child: subprocess.Popen[str]) -> str:
    """What a child said, after it ended well."""
    said, errors = child.communicate(timeout=600)
    assert child.returncode == 0, errors
    return said.splitlines()[-1]


def executed(log: Path) -> tuple[int, int]:
    """Steps that all sessions finished, and files that a repetition changed."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return sum(int(a) for a, _ in lines), sum(int(b) for _, b in lines)


def kill_and_count(tmp_path: Path, kills: int, chunks: int, size: int) -> None:
    """SIGKILL at random moments; the records are those of an unbroken run.

    Every kill may cost the chunk whose checkpoint was being written, no more.
    """
    steps, log, out = chunks * 200, tmp_path / "log", tmp_path / "killed"
    log.touch()
    arguments = ("--num-steps", steps, "--chunk-steps", 200, "--size", size)
    rng, sent = random.Random(kills), 0
    for attempt in range(100 * kills):
        seen = log.stat().st_size
        child = start(out, *arguments, "--log", log)
        # Half of the kills come while the child starts, half after its first chunk.
        if attempt % 2:
            while child.poll() is None and log.stat().st_size == seen:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.4))
        else:
            time.sleep(rng.uniform(0.0, 6.0))
        if sent == kills or child.poll() is not None:
            assert finished(child).endswith("finished")
            if sent == kills:
                break
            continue
        child.kill()
        child.communicate()
        sent += 1
    assert sent == kills
    grid = htf.runs.Grid(toy.Toy(size=size), range(3), {"rate": (0.05, 0.1)})
    toy.finish(tmp_path / "whole", grid, until_step=steps, chunk_steps=200)
    assert_same(tmp_path / "whole", out)
    made, changed = executed(log)
    lanes = 6
    assert lanes * steps <= made + lanes * 200 * kills
    assert made <= lanes * (steps + 200 * kills)
    assert changed == 0


@pytest.mark.durable
def test_killed_twice(tmp_path: Path) -> None:
    kill_and_count(tmp_path, 2, 30, 40)


@pytest.mark.durable
def test_killed_twenty_times(tmp_path: Path) -> None:
    kill_and_count(tmp_path, 20, 400, 60)


def test_eight_devices_and_two_processes_equal_one_device(tmp_path: Path) -> None:
    """Bit for bit, and single runs too, with lanes that stop at different times."""
    toy.finish(tmp_path / "one", toy.factor_grid(), **toy.FACTOR_OPTIONS)
    flags = "--xla_force_host_platform_device_count="
    eight = start(tmp_path / "eight", "--factors", flags=f"{flags}8")
    two = start_two(tmp_path / "two", "--factors")
    assert finished(eight) == "8 finished"
    assert [finished(child) for child in two] == ["4 finished"] * 2
    assert not (tmp_path / "elsewhere").exists()  # the first process writes and reads
    assert_same(tmp_path / "one", tmp_path / "eight")
    assert_same(tmp_path / "one", tmp_path / "two")
    data = htf.load_results(tmp_path / "one")
    assert len(set(data.steps.values.ravel().tolist())) > 1
    for place in ((0, 0), (2, 1)):
        rate = float(data.learning_rate[place[0]])
        setting = dataclasses.replace(toy.factor_grid().base, learning_rate=rate)
        lane = htf.runs.make_lane(htf.runs.completion_lane, setting, place[1])
        _, trajectory = htf.continue_descent(
            lane.state, lane.loss, lane.optimizer, num_steps=int(data.steps[place]),
            record_every=10, observe=lane.observe,
        )  # fmt: skip
        run = data.isel(
            learning_rate=place[0], seed=place[1], step=slice(0, len(trajectory.losses))
        )
        np.testing.assert_array_equal(run.loss, trajectory.losses)
        np.testing.assert_array_equal(
            run.singular_value, trajectory.observed["singular_value"]
        )


@pytest.mark.durable
def test_two_processes_share_observations(tmp_path: Path) -> None:
    """One lane at a time, whose observations lie on the devices of both."""
    options = toy.FACTOR_OPTIONS | {"until_step": 100, "tolerance": None}
    toy.finish(tmp_path / "one", toy.factor_grid(), **options)
    for child in start_two(tmp_path / "two", "--factors", "--observations", 4):
        assert finished(child) == "4 finished"
    one, two = (htf.load_results(tmp_path / x).loss for x in ("one", "two"))
    # In float32; some runs stop at different steps, by rounding.
    first = slice(0, one.sizes["step"])
    np.testing.assert_allclose(two.isel(step=first), one, rtol=2e-4)


def test_a_folder_goes_on_with_other_devices(tmp_path: Path) -> None:
    """Begun on one device, ended on eight."""
    toy.finish(tmp_path / "one")
    toy.finish(tmp_path / "moved", until_step=20)
    child = start(tmp_path / "moved", flags="--xla_force_host_platform_device_count=8")
    assert finished(child) == "8 finished"
    assert_same(tmp_path / "one", tmp_path / "moved")
    assert np.isfinite(htf.load_results(tmp_path / "moved").loss).all()


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """Files may grow to 4 kB: the journal hits that in the middle of a line."""
    child = start(tmp_path / "small", "--largest-file", 4000)
    _, said = child.communicate(timeout=600)
    assert child.returncode != 0
    assert "the disk is full" in said
    kept = htf.load_results(tmp_path / "small")
    assert np.isfinite(kept.loss.sel(step=0)).all()
    toy.finish(tmp_path / "small")
    toy.finish(tmp_path / "whole")
    assert_same(tmp_path / "whole", tmp_path / "small")
