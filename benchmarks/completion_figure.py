"""Phase diagram of the race of completions: success over observations and ranks."""

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks import harness
from benchmarks.completion import LIBRARIES, succeeded
from benchmarks.completion_targets import RATIOS

EDGES = (2.0, 2.5, 2.75, 3.0, 3.25, 4.001)  # of the mean rank of a target's nodes
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "completion_race.png"


def successes(record: dict[str, Any], library: str) -> tuple[np.ndarray, np.ndarray]:
    """Counts (ranks, ratios) of successes, and of targets."""
    mean = {one["seed"]: np.mean(one["ranks"]) for one in record["targets"]}
    shape = (len(EDGES) - 1, len(RATIOS))
    won, all_of_them = np.zeros(shape, int), np.zeros(shape, int)
    for row in record["rows"][library]:
        place = np.searchsorted(EDGES, mean[row["seed"]], side="right") - 1
        place = place, RATIOS.index(row["ratio"])
        won[place] += succeeded(row)
        all_of_them[place] += 1
    return won, all_of_them


def draw(ax: Axes, record: dict[str, Any], library: str) -> None:
    """One library: shares as colours, counts in the cells."""
    won, tried = successes(record, library)
    share = np.divide(won, tried, where=tried > 0, out=np.full(won.shape, np.nan))
    ax.imshow(share, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
    for (i, j), count in np.ndenumerate(tried):
        ink = "black" if share[i, j] > 0.6 else "white"
        ax.text(j, i, f"{won[i, j]}/{count}", ha="center", va="center", color=ink)
    ax.set_xticks(range(len(RATIOS)), [f"{ratio:g}" for ratio in RATIOS])
    labels = [f"{a:g} to {round(b, 1) if b > 4 else b:g}" for a, b in pairwise(EDGES)]
    ax.set_yticks(range(len(labels)), labels)
    ax.set_xlabel("observations / degrees of freedom")
    ax.set_title(f"{library}: {won.sum()} of {tried.sum()}")


def main() -> int:
    """Draws the record that was given."""
    parser = argparse.ArgumentParser(
        description="Draws docs/figures/completion_race.png of a record; some seconds."
    )
    default = harness.RECORDS / "completion-jax0.12.0.1-cpu.json"
    parser.add_argument("record", type=Path, nargs="?", default=default)
    asked = parser.parse_args()
    record = json.loads(asked.record.read_text("utf-8"))
    mpl.use("Agg")
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True, layout="constrained")
    for ax, library in zip(axes, LIBRARIES, strict=True):
        draw(ax, record, library)
    axes[0].set_ylabel("mean rank of a node")
    figure.savefig(FIGURE, dpi=200)
    sys.stdout.write(f"{FIGURE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
