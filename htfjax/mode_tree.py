"""Which modes of a tensor are grouped together, and in which order.

Nothing here touches an array: a mode tree is a static, hashable value, so it may be a
static argument of a jitted function and a static field of a pytree.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "ModeTree",
    "caterpillar",
    "flat",
    "interleaved",
    "perfect",
    "pooled",
    "square_patches",
]

Children = tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class ModeTree:
    """A rooted tree whose leaves are the modes 0..N-1 of a tensor.

    Nodes are integers. The leaf of mode n is node n; interior nodes are N, N+1, ... in
    left-to-right post-order, so children come before their parent and the root is the
    last node. Any arity is allowed; a node with one child multiplies its child's matrix
    (law A9 of the hierarchical factorization), so chains of them are deep linear maps.

    Build one with `ModeTree.from_nested` or a builder such as `perfect`; the
    constructor takes the flat list of children and is meant for files.

    Attributes:
      children: `children[k]` are the ids of node k's children as written, () for a
        leaf.

    Raises:
      ValueError: the children are not a tree in post-order over modes 0..N-1.

    Source: arXiv:2201.11729, section 3 (mode tree); any arity as in section 5.

    Example:
      >>> tree = ModeTree.from_nested(((0, 1), (2, 3)))
      >>> tree.order, tree.root, tree.children[tree.root], tree.modes[4]
      (4, 6, (4, 5), (0, 1))
      >>> print(tree)
      6 {0,1,2,3}
      ├── 4 {0,1}
      │   ├── 0
      │   └── 1
      └── 5 {2,3}
          ├── 2
          └── 3
    """

    children: Children

    def __post_init__(self) -> None:
        _check_post_order(self.children)

    @classmethod
    def from_nested(cls, nested: Any) -> "ModeTree":
        """The tree spelled by nested tuples of modes, e.g. `((0, 1), (2, 3))`.

        Args:
          nested: tuples (or lists) of ints and further tuples; every mode 0..N-1 once.
            A tensor of order one is `(0,)`.

        Raises:
          TypeError: `nested` is a bare int, or holds something that is neither a tuple
            nor an int.
          ValueError: an empty tuple, a repeated, negative or missing mode.

        Example:
          >>> ModeTree.from_nested(((0,), 1)).children
          ((), (), (0,), (2, 1))
        """
        if not isinstance(nested, tuple | list):
            raise TypeError(
                f"`nested` must be a tuple of modes, got {nested!r}; "
                "the tree of a tensor of order one is `(0,)`."
            )
        order = _check_modes(_leaves(nested))
        children: list[tuple[int, ...]] = [() for _ in range(order)]

        # An explicit stack: a caterpillar of order 1024 is 1023 tuples deep.
        stack: list[tuple[Any, list[int]]] = [(nested, [])]
        while True:
            node, done = stack[-1]
            if len(done) < len(node):
                child = node[len(done)]
                if isinstance(child, tuple | list):
                    stack.append((child, []))
                else:
                    done.append(operator.index(child))
                continue
            stack.pop()
            children.append(tuple(done))
            if not stack:
                return cls(tuple(children))
            stack[-1][1].append(len(children) - 1)

    @property
    def order(self) -> int:
        """Number of modes N."""
        return next(k for k, kids in enumerate(self.children) if kids)

    @property
    def num_nodes(self) -> int:
        """Number of nodes, leaves included."""
        return len(self.children)

    @property
    def root(self) -> int:
        """Id of the root, the largest id."""
        return len(self.children) - 1

    @property
    def interior(self) -> tuple[int, ...]:
        """Ids of the interior nodes in post-order, the root last."""
        return tuple(range(self.order, self.num_nodes))

    @functools.cached_property
    def parent(self) -> tuple[Any, ...]:
        """`parent[k]` is the id of node k's parent, None for the root."""
        parent: list[Any] = [None] * self.num_nodes
        for k, kids in enumerate(self.children):
            for child in kids:
                parent[child] = k
        return tuple(parent)

    @functools.cached_property
    def modes(self) -> tuple[tuple[int, ...], ...]:
        """`modes[k]` are the modes under node k, ascending."""
        modes: list[tuple[int, ...]] = [(n,) for n in range(self.order)]
        for k in self.interior:
            modes.append(tuple(sorted(m for c in self.children[k] for m in modes[c])))
        return tuple(modes)

    @functools.cached_property
    def height(self) -> tuple[int, ...]:
        """`height[k]` is 0 at a leaf and one more than the highest child inside."""
        height = [0] * self.order
        for k in self.interior:
            height.append(1 + max(height[c] for c in self.children[k]))
        return tuple(height)

    @functools.cached_property
    def nested(self) -> tuple:
        """The nested tuples that spell this tree: `from_nested(tree.nested) == tree`."""
        spelled: list[Any] = list(range(self.order))
        for k in self.interior:
            spelled.append(tuple(spelled[c] for c in self.children[k]))
        return spelled[self.root]

    def __str__(self) -> str:
        lines = [_label(self, self.root)]
        stack = [(c, "") for c in reversed(self.children[self.root])]
        while stack:
            k, indent = stack.pop()
            siblings = self.children[self.parent[k]]
            last = k == siblings[-1]
            lines.append(indent + ("└── " if last else "├── ") + _label(self, k))
            below = indent + ("    " if last else "│   ")
            stack.extend((c, below) for c in reversed(self.children[k]))
        return "\n".join(lines)


def perfect(order: int, arity: int = 2) -> ModeTree:
    """The tree in which every node has `arity` children and all leaves are level.

    Raises:
      ValueError: `order` is no power of `arity` (`pooled` takes any order).

    Example:
      >>> perfect(4, 2).nested
      ((0, 1), (2, 3))
    """
    order, arity = _at_least("order", order, 1), _at_least("arity", arity, 1)
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
      >>> flat(3).nested
      (0, 1, 2)
    """
    return ModeTree.from_nested(tuple(range(_at_least("order", order, 1))))


def caterpillar(order: int) -> ModeTree:
    """The tree that takes one further mode at a time: `(((0, 1), 2), 3)`.

    Example:
      >>> caterpillar(4).nested
      (((0, 1), 2), 3)
    """
    order = _at_least("order", order, 1)
    nested: tuple = tuple(range(min(order, 2)))
    for mode in range(2, order):
        nested = (nested, mode)
    return ModeTree.from_nested(nested)


def interleaved(order: int) -> ModeTree:
    """The binary tree that merges node i of a level with node i + half the level.

    An odd level leaves its last node alone, under a node with one child.

    Example:
      >>> interleaved(4).nested
      ((0, 2), (1, 3))
      >>> interleaved(5).nested
      (((0, 2), (1, 3)), ((4,),))
    """
    return pooled(order, 2, "half")


def square_patches(side: int, patch: int = 2) -> ModeTree:
    """Square windows of `patch` x `patch` over a `side` x `side` image, level by level.

    Modes are the pixels (or patches) of the image in row-major order. A side that
    `patch` does not divide leaves smaller windows at the right and lower edge.

    Example:
      >>> square_patches(4).children[16]
      (0, 1, 4, 5)
      >>> square_patches(3).nested
      ((0, 1, 3, 4), (2, 5), (6, 7), (8,))
    """
    side, patch = _at_least("side", side, 1), _at_least("patch", patch, 2)
    return pooled(side * side, patch * patch, "square")


def pooled(order: int, window: int | Sequence[int], pattern: str = "adjacent") -> ModeTree:
    """The level-wise rule: reorder a level by the pattern, then group `window` nodes.

    A level that `window` does not divide ends with one smaller group; a group of one
    becomes a node with one child. Levels are added until one node is left.

    Args:
      order: number of modes.
      window: children per node (at least 2), or one number a level, lowest first; there
        a 1 makes a level of one-child nodes.
      pattern: "adjacent" groups neighbours, "half" groups node i with nodes i + m,
        i + 2m, ... where m is the number of full groups, "square" groups square windows
        of a square grid. The names "checkerboard", "interleaved" and "checkerboard_sq"
        used elsewhere for these three are understood.

    Raises:
      ValueError: an unknown pattern, a window too small, a list that ends before one
        node is left, or "square" with a window or a level that is no square number.

    Example:
      >>> pooled(5, 2).nested
      (((0, 1), (2, 3)), ((4,),))
      >>> pooled(6, (3, 2)).nested
      ((0, 1, 2), (3, 4, 5))
    """
    order = _at_least("order", order, 1)
    if pattern not in _GROUPINGS:
        raise ValueError(f"`pattern={pattern!r}` is none of {sorted(_GROUPINGS)}.")
    group = _GROUPINGS[pattern]
    if isinstance(window, Sequence):
        level: list[Any] = list(range(order))
        for size in window:
            level = _grouped(level, group(len(level), _at_least("window", size, 1)))
        if len(level) > 1 or not window:
            raise ValueError(
                f"`window={window}` leaves {len(level)} nodes; give more levels."
            )
        return ModeTree.from_nested(level[0])
    size = _at_least("window", window, 2)
    level = _grouped(list(range(order)), group(order, size))
    while len(level) > 1:
        level = _grouped(level, group(len(level), size))
    return ModeTree.from_nested(level[0])


Groups = list[list[int]]


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


def _grouped(level: list[Any], groups: Groups) -> list[Any]:
    return [tuple(level[i] for i in group) for group in groups]


def _at_least(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if operator.index(value) < least:
        raise ValueError(f"`{name}={value}` must be at least {least}.")
    return operator.index(value)


def _leaves(nested: Any) -> list[Any]:
    leaves, stack = [], [nested]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple | list):
            if not node:
                raise ValueError("`nested` holds an empty tuple; drop it.")
            stack.extend(node)
        else:
            leaves.append(node)
    return leaves


def _check_modes(leaves: list[Any]) -> int:
    modes = [_at_least("nested", mode, 0) for mode in leaves]
    repeated = sorted({m for m in modes if modes.count(m) > 1})
    if repeated:
        raise ValueError(f"`nested` repeats the modes {repeated}; each stands once.")
    missing = sorted(set(range(max(modes) + 1)) - set(modes))
    if missing:
        raise ValueError(
            f"`nested` misses the modes {missing[:10]}; modes are 0..{max(modes)}."
        )
    return len(modes)


def _check_post_order(children: Children) -> None:
    """The flat list must be exactly what `from_nested` numbers."""
    order = next((k for k, kids in enumerate(children) if kids), 0)
    if order == 0 or any(not kids for kids in children[order:]):
        raise ValueError("`children` must list the leaves first, then interior nodes.")
    stack, seen = [len(children) - 1], []
    # Reversed post-order: a node, then its children from the right.
    while stack and len(seen) <= len(children):
        k = stack.pop()
        seen.append(k)
        stack.extend(children[k] if 0 <= k < len(children) else ())
    interior = [k for k in reversed(seen) if k >= order]
    if sorted(seen) != list(range(len(children))) or interior != sorted(interior):
        raise ValueError(
            "`children` is not a tree whose interior nodes are numbered in "
            "left-to-right post-order; build it with `ModeTree.from_nested`."
        )


def _label(tree: ModeTree, node: int) -> str:
    if node < tree.order:
        return str(node)
    modes = tree.modes[node]
    shown = ",".join(map(str, modes[:8])) + (",..." if len(modes) > 8 else "")
    return f"{node} {{{shown}}}"
