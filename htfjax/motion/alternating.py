"""Alternating least squares: one node's matrix after the other, each solved exactly.

The end tensor is linear in every single matrix, so with the others held a loss that is a
sum of squares of measurements is a linear least-squares problem in it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from htfjax import _checks
from htfjax._types import PyTree
from htfjax.factors.layout import Layout
from htfjax.factors.stacks import Stacks, closed, opened
from htfjax.motion.squares import jacobian, of_squares


class AlternatingState(NamedTuple):
    """What sweeps hand on: a pytree."""

    sweeps: jax.Array  # made so far, () int32


def alternating_least_squares(
    *, ridge: float = 1e-12
) -> optax.GradientTransformationExtraArgs:
    """Alternating least squares as an optimizer for `descend`: a step is a sweep.

    Nodes from the leaves to the root, each solved for the others as they are by then. A
    node of which the data do not tell everything keeps, by the ridge, what it has there.

    Args:
      ridge: of every node's problem, a share of the largest entry of its J^T J's diagonal.

    Returns:
      An optax transformation that needs `residual_fn` and `params`, as `descend` gives, of
      which the parameters are factors.

    Raises:
      TypeError, ValueError: a ridge that is not above zero; in `descend`, a loss without
        residuals, parameters that are not factors.

    Source: Grasedyck, Kluge, Kraemer 2015 (ALS for completion in tree formats).

    Example:
      >>> import htfjax as htf, jax
      >>> tree = htf.flat(3)
      >>> target = htf.gaussian_factors(jax.random.key(0), tree, 4, 1, 1.0)
      >>> indices = htf.random_indices(jax.random.key(1), (4, 4, 4), 40)
      >>> loss = htf.completion_loss(tree, 4, indices, htf.entries(target, indices))
      >>> start = htf.gaussian_factors(jax.random.key(3), tree, 4, 1, 1.0)
      >>> final, trajectory = htf.descend(
      ...     start, loss, htf.alternating_least_squares(), num_steps=30, record_every=30)
      >>> bool(trajectory.losses[-1] < 1e-8 * trajectory.losses[0])
      True
    """
    _checks.real("ridge", ridge, least=0, strict=True)
    share = float(ridge)

    def init(params: PyTree) -> AlternatingState:
        del params
        return AlternatingState(jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree,
        state: AlternatingState,
        params: PyTree = None,
        *,
        residual_fn: Callable[[PyTree], jax.Array],
        **_: object,
    ) -> tuple[PyTree, AlternatingState]:
        del updates
        layout, stacks = opened(params, "params")
        for g, nodes in enumerate(layout.groups):
            for place in range(len(nodes)) if layout.trained[nodes[0]] else ():
                stacks = _solved(layout, stacks, g, place, residual_fn, share)
        moved = closed(layout, stacks)
        steps = jax.tree.map(jnp.subtract, moved, params)
        return steps, AlternatingState(state.sweeps + jnp.int32(1))

    return of_squares(init, update)


def _solved(
    layout: Layout,
    stacks: Stacks,
    g: int,
    place: int,
    residual_fn: Callable[[PyTree], jax.Array],
    ridge: float,
) -> Stacks:
    """The stacks with one matrix at the least sum of squares."""
    own = stacks[g][place]

    def changed(vector: jax.Array) -> Stacks:
        stack = stacks[g].at[place].set(vector.reshape(own.shape))
        return *stacks[:g], stack, *stacks[g + 1 :]

    def factors_of(vector: jax.Array) -> PyTree:
        return closed(layout, changed(vector))

    start = own.reshape(-1)
    found = residual_fn(factors_of(start)).astype(own.dtype)
    matrix = jacobian(residual_fn, factors_of, start)
    gram = jnp.matmul(matrix.T, matrix, precision="highest")
    slope = jnp.matmul(matrix.T, found, precision="highest")
    largest = jnp.max(jnp.diagonal(gram))
    least = ridge * jnp.where(largest > 0, largest, jnp.ones_like(largest))
    damped = gram + least * jnp.eye(len(start), dtype=start.dtype)
    factor = jax.scipy.linalg.cho_factor(damped, lower=True)
    return changed(start - jax.scipy.linalg.cho_solve(factor, slope))
