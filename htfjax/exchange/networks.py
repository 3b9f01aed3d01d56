"""Tensor networks without loops as factors.

A network is a graph of its tensors and its indices. Where that graph has no loop it is a
tree of nodes: a tensor with one index below is a node over all that shares this index
(several are multiplied component by component, which is what a hyperindex is), and a tensor
with several indices below is a full transfer tensor, with a selector at each of them.
"""

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from htfjax.exchange.nodes import Node, assembled
from htfjax.exchange.trees import selectors
from htfjax.factors.factors import Factors
from htfjax.factors.selector import identity_selector
from htfjax.formats.transfer_tensors import check_size

ROOT = "ROOT"  # tag of the tensor at the root


class Part(NamedTuple):
    """A tensor of a network: its array and the names of its axes."""

    array: np.ndarray
    inds: tuple[str, ...]
    tags: frozenset[str] = frozenset()


# A tensor by its number, or an index by its name.
Place: TypeAlias = int | str
Neighbours: TypeAlias = Mapping[Place, Sequence[Place]]


def from_parts(parts: Sequence[Part], outer: Sequence[str], factor: float) -> Factors:
    """Factors of a network times a number; mode n is the outer index n.

    Raises:
      ValueError: loops, or axes of one index that differ in length.
    """
    sizes = _sizes(parts)
    if sum(ROOT in part.tags for part in parts) > 1:  # of several networks in one
        parts = [part._replace(tags=frozenset()) for part in parts]
    parts, scalar = _absorbed(parts, outer)
    graph = _graph(parts)
    _check_no_loop(parts, graph)
    groups = _components(graph)
    modes = {ind: mode for mode, ind in enumerate(outer)}
    nodes: dict[Hashable, Node] = {}
    roots = [_root(parts, graph, group, modes) for group in groups]
    for root in roots:
        _add_nodes(nodes, parts, graph, root, modes, sizes)
    top = roots[0]
    dtype = np.result_type(*(part.array for part in parts))
    for root in roots:
        # An index at the root has no tensor over it.
        if nodes[root].weight is None and (len(roots) > 1 or scalar * factor != 1):
            ones = np.ones((sizes[str(root)], 1), dtype)
            nodes[root] = nodes[root]._replace(weight=ones)
    if scalar * factor != 1:
        scaled = (nodes[top].weight * scalar * factor).astype(dtype)
        nodes[top] = nodes[top]._replace(weight=scaled)
    if len(roots) > 1:
        top = -1
        nodes[top] = Node(np.ones((1, 1), dtype), tuple(roots))
    return assembled(nodes, top)


def _sizes(parts: Sequence[Part]) -> dict[str, int]:
    """The length of every index."""
    sizes: dict[str, int] = {}
    for part in parts:
        if part.array.ndim != len(part.inds) or 0 in part.array.shape:
            raise ValueError(
                f"`network` has a tensor of shape {part.array.shape} and indices "
                f"{part.inds}; it must have one axis, not empty, for every index."
            )
        if len(set(part.inds)) < len(part.inds):
            raise ValueError(
                f"`network` has a tensor with indices {part.inds}, one of them twice, "
                "which is a loop; take its trace or its diagonal first."
            )
        for ind, size in zip(part.inds, part.array.shape, strict=True):
            if sizes.setdefault(ind, size) != size:
                raise ValueError(
                    f"`network`: index {ind!r} has the lengths {sizes[ind]} and {size}."
                )
    return sizes


def _absorbed(parts: Sequence[Part], outer: Sequence[str]) -> tuple[list[Part], float]:
    """The network without vectors and scalars that have no mode, and a number before it."""
    held, scalar = dict(enumerate(parts)), 1.0
    counts = Counter(ind for part in parts for ind in part.inds)
    work = [*held]
    while work:
        number = work.pop()
        part = held[number]
        if not part.inds:
            scalar *= float(held.pop(number).array)
            continue
        (ind, *more) = part.inds
        if more or ROOT in part.tags or counts[ind] == 1:
            continue
        del held[number]
        other = next(k for k, p in held.items() if ind in p.inds)
        counts[ind] -= 1
        vanishes = counts[ind] == 1 and ind not in outer
        held[other] = _times(held[other], ind, part.array, vanishes)
        work.append(other)
    return list(held.values()), scalar


def _times(part: Part, ind: str, vector: np.ndarray, summed: bool) -> Part:
    """A tensor times a vector along an index, which is summed over or not."""
    axis = part.inds.index(ind)
    if summed:
        left = tuple(name for name in part.inds if name != ind)
        return Part(np.tensordot(part.array, vector, (axis, 0)), left, part.tags)
    spread = vector.reshape(*(-1 if i == axis else 1 for i in range(part.array.ndim)))
    return part._replace(array=part.array * spread)


def _graph(parts: Sequence[Part]) -> Neighbours:
    """The indices of every tensor, and the tensors of every index."""
    graph: dict[Place, list[Place]] = {}
    for number, part in enumerate(parts):
        graph[number] = [*part.inds]
        for ind in part.inds:
            graph.setdefault(ind, []).append(number)
    return graph


def _check_no_loop(parts: Sequence[Part], graph: Neighbours) -> None:
    """What is left when ends are taken off again and again are loops."""
    degrees = {place: len(others) for place, others in graph.items()}
    ends = [place for place, degree in degrees.items() if degree <= 1]
    while ends:
        place = ends.pop()
        degrees.pop(place)
        for other in graph[place]:
            if other in degrees:
                degrees[other] -= 1
                if degrees[other] == 1:
                    ends.append(other)
    loop = sorted(place for place in degrees if isinstance(place, str))
    if loop:
        raise ValueError(
            f"`network` has a loop through the indices {', '.join(loop[:12])}"
            f"{', ...' if len(loop) > 12 else ''}; factors hold trees. Contract the "
            "tensors of the loop into one, or fuse indices that join the same two tensors "
            "(`network.fuse_multibonds()`)."
        )


def _components(graph: Neighbours) -> list[list[Place]]:
    """Places that hang together."""
    left, found = dict.fromkeys(graph), list[list[Place]]()
    while left:
        group, stack = list[Place](), [next(iter(left))]
        while stack:
            place = stack.pop()
            if place in left:
                left.pop(place)
                group.append(place)
                stack.extend(graph[place])
        found.append(group)
    return found


def _root(
    parts: Sequence[Part],
    graph: Neighbours,
    group: Sequence[Place],
    modes: Mapping[str, int],
) -> Place:
    """A tensor that is tagged, the last one of a chain, or the middle of the tree."""
    numbers = [place for place in group if isinstance(place, int)]
    tagged = [k for k in numbers if ROOT in parts[k].tags]
    if tagged:
        return tagged[0]
    bonds = {k: [i for i in parts[k].inds if len(graph[i]) > 1] for k in numbers}
    pairs = all(len(graph[i]) == 2 for inds in bonds.values() for i in inds)
    if pairs and all(len(inds) <= 2 for inds in bonds.values()):
        ends = [k for k in numbers if len(bonds[k]) < 2]
        return max(ends, key=lambda k: max(modes.get(i, -1) for i in parts[k].inds))
    layer = [place for place in group if len(graph[place]) == 1]
    degrees = {place: len(graph[place]) for place in group}
    while len(degrees) > 2:
        following = []
        for place in layer:
            degrees.pop(place)
            for other in graph[place]:
                if other in degrees:
                    degrees[other] -= 1
                    if degrees[other] == 1:
                        following.append(other)
        layer = following
    return min(degrees, key=lambda place: isinstance(place, str))


def _add_nodes(
    nodes: dict[Hashable, Node],
    parts: Sequence[Part],
    graph: Neighbours,
    root: Place,
    modes: Mapping[str, int],
    sizes: Mapping[str, int],
) -> None:
    """Nodes of one component: a tensor by its number, an index by its name."""
    above: dict[Place, Place | None] = {root: None}
    stack, seen = [root], list[Place]()
    while stack:
        place = stack.pop()
        seen.append(place)
        for other in graph[place]:
            if other not in above:
                above[other] = place
                stack.append(other)

    def below(ind: str) -> tuple[Hashable, ...]:
        """What shares an index, from the side of the leaves."""
        kids = tuple(k for k in graph[ind] if k != above[ind])
        if ind not in modes:
            return kids
        nodes["mode", ind] = Node(identity_selector(sizes[ind]), mode=modes[ind])
        return (*kids, ("mode", ind))

    for place in seen:
        if not isinstance(place, int):
            if place == root:
                nodes[place] = Node(None, below(place))
            continue
        part, up = parts[place], above[place]
        inds = [ind for ind in part.inds if ind != up]
        matrix = _unfolded(part, inds)
        if len(inds) == 1 and up is not None and graph[inds[0]] == [place]:
            nodes[place] = Node(matrix, mode=modes[inds[0]])
        elif len(inds) == 1:
            nodes[place] = Node(matrix, below(inds[0]))
        else:
            picks = selectors([sizes[ind] for ind in inds])
            for ind, selector in zip(inds, picks, strict=True):
                alone = graph[ind] == [place]
                nodes[ind] = (
                    Node(selector, mode=modes[ind]) if alone else Node(selector, below(ind))
                )
            nodes[place] = Node(matrix, tuple(inds))


def _unfolded(part: Part, inds: Sequence[str]) -> np.ndarray:
    """The matrix with some indices as rows and the other one, or none, as columns."""
    order = [part.inds.index(ind) for ind in inds]
    rest = [axis for axis in range(part.array.ndim) if axis not in order]
    array = part.array.transpose([*order, *rest])
    check_size("network", array.shape)
    return array.reshape(-1, array.shape[-1] if rest else 1)


def in_order(names: Sequence[str]) -> list[str]:
    """Names sorted with the numbers in them as numbers: k2 before k10."""
    return sorted(names, key=_as_numbers)


def _as_numbers(name: str) -> list[tuple[int, int, str]]:
    pieces = re.split(r"(\d+)", name)
    return [(1, int(x), "") if x.isdigit() else (0, 0, x) for x in pieces]
