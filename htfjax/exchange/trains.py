"""Tensor trains: their cores, read off factors whose tree adds one mode at a time."""

from collections.abc import Hashable, Sequence

import numpy as np

from htfjax.exchange.trees import TransferTree, from_transfer_tree, to_transfer_tree
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.trees.mode_tree import ModeTree


def train_cores(factors: AnyFactors, kind: str) -> list[np.ndarray]:
    """Cores (r_n, D_n, r_{n+1}) of factors, exactly.

    The nodes of their tree, one-child nodes left out, must hold the first n modes each,
    ((0, 1), 2) for example, or the last n, (0, (1, 2)): their ranks are those of the bonds.

    Args:
      kind: what the cores are for, in the error.

    Raises:
      TypeError, ValueError: malformed or traced factors, another tree.
    """
    tree, tensors = to_transfer_tree(factors)
    if tree.order == 1:
        return [(tensors[0] @ tensors[1])[None, :, None]]
    forward = [*range(tree.order)]
    spine = _spine(tree, forward)
    if spine is not None:
        return _cores(tensors, spine)
    spine = _spine(tree, forward[::-1])
    if spine is not None:
        return [core.transpose(2, 1, 0) for core in reversed(_cores(tensors, spine))]
    raise ValueError(
        f"`factors` are of the tree {tree.nested}, and a {kind} has one that adds a mode "
        "at a time, ((0, 1), 2) for example; `htfjax.formats.tensor_train_svd` of the end "
        "tensor gives a train."
    )


# Modes, each with its node and its place among the two children; the first has only a leaf.
Spine = list[tuple[int, int, int]]


def _spine(tree: ModeTree, modes: Sequence[int]) -> Spine | None:
    """The nodes that add these modes one at a time, None where the tree is another."""
    node, found = tree.root, Spine()
    for mode in reversed(modes[1:]):
        kids = tree.children[node]
        if len(kids) != 2 or mode not in kids:
            return None
        found.append((mode, node, kids.index(mode)))
        node = kids[1 - kids.index(mode)]
    return [(modes[0], modes[0], 0), *reversed(found)] if node == modes[0] else None


def _cores(tensors: Sequence[np.ndarray], spine: Spine) -> list[np.ndarray]:
    """Cores in the order of the spine."""
    (first, *_), *rest = spine
    cores = [tensors[first][None]]
    for mode, node, place in rest:
        tensor = tensors[node]
        tensor = tensor[..., None] if tensor.ndim == 2 else tensor
        bond_first = tensor if place == 1 else tensor.swapaxes(0, 1)
        cores.append(np.einsum("abc,db->adc", bond_first, tensors[mode]))
    return cores


def from_train(
    cores: Sequence[np.ndarray], matrices: Sequence[np.ndarray | None], name: str
) -> Factors:
    """Factors of a train whose core n may have a matrix (D_n, S_n) on its middle axis.

    The outer bonds are summed over. Cores are held as `tensor_train_factors` holds them.

    Args:
      cores: (r_n, S_n, r_{n+1}), whose bonds match.
      name: of the cores, for errors.
    """
    first, *others = [*cores[:-1], cores[-1].sum(2, keepdims=True)]
    start = first.sum(0)
    tensors: dict[Hashable, np.ndarray | None] = dict(enumerate(matrices))
    children: dict[Hashable, list[Hashable]] = {}
    bond: Hashable = 0
    if matrices[0] is not None or not others:
        bond = _core(0)
        children[bond], tensors[bond] = [0], start
    else:
        tensors[0] = start
    for n, core in enumerate(others, 1):
        children[_core(n)], tensors[_core(n)] = [bond, n], core
        bond = _core(n)
    modes: dict[Hashable, int] = {n: n for n in range(len(cores))}
    owner = name.partition(".")[0]
    spelled: dict[Hashable, str] = {n: f"`{owner}.Us[{n}]`" for n in range(len(cores))}
    spelled |= {_core(n): f"`{name}[{n}]`" for n in range(len(cores))}
    return from_transfer_tree(TransferTree(owner, bond, children, modes, tensors, spelled))


def _core(n: int) -> str:
    return f"core {n}"


def check_train(name: str, cores: Sequence[np.ndarray]) -> None:
    """Cores of three axes whose bonds match, the outer ones 1."""
    bond = 1
    for n, core in enumerate(cores):
        last = n == len(cores) - 1
        fits = core.ndim == 3 and core.shape[0] == bond and 0 not in core.shape
        if not fits or (last and core.shape[2] != 1):
            raise ValueError(
                f"`{name}[{n}]` has shape {core.shape}, expected ({bond}, D, "
                f"{1 if last else 'r'}): bonds must match, the outer ones are 1."
            )
        bond = core.shape[2]
