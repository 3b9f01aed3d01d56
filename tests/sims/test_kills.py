"""Kills and signals at random times: the same command ends as if nothing had happened."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import htfjax as htf
from tests.sims.small import REPOSITORY

pytestmark = pytest.mark.durable


COMMANDS = {
    "incremental_rank": "--panel htf --mode-dims 3 --widths 4 --init-std 0.3 --observed 60 "
    "--target-ranks 2 --tolerance 0 --num-steps 10000 --record-every 10",
    "rank_statistics": "--models mf --num-seeds 2 --widths 8 --init-scales 1.0 "
    "--num-steps 6000 --record-every 20 --tolerance 0",
    "phase_diagram": "--models mf --target-ranks 1 --ratios 2 6 --num-seeds 2 --widths 8 "
    "--num-steps 6000 --record-every 20 --tolerance 0",
    "is_same_class": "--preset smoke --distances 4 --epochs 60 --patience 1000 --workers 1",
    "pathfinder": "--preset smoke --epochs 40 --patience 1000 --workers 1",
}
KILLS, TERMS = 20, 5
SECONDS = 300


class Runs:
    """One command with options that take seconds, and its unbroken run."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(REPOSITORY),
            # A restart finds compiled what the first run compiled.
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self.interval = 0
        self.complete(folder / "first")  # compiles
        begun = time.monotonic()
        self.complete(folder / "unbroken")
        self.seconds = time.monotonic() - begun
        out = folder / "unbroken"
        self.end, self.reported = steps_of(out), reported(out)

    @contextlib.contextmanager
    def started(self, out: Path) -> Iterator[subprocess.Popen]:
        """The command at work; killed with its children when the block ends."""
        words = [*COMMANDS[self.name].split(), "--checkpoint-seconds", "0"]
        process = subprocess.Popen(
            [sys.executable, "-m", f"sims.{self.name}", "--out", str(out), *words],
            cwd=REPOSITORY, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def complete(self, out: Path) -> int:
        """Runs to the end; the fewest steps that the folder held meanwhile.

        A kill before the first checkpoint was whole costs what came before it.
        """
        fewest = found = steps_of(out)
        with self.started(out) as process:
            end = time.monotonic() + SECONDS
            while process.poll() is None:
                assert time.monotonic() < end
                now = steps_of(out)
                fewest, self.interval = min(fewest, now), self.interval or now
                time.sleep(0.05)
            assert process.stderr is not None
            said = process.stderr.read()
            assert process.returncode == 0, said
            assert "anew" not in said or found <= self.interval
        return fewest

    def wait_for(self, share: float, process: subprocess.Popen, out: Path) -> None:
        """Until the run says that it has come so far."""
        end = time.monotonic() + SECONDS
        while reported(out) <= share * self.reported:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)

    def compare(self, out: Path) -> None:
        """Every array of the results, bit for bit."""
        whole = htf.load_results(self.folder / "unbroken")
        broken = htf.load_results(out)
        assert set(whole.variables) == set(broken.variables)
        for name, variable in whole.variables.items():
            if not str(name).endswith("_seconds"):
                assert variable.dims == broken[name].dims
                np.testing.assert_array_equal(variable.values, broken[name].values, name)


def steps_of(out: Path) -> int:
    """Steps of all runs that are saved in a folder, as far as it can be read now."""
    with contextlib.suppress(FileNotFoundError):
        if (out / "manifest.json").exists():
            return int(htf.load_results(out).steps.sum())
        files = [*(out / "runs").glob("[!.]*.nc"), *out.glob("[!.]*.nc")]
        places = (*out.glob("*/manifest.json"), *out.glob("runs/*/manifest.json"))
        files += [path.parent for path in places]
        loaded = [htf.load_results(f) for f in files if f.name != "results.nc"]
        return sum(int(run.step[-1]) for run in loaded if isinstance(run, xr.Dataset))
    return 0


def reported(out: Path) -> int:
    """Steps that a run says it has made: for many runs at once in their status."""
    with contextlib.suppress(FileNotFoundError):
        return int(json.loads((out / "status.json").read_text())["steps"])
    return steps_of(out)


@pytest.fixture(scope="module", params=COMMANDS)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("number", range(KILLS))
def test_a_kill_loses_at_most_one_checkpoint_interval(
    runs: Runs, tmp_path: Path, number: int
) -> None:
    """SIGKILL between the first checkpoint and the end, then the same command again."""
    out = tmp_path / "run"
    chance = random.Random(f"{runs.name} {number}")
    with runs.started(out) as process:
        if number % 4:
            runs.wait_for(chance.uniform(0.0, 0.9), process, out)
            time.sleep(chance.uniform(0.0, 0.3))
        else:  # at any time, before the first step perhaps
            time.sleep(chance.uniform(0.0, runs.seconds))
        seen = steps_of(out)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert steps_of(out) >= seen
    fewest = runs.complete(out)
    assert fewest >= seen  # the run went on from there
    assert steps_of(out) == runs.end
    runs.compare(out)


@pytest.mark.parametrize("number", range(TERMS))
def test_sigterm_saves_everything(runs: Runs, tmp_path: Path, number: int) -> None:
    """SIGTERM in the first half: exit code 143, and what was reported is on disk."""
    out = tmp_path / "run"
    chance = random.Random(f"{runs.name} term {number}")
    with runs.started(out) as process:
        runs.wait_for(chance.uniform(0.0, 0.4), process, out)
        seen = reported(out)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 143, said
    assert "Traceback" not in said
    saved = steps_of(out)
    assert saved >= seen
    fewest = runs.complete(out)
    assert fewest >= saved
    runs.compare(out)
