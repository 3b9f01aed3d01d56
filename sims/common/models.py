"""Matrix, CP and hierarchical factorization of 4096 entries, as lanes of an ensemble."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf

ENTRIES = 4096
# The hierarchical start at widths 64 is livelier than the paper's, and kept at equal scale
# of the end tensor for other widths.
LIVELY_STD = 3e-2


@dataclasses.dataclass(frozen=True)
class Model:
    """One of the paper's three models, completing a target of norm 64.

    `init_scale` multiplies the model's own standard deviation, or `init_std` if given.
    """

    model: Literal["mf", "tf", "htf"] = "htf"
    widths: int = 64
    init_std: float | None = None
    init_scale: float = 1.0
    target_rank: int = 5
    observed: int = 2048
    learning_rate: float = 1e-2
    eps: float = 1e-6


def standard_std(model: Any, widths: int) -> float:
    """The model's start: the hierarchical one scaled with its widths."""
    if model == "htf":
        return LIVELY_STD * (64 / widths) ** (1.5 / 7)
    return htf.problems.paper(model).init_std


def completion(setting: Model) -> htf.problems.Completion:
    """The paper's completion with the setting's numbers."""
    own = standard_std(setting.model, setting.widths)
    std = own if setting.init_std is None else setting.init_std
    paper = htf.problems.paper(setting.model)
    return dataclasses.replace(
        paper,
        widths=setting.widths,
        init_std=std * setting.init_scale,
        target_rank=setting.target_rank,
        observed=setting.observed,
        learning_rate=setting.learning_rate,
        eps=setting.eps,
        track_modes=paper.track_modes[:1],
    )


def model_lane(setting: Model, key: jax.Array) -> Any:
    """The lane of a model."""
    return htf.runs.completion_lane(completion(setting), key)


def target_singular_values(setting: Model, seed: int, top: int) -> np.ndarray:
    """The largest singular values of a run's target, (top,), zeros where it has fewer."""
    lane = htf.runs.make_lane(model_lane, setting, seed)
    matrix = htf.matricize(lane.observe.target, lane.observe.modes[0])
    values = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)[:top]
    rank = int(htf.numerical_rank(jnp.asarray(values, jnp.float32)))  # rounding is no rank
    return np.pad(values[:rank], (0, top - rank))


@dataclasses.dataclass(frozen=True)
class Cell:
    """A run of the phase diagram: `ratio` observed entries per degree of freedom."""

    model: Literal["mf", "tf", "htf"] = "htf"
    widths: int = 64
    init_scale: float = 1.0
    target_rank: int = 5
    ratio: float = 4.0
    learning_rate: float = 1e-2


def degrees_of_freedom(model: Any, rank: int) -> int:
    """Dimension of the set of tensors that a factorization with these widths makes.

    Matrices r (m + n - r); CP r (sum D - N + 1); the hierarchical tree of order 4
    sum D r + r^2 - 4 r, where the matrices above the leaves count through their product.
    """
    dims = htf.problems.paper(model).dims
    total = sum(dims)
    if model == "mf":
        return rank * (total - rank)
    if model == "tf":
        return rank * (total - len(dims) + 1)
    return total * rank + rank**2 - 4 * rank


def observed_entries(model: str, rank: int, ratio: Any) -> Any:
    """Entries that a cell observes: the ratio times the degrees of freedom, at most all."""
    return jnp.clip(jnp.round(ratio * degrees_of_freedom(model, rank)), 1, ENTRIES)


def cell_lane(setting: Cell, key: jax.Array) -> Any:
    """A lane whose number of observed entries is an array: all cells share a program."""
    model = Model(
        model=setting.model, widths=setting.widths, init_scale=setting.init_scale,
        target_rank=setting.target_rank, learning_rate=setting.learning_rate, observed=1,
    )  # fmt: skip
    lane = model_lane(model, key)
    count = observed_entries(setting.model, setting.target_rank, setting.ratio)
    order = jax.random.permutation(jax.random.fold_in(key, 1), ENTRIES)
    seen = (order < count.astype(order.dtype)).reshape(lane.observe.seen.shape)
    observe = dataclasses.replace(lane.observe, seen=seen)
    loss = jax.tree_util.Partial(masked_loss, lane.observe.target, seen)
    return dataclasses.replace(lane, loss=loss, observe=observe)


def masked_loss(target: jax.Array, seen: jax.Array, factors: Any) -> jax.Array:
    """Mean squared error on the entries that are seen."""
    squares = jnp.square(htf.end_tensor(factors) - target)
    inside = seen.astype(squares.dtype)
    return jnp.sum(inside * squares) / jnp.sum(inside)
