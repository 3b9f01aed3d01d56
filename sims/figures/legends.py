"""Legends under figures."""

from typing import Any

from .files import LETTERS, PAGE


def legend_below(fig: Any, handles: Any, names: Any, *, most: int) -> None:
    """One legend for all panels, in as many columns as fit a page, at most `most`."""
    width = fig.get_size_inches()[0]
    room = fig.dpi * (width if width <= PAGE else PAGE / LETTERS)  # see `fit_page`
    for columns in range(most, 0, -1):
        legend = fig.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize=9,
            frameon=False,
        )  # fmt: skip
        if columns == 1 or legend.get_window_extent().width <= room:
            return
        legend.remove()
