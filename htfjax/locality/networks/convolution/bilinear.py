"""Bilinear operations on many images, with derivatives of our own choice."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Operation = Callable[..., jax.Array]


def bilinear(
    name: str,
    function: Operation,
    shape: Callable[..., tuple[int, ...]],
    transposes: tuple[Operation, Operation],
    options: tuple[str, ...],
) -> Operation:
    """f(x, w, **options), linear in both, with derivatives of every order and mode.

    The leading axis of x counts images that are treated alike: `vmap` over x makes it
    longer, while with a w of its own each is computed by `function`.

    In `shard_map` (jax's own operations know what varies over devices, a primitive of ours
    does not) and for two dtypes it is `function` with jax's derivatives.

    Args:
      name: as it is shown in jaxprs.
      function: f(x, w, **options) in jax's operations, to compute it with.
      shape: of the result, from x, w and the options; its dtype and its place are those
        of x.
      transposes: the cotangents of x and of w, from that of f, x, w and the options; what
        is wanted is an undefined primal there.
      options: static.
    """
    primitive = Primitive(name)

    def abstract(x: ShapedArray, w: ShapedArray, **given: Any) -> ShapedArray:
        return x.update(shape=shape(x, w, **given))

    def batched(args: tuple, axes: tuple, **given: Any) -> tuple[jax.Array, int]:
        (x, w), (axis, other) = args, axes
        if other is not None:
            each = jax.vmap(lambda x, w: function(x, w, **given), in_axes=(axis, other))
            return each(x, w), 0
        x = jnp.moveaxis(x, axis, 0)
        y = primitive.bind(x.reshape(-1, *x.shape[2:]), w, **given)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0

    primitive.def_impl(jax.jit(function, static_argnames=options))
    primitive.def_abstract_eval(abstract)
    ad.defbilinear(primitive, *transposes)
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))

    def apply(x: jax.Array, w: jax.Array, **given: Any) -> jax.Array:
        if jax.sharding.get_abstract_mesh().manual_axes or x.dtype != w.dtype:
            return function(x, w, **given)
        return primitive.bind(x, w, **given)

    return apply
