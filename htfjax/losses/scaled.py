"""Scaled values and gradients, mantissas with a power of two, for small factors at high
order.

Entries of the end tensor scale as std^(number of matrices): order 16 at std 1e-2 is
1e-62, which float32 cannot hold. Powers of two taken out of every matrix and put back at
the end keep all of it in range: exactly, since multiplying by them does not round.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from htfjax import _numerics, _reprs
from htfjax._derivatives import refuse_derivatives
from htfjax._types import Array, Float, Key
from htfjax.factors.factors import AnyFactors
from htfjax.factors.grouping import ungroup
from htfjax.factors.layout import Layout, layout_of
from htfjax.factors.stacks import Stacks, alike, children_of, closed, opened
from htfjax.instruments.gram import log2_squares, scaled_inner_product
from htfjax.instruments.scaled_stacks import Scaled, normalized
from htfjax.losses.gradient import NO_DERIVATIVE, Gradient, ScaledGradient, with_scale
from htfjax.losses.loss import MinibatchLoss, ObservationLoss, Observing
from htfjax.losses.measurements import Dense, Entries, RankOne
from htfjax.losses.penalty import working
from htfjax.losses.population import PopulationLoss, split_integer
from htfjax.losses.sums import Summable

Loss = Observing | PopulationLoss


class Magnitude(NamedTuple):
    """Sizes as logarithms to base 2, and whether the dtype holds them; printable.

    Example:
      >>> import htfjax as htf
      >>> cube = htf.identity_factors(htf.flat(2), 2, 2, 1.0, root="ones")
      >>> print(str(htf.magnitude(cube)).partition(":")[0])
      entries about 7.1e-1, slopes about 1.0e+0
    """

    log2_value: jax.Array  # (), RMS entry of the end tensor; -inf for the zero tensor
    log2_slope: jax.Array  # (), RMS derivative of an entry, largest over the matrices
    log2_smallest: jax.Array  # (), of the dtype's normal numbers
    underflows: jax.Array  # () bool: values, slopes or squared slopes fall below

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __str__(self) -> str:
        shown = [
            f"{name} about {_power(x)}"
            for name, x in (("entries", self.log2_value), ("slopes", self.log2_slope))
        ]
        limit = _power(self.log2_smallest)
        if not max(float(self.log2_value), float(self.log2_slope)) < math.inf:
            return f"{', '.join(shown)}: the factors are not finite."
        verdict = (
            f"below what the dtype holds ({limit}; squared slopes count): these "
            "underflow to zero, use `scaled_loss` or a wider dtype"
            if bool(self.underflows)
            else f"held by the dtype, whose smallest number is {limit}"
        )
        return f"{', '.join(shown)}: {verdict}."


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ScaledLoss(Summable):
    """A loss whose gradient has its scale taken out; made by `scaled_loss`."""

    loss: Loss | MinibatchLoss
    is_scaled: ClassVar[bool] = True

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __call__(
        self, factors: AnyFactors, key: Key[Array, ""] | None = None
    ) -> Float[Array, ""]:
        """The loss of the factors; not to be differentiated.

        Raises:
          NotImplementedError: under `jax.grad` and the like.
        """
        layout_of(factors)
        kept = refuse_derivatives(factors, NO_DERIVATIVE)
        return self.scaled_value_and_grad(kept, key).value

    def value_and_grad(self, factors: AnyFactors, key: jax.Array | None = None) -> Gradient:
        """((value, ()), gradient 2^-k)."""
        found = self.scaled_value_and_grad(factors, key)
        return (found.value, ()), found.gradient

    def scaled_value_and_grad(
        self, factors: AnyFactors, key: jax.Array | None = None
    ) -> ScaledGradient:
        """Value, mantissa of the gradient and its exponent k."""
        loss = self.loss
        if isinstance(loss, MinibatchLoss):
            loss = loss.drawn(key)
        return scaled_value_and_grad(loss, factors)


with_scale.register(PopulationLoss, ScaledLoss)


@with_scale.register(Observing)
@with_scale.register(MinibatchLoss)
def _linear(loss: Observing | MinibatchLoss) -> object:
    """Scaled, if the measurement is known to be linear in the end tensor."""
    whole = loss.loss if isinstance(loss, MinibatchLoss) else loss
    linear = isinstance(whole.first.measurement, Entries | RankOne | Dense)
    return ScaledLoss(loss) if linear else loss


def magnitude(factors: AnyFactors) -> Magnitude:
    """Sizes of entries and of their derivatives, and whether they underflow.

    RMS entry = ||W||_F / sqrt(prod D), from Gram matrices in scaled arithmetic, so the
    answer holds where the entries themselves read as zero.

    Args:
      factors: any tree.

    Returns:
      Logarithms; `print` says it in words.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: law A10 (E ||W||^2 = std^(2 |T|) ...).

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> tiny = htf.gaussian_factors(
      ...     jax.random.key(0), htf.perfect(16), 4, 8, 1e-2, dtype=jnp.float32)
      >>> bool(htf.magnitude(tiny).underflows)
      True
    """
    ((layout, stacks),) = alike(factors)
    dtype = layout.dtype
    value = _log2_rms(layout, stacks)[-1][0]
    sizes = [
        jnp.log2(jnp.sqrt(jnp.mean(jnp.square(mantissas), axis=(1, 2))))
        + exponents.astype(dtype)
        for mantissas, exponents in map(normalized, jax.tree.leaves(stacks))
    ]
    largest = value - jnp.min(jnp.concatenate(sizes))
    slope = jnp.where(jnp.isfinite(value), largest, -jnp.inf)
    smallest = jnp.asarray(jnp.finfo(dtype).minexp, dtype)
    return Magnitude(value, slope, smallest, jnp.minimum(value, 2 * slope) < smallest)


def scaled_value_and_grad(loss: Loss, factors: AnyFactors) -> ScaledGradient:
    """The loss and its gradient as mantissas with one common power of two.

    Every matrix is divided by a power of two so that all node tables have RMS about one;
    the loss sees values put back to size, and the derivative by W_k is that by the
    divided matrix times 2^(sum of the other nodes' powers). Exact: nothing is rounded
    that the plain gradient would not round, and no size of the whole underflows.

    Args:
      loss: from `completion_loss`, `sensing_loss`, `matrix_sensing_loss`,
        `population_loss`, or `observation_loss` of a measurement that is linear in the
        end tensor; whether it is cannot be seen while tracing, and is not checked.
      factors: any tree.

    Returns:
      Value, mantissa gradient and its exponent. Zeros have exponent 0.

    Raises:
      TypeError: another kind of loss. TypeError, ValueError: as the loss.

    Source: the multilinearity of the end tensor in its matrices (law A1).

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> tree, f32 = htf.perfect(16), jnp.float32
      >>> tiny = htf.gaussian_factors(jax.random.key(0), tree, 4, 8, 1e-2, dtype=f32)
      >>> indices = htf.random_indices(jax.random.key(1), (4,) * 16, 50)
      >>> loss = htf.completion_loss(tree, 4, indices, jnp.ones(50))
      >>> found = htf.scaled_value_and_grad(loss, tiny)
      >>> float(found.value), bool(found.log2_scale < -150)
      (1.0, True)
    """
    if not isinstance(loss, Loss):
        raise TypeError(
            "`loss` must come from completion_loss, sensing_loss, matrix_sensing_loss, "
            f"observation_loss or population_loss, got {type(loss).__name__}."
        )
    ((layout, stacks),) = alike(factors)
    divided, powers = _divided(layout, stacks)
    total = _sum(powers)
    small = _like(factors, layout, divided)
    if isinstance(loss, PopulationLoss):
        value, slopes, more = _population_slopes(loss, factors, small, total)
    else:
        value, slopes = loss.summed(_observed_slopes, small, total)
        more = jnp.int32(0)
    gradient, top = _common_scale(*alike(slopes)[0], powers, total + more)
    return ScaledGradient(value, _like(factors, layout, gradient), top)


def scaled_loss(loss: Loss | MinibatchLoss) -> ScaledLoss:
    """The same loss, whose gradient for descent is a mantissa: 2^-k times the true one.

    For optimizers that use the gradient's direction alone, which then live where the
    true gradient underflows: `group_rmsprop(rate, decay=0.0, eps=0.0)` moves by `rate`
    along the gradient, that is by arc length, and float32 follows float64. The exponent
    k is that of `scaled_value_and_grad` and changes from step to step, so a running mean
    (decay above zero), and a trajectory's gradient norms and durations, are in units of
    2^k. The value is the true one, so steps of value over gradient (`polyak_sgd`) are 2^k
    times the true ones, and line searches are refused.

    A mantissa is not a derivative, so `jax.grad` of the result, or of a function that
    calls it, is refused. Sums and multiples are losses again, whose terms are brought to
    one power of two: `scaled_loss(loss) + 0.1 * population_loss(target)`. Completion,
    sensing, population and minibatch losses are scaled in such a sum whether or not they
    are given to `scaled_loss`, so that it has the direction of the true gradient, and its
    own `scaled_value_and_grad(factors, key)`. A term that is a function, that brings its
    own gradient, or whose measurement is a user's own (unless it is given to
    `scaled_loss`, which takes it to be linear) enters with its gradient as it is: where
    that underflows in the factors' dtype, the term is missing in the sum.
    `htf.magnitude(factors)` says whether gradients do.

    Args:
      loss: as in `scaled_value_and_grad`, or from `minibatch_loss`.

    Raises:
      TypeError: another kind of loss.

    Source: arXiv:2201.11729, its optimizer (at eps > 0 an order of 16 never moves).

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> tree, f32 = htf.perfect(8), jnp.float32
      >>> tiny = htf.gaussian_factors(jax.random.key(0), tree, 4, 8, 1e-2, dtype=f32)
      >>> indices = htf.random_indices(jax.random.key(1), (4,) * 8, 50)
      >>> loss = htf.completion_loss(tree, 4, indices, jnp.ones(50))
      >>> final, _ = htf.descend(
      ...     tiny, htf.scaled_loss(loss), htf.group_rmsprop(0.1, decay=0.0, eps=0.0),
      ...     num_steps=20, record_every=10)
      >>> bool(htf.squared_norm(tiny) == 0), bool(htf.squared_norm(final) > 0)
      (True, True)
    """
    if not isinstance(loss, Loss | MinibatchLoss):
        raise TypeError(f"`loss` cannot be scaled, got {type(loss).__name__}.")
    return ScaledLoss(loss)


def _like(
    factors: AnyFactors, layout: Layout, stacks: Sequence[jax.Array | None]
) -> AnyFactors:
    """Stacks of equal nodes as factors of the kind given."""
    found = closed(layout, stacks)
    return found if layout_of(factors).grouped else ungroup(found)


def _common_scale(
    layout: Layout, slopes: Stacks, powers: list[jax.Array], total: jax.Array
) -> tuple[Stacks, jax.Array]:
    """Slopes 2^(total - power) as mantissas with one exponent; zeros for fixed nodes."""
    scaled: list[Scaled | None] = [None] * len(powers)
    for g, (nodes, stack) in enumerate(zip(layout.groups, slopes, strict=True)):
        if layout.trained[nodes[0]]:
            mantissas, exponents = normalized(stack)
            scaled[g] = mantissas, exponents + total - powers[g]
    lowest = jnp.int32(-(2**20))
    tops = [
        jnp.max(jnp.where(jnp.any(x != 0, axis=(1, 2)), e, lowest))
        for x, e in filter(None, scaled)
    ]
    top = jnp.max(jnp.stack(tops)) if tops else lowest
    top = jnp.where(top == lowest, jnp.int32(0), top)
    stacks = tuple(
        jax.tree.map(jnp.zeros_like, stack)
        if one is None
        else _numerics.shifted(one[0], (one[1] - top)[:, None, None])
        for one, stack in zip(scaled, slopes, strict=True)
    )
    return stacks, top


def _divided(layout: Layout, stacks: Stacks) -> tuple[Stacks, list[jax.Array]]:
    """W_k 2^-e_k and the constants e_k, (G,) int32, that give tables an RMS near one."""
    still = jax.tree.map(jax.lax.stop_gradient, stacks)
    levels = [
        jnp.where(jnp.isfinite(x), jnp.round(x), 0).astype(jnp.int32)
        for x in _log2_rms(layout, still)
    ]
    powers, divided = [], []
    for nodes, stack, level in zip(layout.groups, stacks, levels, strict=True):
        if stack is None:
            powers.append(jnp.zeros_like(level))
            divided.append(None)
            continue
        if layout.below(nodes[0]):
            level = level - sum(children_of(layout, nodes, levels))
        powers.append(level)
        divided.append(_numerics.shifted(stack, -level[:, None, None]))
    return tuple(divided), powers


def _log2_rms(layout: Layout, stacks: Stacks) -> list[jax.Array]:
    """log2 of the RMS entry of every node's Phi_k W_k, (G,), -inf where it is zero."""
    firsts = [nodes[0] for nodes in layout.groups]
    counts = [math.log2(layout.sizes[k] * layout.columns[k]) for k in firsts]
    return [
        (squares - jnp.asarray(count, layout.dtype)) / 2
        for squares, count in zip(log2_squares(layout, stacks), counts, strict=True)
    ]


def _sum(powers: list[jax.Array]) -> jax.Array:
    return jnp.sum(jnp.concatenate(powers), dtype=jnp.int32)


def _observed_slopes(
    loss: ObservationLoss, small: AnyFactors, total: jax.Array
) -> tuple[jax.Array, AnyFactors]:
    """Loss and pulled-back slopes of predictions 2^total times those of `small`."""

    def predict(factors: AnyFactors) -> jax.Array:
        predictions = loss.checked(loss.measurement.predict(*opened(factors)))
        return predictions.astype(working(predictions.dtype))

    predictions, pull = jax.vjp(predict, small)
    value, slopes = jax.value_and_grad(loss.compare)(_numerics.shifted(predictions, total))
    return value, pull(slopes)[0]


def _population_slopes(
    loss: PopulationLoss, factors: AnyFactors, small: AnyFactors, total: jax.Array
) -> tuple[jax.Array, AnyFactors, jax.Array]:
    """Loss, slopes of 2^total <V, V> - 2 <V, W*> over prod D, and their exponent."""
    dtype = layout_of(factors).dtype
    target = jax.tree.map(lambda x: x.astype(dtype), loss.target)
    (_, (layout, stacks)) = alike(small, target)
    aim, aims = _divided(layout, stacks)
    high = _sum(aims)
    top = jnp.maximum(total, high)

    def objective(v: AnyFactors) -> jax.Array:
        (one, _) = alike(v, target)
        own = _numerics.shifted(*scaled_inner_product(one, one))
        both = _numerics.shifted(*scaled_inner_product(one, (layout, aim)))
        size = _numerics.shifted(own, total - top)
        return size - 2 * _numerics.shifted(both, high - top)

    mantissa, bits = split_integer(layout.size)
    slopes = jax.tree.map(
        lambda x: x / jnp.asarray(mantissa, dtype), jax.grad(objective)(small)
    )
    return loss(factors), slopes, top - jnp.int32(bits)


def _power(log2: jax.Array) -> str:
    """2**log2 in decimal, of any size."""
    if not math.isfinite(float(log2)):
        return "0" if float(log2) == -math.inf else "not finite"
    exponent = round(float(log2) * math.log10(2), 6)
    return f"{10 ** (exponent % 1):.1f}e{math.floor(exponent):+d}"
