"""Session: the settings that all blocks of a folder share while a process works in it."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from htfjax._types import JsonObject, PyTree
from htfjax.runs.journal import Journal


@dataclasses.dataclass(frozen=True)
class Session:
    """Settings that all blocks share.

    Attributes:
      keep_states: whether finished runs need their checkpoints.
      identity: of the folder, once it is open.
      metadata: files of the store beside its chunks -> digests.
      journal: None where another process writes.
    """

    out: Path
    mesh: Mesh
    until_step: int
    record_every: int
    chunk_steps: int
    watch: str
    tolerance: float | None
    patience: int
    checkpoint_seconds: float
    keep_states: bool
    identity: str = ""
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    journal: Journal | None = None

    @property
    def chunk_records(self) -> int:
        """Records of a full chunk."""
        return self.chunk_steps // self.record_every


def process_zero() -> bool:
    """Whether this process writes."""
    return jax.process_index() == 0


def agreed(value: int) -> int:
    """The value of process 0."""
    if jax.process_count() == 1:
        return value
    return multihost_utils.broadcast_one_to_all(np.asarray(value)).item()


def shared(tree: PyTree) -> PyTree:
    """Host arrays of process 0."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))


def told(value: JsonObject) -> JsonObject:
    """The JSON object of process 0, so that the others need not read its folder.

    They may run on other machines, where the folder is late or does not exist.
    """
    if jax.process_count() == 1:
        return value
    text = json.dumps(value).encode() if process_zero() else b""
    padded = np.zeros(agreed(len(text)), np.uint8)  # shapes must be equal
    padded[: len(text)] = np.frombuffer(text, np.uint8)
    sent = multihost_utils.broadcast_one_to_all(padded)
    return value if process_zero() else json.loads(np.asarray(sent).tobytes())


def any_process(value: bool) -> bool:
    """Whether it is true of one of the processes."""
    if jax.process_count() == 1:
        return bool(value)
    return bool(multihost_utils.process_allgather(np.asarray(value)).any())


@contextlib.contextmanager
def all_or_none(out: Path) -> Iterator[None]:
    """Ends with an error in all processes if the block does in one of them.

    Otherwise those that come through would wait for the one that does not.

    Raises:
      RuntimeError: the error is another process's, which says what it is.
    """
    error = None
    try:
        yield
    except Exception as problem:
        error = problem
    if any_process(error is not None):
        raise error or RuntimeError(f"`out={out}`: another process ended with an error")


def wait_for_all(name: str) -> None:
    """A barrier: all processes come to it before one goes on."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
