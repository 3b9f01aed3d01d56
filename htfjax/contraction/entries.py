"""Entries of the end tensor at given indices."""

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._platforms import Platform, by_platform, check_platform
from htfjax._types import Array, Float, Numbers, Precision
from htfjax.contraction.evaluate import planned_entries
from htfjax.contraction.plan import Plan, platform_plans
from htfjax.contraction.rates import ADVICE
from htfjax.factors.factors import AnyFactors
from htfjax.factors.stacks import Stacks, opened


def entries(
    factors: AnyFactors,
    indices: Numbers,
    *,
    plan: Plan | None = None,
    platform: Platform | None = None,
    precision: Precision = "highest",
) -> Float[Array, "B"]:
    """Entries W[i_0, ..., i_{N-1}] of the end tensor.

    Contracted by the cheapest plan (`contraction_plan`): tables low in the tree, one row
    per index above, or the whole tensor when it is small. Repeated indices are allowed.

    Args:
      factors: any tree.
      indices: (B, N) integers; column n counts from 0 to D_n - 1.
      plan: a way to contract, without "dedup"; the cheapest by default.
      platform: takes the cheapest plan for "cpu", "cuda" or "tpu"; by default for the
        platform that the program is lowered for.
      precision: of the matrix products.

    Returns:
      In the dtype of the factors.

    Raises:
      TypeError: float indices. ValueError: another shape than (B, N), or, when the
        indices are concrete, one that is out of range (negative ones are); a plan for
        other factors or another number of indices; an unknown platform.

    Source: law A1.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 5, 1.0)
      >>> htf.entries(factors, jnp.array([[0, 1, 2], [3, 3, 3]])).shape
      (2,)
    """
    layout, stacks = opened(factors)
    _checks.precision("precision", precision)
    checked = check_indices(indices, layout.dims)
    wanted = (layout.tree, layout.dims, layout.inner_widths, checked.shape[0])
    named = None if platform is None else check_platform(platform, ADVICE)

    def contract(plan: Plan, stacks: Stacks) -> jax.Array:
        return planned_entries(plan, layout, stacks, checked, None, precision)

    if plan is None:
        plans = platform_plans(*wanted)
        return by_platform(plans, contract, stacks, platform=named)
    _checks.instance("plan", plan, Plan, "`contraction_plan` makes one")
    if (plan.tree, plan.mode_dims, plan.widths, plan.batch) != wanted:
        raise ValueError(
            f"`plan` is for mode dimensions {plan.mode_dims}, widths {plan.widths} and "
            f"{plan.batch} indices, got {wanted[1]}, {wanted[2]} and {wanted[3]}, or it is "
            "for another tree."
        )
    if "dedup" in plan.routes:
        raise ValueError("`plan` has 'dedup' routes, which only a loss prepares.")
    return contract(plan, stacks)


def check_indices(indices: object, dims: tuple[int, ...]) -> jax.Array:
    """Indices as an int32 array (B, N) within the mode dimensions."""
    given = isinstance(indices, jax.Array)
    array = indices if given else _checks.integer_array("indices", indices)
    shape = array.shape
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"`indices` must be integers, got {array.dtype}.")
    if len(shape) != 2 or shape[1] != len(dims):
        raise ValueError(
            f"`indices` has shape {shape}, expected (B, {len(dims)}): one column for "
            f"each of the {len(dims)} modes."
        )
    if _checks.concrete(array) and shape[0]:
        values = np.asarray(array)
        wrong = np.argwhere((values < 0) | (values >= np.asarray(dims)))
        if wrong.size:
            row, mode = wrong[0]
            raise ValueError(
                f"`indices[{row}, {mode}]` is {values[row, mode]}, mode {mode} has "
                f"dimension {dims[mode]}: indices run from 0 to {dims[mode] - 1}."
            )
    if not _checks.concrete(array):
        return jnp.asarray(array, np.int32)
    # A constant while tracing too: plans look at its values.
    with jax.ensure_compile_time_eval():
        return jnp.asarray(array, np.int32)
