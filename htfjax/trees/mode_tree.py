"""Mode trees: which modes of a tensor are grouped together, and in which order.

Nothing here touches an array: a mode tree is a static, hashable value, so it may be a
static argument of a jitted function and a static field of a pytree.
"""

import collections
import dataclasses
import functools
import itertools
import operator
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeGuard

from htfjax._integers import at_least, spell
from htfjax.trees.spelling import read_nested

Children = tuple[tuple[int, ...], ...]
MOST_SPELLED = 64  # nodes of a tree whose `repr` spells it


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
      TypeError: children that are not integers.
      ValueError: the children are not a tree in post-order over modes 0..N-1.

    Source: arXiv:2201.11729, section 3 (mode tree); any arity as in section 5.

    Example:
      >>> import htfjax as htf
      >>> tree = htf.ModeTree.from_nested(((0, 1), (2, 3)))
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
        children = _node_ids(self.children)
        _check_post_order(children)
        object.__setattr__(self, "children", children)

    @classmethod
    def from_nested(cls, nested: object) -> "ModeTree":
        """The tree spelled by nested tuples of modes, e.g. `((0, 1), (2, 3))`.

        Args:
          nested: tuples (or lists) of ints and further tuples; every mode 0..N-1 once.
            A tensor of order one is `(0,)`.

        Raises:
          TypeError: `nested` is a bare int, or holds something that is neither a tuple
            nor an int.
          ValueError: an empty tuple, a repeated, negative or missing mode.

        Example:
          >>> import htfjax as htf
          >>> htf.ModeTree.from_nested(((0,), 1)).children
          ((), (), (0,), (2, 1))
        """
        if not _holds_nodes(nested):
            raise TypeError(
                f"`nested` must be a tuple of modes, got {spell(nested)}; "
                "the tree of a tensor of order one is `(0,)`."
            )
        order = _check_modes(_leaves(nested))
        children: list[tuple[int, ...]] = [() for _ in range(order)]

        # An explicit stack: a caterpillar of order 1024 is 1023 tuples deep.
        stack: list[tuple[Sequence[Any], list[int]]] = [(nested, [])]
        while True:
            node, done = stack[-1]
            if len(done) < len(node):
                child = node[len(done)]
                if _holds_nodes(child):
                    stack.append((child, []))
                else:
                    done.append(operator.index(child))
                continue
            stack.pop()
            children.append(tuple(done))
            if not stack:
                return cls(tuple(children))
            stack[-1][1].append(len(children) - 1)

    def __reduce__(self) -> tuple[type, tuple[Children]]:
        # Without the cached spelling, which may be too deep for pickle.
        return ModeTree, (self.children,)

    @functools.cached_property
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

    @functools.cached_property
    def interior(self) -> tuple[int, ...]:
        """Ids of the interior nodes in post-order, the root last."""
        return tuple(range(self.order, self.num_nodes))

    @functools.cached_property
    def parent(self) -> tuple[Any, ...]:
        """`parent[k]` is the id of node k's parent, None for the root."""
        parent: list[int | None] = [None] * self.num_nodes
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
    def nested(self) -> tuple[Any, ...]:
        """The nested tuples that spell this tree: `from_nested(tree.nested) == tree`."""
        spelled: list[Any] = list(range(self.order))
        for k in self.interior:
            spelled.append(tuple(spelled[c] for c in self.children[k]))
        return spelled[self.root]

    def __repr__(self) -> str:
        if self.num_nodes <= MOST_SPELLED:
            return f"ModeTree.from_nested({self.nested})"
        return (
            f"<ModeTree: order {self.order}, {self.num_nodes} nodes, "
            f"height {self.height[self.root]}>"
        )

    def __str__(self) -> str:
        branch, last_branch, beside = _strokes()
        lines = [_label(self, self.root)]
        stack = [(c, "") for c in reversed(self.children[self.root])]
        while stack:
            k, indent = stack.pop()
            siblings = self.children[self.parent[k]]
            last = k == siblings[-1]
            lines.append(indent + (last_branch if last else branch) + _label(self, k))
            below = indent + ("    " if last else beside)
            stack.extend((c, below) for c in reversed(self.children[k]))
        return "\n".join(lines)


# What stands for a tree: itself, nested modes such as ((0, 1), (2, 3)), or their text.
TreeLike: TypeAlias = ModeTree | tuple[Any, ...] | list[Any] | str


def as_tree(tree: TreeLike, *, name: str = "tree") -> ModeTree:
    """The mode tree that is meant by a tree, by nested modes or by their text.

    Args:
      tree: a `ModeTree`, nested tuples of modes, or text such as "((0, 1), (2, 3))".
      name: of the argument, for errors.

    Raises:
      TypeError: none of them. ValueError: text of another kind (the message has the
        column), and modes as in `ModeTree.from_nested`.

    Example:
      >>> import htfjax as htf
      >>> htf.as_tree("((0, 2), (1, 3))") == htf.as_tree(((0, 2), (1, 3)))
      True
    """
    if isinstance(tree, ModeTree):
        return tree
    if not (isinstance(tree, str) or _holds_nodes(tree)):
        raise TypeError(
            f"`{name}` must be a ModeTree, nested modes such as ((0, 1), (2, 3)) or their "
            f"text, got {spell(tree)}; `ModeTree.from_nested` makes a tree."
        )
    nested = read_nested(tree, name) if isinstance(tree, str) else tree
    try:
        return ModeTree.from_nested(nested)
    except (TypeError, ValueError) as error:
        said = str(error).replace("`nested`", "it")
        raise type(error)(f"`{name}={spell(tree)}`: {said}") from error


def without_chains(tree: ModeTree) -> ModeTree:
    """The tree with every one-child node left out; a leaf under the root stays.

    Example:
      >>> without_chains(ModeTree.from_nested(((((0, 1),), (2,)),))).nested
      ((0, 1), 2)
    """
    nested: list[Any] = list(range(tree.order))
    for k in tree.interior:
        kids = tuple(nested[c] for c in tree.children[k])
        bare_leaf = k == tree.root and isinstance(kids[0], int)
        nested.append(kids[0] if len(kids) == 1 and not bare_leaf else kids)
    return ModeTree.from_nested(nested[tree.root])


def _strokes() -> tuple[str, str, str]:
    """Branches of a printed tree: plain characters where the output has no others."""
    strokes = ("├── ", "└── ", "│   ")
    try:
        "".join(strokes).encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return ("|-- ", "`-- ", "|   ")
    return strokes


def _holds_nodes(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a list of modes and subtrees, in any form that has an order."""
    return isinstance(value, tuple | list | range) or getattr(value, "ndim", 0) > 0


def _leaves(nested: object) -> list[object]:
    leaves, stack = [], [nested]
    while stack:
        node = stack.pop()
        if _holds_nodes(node):
            if len(node) == 0:
                raise ValueError("`nested` holds an empty tuple; drop it.")
            stack.extend(node)
        else:
            leaves.append(node)
    return leaves


def _check_modes(leaves: list[object]) -> int:
    modes = [at_least("nested", mode, 0) for mode in leaves]
    repeated = sorted(m for m, count in collections.Counter(modes).items() if count > 1)
    if repeated:
        raise ValueError(f"`nested` repeats the modes {repeated}; each stands once.")
    known = set(modes)
    missing = (m for m in range(max(modes) + 1) if m not in known)
    if some := list(itertools.islice(missing, 10)):
        raise ValueError(f"`nested` misses the modes {some}; modes are 0..{max(modes)}.")
    return len(modes)


def _node_ids(children: object) -> Children:
    if not _holds_nodes(children) or not all(map(_holds_nodes, children)):
        raise TypeError(f"`children` must hold tuples of node ids, got {spell(children)}.")
    return tuple(tuple(at_least("children", c, 0) for c in kids) for kids in children)


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
