"""Rank bounds of matricizations, read off weights and components."""

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from htfjax import _checks, _lapack
from htfjax._types import Array, ArrayLike, Int
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import layout_of
from htfjax.factors.node_values import by_node
from htfjax.factors.stacks import collected, opened
from htfjax.instruments.rank_bound import check_modes
from htfjax.instruments.ranks import count_above
from htfjax.theory.vectors import whole_norms


def node_rank_bounds(
    factors: AnyFactors, *, rtol: ArrayLike | None = None
) -> Mapping[int, Int[Array, ""]]:
    """rank [W; v] <= this, for every node v below the root.

    The least of: rank W_v, the number of nonzero local components at v (if interior) and
    at its parent, and the dimensions of the two sides. Widths alone bound the rank of
    any mode set: that is `htfjax.rank_bound`, the min-cut.

    Args:
      factors: any tree.
      rtol: singular values of W_v below `rtol` times the largest, and components whose
        norm is below `rtol` times the largest at their node, count as zero; by default
        the rounding of the dtype for the former, exact zeros for the latter.

    Returns:
      node id -> bound, int32.

    Raises:
      TypeError, ValueError: malformed factors, an `rtol` that is negative or not finite.

    Source: laws D2 and D3.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 8, (3, 5), 1.0)
      >>> {v: int(bound) for v, bound in htf.theory.node_rank_bounds(factors).items()}
      {0: 3, 1: 3, 2: 3, 3: 3, 4: 3, 5: 3}
    """
    layout, stacks = opened(factors)
    if rtol is not None:
        _checks.real("rtol", rtol, least=0)
        rtol = _checks.tolerance("rtol", rtol, layout.dtype)
    alive = {}
    for g, sizes in whole_norms(layout, stacks).items():
        floor = 0 if rtol is None else rtol * jnp.max(sizes, axis=1, keepdims=True)
        alive[g] = jnp.sum(sizes > floor, axis=1, dtype=jnp.int32)
    components = [(layout.groups[g], x) for g, x in alive.items()]
    bounds = {}
    for g, nodes in enumerate(layout.groups[:-1]):
        sides = min(*layout.sides[nodes[0]], 2**31 - 1)
        parents = [layout.tree.parent[k] for k in nodes]
        found = [
            count_above(_lapack.singular_values(stacks[g]), rtol),
            collected(components, parents),
            jnp.full(len(nodes), sides, jnp.int32),
        ]
        bounds[g] = jnp.min(jnp.stack([*found, alive.get(g, found[0])]), axis=0)
    return by_node(layout, bounds)


def nested_rank_bound(factors: AnyFactors, modes: Sequence[int]) -> int:
    """The bound on rank [W; modes] that multiplies up the tree.

    b(v) = 1 if v's modes lie all inside or all outside, else the least of R_v prod b(c)
    over the children c and of the dimensions of v's two parts; the bound is b(root).
    Never below the min-cut (`htfjax.rank_bound`), and at times above it.

    Args:
      factors: any tree; only shapes matter.
      modes: distinct modes, those of the rows.

    Returns:
      A Python int: it may exceed 64 bits.

    Raises:
      TypeError, ValueError: malformed factors, unknown or repeated modes.

    Source: Cohen and Shashua 2017, arXiv:1605.06743, theorem 1; law D4.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 8, 5, 1.0)
      >>> htf.theory.nested_rank_bound(factors, (0, 2))
      64
    """
    layout = layout_of(factors)
    tree, rows = layout.tree, layout.widths
    inside = set(check_modes("modes", modes, tree.order))
    bounds: list[int] = []
    for v, kids in enumerate(tree.children):
        here = [set(tree.modes[v]) & inside, set(tree.modes[v]) - inside]
        if not all(here):
            bounds.append(1)
            continue
        sizes = [math.prod(rows[n] for n in side) for side in here]
        bounds.append(min(rows[v] * math.prod(bounds[c] for c in kids), *sizes))
    return bounds[tree.root]
