"""GroupRMSprop: one adaptive scalar step for all parameters together."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from htfjax import _checks, _numerics
from htfjax._types import ArrayLike, Params, PyTree


class GroupRmsState(NamedTuple):
    """State of `scale_by_group_rms`: a pytree of scalars."""

    num_updates: jax.Array  # () int32
    mean_square: jax.Array  # () decayed mean of the squared gradient norm
    slow_steps: jax.Array  # () int32, updates whose RMS gradient was below 10 eps


def scale_by_group_rms(
    decay: ArrayLike = 0.99, eps: ArrayLike = 1e-6
) -> optax.GradientTransformation:
    """Divides the whole gradient by a running RMS of its norm.

    s <- decay s + (1 - decay) sum_p ||g_p||^2;  g <- g / (sqrt(s / (1 - decay^t)) + eps).

    One scalar for the whole pytree, so this is gradient descent under a change of time.
    Its conservation laws hold as descent's do: a step of size eta moves a conserved
    quantity by exactly eta^2 times that of the gradient (F2), and the division keeps steps
    of one length however small the gradient, so that drift goes on over long runs, about
    in proportion to learning rate^2 times steps. While the RMS
    gradient lies below `eps` it is plain descent with step 1/eps: the long flat start of
    small initializations; `slow_steps` counts the steps below 10 eps.

    Args:
      decay: of the running mean, in [0, 1).
      eps: added to the RMS; 0 is legal and makes every step a unit step in RMS.

    Returns:
      An optax transformation. A zero gradient gives a zero update.

    Raises:
      TypeError: not real numbers. ValueError: `decay` outside [0, 1), negative `eps`.

    Source: as used by arXiv:2201.11729.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> rms = htf.scale_by_group_rms(eps=0.0)
      >>> update, _ = rms.update(jnp.array([3.0, 4.0]), rms.init(jnp.zeros(2)))
      >>> update.round(4).tolist()
      [0.6, 0.8]
    """
    _checks.positive("decay", decay)
    _checks.positive("eps", eps)
    if _checks.concrete(decay) and float(np.asarray(decay)) >= 1:
        raise ValueError(f"`decay={decay}` must be below 1.")

    def init(params: PyTree) -> GroupRmsState:
        _checks.parameters("params", params)
        dtype = jnp.result_type(*jax.tree.leaves(params))
        zero = jnp.zeros((), jnp.int32)
        return GroupRmsState(zero, jnp.zeros((), dtype), zero)

    def update(
        updates: Params, state: PyTree, params: PyTree = None
    ) -> tuple[Params, GroupRmsState]:
        del params
        dtype = state.mean_square.dtype
        keep, floor = jnp.asarray(decay, dtype), jnp.asarray(eps, dtype)
        square = _numerics.sum_squares(updates).astype(dtype)
        mean_square = keep * state.mean_square + (1 - keep) * square
        count = state.num_updates + jnp.int32(1)
        bias = 1 - keep ** count.astype(dtype)
        rms = _numerics.root(mean_square / bias)
        divisor = rms + floor
        zero = divisor == 0
        scale = jnp.where(zero, 0, 1 / jnp.where(zero, 1, divisor))
        slow = state.slow_steps + (rms < 10 * floor).astype(jnp.int32)
        scaled = jax.tree.map(lambda g: g * scale.astype(g.dtype), updates)
        return scaled, GroupRmsState(count, mean_square, slow)

    return optax.GradientTransformation(init, update)


def group_rmsprop(
    learning_rate: ArrayLike | optax.Schedule,
    decay: ArrayLike = 0.99,
    eps: ArrayLike = 1e-6,
) -> optax.GradientTransformation:
    """Gradient descent with the scalar step learning_rate / (RMS gradient norm + eps).

    Args:
      learning_rate: a number or an optax schedule.
      decay, eps: as in `scale_by_group_rms`.

    Raises:
      TypeError: a learning rate that is neither a number nor callable.
      ValueError: a negative or non-finite learning rate, bad `decay` or `eps`.

    Source: as used by arXiv:2201.11729.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> optimizer = htf.group_rmsprop(0.1, eps=0.0)
      >>> update, _ = optimizer.update(jnp.array([3.0, 4.0]), optimizer.init(jnp.zeros(2)))
      >>> [round(x, 4) for x in update.tolist()]
      [-0.06, -0.08]
    """
    rate: Any = learning_rate
    if not callable(learning_rate):
        _checks.positive("learning_rate", learning_rate)
        # A number of any dtype scales updates of any other.
        if _checks.concrete(learning_rate):
            rate = float(np.asarray(learning_rate))
    return optax.chain(scale_by_group_rms(decay, eps), optax.scale_by_learning_rate(rate))
