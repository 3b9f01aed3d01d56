"""Plot of a mode tree, or of factors on one, with the shapes of their weight matrices."""

from typing import get_args

from matplotlib.axes import Axes

from htfjax import _checks
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import layout_of
from htfjax.plot import style
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree

Place = tuple[float, float]  # across, and up


def tree(drawn: TreeLike | AnyFactors, *, ax: Axes | None = None) -> Axes:
    """Draws a mode tree; of factors, with the shape of the matrix on each edge.

    Leaves stand at the bottom, labelled with their mode; interior nodes carry their id.
    For factors, each edge shows the shape of the matrix of the node at its lower end, the
    root's above it ("ones" when it is fixed to ones), and fixed nodes are squares.

    Args:
      drawn: a tree, nested modes or their text, or factors on a tree.
      ax: axes to draw on; new ones by default.

    Returns:
      The axes.

    Raises:
      TypeError, ValueError: neither a tree nor factors, malformed factors, no axes.

    Example:
      >>> import htfjax as htf, matplotlib
      >>> matplotlib.use("Agg")
      >>> [text.get_text() for text in htf.plot.tree(((0, 1), 2)).texts]
      ['0', '1', '2', '3', '4']
    """
    trees = (ModeTree, tuple, list, str)
    advice = "a tree, nested modes or their text will do, and factors on a tree"
    _checks.instance("drawn", drawn, (*trees, *get_args(AnyFactors)), advice)
    if isinstance(drawn, ModeTree | tuple | list | str):
        shown, fixed, labels = as_tree(drawn, name="drawn"), (), {}
    else:
        shown, fixed, labels = drawn.tree, drawn.fixed, _edge_labels(drawn)
    size = (max(4.0, 0.9 * shown.order), 1.0 + 1.1 * shown.height[shown.root])
    ax = style.axes_for(ax, size)
    places = _places(shown)
    for k, place in enumerate(places):
        if k != shown.root:
            _draw_edge(ax, place, places[shown.parent[k]], labels.get(k))
        elif k in labels:
            _draw_edge(ax, place, (place[0], place[1] + 0.7), labels[k])
        _draw_node(ax, place, k, leaf=k < shown.order, square=k in fixed)
    ax.set_xlim(-0.6, shown.order - 0.4)
    ax.set_ylim(-0.5, shown.height[shown.root] + (1.0 if labels else 0.5))
    ax.set_axis_off()
    return ax


def _draw_edge(ax: Axes, below: Place, above: Place, label: str | None) -> None:
    (x, y), (right, top) = below, above
    ax.plot([x, right], [y, top], color="0.55", lw=1.2, zorder=1)
    if label is not None:
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}
        middle = ((x + right) / 2, (y + top) / 2)
        ax.annotate(label, middle, ha="center", va="center", fontsize=style.FONT, bbox=box)


def _draw_node(ax: Axes, place: Place, node: int, *, leaf: bool, square: bool) -> None:
    shape = {
        "boxstyle": "square" if square else "circle",
        "fc": "white" if leaf else "0.85",
        "ec": "0.2",
    }
    ax.text(*place, str(node), ha="center", va="center", fontsize=9, bbox=shape, zorder=3)


def _places(tree: ModeTree) -> list[Place]:
    """Leaves side by side in the order the tree visits them, parents above their middle."""
    across, stack = {}, [tree.root]
    while stack:
        k = stack.pop()
        if k < tree.order:
            across[k] = float(len(across))
        stack.extend(reversed(tree.children[k]))
    places = [(across[k], 0.0) for k in range(tree.order)]
    for k in tree.interior:
        xs = [places[c][0] for c in tree.children[k]]
        places.append((sum(xs) / len(xs), float(tree.height[k])))
    return places


def _edge_labels(factors: AnyFactors) -> dict[int, str]:
    layout = layout_of(factors, "drawn")
    sizes = zip(layout.widths, layout.columns, strict=True)
    labels = {k: f"{rows}×{columns}" for k, (rows, columns) in enumerate(sizes)}  # noqa: RUF001
    return labels if layout.has_root else labels | {layout.tree.root: "ones"}
