"""The control penalty: the size of input gradients, whatever their direction."""

import jax
import jax.numpy as jnp
from jax import lax

from htfjax import _checks
from htfjax._derivatives import only_slope
from htfjax._types import Array, ArrayLike, Float, Key, Numbers, PyTree
from htfjax.locality import inputs as _inputs
from htfjax.locality.regularizer.regularizer import (
    Apply,
    Fit,
    Measured,
    Statistics,
    check_key,
    checked_apply,
    checked_fit,
    counted,
)

SECOND = (
    "`gradient_norm_loss` takes the gradient of its penalty in two stages, which has no "
    "derivative: for second derivatives write the penalty out, with `jax.grad` for g."
)


def gradient_norm_loss(
    apply: Apply[Statistics],
    fit: Fit,
    params: PyTree,
    statistics: Statistics,
    x: Numbers,
    *,
    coefficient: ArrayLike,
    labels: Numbers | None = None,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, ""], tuple[Statistics, Measured]]:
    """fit(logits) + coefficient G, G = mean_i |g_i|^2 with g = d sum_i z_i / dx.

    Also smooths a network but says nothing about distance: what it does not do and the
    locality regularizer does is due to locality. One pass in train mode; the gradient
    costs reverse over forward, as there; second derivatives are refused.

    Args, returns, raises: as `regularized_loss`, without patches; `Measured.change` is G,
    `Measured.unseen` the number of images with no input gradient at all,
    `Measured.uncoupled` 0, as no patches are compared.

    Source: Drucker and LeCun (1992), double backpropagation.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> def apply(w, statistics, x, *, train, key):
      ...     return jnp.sum(w * x, axis=(1, 2, 3)), statistics
      >>> x = jnp.ones((4, 2, 2, 1))
      >>> value, (_, seen) = locality.gradient_norm_loss(
      ...     apply, jnp.mean, jnp.full((1, 2, 2, 1), 3.0), {}, x, coefficient=0.5)
      >>> float(seen.change), float(value)
      (36.0, 30.0)
    """
    _checks.real("coefficient", coefficient)
    check_key(key)
    run, fit, images = checked_apply(apply), checked_fit(fit), _inputs.images("x", x)

    def net(x: jax.Array) -> tuple:
        logits, after = run(params, statistics, x, train=True, key=key)
        return logits, (logits, after)

    grads = lax.stop_gradient(
        jax.grad(lambda x: jnp.sum(counted(net(x)[0], labels, "apply")))(images)
    )
    weight = jnp.asarray(coefficient, images.dtype)
    norm = jnp.sum(jnp.square(grads)) / jnp.asarray(images.shape[0], images.dtype)
    slope = grads * (2 / images.shape[0]) * lax.stop_gradient(weight)
    _, derivatives, (logits, after) = jax.jvp(net, (images,), (slope,), has_aux=True)
    slope = only_slope(jnp.sum(counted(derivatives, labels, "apply")), SECOND)
    loss = fit(logits)
    penalty = weight * norm + slope
    unseen = jnp.sum(jnp.all(grads == 0, axis=(1, 2, 3)), dtype=jnp.int32)
    value = loss + penalty.astype(loss.dtype)
    measured = Measured(loss, norm, logits, unseen, jnp.zeros_like(unseen))
    return value, (after, measured)
