"""Plot of a mode tree, or of factors on one."""

from matplotlib.axes import Axes

from htfjax.factors.factors import AnyFactors
from htfjax.instruments.drawing import draw_tree
from htfjax.trees.mode_tree import TreeLike


def tree(drawn: TreeLike | AnyFactors, *, ax: Axes | None = None) -> Axes:
    """Draws a mode tree; of factors, with the shape of the matrix on each edge.

    The same as `htfjax.draw_tree`, beside the other plots.

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
    return draw_tree(drawn, ax=ax)
