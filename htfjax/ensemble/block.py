"""A block of lanes from start, or from its checkpoint, to its end."""

import contextlib
import dataclasses
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from htfjax._digests import file_digest
from htfjax.checkpoints import checkpoint_series, latest_checkpoint, save_checkpoint
from htfjax.chunks import chunk_lengths
from htfjax.contraction.rates import Rates
from htfjax.ensemble import batch, folder, store
from htfjax.ensemble.grid import Grid
from htfjax.ensemble.lanes import Build, make_lane
from htfjax.ensemble.programs import Program, RunKey, setting_of
from htfjax.ensemble.stopping import Stops, no_stops, update_stops

__all__ = ["Chunk", "Session", "Snapshot", "run_block"]


@dataclasses.dataclass(frozen=True)
class Session:
    """What all blocks of an ensemble share."""

    out: Path
    grid: Grid
    build: Build
    rates: Rates
    mesh: Mesh
    num_steps: int
    record_every: int
    chunk_steps: int
    watch: str
    tolerance: float | None
    patience: int
    checkpoint_seconds: float

    @property
    def chunk_records(self) -> int:
        """Records of a full chunk."""
        return self.chunk_steps // self.record_every


class Snapshot(NamedTuple):
    """All that a block needs to go on, on the host: what a checkpoint holds."""

    step: np.ndarray  # () int32
    states: Any  # leaves of the descent states, (lanes, ...)
    buffer: dict[str, np.ndarray]  # (lanes, chunk records, ...) records of an open chunk
    stops: Stops


class Chunk(NamedTuple):
    """Where a block stands after a chunk."""

    stops: Stops
    losses: np.ndarray  # (lanes,) the watched loss, NaN for lanes that rest
    steps: int  # steps made by all lanes in this chunk
    seconds: float  # that the devices worked
    messages: tuple[str, ...]
    changed: int  # files that a repeated chunk would have written differently


def run_block(
    session: Session, program: Program, number: int, runs: list[RunKey], width: int,
    journal: dict[str, Any],
) -> Generator[Chunk, None, None]:  # fmt: skip
    """Runs one block, yielding after every chunk; closing the iterator saves.

    Args:
      number: of the block in its program.
      runs: its runs.
      width: lanes vectorized together.
      journal: of the folder, folded.
    """
    primary = folder.process_zero()
    known = _files_of(journal, program, number)
    info = journal["blocks"].get((program.name, number))
    broken = [
        path for path, wanted in known.items() if file_digest(session.out / path) != wanted
    ]
    if _agree(info is not None and not broken and _finished(info, session.num_steps)):
        assert info is not None
        yield Chunk(_stops_of(info), np.array([]), 0, 0.0, (), 0)
        return
    lanes = [
        make_lane(session.build, setting_of(session.grid, r), r[-1], session.rates)
        for r in runs
    ]
    slots = batch.padded_count(len(runs), width, session.mesh)
    stacked = batch.stack(lanes, slots)
    del lanes
    start = _start(session, program, stacked.state, len(runs))
    place = session.out / "checkpoints" / f"{program.name}-{number:04d}"
    series = checkpoint_series(place) if primary else None
    try:
        saved, messages = _latest(series, start)
        messages += [
            f"{session.out / path} is damaged and is computed anew" for path in broken
        ]
        ahead = int(saved.step) // session.chunk_steps
        behind = [_chunk_of(path) + 1 for path in broken if _chunk_of(path) < ahead]
        redo = int(_agree(max(behind, default=0)))
        saved = _share(saved)
        block = _Block(session, program, number, len(runs), width, slots, known, series)
        rest = dataclasses.replace(stacked, state=None)
        parts = [(saved, session.num_steps, True)]
        if redo:
            parts.insert(0, (start, redo * session.chunk_steps, False))
        for snapshot, end, last in parts:
            # Closed before the checkpoints are: leaving saves.
            with contextlib.closing(block.descend(snapshot, rest, end, last)) as chunks:
                for chunk in chunks:
                    yield chunk._replace(messages=(*chunk.messages, *messages))
                    messages = []
    finally:
        if series is not None:
            with folder.clear_of_disk(session.out):
                series.wait_until_finished()
                series.close()


class _Block:
    """The moving parts of a block; one object a block, gone with it."""

    def __init__(
        self, session: Session, program: Program, number: int, count: int, width: int,
        slots: int, known: dict[str, str], series: Any,
    ) -> None:  # fmt: skip
        self.session, self.program, self.number = session, program, number
        self.count, self.width, self.slots = count, width, slots
        self.known, self.series = known, series
        self.changed = 0
        self.arrays: dict[str, Any] = {}

    def descend(
        self, snapshot: Snapshot, rest: Any, end: int, last: bool
    ) -> Generator[Chunk, None, None]:
        """From a snapshot to step `end`, or until all lanes have stopped."""
        session, step = self.session, int(snapshot.step)
        buffer, stops = snapshot.buffer, snapshot.stops
        record = step // session.record_every
        offset = record % session.chunk_records
        buffer = {name: x[:, : offset + 1] for name, x in buffer.items()}
        order = np.arange(self.slots)
        states = _pad(snapshot.states, self.slots)
        treedef = jax.tree.structure(_numbers(self.program.shapes.state))
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
            self._flush(buffer, record, stops, None, order)
            yield Chunk(stops, np.array([]), 0, 0.0, (), self.changed)

    def _snapshot(
        self, on_device: Any, order: np.ndarray, step: int,
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
        on_device: Any, order: np.ndarray,
    ) -> None:  # fmt: skip
        """Writes the open chunk too, with the last record of every lane."""
        more: dict[str, Any] = {"flushed": True}
        if on_device is not None:
            slow = _slow_steps(on_device)
            if slow is not None:
                back = np.argsort(order)[: self.count]
                more["slow"] = batch.fetch(slow)[back].tolist()
        self._write(buffer, record // self.session.chunk_records, stops, more)

    def _write(
        self, values: dict[str, np.ndarray], number: int, stops: Stops, more: dict[str, Any]
    ) -> None:
        if not folder.process_zero():
            return
        with folder.clear_of_disk(self.session.out):
            if not self.arrays:
                self.arrays = store.existing_arrays(
                    self.session.out, self.program.name, tuple(self.program.quantities)
                )
            files, changed = store.write_chunk(
                self.session.out, self.program.name, self.arrays, self.number, number,
                values, self.known,
            )  # fmt: skip
            self.changed += changed
            self.known |= files
            line = {
                "program": self.program.name, "block": self.number, "files": files,
                "cause": stops.cause.tolist(), "record": stops.record.tolist(),
                "end": stops.end.tolist(), "flushed": False, **more,
            }  # fmt: skip
            folder.append_journal(self.session.out, line)

    def _save(self, snapshot: Snapshot) -> None:
        if self.series is not None and int(snapshot.step) > (
            self.series.latest_step() or 0
        ):
            with folder.clear_of_disk(self.session.out):
                save_checkpoint(self.series, int(snapshot.step), snapshot)


def _start(session: Session, program: Program, states: Any, count: int) -> Snapshot:
    buffer = {
        name: np.full((count, session.chunk_records, *shape), np.nan, kind)
        for name, (shape, kind, _) in program.quantities.items()
    }
    leaves = [x[:count] for x in jax.tree.leaves(states)]
    return Snapshot(np.zeros((), np.int32), leaves, buffer, no_stops(count))


def _latest(series: Any, start: Snapshot) -> tuple[Snapshot, list[str]]:
    """The last checkpoint, or the start; a damaged one is named and passed over."""
    if series is None:
        return start, []
    try:
        found = latest_checkpoint(series, start)
    except ValueError as error:
        series.wait_until_finished()
        for number in series.all_steps():
            series.delete(number)
        return start, [f"{error}; the block is computed again from its start"]
    return (start, []) if found is None else (found[1], [])


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


def _slow_steps(states: Any) -> jax.Array | None:
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


def _numbers(shapes: Any) -> Any:
    return jax.tree.map(lambda x: 0, shapes)


def _files_of(journal: dict[str, Any], program: Program, block: int) -> dict[str, str]:
    """Digests of the block's files, from the journal."""
    head = f"{store.RECORDS}/{program.name}/"
    return {
        path: seal for path, seal in journal["files"].items()
        if path.startswith(head) and path.split("/c/")[1].split("/")[0] == str(block)
    }  # fmt: skip


def _chunk_of(path: str) -> int:
    return int(path.split("/c/")[1].split("/")[1])


def _finished(info: dict[str, Any], num_steps: int) -> bool:
    ended = zip(info["cause"], info["end"], strict=True)
    return info["flushed"] and all(cause or end >= num_steps for cause, end in ended)


def _stops_of(info: dict[str, Any]) -> Stops:
    empty = no_stops(len(info["end"]))
    return empty._replace(
        cause=np.array(info["cause"], np.int8), end=np.array(info["end"], np.int32),
        record=np.array(info["record"], np.int32),
    )  # fmt: skip


def _agree(value: Any) -> Any:
    """What process 0 says."""
    if jax.process_count() == 1:
        return value
    return multihost_utils.broadcast_one_to_all(np.asarray(value)).item()


def _share(snapshot: Snapshot) -> Snapshot:
    if jax.process_count() == 1:
        return snapshot
    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(snapshot))
