"""Compiled programs that commands keep: found again, whole, and shared safely."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sims.common import programs

# Counts the programs that a process compiles, and those that it finds.
LISTEN = """
import json, sys, jax

seen = {"cache_hits": 0, "cache_misses": 0}
def listen(event, **_):
    name = event.rpartition("/")[2]
    seen.update({name: seen[name] + 1} if name in seen else {})
jax.monitoring.register_event_listener(listen)
"""
# Compiles a few programs and tells how many were in the cache, with what they computed.
SCRIPT = (
    LISTEN
    + """
import os, jax.numpy as jnp
from sims.common.programs import kept_programs
x = jnp.asarray(jax.numpy.arange(12.0).reshape(3, 4))
with kept_programs():
    values = []
    for k in range(int(sys.argv[1])):
        step = jax.jit(lambda x: jnp.sin((k + 1) * x) @ x.T)
        values.append(float(step(x)[0, 1]))
        print(k, flush=True)
        if len(sys.argv) > 2 and k == 2:
            os._exit(9)
print(json.dumps(seen | {"values": values}))
"""
)

# Runs a command and tells how many of its programs were compiled.
STUDY = (
    LISTEN
    + """
import runpy
module = sys.argv.pop(1)
try:
    runpy.run_module(module, run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(seen))
"""
)


def start(cache: Path | str, *words: object, script: str = SCRIPT) -> subprocess.Popen:
    names = ("JAX_COMPILATION_CACHE_DIR", "HTFJAX_CACHE")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    environment |= {"HTFJAX_CACHE": str(cache), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def answer(process: subprocess.Popen) -> dict:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "Error reading" not in errors
    return json.loads(out.splitlines()[-1])


def left(cache: Path) -> list[str]:
    """Folders of work and their locks."""
    return sorted(path.name for path in cache.glob("programs/*/work-*"))


@pytest.mark.slow
def test_a_later_process_compiles_nothing(tmp_path: Path) -> None:
    """Nor does one after a process that ended at once: only its last program is lost."""
    gone = start(tmp_path, 5, "ends")
    gone.communicate(timeout=300)
    assert gone.returncode == 9
    assert len(left(tmp_path)) == 2
    first, second = (answer(start(tmp_path, 5)) for _ in range(2))
    assert first["cache_hits"] > 0
    assert first["cache_misses"] == 3  # the last one of the first process, and two more
    assert second["cache_misses"] == 0
    assert second["values"] == first["values"]
    assert left(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("incremental_rank", "--panel htf --widths 4 --mode-dims 3 --observed 60 "
         "--target-ranks 2 --num-steps 100"),
        ("init_scale", "--quick --widths 3 --stds 0.5 --stop-loss 0.1"),
    ],
)  # fmt: skip
def test_the_second_run_of_a_study_compiles_a_third_at_most(
    module: str, words: str, tmp_path: Path
) -> None:
    """Of the programs of the first, into another folder and by another process."""
    first, second = (
        answer(start(tmp_path / "cache", f"sims.{module}", "--out", tmp_path / name,
                     *words.split(), script=STUDY))
        for name in ("one", "two")
    )  # fmt: skip
    assert first["cache_misses"] > 10
    assert second["cache_misses"] <= first["cache_misses"] / 3


def test_the_cache_can_be_elsewhere_and_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(programs.SWITCH, "off")
    assert programs.cache_folder() is None
    monkeypatch.setenv(programs.SWITCH, str(tmp_path))
    folder = programs.cache_folder()
    assert folder is not None
    assert folder.parent == tmp_path / "programs"
    with programs.kept_programs():  # these tests have jax's own cache: it is left alone
        assert not folder.exists()


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert answer(start(tmp_path / "file", 1))["cache_hits"] == 0


def test_work_of_others_is_left_alone(tmp_path: Path) -> None:
    """While they are at work; files that are not ours always."""
    mine = tmp_path / "work-of-mine" / "file"
    mine.parent.mkdir()
    mine.write_text("mine")
    (tmp_path / "shared").mkdir()
    with programs._work_folder(tmp_path) as work:
        (work / "a").write_text("a")
        programs._clear_left(tmp_path)
        assert (work / "a").exists()
    assert not work.exists()
    assert mine.read_text() == "mine"


def test_the_oldest_programs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate(("old", "middle", "new")):
        (tmp_path / name).write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (age, age))
    monkeypatch.setattr(programs, "MOST_BYTES", 20)
    programs._remove_oldest(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"middle", "new"}


@pytest.mark.durable
def test_many_processes_at_once_and_many_that_are_killed(tmp_path: Path) -> None:
    """No hang, no wrong program, nothing left."""
    together = [answer(p) for p in [start(tmp_path, 4) for _ in range(20)]]
    killed = [start(tmp_path, 8) for _ in range(20)]
    for i, process in enumerate(killed):
        if i % 2:  # at different places of their work
            assert process.stdout is not None
            for _ in range(1 + i % 7):
                process.stdout.readline()
        else:
            time.sleep(0.05 * i)
        process.send_signal(signal.SIGKILL)
    for process in killed:
        process.communicate(timeout=300)
    last = answer(start(tmp_path, 8))
    assert all(each["values"] == last["values"][:4] for each in together)
    assert answer(start(tmp_path, 8))["cache_misses"] == 0
    assert left(tmp_path) == []
