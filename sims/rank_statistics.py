"""When does the k-th singular value take off, over hundreds of seeds?

Expected: the smaller the start, the further apart the rises (the incrementality index,
steps to the next rise over the width of a rise, grows), in all three models. Matrix and CP
runs end at the target's rank whatever the seed; hierarchical targets have small last
singular values, so fewer rise before the loss is fitted or the steps are spent.

Takes 80 min on two cores, 20 s with `--quick`.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

import htfjax as htf

from .common import rises
from .common.command import INTERRUPTED, command
from .common.ensembles import GridOptions, drive_grid, seeds_from
from .common.folder import saved_config
from .common.models import Model, model_lane, standard_std, target_singular_values
from .common.settings import check_multiple
from .figures import ensembles


@dataclasses.dataclass(frozen=True)
class Config(GridOptions):
    """When does the k-th singular value take off, over hundreds of seeds?

    Matrix, CP and hierarchical factorizations of 4096 entries complete a rank-5 target
    from 2048 of them, for many seeds and starts over 1.5 decades. The same command on the
    same folder resumes it; more seeds or steps extend it.
    """

    num_seeds: int = 256
    """Runs per model and start."""
    init_std: float | None = None
    """Standard deviation of the start, the same for all models; by default each model's
    own (mf and tf 1e-3, htf 3e-2 at widths 64) times the scales."""
    init_scales: tuple[float, ...] | None = None
    """Factors on the standard deviation; by default six over 1.5 decades, or 1 with
    --init-std."""
    target_rank: int = 5
    """Rank of the target."""
    observed: int = 2048
    """Observed entries of 4096."""
    record_every: int = 25
    """Steps between records."""
    patience: int = 40
    """A run stops when more than this many records in a row are fitted."""


QUICK: dict[str, Any] = {
    "num_seeds": 12, "widths": 16, "num_steps": 8000, "init_scales": (0.5, 1.0, 3.0),
}  # fmt: skip


def run(config: Config) -> dict[str, Any]:
    """Runs the grid, writes figures and summary, and returns the summary.

    Raises:
      ValueError, TypeError, OSError: options that cannot be, or a folder that cannot be
        used; the message says why.
    """
    config = resolve(config)
    check_multiple(config.num_steps, config.record_every)
    return drive_grid(grid_of(config), config, evaluate, build=model_lane)


def evaluate(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summary, and figures by name, of what a folder holds."""
    data = htf.load_results(config.out)
    found = rises.rises(
        data[["loss", "chord", "singular_value"]], target_values(data, config)
    )
    summary = summarize(data, found, config)
    return summary, ensembles.rank_statistics(data, found, summary)


def redraw(folder: Path) -> dict[str, Any]:
    """Figures by name, of what is saved."""
    return evaluate(saved_config(folder, Config))[1]


def resolve(config: Config) -> Config:
    """The preset put under what was asked."""
    if config.init_scales is None:
        scales = (1.0,) if config.init_std is not None else default_scales()
        config = dataclasses.replace(config, init_scales=scales)
    return config


def default_scales() -> tuple[float, ...]:
    """Six factors over 1.5 decades, evenly in logarithm, the largest first decade up."""
    return tuple(float(f"{x:.3g}") for x in np.geomspace(10**-0.6, 10**0.9, 6))


def grid_of(config: Config) -> Any:
    """Models x scales x seeds."""
    base = Model(
        widths=config.widths, init_std=config.init_std, target_rank=config.target_rank,
        observed=config.observed,
    )  # fmt: skip
    axes = {"model": config.models, "init_scale": config.init_scales}
    return htf.runs.Grid(base, seeds_from(config.seed, config.num_seeds), axes)


def target_values(data: xr.Dataset, config: Config) -> np.ndarray:
    """Singular values of every run's target, (model, init_scale, seed, index).

    They are what a run's own rise to, also in runs that did not converge.
    """
    top = data.sizes["index"]
    shape = (data.sizes["model"], 1, data.sizes["seed"], top)
    found = np.full(shape, np.nan)
    for m, model in enumerate(config.models):
        setting = Model(model=model, target_rank=config.target_rank, widths=1, observed=1)
        for s, seed in enumerate(data.seed.values):
            found[m, 0, s] = target_singular_values(setting, int(seed), top)
    return np.broadcast_to(found, (shape[0], data.sizes["init_scale"], *shape[2:]))


def summarize(data: xr.Dataset, found: xr.Dataset, config: Config) -> dict[str, Any]:
    """Counts, take-offs and incrementality of every model and start."""
    rows = []
    for m, model in enumerate(data.model.values):
        for s, scale in enumerate(data.init_scale.values):
            part, each = data.isel(model=m, init_scale=s), found.isel(model=m, init_scale=s)
            status = part.status.values
            std = config.init_std or standard_std(str(model), config.widths)
            ranks, counts = np.unique(each.final_rank.values, return_counts=True)
            steps = part.steps.values
            slow = part.slow_steps.values
            known = (slow >= 0) & (steps > 0)
            rows.append(
                {
                    "model": str(model),
                    "init_scale": float(scale),
                    "init_std": float(std * scale),
                    "runs": {str(k): int(np.sum(status == k)) for k in np.unique(status)},
                    "final_rank": {
                        str(r): int(c) for r, c in zip(ranks, counts, strict=True)
                    },
                    "incrementality": rises.interval(each.index_of_increment.values),
                    "take_off": {
                        str(clock): [
                            rises.quantiles(each.take_off.values[:, k, c])
                            for k in range(config.target_rank)
                        ]
                        for c, clock in enumerate(found.clock.values)
                    },
                    "coarse_rises": int(each.coarse.sum()),
                    "eps_phase_share": rises.quantiles(slow[known] / steps[known]),
                }
            )
    return {
        "rows": rows,
        "quantiles": [0.1, 0.5, 0.9],
        "target_rank": config.target_rank,
        "widths": config.widths,
        "paper": (config.widths, config.target_rank, config.observed) == (64, 5, 2048),
    }


def report(summary: dict[str, Any], config: Config, console: Console) -> int:
    """A table of what came out; the exit code."""
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "std", "runs", "final ranks", "median take-offs (steps)",
                    "incrementality (95 %)", "without an index"):  # fmt: skip
        table.add_column(heading)
    for row in summary["rows"]:
        index = row["incrementality"]
        table.add_row(
            row["model"],
            f"{row['init_std']:.2g}",
            ", ".join(f"{n} {k}" for k, n in row["runs"].items()),
            ", ".join(f"{n} x {k}" for k, n in row["final_rank"].items()),
            " ".join("-" if q is None else f"{q[1]:.0f}" for q in row["take_off"]["step"]),
            "-" if index is None else _spell(index),
            str(sum(row["runs"].values()) if index is None else index["dropped"]),
        )
    coarse = sum(row["coarse_rises"] for row in summary["rows"])
    if coarse:
        console.print(
            f"{coarse} rises have fewer than 4 records and no width; a smaller "
            "--record-every, in another folder, shows them",
            soft_wrap=True,
        )
    console.print(table)
    console.print(f"figures, results and summary.json are in {config.out}", soft_wrap=True)
    return INTERRUPTED if summary["state"] == "interrupted" else 0


def _spell(index: dict[str, Any]) -> str:
    if index["low"] is None:
        return f"{index['median']:.2f} (too few runs)"
    return f"{index['median']:.2f} ({index['low']:.2f} to {index['high']:.2f})"


def main() -> int:
    """The command line."""
    return command("rank_statistics", Config, run, report, quick=QUICK, grids=True)


if __name__ == "__main__":
    sys.exit(main())
