"""Drawing of a mode tree, with the shapes of the weight matrices on its edges."""

from typing import get_args

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from htfjax import _checks
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import layout_of
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree


def draw_tree(drawn: TreeLike | AnyFactors, *, ax: Axes | None = None) -> Axes:
    """Draws a tree on matplotlib axes.

    Leaves stand at the bottom, labelled with their mode; interior nodes carry their id.
    For factors, each edge shows the shape of the matrix of the node at its lower end, the
    root's above it ("ones" when it is fixed to ones), and fixed nodes are squares.

    Args:
      drawn: a tree, or factors on one.
      ax: axes to draw on; new ones by default.

    Returns:
      The axes.

    Raises:
      TypeError, ValueError: neither a tree nor factors, malformed factors, no axes.

    Example:
      >>> import htfjax as htf, matplotlib
      >>> matplotlib.use("Agg")
      >>> len(htf.draw_tree(htf.perfect(4)).texts)
      7
    """
    trees = (ModeTree, tuple, list, str)
    advice = "a tree, nested modes or their text will do, and factors on a tree"
    _checks.instance("drawn", drawn, (*trees, *get_args(AnyFactors)), advice)
    if ax is not None:
        _checks.instance("ax", ax, Axes, "`matplotlib.pyplot.subplots` makes some")
    if isinstance(drawn, ModeTree | tuple | list | str):
        tree, fixed, labels = as_tree(drawn, name="drawn"), (), {}
    else:
        tree, fixed, labels = drawn.tree, drawn.fixed, _edge_labels(drawn)
    if ax is None:
        size = (max(4.0, 0.9 * tree.order), 1.0 + 1.1 * tree.height[tree.root])
        _, ax = plt.subplots(figsize=size, layout="constrained")
    places = _places(tree)
    for k in range(tree.num_nodes):
        x, y = places[k]
        top = (x, y + 0.7) if k == tree.root else places[tree.parent[k]]
        if k != tree.root or k in labels:
            ax.plot([x, top[0]], [y, top[1]], color="0.6", lw=1.2, zorder=1)
        if k in labels:
            middle = ((x + top[0]) / 2, (y + top[1]) / 2)
            box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}
            ax.annotate(labels[k], middle, ha="center", va="center", fontsize=8, bbox=box)
        leaf = k < tree.order
        style = {
            "boxstyle": "square" if k in fixed else "circle",
            "fc": "white" if leaf else "0.85",
            "ec": "0.2",
        }
        ax.text(x, y, str(k), ha="center", va="center", fontsize=9, bbox=style, zorder=3)
    ax.set_xlim(-0.6, tree.order - 0.4)
    ax.set_ylim(-0.5, tree.height[tree.root] + (1.0 if labels else 0.5))
    ax.set_axis_off()
    return ax


def _places(tree: ModeTree) -> dict[int, tuple[float, float]]:
    """Leaves side by side in the order the tree visits them, parents above their middle."""
    visited, stack = [], [tree.root]
    while stack:
        k = stack.pop()
        if k < tree.order:
            visited.append(k)
        stack.extend(reversed(tree.children[k]))
    places = {k: (float(x), 0.0) for x, k in enumerate(visited)}
    for k in tree.interior:
        xs = [places[c][0] for c in tree.children[k]]
        places[k] = (sum(xs) / len(xs), float(tree.height[k]))
    return places


def _edge_labels(factors: AnyFactors) -> dict[int, str]:
    layout = layout_of(factors, "drawn")
    sizes = zip(layout.widths, layout.columns, strict=True)
    labels = {k: f"{rows}×{columns}" for k, (rows, columns) in enumerate(sizes)}  # noqa: RUF001
    return labels if layout.has_root else labels | {layout.tree.root: "ones"}
