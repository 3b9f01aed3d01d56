"""Clocks that a flow can be run on: natural time, arc length, rescaled time."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from htfjax import _numerics
from htfjax._types import PyTree
from htfjax.factors.factors import AnyFactors
from htfjax.factors.stacks import opened

Clock = Literal["time", "arc", "rescaled"]
CLOCKS = get_args(Clock)


def rescaled_unit(params: PyTree) -> jax.Array:
    """s^-(m-2): natural time per unit of rescaled time, s the RMS weight, m arrays.

    The time in which small weights leave zero grows like this unit where all m arrays
    start at one scale and multiply (law F10: m > 2, degree m). On the rescaled clock the
    transitions of starts that differ by such a scale alone then line up, up to corrections
    that vanish with the scale. It is a unit of time, one number per run: it does not
    follow the weights as they grow, and it is one for m <= 2, where escape is exponential.

    Args:
      params: the start, a pytree of m arrays; of factors the trained matrices count.

    Returns:
      () array, 1 for m <= 2 or all zeros.

    Source: law F10 (escape times from a small start).
    """
    leaves = jax.tree.leaves(params)
    count = len(leaves)
    if isinstance(params, AnyFactors):
        layout, stacks = opened(params)
        pairs = zip(layout.groups, stacks, strict=True)
        leaves = [stack for nodes, stack in pairs if layout.trained[nodes[0]]]
        count = sum(layout.trained)
    size, power = sum(x.size for x in leaves), count - 2
    rms = _numerics.safe_sqrt(_numerics.sum_squares(leaves) / max(size, 1))
    still = (rms == 0) | (power <= 0)
    return jnp.where(still, 1, jnp.where(still, 1, rms) ** (-max(power, 0)))


def rates(
    clock: Clock, grad_norm: jax.Array, unit: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """d time / d clock, and d (the other clock) / d clock.

    The other clock is natural time for "arc" and arc length for the rest. At a critical
    point the arc clock stands still: no direction, no motion.
    """
    if clock == "arc":
        still = grad_norm == 0
        pace = jnp.where(still, 0, 1 / jnp.where(still, 1, grad_norm))
        return pace, pace
    pace = unit if clock == "rescaled" else jnp.ones_like(grad_norm)
    return pace, pace * grad_norm
