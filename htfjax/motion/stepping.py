"""Step size control by the norm of the whole parameter vector, with a count of calls."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp

from htfjax import _numerics
from htfjax._types import ArrayLike, PyTree
from htfjax.motion.stabilized import FlowState, Real, Terms


class WholeNormController(diffrax.AbstractAdaptiveStepSizeController[Any, Any]):
    """Keeps ||error of a step|| below atol + rtol ||params||, both Euclidean.

    Weights that have not left zero are then not resolved beyond what the whole needs.
    Its state is that of diffrax's PI controller and the evaluations counted so far.
    """

    rtol: Any
    atol: Any
    inner: Any

    def __init__(self, rtol: ArrayLike, atol: ArrayLike, inner: Any = None) -> None:
        self.rtol, self.atol = rtol, atol
        one = jnp.ones_like(jnp.asarray(rtol))
        default = diffrax.PIDController(
            rtol=0 * one, atol=one, pcoeff=0.3, icoeff=0.4, norm=self.norm, factormax=5.0
        )
        self.inner = default if inner is None else inner

    @staticmethod
    def norm(error: PyTree) -> jax.Array:
        """Of the parameters, or the other clock's if that is larger."""
        if not isinstance(error, FlowState):
            return _numerics.safe_norm(error, axis=0)
        size = _numerics.safe_norm(error.params, axis=0)
        return jnp.maximum(size, jnp.abs(error.other))

    def wrap(self, direction: Real) -> "WholeNormController":
        """Passes the direction of time on."""
        return WholeNormController(self.rtol, self.atol, self.inner.wrap(direction))

    def init(
        self,
        terms: Terms,
        t0: Real,
        t1: Real,
        y0: FlowState,
        dt0: Real,
        args: PyTree,
        func: Callable[..., FlowState],
        error_order: Real | None,
    ) -> tuple[Real, tuple[Any, jax.Array]]:
        """A first step over which the slope moves a share of the tolerance."""
        if dt0 is None:
            slope = _numerics.safe_norm(func(terms, t0, y0, args).params, axis=0)
            reach = jnp.sqrt(self._allowed(y0, y0) * self._size(y0))
            still = slope == 0
            dt0 = jnp.where(still, t1 - t0, reach / jnp.where(still, 1, slope))
            # A step size is chosen, not differentiated.
            dt0 = jax.lax.stop_gradient(jnp.minimum(dt0, t1 - t0))
        begin, state = self.inner.init(terms, t0, t1, y0, dt0, args, func, error_order)
        return begin, (state, jnp.zeros((), jnp.int32))

    def adapt_step_size(
        self,
        t0: Real,
        t1: Real,
        y0: FlowState,
        y1_candidate: FlowState,
        args: PyTree,
        y_error: PyTree,
        error_order: Real,
        controller_state: tuple[Any, jax.Array],
    ) -> tuple[Any, ...]:
        """Divides the error by what is allowed and lets the PI controller decide."""
        state, calls = controller_state
        allowed = self._allowed(y0, y1_candidate)
        # The other clock keeps as many digits: its error is measured by its reading.
        tiny = jnp.finfo(allowed.dtype).tiny
        reading = self.atol + self.rtol * jnp.abs(y1_candidate.other)
        scaled = y_error._replace(
            params=y_error.params / allowed,
            other=y_error.other / jnp.maximum(reading, tiny),
        )
        keep, *place, state, result = self.inner.adapt_step_size(
            t0, t1, y0, y1_candidate, args, scaled, error_order, state
        )
        # Where a shorter step does not move the time any more, none will be accepted.
        stuck = ~keep & ~(place[1] > place[0])
        result = diffrax.RESULTS.where(stuck, diffrax.RESULTS.dt_min_reached, result)
        calls = calls + y_error.calls.astype(jnp.int32)
        return (keep, *place, (state, calls), result)

    def _size(self, y: FlowState) -> jax.Array:
        return _numerics.safe_norm(y.params, axis=0)

    def _allowed(self, one: FlowState, other: FlowState) -> jax.Array:
        size = jnp.maximum(self._size(one), self._size(other))
        # A start at exactly zero with atol = 0 has no scale of its own.
        tiny = jnp.finfo(one.params.dtype).tiny
        return jnp.maximum(self.atol + self.rtol * size, tiny)
