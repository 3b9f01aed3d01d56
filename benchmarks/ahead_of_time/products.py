"""Products: flops of the matrix products and convolutions that a program asks for."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend import core


def flops(jaxpr: core.Jaxpr) -> float:
    """Flops of all products of a program, each as often as it runs.

    Loops of a known number of turns count so often, others once; of branches the most
    costly one counts. Inside a `shard_map` the work of one device counts.
    """
    return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _dot(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inside = [flops(jaxpr) for jaxpr in _jaxprs(params)]
    if name == "cond":
        return max(inside, default=0.0)
    return params.get("length", 1) * sum(inside) if name == "scan" else sum(inside)


def _jaxprs(params: dict[str, object]) -> Iterator[core.Jaxpr]:
    for value in jax.tree.leaves(
        list(params.values()),
        is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr),
    ):
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value


def _dot(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    depth = math.prod(shape[axis] for axis in contracted)
    return 2.0 * depth * equation.outvars[0].aval.size


def _convolution(equation: Any) -> float:
    """Of a dilated one too, as derivatives have them, every position of the kernel."""
    kernel = equation.invars[1].aval.shape
    out = equation.params["dimension_numbers"].rhs_spec[0]
    taps = math.prod(kernel) // kernel[out]
    return 2.0 * taps * equation.outvars[0].aval.size
