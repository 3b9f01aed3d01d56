"""Runs of a grid, written into a folder: any number, stopped and continued at will."""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Sequence

from jax.sharding import Mesh

from htfjax import _checks, _files
from htfjax._types import JsonObject, PathLike
from htfjax.motion.progress import Asked, is_asked
from htfjax.runs import batch, folder, view
from htfjax.runs.bindings import build_identity
from htfjax.runs.block import run_block
from htfjax.runs.completion import check_axes, completion_lane
from htfjax.runs.exits import closed_at_exit
from htfjax.runs.grid import Grid
from htfjax.runs.lanes import Build, check_build
from htfjax.runs.opening import open_folder
from htfjax.runs.options import COMPARED, Batching, Sizes, check_batching, checked_options
from htfjax.runs.programs import Failures, blocks_of, programs_of
from htfjax.runs.progress import Clock, Progress, Tally, watched
from htfjax.runs.session import (
    Session,
    all_or_none,
    any_process,
    process_zero,
    wait_for_all,
)


def run(
    grid: Grid,
    out: PathLike,
    *,
    until_step: int,
    record_every: int,
    build: Build = completion_lane,
    chunk_steps: int | None = None,
    record: Sequence[str] | None = None,
    tolerance: float | None = None,
    patience: int = 0,
    watch: str = "loss",
    batching: Batching | int = "auto",
    max_lanes: int = 256,
    memory_bytes: int | None = None,
    mesh: Mesh | None = None,
    checkpoint_seconds: float = 60.0,
    keep_states: bool = False,
    interrupted: Callable[[], bool] | None = None,
    progress: Asked = None,
) -> Generator[Progress, None, None]:
    """Runs every descent of a grid to step `until_step` or until it stops, into a folder.

    Iterate to work; leave the loop to stop: the current chunk is saved, at the end of the
    process too. The same call on the same folder resumes it, after a kill too, and gives
    bit for bit the same records; more `seeds` or `until_step` extend it. Files that were
    damaged or lost meanwhile are named in the messages and computed anew.
    `htfjax.load_results(out)` reads the folder.

    Args:
      grid: what to run.
      out: folder; one process, and one thread, at a time. Of the processes of
        `jax.distributed` the first works in it, and the others need not have it.
      until_step, record_every: as in `descend_in_chunks`, for every run.
      build: makes a lane of a setting and a key. A setting for which it raises is named
        in the messages, and the others run. A folder knows it by its name and by what it is
        bound to: defaults, arguments of a partial, closures, fields of an instance. Of
        these, numbers, texts, arrays, containers, dataclasses and functions are compared,
        others are not, nor are global variables and source code.
      chunk_steps: steps between looks at the stopping rule, a multiple of `record_every`;
        about 500 by default.
      record: quantities to record beside the loss and norms of the steps; all by default.
      tolerance, patience: stopping rule of `find_stop` on the quantity `watch`; without
        `tolerance` only diverged runs stop.
      batching: "map" runs lane after lane and equals single runs bit for bit on any number
        of devices; "vmap" vectorizes over all lanes of a device, a number over that many;
        "auto" maps on a CPU and vectorizes elsewhere.
      max_lanes: lanes that run together, fewer if memory does not hold them.
      memory_bytes: what lanes may take; by default half of what is free.
      mesh: from `lane_mesh`; by default all devices of all processes. Where it has an axis
        "observations", the devices along it share those of each lane, in the losses on
        observations of which its loss is made (`sharded_loss`), and records follow their
        number by rounding.
      checkpoint_seconds: time between checkpoints: what a kill can cost.
      keep_states: whether finished runs need their last states, for `load_states`: where
        one is lost, the runs are computed again.
      interrupted: asked after every chunk; True saves and ends. For several processes.
      progress: True shows a bar while one iterates (on a terminal by rich, in a notebook
        by tqdm; nothing in a pipe); a function is called with a `StepProgress` after every
        chunk. By the first process alone.

    Yields:
      `Progress` after every chunk; the last one is "finished" or "interrupted".

    Raises:
      TypeError, ValueError: arguments that cannot be, a mesh that does not fit the
        processes, a folder of another grid (fields that differ are named), of other
        versions or of another format, or one without its manifest.
      PermissionError, BlockingIOError: a folder that cannot be written or is in use.
      FileNotFoundError: the folder was moved or removed meanwhile.
      MemoryError: a device has too little memory for the runs that it makes at once.
      OSError: the disk is full; what is finished is intact.

    Example:
      >>> import htfjax as htf, tempfile
      >>> setting = htf.problems.Completion(
      ...     mode_dims=3, widths=4, observed=40, target_rank=2, init_std=0.3)
      >>> grid = htf.runs.Grid(setting, seeds=range(3), axes={"eps": (1e-6, 1e-4)})
      >>> out = tempfile.mkdtemp()
      >>> for progress in htf.runs.run(grid, out, until_step=40, record_every=10):
      ...     pass
      >>> progress.state, dict(htf.load_results(out).loss.sizes)
      ('finished', {'eps': 2, 'seed': 3, 'step': 5})
    """
    advice = "make one of a setting, seeds and axes"
    _checks.instance("grid", grid, Grid, advice)
    check_build(build, grid.data)
    path = _files.absolute("out", out)
    options = checked_options(
        until_step, record_every, chunk_steps, record, tolerance, patience, watch
    )
    drawn = completion_lane in (build, getattr(build, "build", None))
    if drawn and grid.data is not None:
        check_axes(grid.names)
    options["build"] = build_identity(build)
    if mesh is not None:
        _checks.instance("mesh", mesh, Mesh, "`lane_mesh` makes one")
    if interrupted is not None:
        _checks.function("interrupted", interrupted)
    _checks.real("checkpoint_seconds", checkpoint_seconds, least=0, infinite=True)
    keep_states = _checks.flag("keep_states", keep_states)
    sizes = Sizes(
        check_batching(batching),
        _checks.at_least("max_lanes", max_lanes, 1),
        None if memory_bytes is None else _checks.at_least("memory_bytes", memory_bytes, 1),
    )
    lanes = batch.lane_mesh(
        None if mesh is None else list(mesh.devices.flat),
        observations=1 if mesh is None else mesh.shape.get(batch.OBSERVATIONS, 1),
    )
    asked = Session(
        out=path, mesh=lanes, keep_states=keep_states,
        checkpoint_seconds=float(checkpoint_seconds), until_step=options["until_step"],
        **{name: options[name] for name in COMPARED},
    )  # fmt: skip
    work = _work(grid, build, asked, options, sizes, interrupted)
    return closed_at_exit(watched(work, progress) if is_asked(progress) else work)


def _work(
    grid: Grid, build: Build, asked: Session, options: JsonObject, sizes: Sizes,
    interrupted: Callable[[], bool] | None,
) -> Generator[Progress, None, None]:  # fmt: skip
    """Block after block, each chunk told of; locked from the first to the last."""
    with contextlib.ExitStack() as stack:
        with all_or_none(asked.out):
            if process_zero():
                stack.enter_context(folder.locked_folder(asked.out, f"`out={asked.out}`"))
        clock = stack.enter_context(Clock.running(asked.out))
        failures: Failures = {}
        programs = programs_of(grid, build, options["record"], failures)
        opened = open_folder(grid, asked, options, sizes, programs, failures)
        session = dataclasses.replace(
            asked, identity=folder.identity_of(opened.manifest),
            metadata=opened.manifest["metadata"], journal=opened.journal,
        )  # fmt: skip
        folded = view.fold(opened.lines)
        count = sum(len(program.runs) for program in programs)
        tally = Tally(count, asked.until_step, clock, opened.messages)
        for block in blocks_of(programs, opened.manifest, grid.seeds):
            chunks = run_block(session, block, folded)
            with contextlib.closing(chunks):
                for chunk in chunks:
                    tally.add((block.program.name, block.number), chunk)
                    yield _told(session, tally, "running")
                    if any_process(interrupted is not None and interrupted()):
                        chunks.close()
                        yield _told(session, tally, "interrupted")
                        return
        last = _told(session, tally, "finished")
        wait_for_all("finished")
        yield last


def _told(session: Session, tally: Tally, state: str) -> Progress:
    """Progress that stands in `status.json` too."""
    journal, progress = session.journal, tally.progress(state)
    if journal is not None:
        with folder.named_errors(session.out):
            journal.check_present()
            values = dataclasses.asdict(progress) | tally.clock.in_all()
            folder.write_status(session.out, values, journal.lines)
    return progress
