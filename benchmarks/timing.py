"""How long a small function takes inside a program."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["seconds_inside", "with_gradient"]


def seconds_inside(
    function: Callable[[Any], Any],
    operands: Any,
    *,
    repeats: int,
    inner: int = 10,
    summary: Callable[[Any], Any] = np.median,
) -> float:
    """Seconds of function(operands), `inner` of them in one program.

    In a loop, so that neither the call nor fresh memory for results counts. The results
    are carried to the next turn, whose operands wait for them. `summary` makes one number
    of the repeats'.
    """

    def again(carry: tuple, _: None) -> tuple[tuple, None]:
        # Without a use of what the barrier returns it would be removed, and the work
        # moved out of the loop.
        now, tie = lax.optimization_barrier((operands, carry[0]))
        results = function(now)
        used = [x.ravel()[0].astype(tie.dtype) for x in jax.tree.leaves(results)]
        return (tie + sum(used), results), None

    shapes = jax.eval_shape(function, operands)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    first = (jnp.zeros((), jnp.float32), zeros)
    program = jax.jit(lambda carry: lax.scan(again, carry, length=inner)[0])
    jax.block_until_ready(program(first))
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(program(first))
        times.append((time.perf_counter() - begun) / inner)
    return float(summary(times))


def with_gradient(function: Callable[[Any], jax.Array]) -> Callable[[Any], Any]:
    """The value, and the gradient with the value itself as cotangent."""

    def both(operands: Any) -> Any:
        value, pull = jax.vjp(function, operands)
        return value, pull(value)

    return both
