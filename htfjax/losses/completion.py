"""Completion: a loss on observed entries, contracted by a plan."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._platforms import (
    PLATFORMS,
    Platform,
    by_platform,
    check_platform,
    default_platform,
)
from htfjax.contraction import observed
from htfjax.contraction.end_tensor import flat_end_tensor
from htfjax.contraction.entries import check_indices
from htfjax.contraction.evaluate import planned_entries
from htfjax.contraction.plan import Plan, platform_plans
from htfjax.contraction.rates import ADVICE
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout, layout_of
from htfjax.factors.stacks import Stacks, opened
from htfjax.losses import penalty as _penalty
from htfjax.losses.penalty import Penalty
from htfjax.losses.sums import Summable
from htfjax.trees.mode_tree import ModeTree

__all__ = ["CompletionLoss", "completion_loss", "loss_plan", "observed_entries"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class CompletionLoss(Summable):
    """Mean penalty on observed entries; made by `completion_loss`."""

    indices: jax.Array  # (B, N) int32
    targets: jax.Array  # (B,)
    threshold: jax.Array  # ()
    dense: observed.DenseTargets | None  # for the masked route, where it is worth it
    distinct: Any  # index maps of `plan="exact"`, else None
    tree: ModeTree = dataclasses.field(metadata={"static": True})
    mode_dims: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    penalty: Penalty = dataclasses.field(metadata={"static": True})
    plan: Plan | None = dataclasses.field(default=None, metadata={"static": True})
    platform: str | None = dataclasses.field(default=None, metadata={"static": True})

    def __call__(self, factors: AnyFactors) -> jax.Array:
        """The loss of the factors, ()."""
        layout, stacks = opened(factors)
        contract = functools.partial(_planned_loss, self, layout)
        return by_platform(_plans(self, layout), contract, stacks, platform=self.platform)


def completion_loss(
    tree: ModeTree,
    mode_dims: int | Sequence[int],
    indices: Any,
    targets: Any,
    *,
    penalty: Penalty = "l2",
    threshold: Any = 1.0,
    plan: Literal["auto", "exact"] | Plan = "auto",
    platform: Platform | None = None,
) -> CompletionLoss:
    """Completion: mean over b of penalty(W[i_b] - y_b), no factor 1/2.

    Penalties of a residual x: "l2" x^2, "l1" |x|, "huber" (smooth l1) x^2/(2 threshold)
    where |x| < threshold and |x| - threshold/2 outside.

    Repeated indices are allowed: each repetition counts, as in a mean over samples.

    Args:
      tree: mode tree of the factors the loss is for.
      mode_dims: D_n for every mode, or one int for all.
      indices: (B, N) integers.
      targets: (B,) floats; half precision is read as float32.
      penalty: "l2", "l1" or "huber".
      threshold: of "huber", above zero.
      plan: how to contract. "auto" picks the cheapest way for the factors it is called
        on, in arrays whose shapes depend on the number of observations only, so that one
        program serves all data of a shape. "exact" also finds the distinct observed
        sub-tuples, which pays when they are few. A `Plan` is carried out as it is.
      platform: plans for "cpu", "cuda" or "tpu"; by default for the platform that the
        program is lowered for, which traces every plan where they differ.

    Returns:
      A pytree, callable on factors; data are cast to the factors' dtype on call, or to
      float32 where that has 16 bits.

    Raises:
      TypeError: float indices, masked or complex data. ValueError: indices out of range or
        of another shape, no observations, targets of the wrong length, NaN, infinite or
        beyond the dtype, a bad penalty or threshold, a plan for other data, an unknown
        platform. Values are checked when they are concrete.

    Source: arXiv:2201.11729, tensor completion.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> loss = htf.completion_loss(htf.flat(2), 3, [[0, 0], [1, 2]], [1.0, -1.0])
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> float(loss(zero))
      1.0
    """
    _checks.tree(tree)
    dims = _checks.mode_dims(tree.order, mode_dims)
    named = None if platform is None else check_platform(platform, ADVICE)
    indices = check_indices(indices, dims)
    targets, threshold = _penalty.check_data(targets, indices.shape[0], penalty, threshold)
    maps = None
    if isinstance(plan, Plan):
        _check_plan(plan, tree, dims, indices.shape[0])
        if "dedup" in plan.routes:
            maps = observed.distinct_rows(tree, indices)
    else:
        _checks.one_of("plan", plan, ("auto", "exact"))
        if plan == "exact":
            maps = observed.distinct_rows(tree, indices)
    return CompletionLoss(
        indices=indices,
        targets=targets,
        threshold=threshold,
        dense=observed.dense_targets(tree, dims, indices, targets, penalty),
        distinct=maps,
        tree=tree,
        mode_dims=dims,
        penalty=penalty,
        plan=plan if isinstance(plan, Plan) else None,
        platform=named,
    )


def loss_plan(
    loss: CompletionLoss, factors: AnyFactors, *, platform: Platform | None = None
) -> Plan:
    """The plan by which a loss contracts factors of these widths.

    `print(htf.loss_plan(loss, factors).explain())` shows the alternatives at every node.

    Args:
      platform: of the program; by default the loss's own, else the default device's.

    Raises:
      TypeError: not a completion loss.
      ValueError: factors of another tree or other mode dimensions than the loss has, or of
        other widths than its plan has; an unknown platform.

    Example:
      >>> import htfjax as htf, jax
      >>> loss = htf.completion_loss(htf.flat(2), 3, [[0, 0], [1, 2]], [1.0, -1.0])
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> htf.loss_plan(loss, zero).routes
      ('table', 'table')
    """
    _checks.instance("loss", loss, CompletionLoss, "`completion_loss` makes one")
    named = None if platform is None else check_platform(platform, ADVICE)
    return _plans(loss, layout_of(factors))[named or loss.platform or default_platform()]


def _plans(loss: CompletionLoss, layout: Layout) -> Mapping[str, Plan]:
    """The plan for every platform, or the one that the loss was given."""
    dims, widths = layout.dims, layout.inner_widths
    if dims != loss.mode_dims or layout.tree != loss.tree:
        raise ValueError(
            f"`factors` do not fit the loss, which is for mode dimensions {loss.mode_dims} "
            f"on the tree\n{loss.tree}\nThey have {dims} on the tree\n{layout.tree}"
        )
    if loss.plan is not None:
        if loss.plan.widths != widths:
            raise ValueError(
                f"`plan` is for widths {loss.plan.widths}, the factors have {widths}."
            )
        return dict.fromkeys(PLATFORMS, loss.plan)
    return platform_plans(
        loss.tree,
        loss.mode_dims,
        widths,
        loss.indices.shape[0],
        observed.distinct_counts(loss.tree, loss.indices, loss.distinct),
        loss.dense is not None,
    )


def _planned_loss(
    loss: CompletionLoss, layout: Layout, plan: Plan, stacks: Stacks
) -> jax.Array:
    if plan.root == "masked":
        return _masked(loss, layout, stacks)
    values = _planned_values(loss, layout, plan, stacks)
    dtype = _penalty.working(values.dtype)
    residuals = values.astype(dtype) - _checks.cast("targets", loss.targets, dtype)
    return _penalty.mean_penalty(residuals, loss.penalty, loss.threshold)


def observed_entries(loss: CompletionLoss, factors: AnyFactors) -> jax.Array:
    """The end tensor at the loss's indices, (B,)."""
    layout, stacks = opened(factors)
    contract = functools.partial(_planned_values, loss, layout)
    return by_platform(_plans(loss, layout), contract, stacks, platform=loss.platform)


def _planned_values(
    loss: CompletionLoss, layout: Layout, plan: Plan, stacks: Stacks
) -> jax.Array:
    return planned_entries(plan, layout, stacks, loss.indices, loss.distinct, "highest")


def _masked(loss: CompletionLoss, layout: Layout, stacks: Stacks) -> jax.Array:
    """Sum over all entries of count x penalty(W - mean target), without a gather."""
    assert loss.dense is not None
    values, _ = flat_end_tensor(layout, stacks)
    dtype = _penalty.working(values.dtype)
    counts, means, rest = (_checks.cast("targets", x, dtype) for x in loss.dense)
    costs = _penalty.pointwise(values.astype(dtype) - means, loss.penalty, loss.threshold)
    return (jnp.sum(counts * costs) + rest) / np.asarray(len(loss.targets), dtype)


def _check_plan(plan: Plan, tree: ModeTree, dims: tuple[int, ...], batch: int) -> None:
    for name, found, wanted in (
        ("mode dimensions", plan.mode_dims, dims),
        ("observations", plan.batch, batch),
    ):
        if found != wanted:
            raise ValueError(f"`plan` is for {name} {found}, the data have {wanted}.")
    if plan.tree != tree:
        raise ValueError(f"`plan` is for the tree\n{plan.tree}\nthe loss for\n{tree}")
