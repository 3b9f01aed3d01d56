"""Levenberg-Marquardt: steps of second order for losses that are sums of squares.

With residuals r (M,) and their Jacobian J (M, P) a step solves

    (J^T J + mu 1) d = -J^T r

and is taken where the loss falls. The damping mu falls with the share of the predicted
decrease that was reached, and grows where none was (Nielsen). A factorization has many
parameters for one tensor: along directions that change nothing J is zero, and mu alone
keeps the step from going there.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import lineax
import optax
from jax.flatten_util import ravel_pytree

from htfjax import _checks
from htfjax._types import PyTree
from htfjax.factors.stacks import are_trained
from htfjax.losses.squares import Row
from htfjax.motion.squares import jacobian, normal_equations, of_squares

LARGEST_JACOBIAN = 2**26  # entries, above which it is not held whole
LARGEST_GRAM = 2**22  # entries of J^T J, above which products with J are made one by one
BLOCK = 2**22  # entries of J that are held at a time where it is not whole


class LevenbergMarquardtState(NamedTuple):
    """What steps hand on: a pytree."""

    damping: jax.Array  # mu, () ; below zero before the first step
    growth: jax.Array  # by what mu grows where the loss would, ()
    taken: jax.Array  # steps that were, () int32


def levenberg_marquardt(
    *, damping: float = 1e-3, shrink: float = 0.0, matrix_free: bool | None = None
) -> optax.GradientTransformationExtraArgs:
    """Levenberg-Marquardt as an optimizer for `descend`, of losses with residuals.

    Every step either lowers the loss (with `shrink`, the loss and the prior) or leaves the
    parameters and raises the damping, so recorded losses never rise without a prior. Near
    a solution with residuals zero it converges quadratically. Fixed nodes stay, and cost
    nothing. Runs under `vmap`: several starts then move in one program.

    Args:
      damping: mu of the first step, as a share of the largest entry of J^T J's diagonal.
      shrink: weight of a Gaussian prior on every trained matrix, of mean zero and of the
        variance that its entries have now, beside noise of the variance that residuals
        have now: at 1 what the two say, at 0 the loss alone. Where data tell little of
        some entries it keeps them from growing without end; as residuals fall to zero it
        does too.
      matrix_free: True solves by conjugate gradients on products with J, False by a
        Cholesky decomposition of J^T J; by default the latter up to 2**26 entries of J and,
        of losses that measure entries one by one, up to 2**22 of J^T J, which is then
        summed over blocks of J.

    Returns:
      An optax transformation that needs `residual_fn` and `params`, as `descend` gives.

    Raises:
      TypeError, ValueError: damping that is not above zero, a negative `shrink`; in
        `descend`, a loss without residuals (penalty "l1", scaled gradients).

    Source: Marquardt 1963; Nielsen 1999 (damping).

    Example:
      >>> import htfjax as htf, jax
      >>> tree = htf.flat(3)
      >>> target = htf.gaussian_factors(jax.random.key(0), tree, 4, 1, 1.0)
      >>> indices = htf.random_indices(jax.random.key(1), (4, 4, 4), 40)
      >>> loss = htf.completion_loss(tree, 4, indices, htf.entries(target, indices))
      >>> start = htf.gaussian_factors(jax.random.key(2), tree, 4, 1, 1.0)
      >>> final, trajectory = htf.descend(
      ...     start, loss, htf.levenberg_marquardt(), num_steps=30, record_every=30)
      >>> bool(trajectory.losses[-1] < 1e-8 * trajectory.losses[0])
      True
    """
    _checks.real("damping", damping, least=0, strict=True)
    _checks.real("shrink", shrink, least=0)
    share, shrinking = float(damping), float(shrink)
    if matrix_free is not None:
        matrix_free = _checks.flag("matrix_free", matrix_free)

    def init(params: PyTree) -> LevenbergMarquardtState:
        dtype = jnp.result_type(*jax.tree.leaves(params))
        one = jnp.ones((), dtype)
        return LevenbergMarquardtState(-one, 2 * one, jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree,
        state: LevenbergMarquardtState,
        params: PyTree = None,
        *,
        residual_fn: Callable[[PyTree], jax.Array],
        **_: object,
    ) -> tuple[PyTree, LevenbergMarquardtState]:
        del updates
        flat, whole = trained_vector(params)

        def residuals(vector: jax.Array) -> jax.Array:
            return residual_fn(whole(vector)).astype(vector.dtype)

        found = residuals(flat)
        prior = _prior(flat, params, found, shrinking)
        parts: PyTree = getattr(residual_fn, "summed", None)
        large = _is_large(residuals, flat, matrix_free)
        if large and matrix_free is None and parts and flat.size**2 <= LARGEST_GRAM:

            def equations(row: Row, found: jax.Array) -> tuple[jax.Array, jax.Array]:
                return normal_equations(row, whole, flat, found, entries=BLOCK)

            gram, slope = parts(equations, params)
            solved = _summed(gram, slope, flat, prior, state.damping, share)
        elif large:
            solved = _by_products(residuals, flat, prior, state.damping, share)
        else:
            matrix = jacobian(residual_fn, whole, flat)
            solve = _wide if found.size < flat.size else _dense
            solved = solve(found, matrix, flat, prior, state.damping, share)
        slope, shift, mu = solved
        moved, there = residuals(flat + shift), flat + shift
        gain = jnp.vdot(found, found) - jnp.vdot(moved, moved)
        gain = gain + jnp.vdot(prior, flat * flat) - jnp.vdot(prior, there * there)
        promised = jnp.vdot(shift, mu * shift - slope)
        taken = gain > 0  # not so where a residual is NaN
        reached = gain / jnp.where(promised > 0, promised, jnp.ones_like(promised))
        less = jnp.maximum(1 / 3, 1 - (2 * reached - 1) ** 3)
        # Nothing is promised at a minimum: the damping stays for what comes next.
        still = ~(promised > 0)
        after = jnp.where(taken, mu * less, jnp.where(still, mu, mu * state.growth))
        growth = jnp.where(taken, 2 * jnp.ones_like(mu), 2 * state.growth)
        top = float(jnp.finfo(flat.dtype).max) ** 0.5
        shift = jnp.where(taken, shift, jnp.zeros_like(shift))
        step = jax.tree.map(jnp.subtract, whole(flat + shift), whole(flat))
        held = LevenbergMarquardtState(
            jnp.minimum(after, top),
            jnp.minimum(growth, top),
            state.taken + taken.astype(jnp.int32),
        )
        return step, held

    return of_squares(init, update)


def trained_vector(params: PyTree) -> tuple[jax.Array, Callable[[jax.Array], PyTree]]:
    """All numbers that are trained as one vector, and the parameters of such a vector.

    Matrices of fixed nodes are not among them, wherever factors stand in the pytree.
    """
    leaves, structure = jax.tree.flatten(params)
    trained = are_trained(params)
    chosen = [x for x, moves in zip(leaves, trained, strict=True) if moves]
    flat, parts = ravel_pytree(chosen)

    def whole(vector: jax.Array) -> PyTree:
        moved = iter(parts(vector))
        held = [
            next(moved) if moves else x for x, moves in zip(leaves, trained, strict=True)
        ]
        return jax.tree.unflatten(structure, held)

    return flat, whole


def _is_large(
    residuals: Callable[[jax.Array], jax.Array], flat: jax.Array, asked: bool | None
) -> bool:
    if asked is not None:
        return asked
    return jax.eval_shape(residuals, flat).size * flat.size > LARGEST_JACOBIAN


def _damping(state: jax.Array, share: float, largest: jax.Array) -> jax.Array:
    """mu: what is handed on, or a share of the largest curvature at the first step."""
    least = float(jnp.finfo(largest.dtype).eps) * largest
    first = jnp.where(largest > 0, share * largest, jnp.ones_like(largest))
    return jnp.maximum(jnp.where(state < 0, first, state), least)


def _prior(flat: jax.Array, params: PyTree, found: jax.Array, shrink: float) -> jax.Array:
    """What squares of the parameters weigh: variance of a residual over that of entries."""
    if not shrink:
        return jnp.zeros_like(flat)
    noise = shrink * jnp.vdot(found, found) / found.size
    parts = []
    for x, moves in zip(jax.tree.leaves(params), are_trained(params), strict=True):
        if moves:
            # Zeros are no entries: factors of fewer ranks are filled up with them.
            count = jnp.maximum(jnp.sum(x != 0), 1).astype(x.dtype)
            variance = jnp.sum(jnp.square(x)) / count
            weight = noise / jnp.where(variance > 0, variance, jnp.ones_like(variance))
            parts.append(jnp.full((x.size,), 1, flat.dtype) * weight.astype(flat.dtype))
    return jnp.concatenate(parts)


def _dense(
    found: jax.Array,
    matrix: jax.Array,
    flat: jax.Array,
    prior: jax.Array,
    state: jax.Array,
    share: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The slope J^T r, the step and mu, by J^T J."""
    slope = jnp.matmul(matrix.T, found, precision="highest")
    gram = jnp.matmul(matrix.T, matrix, precision="highest")
    return _summed(gram, slope, flat, prior, state, share)


def _summed(
    gram: jax.Array,
    slope: jax.Array,
    flat: jax.Array,
    prior: jax.Array,
    state: jax.Array,
    share: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same of J^T J and J^T r."""
    slope = slope + prior * flat
    mu = _damping(state, share, jnp.max(jnp.diagonal(gram)))
    damped = gram + jnp.diag(mu + prior)
    factor = jax.scipy.linalg.cho_factor(damped, lower=True)
    return slope, -jax.scipy.linalg.cho_solve(factor, slope), mu


def _wide(
    found: jax.Array,
    matrix: jax.Array,
    flat: jax.Array,
    prior: jax.Array,
    state: jax.Array,
    share: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same by J D^-1 J^T with D = mu + prior, which is smaller where parameters are
    more than residuals: the step is -(u + D^-1 J^T (1 + J D^-1 J^T)^-1 (r - J u)) with
    u = prior x / D."""
    slope = jnp.matmul(matrix.T, found, precision="highest") + prior * flat
    mu = _damping(state, share, jnp.max(jnp.sum(jnp.square(matrix), axis=0)))
    scaled = matrix / (mu + prior)[None, :]
    pulled = prior * flat / (mu + prior)
    kernel = jnp.matmul(scaled, matrix.T, precision="highest")
    kernel = kernel + jnp.eye(len(found), dtype=flat.dtype)
    rest = found - jnp.matmul(matrix, pulled, precision="highest")
    factor = jax.scipy.linalg.cho_factor(kernel, lower=True)
    solved = jax.scipy.linalg.cho_solve(factor, rest)
    return slope, -pulled - jnp.matmul(scaled.T, solved, precision="highest"), mu


def _by_products(
    residuals: Callable[[jax.Array], jax.Array],
    flat: jax.Array,
    prior: jax.Array,
    state: jax.Array,
    share: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same by conjugate gradients, without J."""
    found, push = jax.linearize(residuals, flat)
    (pull,) = (jax.linear_transpose(push, flat),)
    slope = pull(found)[0] + prior * flat
    size = jnp.vdot(slope, slope)
    pushed = push(slope)
    # The curvature along the slope: at most the largest, which the diagonal stands for.
    largest = jnp.vdot(pushed, pushed) / jnp.where(size > 0, size, jnp.ones_like(size))
    mu = _damping(state, share, largest)
    operator = lineax.FunctionLinearOperator(
        lambda x: pull(push(x))[0] + (mu + prior) * x,
        jax.eval_shape(lambda: flat),
        tags=lineax.positive_semidefinite_tag,
    )
    solver = lineax.CG(rtol=1e-6, atol=0.0, max_steps=max(50, min(1000, flat.size)))
    solution = lineax.linear_solve(operator, -slope, solver, throw=False)
    return slope, solution.value, mu
