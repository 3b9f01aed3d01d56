"""Studies of trained networks: runs of all points, results, summary and figures."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr
from rich.console import Console
from rich.table import Table

import htfjax as htf

from ..common.command import INTERRUPTED
from ..common.errors import FolderError, SettingError
from ..common.folder import CONFIG, open_folder, read_config, read_entry, write_json
from ..figures.contact_sheet import sheet
from ..figures.files import save_figure, save_figures
from ..figures.networks import courses, locality_measures
from . import measures, results
from .options import AXES, MAY_DIFFER, Point, Runs
from .pool import run_all
from .training import Task, read_records


@dataclasses.dataclass(frozen=True)
class Study:
    """Differences between the tasks."""

    axis: str  # "distance" or "path_length"
    runs: Runs
    build: Callable[[Point], Task]  # of a module's function, as processes import it
    figure: Callable[[xr.Dataset, str, dict[str, Any]], Any]  # results, axis, summary
    words: tuple[str, str]  # what label 0 and label 1 mean
    prepare: Callable[[], Any] = lambda: None  # before the first run
    digests: Callable[[], dict[str, str]] = dict  # SHA-256 of every set of images
    extra: Callable[[], dict[str, Any]] = dict  # for the summary


def run(config: Any, study: Study) -> dict[str, Any]:
    """Trains all points of a study into `config.out`; writes results, summary, figures.

    Raises:
      FolderError, RunError, ValueError, OSError: see the simulations.
    """
    for name, values in ((study.axis, study.runs.values), ("canvases", config.canvases)):
        if len(set(values)) < len(values) or not values:
            raise SettingError(f"`{name}` values {values}: none, or one twice.")
    _refuse_fewer_epochs(config)
    with open_folder(config.out, config, may_differ=MAY_DIFFER) as folder:
        study.prepare()
        _refuse_other_images(folder, study.digests())
        save_figure(_samples(config, study), folder, "samples")
        if config.samples_only:
            return {"state": "sampled"}
        return _train_all(config, study, folder)


def _train_all(config: Any, study: Study, folder: Path) -> dict[str, Any]:
    """Trains what is missing; writes results, summary and figures of what there is."""
    runs = folder / "runs"
    done = run_all(study.runs.points, config, study.build, runs)
    data = results.collect(study.runs, runs, study.axis)
    htf.save_results(folder / "results.nc", data)
    summary = results.summarize(data, study.axis, choose=bool(config.validation_size))
    summary |= study.extra()
    summary |= {"state": "finished" if done else "interrupted", "preset": config.preset}
    write_json(folder / "summary.json", summary)
    save_figures(figures(data, summary, study, folder), folder)
    return summary


def redraw(study: Study, folder: Path) -> dict[str, Any]:
    """Figures by name, of what is saved so far.

    Raises:
      FolderError, RunError, ValueError, OSError: files that are damaged or missing.
    """
    data = results.collect(study.runs, folder / "runs", study.axis)
    if (data.status == "pending").all():
        raise FolderError(f"no run in {folder} has begun; the same command trains them.")
    return figures(data, _read_summary(folder), study, folder)


def figures(
    data: xr.Dataset, summary: dict[str, Any], study: Study, folder: Path
) -> dict[str, Any]:
    """The figures of a study by name.

    Raises:
      RunError, ValueError: a file of measures that is damaged, or of another run.
    """
    axis, arms = study.axis, study.runs.arms
    drawn = {axis: study.figure(data, axis, summary), "training": courses(data, axis)}
    ordered = sorted(study.runs.points, key=lambda p: arms.index(p.arm.label))
    measured = read_measures(ordered, folder / "runs")
    if measured:
        drawn["locality"] = locality_measures(measured, axis)
    return drawn


def _read_summary(folder: Path) -> dict[str, Any]:
    """Values of `summary.json`; none before the first session has ended.

    Raises:
      FolderError: it is damaged.
    """
    path = folder / "summary.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise FolderError(
            f"{path} is damaged ({error}); run the same command again, which "
            "writes it anew."
        ) from error


def _refuse_fewer_epochs(config: Any) -> None:
    """Runs that are done would have trained longer than the new ones.

    Raises:
      SettingError: with both numbers. FolderError: config.json is damaged.
    """
    before = (read_config(config.out / CONFIG) or {}).get("epochs")
    if isinstance(before, int) and config.epochs < before:
        raise SettingError(
            f"`--epochs {config.epochs}`: runs in {config.out} had {before}; a folder can "
            "only be given more. Choose another `--out`."
        )


def _refuse_other_images(folder: Path, digests: dict[str, str]) -> None:
    """Runs of one folder are compared, so they must have seen the same images.

    Raises:
      FolderError: other images, or none say which they were.
    """
    path = folder / "images.json"
    before = read_entry(path, "images")
    if before is None and any((folder / "runs").glob("*/manifest.json")):
        raise FolderError(
            f"{path} is missing, so nothing says which images the runs beside it were "
            "trained on; restore it from a copy, or choose another `--out`."
        )
    before = before or {}
    for name, digest in digests.items():
        if before.get(name, digest) != digest:
            raise FolderError(
                f"{name}: other images than those the runs in {folder} were trained on "
                f"(SHA-256 {digest[:12]}, there {before[name][:12]}). Choose another "
                "`--out`, or the images of the first run."
            )
    htf.runs.write_sealed(path, {"images": before | digests})


def _samples(config: Any, study: Study) -> Any:
    """The contact sheet, of the first seed, canvas and arm."""
    first = {"seed": config.seeds[0], "canvas": config.canvases[0]}
    one = dataclasses.replace(study.runs.points[0], **first)
    tasks = {
        value: study.build(dataclasses.replace(one, value=value))
        for value in study.runs.values
    }
    return sheet(tasks, study.axis, study.words)


def read_measures(points: list, runs: Path) -> dict[Any, xr.Dataset]:
    """Measures of each run, left by `--measure`.

    Raises:
      RunError: a file of another run. ValueError: a damaged file.
    """
    found = {}
    for point in points:
        label = measures.label(point.label)
        dataset = read_records(measures.path_of(runs, point.name), label)
        if dataset is not None:
            found[point] = dataset
    return found


def read_canvas(text: str) -> tuple[int, int]:
    """ "8x64" as (8, 64).

    Raises:
      SettingError: another form.
    """
    try:
        height, width = (int(part) for part in text.split("x"))
    except ValueError:
        raise SettingError(
            f"`--canvases {text}`: write height x width, such as 8x64."
        ) from None
    return height, width


def report(summary: dict[str, Any], config: Any, console: Console) -> int:
    """A table of what came out; the exit code."""
    if summary["state"] == "sampled":
        console.print(f"{config.out / 'samples.png'}: nothing was trained", soft_wrap=True)
        return 0
    axis, table = summary["axis"], Table(box=None, pad_edge=False)
    # Only what differs between rows is said of each.
    cells = [name for name in AXES[1:-1] if len({r[name] for r in summary["rows"]}) > 1]
    names = ("arm", *cells)
    for heading in (axis, *names, "test accuracy %", "train accuracy %",
                    "mean |cos| (test)", "epochs", "runs"):  # fmt: skip
        words = heading.replace("_", " ")
        table.add_column(words, justify="left" if heading in names else "right")
    for row in summary["rows"]:
        table.add_row(
            str(row[axis]), *(str(row[name]) for name in names),
            _percent(row["test_accuracy"]), _percent(row["train_accuracy"]),
            _number(row["change_test"], 2), _number(row["epochs"], 0),
            ", ".join(f"{n} {k}" for k, n in row["runs"].items()),
        )  # fmt: skip
    console.print(table)
    for gap in summary["gaps"]:
        where = "".join(f", {name.replace('_', ' ')} {gap[name]}" for name in cells)
        console.print(
            f"{axis.replace('_', ' ')} {gap[axis]}{where}: {gap['arm']} is "
            f"{100 * gap['gap']:+.1f} points from coefficient 0"
            + f" ({', '.join([*_interval(gap['interval']), str(gap['seeds'])])} seeds)"
        )
    for what in ("coefficient", "settings"):
        if (words := summary.get(f"{what}_chosen_on")) is not None:
            console.print(f"{what} chosen on: {words}", soft_wrap=True)
    for row in summary["chosen"] or ():
        where = "".join(f", {name.replace('_', ' ')} {row[name]}" for name in cells)
        console.print(
            f"{axis.replace('_', ' ')} {row[axis]}{where}: {row['arm']}, validation "
            f"{100 * row['validation_accuracy']:.1f} %, test "
            f"{100 * row['test_accuracy']:.1f} %"
        )
    for canvas, found in summary.get("marker_distance_baseline", {}).items():
        each = ", ".join(f"{100 * v:.1f} % ({k})" for k, v in found.items())
        console.print(f"{canvas}: the marks' distance alone reaches {each}")
    for canvas, found in summary.get("marker_position_baseline", {}).items():
        each = ", ".join(
            f"{100 * v['accuracy']:.1f} % ({k}; {', '.join(_interval(v['interval']))})"
            for k, v in found.items()
        )
        each = each or "a number that `pip install 'htfjax[baselines]'` adds"
        console.print(f"{canvas}: the marks' positions alone reach {each}")
    console.print(f"figures, results and summary.json are in {config.out}", soft_wrap=True)
    if summary["state"] == "interrupted":
        console.print("interrupted and saved: the same command resumes from here")
        return INTERRUPTED
    return 0


def _interval(ends: Any) -> list[str]:
    """A 95 % interval in points; nothing where there is none."""
    if ends is None:
        return []
    return [f"95 % interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f}"]


def _percent(spread: dict[str, Any]) -> str:
    if spread["mean"] is None:
        return "-"
    deviation = spread["deviation"]
    tail = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * spread['mean']:.1f}{tail}"


def _number(spread: dict[str, Any], digits: int) -> str:
    return "-" if spread["mean"] is None else f"{spread['mean']:.{digits}f}"
