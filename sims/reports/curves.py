"""Curves of a page: figures over steps, path length or time, and over axes of grids."""

from typing import NamedTuple

import numpy as np

from ..common.errors import SettingError
from .cases import (
    Case,
    begun,
    cases_of,
    clock_dim,
    clocks_of,
    label_at,
    middle_and_band,
    quantities_of,
    read_values,
    rows_of,
    series_of,
)
from .data import Block, size_of, stride_for, thinned
from .folders import Folder, Part
from .words import (
    CLOCKS,
    FIRST,
    LAST,
    OF_EPOCH,
    canonical,
    case_name,
    opened,
    spaced,
    title_of,
)

FEWEST_ROWS = 60  # of a curve that still shows its shape
OF_NODES = ("local_component_norm", "singular_value")
BAND = (" 10 %", " 90 %")
CLOCK_COLUMNS = {"path": "path length", "time": "flow time"}
# Dimensions that number what they hold: no axis of a grid.
COUNTED = ("node", "mode", "modes", "index", "component", "seed", "cell")


class Trace(NamedTuple):
    """One line, with its band where there are several runs.

    Attributes:
      blocks: by clock the name of the block, and of its column of positions.
    """

    folder: int
    case: str
    name: str
    rank: int
    column: str
    runs: int
    blocks: dict[str, tuple[str, str]]


class Figure(NamedTuple):
    """One figure.

    Attributes:
      kind: "curve" over a clock, "axis" over an axis of a grid.
      many: whether a case has several lines.
      clocks: label of the axis by clock.
    """

    kind: str
    quantity: str
    title: str
    many: bool
    log: bool
    clocks: dict[str, str]
    traces: list[Trace]


class End(NamedTuple):
    """The last values (runs,) of a quantity at one place of a grid."""

    folder: int
    part: Part
    labels: dict[str, object]
    quantity: str
    title: str
    values: np.ndarray


class Recorded(NamedTuple):
    """All that the records of the folders show.

    Attributes:
      vectors: folder, case, name and last values (runs, ...) of what nodes have.
      notes: sentences about what was left out.
    """

    figures: list[Figure]
    blocks: list[Block]
    ends: list[End]
    vectors: list[tuple[int, Case, str, np.ndarray]]
    cases: list[tuple[int, Case]]
    notes: list[str]


def recorded(folders: list[Folder], quantities: tuple[str, ...], most: int) -> Recorded:
    """Figures and their data.

    Args:
      quantities: those to show, by name; all without.
      most: characters that the data may take, about.

    Raises:
      SettingError: a quantity that no folder has; those that there are are named.
    """
    wanted = wanted_quantities(folders, quantities)
    figures: dict[tuple[str, str, str], Figure] = {}
    blocks: list[Block] = []
    ends: list[End] = []
    vectors: list[tuple[int, Case, str, np.ndarray]] = []
    cases = [(f, case) for f, folder in enumerate(folders) for part in folder.parts
             for case in cases_of(part)]  # fmt: skip
    for f, case in cases:
        _add_case(folders[f], f, case, wanted, figures, blocks, ends, vectors)
    for f, folder in enumerate(folders):
        for part in folder.parts:
            ends += _plain_ends(folder, f, part, wanted)
    blocks, notes = _fitting(blocks, most)
    for figure, block in _over_axes(ends, len(blocks)):
        blocks.append(block)
        key = (figure.kind, figure.quantity, figure.clocks["axis"])
        figures.setdefault(key, figure._replace(traces=[])).traces.extend(figure.traces)
    kept = {block.name for block in blocks}
    shown = [_with_blocks(figure, kept) for figure in figures.values()]
    ordered = sorted((figure for figure in shown if figure.traces), key=_order)
    return Recorded(ordered, blocks, ends, vectors, cases, notes)


def wanted_quantities(folders: list[Folder], asked: tuple[str, ...]) -> set[str] | None:
    """Names to show, of those that there are; None for all.

    Raises:
      SettingError: as `recorded`.
    """
    there = {name for folder in folders for part in folder.parts for name in _names(part)}
    for name in asked:
        if name not in there and name not in map(canonical, there):
            listed = ", ".join(sorted({*map(canonical, there)})) or "none"
            raise SettingError(
                f"`--quantity {name}` is recorded in none of the folders; recorded are: "
                f"{listed}."
            )
    return set(map(canonical, asked)) or None


def _names(part: Part) -> list[str]:
    """Quantities of a part, in the order in which they are shown."""
    return quantities_of(part.dataset, clock_dim(part.dataset)) + [
        name for name in _clockless(part) if name not in ("path", "time")
    ]


def _clockless(part: Part) -> list[str]:
    """Quantities over axes of a grid that have no records, of results files."""
    if part.manifest:
        return []
    dim, dataset = clock_dim(part.dataset), part.dataset
    return [
        name
        for name in quantities_of(dataset, None)
        if dim not in dataset[name].dims and numeric_axis(_sizes(part, name)) is not None
    ]


def _sizes(part: Part, name: str) -> dict[str, list[object]]:
    """Labels along the dimensions of a quantity, where there are some."""
    dataset = part.dataset
    return {
        str(dim): [label_at(dataset, str(dim), i) for i in range(dataset.sizes[dim])]
        for dim in dataset[name].dims
        if dim in dataset.coords and dim not in COUNTED
    }


def numeric_axis(labels: dict[str, list[object]]) -> str | None:
    """The last axis that has several numbers."""
    numbers = [
        name
        for name, values in labels.items()
        if len(set(map(str, values))) > 1
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    ]
    return numbers[-1] if numbers else None


def _add_case(
    folder: Folder, f: int, case: Case, wanted: set[str] | None,
    figures: dict[tuple[str, str, str], Figure], blocks: list[Block], ends: list[End],
    vectors: list[tuple[int, Case, str, np.ndarray]],
) -> None:  # fmt: skip
    """A case's blocks, its lines in the figures, and its last values."""
    clocks = clocks_of(folder, case)
    tables = _tables(f, case, clocks, len(blocks))
    where = _where(case, clocks, tables)
    for name in quantities_of(case.part.dataset, case.dim):
        shown = canonical(name)
        if name in ("path", "time") or (wanted is not None and shown not in wanted):
            continue
        values = folder.attempt(lambda name=name: read_values(case, name), np.zeros(0))
        if not np.isfinite(values).any():
            continue
        title = title_of(name, case.part.dataset[name])
        if shown in OF_NODES:
            vectors.append((f, case, name, values[:, -1].copy()))
        for series in series_of(case, name, values):
            for table, clock in tables:
                _put(table, series.label, series.values, clock)
            key = ("curve", shown, series.place)
            full = f"{title}, {series.place}" if series.place else title
            figure = figures.setdefault(
                key, Figure("curve", shown, full, series.name != "", False, {}, [])
            )
            figure.clocks.update(_axis_titles(case, where))
            trace = Trace(f, case.name, series.name, series.rank, series.label,
                          len(values), where)  # fmt: skip
            figure.traces.append(trace)
            if not figure.log and _wide(shown, series):
                figures[key] = figure._replace(log=True)
            if series.name == "" and not name.endswith(OF_EPOCH):
                last = series.values[:, -1]
                ends.append(End(f, case.part, case.labels, shown, title, last))
    blocks += [table for table, _ in tables if len(table.columns) > len(where)]


def _wide(quantity: str, series: object) -> bool:
    """Whether a number, not one of several, spans decades above zero."""
    name, values = getattr(series, "name", ""), np.asarray(getattr(series, "values", 0))
    known = values[np.isfinite(values)]
    return bool(
        name == "" and known.size and known.min() > 0 and known.max() > 30 * known.min()
    ) and quantity not in ("effective_rank",)


def _tables(
    f: int, case: Case, clocks: dict[str, np.ndarray], count: int
) -> list[tuple[Block, tuple[np.ndarray, np.ndarray] | None]]:
    """Empty tables of a case: one for all clocks of one run, else one for each.

    Each with the clock of every run and the common positions on it, None for records.
    """
    positions = case.positions[rows_of(case)]
    first = Block(f"b{count}", f, case.name, {_own(case): positions})
    if len(begun(case)) == 1:
        for clock, values in clocks.items():
            first.columns[CLOCK_COLUMNS[clock]] = values[0]
        return [(first, None)]
    tables: list[tuple[Block, tuple[np.ndarray, np.ndarray] | None]] = [(first, None)]
    for clock, values in clocks.items():
        grid = np.linspace(0, values[:, -1].max(), len(positions)).astype(values.dtype)
        block = Block(f"b{count + len(tables)}", f, case.name,
                      {CLOCK_COLUMNS[clock]: grid})  # fmt: skip
        tables.append((block, (values, grid)))
    return tables


def _own(case: Case) -> str:
    """Name of the column of a case's own positions."""
    return case.dim


def _where(
    case: Case, clocks: dict[str, np.ndarray],
    tables: list[tuple[Block, tuple[np.ndarray, np.ndarray] | None]],
) -> dict[str, tuple[str, str]]:  # fmt: skip
    """By clock the block and its column; records count where there is nothing else."""
    own = {} if case.dim == "record" and clocks else {
        "step": (tables[0][0].name, _own(case))
    }  # fmt: skip
    if len(tables) == 1:
        return own | {c: (tables[0][0].name, CLOCK_COLUMNS[c]) for c in clocks}
    return own | {
        clock: (table.name, CLOCK_COLUMNS[clock])
        for clock, (table, _) in zip(clocks, tables[1:], strict=True)
    }


def _put(
    table: Block, label: str, values: np.ndarray,
    clock: tuple[np.ndarray, np.ndarray] | None,
) -> None:  # fmt: skip
    """Columns of one line, at the common positions of a clock where there is one."""
    if clock is not None:
        own, grid = clock
        rows = [np.interp(grid, x, y) for x, y in zip(own, values, strict=True)]
        values = np.asarray(rows, values.dtype)
    for end, column in zip(("", *BAND), middle_and_band(values), strict=False):
        table.columns[label + end] = column


def _axis_titles(case: Case, where: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Labels of the axis by clock, of the results where they say it."""
    titles = {clock: CLOCKS[clock] for clock in where}
    if "step" in where:
        titles["step"] = CLOCKS[case.dim]
        if case.dim in case.part.dataset.coords:
            long_name = case.part.dataset[case.dim].attrs.get("long_name")
            titles["step"] = str(long_name or titles["step"])
    return titles


def _with_blocks(figure: Figure, kept: set[str]) -> Figure:
    """A figure of what is on the page."""
    traces = [
        trace._replace(blocks={c: b for c, b in trace.blocks.items() if b[0] in kept})
        for trace in figure.traces
    ]
    return figure._replace(traces=[trace for trace in traces if trace.blocks])


def _order(figure: Figure) -> tuple[int, int]:
    """Places of figures: those that show the effect first."""
    if figure.quantity in FIRST:
        return (0, FIRST.index(figure.quantity))
    return (2, LAST.index(figure.quantity)) if figure.quantity in LAST else (1, 0)


# Fitting


def _fitting(blocks: list[Block], most: int) -> tuple[list[Block], list[str]]:
    """Blocks of `most` characters together, and sentences about what was left out."""
    notes: list[str] = []
    longest = max((block.rows for block in blocks), default=1)
    least = min(FEWEST_ROWS / longest, 1)  # of the rows
    if sum(map(size_of, blocks)) * least > most:
        blocks = [b for b in blocks if CLOCK_COLUMNS["time"] not in list(b.columns)[:1]]
    names = list(dict.fromkeys((block.folder, block.case) for block in blocks))
    size = max(sum(map(size_of, blocks)) * least, 1)
    count = max(1, int(len(names) * most / size))
    if count < len(names):
        places = np.unique(np.linspace(0, len(names) - 1, count).round().astype(int))
        kept = {names[i] for i in places.tolist()}
        blocks = [block for block in blocks if (block.folder, block.case) in kept]
        notes.append(
            f"Curves of {len(kept)} of {len(names)} cases are shown, so that the page "
            "stays small; tables and figures over axes have all of them. Fewer quantities "
            "(--quantity) leave room for more."
        )
    stride = stride_for(blocks, most)
    if stride > 1:
        notes.append(
            f"Curves show one record in {stride}, so that the page stays small; fewer "
            "quantities (--quantity) leave room for more."
        )
    return [thinned(block, stride) for block in blocks], notes


# Axes of grids


def _plain_ends(folder: Folder, f: int, part: Part, wanted: set[str] | None) -> list[End]:
    """Quantities of a results file that have no records, place by place."""
    found: list[End] = []
    for name in _clockless(part):
        if wanted is not None and canonical(name) not in wanted:
            continue
        variable, labels = part.dataset[name], _sizes(part, name)
        rest = [str(d) for d in variable.dims if d not in labels]
        if not set(rest) <= {"seed"}:
            continue
        values = folder.attempt(
            lambda v=variable, dims=tuple(labels): v.transpose(*dims, ...).values, None
        )
        if values is None:
            continue
        title = title_of(name, variable)
        for at in np.ndindex(*(len(v) for v in labels.values())):
            place = {dim: v[i] for (dim, v), i in zip(labels.items(), at, strict=True)}
            runs = np.atleast_1d(np.asarray(values[at], float))
            place = {dim: x for dim, x in place.items() if len(labels[dim]) > 1}
            found.append(End(f, part, place, canonical(name), title, runs))
    return found


def _over_axes(ends: list[End], count: int) -> list[tuple[Figure, Block]]:
    """Figures of last values over the axis of a grid, each with its data."""
    groups: dict[tuple[int, str, str], list[End]] = {}
    for end in ends:
        groups.setdefault((end.folder, end.part.name, end.quantity), []).append(end)
    found: list[tuple[Figure, Block]] = []
    for (f, name, quantity), members in groups.items():
        labels = {dim: [end.labels[dim] for end in members if dim in end.labels]
                  for dim in members[0].labels}  # fmt: skip
        axis = numeric_axis(labels)
        if (
            axis is None
            or quantity in LAST
            or not any(np.isfinite(end.values).any() for end in members)
        ):
            continue
        found.append(
            _over_axis(members, axis, f"b{count + len(found)}-axis", f, name, quantity)
        )
    return found


def _over_axis(
    members: list[End], axis: str, block: str, f: int, name: str, quantity: str
) -> tuple[Figure, Block]:
    """One quantity over one axis, a line for each place on the others."""
    lines: dict[str, dict[float, np.ndarray]] = {}
    for end in members:
        others = {dim: x for dim, x in end.labels.items() if dim != axis}
        position = end.labels[axis]
        assert isinstance(position, int | float)
        lines.setdefault(case_name(others), {})[float(position)] = end.values
    positions = sorted({x for line in lines.values() for x in line})
    data = Block(block, f, name, {axis: np.asarray(positions)})
    traces: list[Trace] = []
    for rank, (line, points) in enumerate(lines.items()):
        runs = max(map(len, points.values()))
        padded = np.full((runs, len(positions)), np.nan)
        for x, values in points.items():
            padded[: len(values), positions.index(x)] = values
        label = " ".join(filter(None, (quantity, line)))
        _put(data, label, padded, None)
        where = {"axis": (block, axis)}
        traces.append(Trace(f, name, line, rank, label, runs, where))
    title = members[0].title
    known = np.concatenate([end.values for end in members])
    known = known[np.isfinite(known)]
    log = bool(known.size and known.min() > 0 and known.max() > 30 * known.min())
    clocks = {"axis": spaced(axis)}
    return Figure("axis", quantity, title, True, log, clocks, traces), data


def figure_json(figure: Figure, number: int) -> dict[str, object]:
    """A figure as JSON values."""
    return {
        "id": f"f{number}", "kind": figure.kind, "quantity": figure.quantity,
        "title": opened(figure.title), "label": figure.title.partition(", ")[0],
        "many": figure.many, "log": figure.log, "clocks": figure.clocks,
        "more": figure.quantity in LAST,
        "traces": [trace._asdict() for trace in figure.traces],
    }  # fmt: skip
