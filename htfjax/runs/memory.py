"""Memory that lanes may take: of devices, of the host, and within a container's limit."""

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import jax
import psutil
from jax.sharding import Mesh

from htfjax.runs.batch import places

ROOT, PROC = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Limit and use, in version 2 and 1 of Linux' control groups.
PAIRS = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)
# Copies of files that count as used, and are given up when memory is needed.
CACHED = ("active_file", "inactive_file", "total_active_file", "total_inactive_file")


def free_memory(mesh: Mesh) -> int:
    """Bytes that may be used: four fifths of the devices', half of the host's free ones."""
    device = mesh.devices.flat[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
        return int(0.8 * free) * places(mesh)
    limits = [psutil.virtual_memory().available, *container_memory(ROOT, PROC)]
    return max(min(limits) // 2, 1)


@contextlib.contextmanager
def named_exhaustion(mesh: Mesh, lanes: int) -> Iterator[None]:
    """Says what was asked of a device that has too little memory, and what to change.

    Raises:
      MemoryError: in place of the device's own error.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        device, asked = mesh.devices.flat[0], " ".join(str(error).split())[:200]
        if lanes == 1:
            advice = "a single run is too large: give it smaller batches, widths or data"
        else:
            advice = "fewer fit: give a smaller `max_lanes` or `memory_bytes`"
        runs = f"{lanes} run{'s' if lanes > 1 else ''} on {mesh.size} x {device}"
        raise MemoryError(f"out of memory: {runs} ({asked}); {advice}.") from error


def container_memory(root: Path, proc: Path) -> list[int]:
    """Bytes left below every limit of memory that this process is under.

    A container or batch system sets them; what the machine has may be more.
    """
    left = []
    for folder in dict.fromkeys(_groups(root, proc)):
        for limit, used in PAIRS:
            try:
                bound = (folder / limit).read_text().strip()
                if bound != "max":
                    taken = int((folder / used).read_text()) - _cached(folder)
                    left.append(max(int(bound) - max(taken, 0), 0))
            except (OSError, ValueError):  # not this version, or none at all
                continue
    return left


def _cached(folder: Path) -> int:
    try:
        rows = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
        found = {name: int(number) for name, number in rows if name in CACHED}
    except (OSError, ValueError):
        return 0
    # Version 1 has own numbers and, as `total_`, those of all groups below.
    return max(
        sum(v for k, v in found.items() if k.startswith("total_") == total)
        for total in (False, True)
    )


def _groups(root: Path, proc: Path) -> Iterator[Path]:
    """Folders of the control groups of this process and of all above them."""
    yield from (root, root / "memory")
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        base = root / "memory" if controllers else root
        if controllers and "memory" not in controllers.split(","):
            continue
        inside = PurePosixPath(path.lstrip("/"))
        yield from (base / inside, *(base / parent for parent in inside.parents))
