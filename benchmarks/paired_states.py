"""States of the repository that a paired comparison runs: worktrees and processes."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil

from benchmarks import harness

ROOT = Path(__file__).resolve().parent.parent
WORKER = Path(__file__).with_name("paired_worker.py")
LAST_WORDS = 30  # lines of what a process that failed had written


class PairedError(Exception):
    """A comparison that cannot be made or go on; one message."""


class RowError(Exception):
    """A row that one state cannot run."""


@dataclasses.dataclass(frozen=True)
class State:
    """One state of the repository.

    Attributes:
      side: "before" or "after".
      asked: the commit or path as it was given.
      folder: where its files are.
      commit: what git calls it.
      scratch: folder for what its processes write.
    """

    side: str
    asked: str
    folder: Path
    commit: str
    scratch: Path

    def environment(self) -> dict[str, str]:
        """Of every process of this state.

        No compiled program is found on disk; two processes share an accelerator's memory.
        Commits that measure the machine's rates, which shape plans, do so once for both.
        """
        kept = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        return kept | {
            "PYTHONPATH": str(self.folder),
            "PYTHONHASHSEED": "0",
            "HTFJAX_CACHE": str(self.scratch.parent / "cache"),
            "TMPDIR": str(self.scratch),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }


def git(*words: str) -> str:
    """What git prints in this repository.

    An interrupt waits until git has ended: what is half made could not be taken back.

    Raises:
      PairedError: git failed; its message.
    """
    process = subprocess.Popen(
        ["git", *words], cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        printed, errors = process.communicate()
    except BaseException:
        process.wait()
        raise
    if process.returncode:
        raise PairedError(f"`git {' '.join(words)}` failed: {errors.strip()}")
    return printed.strip()


@contextlib.contextmanager
def opened(side: str, asked: str, scratch: Path) -> Iterator[State]:
    """A state; the worktree of a commit is made here and removed at the end.

    Args:
      side: "before" or "after".
      asked: a folder with the package `htfjax`, used as it is, or a commit.
      scratch: an existing folder that is removed later.

    Raises:
      PairedError: neither a folder with the package nor a commit.
    """
    own = scratch / side
    own.mkdir()
    folder = Path(asked)
    if (folder / "htfjax" / "__init__.py").is_file():
        folder = folder.resolve()
        yield State(side, asked, folder, harness.commit(folder), own)
        return
    try:
        commit = git("rev-parse", "--verify", "--quiet", "--end-of-options",
                     f"{asked}^{{commit}}")  # fmt: skip
    except PairedError:
        raise PairedError(
            f"`--{side} {asked}` is neither a commit of the repository {ROOT} nor a folder "
            "that holds htfjax/__init__.py."
        ) from None
    folder = scratch / f"worktree-{side}"
    try:
        git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        yield State(side, asked, folder, harness.commit(folder), own)
    finally:
        with undisturbed():
            if folder.exists():
                git("worktree", "remove", "--force", str(folder))


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does: worktrees are removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM are left out while something is taken back."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def stop(process: subprocess.Popen) -> None:
    """Ends a process, if it still runs, and everything that it started."""
    if process.poll() is not None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        running = psutil.Process(process.pid)
        for one in [*running.children(recursive=True), running]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()


def last_words(errors: IO[bytes]) -> str:
    """The end of what a process wrote to standard error."""
    errors.seek(0)
    lines = errors.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-LAST_WORDS:]) or "(nothing)"


class Worker:
    """A process that calls rows with the library of one state."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)], cwd=state.folder,
            env=state.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.errors, text=True, encoding="utf-8", start_new_session=True,
        )  # fmt: skip

    def ask(self, method: str, *arguments: str) -> Any:
        """What the worker's method of that name returns.

        Raises:
          RowError: it raised; type and message.
          PairedError: the worker died; what it had written to standard error.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps([method, *arguments]) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            raise PairedError(
                f"the worker of `--{self.state.side} {self.state.asked}` died with status "
                f"{status} during {' '.join([method, *arguments])}. It had written:\n"
                f"{last_words(self.errors)}"
            )
        reply = json.loads(line)
        if "error" in reply:
            raise RowError(reply["error"])
        return reply["value"]

    def greeting(self) -> dict[str, Any]:
        """Versions and device of the process.

        Raises:
          PairedError: the library cannot be imported, or is not that of the state.
        """
        try:
            found = self.ask("hello")
        except RowError as error:
            raise PairedError(
                f"`--{self.state.side} {self.state.asked}` cannot be used: {error}. Its "
                f"worker had written:\n{last_words(self.errors)}"
            ) from None
        library = Path(found.pop("library"))
        if library.resolve() != (self.state.folder / "htfjax").resolve():
            raise PairedError(
                f"the worker of `--{self.state.side} {self.state.asked}` imported htfjax "
                f"from {library} instead of {self.state.folder / 'htfjax'}."
            )
        return found

    def close(self) -> None:
        """Ends the process."""
        stop(self.process)
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def run_program(state: State, arguments: list[str]) -> tuple[float, str]:
    """Seconds that a process of this state lasted, and what it printed.

    Raises:
      RowError: it failed; what it had written to standard error.
    """
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as printed:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=state.folder, env=state.environment(),
            stdin=subprocess.DEVNULL, stdout=printed, stderr=errors,
            start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait()
            lasted = time.perf_counter() - begun
        finally:
            stop(process)
        if status:
            raise RowError(f"status {status}. It had written:\n{last_words(errors)}")
        printed.seek(0)
        return lasted, printed.read().decode(errors="replace")
