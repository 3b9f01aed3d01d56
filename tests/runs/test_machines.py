"""Ensembles on other machines: memory, locks, homes, and many threads of one process."""

import errno
import json
import os
import platform
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import htfjax as htf
from htfjax.runs.memory import container_memory
from tests.runs import toy
from tests.runs.test_durable import assert_same

REPOSITORY = Path(__file__).parents[2]


def test_memory_where_the_system_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS, which has no such number."""

    def unknown(name: str) -> int:
        raise ValueError(f"unrecognized configuration name {name}")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert toy.finish(tmp_path, until_step=20).state == "finished"


def write(folder: Path, **files: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_container_limits_of_version_2(tmp_path: Path) -> None:
    """The group's own limit and those above it; cached files are given up."""
    root, proc = tmp_path / "cgroup", tmp_path / "self"
    write(root / "a/b", memory__max=1000, memory__current=700)
    write(root / "a/b", memory__stat="anon 400\nactive_file 100\ninactive_file 200")
    write(root / "a", memory__max=5000, memory__current=1000)
    write(root, memory__max="max", memory__current=9000)
    proc.write_text("0::/a/b\n")
    assert sorted(container_memory(root, proc)) == [600, 4000]
    write(root / "a/b", memory__max=100)
    assert min(container_memory(root, proc)) == 0


def test_container_limits_of_version_1(tmp_path: Path) -> None:
    """Also seen from inside, where the path of the host leads nowhere."""
    root, proc = tmp_path / "cgroup", tmp_path / "self"
    write(
        root / "memory", memory__limit_in_bytes=2000, memory__usage_in_bytes=500,
        memory__stat="cache 1\ninactive_file 10\ntotal_inactive_file 100",
    )  # fmt: skip
    proc.write_text("5:cpu,memory:/docker/12ab\n3:cpuset:/docker/12ab\n")
    assert container_memory(root, proc) == [1600]


def test_no_container(tmp_path: Path) -> None:
    assert container_memory(tmp_path / "none", tmp_path / "nowhere") == []
    write(tmp_path / "odd", memory__max="plenty", memory__current=1)
    (tmp_path / "self").write_text("what is this\n")
    assert container_memory(tmp_path / "odd", tmp_path / "self") == []


def test_a_container_makes_fewer_lanes_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host has plenty; the result says what the limit was for."""
    write(tmp_path / "cgroup", memory__max=3_000, memory__current=1_000)
    monkeypatch.setattr("htfjax.runs.memory.ROOT", tmp_path / "cgroup")
    assert psutil.virtual_memory().available > 1e6
    toy.finish(tmp_path / "run", until_step=20)
    assert htf.load_results(tmp_path / "run").attrs["lanes_limited_by_memory"] == 1


@pytest.mark.parametrize("number", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_file_systems_without_flock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    """A grid runs there, and a second one is still refused."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: Any) -> None:
        raise OSError(getattr(errno, number), "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    options: dict[str, Any] = {**toy.DEFAULTS, "until_step": 20}
    runs = htf.runs.run(toy.grid(), tmp_path, **options)
    next(runs)
    assert htf.runs.is_locked(tmp_path)
    with pytest.raises(BlockingIOError, match=f"process {os.getpid()} on host"):
        toy.finish(tmp_path)
    runs.close()
    assert not htf.runs.is_locked(tmp_path)
    assert toy.finish(tmp_path, until_step=20).state == "finished"


def test_a_lock_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not "nobody works there"."""
    (tmp_path / "lock").write_text("")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("htfjax.runs.locks._acquire", refuse)
    with pytest.raises(PermissionError, match=r"lock cannot be read \(Permission denied\)"):
        htf.runs.is_locked(tmp_path)


def test_the_status_names_process_and_host(tmp_path: Path) -> None:
    toy.finish(tmp_path, until_step=20)
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["pid"], status["host"]) == (os.getpid(), platform.node())
    assert status["state"] == "finished"


def test_homes_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    toy.finish(Path("~/run"), until_step=20)
    assert (tmp_path / "run/manifest.json").exists()
    assert not (tmp_path / "~").exists()
    assert not htf.runs.is_locked("~/run")


SCRIPT = """
import sys
{before}
from tests.runs import toy
import htfjax as htf
assert toy.finish(sys.argv[1], until_step=20).state == "finished"
assert float(htf.load_results(sys.argv[1]).loss.min()) > 0
try:
    toy.finish("~/run", until_step=20)
except (ValueError, PermissionError) as error:
    print(error)
"""
NOBODY = """
import os, pwd
os.environ.pop("HOME", None)
def unknown(user):
    raise KeyError(user)
pwd.getpwuid = unknown
"""


@pytest.mark.durable
@pytest.mark.parametrize("before", [NOBODY, "sys.modules['fcntl'] = None"])
def test_no_home_and_no_fcntl(tmp_path: Path, before: str) -> None:
    """A container under an unknown user id; Windows, as far as locks go."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=textwrap.dedent(before)),
         str(tmp_path / "run")],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if before is NOBODY:
        assert "`out=~/run`: `~` has no meaning here" in done.stdout


def in_threads(work: Any, count: int) -> list[Any]:
    """What every thread returned or raised."""
    ends: list[Any] = [None] * count

    def one(i: int) -> None:
        try:
            ends[i] = work(i)
        except Exception as error:
            ends[i] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    return ends


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=pytest.mark.durable)])
def test_four_threads_on_four_folders(tmp_path: Path, rounds: int) -> None:
    """All work, and give what one gives."""
    toy.optimizer()
    toy.finish(tmp_path / "one")
    for turn in range(rounds):
        out = tmp_path / f"{turn}"
        ends = in_threads(lambda i, out=out: toy.finish(out / str(i)), 4)
        assert [getattr(end, "state", end) for end in ends] == ["finished"] * 4
        for i in range(4):
            assert_same(tmp_path / "one", out / str(i))


@pytest.mark.durable
def test_completions_in_threads(tmp_path: Path) -> None:
    """Nothing is shared that is made once per process."""
    options = toy.FACTOR_OPTIONS | {"until_step": 100}
    ends = in_threads(
        lambda i: toy.finish(tmp_path / str(i), toy.factor_grid(), **options), 4
    )
    assert [getattr(end, "state", end) for end in ends] == ["finished"] * 4
    for i in range(1, 4):
        assert_same(tmp_path / "0", tmp_path / str(i))


def test_two_threads_on_one_folder(tmp_path: Path) -> None:
    """The second is refused by name, and the first is not disturbed."""
    runs = htf.runs.run(toy.grid(), tmp_path, **toy.DEFAULTS)
    next(runs)
    (end,) = in_threads(lambda i: toy.finish(tmp_path), 1)
    assert isinstance(end, BlockingIOError)
    assert f"`out={tmp_path}` is in use by process {os.getpid()}" in str(end)
    assert list(runs)[-1].state == "finished"
    shutil.rmtree(tmp_path / "checkpoints")
    assert np.isfinite(htf.load_results(tmp_path).loss).all()
