"""Mode trees for data whose tree is not known: contiguous halves, flat, by entanglement."""

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np

from htfjax.completion.lanes import Tensors
from htfjax.contraction.end_tensor import end_tensor
from htfjax.formats.transfer_tensors import TransferTensors, joined
from htfjax.instruments.ranks import matricize
from htfjax.trees.mode_tree import ModeTree

Nested: TypeAlias = int | tuple["Nested", ...]

LARGEST_FLAT = 2**16  # entries of the core of a flat tree at rank 3
LARGEST_DENSE = 2**22  # entries of a tensor whose entropies are computed
RANK = 3


def plain_trees(order: int) -> Iterator[ModeTree]:
    """Halves of halves of the modes in their order, and all modes under the root."""
    yield halves(order)
    if order > 2 and RANK**order <= LARGEST_FLAT:
        yield ModeTree.from_nested(tuple(range(order)))


def halves(order: int) -> ModeTree:
    """Modes cut into halves in their order, the first one larger.

    Example:
      >>> halves(5).nested
      (((0, 1), 2), (3, 4))
    """

    def cut(modes: tuple[int, ...]) -> Nested:
        if len(modes) == 1:
            return modes[0]
        middle = (len(modes) + 1) // 2
        return cut(modes[:middle]), cut(modes[middle:])

    return ModeTree.from_nested(cut(tuple(range(order))))


def by_entanglement(tensors: Tensors, tree: ModeTree) -> ModeTree | None:
    """Modes joined two by two, those first that share most.

    What two groups share is S(A) + S(B) - S(A with B), S being the entropy of the squares
    of the singular values between a group and all other modes.

    Returns:
      None where the tensor is too large to be looked at whole.
    """
    dims = [x.shape[0] for x in tensors[: tree.order]]
    if math.prod(dims) > LARGEST_DENSE or tree.order < 3:
        return None
    held = TransferTensors(tuple(map(jnp.asarray, tensors)), tree)
    tensor = np.asarray(end_tensor(joined(held)))
    groups: dict[tuple[int, ...], Nested] = {(n,): n for n in range(tree.order)}

    def entropy(modes: tuple[int, ...]) -> float:
        values = np.linalg.svd(np.asarray(matricize(tensor, modes)), compute_uv=False)
        shares = np.square(values) / (np.sum(np.square(values)) or 1.0)
        shares = shares[shares > 0]
        return float(-np.sum(shares * np.log(shares)))

    while len(groups) > 2:
        first, second = _closest(list(groups), entropy)
        joint = groups.pop(first), groups.pop(second)
        groups[tuple(sorted(first + second))] = joint
    return ModeTree.from_nested(tuple(groups.values()))


def _closest(
    groups: list[tuple[int, ...]], entropy: Callable[[tuple[int, ...]], float]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The two groups that share most."""
    single = {group: entropy(group) for group in groups}
    pairs = [(a, b) for i, a in enumerate(groups) for b in groups[:i]]
    shared = {
        (a, b): single[a] + single[b] - entropy(tuple(sorted(a + b))) for a, b in pairs
    }
    return max(shared, key=lambda pair: shared[pair])
