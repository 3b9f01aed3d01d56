"""Mode trees of a page: drawings, and what is known of every node."""

import html
import importlib
from typing import NamedTuple

import numpy as np

import htfjax as htf

from ..common.names import PACKAGE
from .cases import Case, label_in, middle_and_band
from .curves import BAND, Recorded
from .data import Block
from .folders import Folder, Part, attempted, table_of
from .words import canonical

MOST_NODES = 400
WIDE, HIGH, RADIUS = 62, 74, 17  # pixels between leaves, between levels, of a node


class View(NamedTuple):
    """A tree on the page.

    Attributes:
      nodes: number of every node, its title, and whether something is known of it.
    """

    folder: int
    case: str
    svg: str
    block: Block
    nodes: dict[int, str]
    text: str


def views_of(folders: list[Folder], found: Recorded) -> list[View]:
    """The tree of every case and of every completion, where it is known."""
    views: list[View] = []
    for f, case in found.cases:
        tree = attempted(lambda case=case, f=f: tree_of(folders[f], case), None, [])
        if tree is not None and len(tree.children) <= MOST_NODES and case.dim != "stage":
            last = [
                (name, values)
                for g, other, name, values in found.vectors
                if g == f and other is case
            ]
            rows = _rows_of_case(tree, case, last)
            views.append(_view(f, case.name, tree, rows, [], len(views)))
    for f, folder in enumerate(folders):
        for part in folder.parts:
            if "mode" in part.dataset.coords and "tree" in part.dataset.attrs:
                names = [str(name) for name in part.dataset["mode"].values]
                tree = htf.as_tree(str(part.dataset.attrs["tree"]))
                rows = _rows_of_completion(part)
                views.append(_view(f, "", tree, rows, names, len(views)))
    return views


def tree_of(folder: Folder, case: Case) -> htf.ModeTree | None:
    """The tree of a case; None where it is not known."""
    grid = table_of(case.part.manifest.get("grid"))
    setting, attrs = grid.get("setting"), case.part.dataset.attrs
    if isinstance(tree := case.labels.get("tree", attrs.get("tree")), str) and tree:
        return htf.as_tree(tree)
    if setting == "Completion":
        return _completion_tree(grid, case)
    if setting in ("Model", "Cell"):
        place = case.part.dataset.coords
        at = case.cell.get("model")
        model = grid.get("model") if at is None else place["model"].values[at]
        return htf.problems.paper(str(model)).mode_tree  # type: ignore[arg-type]
    trees = getattr(_module(folder.command), "TREES", {})
    for name, tree in trees.items() if isinstance(trees, dict) else ():
        if f", {name} tree" in f", {case.part.name}" or case.part.name.startswith(name):
            return tree
    known = folder.command in ("flow_against_descent", "init_scale")
    return htf.problems.Completion().mode_tree if known else None


def _module(command: str) -> object:
    return importlib.import_module(f"{PACKAGE}.{command}") if command else None


def _completion_tree(grid: dict[str, object], case: Case) -> htf.ModeTree:
    """The tree of a completion, of which only the nested modes or the sizes matter."""
    tree = case.labels.get("tree", grid.get("tree"))
    if isinstance(tree, list | str):
        return htf.as_tree(tree)
    dims = grid.get("mode_dims")
    if isinstance(dims, list):
        return htf.problems.Completion(mode_dims=tuple(map(int, dims))).mode_tree
    return htf.problems.Completion().mode_tree


Row = tuple[int, str, int, float, float, float]  # node, quantity, index, value, band


def _rows_of_case(
    tree: htf.ModeTree, case: Case, last: list[tuple[str, np.ndarray]]
) -> list[Row]:
    """Norms of local components, and singular values, of the nodes that have some."""
    rows: list[Row] = []
    for name, values in last:
        dims = [str(d) for d in case.part.dataset[name].dims]
        if values.ndim == 2 and canonical(name) == "local_component_norm":
            rows += _measures(tree.root, "norm", values)
        if values.ndim == 2 and canonical(name) == "singular_value":
            # Flows and the descents beside them look at the first node above the leaves.
            first = tree.modes[tree.interior[0]]
            for node in _with_modes(tree, {*first}):
                rows += _measures(node, "singular value", values)
        if values.ndim != 3:
            continue
        for i in range(values.shape[1]):
            label = str(label_in(case, dims[-2], i))
            modes = {int(x) for x in label.split(",") if x.strip().isdigit()}
            if dims[-2] == "node":
                number = _node(tree, case, i, modes)
                rows += [] if number is None else _measures(number, "norm", values[:, i])
            else:
                for node in _with_modes(tree, modes):
                    rows += _measures(node, "singular value", values[:, i])
    return rows


def _with_modes(tree: htf.ModeTree, modes: set[int]) -> list[int]:
    """Nodes whose matricization has the singular values of that of some modes."""
    same = (modes, {*range(tree.order)} - modes)
    return [k for k, own in enumerate(tree.modes) if modes and {*own} in same]


def _node(tree: htf.ModeTree, case: Case, at: int, modes: set[int]) -> int | None:
    """The number of a node that is recorded."""
    if "node_id" in case.part.dataset.coords:
        return int(case.part.dataset["node_id"].values[at])
    fitting = [k for k in tree.interior if {*tree.modes[k]} == modes]
    return fitting[0] if fitting else None


def _measures(node: int, quantity: str, values: np.ndarray) -> list[Row]:
    """Median and band over runs (runs, n), the largest first; NaN is left out."""
    ordered = -np.sort(-values, axis=1)
    columns = ordered[:, np.isfinite(ordered).any(axis=0)]
    if not columns.size:
        return []
    found = middle_and_band(columns)
    middle, low, high = found if len(found) == 3 else (found[0],) * 3
    return [(node, quantity, k + 1, middle[k], low[k], high[k]) for k in range(len(middle))]


def _rows_of_completion(part: Part) -> list[Row]:
    """Singular values of the nodes of a completion."""
    rows: list[Row] = []
    for node, values in zip(
        part.dataset["node"].values, part.dataset["singular_value"].values, strict=True
    ):
        rows += _measures(int(node), "singular value", values[None])
    return rows


def _view(
    f: int, case: str, tree: htf.ModeTree, rows: list[Row], names: list[str], count: int
) -> View:
    columns = list(zip(*rows, strict=True)) or [()] * 6
    titles = ("node", "quantity", "index", "value", *(f"value{end}" for end in BAND))
    arrays = {
        title: np.asarray(column) for title, column in zip(titles, columns, strict=True)
    }
    known = {row[0] for row in rows}
    nodes = {k: _title(tree, k, names) for k in range(len(tree.children))}
    block = Block(f"t{count}", f, case, arrays)
    return View(f, case, drawing(tree, known, names), block, nodes, _nested(tree, names))


def _nested(tree: htf.ModeTree, names: list[str]) -> str:
    """The tree as nested modes, by name where they have names."""

    def spell(nested: object) -> str:
        if isinstance(nested, tuple):
            return f"({', '.join(map(spell, nested))})"
        return names[nested] if isinstance(nested, int) and names else str(nested)

    return spell(tree.nested)


def _title(tree: htf.ModeTree, node: int, names: list[str]) -> str:
    """A node in words."""
    modes = ", ".join(names[m] if names else str(m) for m in tree.modes[node])
    kind = "root" if node == tree.root else "leaf" if not tree.children[node] else "node"
    return (
        f"{kind} {node}, modes {{{modes}}}"
        if kind != "leaf"
        else f"leaf {node}, mode {modes}"
    )


def drawing(tree: htf.ModeTree, known: set[int], names: list[str]) -> str:
    """A tree as an SVG picture, each node a button.

    Args:
      known: nodes of which something is known.
      names: of modes, if they have names.
    """
    places, depth = _places(tree)
    longest = max((len(name) for name in names), default=1)
    wide = max(WIDE, 8 * longest + 12)
    width = int(wide * (max(x for x, _ in places.values()) + 1))
    height = HIGH * depth + 2 * RADIUS + 34
    at = {k: (wide * (x + 0.5), RADIUS + 4 + HIGH * y) for k, (x, y) in places.items()}
    lines = [
        f'<line x1="{at[k][0]:.1f}" y1="{at[k][1]:.1f}" x2="{at[c][0]:.1f}" '
        f'y2="{at[c][1]:.1f}"/>'
        for k, children in enumerate(tree.children)
        for c in children
    ]
    nodes = [_drawn(tree, k, at[k], k in known, names) for k in range(len(tree.children))]
    return (
        f'<svg class="tree" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="group" aria-label="mode tree">'
        f"<g>{''.join(lines)}</g>{''.join(nodes)}</svg>"
    )


def _drawn(
    tree: htf.ModeTree, node: int, at: tuple[float, float], known: bool, names: list[str]
) -> str:
    title = html.escape(_title(tree, node, names))
    below = ""
    if not tree.children[node]:
        text = html.escape(names[node] if names else f"mode {node}")
        below = f'<text class="below" y="{RADIUS + 16}">{text}</text>'
    kind = "node known" if known else "node"
    return (
        f'<g class="{kind}" data-node="{node}" tabindex="0" role="button" '
        f'aria-label="{title}" transform="translate({at[0]:.1f} {at[1]:.1f})">'
        f'<title>{title}</title><circle r="{RADIUS}"/>'
        f'<text y="5">{node}</text>{below}</g>'
    )


def _places(tree: htf.ModeTree) -> tuple[dict[int, tuple[float, int]], int]:
    """Place of every node, leaves side by side and each above its children; the depth."""
    places: dict[int, tuple[float, int]] = {}
    depth = {tree.root: 0}
    order: list[int] = []  # parents before their children
    waiting = [tree.root]
    leaves = 0
    while waiting:
        node = waiting.pop()
        order.append(node)
        for child in reversed(tree.children[node]):
            depth[child] = depth[node] + 1
            waiting.append(child)
    for node in order:
        if not tree.children[node]:
            places[node] = (leaves, depth[node])
            leaves += 1
    for node in reversed(order):
        if children := tree.children[node]:
            mean = float(np.mean([places[child][0] for child in children]))
            places[node] = (mean, depth[node])
    return places, max(depth.values())
