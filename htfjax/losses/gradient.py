"""Value and gradient of a loss: differentiated by JAX, or brought by the loss itself.

A loss is a function of the parameters, or an object with a method

    value_and_grad(params, key) -> ((value, carried), gradient)

and is then not differentiated. Descent, flow and ensembles ask either by the function
`value_and_grad` of this module.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar, runtime_checkable

import jax

from htfjax import _checks, _reprs
from htfjax._derivatives import refuse_derivatives
from htfjax._types import PyTree
from htfjax.factors.stacks import freeze

NO_DERIVATIVE = (
    "`scaled_loss` has a value but no derivative: its gradient is a mantissa, 2^-k times "
    "the true one. Give it to `descend`, alone or as `scaled_loss(loss) + 0.1 * other`, or "
    "call its `value_and_grad`. For `jax.grad`, or an `optimizer` with a line search, use "
    "the loss that was scaled; `scaled_value_and_grad` has gradient and exponent."
)
NOT_CALLABLE = (
    "`loss` ({}) brings its gradient by `value_and_grad` and cannot be called: its value "
    "has no derivative. An `optimizer` that differentiates `value_fn`, such as a line "
    "search, needs a loss with `__call__` too."
)
CARRIED = (
    "`loss` was given `carried` as {wanted} and carries on {found}; structure, shapes and "
    "dtypes must stay."
)
GRADIENT = (
    "`loss.value_and_grad` gave a gradient like {found}, expected one like the trained "
    "parameters, {wanted}: same structure, shapes and dtypes."
)


class Carrying(NamedTuple):
    """Trained parameters together with untrained state that steps hand on: a pytree.

    Running statistics of batch normalization, sums over an epoch, counters. Where descent
    is given one, gradient, update, optimizer state, norms, lengths and chords are of
    `trained` alone; the loss takes the whole and returns (value, new carried), which has
    the structure, shapes and dtypes of `carried` and no derivative; `observe` sees the
    whole; an optimizer with extra arguments is given the new one as `carried`, which is
    () for other parameters.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp, optax
      >>> def loss(params):
      ...     return params.trained @ params.trained, params.carried + 1
      >>> start = htf.Carrying(trained=jnp.ones(3), carried=jnp.zeros(()))
      >>> final, _ = htf.descend(
      ...     start, loss, optax.sgd(0.1), num_steps=10, record_every=5)
      >>> float(final.carried)
      10.0
    """

    trained: PyTree
    carried: PyTree

    def __repr__(self) -> str:
        return _reprs.text(self)


Kind = TypeVar("Kind")  # of loss
Gradient = tuple[tuple[jax.Array, PyTree], PyTree]  # (value, carried) and the gradient


@runtime_checkable
class OwnGradient(Protocol):
    """A loss that brings its gradient."""

    def value_and_grad(self, params: PyTree, key: jax.Array | None, /) -> Gradient:
        """((value, carried), gradient)."""
        ...


Loss = Callable[..., PyTree] | OwnGradient


class ScaledGradient(NamedTuple):
    """A loss and its gradient = `gradient` 2**`log2_scale`.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> cube = htf.identity_factors(htf.flat(2), 2, 2, 1.0, root="ones")
      >>> loss = htf.completion_loss(cube.tree, 2, [[0, 0]], [3.0])
      >>> value, gradient, log2_scale = htf.scaled_value_and_grad(loss, cube)
      >>> float(value), float(gradient.weights[0][0, 0]), int(log2_scale)
      (4.0, -0.5, 3)
    """

    value: jax.Array  # ()
    gradient: PyTree  # like the parameters; largest entry in [1/2, 1), or all zeros
    log2_scale: jax.Array  # () int32

    def __repr__(self) -> str:
        return _reprs.text(self)


def as_carrying(params: PyTree) -> tuple[Carrying, Callable[[Carrying], PyTree]]:
    """Parameters in one form, with carried = () for ordinary ones, and the way back."""
    if isinstance(params, Carrying):
        return params, lambda whole: whole
    return Carrying(params, ()), lambda whole: whole.trained


def brings_gradient(loss: object) -> TypeGuard[OwnGradient]:
    """Whether a loss has its own `value_and_grad`."""
    return callable(getattr(loss, "value_and_grad", None))


def is_scaled(loss: object) -> bool:
    """Whether a loss's gradient is a mantissa, to be multiplied by a power of two.

    Such a loss has `scaled_value_and_grad(params, key) -> ScaledGradient`.
    """
    return bool(getattr(loss, "is_scaled", False))


@functools.singledispatch
def with_scale(loss: object) -> Any:
    """The loss with a scaled gradient, if its kind can be scaled; others as given."""
    return loss


@functools.singledispatch
def prepared(loss: Kind) -> Kind:
    """The loss with what only its data decide made once, for a loop over steps.

    Compilers move such work out of loops on CPUs and TPUs, but not on GPUs.
    """
    return loss


def check_loss(name: str, loss: Any, params: PyTree) -> None:
    """A function, or an object with `value_and_grad`; weights that the parameters hold.

    Raises:
      TypeError: neither. ValueError: a weight that becomes zero in their dtype.
    """
    if not brings_gradient(loss):
        _checks.function(name, loss)
    check = getattr(loss, "check_weights", None)
    if check is not None:
        check(params)


def check_key(key: object) -> None:
    """The key of a loss that draws.

    Raises:
      TypeError: none, or not a typed key.
    """
    if key is None:
        raise TypeError(
            "`key` is missing: `loss` draws by it. Give `key=jax.random.key(0)` to what "
            "calls the loss, `descend` for example."
        )
    _checks.key("key", key)


def value_and_grad(loss: Loss, params: PyTree, key: jax.Array | None = None) -> Gradient:
    """((value, carried), gradient) of a loss: its own, or that of `jax.value_and_grad`.

    Args:
      loss: a function of the parameters, with `key` of (params, key), that returns a
        scalar, for `Carrying` parameters (scalar, new carried); or an object with
        `value_and_grad(params, key)`.
      params: any pytree of floating arrays, or `Carrying`.
      key: of this evaluation.

    Returns:
      Value (), carried, () for ordinary parameters, and the gradient by what is trained,
      zero at fixed nodes of factors.

    Raises:
      TypeError: anything but a floating scalar; carried or gradient in another
        structure, shape or dtype than the parameters'.
    """
    (trained, carried), given = as_carrying(params)
    if brings_gradient(loss):
        (value, after), grads = _own(loss, params, key)
        _check_like(GRADIENT, trained, grads)
    else:
        # A function returns what it carries on only where it was given something.
        carries = isinstance(params, Carrying)
        scalar = _checks.scalar_valued("loss", _at_key(loss, key), aux=carries)

        def pair(trained: PyTree) -> tuple[jax.Array, PyTree]:
            result = scalar(given(Carrying(trained, carried)))
            return result if carries else (result, ())

        (value, after), grads = jax.value_and_grad(pair, has_aux=True)(trained)
    _check_like(CARRIED, carried, after)
    return (value, after), freeze(grads)


def value_function(
    loss: Loss, params: PyTree, key: jax.Array | None
) -> Callable[..., jax.Array]:
    """The value as a function of what is trained, for optimizers that search along lines.

    Differentiable as the loss itself is. The gradient of `value_and_grad` is not made a
    derivative of the value, as it need not be one.
    """
    (_, before), given = as_carrying(params)

    # Line searches hand their extra arguments to this function, or complain.
    def value(
        trained: PyTree, *, carried: PyTree = None, residual_fn: object = None
    ) -> jax.Array:
        del carried, residual_fn
        whole = given(Carrying(trained, before))
        if is_scaled(loss):  # its value does not fall by step times gradient
            raise NotImplementedError(NO_DERIVATIVE)
        if not callable(loss):
            whole = refuse_derivatives(whole, NOT_CALLABLE.format(type(loss).__name__))
            return loss.value_and_grad(whole, key)[0][0]
        result = _at_key(loss, key)(whole)
        return result[0] if isinstance(params, Carrying) else result

    return value


def _at_key(loss: Any, key: jax.Array | None) -> Callable[[PyTree], PyTree]:
    """The loss as a function of the parameters alone."""
    return loss if key is None else lambda params: loss(params, key)


def _own(loss: OwnGradient, params: PyTree, key: jax.Array | None) -> Gradient:
    """((value, carried), gradient) as the loss itself gives it, in the right form."""
    found = loss.value_and_grad(params, key)
    if not (_is_pair(found) and _is_pair(found[0])):
        raise TypeError(
            "`loss.value_and_grad` must return ((value, carried), gradient), with carried "
            f"= () where nothing is carried on, got {_checks.spell(found)}."
        )
    _checks.scalar_valued("loss.value_and_grad", lambda: found[0], aux=True)()
    return found


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _check_like(message: str, wanted: PyTree, found: PyTree) -> None:
    """Two pytrees of the same structure, shapes and dtypes."""
    types = [jax.tree.map(jax.typeof, tree) for tree in (wanted, found)]
    if _looks(types[0]) != _looks(types[1]):
        raise TypeError(message.format(wanted=types[0], found=types[1]))


def _looks(types: PyTree) -> tuple:
    """Structure, shapes and dtypes."""
    leaves, treedef = jax.tree.flatten(types)
    return treedef, [(leaf.shape, leaf.dtype) for leaf in leaves]
