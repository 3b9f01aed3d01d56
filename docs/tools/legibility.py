"""Legibility of figures: texts that overlap or are cut, and colours too faint to see.

Contrast is that of WCAG 2: of text at least 4.5, of lines and markers at least 3, on a
white page and, with colours turned by `pictures.darken`, on a dark one. Grid lines, bands
and the wide translucent lines that thin ones are compared with are backgrounds; text on an
image is chosen by who draws it.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from docs.tools.pictures import DARK_PAGE, darken, linear

TEXT, LINE = 4.5, 3.0
WHITE = (255, 255, 255)
WIDE = 2.4  # points
SLACK = 1.0  # pixels by which boxes of letters may meet


def faults(figure: Any) -> list[str]:
    """What a reader of a figure could not read, in words."""
    figure.draw_without_rendering()
    return [*_overlaps(figure), *_faint(figure)]


def _overlaps(figure: Any) -> Iterator[str]:
    """Pairs of texts on each other, and texts beyond the edge."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in _texts(figure)]
    whole = figure.bbox
    for name, box in boxes:
        low, high = min(box.x0, box.y0), max(box.x1 - whole.x1, box.y1 - whole.y1)
        if low < -SLACK or high > SLACK:
            yield f"{name!r} is cut by the edge"
    for (one, first), (two, second) in itertools.combinations(boxes, 2):
        both = Bbox.intersection(first, second)
        if both is not None and min(both.width, both.height) > SLACK:
            yield f"{one!r} and {two!r} overlap"


def _texts(figure: Any) -> Iterator[Text]:
    """Texts that are drawn: no tick labels beyond the limits of their axis."""
    hidden = {
        label
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        for label in _unseen(axis)
    }
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in hidden:
            yield text


def _unseen(axis: Axis) -> Iterator[Text]:
    low, high = sorted(axis.get_view_interval())
    slack = 1e-6 * (high - low)
    for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
        outside = not low - slack <= tick.get_loc() <= high + slack
        if outside or not axis.get_visible() or not (axis.axes and axis.axes.axison):
            yield from (tick.label1, tick.label2)


def _faint(figure: Any) -> Iterator[str]:
    """Texts, lines and markers of too little contrast."""
    seen = set()
    for what, name, color, least in _colored(figure):
        for page, shown in (("light", _on_white(color)), ("dark", None)):
            rgb = darken(_on_white(color)[None])[0] if shown is None else shown
            ratio = contrast(rgb, WHITE if page == "light" else DARK_PAGE)
            said = f"{what} {name!r} has a contrast of {ratio:.1f} on a {page} page"
            if ratio < least - 0.05 and said not in seen:
                seen.add(said)
                yield said


def _colored(figure: Any) -> Iterator[tuple[str, str, Any, float]]:
    """What is drawn in a colour: kind, name, RGBA, least contrast."""
    for text in _texts(figure):
        if not (text.axes and text.axes.images):
            yield "text", text.get_text(), _rgba(text, text.get_color()), TEXT
    for ax in figure.axes:
        for line in ax.get_lines():
            wide = line.get_linewidth() >= WIDE and (line.get_alpha() or 1) < 1
            if line.get_visible() and len(line.get_xdata()) and not wide:
                yield "line", str(line.get_label()), _rgba(line, _paint(line)), LINE
        for points in ax.collections:
            if isinstance(points, PathCollection) and len(points.get_facecolor()):
                color = _rgba(points, points.get_facecolor()[0])
                yield "points", str(points.get_label()), color, LINE


def _paint(line: Line2D) -> Any:
    if line.get_linestyle() not in ("None", "none", "", " "):
        return line.get_color()
    edge = line.get_markeredgecolor()
    return line.get_markerfacecolor() if to_rgba(edge)[3] == 0 else edge


def _rgba(artist: Any, color: Any) -> np.ndarray:
    """With the alpha of the artist, where it has one."""
    return np.array(to_rgba(color, artist.get_alpha()))


def _on_white(color: np.ndarray) -> np.ndarray:
    mixed = color[3] * color[:3] + (1 - color[3])
    return np.rint(255 * mixed).astype(np.uint8)


def contrast(first: Any, second: Any) -> float:
    """Ratio of two colours' luminances, 1 to 21; bytes (3,).

    Example:
      >>> round(contrast((0, 0, 0), (255, 255, 255)), 1)
      21.0
    """
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def luminance(color: Any) -> float:
    """Relative luminance of an sRGB colour in bytes."""
    return float(linear(np.asarray(color, float) / 255) @ (0.2126, 0.7152, 0.0722))
