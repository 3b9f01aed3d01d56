"""Mode trees by name: perfect, flat, caterpillar, interleaved, square patches, pooled."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from htfjax._integers import at_least, spell
from htfjax.trees.mode_tree import ModeTree


def perfect(order: int, arity: int = 2) -> ModeTree:
    """The tree in which every node has `arity` children and all leaves are level.

    Raises:
      ValueError: `order` is not a power of `arity` (`pooled` takes any order).

    Example:
      >>> import htfjax as htf
      >>> htf.perfect(4, 2).nested
      ((0, 1), (2, 3))
    """
    order, arity = at_least("order", order, 1), at_least("arity", arity, 1)
    size = 1
    while size < order and arity > 1:
        size *= arity
    if size != order:
        raise ValueError(
            f"`order={order}` is not a power of `arity={arity}`; "
            f"`pooled({order}, {max(arity, 2)})` groups any order with leftovers."
        )
    return pooled(order, max(arity, 2))


def flat(order: int) -> ModeTree:
    """The tree with one interior node: CP tensor factorization.

    Example:
      >>> import htfjax as htf
      >>> htf.flat(3).nested
      (0, 1, 2)
    """
    return ModeTree.from_nested(tuple(range(at_least("order", order, 1))))


def caterpillar(order: int) -> ModeTree:
    """The tree that takes one further mode at a time: `(((0, 1), 2), 3)`.

    Example:
      >>> import htfjax as htf
      >>> htf.caterpillar(4).nested
      (((0, 1), 2), 3)
    """
    order = at_least("order", order, 1)
    nested: tuple[Any, ...] = tuple(range(min(order, 2)))
    for mode in range(2, order):
        nested = (nested, mode)
    return ModeTree.from_nested(nested)


def interleaved(order: int) -> ModeTree:
    """The binary tree that merges node i of a level with node i + half the level.

    An odd level leaves its last node alone, under a node with one child.

    Example:
      >>> import htfjax as htf
      >>> htf.interleaved(4).nested
      ((0, 2), (1, 3))
      >>> htf.interleaved(5).nested
      (((0, 2), (1, 3)), ((4,),))
    """
    return pooled(order, 2, "half")


def square_patches(side: int, patch: int = 2) -> ModeTree:
    """Square windows of `patch` x `patch` over a `side` x `side` image, level by level.

    Modes are the pixels (or patches) of the image in row-major order. A side that
    `patch` does not divide leaves smaller windows at the right and lower edge.

    Example:
      >>> import htfjax as htf
      >>> htf.square_patches(4).children[16]
      (0, 1, 4, 5)
      >>> htf.square_patches(3).nested
      ((0, 1, 3, 4), (2, 5), (6, 7), (8,))
    """
    side, patch = at_least("side", side, 1), at_least("patch", patch, 2)
    return pooled(side * side, patch * patch, "square")


Pattern = Literal[
    "adjacent", "half", "square", "checkerboard", "interleaved", "checkerboard_sq"
]


def pooled(
    order: int, window: int | Sequence[int], pattern: Pattern = "adjacent"
) -> ModeTree:
    """The level-wise rule: reorder a level by the pattern, then group `window` nodes.

    A level that `window` does not divide ends with one smaller group; a group of one
    becomes a node with one child. Levels are added until one node is left.

    Args:
      order: number of modes.
      window: children per node (at least 2), or one number per level, lowest first; there
        a 1 makes a level of one-child nodes.
      pattern: "adjacent" groups neighbours, "half" groups node i with nodes i + m,
        i + 2m, ... where m is the number of full groups, "square" groups square windows
        of a square grid. The names "checkerboard", "interleaved" and "checkerboard_sq"
        used elsewhere for these three are understood.

    Raises:
      TypeError: a window or order that is not an integer.
      ValueError: an unknown pattern, a window too small, a list that ends before one
        node is left, or "square" with a window or a level that is not a square number.

    Example:
      >>> import htfjax as htf
      >>> htf.pooled(5, 2).nested
      (((0, 1), (2, 3)), ((4,),))
      >>> htf.pooled(6, (3, 2)).nested
      ((0, 1, 2), (3, 4, 5))
    """
    order = at_least("order", order, 1)
    if not isinstance(pattern, str) or pattern not in _GROUPINGS:
        kind = ValueError if isinstance(pattern, str) else TypeError
        raise kind(f"`pattern={spell(pattern)}` is none of {sorted(_GROUPINGS)}.")
    group = _GROUPINGS[pattern]
    listed = isinstance(window, Sequence) and not isinstance(window, str | bytes)
    if listed or getattr(window, "ndim", 0) == 1:
        level: list[Node] = list(range(order))
        for size in window:  # type: ignore[union-attr]
            level = _grouped(level, group(len(level), at_least("window", size, 1)))
        if len(level) > 1 or not isinstance(level[0], tuple):
            raise ValueError(
                f"`window={window}` leaves {len(level)} nodes; give more levels."
            )
        return ModeTree.from_nested(level[0])
    size = at_least("window", window, 2)
    level = _grouped([*range(order)], group(order, size))
    while len(level) > 1:
        level = _grouped(level, group(len(level), size))
    return ModeTree.from_nested(level[0])


Groups = list[list[int]]
Node = int | tuple[Any, ...]  # a mode, or nested tuples of them


def _adjacent_groups(count: int, window: int) -> Groups:
    return [list(range(count))[i : i + window] for i in range(0, count, window)]


def _half_groups(count: int, window: int) -> Groups:
    full = count // window
    if full == 0:
        return [list(range(count))]
    groups = [list(range(g, full * window, full)) for g in range(full)]
    leftover = list(range(full * window, count))
    return [*groups, leftover] if leftover else groups


def _square_groups(count: int, window: int) -> Groups:
    side, patch = math.isqrt(count), math.isqrt(window)
    if side * side != count or patch * patch != window:
        raise ValueError(
            f"`pattern='square'` needs square numbers, got a level of {count} nodes "
            f"and `window={window}`; `square_patches` takes any side."
        )
    starts = range(0, side, patch)
    return [
        [
            row * side + column
            for row in range(top, min(top + patch, side))
            for column in range(left, min(left + patch, side))
        ]
        for top in starts
        for left in starts
    ]


_GROUPINGS: dict[str, Callable[[int, int], Groups]] = {
    "adjacent": _adjacent_groups,
    "checkerboard": _adjacent_groups,
    "half": _half_groups,
    "interleaved": _half_groups,
    "square": _square_groups,
    "checkerboard_sq": _square_groups,
}


def _grouped(level: list[Node], groups: Groups) -> list[Node]:
    return [tuple(level[i] for i in group) for group in groups]
