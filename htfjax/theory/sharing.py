"""Shared weights: one matrix for all nodes of a level, as in a convolutional network."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from htfjax import _checks
from htfjax._types import Array, Float, Numbers
from htfjax.factors.factors import Factors
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree


def to_factors(tree: TreeLike, matrices: Sequence[Numbers | None]) -> Factors:
    """Factors all of whose nodes of height l carry matrices[l].

    Sharing is a constraint W_u = W_v within a level, so a shared matrix moves with the
    sum of its copies' gradients: differentiate a loss through this function, and pass
    `to_factors=lambda p: htf.theory.to_factors(tree, p)` to `growth_rates`.

    Args:
      tree: every node's children have one height (`perfect`, `square_patches`, ...).
      matrices: one per height, the leaves' first; the root's may be None (ones).

    Returns:
      `Factors` on the tree.

    Raises:
      TypeError: `tree` is not a mode tree, matrices that are not arrays of real numbers.
      ValueError: matrices whose shapes do not chain, levels that do not line up, matrices
        in the wrong number.

    Source: Cohen and Shashua 2017, arXiv:1605.06743 (convolutional arithmetic circuits);
    law F9.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> shared = [jnp.ones((3, 2)), jnp.ones((2, 4)), jnp.ones((4, 1))]
      >>> htf.end_tensor(htf.theory.to_factors(htf.perfect(4), shared)).shape
      (3, 3, 3, 3)
    """
    tree = as_tree(tree)
    levels = _levels(tree, matrices)
    weights = tuple(levels[tree.height[k]] for k in range(tree.num_nodes))
    return Factors(tree=tree, weights=weights)


def shared_conserved_quantities(
    tree: TreeLike, matrices: Sequence[Numbers | None]
) -> dict[int, Float[Array, "R_l"]]:
    """||S_{l-1}[:, r]||^2 - P ||S_l[r, :]||^2, constant along the flow of shared weights.

    P is the number of children of a node of height l: a shared column answers for P
    copies in every component. The unshared difference (P = 1) is NOT conserved.

    Args:
      tree, matrices: as in `to_factors`; all nodes of a level have one arity.

    Returns:
      height l -> differences, for every height whose matrix is trained.

    Raises:
      TypeError, ValueError: as `to_factors`; a level of mixed arity.

    Source: law F9.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> shared = [jnp.ones((3, 2)), jnp.ones((2, 4)), jnp.ones((4, 1))]
      >>> htf.theory.shared_conserved_quantities(htf.perfect(4), shared)[2].tolist()
      [0.0, 0.0, 0.0, 0.0]
    """
    tree = as_tree(tree)
    levels = _levels(tree, matrices)
    differences = {}
    for l in range(1, len(levels)):
        arities = {len(tree.children[k]) for k in tree.interior if tree.height[k] == l}
        if len(arities) > 1:
            raise ValueError(
                f"`tree` mixes nodes of {sorted(arities)} children at height {l}; shared "
                "weights conserve nothing simple there."
            )
        if levels[l] is None:
            continue
        columns = jnp.sum(jnp.square(levels[l - 1]), axis=0)
        rows = jnp.sum(jnp.square(levels[l]), axis=1)
        differences[l] = columns - arities.pop() * rows
    return differences


def _levels(tree: ModeTree, matrices: object) -> list[Any]:
    """One checked matrix per height, the root's None if it is fixed to ones."""
    uneven = [
        k for k in tree.interior if len({tree.height[c] for c in tree.children[k]}) > 1
    ]
    if uneven:
        raise ValueError(
            f"`tree` has children of different heights under nodes {uneven}; weights can "
            "be shared by level only where they agree."
        )
    levels = tree.height[tree.root] + 1
    given = _checks.sequence("matrices", matrices, "matrices")
    if len(given) != levels:
        raise ValueError(
            f"`matrices` holds {len(given)}, the tree has {levels} levels: one matrix "
            "each, the leaves' first."
        )
    trained = given[:-1] if given[-1] is None else given
    held = [_checks.floating(f"matrices[{l}]", matrix) for l, matrix in enumerate(trained)]
    for l, matrix in enumerate(held):
        _checks.shape(f"matrices[{l}]", matrix, (None, None), "(R_l, R_l+1)")
        if not matrix.size:
            raise ValueError(f"`matrices[{l}]` is empty: {matrix.shape}.")
    columns = [matrix.shape[0] for matrix in held[1:]] + [1] * (len(held) == levels)
    for l, width in enumerate(columns):
        axes = "(R_l, R_l+1), where the root has one column"
        _checks.shape(f"matrices[{l}]", held[l], (None, width), axes)
    if len({matrix.dtype for matrix in held}) > 1:
        raise TypeError("`matrices` mix dtypes; cast them to one.")
    return [*held, *given[len(held) :]]
