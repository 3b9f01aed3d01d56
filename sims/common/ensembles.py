"""Driver of a grid of runs, with one progress display and Ctrl-C."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

import htfjax as htf

from ..figures.files import save_figures
from .display import SECONDS_BETWEEN_LINES, progress_display, spell_seconds
from .folder import CONFIG, locked_folder, refuse_lost, write_json


def on_all_cores(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`run` with one CPU device per core, so that lanes run side by side.

    The function returned must be called before jax starts.
    """

    def wide(options: Any) -> Any:
        if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
            has = hasattr(os, "sched_getaffinity")
            cores = len(os.sched_getaffinity(0)) if has else 1
            jax.config.update("jax_num_cpu_devices", cores)
        return run(options)

    return wide


def with_quick(config: Any, preset: dict[str, Any]) -> Any:
    """A preset under the options that were given, if `--quick` asks for it."""
    plain = type(config)(out=config.out)
    unchanged = {
        name: value
        for name, value in preset.items()
        if getattr(config, name) == getattr(plain, name)
    }
    return dataclasses.replace(config, **unchanged) if config.quick else config


def drive_grid(
    command: str,
    grid: Any,
    config: Any,
    evaluate: Callable[[Any], tuple[dict[str, Any], dict[str, Any]]],
    **options: Any,
) -> dict[str, Any]:
    """Runs a grid into `config.out` until it is finished or a signal asks it to save.

    Other commands are kept out of the folder until summary and figures are written; beside
    them stands what was asked, in `config.json`.

    Args:
      command: its name, for `plot`.
      evaluate: options -> summary, and figures by name, from what `config.out` holds.

    Returns:
      The summary, with the `state` of the grid.
    """
    folder = htf.runs.absolute("--out", config.out)
    refuse_lost(folder, folder / "manifest.json")
    for name in ("record_every", "tolerance", "patience", "batching", "checkpoint_seconds"):
        options[name] = getattr(config, name)
    options["until_step"] = config.num_steps
    asked = dataclasses.asdict(config) | {"out": None, "command": command}
    with htf.runs.stop_requested() as requested:
        session = htf.runs.run(grid, config.out, interrupted=requested, **options)
        with locked_folder(config.out), contextlib.closing(session):
            last = _follow(_with_config(session, asked, folder), len(grid.runs()))
            summary, figures = evaluate(config)
            summary |= {"state": last.state}
            write_json(folder / "summary.json", summary)
            save_figures(figures, folder)
    return summary


def _with_config(session: Any, asked: dict[str, Any], folder: Path) -> Iterator[Any]:
    """The session; its first chunk shows that the folder is of what was asked."""
    for i, progress in enumerate(session):
        if i == 0:
            htf.runs.write_sealed(folder / CONFIG, asked)
        yield progress


def _follow(session: Any, runs: int) -> Any:
    """Shows the progress of a session to its end; the last one."""
    display = progress_display()
    console = display.console
    said = 0.0
    last = None
    with display:
        task = display.add_task(f"{runs} runs", note="compiling")
        for last in session:
            note = headline(last)
            display.update(task, total=last.steps_in_all, completed=last.steps, note=note)
            for message in last.messages:
                console.print(message, soft_wrap=True, highlight=False)
            if display.disable and last.wall_seconds - said > SECONDS_BETWEEN_LINES:
                said = last.wall_seconds
                console.print(note, soft_wrap=True, highlight=False)
    if last is not None and last.state == "interrupted":
        console.print("interrupted and saved: the same command resumes from here")
    return last


def headline(progress: Any) -> str:
    """How an ensemble stands, in one line."""
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


def check_multiple(num_steps: int, record_every: int) -> None:
    """Records must fit the steps.

    Raises:
      ValueError: with numbers that do.
    """
    surplus = num_steps % record_every if record_every > 0 else 0
    if record_every < 1 or surplus:
        raise ValueError(
            f"`--record-every {record_every}` does not divide `--num-steps {num_steps}`; "
            f"use {num_steps - surplus} or {num_steps - surplus + record_every} steps."
        )


def seeds_from(first: int, count: int) -> Sequence[int]:
    """`count` seeds from `first` on.

    Raises:
      ValueError: fewer than one.
    """
    if count < 1:
        raise ValueError(f"`--num-seeds {count}` must be at least 1.")
    return range(first, first + count)
