"""Tables of a page: summaries of commands, and runs with their last values."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .cases import Case, begun
from .curves import Recorded
from .folders import Folder, table_of
from .words import opened, spaced

MOST_ROWS, MOST_COLUMNS, MOST_LISTED = 400, 9, 10
BETWEEN = ("step_length", "chord", "duration")  # zero at the last record
LONG = 40  # characters of a cell that takes several lines
NONE = "\N{EN DASH}"


class Table(NamedTuple):
    """A table that sorts by a click on a heading."""

    title: str
    headings: list[str]
    rows: list[list[object]]
    note: str = ""
    turned: bool = False  # a row for each quantity


def tables_of(folders: list[Folder], found: Recorded) -> list[Table]:
    """All tables, folder by folder."""
    tables: list[Table] = []
    for f, folder in enumerate(folders):
        own = [*summary_tables(folder.summary), *_runs(f, found)]
        more = f" of {folder.name}" if len(folders) > 1 else ""
        tables += [table._replace(title=f"{table.title}{more}") for table in own]
    return tables


# Summaries


def summary_tables(summary: dict[str, object]) -> list[Table]:
    """Tables of whatever a command summarized."""
    tables: list[Table] = []
    single: dict[str, object] = {}
    _visit("", summary, tables, single)
    if single:
        rows: list[list[object]] = [[name, value] for name, value in single.items()]
        tables.append(Table("Summary in single values", ["quantity", "value"], rows,
                            turned=True))  # fmt: skip
    return tables


def _visit(
    name: str, value: object, tables: list[Table], single: dict[str, object]
) -> None:
    """Puts a value of a summary into a table, or among the single values."""
    if isinstance(value, dict) and value:
        children = list(value.values())
        if all(isinstance(child, dict) and child for child in children):
            rows = [{"name": key, **flat(child)} for key, child in value.items()]
            tables.append(_table(name or "Summary", rows))
            return
        for key, child in value.items():
            _visit(f"{name} {key}".strip(), child, tables, single)
    elif isinstance(value, list) and value and all(isinstance(x, dict) for x in value):
        tables.append(_table(name, [flat(x) for x in value]))
    elif value is not None and value != []:
        single[spaced(name)] = value


def flat(row: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """A row without tables in it; a mean with its deviation stays one value."""
    found: dict[str, object] = {}
    for key, value in row.items():
        name = f"{prefix} {key}".strip()
        if isinstance(value, dict) and not is_spread(value):
            found |= flat(table_of(value), name)
        else:
            found[name] = value
    return found


def is_spread(value: object) -> bool:
    """Whether a value is a mean with its deviation."""
    return isinstance(value, dict) and {"mean", "deviation"} <= value.keys()


def _table(name: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """A table of rows with the same keys, turned where it has many columns and few rows."""
    title = {"rows": "Summary"}.get(name, opened(spaced(name)))
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells: list[list[object]] = [[row.get(key) for key in keys] for row in rows]
    if len(keys) > MOST_COLUMNS and len(rows) <= 3:
        headings = ["quantity", *(str(row[0]) for row in cells)]
        turned = [
            [spaced(key), *(row[k + 1] for row in cells)] for k, key in enumerate(keys[1:])
        ]
        return Table(title, headings, turned, turned=True)
    return Table(title, [spaced(key) for key in keys], cells)


# Runs


def _runs(f: int, found: Recorded) -> list[Table]:
    """Every run with its status, its steps and the last values of its numbers."""
    cases = [case for g, case in found.cases if g == f and case.dim in ("step", "record")]
    if not cases:
        return []
    parts = {id(case.part) for case in cases}
    names = [
        name
        for name in dict.fromkeys(end.quantity for end in found.ends
                                  if end.folder == f and id(end.part) in parts)
        if name not in BETWEEN
    ]  # fmt: skip
    last = {
        (id(end.part), tuple(end.labels.items()), end.quantity): end.values
        for end in found.ends
        if end.folder == f
    }
    named = any(case.name for case in cases)
    known = any(word for case in cases for word in case.statuses)
    if not names and not known:
        return []
    headings = [
        *(["case"] if named else []),
        "seed",
        *(["status", "steps"] if known else []),
    ]
    rows: list[list[object]] = []
    for case in cases:
        rows += _rows(case, names, last, named, known)
    note = ""
    if len(rows) > MOST_ROWS:
        note = f"The first {MOST_ROWS:,} of {len(rows):,} runs."
    words = [f"last {spaced(name)}" for name in names]
    return [
        Table("Runs and their last values", [*headings, *words], rows[:MOST_ROWS], note)
    ]


def _rows(
    case: Case, names: list[str],
    last: dict[tuple[int, tuple[tuple[str, object], ...], str], np.ndarray],
    named: bool, known: bool,
) -> list[list[object]]:  # fmt: skip
    """A row for every run of a case."""
    places = begun(case).tolist()
    rows: list[list[object]] = []
    for run in range(len(case.statuses)):
        row: list[object] = [case.name] if named else []
        descent = case.dim == "step"  # a flow has neither seed nor steps
        row.append(int(case.seeds[run]) if descent else None)
        if known:
            row += [str(case.statuses[run]), int(case.ends[run]) if descent else None]
        for name in names:
            values = last.get((id(case.part), tuple(case.labels.items()), name))
            there = values is not None and run in places
            row.append(float(values[places.index(run)]) if there and values is not None
                       else None)  # fmt: skip
        rows.append(row)
    return rows


# Cells


def as_html(table: Table, number: int) -> str:
    """A table whose cells carry their full values."""
    heads = "".join(
        f'<th scope="col"><button type="button">{html.escape(heading)}</button></th>'
        for heading in table.headings
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    title, turned = html.escape(table.title), ' class="turned"' if table.turned else ""
    return (
        f'<section class="card table"><header><h3>{title}</h3>'
        f'<a class="csv" href="#" data-table="s{number}" role="button">CSV</a></header>'
        f'{note}<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<table id="s{number}"{turned}><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def _cell(value: object) -> str:
    exact, text = full(value), short(value)
    number = isinstance(value, int | float) or is_spread(value)
    kind = ' class="number"' if number else ' class="long"' if len(text) > LONG else ""
    same = "" if exact == text else f' data-value="{html.escape(exact)}"'
    return f"<td{kind}{same}>{html.escape(text)}</td>"


def short(value: object) -> str:
    """A value as it is read.

    Example: 0.123456 is "0.1235", a list of numbers "1, 2, 3".
    """
    if isinstance(value, dict) and is_spread(value):
        spread = "" if value["deviation"] is None else f" ± {short(value['deviation'])}"
        return f"{short(value['mean'])}{spread}"
    if value in (None, [], ()) or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        words = [
            f"({short(x)})" if isinstance(x, list) else short(x)
            for x in value[:MOST_LISTED]
        ]
        return ", ".join(words) + (", …" if len(value) > MOST_LISTED else "")
    if isinstance(value, dict):
        return ", ".join(f"{key}: {short(x)}" for key, x in value.items())
    return str(value)


def full(value: object) -> str:
    """A value with all its digits; a mean without its deviation."""
    if isinstance(value, dict) and is_spread(value):
        return full(value["mean"])
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return ", ".join(f"({full(x)})" if isinstance(x, list) else full(x) for x in value)
    return short(value)
