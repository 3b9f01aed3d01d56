"""Figures of trained networks, drawn from saved results alone."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import htfjax as htf

from ..networks.options import AXES
from .legends import legend_below
from .short import say_too_short

MARKERS = "osD^vPX*<>"
LEAST = 1e-4  # of the separation spectrum, relative to the first value


def accuracies(
    data: xr.Dataset,
    axis: str,
    *,
    label: str,
    paper: dict[str, dict[int, tuple[float, float]]] | None = None,
    note: str = "",
    baselines: dict[str, dict[int, float]] | None = None,
) -> Any:
    """Test and train accuracy and the regularizer's value over distance or path length.

    Points are means over seeds, bars their standard deviation (n - 1); chance is dotted,
    the paper's values are grey, baselines (by what they are of) are dashed.
    """
    panels = (
        ("test_accuracy", "test accuracy (%)"),
        ("train_accuracy", "train accuracy, last epoch (%)"),
        ("change_test", "mean |cos|, test images"),
    )
    fig, axes = plt.subplots(1, 3, figsize=(13.2, 4.2), layout="constrained")
    lines = _lines(data)
    values = data[axis].values
    step = np.min(np.diff(values)) if len(values) > 1 else 1.0
    for ax, (name, _) in zip(axes, panels, strict=True):
        factor = 1.0 if name == "change_test" else 100.0
        for i, (words, line) in enumerate(lines):
            x = values + 0.05 * step * (i - (len(lines) - 1) / 2)
            y = factor * line[name].transpose(axis, "seed").values
            color = htf.plot.colors(len(lines))[i]
            _errorbar(ax, x, y, color=color, marker=MARKERS[i % len(MARKERS)], label=words)
        ax.set_xlabel(label)
        ax.set_xticks(values)
        if len(values) == 1:
            ax.set_xlim(values[0] - 1, values[0] + 1)
        ax.grid(alpha=0.25)
    axes[0].axhline(50, color="0.3", lw=1, ls=":", label="chance")
    for i, (words, heights) in enumerate((baselines or {}).items()):
        y = [100 * v for v in heights.values()]
        style: dict[str, Any] = {"color": f"C{3 + i}", "lw": 1.4, "ls": "--"}
        if len(y) == 1:
            axes[0].axhline(y[0], **style, label=words)
        else:
            axes[0].plot(list(heights), y, marker="_", **style, label=words)
    for i, (arm, cells) in enumerate((paper or {}).items()):
        shown = {v: c for v, c in cells.items() if v in values}
        if arm in data.arm.values and shown:
            means, spreads = zip(*shown.values(), strict=True)
            grey: dict[str, Any] = {"color": "0.55", "lw": 1, "capsize": 2, "ms": 4,
                                    "marker": MARKERS[i], "zorder": 0}  # fmt: skip
            axes[0].errorbar(list(shown), means, spreads, **grey, label=f"paper, {arm}")
    axes[0].set_ylim(top=min(101.5, axes[0].get_ylim()[1]))
    axes[1].set_ylim(min(90.0, axes[1].get_ylim()[0]), 100.8)
    axes[2].set_ylim(0, 1.03)
    for ax, (_, title) in zip(axes, panels, strict=True):
        bottom = ax.get_ylim()[0]
        ax.set_title(
            f"{title}, axis from {bottom:.3g}" if bottom > 0 else title, fontsize=11
        )
    handles, names = axes[0].get_legend_handles_labels()
    legend_below(fig, handles, names, most=4)
    count = int(np.isfinite(data.test_accuracy.values).any(axis=tuple(range(
        data.test_accuracy.ndim - 1))).sum())  # fmt: skip
    caption = f"{count} seed{'s' if count != 1 else ''}, bars: standard deviation"
    fig.suptitle(f"{caption}; {note}" if note else caption, fontsize=10)
    fitted = data.train_accuracy.values
    if not (fitted[np.isfinite(fitted)] == 1).any():
        say_too_short(fig, "no network has fitted its training examples")
    return fig


def courses(data: xr.Dataset, axis: str) -> Any:
    """Train accuracy, loss and penalty over epochs: mean and range over seeds."""
    values = data[axis].values
    names = (("train_accuracy_of_epoch", "train accuracy"), ("fit_loss_of_epoch", "loss"),
             ("penalty_of_epoch", "mean |cos| or penalty"))  # fmt: skip
    fig, axes = plt.subplots(3, len(values), figsize=(3.1 * len(values) + 0.6, 7.2),
                             layout="constrained", squeeze=False, sharex=True,
                             sharey="row")  # fmt: skip
    lines = _lines(data)
    for column, value in enumerate(values):
        for row, (name, title) in enumerate(names):
            ax = axes[row][column]
            for i, (words, line) in enumerate(lines):
                y = line[name].sel({axis: value}).transpose("seed", "epoch").values
                known = np.isfinite(y).any(axis=0)
                if not known.any():
                    continue
                x = data.epoch.values[known]
                color = htf.plot.colors(len(lines))[i]
                ax.plot(
                    x, np.nanmean(y[:, known], axis=0), color=color, lw=1.4, label=words
                )
                low, high = np.nanmin(y[:, known], axis=0), np.nanmax(y[:, known], axis=0)
                ax.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
            ax.grid(alpha=0.25)
            if column == 0:
                ax.set_ylabel(title)
        axes[0][column].set_title(f"{axis.replace('_', ' ')} {value}", fontsize=11)
        axes[-1][column].set_xlabel("epoch")
    fig.suptitle("mean and range over the seeds still in training", fontsize=10)
    handles, words = axes[0][0].get_legend_handles_labels()
    if handles:
        legend_below(fig, handles, words, most=4)
    return fig


def locality_measures(measured: dict[Any, xr.Dataset], axis: str) -> Any:
    """How local networks are, before and after training: curves, then spectra.

    Bars are 95 % t intervals over pairs of patches.
    """
    values = sorted({point.value for point in measured})
    size = (max(6.0, 3.3 * len(values) + 0.6), 6.2)
    fig, axes = plt.subplots(
        2, len(values), figsize=size, layout="constrained", squeeze=False, sharey="row"
    )
    arms = list(dict.fromkeys(point.arm.label for point in measured))
    for point, run in sorted(
        measured.items(), key=lambda item: arms.index(item[0].arm.label)
    ):
        column, i = values.index(point.value), arms.index(point.arm.label)
        color = htf.plot.colors(len(arms))[i]
        if np.isfinite(run.change.mean("pair")).any():
            named = run.assign_coords(state=[f"{s} training" for s in run.state.values])
            options = {"label": point.arm.label, "color": color, "labels": False}
            htf.plot.locality(named, ax=axes[0][column], **options)
        for state, style in (("before", ":"), ("after", "-")):
            one = run.sel(state=state)
            axes[1][column].semilogy(one.index, one.spectrum, style, color=color, lw=1.4)
            if state == "after" and i == 0:
                axes[1][column].semilogy(one.index, one.null, color="0.55", lw=1, zorder=0)
    for column, value in enumerate(values):
        axes[0][column].set_title(f"{axis.replace('_', ' ')} {value}", fontsize=11)
        axes[0][column].set_xlabel("free pixels between patches")
        axes[1][column].set_xlabel("index")
        axes[0][column].set_ylim(0, 1.05)
        axes[0][column].set_ylabel("" if column else "mean |cos|")
        axes[1][column].set_ylim(LEAST, 1.5)
        for ax in axes[:, column]:
            ax.grid(alpha=0.25)
    axes[1][0].set_ylabel(
        f"interaction's singular value\n/ the first, axis from {LEAST:g}\n(grey: shuffled)"
    )
    handles, words = axes[0][0].get_legend_handles_labels()
    legend_below(fig, handles, words, most=2)
    return fig


def _lines(data: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """One line for each arm, and for each size, canvas and network where there are more."""
    found = []
    names = AXES[:-1]
    for cell in np.ndindex(*(data.sizes[name] for name in names)):
        part = data.isel(dict(zip(names, cell, strict=True)))
        words = [str(part.arm.values)]
        words += [
            f"{part[name].values} {'examples' if name == 'train_size' else ''}".strip()
            for name in names[1:]
            if data.sizes[name] > 1
        ]
        found.append((", ".join(words), part))
    return found


def _errorbar(ax: Any, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """Mean and standard deviation over the last axis, where there is anything."""
    known = np.isfinite(y).any(axis=1)
    if not known.any():
        ax.plot([], [], **style)
        return
    counts = np.isfinite(y[known]).sum(axis=1)
    means = np.nanmean(y[known], axis=1)
    squares = np.nansum((y[known] - means[:, None]) ** 2, axis=1)
    spreads = np.sqrt(squares / np.maximum(counts - 1, 1))
    ax.errorbar(x[known], means, spreads, lw=1.4, ms=5, capsize=3, **style)
