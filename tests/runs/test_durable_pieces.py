"""Locks, signals, digests and atomic writes that every writer shares."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from htfjax import _files, runs

ROOT = Path(__file__).parents[2]


def python(code: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


HOLD = """
import pathlib, time
from htfjax import runs
with runs.exclusive_lock(pathlib.Path({path!r}), "it"):
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_second_process_is_refused_and_told_who_works(tmp_path):
    path = tmp_path / "lock"
    child = python(HOLD.format(path=str(path)))
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "in\n"
        with pytest.raises(
            BlockingIOError, match=f"it is in use by process {child.pid} on"
        ):
            runs.exclusive_lock(path, "it").__enter__()
        assert f"process {child.pid} on " in str(runs.lock_holder(path))
    finally:
        child.kill()
        child.communicate()
    assert runs.lock_holder(path) is None
    with runs.exclusive_lock(path, "it"):  # the lock of a dead process is free
        assert f"process {os.getpid()}" in str(runs.lock_holder(path))
    assert runs.lock_holder(path) is None


def test_a_second_thread_is_refused(tmp_path):
    found = []

    def enter():
        try:
            with runs.exclusive_lock(tmp_path / "lock", "it"):
                found.append("in")
        except BlockingIOError:
            found.append("refused")

    with runs.exclusive_lock(tmp_path / "lock", "it"):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert found == ["refused"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_systems_without_flock_use_a_lock_file(tmp_path, monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "lock"
    for _ in range(2):
        with runs.exclusive_lock(path, "it"):
            assert f"process {os.getpid()} on" in str(runs.lock_holder(path))
            with pytest.raises(BlockingIOError, match=f"process {os.getpid()} on"):
                runs.exclusive_lock(path, "it").__enter__()
        assert runs.lock_holder(path) is None


@pytest.mark.slow
def test_a_lock_file_of_a_dead_process_is_taken_over(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "lock"
    child = python(
        "import fcntl\ndef refuse(*_): raise OSError(38, 'no')\nfcntl.flock = refuse\n"
        + HOLD.format(path=str(path))
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    child.kill()
    child.communicate()

    def refuse(*_):
        raise OSError(errno.ENOSYS, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert path.with_name("lock.soft").exists()
    with runs.exclusive_lock(path, "it"):
        pass


def test_other_failures_to_lock_are_not_hidden(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def fail(*_):
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        runs.exclusive_lock(tmp_path / "lock", "it").__enter__()


@pytest.mark.parametrize(
    "content", ['{"dependencies": {}}', '{"process": "etching"}', "[1]", "a lock of mine"]
)
def test_a_file_of_the_user_is_not_the_holder_of_a_lock(tmp_path, content):
    (tmp_path / "lock.json").write_text(content)
    refused = pytest.raises(ValueError, match=r"lock\.json .*not ours; move it away")
    with refused, runs.exclusive_lock(tmp_path / "lock", "it"):
        pass
    assert (tmp_path / "lock.json").read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["lock.json"]
    (tmp_path / "lock.json").write_text("")  # a write that a full disk cut off
    with runs.exclusive_lock(tmp_path / "lock", "it"):
        assert json.loads((tmp_path / "lock.json").read_text())["process"] == os.getpid()
    with runs.exclusive_lock(tmp_path / "lock", "it"):
        pass


@pytest.mark.slow
def test_locks_work_without_fcntl(tmp_path):
    code = "import sys, warnings\nsys.modules['fcntl'] = None\n" + HOLD.format(
        path=str(tmp_path / "lock")
    ).replace("time.sleep(60)", "pass")
    out, err = python(code).communicate(timeout=120)
    assert out == "in\n", err


@pytest.mark.parametrize(
    ("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 143)]
)
def test_signals_are_noted_where_a_run_listens(name, code):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with runs.stop_signals() as handler:
        with runs.stop_requested() as requested:
            assert not requested()
            signal.raise_signal(number)
            assert requested()
        assert handler.exit_code == code
        if name != "SIGUSR1":
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_signals_interrupt_where_nobody_listens(name):
    with runs.stop_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(getattr(signal, name))


def test_a_second_request_does_not_wait():
    with runs.stop_requested() as requested:
        signal.raise_signal(signal.SIGTERM)
        assert requested()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_other_threads_leave_signals_alone():
    before, asked = signal.getsignal(signal.SIGTERM), []

    def listen():
        with runs.stop_requested() as requested:
            asked.append((requested(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert asked == [(False, before)]


def test_sealed_files_notice_every_changed_byte(tmp_path):
    path = tmp_path / "options.json"
    values = {"seed": 3, "name": "a\u00e9", "nested": {"x": [1, 2.5]}}
    runs.write_sealed(path, values)
    assert runs.read_sealed(path) == values
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        changed = bytes([content[place] ^ 1])
        path.write_bytes(content[:place] + changed + content[place + 1 :])
        with contextlib.suppress(ValueError):
            assert runs.read_sealed(path) == values  # white space between values
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is damaged"):
        runs.read_sealed(path)
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="it has no digest"):
        runs.read_sealed(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is damaged"):
        runs.read_sealed(path)


def test_digests_do_not_depend_on_the_order_of_keys():
    assert runs.json_digest({"a": 1, "b": 2}) == runs.json_digest({"b": 2, "a": 1})
    assert runs.json_digest([1, 2]) != runs.json_digest([2, 1])


def test_atomic_writes_replace_files_only(tmp_path):
    target = tmp_path / "f"
    with runs.atomic_write(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    with contextlib.suppress(RuntimeError), runs.atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["f"]
    (tmp_path / "d").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        runs.atomic_write(tmp_path / "d").__enter__()
    with pytest.raises(ValueError, match="not a regular file"):
        runs.atomic_write(os.devnull).__enter__()


def test_atomic_writes_keep_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with runs.atomic_write(tmp_path / "f"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_paths_are_expanded_and_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _files.absolute("path", "~/x") == tmp_path / "x"
    monkeypatch.chdir(tmp_path)
    assert _files.absolute("path", "x") == tmp_path / "x"
    for wrong, kind in ((None, TypeError), (3, TypeError), (b"x", TypeError),
                        ("", ValueError), ("a\0b", ValueError)):  # fmt: skip
        with pytest.raises(kind, match="`path"):
            _files.absolute("path", wrong)
