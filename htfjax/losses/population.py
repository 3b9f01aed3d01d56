"""Population loss: that of infinitely many observations, the exact distance to a target."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks, _numerics, _reprs
from htfjax._types import Array, Float, Key
from htfjax.contraction.end_tensor import end_tensor
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import layout_of
from htfjax.factors.stacks import alike
from htfjax.instruments.inner import METHODS, Method, check_pair, scaled_squared_distance
from htfjax.losses.sums import Summable


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PopulationLoss(Summable):
    """Mean squared error over all entries; made by `population_loss`."""

    target: AnyFactors
    method: Method = dataclasses.field(metadata={"static": True})

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __call__(self, factors: AnyFactors) -> Float[Array, ""]:
        """The loss of the factors."""
        layout = layout_of(factors)
        dtype = layout.dtype
        target = jax.tree.map(
            lambda x: jax.lax.stop_gradient(_checks.cast("target_factors", x, dtype)),
            self.target,
        )
        check_pair(factors, target, ("factors", "target_factors"))
        one, other = alike(factors, target)
        square, exponent = scaled_squared_distance(one, other, self.method)
        mantissa, bits = split_integer(layout.size)
        mean = square / jnp.asarray(mantissa, dtype)
        return _numerics.shifted(mean, exponent - jnp.int32(bits))

    def residual_vector(
        self, factors: AnyFactors, key: Key[Array, ""] | None = None
    ) -> Float[Array, "P"]:
        """(W - W*) / sqrt(prod D_n), all entries: of small tensors only."""
        del key  # nothing is drawn
        found = end_tensor(factors)
        gap = found - jax.lax.stop_gradient(end_tensor(self.target).astype(found.dtype))
        return gap.reshape(-1) / np.asarray(np.sqrt(gap.size), gap.dtype)


def population_loss(
    target_factors: AnyFactors, *, method: Method = "auto"
) -> PopulationLoss:
    """Infinite data: ||W - W*||_F^2 / prod_n D_n, without either tensor.

    The completion loss with every entry observed once, and the limit of many uniformly
    drawn ones. Gradient descent on it has no sampling noise at any order.

    Args:
      target_factors: W*, on the tree of the factors to come; widths may differ.
      method: "gram", three inner products, values below eps ||W*||^2 / prod D are noise;
        or "qr", accurate to eps^2, several times the work.

    Returns:
      A pytree, callable on factors; the target is cast to the factors' dtype on call.

    Raises:
      TypeError, ValueError: malformed target factors, an unknown method; on call,
        factors of another tree or other mode dimensions.

    Source: population loss of arXiv:2201.11729's completion experiments; law D2.

    Example:
      >>> import htfjax as htf, jax
      >>> target = htf.gaussian_factors(jax.random.key(0), htf.perfect(64), 4, 2, 0.8)
      >>> loss = htf.population_loss(target)
      >>> bool(loss(target) == 0)
      True
    """
    layout_of(target_factors, "target_factors")
    _checks.one_of("method", method, METHODS)
    return PopulationLoss(target_factors, "gram" if method == "auto" else method)


def split_integer(value: int) -> tuple[float, int]:
    """value = mantissa 2^bits with mantissa in [1/2, 1), for integers of any size."""
    bits = value.bit_length()
    short = value >> (bits - 64) if bits > 64 else value
    return short / 2.0 ** min(bits, 64), bits
