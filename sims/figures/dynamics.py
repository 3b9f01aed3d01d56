"""Figures of rank dynamics, drawn from saved results alone."""

import ast
import dataclasses
import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import htfjax as htf

from .legends import legend_below
from .short import say_too_short

TITLES = {
    "mf": "matrix factorization",
    "tf": "CP tensor factorization",
    "htf": "hierarchical tensor factorization",
}

# Read off the authors' published plots, one unseeded run each: take-off
# steps and final values of the five quantities that leave zero.
PAPER_MARKS = {
    "mf": ((0, 1150, 2300, 2950, 4450), (36.4, 32.1, 28.2, 23.2, 20.2)),
    "tf": ((0, 1150, 2250, 4700, 6050), (37.2, 36.2, 24.2, 21.7, 17.5)),
    "htf": ((10200, 13200, 15500, 19800, 30000), (9.5, 4.8, 2.5, 1.5, 0.85)),
}


@dataclasses.dataclass(frozen=True)
class View:
    """What part of a run to draw."""

    window: tuple[float, float] | None = None  # steps; None shows from the first take-off
    top: int = 10
    marks: bool = False  # the paper's values


def dynamics(runs: list[xr.Dataset], view: View) -> Any:
    """The headline quantity of each run over steps, one panel per run.

    Singular values for a matrix factorization, norms of the root's local components
    otherwise; with `marks` the paper's take-offs (triangles) and final values (ticks).
    """
    fig, axes = plt.subplots(
        1, len(runs), figsize=(4.6 * len(runs), 3.6), layout="constrained", squeeze=False
    )
    for ax, run in zip(axes[0], runs, strict=True):
        _headline(ax, run, view, labels=not view.marks)
        ax.set_title(_title(run), fontsize=11)
        if view.marks and run.attrs["panel"] in PAPER_MARKS:
            _mark_paper(ax, run.attrs["panel"])
        _say_status(ax, run)
    if not any(_has_learned(run) for run in runs):
        say_too_short(fig, "no training loss has fallen by a tenth")
    if view.marks:
        grey: dict[str, Any] = {"color": "0.55", "ls": "none"}
        axes[0][0].plot([], [], marker="v", **grey, label="paper's take-offs (one run)")
        axes[0][0].plot([], [], marker="_", ms=12, **grey, label="paper's final values")
        legend_below(fig, *axes[0][0].get_legend_handles_labels(), most=2)
    return fig


def components_and_spectra(run: xr.Dataset, view: View) -> Any:
    """Local component norms of every tracked node beside singular values of mode sets."""
    nodes, mode_sets = list(run.node.values), list(run.modes.values)
    count = len(nodes) + len(mode_sets)
    columns = count if count < 4 else 2
    rows = math.ceil(count / columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(4.1 * columns, 3.2 * rows), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    panels = axes.ravel()
    for ax in panels[count:]:
        ax.remove()
    for i, (ax, modes) in enumerate(zip(panels, nodes, strict=False)):
        node, norms = run.node_id.values[i], run.local_component_norm.isel(node=i)
        options: dict[str, Any] = {"top": view.top, "window": _window(run, norms, view)}
        htf.plot.components(run, node=int(node), ax=ax, **options)
        ax.set_title(f"node {node}, modes {{{modes}}}", fontsize=11)
        ax.set_ylabel("local component norm")
    for ax, modes in zip(panels[len(nodes) : count], mode_sets, strict=True):
        values = run.singular_value.sel(modes=modes)
        options = {"top": view.top, "window": _window(run, values, view)}
        htf.plot.spectra(run, node_or_modes=str(modes), ax=ax, **options)
        on_tree = "a node" if modes in _node_mode_sets(run) else "not a node"
        ax.set_title(f"modes {{{modes}}}, {on_tree}", fontsize=11)
        ax.set_ylabel("singular value")
    fig.suptitle(_title(run), fontsize=12)
    return fig


def errors(runs: list[xr.Dataset]) -> Any:
    """Training and test error over steps, one line style each, one panel per run."""
    fig, axes = plt.subplots(
        1, len(runs), figsize=(4.4 * len(runs), 3.2), layout="constrained", squeeze=False
    )
    for ax, run in zip(axes[0], runs, strict=True):
        for name, style in (
            ("train_mse", "-"),
            ("test_mse", "--"),
            ("population_loss", ":"),
        ):
            if name in run:
                label = name.replace("_", " ").replace("mse", "MSE")
                ax.semilogy(
                    run.step, run[name][0], style, color="0.15", lw=1.4, label=label
                )
        ax.set_title(_title(run), fontsize=11)
        ax.set_xlabel("step")
        ax.set_ylabel("squared error per entry")
        ax.legend(fontsize=8, frameon=False)
        ax.grid(alpha=0.25)
    return fig


def overlay(named: dict[str, xr.Dataset], view: View) -> Any:
    """The headline quantity of several runs on one pair of axes, one line style each."""
    fig, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    styles = ("-", "--", ":", "-.")
    longest = max(float(run.step[-1]) for run in named.values())
    whole = (0.0, longest)
    view = dataclasses.replace(view, window=view.window or (whole if longest else None))
    for i, (name, run) in enumerate(named.items()):
        style = styles[i % len(styles)]
        _headline(ax, run, view, labels=False, linestyle=style)
        ax.plot([], [], style, color="0.15", label=name)
    if view.window not in (None, whole):  # of the longest run, not of the last drawn
        first, last = view.window
        ax.set_xlabel(f"step ({first:g} to {last:g} of 0 to {longest:g})")
    ax.legend(fontsize=8, frameon=False)
    return fig


def standard(runs: dict[str, xr.Dataset], view: View) -> dict[str, Any]:
    """The figures of one folder: name -> figure."""
    each = list(runs.values())
    return {"dynamics": dynamics(each, view), "errors": errors(each)} | {
        f"{name}_components_and_spectra": components_and_spectra(run, view)
        for name, run in runs.items()
    }


def _title(run: xr.Dataset) -> str:
    return TITLES.get(run.attrs["panel"], str(run.attrs["panel"]))


def _headline(ax: Any, run: xr.Dataset, view: View, **options: Any) -> None:
    """Singular values of a matrix factorization, else norms of the root's components."""
    options |= {"top": view.top, "ax": ax}
    if run.attrs["panel"] == "mf":
        values = run.singular_value.isel(modes=0)
        htf.plot.spectra(run, window=_window(run, values, view), **options)
        ax.set_ylabel("singular value")
        return
    norms = run.local_component_norm.isel(node=-1)
    htf.plot.components(run, window=_window(run, norms, view), **options)
    name = "component norm" if run.attrs["panel"] == "tf" else "local component norm"
    ax.set_ylabel(f"{name}, root {{{run.node.values[-1]}}}")


def spell(modes: tuple[int, ...]) -> str:
    """A mode set as it is labelled: "0,1"."""
    return ",".join(map(str, modes))


def _node_mode_sets(run: xr.Dataset) -> set[str]:
    """Mode sets of the tree's nodes, spelled like the coordinate `modes`."""
    tree = htf.ModeTree.from_nested(ast.literal_eval(run.attrs["tree"]))
    return {spell(modes) for modes in tree.modes}


def _window(run: xr.Dataset, values: xr.DataArray, view: View) -> Any:
    """What was asked for; by default from the first take-off, if that comes late."""
    if view.window is not None:
        return view.window
    finite = np.nan_to_num(values.isel(seed=0).values)
    risen = np.nonzero(finite.max(axis=1) > 0.01 * finite.max())[0]
    begin, end = float(run.step[risen[0]]) if risen.size else 0.0, float(run.step[-1])
    return None if begin < 0.1 * end or begin == 0 else (begin - 0.03 * (end - begin), end)


def _mark_paper(ax: Any, panel: str) -> None:
    take_offs, finals = PAPER_MARKS[panel]
    left, right = ax.get_xlim()
    low, high = ax.get_ylim()
    shown = [step for step in take_offs if left <= step <= right]
    if shown:  # an unclipped line without points would stretch the layout to the origin
        ax.plot(shown, [0.0] * len(shown), "v", color="0.55", ms=6, clip_on=False, zorder=4)
    ax.set_ylim(low, max(high, 1.05 * finals[0]))
    ax.plot([1.0] * 5, finals, "_", color="0.55", ms=12, mew=2, clip_on=False,
            transform=ax.get_yaxis_transform(), zorder=4)  # fmt: skip


def _has_learned(run: xr.Dataset) -> bool:
    """Whether the loss has left the plateau of a small start."""
    losses = run.loss.values[0]
    losses = losses[np.isfinite(losses)]
    converged = str(run.status.item()) == "converged"
    return converged or (losses.size > 0 and bool(losses.min() < 0.9 * losses[0]))


def _say_status(ax: Any, run: xr.Dataset) -> None:
    status = str(run.status.item())
    if status != "converged":
        said = {"capped": "not converged"}.get(status, status)
        ax.text(
            0.02, 0.97, said, transform=ax.transAxes, va="top", fontsize=9, style="italic"
        )
