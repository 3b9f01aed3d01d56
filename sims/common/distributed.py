"""Processes of a job that share out a grid: how they find each other, and how they end."""

import collections
import contextlib
import contextvars
import dataclasses
import inspect
import os
import re
import socket
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from typing import Annotated, Any, NoReturn

import jax
import numpy as np
import tyro
from jax.experimental import multihost_utils

import htfjax as htf

from .errors import SettingError, SimError
from .last_words import last_words
from .missing import WRONG
from .settings import flag

CONNECT_SECONDS = "HTFJAX_CONNECT_SECONDS"  # of the environment; 120 without it
HEARTBEAT_SECONDS = 30  # after which a process that says nothing is dead
SHUTDOWN_SECONDS = 30  # all have met before
GRACE_SECONDS = 2.0
# What jax looks for.
LOOKED_FOR = {
    "Slurm": ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID",
              "SLURM_LOCALID"),
    "Open MPI": ("OMPI_MCA_orte_hnp_uri",),
    "Kubernetes": ("KUBERNETES_SERVICE_HOST",),
    "TPU pods": ("TPU_WORKER_HOSTNAMES",),
}  # fmt: skip
RESUMES = "the same command resumes from what was saved"
# How errors of calls between processes begin: not all of them are a JaxRuntimeError.
STATUS = re.compile("(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|UNKNOWN): ")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """Options by which the processes of a job find each other."""

    distributed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Share the runs out among the processes of a job, each of which is started by this
    command: by Slurm's srun, Open MPI's mpirun, Kubernetes, on all workers of a TPU pod, or
    by hand with the three options below."""
    coordinator: str | None = None
    """HOST:PORT at which process 0 waits for the others."""
    num_processes: int | None = None
    """Processes of the job."""
    process_id: int | None = None
    """Number of this process, from 0 on."""


@dataclasses.dataclass(frozen=True)
class Process:
    """One of the processes of a job; by default there is no other."""

    number: int = 0
    count: int = 1
    tell: Callable[[str], None] = lambda line: None  # sets its last words


ALONE = Process()
_process = contextvars.ContextVar("process", default=ALONE)


def this_process() -> Process:
    """The place of this process in its job."""
    return _process.get()


def use_all_cores() -> None:
    """One CPU device per core, so that lanes run side by side; before jax starts."""
    asked = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if asked or "JAX_NUM_CPU_DEVICES" in os.environ:
        return
    has = hasattr(os, "sched_getaffinity")
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)) if has else 1)


@contextlib.contextmanager
def joined(job: Job) -> Iterator[Process]:
    """Within the block this process is one of its job, if it is asked to be.

    Raises:
      SettingError: options that do not fit together, a job that is not found, a coordinator
        that does not answer, processes with different numbers of devices.
    """
    check_job(job)
    if not job.distributed:
        yield ALONE
        return
    with last_words() as tell:
        _connect(job, tell)
        process = Process(jax.process_index(), jax.process_count(), tell)
        tell(
            f"error: {_prefix(process)}ended by a kill, or by jax, which ends all "
            f"processes where one is gone (it says so above); {RESUMES}"
        )
        token = _process.set(process)
        try:
            _check_devices()
            yield process
        except BaseException as error:
            if process.count > 1:
                _end(error)
            raise
        finally:
            _process.reset(token)
        jax.distributed.shutdown()


def check_job(job: Job) -> None:
    """Options that say how to find the others.

    Raises:
      SettingError: names the option, what was given and what is possible.
    """
    given = [name for name in _names() if getattr(job, name) is not None]
    if given and not job.distributed:
        raise SettingError(f"`{flag(given[0])}` needs `--distributed`.")
    if job.coordinator is not None:
        _host_and_port(job.coordinator)
    number, count = job.process_id, job.num_processes
    if count is not None and count < 1:
        raise SettingError(f"`--num-processes {count}` must be at least 1.")
    if number is not None and number < 0:
        raise SettingError(f"`--process-id {number}` must be at least 0.")
    if number is not None and count is not None and number >= count:
        raise SettingError(
            f"`--process-id {number}` must be below `--num-processes {count}`: they are "
            "counted from 0."
        )


def check_alike(asked: dict[str, Any]) -> None:
    """Processes of a job must be asked for the same.

    Raises:
      SettingError: in all of them, which differ from the first.
    """
    if this_process().count == 1:
        return
    digest = int(htf.runs.json_digest(asked)[:7], 16)
    digests = np.ravel(multihost_utils.process_allgather(np.asarray(digest, np.int32)))
    others = [i for i, found in enumerate(digests) if found != digests[0]]
    if others:
        raise SettingError(
            f"processes {', '.join(map(str, others))} of {len(digests)} were given other "
            "options than process 0; start all by the same command."
        )


@contextlib.contextmanager
def raised_by_all() -> Iterator[None]:
    """Ends with an error in all processes if the block does in one of them.

    Raises:
      SimError: the error is another process's, which says what it is.
    """
    error = None
    try:
        yield
    except Exception as problem:
        if this_process().count == 1:
            raise
        error = problem
    if this_process().count > 1:
        failed = multihost_utils.process_allgather(np.asarray(error is not None))
        if np.any(failed):
            where = ", ".join(map(str, np.flatnonzero(failed)))
            raise error or SimError(f"process {where} ended with an error")


@contextlib.contextmanager
def left_open(work: Generator) -> Iterator[None]:
    """Ends this process at once if the block fails while the work with others is open.

    To close it would be to save, which all processes do together.
    """
    try:
        yield
    except BaseException as error:
        open_yet = inspect.getgeneratorstate(work) != inspect.GEN_CLOSED
        if this_process().count > 1 and open_yet:
            _end(error)
        raise


def share_signal(signals: htf.runs.StopSignals) -> None:
    """All processes meet here, and end as the one does that a signal reached."""
    if this_process().count > 1:
        own = np.asarray(signals.received or 0, np.int32)
        numbers = np.ravel(multihost_utils.process_allgather(own))
        signals.received = int(numbers.max()) or None


def _end(error: BaseException) -> NoReturn:
    """Says what was wrong and ends this process; jax would wait for the others first."""
    process = this_process()
    with htf.runs.stop_signals() as signals:
        code = WRONG
        if isinstance(error, KeyboardInterrupt):
            said, code = f"interrupted: {_prefix(process)}{RESUMES}", signals.exit_code
        elif isinstance(error, jax.errors.JaxRuntimeError) or STATUS.match(str(error)):
            first = str(error).strip().partition("\n")[0]
            said = (
                f"error: {_prefix(process)}another process is gone or does not answer "
                f"({first}); {RESUMES}"
            )
        elif isinstance(error, SimError | ValueError | TypeError | OSError | RuntimeError):
            said = f"error: {_prefix(process)}{error}"
        else:  # a fault of ours shows where it is
            said = "".join(traceback.format_exception(error)).rstrip()
        sys.stderr.write(f"{said}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        process.tell("")
        if process.number == 0:  # jax aborts those that are left when it is gone
            time.sleep(GRACE_SECONDS)
        os._exit(code)


def _prefix(process: Process) -> str:
    """Opens the errors of one of several processes."""
    return f"process {process.number} of {process.count}: " if process.count > 1 else ""


def _names() -> list[str]:
    """Options that stand for a cluster."""
    return [field.name for field in dataclasses.fields(Job)][1:]


def _connect(job: Job, tell: Callable[[str], None]) -> None:
    """Waits for the other processes.

    Raises:
      SettingError: nobody says where they are, or the coordinator does not answer.
    """
    seconds = _seconds()
    place = job.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    if place and job.process_id:
        _wait_for(place, seconds)
    tell(
        "error: `--distributed`: the processes of the job did not come together within "
        f"{seconds} s (jax says why above): {_spell_place(place)} must be where process 0 "
        "is, and be reached by as many processes as it waits for "
        f"({CONNECT_SECONDS} waits longer)"
    )
    # It takes SIGTERM away from our handler, and nothing asks it whether one came.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            job.coordinator, job.num_processes, job.process_id,
            initialization_timeout=seconds, heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )  # fmt: skip
    except ValueError as error:
        raise SettingError(_not_found(job)) from error
    except RuntimeError as error:
        first = str(error).strip().partition("\n")[0]
        raise SettingError(
            f"`--distributed`: {first} ({_spell_place(place)}); free the port or choose "
            "another by `--coordinator HOST:PORT`."
        ) from error


def _seconds() -> int:
    text = os.environ.get(CONNECT_SECONDS, "120")
    if not text.isdecimal() or not int(text):
        raise SettingError(f"`{CONNECT_SECONDS}={text}` must be a number of seconds.")
    return int(text)


def _wait_for(place: str, seconds: int) -> None:
    """Waits until somebody listens: jax would abort this process after a while.

    Raises:
      SettingError: nobody does in time.
    """
    host, port = _host_and_port(place)
    end = time.monotonic() + seconds
    while True:
        try:
            left = max(end - time.monotonic(), 0.1)
            socket.create_connection((host, port), timeout=min(left, 10.0)).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise SettingError(
                    f"`--coordinator {place}` did not answer within {seconds} s ({error}); "
                    "start process 0 there, with the same option and `--process-id 0`, and "
                    f"let this machine reach that port ({CONNECT_SECONDS} waits longer)."
                ) from error
        time.sleep(0.2)


def _host_and_port(place: str) -> tuple[str, int]:
    """
    Raises:
      SettingError: something else.
    """
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise SettingError(
            f"`--coordinator {place}` must be HOST:PORT, such as node1:12345, the machine "
            "of process 0 and a free port there."
        )
    return host.strip("[]"), int(port)


def _spell_place(place: str | None) -> str:
    if place is not None:
        return f"the coordinator {place}"
    nodes = os.environ.get("SLURM_STEP_NODELIST")
    if nodes is not None:
        return f"the first node of SLURM_STEP_NODELIST={nodes}"
    return "the coordinator that the cluster names"


def _not_found(job: Job) -> str:
    """What was looked for, and how to give it."""
    looked = []
    for name, variables in LOOKED_FOR.items():
        missing = [variable for variable in variables if variable not in os.environ]
        found = f"without {', '.join(missing)}" if missing else "does not say all"
        looked.append(f"{name} ({found})")
    missing = [flag(name) for name in _names() if getattr(job, name) is None]
    return (
        f"`--distributed`: no cluster was found that says {', '.join(missing)}. Looked "
        f"for: {'; '.join(looked)}. Start the command by `srun` or `mpirun`, or give every "
        "process `--coordinator HOST:PORT --num-processes N --process-id I`, I from 0 to "
        "N - 1."
    )


def _check_devices() -> None:
    """jax's collectives want as many devices in every process.

    Raises:
      SettingError: in all processes.
    """
    counts = collections.Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{counts[i]} in process {i}" for i in sorted(counts))
        raise SettingError(
            f"`--distributed`: processes have different numbers of devices ({listed}); "
            "give each as many, by Slurm's `--cpus-per-task` or by JAX_NUM_CPU_DEVICES."
        )
