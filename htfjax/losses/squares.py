"""Sums of squares: losses as residuals, for methods that read their Jacobian."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from htfjax import _checks
from htfjax._types import Array, Float, PyTree
from htfjax.losses.gradient import Carrying, Loss, as_carrying

NO_SQUARES = (
    "`loss` is no sum of squares that is known: {what}. Completion, sensing and population "
    "losses with penalty 'l2' are, and their sums; one of your own needs "
    "`residual_vector(params, key)`, a vector (M,) whose sum of squares is the loss."
)


Sums = tuple[jax.Array, jax.Array]  # J^T J and J^T r, for example
# A single residual, as a function of what is trained and its place.
Row = Callable[[PyTree, jax.Array], Float[Array, ""]]


@dataclasses.dataclass(frozen=True)
class ResidualFunction:
    """Residuals of a loss as a function of what is trained; made by `residual_function`.

    Attributes:
      row: a single residual, as a function of what is trained and its place; None where
        they are not measured one by one. Its gradients are rows of the Jacobian, each for
        about the cost of four residuals, where passes over all of them cost as many
        evaluations of all as there are parameters.
      summed: (function, trained) -> function(row, residuals), summed over the parts in
        which observations lie: one of each device for sharded losses, else one. None where
        residuals are not measured one by one.
    """

    whole: Callable[[PyTree], Float[Array, "M"]]
    row: Row | None
    summed: Callable[[Callable[[Row, jax.Array], Sums], PyTree], Sums] | None

    def __call__(self, trained: PyTree) -> Float[Array, "M"]:
        """The residuals."""
        return self.whole(trained)


def residual_function(
    loss: Loss, params: PyTree, key: jax.Array | None
) -> ResidualFunction:
    """Residuals as a function of what is trained; the sum of their squares is the loss.

    A loss that has none raises when the function is called, as few optimizers ask.
    """
    (_, before), given = as_carrying(params)
    parts: PyTree = getattr(loss, "summed", None)

    def whole(trained: PyTree) -> jax.Array:
        return residual_vector(loss, given(Carrying(trained, before)), key)

    def row_of(part: PyTree) -> Row:
        return lambda trained, place: part.residual_at(
            given(Carrying(trained, before)), place
        )

    def summed(function: Callable[[Row, jax.Array], Sums], trained: PyTree) -> Sums:
        def local(part: PyTree, params: PyTree) -> Sums:
            return function(row_of(part), part.residual_vector(params))

        return parts(local, given(Carrying(trained, before)))

    return ResidualFunction(
        whole,
        row_of(loss) if callable(getattr(loss, "residual_at", None)) else None,
        summed if callable(parts) else None,
    )


def check_squares(loss: Loss) -> None:
    """A loss that is a sum of squares, as far as can be seen before it is called.

    Raises:
      TypeError, ValueError: as `residual_vector` of the loss.
    """
    if not callable(getattr(loss, "residual_vector", None)):
        raise TypeError(NO_SQUARES.format(what=_checks.spell(loss)))
    getattr(loss, "check_squares", lambda: None)()


def residual_vector(
    loss: Loss, params: PyTree, key: jax.Array | None = None
) -> Float[Array, "M"]:
    """The residuals of a loss.

    Raises:
      TypeError: a loss that has none.
    """
    own = getattr(loss, "residual_vector", None)
    if not callable(own):
        raise TypeError(NO_SQUARES.format(what=_checks.spell(loss)))
    found: PyTree = own(params, key)
    floats = hasattr(found, "dtype") and jnp.issubdtype(found.dtype, jnp.floating)
    if not floats or getattr(found, "ndim", None) != 1:
        raise TypeError(
            "`loss.residual_vector` must return floating numbers (M,), got "
            f"{_checks.spell(found)}."
        )
    return found
