"""Files of a block: chunks of records that the journal lists, and the checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from htfjax._digests import file_digest
from htfjax._types import JsonObject
from htfjax.motion.stopping import Stops
from htfjax.runs import folder, store
from htfjax.runs.checkpoint import load_checkpoint, read_arrays, save_checkpoint
from htfjax.runs.journal import JOURNAL
from htfjax.runs.programs import Block, Program
from htfjax.runs.session import Session


class Snapshot(NamedTuple):
    """State of a block on the host, as a checkpoint holds it."""

    step: np.ndarray  # () int32
    states: list[np.ndarray]  # leaves of the descent states, (lanes, ...)
    buffer: dict[str, np.ndarray]  # (lanes, chunk records, ...) records of an open chunk
    stops: Stops


class BlockFiles:
    """The files of a block.

    Attributes:
      count: chunks that the journal lists.
      known: files of chunks -> digests.
      saved: step of the checkpoint.
      changed: files that a repeated chunk would have written differently.
      again: whether chunks before the checkpoint are computed again.
    """

    def __init__(self, session: Session, block: Block, journal: JsonObject) -> None:
        self.session: Session = session
        self.out: Path = session.out
        self.program: Program = block.program
        self.number: int = block.number
        self.shape: tuple[int, int] = (block.size, session.chunk_records)
        name = self.program.name
        self.runs: str = folder.runs_digest(block.runs)
        self.count: int = journal["chunks"].get((name, self.number), 0)
        head = f"{store.RECORDS}/{name}/"
        self.known: dict[str, str] = {
            path: seal for path, seal in journal["files"].items()
            if path.startswith(head) and block_of(path) == self.number
        }  # fmt: skip
        self.checkpoint: Path = checkpoint_of(self.out, name, self.number)
        self.owner: JsonObject = owner_of(session.identity, name, self.number, block.runs)
        self.saved: int = 0
        self.changed: int = 0
        self.again: bool = False

    def lost(self, chunks: range) -> dict[str, str]:
        """Files of chunks that are not what the journal says -> what is wrong."""
        found = {}
        for chunk in chunks:
            for name, (shape, _, _) in self.program.quantities.items():
                path = store.chunk_file(
                    self.program.name, name, self.number, chunk, len(shape)
                )
                wanted = self.known.get(path)
                if wanted is None:
                    found[path] = f"is not listed in {self.out / JOURNAL}"
                    continue
                digest = file_digest(self.out / path)
                if digest != wanted:
                    found[path] = "is missing" if digest == "missing" else "is damaged"
        return found

    def latest(self, start: Snapshot, at_least: int) -> tuple[Snapshot, list[str]]:
        """The checkpoint, or the start; one that is of no use is named and passed over.

        Args:
          at_least: step of a checkpoint that the journal knows of.
        """
        again = "the block is computed again from its start"
        again += "; restore it from a copy to spare that"
        try:
            found = load_checkpoint(self.checkpoint, self.owner, start)
        except ValueError as error:
            return start, [f"{error}; {again}"]
        if found is None and at_least:
            return start, [f"the checkpoint {self.checkpoint} is missing; {again}"]
        return (start if found is None else found), []

    def said_of_checkpoint(self, at_least: int) -> tuple[str, ...]:
        """Problems of the checkpoint of a finished block, which nothing needs now."""
        try:
            check_checkpoint(self.checkpoint, self.owner, at_least)
        except ValueError as error:
            return (
                f"{error}; its runs are finished, and only more steps need it: restore it "
                "from a copy, or those are computed again from their start",
            )
        return ()

    def save(self, snapshot: Snapshot) -> None:
        """Replaces the checkpoint by a later one."""
        journal, step = self.session.journal, int(snapshot.step)
        if journal is None or step <= self.saved:
            return
        with folder.named_errors(self.out):
            journal.check_present()
            self.checkpoint.parent.mkdir(exist_ok=True)
            save_checkpoint(self.checkpoint, self.owner, snapshot)
        self.saved = step

    def write(
        self, values: dict[str, np.ndarray], chunk: int, stops: Stops, more: JsonObject
    ) -> None:
        """Writes a chunk of records, and a line of the journal that lists its files."""
        journal = self.session.journal
        if journal is None:
            return
        with folder.named_errors(self.out):
            journal.check_present()
            self._check_metadata()
            files, changed = store.write_chunk(
                self.out, self.program.name, self.program.quantities, (self.number, chunk),
                self.shape, values, self.known,
            )  # fmt: skip
            self.changed += changed
            self.known |= files
            line = {
                "program": self.program.name, "block": self.number, "chunk": chunk,
                "runs": self.runs, "files": files, "cause": stops.cause.tolist(),
                "record": stops.record.tolist(), "end": stops.end.tolist(),
                "flushed": False, "again": self.again, "saved": self.saved, **more,
            }  # fmt: skip
            journal.append(line)

    def _check_metadata(self) -> None:
        """Checks the files by which chunks are found; they would be written without."""
        for name in self.program.quantities:
            path = store.metadata_of(self.program.name, name)
            if file_digest(self.out / path) != self.session.metadata[path]:
                raise FileNotFoundError(f"{self.out / path}")


def checkpoint_of(out: Path, program: str, number: int) -> Path:
    """The file of a block's states."""
    return out / "checkpoints" / f"{program}-{number:04d}.npz"


def check_checkpoint(path: Path, owner: JsonObject, at_least: int) -> None:
    """Looks at the checkpoint of a block that has come to a step.

    Raises:
      ValueError: it is missing or damaged, of something else or older; it is named.
    """
    step = int(read_arrays(path, owner)[0])
    if step < at_least:
        raise ValueError(f"the checkpoint {path} is of step {step}, not {at_least}")


def owner_of(
    identity: str, program: str, number: int, runs: Sequence[Sequence[int]]
) -> JsonObject:
    """Folder, program, block and runs that a checkpoint belongs to."""
    return {
        "folder": identity, "program": program, "block": number,
        "runs": folder.runs_digest(runs),
    }  # fmt: skip


def block_of(path: str) -> int:
    """Number of the block that a file of a chunk is of."""
    return int(path.split("/c/")[1].split("/")[0])


def chunk_of(path: str) -> int:
    """Number of the chunk that a file is of."""
    return int(path.split("/c/")[1].split("/")[1])
