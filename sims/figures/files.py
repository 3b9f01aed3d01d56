"""Files of figures: PNG and SVG."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.text import Text

import htfjax as htf

PAGE = 8.4  # inches: wider figures would be shown with letters too small to read
TALLER = 1.3  # than in proportion, and letters are smaller by less than the rest
LETTERS = 0.8


def fit_page(fig: Any) -> None:
    """A figure at most as wide as a page, with letters that are read there."""
    width, height = fig.get_size_inches()
    if width <= PAGE:
        return
    fig.set_size_inches(PAGE, TALLER * height * PAGE / width)
    for ax in fig.axes:
        size = LETTERS * float(mpl.rcParams["font.size"])
        ax.tick_params(which="both", labelsize=size)
    ticks = {t for ax in fig.axes for a in (ax.xaxis, ax.yaxis) for t in a.get_ticklabels()}
    for text in set(fig.findobj(Text)) - ticks:
        text.set_fontsize(LETTERS * text.get_fontsize())


def save_figure(fig: Any, folder: Path, name: str) -> None:
    """Writes a figure as PNG and SVG, each whole or not at all, and closes it.

    Raises:
      OSError: the folder cannot be written.
    """
    fit_page(fig)
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
