"""Plateau of a small start: the time that gradient flow waits there, predicted.

Near zero a loss is linear in the tensor, L(W) = L(0) - <A, W> with A = -grad L(0), and the
flow is d theta/dt = grad <A, W(theta)>, which blows up in finite time. With
theta = r u, u of constant norm, W(theta) = r^m W(u), and on the clock d sigma = r^(m-2) dt

    du/d sigma = g - l u,   d log r/d sigma = l,   dt/d sigma = r^-(m-2),

where g = grad <A, W(u)> and l = <A, W(u)>: u climbs to a maximum of l, nothing on this
clock is singular, and the blow-up time is the integral of r^-(m-2). As u climbs g grows by
orders of magnitude, so what is integrated runs on a third clock, d tau = |g| d sigma, on
which u moves at most at speed one.
"""

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _callables, _checks, _numerics
from htfjax._types import Array, ArrayLike, Float, PyTree
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout
from htfjax.factors.stacks import Stacks, closed, opened
from htfjax.losses.gradient import Loss, value_and_grad
from htfjax.motion.flow_checks import ROUNDINGS, check_flow_loss

# A gradient that departs less from that of the linear loss hardly changes the wait.
FAITHFUL = 0.05
# What is of higher order than the tensor falls by at least 1/2 when the start is halved.
STEADY = 0.7
LONGEST = 1e6  # of the clock tau; the end comes before


def plateau_wait(
    factors: AnyFactors, loss: Loss, *, rtol: ArrayLike = 1e-4, max_steps: int = 4096
) -> Float[Array, ""]:
    """Flow time in which a small start leaves zero: tau std^-(m-2), m trained matrices.

    The blow-up time of d theta/dt = grad <A, W(theta)> from this start, A = -grad L(0);
    tau is that of the same start at scale one. What gradient flow of the loss itself
    takes is longer by a time that does not grow as the start shrinks: measured over
    predicted goes to 1. Descent with a step size takes this time over the step size in
    steps, `group_rmsprop` so only while the gradient is below its `eps`.

    Costs m gradients per evaluation, some hundred evaluations.

    Args:
      factors: the start; of any scale, but the prediction is for small ones. Fixed nodes
        and a root of ones stay, and do not count in m.
      loss: as in `gradient_flow`; it depends on the factors through their end tensor, or
        on other things (a decay, a penalty on norms of local components) only in a higher
        order of the scale.
      rtol: relative accuracy of the prediction, about.
      max_steps: of the integration.

    Returns:
      In the dtype of the factors; infinite if `max_steps` steps do not reach the end, as
      from a start that no force turns towards A.

    Raises:
      TypeError: malformed factors, a loss that is not callable or scalar, or whose
        gradient is scaled.
      ValueError: m <= 2, where escape is exponential or sooner; a loss whose gradient
        vanishes at zero, or is not finite there, or that near zero is no linear function
        of the end tensor (while tracing this is not seen); a start whose trained matrices
        are zero; a tolerance that the dtype cannot meet.

    Source: law F10, for rank-one factors in closed form: `theory.rank_one_blow_up_time`.

    Example:
      >>> import htfjax as htf, jax
      >>> start = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 2, 0.1)
      >>> loss = htf.completion_loss(start.tree, 3, [[0, 1, 2, 0]], [1.0])
      >>> wait = htf.plateau_wait(start, loss)
      >>> half = jax.tree.map(lambda w: w / 2, start)  # 7 matrices: 2^5 times the wait
      >>> round(float(htf.plateau_wait(half, loss) / wait), 2)
      32.0
    """
    layout, stacks = opened(factors)
    check_flow_loss(loss, factors)
    _callables.check_hashable("loss", loss)
    _checks.real("rtol", rtol, least=ROUNDINGS * float(jnp.finfo(layout.dtype).eps))
    max_steps = _checks.at_least("max_steps", max_steps, 1)
    _check_degree(layout)
    loss = _callables.traced(loss)
    unit, scale = _to_unit_size(layout, stacks)
    start = _force(layout, loss, unit)
    if all(map(_checks.concrete, (scale, *start))):
        _check_start(float(scale), [np.asarray(g) for g in start if g is not None])
        _check_linear(*map(float, _departures(layout, loss, unit, start)))
    blow_up = _blow_up_time(
        layout, loss, unit, start, jnp.asarray(rtol, layout.dtype), max_steps
    )
    return blow_up * scale ** -(sum(layout.trained) - 2)


class _State(NamedTuple):
    """Direction of the trained matrices, log of their size, time, and the clock sigma."""

    direction: Stacks
    log_size: jax.Array
    time: jax.Array  # in units of the inverse of the first force, as the next
    sigma: jax.Array


@eqx.filter_jit
def _blow_up_time(
    layout: Layout, loss: Loss, unit: Stacks, first: Stacks, rtol: jax.Array, max_steps: int
) -> jax.Array:
    """Blow-up time from `unit`, where the force is `first`."""
    count = sum(layout.trained)
    power = count - 2

    def size_of(force: Stacks) -> jax.Array:
        size = jnp.sqrt(_inner(layout, force, force) / count)
        return jnp.where(size == 0, 1, size)

    norm = size_of(first)

    def velocity(_: object, state: _State, __: object) -> _State:
        force = _force(layout, loss, state.direction)
        size, level = size_of(force), _level(layout, force, state.direction)
        pairs = zip(force, state.direction, _free(layout), strict=True)
        moved = tuple(
            (g - level * u) / size if free else jax.tree.map(jnp.zeros_like, u)
            for g, u, free in pairs
        )
        slower = norm / size
        time = slower * jnp.exp(-power * state.log_size)
        return _State(moved, level / size, time, slower)

    def ended(t: jax.Array, y: _State, args: object, **more: object) -> jax.Array:
        # The level never falls, so that its mean so far bounds the time still to come.
        del t, args, more
        grown = y.log_size > 0
        mean = y.log_size / jnp.where(y.sigma > 0, y.sigma, 1)
        left = jnp.exp(-power * y.log_size) / jnp.where(grown, power * mean, 1)
        return grown & (left < rtol * y.time)

    zero = jnp.zeros((), layout.dtype)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Tsit5(),
        t0=zero,
        t1=jnp.asarray(LONGEST, layout.dtype),
        dt0=None,
        y0=_State(unit, zero, zero, zero),
        saveat=diffrax.SaveAt(t1=True),
        stepsize_controller=diffrax.PIDController(
            rtol=rtol / 10, atol=rtol / 10, norm=_largest
        ),
        event=diffrax.Event(ended),
        max_steps=max_steps,
        throw=False,
    )
    end: Any = jax.tree.map(lambda x: x[-1], solution.ys)
    level = _level(layout, _force(layout, loss, end.direction), end.direction)
    # The rest of the way in the direction that is left.
    rest = jnp.exp(-power * end.log_size) / (power * level)
    reached = solution.result == diffrax.RESULTS.event_occurred
    return jnp.where(reached, end.time / norm + rest, jnp.inf)


def _force(layout: Layout, loss: Loss, stacks: Stacks) -> Stacks:
    """grad <A, W>, from gradients of the loss where its tensor is zero.

    W is linear in each matrix. So the derivative of <A, W> by one is minus that of the
    loss where this matrix is zero and the others are not: there W is zero, and grad L(W)
    is grad L(0). No second derivatives are taken.
    """
    nodes = [k for k, trained in enumerate(layout.trained) if trained]
    hits = tuple(
        np.array([[k == node for k in group] for node in nodes]) for group in layout.groups
    )

    def add(total: Stacks, hit: tuple) -> tuple[Stacks, None]:
        flags = [h[:, None, None] for h in hit]
        zeroed = [
            None if x is None else jnp.where(h, 0, x)
            for x, h in zip(stacks, flags, strict=True)
        ]
        grads = opened(value_and_grad(loss, closed(layout, zeroed))[1])[1]
        return tuple(
            None if t is None or g is None else jnp.where(h, -g, t)
            for t, g, h in zip(total, grads, flags, strict=True)
        ), None

    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, stacks), hits)[0]


@eqx.filter_jit
def _departures(
    layout: Layout, loss: Loss, unit: Stacks, force: Stacks
) -> tuple[jax.Array, jax.Array]:
    """How far -grad L departs from grad <A, W>, relative to it, at a small scale and half.

    -grad L(s u) = s^(m-1) g(u) + O(s^(2m-1)) for a loss of the end tensor. A term of the
    factors themselves, of degree p, has gradients in s^(p-1): `_force`, which sets matrices
    to zero, does not see it, and for p <= m it decides how long the start takes.
    """
    degree = sum(layout.trained)
    # There W is of the size of roundings.
    small = float(jnp.finfo(layout.dtype).eps) ** (1 / degree)
    norm = jnp.sqrt(_inner(layout, force, force))

    def departure(scale: jax.Array) -> jax.Array:
        start = tuple(
            scale * x if free and x is not None else x
            for x, free in zip(unit, _free(layout), strict=True)
        )
        grads = opened(value_and_grad(loss, closed(layout, start))[1])[1]
        gap = tuple(
            None if x is None or g is None else x * scale ** (1 - degree) + g
            for x, g in zip(grads, force, strict=True)
        )
        return jnp.sqrt(_inner(layout, gap, gap)) / norm

    first, second = jax.lax.map(departure, jnp.array([small, small / 2], layout.dtype))
    return first, second


def _to_unit_size(layout: Layout, stacks: Stacks) -> tuple[Stacks, jax.Array]:
    """Trained matrices whose mean squared norm is one, and what they were divided by.

    Matrices of norm one make a tensor of norm one at most, whatever their number and size.
    """
    moving = [x for x, free in zip(stacks, _free(layout), strict=True) if free]
    total = _numerics.sum_squares([x for x in moving if x is not None])
    size = jnp.sqrt(total / sum(layout.trained))
    by = jnp.where(size == 0, 1, size)
    unit = tuple(
        x / by if free and x is not None else x
        for x, free in zip(stacks, _free(layout), strict=True)
    )
    return unit, size


def _level(layout: Layout, force: Stacks, direction: Stacks) -> jax.Array:
    """<A, W(u)>: by Euler's rule <g, u> / m."""
    return _inner(layout, force, direction) / sum(layout.trained)


def _inner(layout: Layout, a: Stacks, b: Stacks) -> jax.Array:
    """Sum of products over the trained matrices."""
    pairs = zip(a, b, _free(layout), strict=True)
    parts = [jnp.sum(x * y) for x, y, free in pairs if free]
    return sum(parts[1:], parts[0])


def _free(layout: Layout) -> list[bool]:
    """Whether each group is trained."""
    return [layout.trained[nodes[0]] for nodes in layout.groups]


def _largest(tree: PyTree) -> jax.Array:
    return jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in jax.tree.leaves(tree)]))


def _check_degree(layout: Layout) -> None:
    """More than two trained matrices."""
    count = sum(layout.trained)
    if count > 2:
        return
    fixed = f" (fixed nodes: {list(layout.fixed)})" if layout.fixed else ""
    how = "exponentially" if count == 2 else "at once"
    raise ValueError(
        f"`factors` has {count} trained matri{'x' if count == 1 else 'ces'}{fixed}, but "
        f"there is a plateau from three on: here a small start leaves zero {how}."
    )


def _check_linear(departure: float, at_half: float) -> None:
    """A loss that near zero depends on the factors through their end tensor."""
    if departure > FAITHFUL and at_half > STEADY * departure:
        raise ValueError(
            "`loss` is near zero no linear function of the end tensor alone: its gradient "
            f"at a small start departs from that of the linear one by {departure:.3g} of "
            "its size, and does not come closer at half the start. Leave out terms that "
            "the formula of the wait does not know: penalties on the factors, and l1 "
            "where a target is exactly zero."
        )


def _check_start(scale: float, forces: list[np.ndarray]) -> None:
    """A start from which something moves."""
    if scale == 0:
        raise ValueError("`factors` are all zero: from there no gradient leads away.")
    if not all(np.all(np.isfinite(g)) for g in forces):
        raise ValueError("`loss` has a gradient at zero that is not finite.")
    if not any(np.any(g) for g in forces):
        raise ValueError(
            "`loss` has a gradient of zero at the zero tensor (or one that these `factors` "
            "do not feel): there is no force that ends the wait."
        )
