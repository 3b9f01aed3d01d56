"""Tables in HTML, as notebooks show them: escaped text in the colours of the page."""

import html
import itertools
from collections.abc import Iterable, Sequence

from htfjax import _reprs

MOST_ROWS = 12
# No colour is set: lines and text follow the page, dark or light.
CELL = "text-align: left; padding: 0.2em 0.8em"


def table(
    value: object, title: str, head: Sequence[str], rows: Iterable[Sequence[object]]
) -> str:
    """A table of an object; its representation where the rows cannot be made.

    Args:
      rows: cells of every row, looked at one by one until there are enough.

    Example:
      >>> rows = [("<b>", 1)]
      >>> "&lt;b&gt;" in table(None, "names", ("name", "number"), rows)
      True
    """
    try:
        seen = list(itertools.islice(rows, MOST_ROWS + 1))
        lines = [_row("th", head), *(_row("td", cells) for cells in seen[:MOST_ROWS])]
    except Exception:
        return f"<pre>{html.escape(_reprs.text(value))}</pre>"
    if len(seen) > MOST_ROWS:
        lines.append(_row("td", ["..."] * len(head)))
    caption = f"<caption>{html.escape(title)}</caption>"
    return f"<table>{caption}{''.join(lines)}</table>"


def _row(kind: str, cells: Sequence[object]) -> str:
    inside = (f'<{kind} style="{CELL}">{_cell(x)}</{kind}>' for x in cells)
    return f"<tr>{''.join(inside)}</tr>"


def _cell(value: object) -> str:
    shown = value if isinstance(value, str) else _reprs.text(value)
    return html.escape(shown)
