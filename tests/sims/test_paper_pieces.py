"""The paper's preset in pieces: stopped by signals again and again, it ends as unbroken."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import htfjax as htf
from htfjax.locality.tasks import cifar10
from tests.sims.small import REPOSITORY

pytestmark = pytest.mark.durable
SECONDS = 600
EPOCHS = 8
# The paper's images, canvas width, distance, coefficients and network, made small where
# it costs no kind of work: a ResNet saves after every epoch.
WORDS = [
    "--preset", "paper", "--distances", "160", "--coefficients", "0", "1", "--seeds", "0",
    "--canvases", "32x224", "--width", "0.0625", "--train-sizes", "16", "--batch-size", "8",
    "--test-size", "8", "--epochs", str(EPOCHS), "--patience", "99", "--workers", "1",
    "--checkpoint-seconds", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in the form of CIFAR-10, with noise in place of its images."""
    folder = tmp_path_factory.mktemp("cifar")
    rng = np.random.default_rng(0)
    for name in (*cifar10.FILES["train"], *cifar10.FILES["test"]):
        shape = (cifar10.RECORDS, cifar10.RECORD)
        records = rng.integers(0, 256, shape, np.uint8)
        records[:, 0] = np.arange(len(records)) % 10
        records.tofile(folder / name)
    return folder


def started(out: Path, images: Path, compiled: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "sims.is_same_class", "--out", str(out), *WORDS, "--data",
         str(images)],
        cwd=REPOSITORY, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=os.environ
        | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
        | {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_COMPILATION_CACHE_DIR": str(compiled)},
    )  # fmt: skip


def runs_of(out: Path) -> list[Path]:
    return sorted(path.parent for path in (out / "runs").glob("*/manifest.json"))


def epochs_of(out: Path) -> int:
    """Epochs of all runs that are on the disk."""
    found = 0
    for path in runs_of(out):
        values = htf.load_results(path).epochs.values.ravel()
        found += int(np.nanmax(values, initial=0))
    return found


def test_a_paper_run_in_pieces_ends_as_unbroken(images: Path, tmp_path: Path) -> None:
    """Each piece leaves at least one epoch more than it found."""
    compiled = tmp_path / "compiled"
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with started(whole, images, compiled) as process:
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    pieces = 0
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGTERM", "SIGINT"):
        before = epochs_of(broken)
        with started(broken, images, compiled) as process:
            end = time.monotonic() + SECONDS
            while epochs_of(broken) <= before and process.poll() is None:
                assert time.monotonic() < end
                time.sleep(0.02)
            process.send_signal(getattr(signal, name))
            _, said = process.communicate(timeout=SECONDS)
        pieces += process.returncode != 0
        assert process.returncode in (0, 130, 143), said
        assert "Traceback" not in said
        assert epochs_of(broken) > before or process.returncode == 0
    assert pieces >= 3
    with started(broken, images, compiled) as process:
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert len(runs_of(whole)) == 2
    for path in runs_of(whole):
        one, other = htf.load_results(path), htf.load_results(broken / "runs" / path.name)
        assert int(np.nanmax(one.epochs)) == EPOCHS
        for name in one.data_vars:
            np.testing.assert_array_equal(one[name], other[name], str(name))
