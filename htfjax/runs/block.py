"""A block of lanes from start, or from its checkpoint, to its end."""

import contextlib
import dataclasses
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from htfjax._types import JsonObject
from htfjax.motion.chunks import chunk_lengths
from htfjax.motion.stopping import Stops, no_stops, update_stops
from htfjax.runs import batch, folder
from htfjax.runs.block_files import BlockFiles, Snapshot, chunk_of
from htfjax.runs.placement import Placement
from htfjax.runs.programs import Block, Program
from htfjax.runs.session import Session, agreed, shared
from htfjax.runs.status import ended

Buffer = dict[str, np.ndarray]  # (lanes, records, ...) by quantity


class Chunk(NamedTuple):
    """Progress of a block after a chunk."""

    stops: Stops
    losses: np.ndarray  # (lanes,) the watched loss, NaN for lanes that rest
    steps: int  # steps made by all lanes in this chunk
    seconds: float  # that the devices worked
    messages: tuple[str, ...]
    changed: int  # files that a repeated chunk would have written differently


def run_block(
    session: Session, block: Block, journal: JsonObject
) -> Generator[Chunk, None, None]:
    """Runs one block, yielding after every chunk; closing the iterator saves.

    Args:
      journal: of the folder, folded.
    """
    program, runs, width = block.program, block.runs, block.width
    files = BlockFiles(session, block, journal)
    info = journal["blocks"].get((program.name, block.number))
    lost = files.lost(range(files.count)) if session.journal else {}
    said = files.said_of_checkpoint(info["saved"]) if session.journal and info else ()
    whole = not lost and not (said and session.keep_states)
    if agreed(info is not None and whole and _finished(info, session.until_step)):
        assert info is not None
        yield Chunk(_stops_of(info), np.array([]), 0, 0.0, said, 0)
        return
    lanes = program.lanes(runs)
    slots = batch.padded_count(len(runs), width, session.mesh)
    stacked = batch.stack(lanes, slots)
    del lanes
    rest = dataclasses.replace(stacked, state=None)
    start = _start(session, program, jax.tree.leaves(stacked.state), len(runs))
    saved, redo, messages = _resumed(session, files, start, info, lost)
    files.saved = int(saved.step)
    parts = [(saved, session.until_step, True)]
    if redo:
        parts.insert(0, (start, redo * session.chunk_steps, False))
    for snapshot, end, last in parts:
        lanes = Placement(session, program, snapshot.states, rest, width=width)
        work = _Block(session, files, lanes, snapshot).descend(end, last)
        with contextlib.closing(work) as chunks:
            for chunk in chunks:
                yield chunk._replace(messages=(*chunk.messages, *messages))
                messages = []


def _resumed(
    session: Session, files: BlockFiles, start: Snapshot, info: JsonObject | None,
    lost: dict[str, str],
) -> tuple[Snapshot, int, list[str]]:  # fmt: skip
    """The state to go on from, chunks to compute again before, and words on losses."""
    saved, messages, redo = start, [], 0
    if session.journal:
        saved, messages = files.latest(start, 0 if info is None else info["saved"])
        ahead = int(saved.step) // session.chunk_steps
        lost |= files.lost(range(files.count, ahead))
        messages += _spell_lost(session.out, lost)
        redo = max((chunk_of(p) + 1 for p in lost if chunk_of(p) < ahead), default=0)
    redo = int(agreed(redo))
    return shared(saved), redo, messages


class _Block:
    """Mutable state of one block run: where it is, and what is not on disk yet."""

    def __init__(
        self, session: Session, files: BlockFiles, lanes: Placement, start: Snapshot
    ) -> None:
        self.session, self.files, self.lanes = session, files, lanes
        self.step, self.stops = int(start.step), start.stops
        offset = self.record % session.chunk_records
        self.buffer, _ = _cut(start.buffer, offset + 1)

    @property
    def record(self) -> int:
        """Number of the last record."""
        return self.step // self.session.record_every

    def descend(self, end: int, last: bool) -> Generator[Chunk, None, None]:
        """Schedule, place, step, record, commit: until step `end` or all have stopped."""
        session, saved, final = self.session, time.monotonic(), False
        self.files.again = not last
        begun = None
        lengths = chunk_lengths(self.step, end, session.record_every, session.chunk_steps)
        for length in lengths:
            going = self.stops.cause == 0
            if not going.any():
                break
            begun = time.perf_counter()
            self.lanes.place(going)
            piece = self.lanes.advance(length)
            seconds = time.perf_counter() - begun
            self._record(piece, going, length)
            due = agreed(time.monotonic() - saved > session.checkpoint_seconds)
            final = last and (self.step >= end or not (self.stops.cause == 0).any())
            if due or final:
                self._save()
                saved = time.monotonic()
            if final:
                self._flush()
            losses = np.where(going, piece[session.watch][:, -1], np.nan)
            try:
                yield self._news(losses, length * int(going.sum()), seconds)
            except GeneratorExit:
                if not final:
                    self._save()
                    self._flush()
                raise
        if begun is None and last:
            self._flush()
            yield self._news(np.array([]), 0, 0.0)

    def _news(self, losses: np.ndarray, steps: int, seconds: float) -> Chunk:
        return Chunk(self.stops, losses, steps, seconds, (), self.files.changed)

    def _record(self, piece: Buffer, going: np.ndarray, length: int) -> None:
        """Takes in the records of a chunk, stops the lanes that they end, writes."""
        session, size = self.session, self.session.chunk_records
        first = 0 if self.record == 0 else 1
        stops = update_stops(
            self.stops, piece[session.watch][:, first:], self.record + first,
            tolerance=session.tolerance, patience=session.patience,
        )  # fmt: skip
        self.step += length
        end = np.where(going, self.step, stops.end).astype(np.int32)
        self.stops = stops._replace(end=end)
        self.buffer = append(self.buffer, piece, going)
        while (held := next(iter(self.buffer.values())).shape[1]) > size:
            full, self.buffer = _cut(self.buffer, size)
            number = (self.record - held + 1) // size
            self.files.write(full, number, self.stops, {})

    def _save(self) -> None:
        """Writes a checkpoint; all processes take part in fetching the states."""
        full = _widened(self.buffer, self.session.chunk_records)
        step = np.asarray(self.step, np.int32)
        self.files.save(Snapshot(step, self.lanes.to_host(), full, self.stops))

    def _flush(self) -> None:
        """Writes the open chunk too, with the last record of every lane."""
        more: JsonObject = {"flushed": True}
        slow = self.lanes.slow_steps()
        if slow is not None:
            more["slow"] = slow
        number = self.record // self.session.chunk_records
        self.files.write(self.buffer, number, self.stops, more)


def _start(
    session: Session, program: Program, states: list[np.ndarray], count: int
) -> Snapshot:
    records = {
        name: np.full((count, session.chunk_records, *shape), np.nan, kind)
        for name, (shape, kind, _) in program.quantities.items()
    }
    leaves = [x[:count] for x in states]
    return Snapshot(np.zeros((), np.int32), leaves, records, no_stops(count))


def _spell_lost(out: Path, lost: dict[str, str]) -> list[str]:
    """One sentence per kind of loss."""
    return [
        f"{folder.list_files([out / p for p, w in lost.items() if w == what])} {what} and "
        "is computed anew"
        for what in dict.fromkeys(lost.values())
    ]


def _finished(info: JsonObject, until_step: int) -> bool:
    return info["flushed"] and bool(ended(info["cause"], info["end"], until_step).all())


def _stops_of(info: JsonObject) -> Stops:
    empty = no_stops(len(info["end"]))
    return empty._replace(
        cause=np.array(info["cause"], np.int8), end=np.array(info["end"], np.int32),
        record=np.array(info["record"], np.int32),
    )  # fmt: skip


# Records that are not on disk yet


def append(buffer: Buffer, piece: Buffer, going: np.ndarray) -> Buffer:
    """The buffer's last record is the piece's first one, except for lanes that rest.

    Example:
      >>> old, new = np.array([[0.0, 1.0], [5.0, 6.0]]), np.array([[1.5, 2.0], [0.0, 0.0]])
      >>> append({"x": old}, {"x": new}, np.array([True, False]))["x"][:, :2].tolist()
      [[0.0, 1.5], [5.0, 6.0]]
    """
    joined = {}
    for name, old in buffer.items():
        new = piece[name]
        keep = going.reshape(-1, *[1] * (new.ndim - 2))
        seam = np.where(keep, new[:, 0], old[:, -1])
        joined[name] = np.concatenate([old[:, :-1], seam[:, None], new[:, 1:]], axis=1)
    return joined


def _cut(buffer: Buffer, records: int) -> tuple[Buffer, Buffer]:
    """The first records, and all others."""
    head = {name: x[:, :records] for name, x in buffer.items()}
    return head, {name: x[:, records:] for name, x in buffer.items()}


def _widened(buffer: Buffer, records: int) -> Buffer:
    """NaN after the records of an open chunk."""

    def wide(x: np.ndarray) -> np.ndarray:
        length = max(records, x.shape[1])
        full = np.full((len(x), length, *x.shape[2:]), np.nan, x.dtype)
        full[:, : x.shape[1]] = x
        return full

    return {name: wide(x) for name, x in buffer.items()}
