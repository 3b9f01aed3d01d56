"""Checks of a flow's arguments, before anything fails or misleads in the middle."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._types import ArrayLike, Numbers, PyTree
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import layout_of
from htfjax.losses.gradient import Carrying, Loss, check_loss, is_scaled, value_and_grad

# A tolerance below this many roundings cannot be met.
ROUNDINGS = 16


def parameter_dtype(params: PyTree) -> np.dtype:
    """The one floating dtype of the parameters."""
    if isinstance(params, Carrying):
        raise TypeError(
            "`params` is a `Carrying`, but a flow hands nothing on; give what is trained."
        )
    _checks.parameters("params", params)
    leaves = jax.tree.leaves(params)
    dtypes = {jnp.result_type(x) for x in leaves}
    if len(dtypes) > 1 or not jnp.issubdtype(next(iter(dtypes)), jnp.floating):
        raise TypeError(
            "`params` must be floating arrays of one dtype, got "
            f"{sorted(map(str, dtypes))}."
        )
    if isinstance(params, AnyFactors):
        layout_of(params, "params")
    return dtypes.pop()


def check_times(times: Numbers, dtype: np.dtype) -> jax.Array:
    """Increasing times that do not begin before the start, as an array."""
    values = _checks.real_array("times", times)
    if np.ndim(values) != 1 or not np.size(values):
        raise ValueError(f"`times` must be (K,), got shape {np.shape(values)}.")
    if _checks.concrete(values):
        rounded = np.asarray(values, dtype)
        if not np.all(np.isfinite(rounded)) or not np.all(np.diff(rounded) > 0):
            raise ValueError(
                f"`times` must increase, got {_shorten(values)} (read as {dtype})."
            )
        if rounded[0] < 0:
            raise ValueError(f"`times` starts at {rounded[0]}; the flow starts at 0.")
        if rounded[-1] == 0:
            raise ValueError("`times` ends at 0, where the flow starts.")
    return jnp.asarray(values, dtype)


def check_tolerances(
    params: PyTree, rtol: ArrayLike, atol: ArrayLike, dtype: np.dtype
) -> None:
    """Tolerances that the dtype can meet."""
    _checks.positive("rtol", rtol)
    _checks.positive("atol", atol)
    leaves = jax.tree.leaves(params)
    if not all(map(_checks.concrete, (rtol, atol, *leaves))):
        return
    size = float(np.sqrt(sum(np.sum(np.square(np.asarray(x, float))) for x in leaves)))
    finest = ROUNDINGS * float(jnp.finfo(dtype).eps)
    relative, absolute = (float(np.asarray(x)) for x in (rtol, atol))
    if relative < finest and absolute < finest * size:
        raise ValueError(
            f"`rtol={rtol}` with `atol={atol}` cannot be met in {dtype}, which resolves "
            f"{finest:.1e} of the parameters (norm {size:.1e}); loosen them"
            + ("." if dtype == np.float64 else " or use float64.")
        )


def check_flow_loss(loss: Loss, params: PyTree) -> None:
    """A loss whose gradient has its true length, as time is measured by it."""
    check_loss("loss", loss, params)
    if is_scaled(loss):
        raise TypeError(
            "`loss` contains a `scaled_loss`, whose gradient has the right direction but "
            "not the right length, which a flow needs; give the loss that was scaled, in a "
            "wider dtype where its gradient underflows."
        )


def check_start(loss: Loss, params: PyTree) -> None:
    """A scalar loss, finite with its gradient at the start."""
    if not all(map(_checks.concrete, jax.tree.leaves((loss, params)))):
        jax.eval_shape(lambda params: value_and_grad(loss, params), params)
        return
    value, finite = _look_at_start(params, loss)
    # Traced after all where `loss` closes over something traced, or under jit.
    if _checks.concrete(finite) and not bool(finite):
        raise ValueError(
            f"`loss` is {float(value)} at the start, or its gradient is not finite there."
        )


@eqx.filter_jit
def _look_at_start(params: PyTree, loss: Loss) -> tuple[jax.Array, jax.Array]:
    (value, _), grads = value_and_grad(loss, params)
    sound = [jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(grads)]
    return value, jnp.isfinite(value) & jnp.all(jnp.stack(sound))


def _shorten(values: ArrayLike) -> str:
    return np.array2string(np.asarray(values), threshold=8, edgeitems=3)
