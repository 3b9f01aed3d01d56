"""Figures of ensembles: bands over seeds, distributions, heat maps over two axes."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

import htfjax as htf

from .dynamics import PAPER_MARKS, TITLES
from .legends import legend_below
from .short import FOUND, say_too_short

STYLES = {"mf": ("-", "o"), "tf": ("--", "s"), "htf": (":", "^")}
CLOCK_LABELS = {
    "step": "step", "loss": "training loss", "path_length": "path length",
}  # fmt: skip


def rank_statistics(
    data: xr.Dataset, found: xr.Dataset, summary: dict[str, Any]
) -> dict[str, Any]:
    """The figures of `rank_statistics`: name -> figure."""
    rank = int(summary["target_rank"])
    return {
        "bands": bands(data, found, rank, marks=bool(summary["paper"])),
        "take_offs": take_offs(data, found, rank),
        "incrementality": incrementality(summary, data),
    }


def nearest_scale(data: xr.Dataset) -> int:
    """The start nearest to the model's own."""
    return int(np.argmin(np.abs(np.log(data.init_scale.values))))


def bands(data: xr.Dataset, found: xr.Dataset, rank: int, marks: bool = False) -> Any:
    """Median and 10-90 % band over seeds of every singular value, one panel per model."""
    models, s = list(data.model.values), nearest_scale(data)
    fig, axes = plt.subplots(
        1,
        len(models),
        figsize=(4.4 * len(models), 3.7),
        layout="constrained",
        squeeze=False,
    )
    for m, (ax, model) in enumerate(zip(axes[0], models, strict=True)):
        part = data.isel(model=m, init_scale=s)
        end = float(part.steps.max())
        if end == 0:
            ax.set_title(f"{TITLES[str(model)]}\nnot run yet", fontsize=10)
            continue
        htf.plot.bands(
            part, quantity="singular_value", top=rank + 1, labels=not marks, ax=ax
        )
        fitted = int(np.sum(part.status.values == "converged"))
        ax.set_title(
            f"{TITLES[str(model)]}\n{part.sizes['seed']} seeds, {fitted} converged",
            fontsize=10,
        )
        ax.set_ylabel("singular value")
        if marks and str(model) in PAPER_MARKS and str(model) != "htf":
            steps, finals = PAPER_MARKS[str(model)]
            shown = [x for x in steps if x <= end]
            ax.plot(
                shown, [0.0] * len(shown), "v", color="0.4", ms=6, clip_on=False, zorder=4
            )
            edge = ax.get_yaxis_transform()
            ax.plot([1.0] * len(finals), finals, "_", color="0.4", ms=12, mew=2,
                    clip_on=False, transform=edge, zorder=4)  # fmt: skip
    label = "line: median over seeds, band: 10 to 90 %"
    if marks:
        label += "; triangles and ticks: the paper's single run"
    fig.supxlabel(label, fontsize=9)
    if not np.isfinite(found.half_rise.isel(init_scale=s)).any():
        say_too_short(fig, "no singular value has risen")
    return fig


def take_offs(data: xr.Dataset, found: xr.Dataset, rank: int) -> Any:
    """Distributions of take-offs by three clocks; runs that did not converge hollow."""
    models, s = list(data.model.values), nearest_scale(data)
    clocks = list(found.clock.values)
    fig, axes = plt.subplots(
        len(models), len(clocks), figsize=(3.7 * len(clocks), 2.7 * len(models)),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for m, model in enumerate(models):
        part = found.isel(model=m, init_scale=s)
        good = part.status.values == "converged"
        for c, clock in enumerate(clocks):
            ax = axes[m][c]
            for k in range(rank):
                values = part.take_off.values[:, k, c]
                spread = k + 1 + rng.uniform(-0.22, 0.22, len(values))
                ax.plot(spread[good], values[good], ".", color="0.25", ms=4)
                ax.plot(spread[~good], values[~good], "o", mfc="none", color="0.55", ms=4)
                if np.isfinite(values).any():
                    ax.plot([k + 0.65, k + 1.35], [np.nanmedian(values)] * 2, "k-", lw=2)
            if clock == "loss":
                ax.set_yscale("log")
            ax.set_xticks(range(1, rank + 1))
            ax.set_xlim(0.5, rank + 0.5)
            ax.set_xlabel("rank of the singular value")
            ax.set_ylabel(f"take-off, {CLOCK_LABELS[str(clock)]}")
            ax.grid(alpha=0.25, axis="y")
            if c == 0:
                ax.set_title(TITLES[str(model)], fontsize=10, loc="left")
    handles: list[Any] = [
        Line2D([], [], ls="none", marker=".", color="0.25"),
        Line2D([], [], ls="none", marker="o", mfc="none", color="0.55"),
        Line2D([], [], color="k", lw=2),
    ]
    names = ["converged run", "run that did not converge", "median of all"]
    legend_below(fig, handles, names, most=3)
    return fig


def incrementality(summary: dict[str, Any], data: xr.Dataset) -> Any:
    """The index against the start, beside a heat map of it over model and start."""
    models = [str(m) for m in data.model.values]
    scales = data.init_scale.values
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.7), layout="constrained")
    grid = np.full((len(models), len(scales)), np.nan)
    for m, model in enumerate(models):
        rows = [r for r in summary["rows"] if r["model"] == model]
        known = [r for r in rows if r["incrementality"] is not None]
        grid[m] = [
            np.nan if r["incrementality"] is None else r["incrementality"]["median"]
            for r in rows
        ]
        if not known:
            continue
        x = [r["init_scale"] for r in known]
        y = np.array(
            [[r["incrementality"][k] for k in ("median", "low", "high")] for r in known],
            float,
        )
        style, marker = STYLES[model]
        left.errorbar(
            x, y[:, 0], yerr=[y[:, 0] - y[:, 1], y[:, 2] - y[:, 0]], ls=style,
            marker=marker, color=htf.plot.colors(3)[m], capsize=3,
            label=TITLES[model],
        )  # fmt: skip
    left.set_xscale("log")
    left.set_xticks(scales, [f"{x:.2g}" for x in scales])
    left.set_xticks([], minor=True)
    left.set_xlabel("start, multiple of the model's own std")
    left.set_ylabel("incrementality index\n(gap to next rise / width of rise)")
    if np.isfinite(grid).any():
        left.legend(fontsize=8, frameon=False)
    dropped = sum(_dropped(row) for row in summary["rows"])
    coarse = sum(row["coarse_rises"] for row in summary["rows"])
    total = sum(sum(row["runs"].values()) for row in summary["rows"])
    fitted = sum(row["runs"].get("converged", 0) for row in summary["rows"])
    fig.supxlabel(
        f"medians with exact 95 % intervals; {fitted} of {total} runs converged, {dropped} "
        f"have no index (fewer than two rises), {coarse} rises have too few records",
        fontsize=9,
    )
    left.grid(alpha=0.25)
    index = xr.DataArray(
        grid, dims=("model", "start"),
        coords={"model": models, "start": [f"{x:.2g}" for x in scales]},
        attrs={"long_name": "incrementality index"},
    )  # fmt: skip
    heat(right, index)
    right.set_xlabel("start, multiple of the model's own std")
    right.set_ylabel("")
    return fig


def _dropped(row: dict[str, Any]) -> int:
    """Runs of a cell that have no index."""
    index = row["incrementality"]
    return sum(row["runs"].values()) if index is None else index["dropped"]


def heat(ax: Any, values: xr.DataArray, **options: Any) -> None:
    """A labelled heat map with its numbers, or the words that there are none."""
    if np.isfinite(values.values).any():
        htf.plot.phase_diagram(values, ax=ax, **options)
    else:
        ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center", color="0.4")
        ax.set_axis_off()


def phase(data: xr.Dataset, summary: dict[str, Any]) -> Any:
    """Relative error and final rank over observations per degree of freedom x rank."""
    models = [str(m) for m in data.model.values]
    ranks, ratios = data.target_rank.values, data.ratio.values
    wide = float(ranks.max())
    fig, axes = plt.subplots(
        2,
        len(models),
        figsize=(4.6 * len(models), 6.4),
        layout="constrained",
        squeeze=False,
    )
    for column, model in zip(axes.T, models, strict=True):
        rows = [row for row in summary["rows"] if row["model"] == model]
        error, rank, not_done = (
            _cells(rows, name, ranks, ratios)
            for name in ("relative_error", "final_rank", "not_converged")
        )
        excess = rank - ranks[:, None]
        error.attrs["long_name"] = "relative error"
        excess.attrs["long_name"] = "final rank minus target rank"
        for ax, array, limits in zip(
            column, (error, excess), ((0.0, 1.0), (-wide, wide)), strict=True
        ):
            heat(ax, array, marked=not_done.values > 0.5, limits=limits)
            ax.set_xlabel("observed entries / degrees of freedom")
        column[0].set_title(TITLES[model], fontsize=11)
    fig.supxlabel("medians over seeds; hatched: most runs had not converged", fontsize=9)
    errors = [row["relative_error"] for row in summary["rows"]]
    if not any(error is not None and error < FOUND for error in errors):
        say_too_short(fig, f"no cell has a relative error below {FOUND}")
    return fig


def _cells(
    rows: list[dict[str, Any]], name: str, ranks: np.ndarray, ratios: np.ndarray
) -> xr.DataArray:
    """A number of the summary over target rank and ratio, NaN where there is none."""
    values = np.full((len(ranks), len(ratios)), np.nan)
    for row in rows:
        at = (list(ranks).index(row["target_rank"]), list(ratios).index(row["ratio"]))
        values[at] = np.nan if row[name] is None else row[name]
    coords = {"target_rank": ranks, "ratio": ratios}
    return xr.DataArray(values, coords, dims=("target_rank", "ratio"))
