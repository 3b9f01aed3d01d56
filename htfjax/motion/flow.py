"""Gradient flow, integrated with error control."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from htfjax import _callables, _checks, _numerics
from htfjax._derivatives import refuse_derivatives
from htfjax._types import ArrayLike, Numbers, Params, PyTree
from htfjax.factors.factors import AnyFactors
from htfjax.losses.gradient import Loss, prepared, value_and_grad
from htfjax.motion import flow_checks as checks
from htfjax.motion import flow_report as endings
from htfjax.motion.clocks import CLOCKS, Clock, rates, rescaled_unit
from htfjax.motion.flow_report import FlowReport
from htfjax.motion.progress import Asked, check_concrete, is_asked, tell, telling, ticket_of
from htfjax.motion.raising import filled_with_nan
from htfjax.motion.stabilized import (
    FIRST_EVALUATIONS,
    FlowState,
    Real,
    RungeKuttaChebyshev,
)
from htfjax.motion.stepping import WholeNormController
from htfjax.motion.trajectory import Observations, Trajectory
from htfjax.theory.conserved import conserved_quantities, conserved_scale

# Below this tolerance a method of high order beats the stabilized one of order two.
TIGHT = 1e-7
NOT_DIFFERENTIABLE = (
    "gradient_flow cannot be differentiated by `solver='stabilized'` (the default of "
    "'auto') and `differentiate='reverse'`; use solver='explicit' for jax.grad, or "
    "differentiate='forward' for jax.jvp."
)
Mode = Literal["reverse", "forward"]
MODES: dict[Mode, diffrax.AbstractAdjoint] = {
    "reverse": diffrax.RecursiveCheckpointAdjoint(),
    "forward": diffrax.ForwardMode(),
}
Solver = Literal["auto", "stabilized", "explicit", "implicit"]
AnySolver = diffrax.AbstractSolver[Any]
SOLVERS: dict[str, Callable[[], AnySolver]] = {
    "stabilized": RungeKuttaChebyshev,
    "explicit": diffrax.Dopri8,
    "implicit": diffrax.Kvaerno5,
}


def gradient_flow(
    params: Params,
    loss: Loss,
    *,
    times: Numbers,
    rtol: ArrayLike,
    atol: ArrayLike,
    observe: Callable[[Params], Observations] | None = None,
    integrate: Callable[[Params], PyTree] | None = None,
    clock: Clock = "time",
    solver: Solver | AnySolver = "auto",
    stop_loss: ArrayLike | None = None,
    stop_grad_norm: ArrayLike | None = None,
    interpolate: bool = False,
    max_steps: int = 100_000,
    differentiate: Mode = "reverse",
    progress: Asked = None,
) -> tuple[Params, Trajectory[Observations, FlowReport]]:
    """Integrates d params / dt = -grad loss(params), the limit of descent at step zero.

    Adaptive, on one of three clocks: "time" is t itself; "arc" the length of the path,
    d params / ds = -grad / ||grad||, on which the plateau of a small start is a few steps
    long; "rescaled" t over s^-(m-2), s the RMS weight of the start and m its number of
    arrays, on which starts of different scale leave zero together.

    Solvers: "stabilized" (Runge-Kutta-Chebyshev, order 2) for the stiff valley in which
    flows of factorizations end, "explicit" (Dopri8) for tight tolerances, "implicit"
    (Kvaerno5, whose dense Jacobian suits up to a few hundred parameters), or any diffrax
    solver. "auto" is "stabilized", below a tolerance of 1e-7 "explicit".

    Derivatives are those of the discrete steps. `jax.grad` (reverse mode) works with
    solver="explicit" and the like, whose loop over steps keeps some states and repeats
    the rest; the number of stages of "stabilized" varies, which has no reverse mode.
    `jax.jvp` (forward mode) works with every solver if differentiate="forward". Whatever
    cannot work raises an error before anything is compiled.

    Args:
      params: the start, a pytree of floating arrays of one dtype; fixed nodes of factors
        do not move.
      loss: scalar function of the parameters; a pytree's arrays and Python floats are
        traced, its Python bools and ints static, any other callable is static by identity.
        Or an object with `value_and_grad`, as in `continue_descent`, called without key.
        An l1 loss stalls where a residual reaches zero, see `report.status`.
      times: (K,) increasing, zero or more, positions of the records on the clock. The
        flow starts at 0.
      rtol, atol: every step's error, as a Euclidean norm over all parameters, is kept
        below atol + rtol ||params||.
      observe: function of the parameters whose result (a pytree of arrays) is stacked.
      integrate: function of the parameters whose integral over natural time, from the
        start to every record, becomes `report.integrals`. It is evaluated with every
        gradient and as accurate as the flow, whatever the records: the two sides of a
        growth law can be compared over any interval.
      clock: "time", "arc" or "rescaled".
      solver: see above.
      stop_loss, stop_grad_norm: the flow ends after the first step at which the loss, or
        the norm of the gradient, is below; one more evaluation per step.
      interpolate: by default the solver steps exactly onto `times`; True reads records
        off its interpolation instead, which saves steps when records are many and is
        accurate to about the tolerance.
      max_steps: steps to try at most, rejected ones included; an implicit step may cost
        as much as a hundred explicit ones.
      differentiate: "reverse" or "forward", the mode of differentiation to allow for.
      progress: True shows a bar (on a terminal by rich, in a notebook by tqdm; nothing in
        a pipe); a function is called with a `StepProgress` at every record. The program
        then calls the host there, and is another one than without, whose last digits may
        differ. Not inside of jax.jit, jax.grad and jax.vmap, where nothing runs yet.

    Returns:
      The final parameters, and a `Trajectory` of one record per time, whose `report` is a
      `FlowReport`. What fails while running is recorded there, with the last good state:
      see `report.status`.

    Raises:
      TypeError: parameters that are not floating arrays of one dtype, or a `Carrying`; a
        loss that is not callable or not scalar, or whose gradient is scaled; `progress`
        with traced arguments.
      ValueError: times that do not increase or start below zero, tolerances below
        what the dtype resolves, a loss or gradient that is not finite at the start,
        unknown `clock`, `solver` or `differentiate`.
      NotImplementedError: differentiation that solver and `differentiate` do not allow.

    Source: arXiv:2201.11729, gradient flow (continuous time, its theorems' setting).

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> tree = htf.perfect(4)
      >>> target = htf.gaussian_factors(jax.random.key(0), tree, 3, 2, 1.0)
      >>> indices = htf.random_indices(jax.random.key(1), (3, 3, 3, 3), 40)
      >>> loss = htf.completion_loss(tree, 3, indices, htf.entries(target, indices))
      >>> start = htf.balanced_factors(jax.random.key(2), tree, 3, 4, 1.0)
      >>> final, trajectory = htf.gradient_flow(
      ...     start, loss, times=jnp.linspace(0.0, 5.0, 6), rtol=1e-4, atol=0.0,
      ...     observe=htf.local_component_norms)
      >>> trajectory.report.status, trajectory.observed[tree.root].shape
      ('reached the last time', (6, 4))
      >>> bool(trajectory.losses[-1] < trajectory.losses[0])
      True
    """
    dtype = checks.parameter_dtype(params)
    checks.check_flow_loss(loss, params)
    _callables.check_hashable("loss", loss)
    for name, function in (("observe", observe), ("integrate", integrate)):
        if function is not None:
            _checks.function(name, function)
            _callables.check_hashable(name, function)
    interpolate = _checks.flag("interpolate", interpolate)
    hand: Any = _checks.one_of("clock", clock, CLOCKS)
    max_steps = _checks.at_least("max_steps", max_steps, 1)
    positions = checks.check_times(times, dtype)
    checks.check_tolerances(params, rtol, atol, dtype)
    for name, bound in (("stop_loss", stop_loss), ("stop_grad_norm", stop_grad_norm)):
        if bound is not None:
            _checks.positive(name, bound)
    _checks.one_of("differentiate", differentiate, get_args(Mode))
    chosen = _choose_solver(solver, rtol)
    asked = is_asked(progress)
    if asked:
        check_concrete(
            params, positions, *map(_callables.split, (loss, observe, integrate))
        )
    loss, observe, integrate = _callables.traced((loss, observe, integrate))
    if differentiate == "reverse" and isinstance(chosen, RungeKuttaChebyshev):
        params, loss, positions, observe, integrate = refuse_derivatives(
            (params, loss, positions, observe, integrate), NOT_DIFFERENTIABLE
        )
    checks.check_start(loss, params)
    bounds = (stop_loss, stop_grad_norm)
    limits = _Limits(
        jnp.asarray(rtol, dtype),
        jnp.asarray(atol, dtype),
        *(None if x is None else jnp.asarray(x, dtype) for x in bounds),
    )
    plan = _Plan(
        observe, integrate, hand, chosen, interpolate, max_steps, MODES[differentiate]
    )
    try:
        if not asked:
            return _run(params, loss, positions, limits, plan)
        with (
            telling(progress, "flow") as listener,
            ticket_of(listener, positions) as ticket,
        ):
            flow = _run(params, loss, positions, limits, plan, ticket)
            # Traced after all where the loss closes over something traced.
            check_concrete(flow)
            return jax.block_until_ready(flow)
    except TypeError as error:
        if differentiate != "reverse" or "forward-mode" not in str(error):
            raise
        raise NotImplementedError(
            "`differentiate='reverse'` does not allow for jax.jvp; use "
            "gradient_flow(..., differentiate='forward')."
        ) from error


class _Limits(NamedTuple):
    """Numbers that may change without a new program."""

    rtol: jax.Array
    atol: jax.Array
    stop_loss: jax.Array | None
    stop_grad_norm: jax.Array | None


class _Plan(NamedTuple):
    """Static part of a flow, for which its program is compiled."""

    observe: Callable[..., PyTree] | None
    integrate: Callable[..., PyTree] | None
    clock: Clock
    solver: AnySolver
    interpolate: bool
    max_steps: int
    adjoint: diffrax.AbstractAdjoint


class _Look(NamedTuple):
    """Values read at a record."""

    loss: jax.Array
    grad_norm: jax.Array
    other: jax.Array
    observed: PyTree
    integrals: jax.Array
    conserved: PyTree  # conserved quantities and the scale of their drift, None without


@eqx.filter_jit
def _run(
    params: Params,
    loss: Loss,
    times: jax.Array,
    limits: _Limits,
    plan: _Plan,
    ticket: np.ndarray | None = None,
) -> tuple[Params, Trajectory[PyTree, FlowReport]]:
    clock, solver = plan.clock, plan.solver
    stop_loss, stop_grad_norm = limits.stop_loss, limits.stop_grad_norm
    flat, unflatten = ravel_pytree(params)
    unit = jnp.asarray(rescaled_unit(params), flat.dtype)
    zero = jnp.zeros((), flat.dtype)
    loss = prepared(loss)

    # The solver traces these at some 20 places; under jit once each.
    @jax.jit
    def slope(flat: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        (value, _), grads = value_and_grad(loss, unflatten(flat))
        grads = ravel_pytree(grads)[0]
        return value, grads, _numerics.safe_norm(grads, axis=0)

    @jax.jit
    def velocity(_: Real, state: FlowState, __: PyTree) -> FlowState:
        _, grads, norm = slope(state.params)
        pace, other = rates(clock, norm, unit)
        return FlowState(-pace * grads, other, pace * integrand(state.params), zero)

    def integrand(flat: jax.Array) -> jax.Array:
        values = None if plan.integrate is None else plan.integrate(unflatten(flat))
        leaves = [_summed(jnp.asarray(x)) for x in jax.tree.leaves(values)]
        parts = [jnp.ravel(x).astype(flat.dtype) for x in leaves]
        return jnp.concatenate([jnp.zeros((0,), flat.dtype), *parts])

    @jax.jit
    def look(state: FlowState) -> _Look:
        value, _, norm = slope(state.params)
        here = unflatten(state.params)
        observed = None if plan.observe is None else plan.observe(here)
        # Records that are not reached are filled with infinity meanwhile.
        observed = jax.tree.map(_as_floating, observed)
        conserved = _conserved(here)
        return _Look(value, norm, state.other, observed, state.integrals, conserved)

    def record(t: Real, state: FlowState, _: PyTree) -> _Look:
        seen = look(state)
        if ticket is not None:
            jax.debug.callback(tell, ticket, t, seen.loss)
        return seen

    def settled(t: Real, y: FlowState, args: PyTree, **rest: object) -> jax.Array:
        del t, args, rest
        value, _, norm = slope(y.params)
        below = jnp.zeros((), bool)
        if stop_loss is not None:
            below = below | (value < stop_loss)
        if stop_grad_norm is not None:
            below = below | (norm < stop_grad_norm)
        return below

    watched = stop_loss is not None or stop_grad_norm is not None
    controller: diffrax.AbstractStepSizeController[Any, Any]
    controller = WholeNormController(limits.rtol, limits.atol)
    if not plan.interpolate:
        controller = diffrax.ClipStepSizeController(controller, step_ts=times)
    event = diffrax.Event(settled) if watched else None
    nothing = jnp.zeros_like(integrand(flat))
    start = FlowState(flat, zero, nothing, zero)
    with filled_with_nan():
        solution: Any = diffrax.diffeqsolve(
            diffrax.ODETerm(velocity),
            solver,
            t0=zero,
            t1=times[-1],
            dt0=None,
            y0=start,
            saveat=diffrax.SaveAt(
                subs=[
                    diffrax.SubSaveAt(ts=times, fn=record),
                    diffrax.SubSaveAt(t1=True),
                ],
                controller_state=True,
            ),
            stepsize_controller=controller,
            event=event,
            max_steps=plan.max_steps,
            adjoint=plan.adjoint,
            throw=False,
        )
    seen, ends = solution.ys
    end = jax.tree.map(lambda x: x[-1], ends)
    last = look(end)
    reached = jnp.isfinite(solution.ts[0])
    filled = jax.tree.map(functools.partial(_fill, reached), seen, last)
    positions = jnp.where(reached, times, solution.ts[1][-1])
    if clock == "arc":
        lengths, moments = positions, filled.other
    else:
        lengths = filled.other
        moments = positions * unit if clock == "rescaled" else positions
    counts, state = solution.stats, solution.controller_state
    calls = (state if plan.interpolate else state.inner_state)[1]
    report = FlowReport(
        positions=positions,
        natural_times=moments,
        arc_lengths=lengths,
        reached=reached,
        ending=_ending(solution.result, last, getattr(loss, "penalty", None) == "l1"),
        integrals=_split(plan.integrate, params, filled.integrals),
        num_evaluations=_evaluations(solver, counts["num_steps"], calls),
        num_steps=counts["num_steps"].astype(jnp.int32),
        num_rejected=counts["num_rejected_steps"].astype(jnp.int32),
        drift=_drift(look(start).conserved, filled.conserved, filled.loss),
    )
    trajectory = Trajectory(
        steps=jnp.arange(times.size, dtype=jnp.int32),
        losses=filled.loss,
        observed=_like(plan.observe, params, filled.observed),
        grad_norms=filled.grad_norm,
        step_lengths=jnp.zeros_like(filled.loss),
        chords=jnp.diff(lengths, append=lengths[-1:]),
        durations=jnp.diff(moments, append=moments[-1:]),
        report=report,
    )
    return unflatten(end.params), trajectory


def _fill(reached: jax.Array, records: jax.Array, last: jax.Array) -> jax.Array:
    """Records, with the last state in place of those that were not reached."""
    mask = reached.reshape(reached.shape + (1,) * last.ndim)
    return jnp.where(mask, records, last[None])


def _summed(x: jax.Array) -> jax.Array:
    """A value of `integrate`, whose integral is as real as the parameters."""
    if not (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == bool) or jnp.iscomplexobj(x):
        raise TypeError(
            f"`integrate` must return real numbers, got {x.dtype}; give real and imaginary "
            "parts one by one."
        )
    return x


def _as_floating(x: ArrayLike) -> jax.Array:
    """Floating numbers as they are, others as 16-bit digits (P, ...), held by float32."""
    array = jnp.asarray(x)
    if jnp.issubdtype(array.dtype, jnp.inexact):
        return array
    if not (jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool):
        raise TypeError(f"`observe` must return numbers, got {array.dtype}.")
    if array.dtype.itemsize <= 2:
        return array.astype(jnp.float32)[None]
    low = jnp.asarray(0xFFFF, array.dtype)
    shifts = [jnp.asarray(s, array.dtype) for s in range(0, 8 * array.dtype.itemsize, 16)]
    digits = [jnp.right_shift(array, shift) & low for shift in shifts]
    return jnp.stack(digits).astype(jnp.float32)


def _like(fn: Callable[..., PyTree] | None, params: PyTree, records: PyTree) -> PyTree:
    """Stacked results in the dtypes that `fn` gives."""
    if fn is None:
        return None
    shapes = jax.eval_shape(fn, params)
    return jax.tree.map(lambda x, like: _as_given(x, like.dtype), records, shapes)


def _as_given(records: jax.Array, dtype: np.dtype) -> jax.Array:
    """Records of `_as_floating` in their own dtype."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return records
    digits = jnp.moveaxis(records.astype(dtype), 1, 0)
    parts = [
        digit if n == 0 else jnp.left_shift(digit, jnp.asarray(16 * n, dtype))
        for n, digit in enumerate(digits)
    ]
    return functools.reduce(jnp.bitwise_or, parts)


def _split(fn: Callable[..., PyTree] | None, params: PyTree, records: jax.Array) -> PyTree:
    """Flat integrals (K, Q) as the pytree that `fn` returns, stacked."""
    if fn is None:
        return None
    leaves, treedef = jax.tree.flatten(jax.eval_shape(fn, params))
    ends = np.cumsum([math.prod(x.shape) for x in leaves])[:-1]
    parts = jnp.split(records, ends, axis=1)
    shaped = [p.reshape(-1, *x.shape) for p, x in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(treedef, shaped)


def _conserved(params: PyTree) -> PyTree:
    if not isinstance(params, AnyFactors):
        return None
    return conserved_quantities(params), conserved_scale(params)


def _drift(start: PyTree, now: PyTree, like: jax.Array) -> jax.Array:
    """Largest change of a conserved quantity, over the largest squared norm."""
    if start is None:
        return jnp.full_like(like, jnp.nan)
    gaps = jax.tree.map(lambda x, y: jnp.abs(x - y[None]), now[0], start[0])
    moved = [
        jnp.max(gap.reshape(len(gap), -1), axis=1, initial=0)
        for gap in jax.tree.leaves(gaps)
    ]
    scale = jnp.maximum(now[1], start[1])
    return jnp.max(jnp.stack(moved), axis=0) / jnp.where(scale == 0, 1, scale)


def _ending(result: diffrax.RESULTS, last: _Look, kinked: bool) -> jax.Array:
    kinds = diffrax.RESULTS
    code = jnp.int32(endings.COLLAPSED)
    for kind, number in (
        (kinds.successful, endings.REACHED),
        (kinds.event_occurred, endings.STOPPED),
        (kinds.max_steps_reached, endings.TOO_MANY),
        (kinds.nonlinear_max_steps_reached, endings.UNSOLVED),
        (kinds.nonlinear_divergence, endings.UNSOLVED),
    ):
        code = jnp.where(result == kind, jnp.int32(number), code)
    if kinked:
        stalled = (code == endings.TOO_MANY) | (code == endings.COLLAPSED)
        code = jnp.where(stalled, jnp.int32(endings.SLIDING), code)
    finite = jnp.isfinite(last.loss) & jnp.isfinite(last.grad_norm)
    return jnp.where(finite, code, jnp.int32(endings.NOT_FINITE))


def _evaluations(solver: AnySolver, num_steps: jax.Array, calls: jax.Array) -> jax.Array:
    """Gradients taken: counted by the stabilized method, known for explicit ones."""
    if isinstance(solver, RungeKuttaChebyshev):
        return calls + jnp.int32(FIRST_EVALUATIONS)
    tableau = getattr(solver, "tableau", None)
    if not isinstance(solver, diffrax.AbstractERK) or tableau is None:
        return jnp.int32(-1)
    each = tableau.num_stages - int(tableau.fsal)
    return num_steps.astype(jnp.int32) * jnp.int32(each)


def _choose_solver(solver: object, rtol: ArrayLike) -> AnySolver:
    if isinstance(solver, diffrax.AbstractSolver):
        return solver
    name = _checks.one_of("solver", solver, get_args(Solver))
    if name == "auto":
        tight = _checks.concrete(rtol) and float(np.asarray(rtol)) < TIGHT
        name = "explicit" if tight else "stabilized"
    return SOLVERS[name]()
