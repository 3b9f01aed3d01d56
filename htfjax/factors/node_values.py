"""Values of nodes: a mapping from node ids, held in one array per group of alike nodes."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import jax
from wadler_lindig import AbstractDoc

from htfjax import _reprs
from htfjax._integers import at_least
from htfjax._tables import table
from htfjax.factors.layout import Layout

Value = TypeVar("Value")  # of a node: an array, or a pytree of arrays


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class NodeValues(Mapping[int, Value]):
    """node id -> value, like a dict, but a pytree of one array per group.

    What instruments return for grouped factors: a program that records it has as many
    outputs as the tree has groups, not nodes. A node's value is sliced off when it is
    read, an unknown one is a KeyError. Axes that `vmap`, `scan` or a recording put in
    front stay in front.

    Attributes:
      stacks: for every group a pytree like a value, whose arrays end in (number of nodes,
        *value).
      axes: for every group, how many axes the value of each array has (static).
      groups: the node ids of every group (static).

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(8), 3, 2, 1.0)
      >>> norms = htf.local_component_norms(htf.group(factors))
      >>> len(norms), norms[9].shape, [x.shape for x in jax.tree.leaves(norms)]
      (7, (2,), [(4, 2), (2, 2), (1, 2)])
    """

    stacks: tuple[Value, ...]
    axes: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    groups: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})

    def __getitem__(self, node: int) -> Value:
        try:
            node = at_least("node", node, 0)
        except (TypeError, ValueError) as error:
            modes = isinstance(node, tuple)
            advice = f" `tree.modes.index({node})` is the node of modes." if modes else ""
            raise KeyError(f"{error}{advice}") from None
        for stack, axes, nodes in zip(self.stacks, self.axes, self.groups, strict=True):
            if node in nodes:
                place = nodes.index(node)
                arrays, structure = jax.tree.flatten(stack)
                return structure.unflatten(
                    x[(..., place, *[slice(None)] * n)]
                    for x, n in zip(arrays, axes, strict=True)
                )
        nodes = _reprs.ranges(tuple(self))
        raise KeyError(f"`node={node}` has no value here; nodes are {nodes}.")

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(node for nodes in self.groups for node in nodes))

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Nodes of every group and their stack."""
        return _reprs.wrapped(self, dict(zip(self.groups, self.stacks, strict=True)))

    def _repr_html_(self) -> str:
        """A table of groups."""
        rows = (
            (_reprs.ranges(nodes), str(len(nodes)), _reprs.text(stack))
            for nodes, stack in zip(self.groups, self.stacks, strict=True)
        )
        return table(self, "NodeValues", ("nodes", "number", "stack"), rows)


def node_values(
    stacks: Sequence[Value], groups: Sequence[tuple[int, ...]]
) -> NodeValues[Value]:
    """Pytrees of arrays (number of nodes, *value), one for each group."""
    axes = tuple(tuple(x.ndim - 1 for x in jax.tree.leaves(stack)) for stack in stacks)
    return NodeValues(stacks=tuple(stacks), axes=axes, groups=tuple(groups))


def by_node(layout: Layout, values: Mapping[int, Value]) -> Mapping[int, Value]:
    """Stacks (number of nodes, *value) by group, as what users of the factors expect.

    Args:
      values: pytrees of stacks for some of the layout's groups.

    Returns:
      node id -> value: `NodeValues` for grouped factors, a dict for plain ones, so that
      the leaves of what they give are arrays of one node each, under `jax.tree.map` too.
    """
    if layout.grouped:
        return node_values(list(values.values()), [layout.groups[g] for g in values])
    return {
        layout.groups[g][0]: jax.tree.map(lambda x: x[0], stack)
        for g, stack in values.items()
    }
