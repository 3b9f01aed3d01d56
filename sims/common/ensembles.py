"""Driver of a grid of runs: shared options, one progress display and Ctrl-C."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import htfjax as htf

from ..figures.files import save_figures
from .display import now_and_then, progress_display, say_compiling, spell_seconds
from .distributed import (
    check_alike,
    left_open,
    raised_by_all,
    share_signal,
    this_process,
)
from .folder import MANIFEST, as_json, open_folder, write_json
from .settings import check_signs
from .single import is_finished


@dataclasses.dataclass(frozen=True)
class GridOptions:
    """Options that grids over the three models share."""

    out: Path
    """Folder for results, figures and checkpoints."""
    models: tuple[Literal["mf", "tf", "htf"], ...] = ("mf", "tf", "htf")
    """Which models."""
    widths: int = 64
    """Local components of every node of the model."""
    num_steps: int = 20_000
    """Steps at most; runs they end are marked."""
    tolerance: float = 5e-5
    """Training mean squared error below which a record counts as fitted."""
    batching: Literal["auto", "map", "vmap"] = "auto"
    """How runs share a program; "map" equals single runs bit for bit."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints."""
    seed: int = 0
    """First seed."""


def drive_grid(
    grid: Any,
    config: Any,
    evaluate: Callable[[Any], tuple[dict[str, Any], dict[str, Any]]],
    **options: Any,
) -> dict[str, Any]:
    """Runs a grid into `config.out` until it is finished or a signal asks it to save.

    Other commands are kept out of the folder until summary and figures are written; beside
    them stands what was asked, in `config.json`. Of the processes of a job, the first one
    writes and shows progress.

    Args:
      evaluate: options -> summary, and figures by name, of what `config.out` holds.

    Returns:
      The summary, with the `state` of the grid; the state alone in processes that do not
      write.

    Raises:
      SettingError: a number that cannot be; processes that were asked for different grids.
    """
    check_signs(config)
    for name in ("record_every", "tolerance", "patience", "batching", "checkpoint_seconds"):
        options[name] = getattr(config, name)
    options["until_step"] = config.num_steps
    check_alike(as_json(config))
    with (
        htf.runs.stop_signals() as signals,
        htf.runs.stop_requested() as requested,
        contextlib.ExitStack() as stack,
    ):
        session = htf.runs.run(grid, config.out, interrupted=requested, **options)
        folder, writes = config.out, this_process().number == 0
        with raised_by_all():
            if writes:
                opened = open_folder(folder, config, may_differ=None)
                folder = stack.enter_context(opened)
                with contextlib.suppress(FileNotFoundError):  # refused before much is said
                    htf.runs.read_sealed(folder / MANIFEST)
        stack.enter_context(contextlib.closing(session))
        with left_open(session):
            if writes:
                name = f"{len(grid.runs())} runs"
                state = _follow(session, name, anew=not is_finished(config.out)).state
                summary, figures = evaluate(config)
                write_json(folder / "summary.json", summary | {"state": state})
                save_figures(figures, folder)
            else:
                summary, state = {}, collections.deque(session, maxlen=1).pop().state
        share_signal(signals)
    return summary | {"state": state}


def _follow(session: Any, name: str, *, anew: bool) -> Any:
    """Shows the progress of a session to its end; the last one."""
    display = progress_display()
    console, say = display.console, now_and_then(display)
    last = None
    with display:
        task = display.add_task(name, note="compiling")
        if anew:
            say_compiling(display, name)
        for last in session:
            note = headline(last)
            display.update(task, total=last.steps_in_all, completed=last.steps, note=note)
            for message in last.messages:
                console.print(message, soft_wrap=True, highlight=False)
            say(note)
    if last is not None and last.state == "interrupted":
        console.print("interrupted and saved: the same command resumes from here")
    return last


def headline(progress: Any) -> str:
    """The state of an ensemble in one line."""
    words = [f"{progress.done} of {progress.runs} runs done", f"{progress.active} active"]
    if progress.failed:
        words.append(f"{progress.failed} diverged")
    words.append(f"{progress.steps_per_second:,.0f} steps/s")
    if progress.seconds_left is not None and progress.state == "running":
        words.append(f"at most {spell_seconds(progress.seconds_left)} left")
    if progress.losses is not None:
        low, middle, high = progress.losses
        words.append(f"losses {low:.1e} to {high:.1e}, median {middle:.1e}")
    return ", ".join(words)


def seeds_from(first: int, count: int) -> Sequence[int]:
    """`count` seeds from `first` on.

    Raises:
      ValueError: fewer than one.
    """
    if count < 1:
        raise ValueError(f"`--num-seeds {count}` must be at least 1.")
    return range(first, first + count)
