"""Local components: their norms, their balance, how fast they grow, what they add."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax._types import Array, Float, Params
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout
from htfjax.factors.node_values import NodeValues, by_node, node_values
from htfjax.factors.stacks import Stacks, alike, opened, pick
from htfjax.instruments import gram
from htfjax.instruments.scaled_stacks import Scaled

Balance = Literal["components", "matrix"]


def local_component_norms(factors: AnyFactors) -> Mapping[int, Float[Array, "R_v"]]:
    """sigma_r^(v) = ||W_v[r, :]|| prod over children c of ||W_c[:, r]||.

    Trained vectors only: a root of ones and fixed nodes count as factor one. Derivatives
    at exactly zero vectors are zero.

    Returns:
      node id -> norms in the order of r, for every interior node: a dict, or `NodeValues`
      of grouped factors. `tree.modes.index((0, 1))` is the node over modes 0 and 1.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: arXiv:2201.11729, local components.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0)
      >>> {k: v.shape for k, v in htf.local_component_norms(factors).items()}
      {4: (5,), 5: (5,), 6: (5,)}
    """
    return component_norms(*opened(factors))


@functools.partial(jax.jit, static_argnames="layout", inline=True)
def component_norms(layout: Layout, stacks: Stacks) -> Mapping[int, jax.Array]:
    """`local_component_norms` of opened factors."""
    norms = vector_norms(layout, stacks)
    return by_node(layout, {g: _numerics.product(xs) for g, xs in norms.items()})


def weight_vector_norms(factors: AnyFactors) -> Mapping[int, Float[Array, "R_parent"]]:
    """||W_k[:, r]||, the norms of the columns of every weight matrix.

    Returns:
      node id -> norms, for every node that has a matrix, leaves included.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: arXiv:2201.11729, experiments (weight vectors).

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 5, 1.0)
      >>> {k: v.shape for k, v in htf.weight_vector_norms(factors).items()}
      {0: (5,), 1: (5,), 2: (1,)}
    """
    layout, stacks = opened(factors)
    held = {g: stack for g, stack in enumerate(stacks) if stack is not None}
    norms = {g: _numerics.safe_norm(stack, axis=1) for g, stack in held.items()}
    return by_node(layout, norms)


def component_contributions(factors: AnyFactors) -> NodeValues[Float[Array, "R_v"]]:
    """||sigma_r C_r^(v)||_F, the Frobenius norm of what each component adds to W.

    W = sum_r sigma_r C_r at every interior node (law A5), so unlike sigma this does not
    depend on how a component shares its norm with its neighbours in the tree. Computed
    from Gram matrices, never from the tensor.

    Returns:
      node id -> norms, for every interior node.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: laws A5 and D2.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 5, 1.0)
      >>> htf.component_contributions(factors)[6].shape
      (5,)
    """
    ((layout, stacks),) = alike(factors)
    inside, outside = gram.component_grams(layout, stacks)
    return node_values(
        [_root_diagonal(inside[g], outside[g]) for g in inside],
        [layout.groups[g] for g in inside],
    )


def unbalancedness(factors: AnyFactors, kind: Balance = "components") -> Float[Array, ""]:
    """Distance of the factors from the theorem's idealized start; zero is balanced.

    "components": max over local components and pairs w, w' of their trained vectors of
    | ||w||^2 - ||w'||^2 |. "matrix": max over one-child nodes v with child c of
    ||W_c^T W_c - W_v W_v^T||_F; a root of ones with two children is such a place too
    (W_a^T W_a - W_b^T W_b). Matrix balance is what matrix factorization needs.

    Both are in units of squared weights and conserved by gradient flow.

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
    layout, stacks = opened(factors)
    _checks.one_of("kind", kind, get_args(Balance))
    if kind == "components":
        return jnp.max(jnp.stack(_spreads(layout, stacks)))
    pairs = _chain_grams(layout, stacks)
    if not pairs:
        raise ValueError(
            "`kind='matrix'` needs a chain: a one-child node, or a root of ones with two "
            "children; this tree has neither. Use kind='components'."
        )
    gaps = [_numerics.safe_norm((a - b).reshape(len(a), -1), axis=1) for a, b in pairs]
    return jnp.max(jnp.concatenate(gaps))


def growth_rates(
    params: Params,
    loss: Callable[[Params], jax.Array],
    to_factors: Callable[[Params], AnyFactors] | None = None,
) -> Mapping[int, Float[Array, "R_v"]]:
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
      node id -> rates, in norm per unit of flow time.

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
    layout, stacks = opened(
        factors, "params" if to_factors is None else "to_factors(params)"
    )
    speeds = _vector_speeds(layout, stacks, opened(moving)[1])
    norms = vector_norms(layout, stacks)
    return by_node(layout, {g: _rates(norms[g], speeds[g]) for g in norms})


def vector_norms(layout: Layout, stacks: Stacks) -> dict[int, list[jax.Array]]:
    """||w|| of the trained vectors of the components of every inner group, (G, R) each."""
    return by_component(
        layout, lambda g, axis: _numerics.safe_norm(stacks[g], axis=axis), 1.0
    )


def _vector_speeds(
    layout: Layout, stacks: Stacks, moving: Stacks
) -> dict[int, list[jax.Array]]:
    """d||w||/dt of the same vectors where the stacks move as `moving` says."""

    def speed(g: int, axis: int) -> jax.Array:
        norm = _numerics.safe_norm(stacks[g], axis=axis)
        return _norm_speed(stacks[g], moving[g], norm, axis)

    return by_component(layout, speed, 0.0)


def by_component(
    layout: Layout, measure: Callable[[int, int], jax.Array], fill: float | None = None
) -> dict[int, list[jax.Array]]:
    """For every inner group `measure` of each trained vector of its components.

    The node's own row comes first, then its children's columns.

    Args:
      measure: (group, axis) -> what it reads off the columns (axis 1) or rows (axis 2)
        of the group's stack, (G, number of vectors).
      fill: stands for nodes without any trained vector, which have an empty list without.
    """
    trained = [layout.trained[nodes[0]] for nodes in layout.groups]
    columns = {g: measure(g, 1) for g, moves in enumerate(trained) if moves}
    vectors = {}
    for g in layout.inner_groups:
        nodes = layout.groups[g]
        own = [measure(g, 2)] if trained[g] else []
        below = layout.slots(nodes)
        own += [pick(columns[h], places) for _, h, places in below if trained[h]]
        if not own and fill is not None:
            shape = len(nodes), layout.widths[nodes[0]]
            own = [jnp.full(shape, fill, layout.dtype)]
        vectors[g] = own
    return vectors


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


def _spreads(layout: Layout, stacks: Stacks) -> list[jax.Array]:
    """Largest gap between squared norms of the vectors of one component, ()."""
    squares = by_component(
        layout, lambda g, axis: jnp.sum(jnp.square(stacks[g]), axis=axis), 1.0
    )
    joined = map(jnp.stack, squares.values())
    return [jnp.max(jnp.max(x, axis=0) - jnp.min(x, axis=0)) for x in joined]


def _chain_grams(layout: Layout, stacks: Stacks) -> list[tuple[jax.Array, jax.Array]]:
    """Pairs of stacks (G, R, R) that matrix balance makes equal."""

    def columns(kids: Sequence[int], g: int, places: list[int]) -> jax.Array | None:
        if not layout.trained[kids[0]]:
            return None
        x = pick(stacks[g], places)
        return jnp.matmul(jnp.swapaxes(x, 1, 2), x, precision="highest")

    pairs = []
    for g in layout.inner_groups:
        nodes, x = layout.groups[g], stacks[g]
        grams = [columns(*slot) for slot in layout.slots(nodes)]
        if len(grams) == 1 and layout.trained[nodes[0]]:
            grams.append(jnp.matmul(x, jnp.swapaxes(x, 1, 2), precision="highest"))
        elif len(grams) != 2 or x is not None:
            continue
        if all(gram is not None for gram in grams):
            pairs.append((grams[0], grams[1]))
    return pairs


def _norm_speed(x: jax.Array, velocity: jax.Array, norm: jax.Array, axis: int) -> jax.Array:
    """d||x||/dt along an axis, from the right where the vector is zero."""
    zero = norm == 0
    along = jnp.sum(x * velocity, axis=axis) / jnp.where(zero, jnp.ones_like(norm), norm)
    return jnp.where(zero, _numerics.safe_norm(velocity, axis=axis), along)
