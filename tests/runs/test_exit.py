"""Processes that end with an unfinished ensemble: they end, and nothing is lost."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import htfjax as htf
from tests.runs import toy
from tests.runs.test_durable import assert_same

REPOSITORY = Path(__file__).parents[2]
HEAD = """
import sys, threading
from pathlib import Path
import htfjax as htf
from tests.runs import toy

out = Path(sys.argv[1])


def start(out=out, **options):
    return htf.runs.run(
        toy.grid(), out, **{**toy.DEFAULTS, "checkpoint_seconds": 1e9, **options}
    )
"""


def script(out: Path, body: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs a script in a process of its own, which must end by itself."""
    return subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(body), str(out)],
        cwd=REPOSITORY, env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip


def assert_quiet(done: subprocess.CompletedProcess[str], code: int) -> None:
    """It ended with this code and without a complaint."""
    for word in ("Traceback", "Exception ignored", "Error", "Warning"):
        assert word not in done.stderr, done.stderr
    assert done.returncode == code


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder."""
    out = tmp_path_factory.mktemp("whole") / "run"
    toy.finish(out)
    return out


def assert_kept(out: Path, whole: Path, chunks: int) -> None:
    """What was computed can be read, is not computed again, and goes on exactly."""
    data = htf.load_results(out)
    reached = chunks * toy.CHUNK
    assert set(data.steps.values.ravel().tolist()) == {reached}
    assert np.isfinite(data.loss.sel(step=slice(0, reached))).all()
    last = toy.finish(out)
    assert (last.state, last.executed) == ("finished", 6 * (toy.NUM_STEPS - reached))
    assert_same(whole, out)


def test_an_uncaught_exception(tmp_path: Path, whole: Path) -> None:
    """Its traceback holds the generator to the very end."""
    done = script(
        tmp_path,
        """
        def work():
            runs = start()
            for progress in runs:
                raise KeyError("mistake of the user")
        work()
        """,
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("KeyError: 'mistake of the user'")
    assert_kept(tmp_path, whole, 1)


@pytest.mark.durable
def test_a_script_that_stops_iterating_ends(tmp_path: Path, whole: Path) -> None:
    done = script(tmp_path, "runs = start(); next(runs); next(runs)")
    assert_quiet(done, 0)
    assert_kept(tmp_path, whole, 2)


@pytest.mark.durable
def test_sys_exit_and_cycles(tmp_path: Path, whole: Path) -> None:
    """A generator in a reference cycle is collected late."""
    done = script(
        tmp_path,
        """
        import gc
        gc.disable()
        class Holder: pass
        holder = Holder()
        holder.me, holder.runs = holder, start()
        next(holder.runs)
        del holder
        sys.exit(7)
        """,
    )
    assert_quiet(done, 7)
    assert_kept(tmp_path, whole, 1)


@pytest.mark.durable
def test_a_thread_that_outlives_the_main_one(tmp_path: Path, whole: Path) -> None:
    """Python has shut its thread pools; the ensemble goes on to its end."""
    done = script(
        tmp_path,
        """
        import time
        begun = threading.Event()
        def work():
            for progress in start():
                begun.set()
                time.sleep(0.3)
        threading.Thread(target=work).start()
        begun.wait()
        """,
    )
    assert_quiet(done, 0)
    assert htf.load_results(tmp_path).status.values.ravel().tolist() == ["capped"] * 6
    assert_same(whole, tmp_path)


@pytest.mark.durable
def test_a_daemon_thread_at_work(tmp_path: Path, whole: Path) -> None:
    """It ends with the process, as by a kill."""
    done = script(
        tmp_path,
        """
        import time
        begun = threading.Event()
        def work():
            for progress in start(checkpoint_seconds=0.0, interrupted=pause):
                pass
        def pause():
            begun.set()
            time.sleep(60)
        threading.Thread(target=work, daemon=True).start()
        begun.wait()
        """,
        seconds=50,
    )
    assert done.returncode == 0
    toy.finish(tmp_path)
    assert_same(whole, tmp_path)


@pytest.mark.durable
def test_two_open_ensembles_and_a_folder_that_is_gone(tmp_path: Path, whole: Path) -> None:
    """What cannot be saved is named; everything else is saved."""
    done = script(
        tmp_path,
        """
        import shutil
        one, two = start(out / "one"), start(out / "two")
        next(one), next(two)
        shutil.rmtree(out / "one")
        """,
    )
    assert "one` was moved, removed or changed while the run was at work" in done.stderr
    assert done.stderr.count("Traceback") == 1
    assert_kept(tmp_path / "two", whole, 1)
    assert not (tmp_path / "one").exists()


@pytest.mark.durable
@pytest.mark.parametrize("lost", ["checkpoints", "results.zarr", "journal.jsonl", "."])
def test_a_folder_that_loses_a_part_at_work(tmp_path: Path, whole: Path, lost: str) -> None:
    """Named in the last line of what is said; run again, everything is there."""
    out = tmp_path / "run"
    done = script(
        out,
        f"""
        import shutil
        for progress in start(checkpoint_seconds=0.0):
            if not (gone := out.parent / "gone").exists():
                (out / {lost!r}).rename(gone)
        """,
    )
    if lost == "checkpoints":  # they are made again
        assert_quiet(done, 0)
    else:
        assert done.returncode == 1
        assert "was moved, removed or changed" in done.stderr.splitlines()[-1]
        assert "results.zarr" in done.stderr or lost != "results.zarr"
    assert toy.finish(out).state == "finished"
    assert_same(whole, out)


def test_an_interrupt_that_python_drops_is_repeated() -> None:
    """Exceptions of callbacks of the garbage collector are printed and forgotten."""

    def callback(phase: str, info: dict) -> None:
        if phase == "start":
            signal.raise_signal(signal.SIGINT)

    def collect() -> None:
        gc.callbacks.append(callback)
        gc.collect()
        gc.callbacks.remove(callback)
        time.sleep(10)

    with htf.runs.stop_signals() as signals:
        with pytest.raises(KeyboardInterrupt):
            collect()
        assert signals.received == signal.SIGINT
