"""Closed forms of trajectories: rank-one factors, and norms under a constant force."""

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._types import Array, Float, Numbers


def rank_one_scale(
    time: Numbers, start: Numbers, norm: Numbers, num_matrices: int
) -> Float[Array, "..."]:
    """s(t) of rank-one balanced factors pulled towards a rank-one A by L(W) = -<A, W>.

    All widths one, all ||W_v|| = s(0), leaf vectors along those of A: then
    ds/dt = ||A|| s^(m-1) for m matrices, so

        s(t) = (s(0)^(2-m) - (m - 2) ||A|| t)^(-1/(m-2)),   m > 2,

    s(0) exp(||A|| t) for m = 2 and s(0) + ||A|| t for m = 1.

    Args:
      time: (...,) zero or more.
      start: s(0), above zero, (...,).
      norm: ||A||_F, zero or more, (...,).
      num_matrices: m, the degree of the factors.

    Returns:
      Infinite from the blow-up time on.

    Raises:
      TypeError: arguments that are not real numbers. ValueError: `start` not above zero, a
        negative `time` or `norm`, anything not finite, `num_matrices` below 1.

    Source: law F10.

    Example:
      >>> import htfjax as htf
      >>> round(float(htf.theory.rank_one_scale(0.25, 1.0, 2.0, 3)), 6)
      2.0
    """
    count = _checks.at_least("num_matrices", num_matrices, 1)
    return _pulled(*_floats(time=time, start=start, norm=norm), count=count)


def rank_one_blow_up_time(
    start: Numbers, norm: Numbers, num_matrices: int
) -> Float[Array, "..."]:
    """Time at which `rank_one_scale` becomes infinite: s(0)^(2-m) / ((m - 2) ||A||).

    For m > 2 the time in which a start of scale s leaves zero grows as s^-(m-2): the unit
    of `gradient_flow`'s rescaled clock. For m = 2 there is no such time: growth is
    exponential, and a start reaches size one after log(1 / s(0)) / ||A||.

    Args, raises: as `rank_one_scale`.

    Returns:
      Infinite for m <= 2.

    Source: law F10.

    Example:
      >>> import htfjax as htf
      >>> float(htf.theory.rank_one_blow_up_time(1.0, 2.0, 3))
      0.5
    """
    count = _checks.at_least("num_matrices", num_matrices, 1)
    return _escape_time(*_floats(start=start, norm=norm), count=count)


def rank_one_limit(norm: Numbers, num_matrices: int) -> Float[Array, "..."]:
    """Limit of s(t) for L(W) = 1/2 ||W - A||^2: ||A||^(1/m).

    The same factors as in `rank_one_scale`; ds/dt = s^(m-1) (||A|| - s^m).

    Raises:
      TypeError, ValueError: as `rank_one_scale`.

    Source: law F10.

    Example:
      >>> import htfjax as htf
      >>> round(float(htf.theory.rank_one_limit(8.0, 3)), 6)
      2.0
    """
    count = _checks.at_least("num_matrices", num_matrices, 1)
    return _floats(norm=norm)[0] ** (1 / count)


def constant_force_norm(
    time: Numbers, start: Numbers, force: Numbers, length: int
) -> Float[Array, "..."]:
    """sigma(t) of the balanced growth law under a constant force gamma.

        sigma(t) = (sigma(0)^-(1 - 2/L) - (L - 2) gamma t)^(-L/(L-2)),   L > 2,

    sigma(0) exp(2 gamma t) for L = 2 and sigma(0) + gamma t for L = 1. Under one force the
    ratio of two norms stays for L = 2 and falls to one for L = 1; for L > 2 it grows, and
    it is infinite when the leader blows up, while the other is still finite. That is why
    components rise one at a time. For L = 2 it takes forces that differ.

    Args:
      time: (...,) zero or more.
      start: sigma(0), above zero, (...,).
      force: gamma, of either sign, (...,).
      length: L, the number of vectors of a component.

    Returns:
      Infinite from the blow-up time on, zero once sigma reached zero (L = 1).

    Raises:
      TypeError: arguments that are not real numbers. ValueError: `start` not above zero, a
        negative `time`, anything not finite, `length` below 1.

    Source: law F11.

    Example:
      >>> import htfjax as htf
      >>> round(float(htf.theory.constant_force_norm(0.5, 1.0, 1.0, 3)), 6)
      8.0
    """
    count = _checks.at_least("length", length, 1)
    t, s, gamma = _floats(time=time, start=start, force=force)
    # Each of the L vectors is sigma^(1/L) long and is pulled like the matrices of F10.
    each = _pulled(t, s ** (1 / count), gamma, count)
    return jnp.maximum(each, 0) if count == 1 else each**count


def blow_up_time(start: Numbers, force: Numbers, length: int) -> Float[Array, "..."]:
    """Time of `constant_force_norm` becoming infinite: sigma(0)^-(1-2/L) / ((L - 2) gamma).

    Args, raises: as `constant_force_norm`.

    Returns:
      Infinite for L <= 2 and for forces that are not above zero.

    Source: law F11.

    Example:
      >>> import htfjax as htf
      >>> float(htf.theory.blow_up_time(1.0, 0.5, 3))
      2.0
    """
    count = _checks.at_least("length", length, 1)
    s, gamma = _floats(start=start, force=force)
    pushed = gamma > 0
    escape = _escape_time(s ** (1 / count), jnp.where(pushed, gamma, 1), count)
    return jnp.where(pushed, escape, jnp.inf)


def _pulled(time: jax.Array, start: jax.Array, force: jax.Array, count: int) -> jax.Array:
    """s(t) with ds/dt = force s^(count-1): infinite from `_escape_time` on."""
    if count == 2:
        return start * jnp.exp(force * time)
    base = start ** (2 - count) - (count - 2) * force * time
    if count == 1:
        return base
    over = base <= 0
    power = jnp.where(over, 1, base) ** (-1 / (count - 2))
    return jnp.where(over, jnp.inf, power)


def _escape_time(start: jax.Array, force: jax.Array, count: int) -> jax.Array:
    if count <= 2:
        return jnp.full_like(start * force, jnp.inf)
    return start ** (2 - count) / ((count - 2) * force)


def _floats(**values: Numbers) -> list[jax.Array]:
    """Arrays of one floating dtype and one shape: those of the widest argument."""
    arrays = {
        name: value if isinstance(value, jax.Array) else _checks.real_array(name, value)
        for name, value in values.items()
    }
    kinds = [
        a.dtype
        for name, a in arrays.items()
        if jnp.issubdtype(a.dtype, jnp.floating) and not _is_weak(values[name])
    ]
    default = jnp.result_type(float)
    dtype = max(kinds, key=lambda kind: kind.itemsize, default=default)
    if not 4 <= dtype.itemsize <= default.itemsize:  # half precision is too coarse
        dtype = default if dtype.itemsize > 4 else np.dtype(np.float32)
    checked = []
    for name, array in arrays.items():
        strict = name == "start"
        least = -np.inf if name == "force" else 0
        checked.append(_checks.bounded(name, array, dtype, least=least, strict=strict))
    try:
        return list(jnp.broadcast_arrays(*checked))
    except ValueError as error:
        names = " and ".join(f"`{name}`" for name in values)
        raise ValueError(f"{names} do not broadcast: {error}.") from error


def _is_weak(value: object) -> bool:
    """Whether a value follows the dtype of the others, as Python's numbers do."""
    return not hasattr(value, "dtype") or getattr(value, "weak_type", False)
