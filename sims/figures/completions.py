"""Figure of a completion: predictions held out, singular values, ranks on the tree."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

import htfjax as htf

from ..tables.record import named_modes, named_tree, tree_of

MOST_LABELS = 12  # nodes that are labelled one by one
LONGEST_LABEL = 36  # letters; longer ones are the number of the node


def figures(record: xr.Dataset) -> dict[str, Any]:
    """Figures by name."""
    order = record.sizes["mode"]
    widths = [4.0, 4.6, max(4.0, 1.25 * order)]
    fig, axes = plt.subplots(
        1, 3, figsize=(sum(widths), 4.2), layout="constrained", width_ratios=widths
    )
    draw_heldout(axes[0], record)
    draw_singular_values(axes[1], record)
    draw_tree(axes[2], record)
    return {"completion": fig}


def draw_heldout(ax: Axes, record: xr.Dataset) -> None:
    """Predictions of the cells held out over their values."""
    values, found = record["heldout_value"].values, record["heldout_prediction"].values
    both = np.concatenate([values, found[np.isfinite(found)]])
    low, high = float(both.min()), float(both.max())
    margin = 0.05 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    ax.plot(ends, ends, color="0.55", lw=1.0, zorder=1)
    dark = htf.plot.colors(2)[0]
    ax.plot(values, found, "o", ms=3.5, alpha=0.6, color=dark, mec="none")
    ax.set(xlim=ends, ylim=ends, aspect="equal")
    name = record.attrs["value_name"]
    ax.set_xlabel(f"{name}, observed")
    ax.set_ylabel(f"{name}, predicted")
    ax.locator_params(nbins=4)
    ax.ticklabel_format(useOffset=False)
    ax.grid(alpha=0.25)
    error, low, high = (record.attrs[k] for k in ("heldout_error", "low", "high"))
    # Above the diagonal there is room.
    ax.text(
        0.04, 0.96, f"error {error:.3g}\n95 %: {low:.3g} to {high:.3g}",
        transform=ax.transAxes, va="top", fontsize=9,
    )  # fmt: skip
    ax.set_title(f"{len(values)} cells held out", fontsize=10)


def draw_singular_values(ax: Axes, record: xr.Dataset) -> None:
    """Singular values of every node over their number, relative to the norm."""
    spectra, ranks = record["singular_value"].values, record["rank"].values
    norm = float(np.sqrt(np.nansum(np.square(spectra[0])))) or 1.0
    nodes = _distinct_nodes(record)
    shades = htf.plot.colors(len(nodes))
    for node, shade in zip(nodes, shades, strict=False):
        values = spectra[node] / norm
        number = 1 + np.arange(len(values))
        style = "-" if node < record.sizes["mode"] else "--"
        label = _label(record, node) if len(nodes) <= MOST_LABELS else None
        ax.plot(number, values, style, marker=".", color=shade, lw=1.3, label=label)
        rank = int(ranks[node])
        ax.plot(rank, values[rank - 1], "o", ms=8, mfc="none", mec=shade, mew=1.5)
    error = record.attrs["relative_error"]
    if error > 0:  # what values below it hold, cells held out do not tell
        ax.axhline(error, color="0.5", ls=":", lw=1.2, label="relative error held out")
    ax.set_yscale("log")
    ax.set_xlim(0.5, spectra.shape[1] + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    ax.set_xlabel("number of the singular value")
    ax.set_ylabel("singular value / norm")
    ax.grid(alpha=0.25)
    ax.legend(fontsize=8, frameon=False)
    ax.set_title("singular values of every node\n(circles: ranks)", fontsize=10)


def _label(record: xr.Dataset, node: int) -> str:
    """The modes on both sides of a node under a binary root, on one side of others."""
    kids = tree_of(record).children[record.sizes["node"]]
    sides = kids if len(kids) == 2 and node in kids else (node,)
    label = " | ".join(named_modes(record, side) for side in sides)
    return label if len(label) <= LONGEST_LABEL else f"node {node}"


def _distinct_nodes(record: xr.Dataset) -> list[int]:
    """Nodes but the root; of two children of the root, whose values are the same, one."""
    tree = tree_of(record)
    kids = tree.children[tree.root]
    left_out = kids[1:] if len(kids) == 2 else ()
    return [node for node in range(tree.root) if node not in left_out]


def draw_tree(ax: Axes, record: xr.Dataset) -> None:
    """The mode tree, names and dimensions at its leaves and ranks on its edges."""
    tree, ranks = tree_of(record), record["rank"].values
    htf.plot.tree(tree, ax=ax)
    places = {int(text.get_text()): text.get_position() for text in ax.texts}
    for node in range(tree.root):
        (x, y), (right, top) = places[node], places[tree.parent[node]]
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}
        middle = ((x + right) / 2, (y + top) / 2)
        ax.annotate(
            f"{ranks[node]}", middle, ha="center", va="center", fontsize=9, bbox=box
        )
    dims = record["dim"].values
    for mode, name in enumerate(record["mode"].values.tolist()):
        x, y = places[mode]
        ax.annotate(
            f"{name}\n{dims[mode]}", (x, y), xytext=(0, -14), textcoords="offset points",
            ha="center", va="top", fontsize=8,
        )  # fmt: skip
    ax.set_ylim(bottom=-0.9)
    ax.set_title(f"ranks on the tree\n{named_tree(record)}", fontsize=10)
