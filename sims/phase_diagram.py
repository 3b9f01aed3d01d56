"""How many observations does each model need to find a target of low rank?

Expected: below about one observation per degree of freedom the fit generalizes for no
model (relative error near 1 and a final rank below the target's); some times above it
all three find the target and its rank, the more observations the higher the rank.

Takes 20 min on two cores, 20 s with `--quick`.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console

import htfjax as htf

from .common import rises
from .common.command import INTERRUPTED, command
from .common.ensembles import GridOptions, drive_grid, seeds_from
from .common.folder import saved_config
from .common.models import Cell, cell_lane, degrees_of_freedom, observed_entries
from .common.settings import check_multiple
from .figures import ensembles


@dataclasses.dataclass(frozen=True)
class Config(GridOptions):
    """How many observations does each model need to find a target of low rank?

    Every cell completes a random target from (ratio x its degrees of freedom) entries of
    4096. The same command on the same folder resumes it.
    """

    target_ranks: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """Ranks of targets."""
    ratios: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
    """Observed entries per degree of freedom of the target's format."""
    num_seeds: int = 8
    """Runs per cell."""
    init_scale: float = 1.0
    """Factor on each model's own standard deviation."""
    record_every: int = 100
    """Steps between records."""
    patience: int = 10
    """A run stops when more than this many records in a row are fitted."""


QUICK: dict[str, Any] = {
    "target_ranks": (1, 3, 5), "ratios": (0.5, 1.0, 2.0, 4.0), "num_seeds": 3,
    "widths": 16, "init_scale": 3.0, "num_steps": 8000,
}  # fmt: skip


def run(config: Config) -> dict[str, Any]:
    """Runs the grid, writes figure and summary, and returns the summary.

    Raises:
      ValueError, TypeError, OSError: options that cannot be, or a folder that cannot be
        used; the message says why.
    """
    check_multiple(config.num_steps, config.record_every)
    axes = {
        "model": config.models, "target_rank": config.target_ranks, "ratio": config.ratios,
    }  # fmt: skip
    base = Cell(widths=config.widths, init_scale=config.init_scale)
    grid = htf.runs.Grid(base, seeds_from(config.seed, config.num_seeds), axes)
    return drive_grid(
        grid, config, evaluate, build=cell_lane,
        record=("relative_error", "test_mse", "singular_value"),
    )  # fmt: skip


def evaluate(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summary, and figures by name, of what a folder holds."""
    data = htf.load_results(config.out)
    summary: dict[str, Any] = {"rows": summarize(data)}
    return summary, {"phase_diagram": ensembles.phase(data, summary)}


def redraw(folder: Path) -> dict[str, Any]:
    """Figures by name, of what is saved."""
    return evaluate(saved_config(folder, Config))[1]


def summarize(data: xr.Dataset) -> list[dict[str, Any]]:
    """Medians over seeds of every cell at the last record of every run."""
    found = rises.rises(data[["loss", "chord", "singular_value"]])
    errors, every = data.relative_error.values, int(data.step[1] - data.step[0])
    rows = []
    for m, model in enumerate(data.model.values):
        for r, rank in enumerate(data.target_rank.values):
            for q, ratio in enumerate(data.ratio.values):
                ends = data.steps.values[m, r, q] // every
                last = [errors[m, r, q, s, end] for s, end in enumerate(ends)]
                status = data.status.values[m, r, q]
                count = observed_entries(str(model), int(rank), float(ratio))
                rows.append(
                    {
                        "model": str(model),
                        "target_rank": int(rank),
                        "ratio": float(ratio),
                        "degrees_of_freedom": degrees_of_freedom(str(model), int(rank)),
                        "observed": int(count),
                        "relative_error": _median(last),
                        "final_rank": _median(found.final_rank.values[m, r, q]),
                        "not_converged": float(np.mean(status != "converged")),
                    }
                )
    return rows


def _median(values: Any) -> float | None:
    finite = np.asarray(values, float)[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None


def report(summary: dict[str, Any], config: Config, console: Console) -> int:
    """Where things are; the exit code."""
    console.print(f"figures, results and summary.json are in {config.out}", soft_wrap=True)
    return INTERRUPTED if summary["state"] == "interrupted" else 0


def main() -> int:
    """The command line."""
    return command("phase_diagram", Config, run, report, quick=QUICK, grids=True)


if __name__ == "__main__":
    sys.exit(main())
