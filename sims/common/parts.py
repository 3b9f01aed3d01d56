"""Parts of an experiment: flows and descents, each on the disk as soon as it is computed.

    plan -> parts -> summary -> figures

What is computed at once becomes a netCDF file of `DIR/parts`, a descent the folder of a
run, which resumes in its midst. Summary and figures are functions of the parts.
"""

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

import htfjax as htf

from ..figures.files import save_figures
from .display import now_and_then, progress_display, spell_seconds
from .errors import FolderError, SettingError
from .folder import STATUS, open_folder, run_label, saved_config, write_json
from .settings import check_signs, flag
from .single import Asked, Job, drive

CHECKPOINT_SECONDS = 30.0

Parts = dict[str, xr.Dataset]
# Computes a part, or gives the descent to be driven.
Work = Callable[[], xr.Dataset | Job]
Figures = dict[str, Any]


class Experiment(NamedTuple):
    """A command whose results are parts.

    Attributes:
      options: its dataclass of options.
      lists: options that say which parts there are; they alone may be given more.
      plan: options -> work by name of the part.
      summarize: (parts, options) -> summary.
      draw: (parts, options, summary) -> figures by name.
    """

    options: type
    lists: tuple[str, ...]
    plan: Callable[[Any], dict[str, Work]]
    summarize: Callable[[Parts, Any], dict[str, Any]]
    draw: Callable[[Parts, Any, dict[str, Any]], Figures]

    def label(self, name: str, config: Any) -> str:
        """Of a part: its name and a digest of what decides its numbers."""
        return run_label(name, config, self.lists)


def run_and_redraw(*fields: Any) -> tuple[Callable[[Any], dict], Callable[[Path], Figures]]:
    """`run(config)` and `redraw(folder)` of an experiment, given by its fields."""
    experiment = Experiment(*fields)
    return functools.partial(run, experiment), functools.partial(redraw, experiment)


def run(experiment: Experiment, config: Any) -> dict[str, Any]:
    """Computes the parts that are missing, writes summary and figures to `config.out`.

    Returns:
      The summary.

    Raises:
      SettingError, ValueError, TypeError: options that cannot be.
      FolderError, OSError: a folder that cannot be used, or a part of another run.
      KeyboardInterrupt: stopped by a signal; says what is saved.
    """
    for option in experiment.lists:
        values = getattr(config, option)
        if not values:
            raise SettingError(f"`{flag(option)}` is empty; give at least one value.")
        if twice := [value for value in values if values.count(value) > 1]:
            raise SettingError(f"`{flag(option)}` has {twice[0]} twice; give it once.")
    check_signs(config)
    opened = open_folder(config.out, config, may_differ=experiment.lists)
    with jax.enable_x64(True), opened as folder:
        parts = _complete(experiment, config, folder)
        summary = experiment.summarize(parts, config)
        write_json(folder / "summary.json", summary)
        save_figures(experiment.draw(parts, config, summary), folder)
    return summary


def redraw(experiment: Experiment, folder: Path) -> Figures:
    """Figures by name, of the saved parts alone.

    Raises:
      FolderError: parts are missing, or of another run; they are named.
      ValueError: a damaged file.
    """
    config, parts = saved_config(folder, experiment.options), {}
    for name in experiment.plan(config):
        part = read(place_of(folder, name), experiment.label(name, config))
        if part is None:
            raise FolderError(f"{folder} lacks {name}; the same command computes it.")
        parts[name] = part
    with jax.enable_x64(True):
        return experiment.draw(parts, config, experiment.summarize(parts, config))


def place_of(folder: Path, name: str) -> Path:
    """The folder of a part that is a descent; others are a file, with `.nc` after it."""
    return folder / "parts" / name.replace(", ", "_").replace(" ", "-")


def file_of(place: Path) -> Path:
    """The file of a part that is computed at once."""
    return place.with_name(f"{place.name}.nc")


def _complete(experiment: Experiment, config: Any, folder: Path) -> Parts:
    """All parts, from the disk or computed and saved, in the order of the plan."""
    plan = experiment.plan(config)
    labels = {name: experiment.label(name, config) for name in plan}
    with progress_display() as display:
        parts = _saved(folder, labels, display.console)
        name, missing = "", [name for name in plan if name not in parts]
        try:
            for name in _shown(missing, len(parts), display):
                tell(folder, plan, "running")
                place = place_of(folder, name)
                parts[name] = _compute(place, name, labels[name], plan[name](), display)
        except KeyboardInterrupt:
            tell(folder, plan, "interrupted")
            where = "where it was" if place_of(folder, name).exists() else "from its start"
            raise KeyboardInterrupt(
                f"{len(parts)} of {len(plan)} parts are saved; the same command resumes, "
                f"{name} {where}"
            ) from None
    tell(folder, plan, "finished")
    return {name: parts[name] for name in plan}


def _saved(folder: Path, labels: dict[str, str], console: Any) -> Parts:
    """The parts that are files; damaged ones are named and left out."""
    parts = {}
    for name, label in labels.items():
        place = place_of(folder, name)
        try:
            # The folder of a descent is looked after by the engine.
            part = read(place, label) if file_of(place).exists() else None
        except ValueError as error:
            if "is damaged" not in str(error):  # of a newer htfjax
                raise
            part, said = None, f"{file_of(place)} is damaged and is computed anew"
            console.print(said, soft_wrap=True, highlight=False)
        if part is not None:
            parts[name] = part
    return parts


def _shown(names: list[str], saved: int, display: Any) -> Iterator[str]:
    """The names in turn, each shown with the time that is left about."""
    total = saved + len(names)
    task = display.add_task("parts", total=total, completed=saved, note="")
    begun, say = time.monotonic(), now_and_then(display)
    for i, name in enumerate(names):
        note = f"{saved + i} of {total} parts saved, now {name} (compiling first)"
        if i:
            left = (time.monotonic() - begun) / i * (len(names) - i)
            note += f", about {spell_seconds(left)} left"
        display.update(task, completed=saved + i, note=note)
        say(note)
        yield name
    display.update(task, completed=total, note="")


def _compute(
    place: Path, name: str, label: str, made: xr.Dataset | Job, display: Any
) -> xr.Dataset:
    """A part that is driven to its end, or was computed, and is on the disk."""
    if isinstance(made, Job):
        job = dataclasses.replace(made, name=name, setting=Asked(label))
        outcome = drive(job, place, display, CHECKPOINT_SECONDS)
        if outcome.status == "interrupted":
            raise KeyboardInterrupt
        return _plain(outcome.dataset)
    place.parent.mkdir(exist_ok=True)
    htf.save_results(file_of(place), made.assign_attrs(label=label))
    return _plain(htf.load_results(file_of(place)))  # of the types that a resumed one has


def read(place: Path, label: str) -> xr.Dataset | None:
    """A saved part; None if there is none, or a descent that has not ended.

    Raises:
      FolderError: it is of another run. ValueError: it is damaged.
    """
    path = file_of(place) if file_of(place).exists() else place
    if not path.exists():
        return None
    part = htf.load_results(path).load()
    if part.attrs.get("label") != label:
        raise FolderError(
            f"{path} holds a part of another run; restore it from a copy, or choose "
            "another `--out`."
        )
    under_way = path == place and part.status.item() in ("pending", "running")
    return None if under_way else _plain(part)


def _plain(part: xr.Dataset) -> xr.Dataset:
    """One run up to its stop; attributes are Python values, and those of the part alone."""
    if "stop_step" in part.coords:
        part = part.isel(seed=0)
        stop = int(part.stop_step)
        part = part.sel(step=slice(None, stop)) if stop >= 0 else part
    own = part.attrs.keys() - {"label", "htfjax_format"}
    part.attrs = {key: np.asarray(part.attrs[key]).item() for key in sorted(own)}
    return part


def tell(folder: Path, names: Any, state: str) -> None:
    """Writes how the parts stand, for `status`."""
    values = {"state": state, "parts": list(names)}
    values |= {"time": time.time(), "pid": os.getpid()}
    htf.runs.write_sealed(folder / STATUS, values)
