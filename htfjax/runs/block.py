"""A block of lanes from start, or from its checkpoint, to its end."""

import contextlib
import dataclasses
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import zarr
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from htfjax._digests import file_digest
from htfjax._types import JsonObject
from htfjax.motion.chunks import chunk_lengths
from htfjax.motion.descent import DescentState
from htfjax.runs import batch, folder, store
from htfjax.runs.checkpoint import check_checkpoint, load_checkpoint, save_checkpoint
from htfjax.runs.grid import Grid
from htfjax.runs.journal import JOURNAL, Journal
from htfjax.runs.lanes import Build, Lane, make_lane
from htfjax.runs.programs import Program, RunKey, setting_of
from htfjax.runs.stopping import Stops, no_stops, update_stops

T = TypeVar("T", bool, int)


@dataclasses.dataclass(frozen=True)
class Session:
    """Settings that all blocks of an ensemble share."""

    out: Path
    grid: Grid
    build: Build
    mesh: Mesh
    until_step: int
    record_every: int
    chunk_steps: int
    watch: str
    tolerance: float | None
    patience: int
    checkpoint_seconds: float
    identity: str  # of the folder
    metadata: dict[str, str]  # files of the store beside its chunks -> digests
    journal: Journal | None  # None where another process writes

    @property
    def chunk_records(self) -> int:
        """Records of a full chunk."""
        return self.chunk_steps // self.record_every


class Snapshot(NamedTuple):
    """State of a block on the host, as a checkpoint holds it."""

    step: np.ndarray  # () int32
    states: list[np.ndarray]  # leaves of the descent states, (lanes, ...)
    buffer: dict[str, np.ndarray]  # (lanes, chunk records, ...) records of an open chunk
    stops: Stops


class Chunk(NamedTuple):
    """Progress of a block after a chunk."""

    stops: Stops
    losses: np.ndarray  # (lanes,) the watched loss, NaN for lanes that rest
    steps: int  # steps made by all lanes in this chunk
    seconds: float  # that the devices worked
    messages: tuple[str, ...]
    changed: int  # files that a repeated chunk would have written differently


def run_block(
    session: Session, program: Program, number: int, runs: list[RunKey], width: int,
    journal: JsonObject,
) -> Generator[Chunk, None, None]:  # fmt: skip
    """Runs one block, yielding after every chunk; closing the iterator saves.

    Args:
      number: of the block in its program.
      runs: its runs.
      width: lanes vectorized together.
      journal: of the folder, folded.
    """
    files = _Files(session, program, number, folder.runs_digest(runs), journal)
    info = journal["blocks"].get((program.name, number))
    lost = files.lost(range(files.count)) if session.journal else {}
    if _agree(info is not None and not lost and _finished(info, session.until_step)):
        assert info is not None
        said = files.said_of_checkpoint() if session.journal else ()
        yield Chunk(_stops_of(info), np.array([]), 0, 0.0, said, 0)
        return
    lanes = [make_lane(session.build, setting_of(session.grid, r), r[-1]) for r in runs]
    slots = batch.padded_count(len(runs), width, session.mesh)
    stacked = batch.stack(lanes, slots)
    del lanes
    start = _start(session, program, stacked.state, len(runs))
    saved, messages, redo = start, [], 0
    if session.journal:
        saved, messages = files.latest(start, 0 if info is None else info["saved"])
        ahead = int(saved.step) // session.chunk_steps
        lost |= files.lost(range(files.count, ahead))
        messages += _spell_lost(session.out, lost)
        redo = max((_chunk_of(p) + 1 for p in lost if _chunk_of(p) < ahead), default=0)
    redo, saved = int(_agree(redo)), _share(saved)
    block = _Block(session, program, number, len(runs), width, slots, files)
    block.saved = int(saved.step)
    rest = dataclasses.replace(stacked, state=None)
    parts = [(saved, session.until_step, True)]
    if redo:
        parts.insert(0, (start, redo * session.chunk_steps, False))
    for snapshot, end, last in parts:
        with contextlib.closing(block.descend(snapshot, rest, end, last)) as chunks:
            for chunk in chunks:
                yield chunk._replace(messages=(*chunk.messages, *messages))
                messages = []


class _Files:
    """The files of a block: chunks that the journal lists, and the checkpoint."""

    def __init__(
        self, session: Session, program: Program, number: int, runs: str,
        journal: JsonObject,
    ) -> None:  # fmt: skip
        name = program.name
        self.out, self.program, self.number, self.runs = session.out, program, number, runs
        self.count = journal["chunks"].get((name, number), 0)
        head = f"{store.RECORDS}/{name}/"
        self.known: dict[str, str] = {
            path: seal for path, seal in journal["files"].items()
            if path.startswith(head) and _block_of(path) == number
        }  # fmt: skip
        self.checkpoint = session.out / "checkpoints" / f"{name}-{number:04d}.npz"
        self.owner = {
            "folder": session.identity, "program": name, "block": number, "runs": runs,
        }  # fmt: skip

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
        try:
            found = load_checkpoint(self.checkpoint, self.owner, start)
        except ValueError as error:
            return start, [f"{error}; {again}"]
        if found is None and at_least:
            return start, [f"the checkpoint {self.checkpoint} is missing; {again}"]
        return (start if found is None else found), []

    def said_of_checkpoint(self) -> tuple[str, ...]:
        """Problems of the checkpoint of a finished block, which nothing needs now."""
        try:
            check_checkpoint(self.checkpoint, self.owner)
        except ValueError as error:
            return (
                f"{error}; its runs are finished, and only more steps need it: restore it "
                "from a copy, or those are computed again from their start",
            )
        return ()

    def save(self, snapshot: Snapshot) -> None:
        """Replaces the checkpoint."""
        self.checkpoint.parent.mkdir(exist_ok=True)
        save_checkpoint(self.checkpoint, self.owner, snapshot)


class _Block:
    """Mutable state of one block run."""

    def __init__(
        self, session: Session, program: Program, number: int, count: int, width: int,
        slots: int, files: _Files,
    ) -> None:  # fmt: skip
        self.session, self.program, self.number = session, program, number
        self.count, self.width, self.slots = count, width, slots
        self.files = files
        self.changed, self.saved = 0, 0
        self.again = False  # at work on chunks before the checkpoint
        self.arrays: dict[str, zarr.Array] = {}

    def descend(
        self, snapshot: Snapshot, rest: Lane, end: int, last: bool
    ) -> Generator[Chunk, None, None]:
        """From a snapshot to step `end`, or until all lanes have stopped."""
        session, step = self.session, int(snapshot.step)
        self.again = not last
        buffer, stops = snapshot.buffer, snapshot.stops
        record = step // session.record_every
        offset = record % session.chunk_records
        buffer = {name: x[:, : offset + 1] for name, x in buffer.items()}
        order = np.arange(self.slots)
        states = _pad(snapshot.states, self.slots)
        treedef = jax.tree.structure(self.program.shapes.state)
        on_device: Any = None
        data: Any = None
        saved, fresh = time.monotonic(), True
        lengths = chunk_lengths(step, end, session.record_every, session.chunk_steps)
        for length in lengths:
            active = np.zeros(self.slots, bool)
            active[: self.count] = stops.cause == 0
            if not active.any():
                break
            begun = time.perf_counter()
            wanted = batch.deal(active, self.width, session.mesh)
            if on_device is None:
                order = wanted
                arranged = jax.tree.map(lambda x, o=order: x[o], (states, rest))
                on_device = batch.put(
                    jax.tree.unflatten(treedef, arranged[0]), session.mesh
                )
                data = batch.put(arranged[1], session.mesh)
            elif _worth_moving(active, order, wanted, self.width, session.mesh.size):
                move = np.argsort(order)[wanted]
                on_device, data = batch.rearrange(
                    (on_device, data), move, mesh=session.mesh
                )
                order = wanted
            mask = batch.put(active[order], session.mesh)
            on_device, records = batch.advance(
                on_device, data, mask, mesh=session.mesh, width=self.width,
                names=tuple(self.program.quantities), num_steps=length,
                record_every=session.record_every,
            )  # fmt: skip
            back = np.argsort(order)[: self.count]
            piece = {name: x[back] for name, x in batch.fetch(records).items()}
            seconds = time.perf_counter() - begun
            going = active[: self.count]
            watched = piece[session.watch]
            first = 0 if record == 0 else 1
            stops = update_stops(
                stops, watched[:, first:], record + first,
                tolerance=session.tolerance, patience=session.patience,
            )  # fmt: skip
            step, record = step + length, record + length // session.record_every
            stops = stops._replace(end=np.where(going, step, stops.end).astype(np.int32))
            buffer = _append(buffer, piece, going)
            buffer = self._commit_full(buffer, record, stops)
            fresh = False
            here = (on_device, order, step, buffer, stops)
            due = _agree(time.monotonic() - saved > session.checkpoint_seconds)
            ends = last and (step >= end or not (stops.cause == 0).any())
            if due or ends:
                self._save(self._snapshot(*here))
                saved = time.monotonic()
            if ends:
                self._flush(buffer, record, stops, on_device, order)
            losses = np.where(going, watched[:, -1], np.nan)
            news = Chunk(
                stops, losses, length * int(going.sum()), seconds, (), self.changed
            )
            try:
                yield news
            except GeneratorExit:
                if not ends:
                    self._save(self._snapshot(*here))
                    self._flush(buffer, record, stops, on_device, order)
                raise
        if fresh and last:
            whole = jax.tree.unflatten(treedef, states)
            self._flush(buffer, record, stops, whole, order)
            yield Chunk(stops, np.array([]), 0, 0.0, (), self.changed)

    def _snapshot(
        self, on_device: DescentState, order: np.ndarray, step: int,
        buffer: dict[str, np.ndarray], stops: Stops,
    ) -> Snapshot:  # fmt: skip
        """The block on the host, its lanes in their own order."""
        back = np.argsort(order)[: self.count]
        leaves = [x[back] for x in jax.tree.leaves(batch.fetch(on_device))]
        full = {n: _widen(x, self.session.chunk_records) for n, x in buffer.items()}
        return Snapshot(np.asarray(step, np.int32), leaves, full, stops)

    def _commit_full(
        self, buffer: dict[str, np.ndarray], record: int, stops: Stops
    ) -> dict[str, np.ndarray]:
        """Writes all full chunks of the buffer and returns what is left over."""
        size = self.session.chunk_records
        while next(iter(buffer.values())).shape[1] > size:
            held = next(iter(buffer.values())).shape[1]
            number = (record - held + 1) // size
            self._write({n: x[:, :size] for n, x in buffer.items()}, number, stops, {})
            buffer = {n: x[:, size:] for n, x in buffer.items()}
        return buffer

    def _flush(
        self, buffer: dict[str, np.ndarray], record: int, stops: Stops,
        states: DescentState, order: np.ndarray,
    ) -> None:  # fmt: skip
        """Writes the open chunk too, with the last record of every lane."""
        more: JsonObject = {"flushed": True}
        slow = _slow_steps(states)
        if slow is not None:
            back = np.argsort(order)[: self.count]
            more["slow"] = batch.fetch(slow)[back].tolist()
        self._write(buffer, record // self.session.chunk_records, stops, more)

    def _write(
        self, values: dict[str, np.ndarray], number: int, stops: Stops, more: JsonObject
    ) -> None:
        journal = self.session.journal
        if journal is None:
            return
        with folder.named_errors(self.session.out):
            journal.check_present()
            self._check_metadata()
            if not self.arrays:
                self.arrays = {
                    name: store.open_array(self.session.out, self.program.name, name)
                    for name in self.program.quantities
                }
            files, changed = store.write_chunk(
                self.session.out, self.program.name, self.arrays, self.number, number,
                values, self.files.known,
            )  # fmt: skip
            self.changed += changed
            self.files.known |= files
            line = {
                "program": self.program.name, "block": self.number, "chunk": number,
                "runs": self.files.runs, "files": files, "cause": stops.cause.tolist(),
                "record": stops.record.tolist(), "end": stops.end.tolist(),
                "flushed": False, "again": self.again, "saved": self.saved, **more,
            }  # fmt: skip
            journal.append(line)

    def _check_metadata(self) -> None:
        """Checks the files that zarr reads; it would go on without them, silently."""
        for name in self.program.quantities:
            path = store.metadata_of(self.program.name, name)
            if file_digest(self.session.out / path) != self.session.metadata[path]:
                raise FileNotFoundError(f"{self.session.out / path}")

    def _save(self, snapshot: Snapshot) -> None:
        journal, step = self.session.journal, int(snapshot.step)
        if journal is not None and step > self.saved:
            with folder.named_errors(self.session.out):
                journal.check_present()
                self.files.save(snapshot)
            self.saved = step


def _start(
    session: Session, program: Program, states: DescentState, count: int
) -> Snapshot:
    buffer = {
        name: np.full((count, session.chunk_records, *shape), np.nan, kind)
        for name, (shape, kind, _) in program.quantities.items()
    }
    leaves = [x[:count] for x in jax.tree.leaves(states)]
    return Snapshot(np.zeros((), np.int32), leaves, buffer, no_stops(count))


def _spell_lost(out: Path, lost: dict[str, str]) -> list[str]:
    """One sentence per kind of loss."""
    return [
        f"{folder.list_files([out / p for p, w in lost.items() if w == what])} {what} and "
        "is computed anew"
        for what in dict.fromkeys(lost.values())
    ]


def _append(
    buffer: dict[str, np.ndarray], piece: dict[str, np.ndarray], going: np.ndarray
) -> dict[str, np.ndarray]:
    """The buffer's last record is the piece's first one, except for lanes that rest."""
    joined = {}
    for name, old in buffer.items():
        new = piece[name]
        keep = going.reshape(-1, *[1] * (new.ndim - 2))
        seam = np.where(keep, new[:, 0], old[:, -1])
        joined[name] = np.concatenate([old[:, :-1], seam[:, None], new[:, 1:]], axis=1)
    return joined


def _worth_moving(
    active: np.ndarray, order: np.ndarray, wanted: np.ndarray, width: int, devices: int
) -> bool:
    """Whether another arrangement shortens the longest device's work."""

    def longest(arrangement: np.ndarray) -> int:
        groups = active[arrangement].reshape(devices, -1, width).any(axis=2)
        return int(groups.sum(axis=1).max())

    return longest(wanted) < longest(order)


def _slow_steps(states: DescentState) -> jax.Array | None:
    """Steps in the eps phase, which GroupRMSprop counts itself."""
    counted = jax.tree.leaves(states, is_leaf=lambda x: hasattr(x, "slow_steps"))
    found = [x.slow_steps for x in counted if hasattr(x, "slow_steps")]
    return found[0] if found else None


def _pad(states: list[np.ndarray], slots: int) -> list[np.ndarray]:
    return [np.concatenate([x, np.repeat(x[:1], slots - len(x), axis=0)]) for x in states]


def _widen(x: np.ndarray, records: int) -> np.ndarray:
    missing = max(records - x.shape[1], 0)
    return np.pad(
        x, [(0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)], constant_values=np.nan
    )


def _block_of(path: str) -> int:
    return int(path.split("/c/")[1].split("/")[0])


def _chunk_of(path: str) -> int:
    return int(path.split("/c/")[1].split("/")[1])


def _finished(info: JsonObject, until_step: int) -> bool:
    ended = zip(info["cause"], info["end"], strict=True)
    return info["flushed"] and all(cause or end >= until_step for cause, end in ended)


def _stops_of(info: JsonObject) -> Stops:
    empty = no_stops(len(info["end"]))
    return empty._replace(
        cause=np.array(info["cause"], np.int8), end=np.array(info["end"], np.int32),
        record=np.array(info["record"], np.int32),
    )  # fmt: skip


def _agree(value: T) -> T:
    """The value of process 0."""
    if jax.process_count() == 1:
        return value
    return multihost_utils.broadcast_one_to_all(np.asarray(value)).item()


def _share(snapshot: Snapshot) -> Snapshot:
    if jax.process_count() == 1:
        return snapshot
    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(snapshot))
