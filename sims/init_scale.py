"""Do transitions sharpen and separate as the initialization shrinks?

Expected: in rescaled time, t over std^-(m-2), the first transition comes at one place
for all scales. The smaller the start, the narrower it is beside the wait for it, and the
more of its own widths lie between a later one and the one before (while both crowd
behind the first on this clock).

Takes 15 s on two cores, 10 s with `--quick`.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from rich.console import Console

import htfjax as htf

from .common import parts
from .common.command import command
from .common.theory import (
    COLOURS,
    arc_flow,
    completion,
    finite,
    share_crossings,
    top_singular_values,
)
from .figures.short import say_too_short


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


QUICK: dict[str, Any] = {"stds": (0.2, 0.1), "seeds": (1,), "widths": 8}


def plan(config: Config) -> dict[str, parts.Work]:
    """A flow for each seed and scale."""
    return {
        _name(seed, std): functools.partial(_flow, config, seed, std)
        for seed in config.seeds
        for std in config.stds
    }


def _name(seed: int, std: float) -> str:
    return f"seed {seed}, std {float(std)}"


def _flow(config: Config, seed: int, std: float) -> xr.Dataset:
    problem = completion(
        jax.random.split(jax.random.key(seed), 2), dim=config.dim, observed=200,
        widths=config.widths, init_std=std, target_rank=config.rank, target_norm=10.0,
    )  # fmt: skip
    path, count = arc_flow(
        problem.start, problem.loss, top_singular_values(4, (0, 1)), length=40.0, num=2001,
        rtol=config.rtol, stop_loss=config.stop_loss, interpolate=True,
    )  # fmt: skip
    return xr.Dataset(
        {
            "time": ("record", np.asarray(path.times)[:count]),
            "singular_value": (("record", "index"), np.asarray(path.observed)[:count]),
        },
        attrs={
            "status": path.report.status,
            "evaluations": int(path.report.num_evaluations),
            "degree": htf.theory.degree(problem.start),
        },
    )


def _curve(part: xr.Dataset, std: float) -> tuple[np.ndarray, np.ndarray]:
    """Rescaled time, and singular values."""
    return part.time.values / std ** -(part.degree - 2), part.singular_value.values


def summarize(flows: parts.Parts, config: Config) -> dict[str, Any]:
    """A row for each flow."""
    return {
        f"seed {seed}, std {std:g}": _row(flows[_name(seed, std)], std)
        for seed in config.seeds
        for std in config.stds
    }


def _row(part: xr.Dataset, std: float) -> dict[str, Any]:
    tau, values = _curve(part, std)
    low, half, high = (share_crossings(tau, values, share) for share in (0.1, 0.5, 0.9))
    gaps, widths = np.diff(half), high - low
    return {
        "status": part.status,
        "half_rise": finite(half),
        "width": finite(widths),
        "separation": finite(gaps),
        "separation_over_width": finite(gaps / widths[1:]),
        # Of the first transition: how long it takes beside how long one waits for it.
        "first_width_over_wait": finite(widths[0] / half[0])[0],
        "evaluations": part.evaluations,
    }


def draw(flows: parts.Parts, config: Config, rows: dict[str, Any]) -> dict[str, Any]:
    """Both figures."""
    figures = {
        "init_scale": draw_curves(flows, config),
        "sharpening": draw_sharpening(config, rows),
    }
    if all(row["half_rise"][0] is None for row in rows.values()):
        for fig in figures.values():
            say_too_short(fig, "no singular value has risen")
    return figures


def draw_curves(flows: parts.Parts, config: Config) -> Any:
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
            ax, (tau, values) = axes[i][j], _curve(flows[_name(seed, std)], std)
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
        each = [rows[f"seed {seed}, std {std:g}"] for std in config.stds]
        style = {"marker": "os^Dv"[i % 5], "ls": ("-", "--", "-.")[i % 3],
                 "color": COLOURS[i % len(COLOURS)]}  # fmt: skip
        measures = (
            [row["first_width_over_wait"] for row in each],
            [row["separation_over_width"][0] for row in each],
        )
        for ax, values in zip(axes, measures, strict=True):
            # A line of nothing alone has no place on a logarithmic axis.
            seen = [(s, x) for s, x in zip(config.stds, values, strict=True) if x]
            if seen:
                ax.plot(*zip(*seen, strict=True), label=f"seed {seed}", **style)
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
        said = "unknown" if share is None else f"{share:.2g}"
        console.print(f"{name}: half-rises at tau = {halves}; first width over wait {said}")
    console.print("tau is time over std^-(m-2), m matrices; - has not risen at the end")
    console.print(f"figures and summary.json are in {config.out}", soft_wrap=True)


run, redraw = parts.run_and_redraw(Config, ("stds", "seeds"), plan, summarize, draw)


def main() -> int:
    """The command line."""
    return command("init_scale", Config, run, report, quick=QUICK)


if __name__ == "__main__":
    sys.exit(main())
