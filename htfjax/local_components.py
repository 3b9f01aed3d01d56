"""Local components: their norms, their balance, how fast they grow, what they add."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _numerics
from htfjax import factors as _factors
from htfjax.contraction import gram
from htfjax.contraction.grouped import homes, pick, slots
from htfjax.factors import Factors, GroupedFactors

__all__ = [
    "component_contributions",
    "growth_rates",
    "local_component_norms",
    "unbalancedness",
    "weight_vector_norms",
]


def local_component_norms(factors: Factors | GroupedFactors) -> dict[int, jax.Array]:
    """sigma_r^(v) = ||W_v[r, :]|| prod over children c of ||W_c[:, r]||.

    Trained vectors only: a root of ones and fixed nodes count as factor one. Derivatives
    at exactly zero vectors are zero.

    Returns:
      node id -> (R_v,) for every interior node, in the order of r.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: arXiv:2201.11729, local components (THEORY 1.4).

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0)
      >>> {k: v.shape for k, v in htf.local_component_norms(factors).items()}
      {4: (5,), 5: (5,), 6: (5,)}
    """
    if isinstance(factors, GroupedFactors):
        return _grouped_norms(factors)
    factors = _factors.with_constants(factors)
    return {
        v: _numerics.product([_numerics.safe_norm(x, axis=0) for x in vectors])
        for v, vectors in _component_vectors(factors).items()
    }


def weight_vector_norms(factors: Factors | GroupedFactors) -> dict[int, jax.Array]:
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
    factors = _factors.with_constants(factors)
    return {
        k: _numerics.safe_norm(weight, axis=0)
        for k, weight in enumerate(factors.weights)
        if weight is not None
    }


def component_contributions(factors: Factors | GroupedFactors) -> dict[int, jax.Array]:
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
    # Grams square everything, so matrices are first scaled to largest entry one; the
    # contributions are homogeneous of degree one in each, so the scales multiply back.
    scaled, scale = _unit_matrices(_factors.with_constants(factors))
    inside = gram.component_grams(scaled)
    outside = gram.environment_grams(scaled)
    return {
        v: scale * _numerics.safe_sqrt(jnp.diagonal(inside[v]) * jnp.diagonal(outside[v]))
        for v in inside
    }


def unbalancedness(
    factors: Factors | GroupedFactors, kind: str = "components"
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

    Source: arXiv:2201.11729, unbalancedness magnitude (THEORY 1.6, B2).

    Example:
      >>> import htfjax as htf, jax
      >>> tree = htf.ModeTree.from_nested(((0,), 1))
      >>> deep = htf.balanced_factors(jax.random.key(0), tree, 3, 3, 1.0, root="ones")
      >>> bool(htf.unbalancedness(deep, kind="matrix") < 1e-5)
      True
    """
    factors = _factors.with_constants(factors)
    if kind == "components":
        spreads = [_spread(vectors) for vectors in _component_vectors(factors).values()]
        return jnp.max(jnp.stack(spreads))
    if kind != "matrix":
        raise ValueError(f"`kind={kind!r}` is none of ['components', 'matrix'].")
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
) -> dict[int, jax.Array]:
    """d sigma_r^(v) / dt along gradient flow d params/dt = -grad loss(params).

    d sigma/dt = sum over the component's vectors w of d||w||/dt times the product of the
    OTHER vectors' norms, which is finite when vectors vanish. At w = 0 the derivative of
    ||w|| is the one from the right, ||dw/dt||: a component with exactly one zero vector
    can leave zero, one with two or more cannot (law F7).

    Args:
      params: a pytree; `Factors`, or anything that `to_factors` turns into them.
      loss: scalar function of `params`.
      to_factors: from params to factors, by default the identity.

    Returns:
      node id -> (R_v,), norm per unit of flow time.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: arXiv:2201.11729, Theorem on the growth of local component norms; law F5.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 5, 1.0)
      >>> loss = lambda f: htf.end_tensor(f).sum()
      >>> htf.growth_rates(factors, loss)[2].shape
      (5,)
    """
    velocity = jax.tree.map(jnp.negative, jax.grad(loss)(params))
    convert = (lambda p: p) if to_factors is None else to_factors
    factors, moving = jax.jvp(convert, (params,), (velocity,))
    factors, moving = _factors.with_constants(factors), _factors.as_factors(moving)
    rates = {}
    for v, vectors in _component_vectors(factors).items():
        norms = [_numerics.safe_norm(x, axis=0) for x in vectors]
        speeds = [
            _norm_speed(x, dx, norm)
            for x, dx, norm in zip(
                vectors, _component_vectors(factors, moving)[v], norms, strict=True
            )
        ]
        others = _numerics.products_without_one(norms)
        rates[v] = sum(s * o for s, o in zip(speeds[1:], others[1:], strict=True)) + (
            speeds[0] * others[0]
        )
    return rates


def _component_vectors(
    factors: Factors, values: Factors | None = None
) -> dict[int, list[jax.Array]]:
    """node -> matrices whose r-th COLUMNS are the trained vectors of LC(node, r).

    Read from `values` (a tangent of the same structure) if given. A node without any
    trained vector gets one constant unit row, so that its norms are one.
    """
    tree, trained = factors.tree, _factors.trained(factors)
    weights = (factors if values is None else values).weights
    vectors = {}
    for v, width in zip(tree.interior, _factors.widths(factors)[tree.order :], strict=True):
        own = [weights[v].T] if trained[v] else []
        own += [weights[c] for c in tree.children[v] if trained[c]]
        fill = jnp.ones if values is None else jnp.zeros
        vectors[v] = own or [fill((1, width), _factors.dtype(factors))]
    return vectors


def _grouped_norms(factors: GroupedFactors) -> dict[int, jax.Array]:
    """Norms of all components of a group at once; what differs per node is one slice."""
    tree, trained = factors.tree, _factors.trained(factors)
    home, stacks = homes(factors), _factors.stacks_with_constants(factors)
    lengths: list[Any] = [
        None if s is None else _numerics.safe_norm(s, axis=1) for s in stacks
    ]
    rows, found = _factors.widths(factors), {}
    for nodes, stack in zip(factors.groups, stacks, strict=True):
        if nodes[0] < tree.order:
            continue
        own = [_numerics.safe_norm(stack, axis=2)] if trained[nodes[0]] else []
        own += [
            pick(lengths[g], places)
            for kids, g, places in slots(factors, nodes, home)
            if trained[kids[0]]
        ]
        ones = jnp.ones((len(nodes), rows[nodes[0]]), _factors.dtype(factors))
        norms = _numerics.product(own) if own else ones
        # A barrier: compilers would compute the stack anew for each of its slices.
        found |= zip(nodes, jax.lax.optimization_barrier(norms), strict=True)
    return {v: found[v] for v in tree.interior}


def _unit_matrices(factors: Factors) -> tuple[Factors, jax.Array]:
    """Matrices whose largest entries are one, and the product of what they were."""
    scales = [
        None if w is None else jax.lax.stop_gradient(jnp.max(jnp.abs(w)))
        for w in factors.weights
    ]
    scales = [None if s is None else jnp.where(s == 0, 1, s) for s in scales]
    weights = tuple(
        None if s is None else w / s for w, s in zip(factors.weights, scales, strict=True)
    )
    scale = _numerics.product([s for s in scales if s is not None])
    return dataclasses.replace(factors, weights=weights), scale


def _spread(vectors: list[jax.Array]) -> jax.Array:
    squares = jnp.stack([jnp.sum(jnp.square(x), axis=0) for x in vectors])
    return jnp.max(jnp.max(squares, axis=0) - jnp.min(squares, axis=0))


def _chain_grams(factors: Factors) -> list[tuple[jax.Array, jax.Array]]:
    """Pairs of matrices that matrix balance makes equal."""
    tree, weights = factors.tree, factors.weights
    trained = _factors.trained(factors)

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


def _norm_speed(x: jax.Array, velocity: jax.Array, norm: jax.Array) -> jax.Array:
    """d||x||/dt per column, from the right where the column is zero."""
    zero = norm == 0
    along = jnp.sum(x * velocity, axis=0) / jnp.where(zero, jnp.ones_like(norm), norm)
    return jnp.where(zero, _numerics.safe_norm(velocity, axis=0), along)
