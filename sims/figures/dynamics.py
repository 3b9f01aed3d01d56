"""Figures of rank dynamics, drawn from saved results alone."""

import ast
import dataclasses
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import htfjax as htf

TITLES = {
    "mf": "matrix factorization",
    "tf": "CP tensor factorization",
    "htf": "hierarchical tensor factorization",
}

# Read off the authors' published plots, one unseeded run each: take-off
# iterations and final values of the five quantities that leave zero.
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
    """The headline quantity of each run over iterations, one panel a run.

    Singular values for a matrix factorization, norms of the root's local components
    otherwise; with `marks` the paper's take-offs (triangles) and final values (ticks).
    """
    fig, axes = plt.subplots(
        1, len(runs), figsize=(4.4 * len(runs), 3.6), layout="constrained", squeeze=False
    )
    for ax, run in zip(axes[0], runs, strict=True):
        values, label = _headline(run, view.top)
        _lines(ax, run.step.values, values)
        ax.set_title(_title(run), fontsize=11)
        ax.set_ylabel(label)
        _limit(ax, run, values, view.window)
        if view.marks and run.attrs["panel"] in PAPER_MARKS:
            _mark_paper(ax, run.attrs["panel"])
        _say_status(ax, run)
    if view.marks:
        grey: dict[str, Any] = {"color": "0.55", "ls": "none"}
        axes[0][0].plot([], [], marker="v", **grey, label="paper's take-offs (one run)")
        axes[0][0].plot([], [], marker="_", ms=12, **grey, label="paper's final values")
        fig.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return fig


def components_and_spectra(run: xr.Dataset, view: View) -> Any:
    """Local component norms of every tracked node beside singular values of mode sets."""
    nodes, mode_sets = list(run.node.values), list(run.modes.values)
    count = len(nodes) + len(mode_sets)
    fig, axes = plt.subplots(
        1, count, figsize=(3.9 * count, 3.4), layout="constrained", squeeze=False
    )
    for i, ax in enumerate(axes[0]):
        if i < len(nodes):
            values = _largest_components(run, i, view.top)
            title = f"node {run.node_id.values[i]}, modes {{{nodes[i]}}}"
            label = "local component norm"
        else:
            j = i - len(nodes)
            values = run.singular_value.isel(seed=0, modes=j).values[:, : view.top]
            on_tree = mode_sets[j] in _node_mode_sets(run)
            title = f"modes {{{mode_sets[j]}}}, {'a node' if on_tree else 'not a node'}"
            label = "singular value"
        _lines(ax, run.step.values, values)
        ax.set_title(title, fontsize=11)
        ax.set_ylabel(label)
        _limit(ax, run, values, view.window)
    fig.suptitle(_title(run), fontsize=12)
    return fig


def errors(runs: list[xr.Dataset]) -> Any:
    """Training and test error over iterations, one line style each, one panel a run."""
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
        ax.set_xlabel("iteration")
        ax.set_ylabel("squared error per entry")
        ax.legend(fontsize=8, frameon=False)
        ax.grid(alpha=0.25)
    return fig


def overlay(named: dict[str, xr.Dataset], view: View) -> Any:
    """The headline quantity of several runs on one pair of axes, one line style each."""
    fig, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    styles = ("-", "--", ":", "-.")
    label = ""
    for i, (name, run) in enumerate(named.items()):
        values, label = _headline(run, view.top)
        _lines(ax, run.step.values, values, styles[i % len(styles)])
        ax.plot([], [], styles[i % len(styles)], color="0.15", label=name)
    ax.set_xlabel("iteration")
    ax.set_ylabel(label)
    if view.window is not None:
        ax.set_xlim(*view.window)
    ax.legend(fontsize=8, frameon=False)
    ax.grid(alpha=0.25)
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


def _headline(run: xr.Dataset, top: int) -> tuple[np.ndarray, str]:
    if run.attrs["panel"] == "mf":
        return run.singular_value.isel(seed=0, modes=0).values[:, :top], "singular value"
    node = run.sizes["node"] - 1
    modes = run.node.values[node]
    name = "component norm" if run.attrs["panel"] == "tf" else "local component norm"
    return _largest_components(run, node, top), f"{name}, root {{{modes}}}"


def spell(modes: tuple[int, ...]) -> str:
    """A mode set as it is labelled: "0,1"."""
    return ",".join(map(str, modes))


def _largest_components(run: xr.Dataset, node: int, top: int) -> np.ndarray:
    """The components that end largest, followed by their index."""
    values = run.local_component_norm.isel(seed=0, node=node).values
    order = np.argsort(-np.nan_to_num(values[-1]), kind="stable")[:top]
    return values[:, order]


def _node_mode_sets(run: xr.Dataset) -> set[str]:
    """Mode sets of the tree's nodes, spelled like the coordinate `modes`."""
    tree = htf.ModeTree.from_nested(ast.literal_eval(run.attrs["tree"]))
    return {spell(modes) for modes in tree.modes}


def _lines(ax: Any, steps: np.ndarray, values: np.ndarray, style: str = "-") -> None:
    """One line per quantity, dark to light: the order shows in grey as well."""
    colors = mpl.colormaps["viridis"](np.linspace(0.0, 0.88, max(values.shape[1], 2)))
    for column, color in reversed(list(zip(values.T, colors, strict=False))):
        ax.plot(steps, column, style, color=color, lw=1.5)


def _limit(ax: Any, run: xr.Dataset, values: np.ndarray, window: Any) -> None:
    ax.set_xlabel("iteration")
    ax.grid(alpha=0.25)
    ax.set_ylim(bottom=0)
    if window is None:
        finite = np.nan_to_num(values)
        risen = np.nonzero(finite.max(axis=1) > 0.01 * finite.max())[0]
        begin = float(run.step[risen[0]]) if risen.size else 0.0
        end = float(run.step[-1])
        begin = 0.0 if begin < 0.1 * end else begin - 0.03 * (end - begin)
        window = (begin, end)
    ax.set_xlim(*window)
    ax.locator_params(axis="x", nbins=5)


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


def _say_status(ax: Any, run: xr.Dataset) -> None:
    status = str(run.status.item())
    if status != "converged":
        said = {"capped": "not converged"}.get(status, status)
        ax.text(
            0.02, 0.97, said, transform=ax.transAxes, va="top", fontsize=9, style="italic"
        )
