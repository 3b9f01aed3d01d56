"""Sums and multiples of losses, with one gradient: also of losses with scaled gradients."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from wadler_lindig import AbstractDoc

from htfjax import _checks, _numerics, _reprs
from htfjax._types import Array, ArrayLike, Float, Key, PyTree
from htfjax.losses.gradient import (
    Carrying,
    Gradient,
    ScaledGradient,
    brings_gradient,
    is_scaled,
    prepared,
    value_and_grad,
    with_scale,
)
from htfjax.losses.squares import check_squares, residual_vector

Tree = TypeVar("Tree")  # a pytree of arrays
Term = tuple[Any, Any]  # a loss and its weight, a number


class Summable:
    """A loss that can be added to others, subtracted and multiplied or divided by numbers.

    The other term of `+` may be any loss; a function of the parameters is called with the
    key only if it has a parameter named `key`.
    """

    __array_ufunc__ = None  # NumPy's numbers leave the multiplication to the loss

    def __add__(self, other: object) -> "SumLoss":
        """The sum; Python's `sum` begins with 0."""
        if type(other) is int and other == 0:
            return SumLoss(_terms(self))
        if not _is_loss(other):
            return NotImplemented
        return SumLoss((*_terms(self), *_terms(other)))

    __radd__ = __add__

    def __sub__(self, other: object) -> "SumLoss":
        """The difference."""
        return self + -SumLoss(_terms(other)) if _is_loss(other) else NotImplemented

    def __rsub__(self, other: object) -> "SumLoss":
        """The difference from a function."""
        return SumLoss(_terms(other)) + -self if _is_loss(other) else NotImplemented

    def __neg__(self) -> "SumLoss":
        """The negative."""
        return self * -1.0

    def __mul__(self, factor: ArrayLike) -> "SumLoss":
        """The multiple."""
        if callable(factor):
            return NotImplemented
        _checks.real("factor", factor)
        return SumLoss(tuple((loss, _product(factor, w)) for loss, w in _terms(self)))

    __rmul__ = __mul__

    def __truediv__(self, divisor: ArrayLike) -> "SumLoss":
        """The quotient."""
        if callable(divisor):
            return NotImplemented
        _checks.real("divisor", divisor)
        if _checks.concrete(divisor) and divisor == 0:
            raise ValueError("`divisor` is zero; give a number to divide the loss by.")
        return self * (1.0 / divisor)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class SumLoss(Summable):
    """A sum of losses, each times a weight; made by `+` and `*`.

    If the gradient of one term is scaled, that of the sum is: all terms that can be are
    scaled too, and brought to one power of two before they are added.
    """

    terms: tuple[Term, ...]

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Terms as they are written: a weight of 1 is left out."""
        return _reprs.total(self, (_reprs.times(w, loss) for loss, w in self.terms))

    @property
    def is_scaled(self) -> bool:
        """Whether the gradient is a mantissa."""
        return any(is_scaled(loss) for loss, _ in self.terms)

    def check_weights(self, params: PyTree) -> None:
        """Weights that the dtypes of the parameters hold, where they can be seen.

        Raises:
          ValueError: a weight that becomes zero or infinite.
        """
        for dtype in {jnp.result_type(x) for x in jax.tree.leaves(params)}:
            if jnp.issubdtype(dtype, jnp.inexact):
                for _, weight in self.terms:
                    _held(weight, dtype)

    def __call__(
        self, params: PyTree, key: Key[Array, ""] | None = None
    ) -> Float[Array, ""]:
        """The weighted sum of the values."""
        return _sum(
            _times(weight, _checks.scalar_valued("loss", loss)(params, *_keys(loss, key)))
            for loss, weight in self.terms
        )

    def residual_vector(
        self, params: PyTree, key: Key[Array, ""] | None = None
    ) -> Float[Array, "M"]:
        """Those of all terms, each times the root of its weight.

        Raises:
          TypeError: a term that has none. ValueError: a negative weight.
        """
        self.check_squares()
        parts = []
        for loss, weight in self.terms:
            found = residual_vector(loss, params, key)
            parts.append(jnp.sqrt(jnp.asarray(weight, found.dtype)) * found)
        return jnp.concatenate(parts)

    def check_squares(self) -> None:
        """Terms that are sums of squares, with weights that are not negative."""
        for loss, weight in self.terms:
            check_squares(loss)
            if _checks.concrete(weight) and weight < 0:
                raise ValueError(
                    f"`loss` has a term with the weight {weight}: a difference of losses "
                    "is no sum of squares."
                )

    def value_and_grad(self, params: PyTree, key: jax.Array | None = None) -> Gradient:
        """((value, ()), gradient), the latter times a power of two if `is_scaled`."""
        if self.is_scaled:
            found = self.scaled_value_and_grad(params, key)
            return (found.value, ()), found.gradient
        parts = [_part(*term, params, key) for term in self.terms]
        gradient = _sum(part.gradient for part in parts)
        return (_sum(part.value for part in parts), ()), gradient

    def scaled_value_and_grad(
        self, params: PyTree, key: jax.Array | None = None
    ) -> ScaledGradient:
        """Value, and gradient as a mantissa with one power of two for all terms."""
        # A gradient that underflows before it is scaled would be missing in the sum.
        parts = [_part(with_scale(loss), w, params, key) for loss, w in self.terms]
        gradients = [_normalized(part.gradient, part.log2_scale) for part in parts]
        top = functools.reduce(jnp.maximum, [exponent for _, exponent in gradients])
        total = _sum(_shift(g, e - top) for g, e in gradients)
        mantissa, exponent = _normalized(total, top)
        exponent = jnp.where(exponent == ZERO, jnp.int32(0), exponent)
        return ScaledGradient(_sum(part.value for part in parts), mantissa, exponent)


@prepared.register
def _(loss: SumLoss) -> SumLoss:
    return SumLoss(tuple([(prepared(term), weight) for term, weight in loss.terms]))


# Exponent of a gradient that is zero: below all others, and far from the end of int32.
ZERO = -(2**29)


def _is_loss(other: object) -> bool:
    return callable(other) or brings_gradient(other)


def _product(factor: ArrayLike, weight: ArrayLike) -> ArrayLike:
    """The product of two weights, which the default floating dtype must hold."""
    if _checks.concrete(factor) and _checks.concrete(weight):
        both = float(np.asarray(factor)) * float(np.asarray(weight))
        _checks.scalar("factor", both, jnp.result_type(float))
    return factor * weight


def _terms(loss: object) -> tuple[Term, ...]:
    """Losses and weights of what is added; functions as pytrees without leaves."""
    if isinstance(loss, SumLoss):
        return loss.terms
    if callable(loss) and jax.tree_util.all_leaves([loss]):
        loss = jax.tree_util.Partial(loss)
    return ((loss, 1.0),)


def _part(
    loss: Any, weight: ArrayLike, params: PyTree, key: jax.Array | None
) -> ScaledGradient:
    """Value and gradient of a term, times its weight; exponent 0 unless it is scaled."""
    if is_scaled(loss):
        value, gradient, exponent = loss.scaled_value_and_grad(params, key)
    elif isinstance(params, Carrying):
        raise TypeError(
            "`params` is a `Carrying`, but a sum of losses hands nothing on; add the terms "
            "within one loss function."
        )
    else:
        own = (key,) if brings_gradient(loss) else _keys(loss, key)
        (value, _), gradient = value_and_grad(loss, params, *own)
        exponent = jnp.int32(0)
    return ScaledGradient(_times(weight, value), _times(weight, gradient), exponent)


def _keys(loss: Callable, key: jax.Array | None) -> tuple:
    """The key, for a term with a parameter of that name."""
    return (key,) if key is not None and "key" in inspect.signature(loss).parameters else ()


def _times(weight: ArrayLike, tree: Tree) -> Tree:
    return jax.tree.map(lambda x: _held(weight, x.dtype) * x, tree)


def _held(weight: ArrayLike, dtype: np.dtype) -> jax.Array:
    """A weight in the dtype of what it multiplies; NaN where it would silently be zero."""
    real = jnp.finfo(dtype).dtype
    if _checks.concrete(weight):
        return _checks.scalar("factor", weight, real).astype(dtype)
    held = jnp.asarray(weight, real)
    if jnp.asarray(weight).dtype.itemsize > real.itemsize:
        lost = (jnp.abs(held) < jnp.finfo(real).tiny) & (weight != 0)
        held = jnp.where(lost, jnp.nan, held)
    return held.astype(dtype)


def _sum(trees: Iterable[Tree]) -> Tree:
    """The sum, in the dtypes of the first."""
    return functools.reduce(
        lambda a, b: jax.tree.map(lambda x, y: x + y.astype(x.dtype), a, b), trees
    )


def _shift(gradient: Tree, exponent: jax.Array) -> Tree:
    return jax.tree.map(lambda g: _numerics.shifted(g, exponent), gradient)


def _normalized(gradient: Tree, exponent: jax.Array) -> tuple[Tree, jax.Array]:
    """The same with its largest entry in [1/2, 1), and its exponent."""
    tops = [jnp.max(jnp.abs(g), initial=0) for g in jax.tree.leaves(gradient)]
    _, more = _numerics.normalized(top := jnp.max(jnp.stack(tops)))
    exponent = jnp.where(top == 0, jnp.int32(ZERO), exponent + more)
    return _shift(gradient, -more), exponent
