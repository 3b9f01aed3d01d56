"""Grids by several processes: Slurm's variables, explicit options, kills, signals."""

import contextlib
import importlib
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import pytest

import htfjax as htf
from sims.common import distributed
from sims.common.distributed import Job
from sims.common.errors import SettingError, SimError
from sims.common.words import parsed
from tests.sims.small import REPOSITORY, assert_same_results

GRID = (
    "--models mf --target-ranks 1 --ratios 2 6 --num-seeds 3 --widths 4 --tolerance 0 "
    "--num-steps 30000 --record-every 100 --checkpoint-seconds 0"
)
SECONDS = 120
PAGE = (REPOSITORY / "docs" / "how-to" / "clusters.md").read_text("utf-8")
SCRIPTS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)
VARIABLES = [name for names in distributed.LOOKED_FOR.values() for name in names]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"coordinator": "node1:1234"}, "`--coordinator` needs `--distributed`"),
        ({"process_id": 0}, "`--process-id` needs `--distributed`"),
        ({"distributed": True, "coordinator": "node1"}, "`--coordinator node1` must be"),
        ({"distributed": True, "coordinator": "a:99999"}, "must be HOST:PORT"),
        ({"distributed": True, "num_processes": 0}, "`--num-processes 0` must be at least"),
        ({"distributed": True, "process_id": -1}, "`--process-id -1` must be at least 0"),
        ({"distributed": True, "num_processes": 2, "process_id": 2},
         "`--process-id 2` must be below `--num-processes 2`: they are counted from 0"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_do_not_fit(options: dict, words: str) -> None:
    with (
        pytest.raises(SettingError, match=re.escape(words)),
        distributed.joined(Job(**options)),
    ):
        pass


def test_without_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked for, what of it there is not, and how to give it."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "12")  # as in sbatch, without srun

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr("jax.distributed.initialize", refuse)
    with pytest.raises(SettingError) as raised, distributed.joined(Job(distributed=True)):
        pass
    said = str(raised.value)
    for words in (
        "that says --coordinator, --num-processes, --process-id.",
        "Slurm (without SLURM_STEP_NODELIST, SLURM_NTASKS, SLURM_PROCID, SLURM_LOCALID)",
        "Open MPI (without OMPI_MCA_orte_hnp_uri)", "Kubernetes (without", "TPU pods",
        "by `srun` or `mpirun`", "--coordinator HOST:PORT --num-processes N --process-id I",
    ):  # fmt: skip
        assert words in said


def test_one_process_is_alone() -> None:
    """Nothing is looked for, nothing is waited for, errors are those of the block."""
    with distributed.joined(Job()) as process:
        assert (process.number, process.count) == (0, 1)
        distributed.check_alike({"a": 1})
        with pytest.raises(SimError, match="wrong"), distributed.raised_by_all():
            raise SimError("wrong")


@pytest.mark.parametrize("kind", [jax.errors.JaxRuntimeError, ValueError, RuntimeError])
def test_a_call_that_another_process_left(
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever type jax gives the error, the line says what to do."""
    taken_back: list[str] = []
    process = distributed.Process(1, 2, taken_back.append)
    monkeypatch.setattr(distributed, "this_process", lambda: process)
    monkeypatch.setattr("os._exit", sys.exit)
    with pytest.raises(SystemExit):
        distributed._end(kind("UNKNOWN: Gloo AllGather failed: closed by peer\nmore"))
    assert capsys.readouterr().err == (
        "error: process 1 of 2: another process is gone or does not answer (UNKNOWN: Gloo "
        "AllGather failed: closed by peer); the same command resumes from what was saved\n"
    )
    assert taken_back == [""]


SPEAKER = """
import os, sys
from sims.common.last_words import last_words
with last_words() as tell:
    tell("first")
    tell(sys.argv[1])
    if sys.argv[2] == "abort":
        os.abort()
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("line", "end"), [("so be it", "abort"), ("", "kill")])
def test_last_words(line: str, end: str) -> None:
    """Of a process that had no chance to say them."""
    done = subprocess.run(
        [sys.executable, "-c", SPEAKER, line, end], cwd=REPOSITORY, text=True,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode < 0
    assert done.stderr == (f"{line}\n" if line else "")


def commands_of(script: str) -> list[list[str]]:
    """Words after `htfjax` of every command in a script, variables of the shell as 1."""
    plain = script.replace("\\\n", " ").replace('"$@"', "")
    plain = re.sub(r'--command="(.*?)"', r"\1", re.sub(r"\$\w+", "1", plain))
    return [shlex.split(words) for words in re.findall(r"htfjax ([^'\n]*)", plain)]


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_commands_of_the_page_are_understood(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their options are those of the commands, and fit together."""
    (words,) = commands_of(SCRIPTS[number])
    module: Any = importlib.import_module(f"sims.{words[0].replace('-', '_')}")

    def read(name: str, options: type, *_: object, **chosen: Any) -> Any:
        return parsed(options, name, more=Job if chosen.get("grids") else None)

    monkeypatch.setattr(module, "command", read)
    monkeypatch.setattr("sys.argv", words)
    asked = module.main()
    assert getattr(asked, "distributed", False) == ("--distributed" in words)
    if "--distributed" in words:
        names = ("coordinator", "num_processes", "process_id")
        job = Job(distributed=True, **{name: getattr(asked, name) for name in names})
        distributed.check_job(job if job.num_processes != 1 else Job())
    assert str(asked.out).startswith("runs/")


# Whole commands


class Runs:
    """One command, its unbroken run by one process, and how it is started by several."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if name not in VARIABLES
        } | {
            "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": str(REPOSITORY), "HTFJAX_CACHE": str(folder / "cache"),
            "HTFJAX_CONNECT_SECONDS": "60",
        }  # fmt: skip
        (alone,) = self.end([self.start(folder / "unbroken")])
        assert alone[0] == 0, alone

    def start(
        self, out: Path, *words: str, grid: str = GRID, **variables: str
    ) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "sims.phase_diagram", "--out", str(out), *grid.split(),
             *words],
            cwd=REPOSITORY, env=self.environment | variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def explicit(self, out: Path, count: int) -> list[subprocess.Popen]:
        """Processes that are told where the others are."""
        place = f"127.0.0.1:{free_port()}"
        words = ("--distributed", "--coordinator", place, "--num-processes", str(count))
        return [self.start(out, *words, "--process-id", str(i)) for i in range(count)]

    def slurm(self, out: Path, count: int) -> list[subprocess.Popen]:
        """Processes that find each other by the variables that srun sets."""
        job = free_job()
        return [
            self.start(out, "--distributed", **task_variables(job, count, i))
            for i in range(count)
        ]

    def end(self, processes: Sequence[subprocess.Popen]) -> list[tuple[int, str, str]]:
        """Exit code, output and errors of each; they end within the minute."""
        limit = time.monotonic() + SECONDS
        try:
            ended = [p.communicate(timeout=limit - time.monotonic()) for p in processes]
        finally:
            for process in processes:
                process.kill()
        codes = [process.returncode for process in processes]
        # Collectives of jax on CPUs say that they are there.
        said = [(re.sub(r"^\[Gloo\].*\n", "", out, flags=re.M), e) for out, e in ended]
        return [(code, *words) for code, words in zip(codes, said, strict=True)]

    def compare(self, out: Path) -> None:
        """Results and summary equal those of one process, bit for bit."""
        assert_same_results(self.folder / "unbroken", out)
        whole = (self.folder / "unbroken" / "summary.json").read_text()
        assert (out / "summary.json").read_text() == whole


def task_variables(job: int, count: int, number: int) -> dict[str, str]:
    """Variables that srun sets for a task, all tasks on this machine."""
    return {
        "SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": str(count), "SLURM_PROCID": str(number),
        "SLURM_LOCALID": str(number),
    }  # fmt: skip


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def free_job() -> int:
    """Number of a job of which jax makes a port that is free."""
    for job in random.sample(range(4096), 100):
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", 65535 - 4096 + 1 + job))
            return job
    raise AssertionError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("distributed"))


@contextlib.contextmanager
def at_work(processes: list[subprocess.Popen], out: Path) -> Iterator[None]:
    """Once some steps are saved, more than there were; all are killed after an error."""
    try:
        limit, before = time.monotonic() + SECONDS, steps_of(out)
        while steps_of(out) <= before:
            assert time.monotonic() < limit
            assert all(process.poll() is None for process in processes)
            time.sleep(0.02)
        yield
    except BaseException:
        for process in processes:
            process.kill()
        raise


def steps_of(out: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return int(json.loads((out / "status.json").read_text())["steps"])
    return 0


@pytest.mark.durable
def test_two_tasks_of_slurm_equal_one_process(runs: Runs, tmp_path: Path) -> None:
    """Process 0 writes and says all, as if it were alone."""
    first, second = runs.end(runs.slurm(tmp_path / "two", 2))
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert "figures, results and summary.json are in" in first[1]
    assert second[1:] == ("", "")
    runs.compare(tmp_path / "two")
    files = [
        sorted(str(p.relative_to(out)) for p in out.rglob("*"))
        for out in (tmp_path / "two", runs.folder / "unbroken")
    ]
    assert files[0] == files[1]
    manifests = [
        json.loads((out / "manifest.json").read_text())
        for out in (tmp_path / "two", runs.folder / "unbroken")
    ]
    assert manifests[0] == manifests[1]


@pytest.mark.durable
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_a_dead_process_ends_the_others(
    runs: Runs, tmp_path: Path, victim: int, how: str
) -> None:
    """Killed, or silent as a machine that is gone; then the same command resumes."""
    out = tmp_path / "run"
    processes = runs.slurm(out, 2)
    with at_work(processes, out):
        processes[victim].send_signal(getattr(signal, how))
        begun = time.monotonic()
        ((code, _, said),) = runs.end([processes[1 - victim]])
        seconds = time.monotonic() - begun
        processes[victim].kill()
        processes[victim].communicate()
    assert code not in (0, 143), said
    assert seconds < 60
    assert f"error: process {1 - victim} of 2: " in said
    assert said.rstrip().endswith("the same command resumes from what was saved")
    saved = int(htf.load_results(out).steps.sum())
    assert saved > 0
    ends = runs.end(runs.slurm(out, 2))
    assert [end[0] for end in ends] == [0, 0], ends
    runs.compare(out)


@pytest.mark.durable
def test_a_signal_to_one_stops_all_and_other_numbers_go_on(
    runs: Runs, tmp_path: Path
) -> None:
    """Begun by four processes, gone on with by two, ended by one."""
    out = tmp_path / "run"
    for count, number in ((4, signal.SIGTERM), (2, signal.SIGUSR1)):
        processes = runs.explicit(out, count)
        with at_work(processes, out):
            processes[-1].send_signal(number)
            ends = runs.end(processes)
        assert [end[0] for end in ends] == [143] * count, ends
        assert "interrupted and saved: the same command resumes" in ends[0][2]
        assert all(end[1:] == ("", "") for end in ends[1:])
        assert json.loads((out / "summary.json").read_text())["state"] == "interrupted"
    assert runs.end([runs.start(out)])[0][0] == 0
    runs.compare(out)


@pytest.mark.durable
def test_four_processes_equal_one(runs: Runs, tmp_path: Path) -> None:
    ends = runs.end(runs.explicit(tmp_path / "four", 4))
    assert [end[0] for end in ends] == [0] * 4, ends
    runs.compare(tmp_path / "four")


@pytest.mark.durable
def test_errors_end_all(runs: Runs, tmp_path: Path) -> None:
    """A folder in use, and options that differ: nobody waits for a process that is gone."""
    out, begun = tmp_path / "run", time.monotonic()
    with htf.runs.locked_folder(out, "`out`", lock=".lock"):
        first, second = runs.end(runs.slurm(out, 2))
    assert (first[0], second[0]) == (2, 2), (first, second)
    assert f"process 0 of 2: `--out {out}` is in use by process {os.getpid()}" in first[2]
    assert second[2] == "error: process 1 of 2: process 0 ended with an error\n"
    with htf.runs.locked_folder(out, "`out`"):  # held by another grid
        first, second = runs.end(runs.slurm(out, 2))
    assert f"process 0 of 2: `out={out}` is in use by process {os.getpid()}" in first[2]
    assert (first[0], second[0]) == (2, 2), (first, second)
    job = free_job()
    ends = runs.end(
        [
            runs.start(out, "--distributed", "--seed", str(i), **task_variables(job, 2, i))
            for i in range(2)
        ]
    )
    for i, (code, _, said) in enumerate(ends):
        assert code == 2
        assert f"process {i} of 2: processes 1 of 2 were given other options" in said
    assert time.monotonic() - begun < 60


@pytest.mark.durable
def test_a_coordinator_that_does_not_answer(runs: Runs, tmp_path: Path) -> None:
    """A process that waits for the first one, and a first one that waits for the others."""
    place, out = f"127.0.0.1:{free_port()}", tmp_path / "run"
    words = ("--coordinator", place, "--num-processes", "2", "--process-id", "1")
    first = task_variables(free_job(), 2, 0)
    processes = [
        runs.start(out, "--distributed", HTFJAX_CONNECT_SECONDS="4", **first),
        runs.start(out, "--distributed", *words, HTFJAX_CONNECT_SECONDS="2"),
    ]
    (waiting, _, why), (refused, _, said) = runs.end(processes)
    assert refused == 2
    assert said.startswith(f"error: `--coordinator {place}` did not answer within 2 s")
    assert waiting != 0
    last = why.splitlines()[-1]
    assert "within 4 s (jax says why above): the first node of SLURM_STEP" in last
    assert not out.exists()


# What Slurm does for the script of the page, on one machine.
SRUN = """#!/bin/bash
for i in $(seq 0 $((SLURM_NTASKS - 1))); do
  SLURM_PROCID=$i SLURM_LOCALID=$i "$@" &
  pids[$i]=$!
  echo "$!" >> tasks
done
most=0
for pid in "${pids[@]}"; do
  wait "$pid"; code=$?
  if [ "$code" -gt "$most" ]; then most=$code; fi
done
exit "$most"
"""
SCONTROL = '#!/bin/bash\necho "$@" >> asked\n'
HTFJAX = f'#!/bin/bash\nexec {sys.executable} -m htfjax "$@"\n'


@pytest.mark.durable
def test_the_script_of_the_page(runs: Runs, tmp_path: Path) -> None:
    """SIGUSR1 to all tasks, as before a time limit: the job is asked for again; it ends."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("htfjax", HTFJAX)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / "ranks.sh").write_text(SCRIPTS[0])
    words = (
        "--models mf --init-scales 1.0 --num-seeds 4 --widths 4 --target-rank 2 "
        "--tolerance 0 --num-steps 10000 --record-every 100 --checkpoint-seconds 0"
    ).split()
    job, out = free_job(), tmp_path / "runs" / "ranks"
    environment = runs.environment | task_variables(job, 2, 0) | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip

    def submit() -> subprocess.Popen:
        return subprocess.Popen(
            ["bash", "ranks.sh", *words], cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    script = submit()
    with at_work([script], out):
        for pid in (tmp_path / "tasks").read_text().split():
            os.kill(int(pid), signal.SIGUSR1)
        ((code, _, said),) = runs.end([script])
    assert code == 143, said
    assert (tmp_path / "asked").read_text() == f"requeue {job}\n"
    ((code, _, said),) = runs.end([submit()])
    assert code == 0, said
    assert (tmp_path / "asked").read_text() == f"requeue {job}\n"
    alone = subprocess.run(
        [sys.executable, "-m", "sims.rank_statistics", "--out", "alone", *words],
        cwd=tmp_path, env=runs.environment, text=True, capture_output=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    assert_same_results(tmp_path / "alone", out)
