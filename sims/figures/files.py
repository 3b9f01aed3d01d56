"""Files of figures: PNG and SVG."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

import htfjax as htf


def save_figure(fig: Any, folder: Path, name: str) -> None:
    """Writes a figure as PNG and SVG, each whole or not at all, and closes it.

    Raises:
      OSError: the folder cannot be written.
    """
    options: dict[str, dict[str, Any]] = {
        "png": {"dpi": 160}, "svg": {"metadata": {"Date": None}},
    }  # fmt: skip
    for suffix, chosen in options.items():
        with htf.runs.atomic_write(folder / f"{name}.{suffix}") as temporary:
            fig.savefig(temporary, **chosen)
    plt.close(fig)


def save_figures(figures: dict[str, Any], folder: Path) -> None:
    """Writes figures by name."""
    for name, figure in figures.items():
        save_figure(figure, folder, name)
