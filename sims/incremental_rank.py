"""Do ranks rise one at a time from a small initialization?

Expected, as in arXiv:2201.11729: singular values of a matrix factorization, component
norms of a CP tensor factorization and local component norms of a hierarchical tensor
factorization leave zero one after another, until the target's numerical rank is reached.

Takes 45 s on two cores, 10 s with `--quick`.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import xarray as xr
from rich.console import Console
from rich.table import Table

import htfjax as htf

from .common import records
from .common.command import INTERRUPTED, command
from .common.display import progress_display
from .common.folder import open_folder, run_label, write_json
from .common.plateau import plateau_steps
from .common.problem import Problem, make_problem
from .common.settings import (
    MAY_DIFFER,
    Config,
    Setting,
    check_numbers,
    chosen_panels,
    resolve,
)
from .common.single import Job, drive
from .figures import dynamics
from .figures.files import save_figures

# A chunk is this many records: about two seconds of the largest panel on two cores.
RECORDS_PER_CHUNK = 40


QUICK: dict[str, Any] = {"panel": "mf"}


def run(config: Config) -> dict[str, Any]:
    """Runs the chosen panels into `config.out` and returns the summary.

    Raises:
      SettingError, FolderError, ValueError, TypeError: options that cannot be, or a
        folder that cannot be used; nothing has run then.
    """
    check_numbers(config)
    panels = chosen_panels(config)
    with jax.enable_x64(config.dtype == "float64"):
        settings = [resolve(config, panel) for panel in panels]
        problems = [make_problem(config, setting) for setting in settings]
        jobs = [
            _job(config, setting, problem)
            for setting, problem in zip(settings, problems, strict=True)
        ]
        with open_folder(
            config.out, config, may_differ=MAY_DIFFER, command="incremental_rank"
        ) as folder:
            summary = _drive_all(config, folder, jobs, settings, problems)
            write_json(folder / "summary.json", summary)
            draw(folder, dynamics.View(top=config.top, marks=_is_paper(config)))
    return summary


def _drive_all(
    config: Config,
    folder: Path,
    jobs: list[Job],
    settings: list[Setting],
    problems: list[Problem],
) -> dict[str, Any]:
    """Panel after panel; one row each."""
    summary: dict[str, Any] = {}
    with progress_display(steps=True) as progress:
        for job, setting, problem in zip(jobs, settings, problems, strict=True):
            out = folder / job.name
            outcome = drive(job, out, progress, config.checkpoint_seconds)
            final = records.contributions(outcome.state.params, setting)
            htf.runs.save_final(out, outcome.dataset, final)
            outcome = dataclasses.replace(outcome, dataset=outcome.dataset.assign(final))
            row = records.summarize(outcome, config, problem)
            if (steps := plateau_steps(config, problem, row)) is not None:
                row["plateau_steps"] = steps
            summary[job.name] = row
            if outcome.status == "interrupted":
                break
    return summary


def draw(folder: Path, view: dynamics.View) -> None:
    """Draws every figure of a folder from its saved results."""
    save_figures(dynamics.standard(load_runs(folder), view), folder)


def load_runs(folder: Path) -> dict[str, xr.Dataset]:
    """The saved panels of a folder, in the paper's order."""
    panels = ("mf", "tf", "htf")
    names = [name for name in panels if (folder / name / "manifest.json").exists()]
    return {name: htf.load_results(folder, name) for name in names}


def report(summary: dict[str, Any], config: Config, console: Console) -> int:
    """A table of what came out, and where it is; the exit code."""
    table = Table(box=None, pad_edge=False)
    for heading in ("panel", "status", "steps", "rising", "take-off at steps",
                    "train MSE", "test MSE", "relative error", "ms/step"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "panel" else "right")
    for name, row in summary.items():
        spectrum = next(iter(row["spectra"].values()))
        take_offs = [f"{x:.0f}" for x in spectrum["take_off_steps"] if x]
        final = row["final"]
        table.add_row(
            name,
            {"capped": "not converged"}.get(row["status"], row["status"]),
            str(row["steps"]),
            str(spectrum["rising"]),
            " ".join(take_offs),
            _short(final.get("train_mse")),
            _short(final.get("test_mse")),
            _short(final.get("relative_error")),
            f"{row['milliseconds_per_step']:.2f}",
        )
    console.print(table)
    for name, row in summary.items():
        if "plateau_steps" in row:
            console.print(
                f"{name}: every step was on the plateau of the small start; the first rise "
                f"is predicted at step {row['plateau_steps']:.0f}",
                soft_wrap=True,
            )
    console.print(f"figures, results and summary.json are in {config.out}", soft_wrap=True)
    if any(row["status"] == "interrupted" for row in summary.values()):
        console.print("interrupted: the same command resumes from here")
        return INTERRUPTED
    return 0


def main() -> int:
    """The command line."""
    return command("incremental_rank", Config, run, report, quick=QUICK)


def _job(config: Config, setting: Setting, problem: Problem) -> Job:
    label = run_label(setting.panel, config, MAY_DIFFER)
    return Job(
        name=setting.panel,
        setting=records.Panel(label, setting.panel, repr(setting.tree)),
        seed=config.seed,
        lane=records.make_lane(config, setting, problem),
        num_steps=config.num_steps,
        record_every=config.record_every,
        chunk_steps=RECORDS_PER_CHUNK * config.record_every,
        tolerance=config.tolerance,
        patience=config.patience,
        watch="train_mse",  # whatever the loss
        headline=records.headline,
    )


def _is_paper(config: Config) -> bool:
    """Whether the run has the paper's settings, whatever seed, cap and precision."""
    plain = Config(out=config.out)
    free = {"out", "panel", "seed", "num_steps", "dtype", "top", "checkpoint_seconds"}
    return all(
        getattr(config, name) == getattr(plain, name)
        for name in Config.__dataclass_fields__
        if name not in free
    )


def _short(x: float | None) -> str:
    return "-" if x is None else f"{x:.2e}"


if __name__ == "__main__":
    sys.exit(main())
