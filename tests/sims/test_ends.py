"""Ends of commands: on other cores, a full disk, signals, a killed parent."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import htfjax as htf
from sims import (
    component_dynamics,
    incremental_rank,
)
from sims.common.folder import open_folder
from tests.sims.small import REPOSITORY, assert_same_results, messages, small

pytestmark = pytest.mark.usefixtures("ordinary_promotion")


ON_ONE_CORE = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from pathlib import Path
from sims import incremental_rank
from tests.sims.small import small
incremental_rank.draw = lambda folder, view: None
incremental_rank.run(small(Path("OUT"), num_steps=200))
"""


@pytest.mark.slow
def test_a_resume_on_another_cpu_set_keeps_every_number(
    tmp_path: Path, no_figures: None
) -> None:
    """Begun on one core, with another home and no caches; plans are the same."""
    subprocess.run(
        [sys.executable, "-c", ON_ONE_CORE.replace("OUT", str(tmp_path / "two"))],
        cwd=REPOSITORY, check=True, timeout=300,
        env=os.environ | {
            "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3",
            "JAX_ENABLE_X64": "1", "HOME": str(tmp_path / "home"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        },
    )  # fmt: skip
    incremental_rank.run(small(tmp_path / "one", num_steps=200))
    for name in ("one", "two"):
        incremental_rank.run(small(tmp_path / name, num_steps=600))
    assert_same_results(tmp_path / "one", tmp_path / "two")


LIMITED = """
import resource, runpy, sys
sys.argv = ["x", *{words!r}]
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
runpy.run_module("sims.incremental_rank", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [2_000, 20_000])
def test_a_full_disk_ends_a_command_with_one_line(tmp_path: Path, limit: int) -> None:
    """Records or checkpoint do not fit; nothing comes after the message."""
    pytest.importorskip("resource")
    words = ["--out", str(tmp_path), "--panel", "htf", "--widths", "16", "--mode-dims",
             "4", "--observed", "100", "--num-steps", "2000"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(words=words, limit=limit)],
        cwd=REPOSITORY, text=True, capture_output=True, timeout=300, check=False,
        env=os.environ
        | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
        | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = messages(done.stderr)
    assert "the disk is full" in line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_signals_end_a_theory_command_with_one_line(tmp_path: Path, name: str) -> None:
    """The same command resumes; a part that was under way is computed again."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sims.component_dynamics", "--out", str(tmp_path)],
        cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    try:
        while not (tmp_path / "config.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == (130 if name == "SIGINT" else 143), said
    (line,) = messages(said)
    assert re.match("interrupted: .*the same command resumes", line)
    config = component_dynamics.Config(out=tmp_path)
    with open_folder(tmp_path, config, may_differ=()):
        pass


STUDY = ["--preset", "smoke", "--distances", "4", "--epochs", "2000", "--patience", "9999",
         "--workers", "2", "--checkpoint-seconds", "0"]  # fmt: skip


def started_study(out: Path) -> subprocess.Popen:
    """A study with two workers, both at work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sims.is_same_class", "--out", str(out), *STUDY],
        cwd=REPOSITORY, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    end = time.monotonic() + 300
    while len(list((out / "runs").glob("*/checkpoints/[!.]*"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


@pytest.mark.durable
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """SIGKILL to the parent alone; its folder is free and quiet at once."""
    psutil = pytest.importorskip("psutil")
    process = started_study(tmp_path)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert htf.runs.lock_holder(tmp_path / ".lock") is None


@pytest.mark.durable
@pytest.mark.parametrize("to_all", [False, True])
def test_sigterm_to_a_study_saves_and_leaves_no_worker(
    tmp_path: Path, to_all: bool
) -> None:
    """To the parent, or to every process as a batch system sends it."""
    psutil = pytest.importorskip("psutil")
    process = started_study(tmp_path)
    children = psutil.Process(process.pid).children(recursive=True)
    steps = {p.parent.name: int(htf.load_results(p.parent).step[-1])
             for p in (tmp_path / "runs").glob("*/manifest.json")}  # fmt: skip
    if to_all:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 143, said
    assert "Traceback" not in said
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    for name, step in steps.items():
        assert int(htf.load_results(tmp_path / "runs" / name).step[-1]) >= step
    assert json.loads((tmp_path / "summary.json").read_text())["state"] == "interrupted"
