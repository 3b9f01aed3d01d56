"""Growth of local components: the exact law, the balanced one, and bounds."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics, _reprs
from htfjax._types import Array, ArrayLike, Float
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout
from htfjax.factors.node_values import by_node
from htfjax.factors.stacks import Stacks, opened
from htfjax.instruments.local_components import unbalancedness, vector_norms
from htfjax.theory.directions import forces
from htfjax.theory.vectors import squared_norms

Loss = Callable[[Any], jax.Array]


class GrowthBounds(NamedTuple):
    """lower <= d sigma/dt <= upper, node id -> (R_v,); made by `growth_bounds`.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 4, 1.0)
      >>> bounds = htf.theory.growth_bounds(factors, lambda f: htf.end_tensor(f).sum())
      >>> isinstance(bounds, htf.theory.GrowthBounds), bounds.lower[2].shape
      (True, (4,))
    """

    lower: Mapping[int, Float[Array, "R_v"]]
    upper: Mapping[int, Float[Array, "R_v"]]

    def __repr__(self) -> str:
        return _reprs.text(self)


def exact_growth(factors: AnyFactors, loss: Loss) -> Mapping[int, Float[Array, "R_v"]]:
    """d sigma/dt = gamma sigma^2 sum over w in LC of 1 / ||w||^2, balanced or not.

    Computed as gamma sum_w prod over w' != w of ||w'||^2, which needs no division. With
    gamma = <-grad L(W), C_r>, zero where a vector vanishes; there `growth_rates` gives
    the derivative from the right instead.

    Args:
      factors: any tree.
      loss: scalar function of the factors that depends on their end tensor alone.

    Returns:
      node id -> rates, in norm per unit of flow time.

    Raises:
      TypeError, ValueError: malformed factors, a loss that is not a scalar function.

    Source: law F5, exact form of the theorem of arXiv:2201.11729.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 4, 1.0)
      >>> loss = lambda f: htf.end_tensor(f).sum()
      >>> law = htf.theory.exact_growth(factors, loss)
      >>> bool(jnp.allclose(htf.growth_rates(factors, loss)[2], law[2], rtol=1e-4))
      True
    """
    layout, stacks = opened(factors)
    pulls = forces(layout, stacks, loss)
    rates = {}
    for g, squares in squared_norms(layout, stacks).items():
        total = jnp.zeros_like(pulls[g])
        if squares:
            others = _numerics.products_without_one(squares)
            total = sum(others[1:], others[0])
        rates[g] = pulls[g] * total
    return by_node(layout, rates)


def balanced_growth(factors: AnyFactors, loss: Loss) -> Mapping[int, Float[Array, "R_v"]]:
    """d sigma/dt = sigma^(2 - 2/L) L gamma: the theorem, for zero unbalancedness.

    L counts the component's trained vectors. Of all components of one norm and one gamma,
    balanced or not, this is the smallest |d sigma/dt|: sum_w ||w||^-2 >= L sigma^(-2/L),
    the arithmetic mean exceeds the geometric one. Equality is balance of the component's
    norms alone; zero where sigma is.

    Args, returns, raises: as `exact_growth`.

    Source: arXiv:2201.11729, theorem on the growth of local component norms; F5, F6.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> start = htf.balanced_factors(jax.random.key(0), htf.perfect(4), 3, 4, 1.0)
      >>> loss = lambda f: htf.end_tensor(f).sum()
      >>> law = htf.theory.balanced_growth(start, loss)
      >>> bool(jnp.allclose(htf.growth_rates(start, loss)[6], law[6], rtol=1e-3))
      True
    """
    layout, stacks = opened(factors)
    pulls, norms = forces(layout, stacks, loss), _norms(layout, stacks)
    rates = {}
    for g, squares in squared_norms(layout, stacks).items():
        count = len(squares)
        power = _power(norms[g], 2 - 2 / count) if count else jnp.zeros_like(norms[g])
        rates[g] = count * power * pulls[g]
    return by_node(layout, rates)


def growth_bounds(
    factors: AnyFactors, loss: Loss, *, eps: ArrayLike | None = None
) -> GrowthBounds:
    """Bounds on d sigma/dt for any start whose unbalancedness is at most eps.

    For gamma >= 0, with L the number of trained vectors of the component,

        gamma L sigma^2 / (sigma^(2/L) + eps) <= d sigma/dt
                                              <= gamma L (sigma^(2/L) + eps)^(L - 1),

    and the two change places where gamma < 0. At eps = 0 both are the balanced law.

    Args:
      factors, loss: as in `exact_growth`.
      eps: unbalancedness, by default that of `factors`. It is conserved by the flow, so
        the value at the start bounds the whole trajectory.

    Returns:
      `GrowthBounds` of node id -> (R_v,).

    Raises:
      TypeError, ValueError: malformed factors, a negative `eps`.

    Source: arXiv:2201.11729, extension to unbalanced initialization; F6.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 4, 1.0)
      >>> loss = lambda f: htf.end_tensor(f).sum()
      >>> bounds = htf.theory.growth_bounds(factors, loss)
      >>> rate = htf.growth_rates(factors, loss)[2]
      >>> bool((bounds.lower[2] <= rate).all() and (rate <= bounds.upper[2]).all())
      True
    """
    layout, stacks = opened(factors)
    if eps is None:
        eps = unbalancedness(factors)
    else:
        eps = _checks.scalar("eps", eps, layout.dtype, least=0)
    pulls, norms = forces(layout, stacks, loss), _norms(layout, stacks)
    lower, upper = {}, {}
    for g, squares in squared_norms(layout, stacks).items():
        count, sigma = len(squares), norms[g]
        if not count:
            lower[g] = upper[g] = jnp.zeros_like(sigma)
            continue
        widened = _power(sigma, 2 / count) + eps
        slow = jnp.square(sigma) / jnp.where(widened == 0, 1, widened)
        slow, fast = count * slow * pulls[g], count * widened ** (count - 1) * pulls[g]
        lower[g], upper[g] = jnp.minimum(slow, fast), jnp.maximum(slow, fast)
    return GrowthBounds(by_node(layout, lower), by_node(layout, upper))


def _norms(layout: Layout, stacks: Stacks) -> dict[int, jax.Array]:
    """Local component norms, inner group -> (G, R_v)."""
    norms = vector_norms(layout, stacks)
    return {g: _numerics.product(xs) for g, xs in norms.items()}


def _power(x: jax.Array, exponent: float) -> jax.Array:
    """x**exponent for x >= 0, with value and derivatives zero at zero (1 if exponent 0)."""
    if exponent == 0:
        return jnp.ones_like(x)
    zero = x == 0
    return jnp.where(zero, 0, jnp.where(zero, 1, x) ** exponent)
