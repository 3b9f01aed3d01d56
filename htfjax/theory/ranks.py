"""What the ranks of matricizations cannot exceed, read off weights and components."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _checks
from htfjax.factors.factors import Factors, GroupedFactors
from htfjax.factors.layout import layout_of, with_constants
from htfjax.instruments.rank_bound import check_modes
from htfjax.instruments.ranks import count_above
from htfjax.theory.vectors import whole_norms

__all__ = ["nested_rank_bound", "node_rank_bounds"]


def node_rank_bounds(
    factors: Factors | GroupedFactors, rtol: Any = None
) -> dict[int, jax.Array]:
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
      node id -> () int32.

    Raises:
      TypeError, ValueError: malformed factors, an `rtol` that is negative or not finite.

    Source: laws D2 and D3.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 8, (3, 5), 1.0)
      >>> {v: int(bound) for v, bound in htf.theory.node_rank_bounds(factors).items()}
      {0: 3, 1: 3, 2: 3, 3: 3, 4: 3, 5: 3}
    """
    factors = with_constants(factors)
    if rtol is not None:
        _checks.real("rtol", rtol, least=0)
        rtol = _checks.tolerance("rtol", rtol, layout_of(factors).dtype)
    tree, dims = factors.tree, layout_of(factors).dims
    alive = {}
    for v, sizes in whole_norms(factors).items():
        floor = 0 if rtol is None else rtol * jnp.max(sizes)
        alive[v] = jnp.sum(sizes > floor, dtype=jnp.int32)
    bounds = {}
    for v in range(tree.root):
        weight = factors.weights[v]
        inside = math.prod(dims[n] for n in tree.modes[v])
        sides = min(inside, math.prod(dims) // inside, 2**31 - 1)
        found = [count_above(jnp.linalg.svd(weight, compute_uv=False), rtol)]
        found += [alive[u] for u in (v, tree.parent[v]) if u in alive]
        bounds[v] = jnp.min(jnp.stack([*found, jnp.int32(sides)]))
    return bounds


def nested_rank_bound(factors: Factors | GroupedFactors, modes: Sequence[int]) -> int:
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
