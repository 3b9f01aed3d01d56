"""Tensor trains as factors of a caterpillar tree: of given cores, or of a full tensor."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._types import Array, ArrayLike, Float, Numbers
from htfjax.factors.factors import Factors
from htfjax.factors.selector import Selector, Weight
from htfjax.formats.bases import left_vectors
from htfjax.formats.cuts import Cut, Ranks, check_choice, cut_within
from htfjax.formats.hierarchical_svd import full_tensor
from htfjax.formats.host import (
    Either,
    matmul,
    norm,
    normalized,
    on_host,
    root,
    shifted,
    widest,
)
from htfjax.trees.builders import flat
from htfjax.trees.mode_tree import ModeTree


def tensor_train_factors(cores: Sequence[Numbers]) -> Factors:
    """Factors of a tensor train: W[i_0, ...] = G_0[:, i_0, :] ... G_{N-1}[:, i_{N-1}, :].

    Args:
      cores: (r_n, D_n, r_{n+1}) for every mode, r_0 = r_N = 1.

    Returns:
      Factors on the caterpillar tree (..((0, 1), 2).., N-1): the core of mode n unfolds
      into the matrix of its node, (r_n D_n, r_{n+1}), over selectors of its index and of
      the bond before it, so that no entry is held but those of the cores. The last core is
      the root's; for N = 2 the tree is (0, 1).

    Raises:
      TypeError, ValueError: other shapes, bonds that do not match.

    Source: Oseledets 2011.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> cores = [jnp.ones((1, 3, 2)), jnp.ones((2, 4, 1))]
      >>> train = htf.formats.tensor_train_factors(cores)
      >>> float(htf.end_tensor(train)[2, 3])
      2.0
    """
    held = [
        _checks.floating(f"cores[{n}]", x)
        for n, x in enumerate(_checks.arrays("cores", cores))
    ]
    for n, core in enumerate(held):
        before = held[n - 1].shape[-1] if n else 1
        last = n == len(held) - 1
        fits = core.ndim == 3 and core.shape[0] == before and 0 not in core.shape
        if not fits or (last and core.shape[2] != 1):
            raise ValueError(
                f"`cores[{n}]` has shape {core.shape}, expected ({before}, D, "
                f"{1 if last else 'r'}): bonds must match, the outer ones are 1."
            )
    dtype = widest(*held)
    return _train([x.astype(dtype) for x in held])


def tensor_train_svd(
    tensor: Numbers, *, rtol: ArrayLike | None = None, ranks: Ranks | None = None
) -> tuple[Factors, Float[Array, ""]]:
    """A tensor train of a full tensor: ||W - W'|| is the bound returned, within rtol ||W||.

    The bonds are cut from the first mode on, each in what is left of the tensor; a
    tolerance is shared out evenly, rtol ||W|| / sqrt(N - 1) for each of N - 1 bonds.

    Args:
      tensor, rtol: as in `hierarchical_svd`.
      ranks: one for all bonds, or N - 1 of them.

    Returns:
      Factors in the form of `tensor_train_factors`, all cores but the last orthonormal,
      and the error's Frobenius norm, (), up to rounding.

    Raises:
      TypeError, ValueError: as `hierarchical_svd`.

    Source: Oseledets 2011 (TT-SVD).

    Example:
      >>> import htfjax as htf, numpy as np
      >>> x = np.linspace(0, 1, 6)
      >>> tensor = np.sin(x[:, None, None] + x[:, None] + x)
      >>> train, error = htf.formats.tensor_train_svd(tensor, rtol=1e-4)
      >>> train.weights[0].shape, float(error) < 1e-4
      ((6, 2), True)
    """
    held = full_tensor(tensor)
    check_choice(rtol, ranks)
    if ranks is not None:
        cut = Cut(_bonds(ranks, held.shape), None, sliced=True)
    else:
        free = _checks.concrete(held)
        cut = cut_within(rtol, held.ndim - 1, held.dtype, sliced=free)
    cores, error = _cores(on_host(held) if cut.sliced else held, cut)
    return _train(list(map(jnp.asarray, cores))), jnp.asarray(error)


def _bonds(ranks: Ranks, dims: Sequence[int]) -> tuple[int, ...]:
    """Ranks of the bonds, each at most what dimensions and its neighbours allow."""
    count = len(dims) - 1
    listed: object = _checks.as_sequence(ranks)
    several = isinstance(listed, Sequence) and not isinstance(listed, str)
    numbers = [listed] * count
    if several:
        numbers = [*_checks.sequence("ranks", ranks, "numbers")]
    found = [_checks.at_least("ranks", rank, 1) for rank in numbers]
    if len(found) != count:
        raise ValueError(
            f"`ranks={_checks.spell(ranks)}` has {len(found)} numbers, expected {count}: "
            "one for every bond."
        )
    most = [min(math.prod(dims[:n]), math.prod(dims[n:])) for n in range(1, len(dims))]
    if not several:
        found = list(map(min, found, most))
    bonds = [1, *found, 1]
    for n, rank in enumerate(found):
        allowed = min(most[n], bonds[n] * dims[n], dims[n + 1] * bonds[n + 2])
        if rank > allowed:
            raise ValueError(
                f"`ranks[{n}]` is {rank}, and bond {n} of a tensor of shape {tuple(dims)} "
                f"has rank {allowed} at most beside those next to it."
            )
    return tuple(found)


def _cores(tensor: Either, cut: Cut) -> tuple[list[Either], Either]:
    """The cores, and the root of the sum of squares of all that was left out."""
    dims = tensor.shape
    rest, exponent = normalized(tensor)
    whole, square = norm(rest), norm(rest) * 0
    cores, bond = [], 1
    for n, dim in enumerate(dims[:-1]):
        rest = rest.reshape(bond * dim, -1)
        basis, lost = cut.basis(n, *left_vectors(rest), whole)
        cores.append(basis.reshape(bond, dim, -1))
        rest, bond = matmul(basis.T, rest), basis.shape[1]
        square = square + lost
    cores.append(shifted(rest, exponent).reshape(bond, dims[-1], 1))
    return cores, shifted(root(square), exponent)


def _train(cores: list[jax.Array]) -> Factors:
    """The first core is a leaf, the others are nodes."""
    order = len(cores)
    if order == 1:
        return Factors((cores[0][0], jnp.ones((1, 1), cores[0].dtype)), flat(1))
    nested: object = 0
    for n in range(1, order):
        nested = ((nested,), n)
    tree = ModeTree.from_nested(nested)
    weights: list[Weight] = [None] * tree.num_nodes
    weights[0] = cores[0][0]
    node, fixed = tree.root, []
    for n in reversed(range(1, order)):
        before, dim, after = cores[n].shape
        weights[node] = cores[n].reshape(before * dim, after)
        bond, leaf = tree.children[node]
        rows, columns = np.divmod(np.arange(before * dim), dim)
        weights[bond] = Selector(before, tuple(rows.tolist()))
        weights[leaf] = Selector(dim, tuple(columns.tolist()))
        fixed += [bond, leaf]
        node = tree.children[bond][0]
    return Factors(tuple(weights), tree, tuple(sorted(fixed)))
