"""Local components: their norms, their balance, how fast they grow, what they add."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax.contraction.stacks import Scaled, pick
from htfjax.factors.factors import Factors, GroupedFactors, as_factors
from htfjax.factors.grouping import stacked_alike
from htfjax.factors.layout import layout_of, stacks_with_constants, with_constants
from htfjax.factors.node_values import NodeValues, node_values
from htfjax.instruments import gram

__all__ = [
    "component_contributions",
    "growth_rates",
    "local_component_norms",
    "unbalancedness",
    "weight_vector_norms",
]


def local_component_norms(
    factors: Factors | GroupedFactors,
) -> Mapping[int, jax.Array]:
    """sigma_r^(v) = ||W_v[r, :]|| prod over children c of ||W_c[:, r]||.

    Trained vectors only: a root of ones and fixed nodes count as factor one. Derivatives
    at exactly zero vectors are zero.

    Returns:
      node id -> (R_v,) for every interior node, in the order of r.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: arXiv:2201.11729, local components.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0)
      >>> {k: v.shape for k, v in htf.local_component_norms(factors).items()}
      {4: (5,), 5: (5,), 6: (5,)}
    """
    layout_of(factors)
    if isinstance(factors, GroupedFactors):
        norms = _component_norms(factors)
        return _of_interior(factors, list(map(_numerics.product, norms)))
    factors = with_constants(factors)
    return {
        v: _numerics.product([_numerics.safe_norm(x, axis=0) for x in vectors])
        for v, vectors in _component_vectors(factors).items()
    }


def weight_vector_norms(factors: Factors | GroupedFactors) -> Mapping[int, jax.Array]:
    """||W_k[:, r]||, the norms of the columns of every weight matrix.

    Returns:
      node id -> (R_parent(k),) for every node that has a matrix, leaves included.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: arXiv:2201.11729, experiments (weight vectors).

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 5, 1.0)
      >>> {k: v.shape for k, v in htf.weight_vector_norms(factors).items()}
      {0: (5,), 1: (5,), 2: (1,)}
    """
    if isinstance(factors, GroupedFactors):
        held = zip(factors.groups, stacks_with_constants(factors), strict=True)
        groups = {k: _numerics.safe_norm(s, axis=1) for k, s in held if s is not None}
        return node_values(list(groups.values()), list(groups))
    factors = with_constants(factors)
    return {
        k: _numerics.safe_norm(weight, axis=0)
        for k, weight in enumerate(factors.weights)
        if weight is not None
    }


def component_contributions(factors: Factors | GroupedFactors) -> NodeValues:
    """||sigma_r C_r^(v)||_F, the Frobenius norm of what each component adds to W.

    W = sum_r sigma_r C_r at every interior node (law A5), so unlike sigma this does not
    depend on how a component shares its norm with its neighbours in the tree. Computed
    from Gram matrices, never from the tensor.

    Returns:
      node id -> (R_v,) for every interior node.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: laws A5 and D2.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0)
      >>> htf.component_contributions(factors)[6].shape
      (5,)
    """
    (grouped,) = stacked_alike(factors)
    inside, outside = gram.component_grams(grouped)
    return _of_interior(grouped, [_root_diagonal(inside[g], outside[g]) for g in inside])


def unbalancedness(
    factors: Factors | GroupedFactors, kind: Literal["components", "matrix"] = "components"
) -> jax.Array:
    """How far the factors are from the theorem's idealized start; zero is balanced.

    "components": max over local components and pairs w, w' of their trained vectors of
    | ||w||^2 - ||w'||^2 |. "matrix": max over one-child nodes v with child c of
    ||W_c^T W_c - W_v W_v^T||_F; a root of ones with two children is such a place too
    (W_a^T W_a - W_b^T W_b). Matrix balance is what matrix factorization needs.

    Both are in units of squared weights and conserved by gradient flow.

    Returns:
      () array.

    Raises:
      ValueError: an unknown kind; kind "matrix" on a tree without such a place.

    Source: arXiv:2201.11729, unbalancedness magnitude; law B2.

    Example:
      >>> import htfjax as htf, jax
      >>> tree = htf.ModeTree.from_nested(((0,), 1))
      >>> deep = htf.balanced_factors(jax.random.key(0), tree, 3, 3, 1.0, root="ones")
      >>> bool(htf.unbalancedness(deep, kind="matrix") < 1e-5)
      True
    """
    layout_of(factors)
    _checks.one_of("kind", kind, ("components", "matrix"))
    if kind == "components":
        return jnp.max(jnp.stack(_spreads(factors)))
    factors = with_constants(factors)
    pairs = _chain_grams(factors)
    if not pairs:
        raise ValueError(
            "`kind='matrix'` needs a chain: a one-child node, or a root of ones with two "
            "children; this tree has neither. Use kind='components'."
        )
    gaps = [_numerics.safe_norm((a - b).ravel(), axis=0) for a, b in pairs]
    return jnp.max(jnp.stack(gaps))


def growth_rates(
    params: Any,
    loss: Callable[[Any], jax.Array],
    to_factors: Callable[[Any], Factors] | None = None,
) -> Mapping[int, jax.Array]:
    """d sigma_r^(v) / dt along gradient flow d params/dt = -grad loss(params).

    d sigma/dt = sum over the component's vectors w of d||w||/dt times the product of the
    OTHER vectors' norms, which is finite when vectors vanish. At w = 0 the derivative of
    ||w|| is the one from the right, ||dw/dt||: a component with exactly one zero vector
    can leave zero, one with two or more cannot (law F7). Such a one-sided derivative is
    not differentiable itself: the derivatives of a rate there are those of its branch.

    Args:
      params: a pytree; `Factors`, or anything that `to_factors` turns into them.
      loss: scalar function of `params`.
      to_factors: from params to factors, by default the identity.

    Returns:
      node id -> (R_v,), norm per unit of flow time.

    Raises:
      TypeError, ValueError: parameters that are not floating arrays, a loss that is not a
        scalar function, malformed factors.

    Source: arXiv:2201.11729, Theorem on the growth of local component norms; law F5.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 5, 1.0)
      >>> loss = lambda f: htf.end_tensor(f).sum()
      >>> htf.growth_rates(factors, loss)[2].shape
      (5,)
    """
    _checks.parameters("params", params)
    _checks.function("loss", loss)
    convert = (lambda p: p) if to_factors is None else to_factors
    _checks.function("to_factors", convert)
    params = jax.tree.map(jnp.asarray, params)
    gradient = jax.grad(_checks.scalar_valued("loss", loss))(params)
    velocity = jax.tree.map(jnp.negative, gradient)
    factors, moving = jax.jvp(convert, (params,), (velocity,))
    layout_of(factors, "params" if to_factors is None else "to_factors(params)")
    if isinstance(factors, GroupedFactors):
        rates = map(_rates, _component_norms(factors), _component_speeds(factors, moving))
        return _of_interior(factors, list(rates))
    factors = with_constants(factors)
    vectors = _component_vectors(factors)
    tangents = _component_vectors(factors, as_factors(moving))
    found = {}
    for v in vectors:
        norms = [_numerics.safe_norm(x, axis=0) for x in vectors[v]]
        pairs = zip(vectors[v], tangents[v], norms, strict=True)
        found[v] = _rates(norms, [_norm_speed(x, dx, n, axis=0) for x, dx, n in pairs])
    return found


def _component_vectors(
    factors: Factors, values: Factors | None = None
) -> dict[int, list[jax.Array]]:
    """node -> matrices whose r-th COLUMNS are the trained vectors of LC(node, r).

    Read from `values` (a tangent of the same structure) if given. A node without any
    trained vector gets one constant unit row, so that its norms are one.
    """
    layout = layout_of(factors)
    tree, trained = layout.tree, layout.trained
    weights = (factors if values is None else values).weights
    vectors = {}
    for v, width in zip(tree.interior, layout.inner_widths, strict=True):
        own = [weights[v].T] if trained[v] else []
        own += [weights[c] for c in tree.children[v] if trained[c]]
        fill = jnp.ones if values is None else jnp.zeros
        vectors[v] = own or [fill((1, width), layout.dtype)]
    return vectors


def _of_interior(factors: GroupedFactors, stacks: list[jax.Array]) -> NodeValues:
    """Stacks for the groups of interior nodes, in the order of groups."""
    children = factors.tree.children
    return node_values(stacks, [nodes for nodes in factors.groups if children[nodes[0]]])


def _component_norms(factors: GroupedFactors) -> list[list[jax.Array]]:
    """Norms of every vector of the components of a group, (G, R) each."""
    stacks = stacks_with_constants(factors)
    return _by_component(
        factors, lambda g, axis: _numerics.safe_norm(stacks[g], axis=axis), 1.0
    )


def _component_speeds(
    factors: GroupedFactors, moving: GroupedFactors
) -> list[list[jax.Array]]:
    """d||w||/dt of the same vectors where the stacks move as `moving` says."""
    stacks = stacks_with_constants(factors)

    def speed(g: int, axis: int) -> jax.Array:
        norm = _numerics.safe_norm(stacks[g], axis=axis)
        return _norm_speed(stacks[g], moving.stacks[g], norm, axis)

    return _by_component(factors, speed, 0.0)


def _by_component(
    factors: GroupedFactors, measure: Callable[[int, int], jax.Array], fill: float
) -> list[list[jax.Array]]:
    """For every group of interior nodes `measure` of each vector of its components.

    Args:
      measure: (group, axis) -> what it reads off the columns (axis 1) or rows (axis 2)
        of the group's stack, (G, number of vectors).
      fill: stands for nodes without any trained vector.
    """
    layout = layout_of(factors)
    tree, trained = layout.tree, layout.trained
    moves = [trained[nodes[0]] for nodes in factors.groups]
    columns = {g: measure(g, 1) for g, moving in enumerate(moves) if moving}
    found = []
    for g, nodes in enumerate(factors.groups):
        if not tree.children[nodes[0]]:
            continue
        own = [measure(g, 2)] if moves[g] else []
        below = layout.slots(nodes)
        own += [pick(columns[h], places) for _, h, places in below if moves[h]]
        shape = len(nodes), layout.widths[nodes[0]]
        found.append(own or [jnp.full(shape, fill, layout.dtype)])
    return found


def _rates(norms: list[jax.Array], speeds: list[jax.Array]) -> jax.Array:
    """d/dt of the product of the norms."""
    others = _numerics.products_without_one(norms)
    first, *rest = (s * o for s, o in zip(speeds, others, strict=True))
    return sum(rest, first)


def _root_diagonal(one: Scaled, other: Scaled) -> jax.Array:
    """Roots of the products of two diagonals, (G, R): the powers of two never squared."""
    roots = [
        _numerics.safe_sqrt(jnp.diagonal(grams, axis1=1, axis2=2))
        for grams, _ in (one, other)
    ]
    exponent = one[1] + other[1]
    odd = exponent % jnp.int32(2)
    left = (
        roots[0] * jnp.where(odd == 1, math.sqrt(2.0), 1.0).astype(roots[0].dtype)[:, None]
    )
    half = (exponent - odd) // jnp.int32(2)
    return _numerics.shifted(left * roots[1], half[:, None])


def _spreads(factors: Factors | GroupedFactors) -> list[jax.Array]:
    """Largest gap between squared norms of the vectors of one component, ()."""
    if isinstance(factors, GroupedFactors):
        stacks = stacks_with_constants(factors)
        squares = _by_component(
            factors, lambda g, axis: jnp.sum(jnp.square(stacks[g]), axis=axis), 1.0
        )
    else:
        vectors = _component_vectors(with_constants(factors)).values()
        squares = [[jnp.sum(jnp.square(x), axis=0) for x in xs] for xs in vectors]
    joined = map(jnp.stack, squares)
    return [jnp.max(jnp.max(x, axis=0) - jnp.min(x, axis=0)) for x in joined]


def _chain_grams(factors: Factors) -> list[tuple[jax.Array, jax.Array]]:
    """Pairs of matrices that matrix balance makes equal."""
    tree, weights = factors.tree, factors.weights
    trained = layout_of(factors).trained

    def columns(k: int) -> jax.Array:
        return jnp.matmul(weights[k].T, weights[k], precision="highest")

    pairs = []
    for v in tree.interior:
        kids = tree.children[v]
        if len(kids) == 1 and trained[v] and trained[kids[0]]:
            rows = jnp.matmul(weights[v], weights[v].T, precision="highest")
            pairs.append((columns(kids[0]), rows))
        elif len(kids) == 2 and weights[v] is None and all(trained[c] for c in kids):
            pairs.append((columns(kids[0]), columns(kids[1])))
    return pairs


def _norm_speed(x: jax.Array, velocity: jax.Array, norm: jax.Array, axis: int) -> jax.Array:
    """d||x||/dt along an axis, from the right where the vector is zero."""
    zero = norm == 0
    along = jnp.sum(x * velocity, axis=axis) / jnp.where(zero, jnp.ones_like(norm), norm)
    return jnp.where(zero, _numerics.safe_norm(velocity, axis=axis), along)
