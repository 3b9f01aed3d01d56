"""Figure of the scaling record: time and memory against each axis, with predictions."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmarks import harness
from benchmarks.scaling import DECADE, LABELS, QUANTITIES

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "scaling.png"
# Of the same colour map as the library's figures, whose yellow end is too light on white.
SHADES = mpl.colormaps["viridis"](np.linspace(0.0, 0.88, len(QUANTITIES)))
MARKERS = dict(zip(QUANTITIES, "osD^", strict=True))
SCALES = {"milliseconds": 1.0, "bytes": 1e-6}


def draw(ax: Axes, rows: list[dict[str, Any]], measured: str) -> None:
    """One axis: points that were measured, predictions dashed, the fitted decade shaded."""
    for shade, quantity in zip(SHADES, QUANTITIES, strict=True):
        own = [row for row in rows if row["quantity"] == quantity]
        sizes, scale = [row["size"] for row in own], SCALES[measured]
        seen = [scale * middle(row[measured]) for row in own]
        guessed = [scale * row[f"predicted_{measured}"] for row in own]
        ax.loglog(sizes, seen, MARKERS[quantity], color=shade, markersize=4)
        ax.loglog(sizes, guessed, "--", color=shade, linewidth=1)
    top = max(row["size"] for row in rows)
    ax.axvspan(top / DECADE, top, color="black", alpha=0.06, linewidth=0)
    ax.grid(alpha=0.25)


def middle(values: Any) -> float:
    """The median of repeats, or the number itself."""
    return values[len(values) // 2] if isinstance(values, list) else values


def figure_of(record: dict[str, Any]) -> Any:
    """Panels: time above, memory below, a column an axis."""
    axes_of = [a for a in LABELS if any(row["axis"] == a for row in record["rows"])]
    figure, panels = plt.subplots(
        2, len(axes_of), figsize=(8.4, 4.8), sharex="col", sharey="row", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for column, axis in zip(panels.T, axes_of, strict=True):
        rows = [row for row in record["rows"] if row["axis"] == axis]
        for ax, measured in zip(column, SCALES, strict=True):
            draw(ax, rows, measured)
        column[1].set_xlabel(LABELS[axis])
    panels[0, 0].set_ylabel("ms a step")
    panels[1, 0].set_ylabel("MB of the program")
    lines = [
        Line2D([], [], color=shade, marker=MARKERS[name], linestyle="", label=name)
        for shade, name in zip(SHADES, QUANTITIES, strict=True)
    ]
    lines.append(Line2D([], [], color="black", linestyle="--", label="predicted"))
    figure.legend(handles=lines, loc="outside upper center", ncols=5, frameon=False)
    return figure


def main(words: list[str] | None = None) -> int:
    """Draws the record that was given."""
    parser = argparse.ArgumentParser(description="Draws the scaling record; some seconds.")
    newest = sorted(harness.RECORDS.glob("scaling-jax*.json"))
    default = newest[-1] if newest else None
    parser.add_argument("record", type=Path, nargs="?", default=default)
    parser.add_argument("--out", type=Path, default=FIGURE, help="PNG file")
    asked = parser.parse_args(words)
    if asked.record is None:
        parser.error("there is no record; `python -m benchmarks.scaling` makes one")
    mpl.use("Agg")
    figure = figure_of(json.loads(asked.record.read_text("utf-8")))
    figure.savefig(asked.out, dpi=200)
    plt.close(figure)
    sys.stdout.write(f"{asked.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
