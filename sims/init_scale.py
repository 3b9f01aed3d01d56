"""Do transitions sharpen and separate as the initialization shrinks?

Expected: in rescaled time, t over std^-(m-2), the first transition comes at one place
for all scales. The smaller the start, the narrower it is beside the wait for it, and the
more of its own widths lie between a later one and the one before (while both crowd
behind the first on this clock).
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console

import htfjax as htf

from .common.command import command
from .common.folder import open_folder, write_json
from .common.theory import (
    COLOURS,
    check_given,
    completion,
    finite,
    share_crossings,
    top_singular_values,
)
from .figures.files import save_figure


@dataclasses.dataclass(frozen=True)
class Config:
    """Runs the flow from the same random directions at several scales."""

    out: Path
    """Folder for results and figures."""
    stds: tuple[float, ...] = (0.2, 0.1, 0.05, 0.025)
    """Standard deviations of the start, the largest first."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of target and start."""
    widths: int = 16
    """Local components of every node."""
    dim: int = 4
    """Every mode's dimension."""
    rank: int = 3
    """Widths of the target."""
    rtol: float = 1e-5
    """Of the flow."""
    stop_loss: float = 1e-3
    """The flow ends below this loss."""


def run(config: Config) -> dict[str, Any]:
    """Runs and returns the summary; figures and `summary.json` go to `config.out`."""
    with open_folder(config.out, config, may_differ=()) as folder:
        return _compute(config, folder)


def _compute(config: Config, folder: Path) -> dict[str, Any]:
    check_given("stds", config.stds)
    check_given("seeds", config.seeds)
    rows, curves = {}, {}
    look = top_singular_values(4, (0, 1))
    with jax.enable_x64(True):
        for seed in config.seeds:
            keys = jax.random.split(jax.random.key(seed), 2)
            for std in config.stds:
                problem = completion(
                    keys, dim=config.dim, observed=200, widths=config.widths, init_std=std,
                    target_rank=config.rank, target_norm=10.0,
                )  # fmt: skip
                _, path = htf.gradient_flow(
                    problem.start,
                    problem.loss,
                    times=np.linspace(0.0, 40.0, 2001),
                    rtol=config.rtol,
                    atol=0.0,
                    observe=look,
                    clock="arc",
                    stop_loss=config.stop_loss,
                    interpolate=True,
                )
                count = max(int(np.sum(path.report.reached)), 1)
                unit = std ** -(htf.theory.degree(problem.start) - 2)
                tau = np.asarray(path.times)[:count] / unit
                values = np.asarray(path.observed)[:count]
                rows[f"seed {seed}, std {std:g}"] = _row(tau, values, path)
                curves[seed, std] = tau, values
    write_json(folder / "summary.json", rows)
    save_figure(draw(config, curves), folder, "init_scale")
    save_figure(draw_sharpening(config, rows), folder, "sharpening")
    return rows


def _row(tau: np.ndarray, values: np.ndarray, path: Any) -> dict[str, Any]:
    low, half, high = (share_crossings(tau, values, share) for share in (0.1, 0.5, 0.9))
    gaps, widths = np.diff(half), high - low
    return {
        "status": path.report.status,
        "half_rise": finite(half),
        "width": finite(widths),
        "separation": finite(gaps),
        "separation_over_width": finite(gaps / widths[1:]),
        # Of the first transition: how long it takes beside how long one waits for it.
        "first_width_over_wait": finite(widths[0] / half[0])[0],
        "evaluations": int(path.report.num_evaluations),
    }


def draw(config: Config, curves: dict[Any, Any]) -> Any:
    """Singular values over rescaled time, one row of panels per seed."""
    rows, columns = len(config.seeds), len(config.stds)
    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.2 * columns, 2.3 * rows),
        layout="constrained",
        sharey="row",
        squeeze=False,
    )
    for i, seed in enumerate(config.seeds):
        for j, std in enumerate(config.stds):
            ax, (tau, values) = axes[i][j], curves[seed, std]
            half = share_crossings(tau, values, 0.5)
            for k in range(values.shape[1]):
                style = ("-", "--", "-.", ":")[k % 4]
                ax.plot(tau / half[0], values[:, k], style, color=COLOURS[k], lw=1.5)
            ax.set_xscale("log")
            ax.set_xlim(0.5, max(2.0, 1.2 * tau[-1] / half[0]))
            ax.grid(alpha=0.25)
            first = f"first half-rise\nat tau = {half[0]:.2g}"
            said = first if np.isfinite(half[0]) else "no rise"
            ax.text(0.97, 0.5, said, fontsize=8, ha="right", transform=ax.transAxes)
            if i == 0:
                ax.set_title(f"std {std:g}", fontsize=10)
            if i == rows - 1:
                ax.set_xlabel("time / time of first half-rise")
            if j == 0:
                ax.set_ylabel(f"singular values, seed {seed}")
    return fig


def draw_sharpening(config: Config, rows: dict[str, Any]) -> Any:
    """The two measures of the question over the scale of the start, a line per seed."""
    fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    for i, seed in enumerate(config.seeds):
        found = [rows[f"seed {seed}, std {std:g}"] for std in config.stds]
        style = {"marker": "os^Dv"[i % 5], "ls": ("-", "--", "-.")[i % 3],
                 "color": COLOURS[i % len(COLOURS)]}  # fmt: skip
        axes[0].plot(config.stds, [row["first_width_over_wait"] for row in found],
                     label=f"seed {seed}", **style)  # fmt: skip
        second = [row["separation_over_width"][0] for row in found]
        seen = [(s, x) for s, x in zip(config.stds, second, strict=True) if x is not None]
        if seen:
            axes[1].plot(*zip(*seen, strict=True), label=f"seed {seed}", **style)
    axes[0].set_ylabel("first transition: width / wait")
    axes[1].set_ylabel("second transition:\ngap to the first / own width")
    for ax in axes:
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(config.stds, [f"{std:g}" for std in config.stds])
        ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        ax.set_xlabel("standard deviation of the start")
        ax.grid(alpha=0.25)
        if ax.get_legend_handles_labels()[1]:
            ax.legend(fontsize=9, frameon=False)
        else:
            ax.text(0.5, 0.5, "none was seen\nin these runs", ha="center", va="center",
                    transform=ax.transAxes)  # fmt: skip
    return fig


def report(rows: dict[str, Any], config: Config, console: Console) -> None:
    """A line for each model."""
    for name, row in rows.items():
        halves = " ".join("-" if x is None else f"{x:.3g}" for x in row["half_rise"])
        share = row["first_width_over_wait"]
        said = "unknown" if share is None else f"{share:.3f}"
        console.print(f"{name}: half-rises at tau = {halves}; first width over wait {said}")
    console.print(f"figures and summary.json are in {config.out}", soft_wrap=True)


def main() -> int:
    """The command line."""
    return command("init_scale", Config, run, report)


if __name__ == "__main__":
    sys.exit(main())
