"""Commands that are ended as soon as their folder is theirs, while they compile."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import htfjax as htf
from tests.sims.small import REPOSITORY

pytestmark = pytest.mark.durable
COMMANDS = {
    "incremental_rank": "--panel htf --mode-dims 3 --widths 4 --init-std 0.3 --observed 60 "
    "--target-ranks 2 --tolerance 0 --num-steps 4000",
    "rank_statistics": "--models mf --num-seeds 2 --widths 4 --init-scales 1.0 "
    "--num-steps 3000 --tolerance 0",
    "is_same_class": "--preset smoke --distances 4 --epochs 3 --workers 1",
    "mode_tree_shape": "--widths 3 --dim 3 --observed 40 --num-steps 300 --seeds 0",
}
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}


def started(name: str, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"sims.{name}", "--out", str(out), *COMMANDS[name].split()],
        cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip


@pytest.mark.parametrize("word", CODES)
@pytest.mark.parametrize("name", COMMANDS)
def test_an_end_while_compiling(tmp_path: Path, name: str, word: str) -> None:
    """One line, nothing half written, nothing of others touched; it resumes."""
    mine = tmp_path / "mine.txt"
    mine.write_text("years of work")
    with started(name, tmp_path) as process:
        while not (tmp_path / "config.json").exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(getattr(signal, word))
        said, _ = process.communicate(timeout=300)
    assert process.returncode == CODES[word], said
    assert "Traceback" not in said
    assert said.count("the same command resumes") == (word != "SIGKILL"), said
    for path in tmp_path.rglob("*.json"):
        if path.name in ("config.json", "manifest.json", "status.json"):
            assert htf.runs.read_sealed(path)
    with started(name, tmp_path) as process:
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert (tmp_path / "summary.json").exists()
    assert mine.read_text() == "years of work"
