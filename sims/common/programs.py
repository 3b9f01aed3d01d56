"""Cache of compiled programs that the commands share, in the user's cache folder.

jax keeps compiled programs in a folder, where it writes each file in place: a process that
is killed meanwhile leaves part of one, which is never written anew, and others read it. So
a command works in a folder of its own, which begins with links to all programs there are,
and hands over new ones by renaming them when it ends.

    CACHE/KEY/shared        whole programs
    CACHE/KEY/work-ID       of one process, locked by `work-ID.lock` while it is at work
"""

import contextlib
import hashlib
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import filelock
import jax
import jaxlib.version
import platformdirs
from jax.experimental.compilation_cache import compilation_cache

SWITCH = "HTFJAX_CACHE"  # "off", or a folder
MOST_BYTES = 2_000_000_000  # of the programs that are kept; the oldest go
SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    # They would put the name of the folder into the keys of programs.
    "jax_persistent_cache_enable_xla_caches": "none",
}
FOLDER = "jax_compilation_cache_dir"


def cache_folder() -> Path | None:
    """The folder of this machine's programs; None if they are not kept."""
    chosen = os.environ.get(SWITCH, "")
    if chosen.lower() == "off":
        return None
    base = chosen or platformdirs.user_cache_dir("htfjax", appauthor=False)
    return Path(base).expanduser().absolute() / "programs" / _key()


@contextlib.contextmanager
def kept_programs() -> Iterator[None]:
    """Programs compiled within the block are there for later processes.

    A folder that the user has chosen by jax's own option is left as it is. Where the cache
    cannot be written, everything is compiled.
    """
    folder = cache_folder()
    if folder is None or jax.config.values[FOLDER]:
        yield
        return
    with contextlib.ExitStack() as stack:
        work = None
        with contextlib.suppress(OSError, filelock.Timeout):
            work = stack.enter_context(_work_folder(folder))
        if work is None:
            if os.environ.get(SWITCH):  # a place that was asked for
                sys.stderr.write(
                    f"{SWITCH}: {folder} cannot be written; programs are not kept\n"
                )
            yield
            return
        before = {name: jax.config.values[name] for name in (FOLDER, *SETTINGS)}
        _configure({FOLDER: str(work), **SETTINGS})
        whole = False
        try:
            yield
            whole = True
        finally:
            _configure(before)
            with contextlib.suppress(OSError):
                _hand_over(work, folder / "shared", all_of_them=whole)


def _configure(values: dict[str, object]) -> None:
    """Sets jax's options; it opens its cache anew."""
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@contextlib.contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """A folder of this process with all programs, removed at the end."""
    shared = folder / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    _clear_left(folder)
    work = folder / f"work-{uuid.uuid4().hex}"
    # Locked before it is there, so that no other process takes it for one left behind.
    with _locked(work):
        work.mkdir()
        for program in shared.iterdir():
            with contextlib.suppress(OSError):  # gone, or of a system without links
                os.link(program, work / program.name)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[None]:
    """The lock of a folder of work.

    Raises:
      Timeout: its process is at work.
    """
    lock = filelock.FileLock(f"{work}.lock", timeout=0)
    with lock:
        yield
        Path(lock.lock_file).unlink(missing_ok=True)


def _clear_left(folder: Path) -> None:
    """Hands over what processes left that were killed, and removes their folders."""
    for work in folder.glob(f"work-{'[0-9a-f]' * 32}"):
        with contextlib.suppress(OSError, filelock.Timeout), _locked(work):
            _hand_over(work, folder / "shared", all_of_them=False)
            shutil.rmtree(work)


def _hand_over(work: Path, shared: Path, *, all_of_them: bool) -> None:
    """Makes new programs those of all.

    jax writes one after the other, so that only the last one can be in part.
    """
    new = [path for path in work.iterdir() if not (shared / path.name).exists()]
    new.sort(key=lambda path: path.stat().st_mtime_ns)
    for path in new if all_of_them else new[:-1]:
        path.replace(shared / path.name)
    _remove_oldest(shared)


def _remove_oldest(shared: Path) -> None:
    """Keeps the newest programs, of `MOST_BYTES`."""
    known = []
    for path in shared.iterdir():
        with contextlib.suppress(FileNotFoundError):  # of another process that ends now
            known.append((path.stat(), path))
    size = sum(stat.st_size for stat, _ in known)
    for stat, path in sorted(known, key=lambda pair: pair[0].st_mtime_ns):
        if size <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        size -= stat.st_size


def _key() -> str:
    """Versions and processor, of which programs are."""
    parts = (jax.__version__, jaxlib.version.__version__, platform.machine(), _features())
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"jaxlib-{jaxlib.version.__version__}-{digest[:12]}"


def _features() -> str:
    """Instructions of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = [line for line in lines if line.startswith(("flags", "Features", "model name"))]
    return "\n".join(sorted(set(named)))
