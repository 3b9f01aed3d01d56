"""Sums and multiples of losses, with one gradient: also of losses with scaled gradients."""

import dataclasses
import functools
import inspect
import operator
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax.losses.gradient import (
    Carrying,
    ScaledGradient,
    brings_gradient,
    check_loss,
    is_scaled,
    value_and_grad,
)

__all__ = ["SumLoss", "Summable"]


class Summable:
    """A loss that can be added to others and multiplied by numbers.

    The other term of `+` may be any loss; a function of the parameters is called with the
    key only if it has a parameter named `key`.
    """

    __array_ufunc__ = None  # NumPy's numbers leave the multiplication to the loss

    def __add__(self, other: Any) -> "SumLoss":
        """The sum."""
        if not (callable(other) or brings_gradient(other)):
            return NotImplemented
        pairs = [*_terms(self), *_terms(other)]
        losses, weights = zip(*pairs, strict=True)
        return SumLoss(losses, weights)

    __radd__ = __add__

    def __mul__(self, factor: Any) -> "SumLoss":
        """The multiple."""
        if callable(factor):
            return NotImplemented
        _checks.real("factor", factor)
        losses, weights = zip(*_terms(self), strict=True)
        return SumLoss(losses, tuple(factor * weight for weight in weights))

    __rmul__ = __mul__


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class SumLoss(Summable):
    """A sum of losses, each times a weight; made by `+` and `*`.

    If the gradient of one term is scaled, that of the sum is: all terms are brought to one
    power of two before they are added.
    """

    losses: tuple[Any, ...]
    weights: tuple[Any, ...]  # real numbers

    @property
    def is_scaled(self) -> bool:
        """Whether the gradient is a mantissa."""
        return any(map(is_scaled, self.losses))

    def __call__(self, params: Any, key: jax.Array | None = None) -> jax.Array:
        """The weighted sum of the values, ()."""
        return self._sum([_value(loss, params, key) for loss in self.losses])

    def value_and_grad(self, params: Any, key: jax.Array | None = None) -> tuple:
        """((value, ()), gradient), the latter times a power of two if `is_scaled`."""
        if self.is_scaled:
            found = self.scaled_value_and_grad(params, key)
            return (found.value, ()), found.gradient
        parts = [_plain(loss, params, key) for loss in self.losses]
        gradients = [_times(w, g) for w, (_, g) in zip(self.weights, parts, strict=True)]
        value = self._sum([value for value, _ in parts])
        return (value, ()), functools.reduce(_plus, gradients)

    def scaled_value_and_grad(
        self, params: Any, key: jax.Array | None = None
    ) -> ScaledGradient:
        """Value and gradient as a mantissa with one power of two for all terms."""
        parts = [_scaled(loss, params, key) for loss in self.losses]
        value = self._sum([part.value for part in parts])
        gradients = [
            _normalized(_times(weight, part.gradient), part.log2_scale)
            for weight, part in zip(self.weights, parts, strict=True)
        ]
        top = functools.reduce(jnp.maximum, [exponent for _, exponent in gradients])
        total = functools.reduce(_plus, [_shift(g, e - top) for g, e in gradients])
        mantissa, exponent = _normalized(total, top)
        exponent = jnp.where(exponent == ZERO, jnp.int32(0), exponent)
        return ScaledGradient(value, mantissa, exponent)

    def _sum(self, values: list[jax.Array]) -> jax.Array:
        dtype = values[0].dtype
        terms = [
            jnp.asarray(weight, dtype) * value.astype(dtype)
            for weight, value in zip(self.weights, values, strict=True)
        ]
        return functools.reduce(operator.add, terms)


# Exponent of a gradient that is zero: below all others, and far from the end of int32.
ZERO = -(2**29)


def _terms(loss: Any) -> list[tuple[Any, Any]]:
    """Losses and weights of what is added; functions as pytrees without leaves."""
    if isinstance(loss, SumLoss):
        return list(zip(loss.losses, loss.weights, strict=True))
    check_loss("loss", loss)
    if callable(loss) and jax.tree.leaves(loss) == [loss]:
        return [(jax.tree_util.Partial(loss), 1.0)]
    return [(loss, 1.0)]


def _value(loss: Any, params: Any, key: jax.Array | None) -> jax.Array:
    return _checks.scalar_valued("loss", loss)(params, *_keys(loss, key))


def _plain(loss: Any, params: Any, key: jax.Array | None) -> tuple[jax.Array, Any]:
    if isinstance(params, Carrying):
        raise TypeError(
            "`params` is a `Carrying`, but a sum of losses hands nothing on; add the terms "
            "within one loss function."
        )
    own = (key,) if brings_gradient(loss) else _keys(loss, key)
    (value, _), gradient = value_and_grad(loss, params, *own)
    return value, gradient


def _scaled(loss: Any, params: Any, key: jax.Array | None) -> ScaledGradient:
    if is_scaled(loss):
        return loss.scaled_value_and_grad(params, key)
    return ScaledGradient(*_plain(loss, params, key), jnp.int32(0))


def _keys(loss: Any, key: jax.Array | None) -> tuple:
    """The key, for a term with a parameter of that name."""
    return (key,) if key is not None and "key" in inspect.signature(loss).parameters else ()


def _times(weight: Any, gradient: Any) -> Any:
    return jax.tree.map(lambda g: jnp.asarray(weight, g.dtype) * g, gradient)


def _plus(one: Any, other: Any) -> Any:
    return jax.tree.map(jnp.add, one, other)


def _shift(gradient: Any, exponent: jax.Array) -> Any:
    return jax.tree.map(lambda g: _numerics.shifted(g, exponent), gradient)


def _normalized(gradient: Any, exponent: jax.Array) -> tuple[Any, jax.Array]:
    """The same with its largest entry in [1/2, 1), and its exponent."""
    leaves = jax.tree.leaves(gradient)
    tops = jnp.stack([jnp.max(jnp.abs(g), initial=0) for g in leaves])
    _, more = _numerics.normalized(tops)
    zero = jnp.all(tops == 0)
    return _shift(gradient, -more), jnp.where(zero, jnp.int32(ZERO), exponent + more)
