"""Completion of a random low-rank target, the usual run of an ensemble."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from htfjax import _checks, _lapack, _reprs
from htfjax._types import Array, Key
from htfjax.contraction.end_tensor import end_tensor
from htfjax.factors.factors import Factors
from htfjax.instruments.local_components import local_component_norms, unbalancedness
from htfjax.instruments.ranks import matricize
from htfjax.losses.loss import residuals
from htfjax.losses.penalty import penalize
from htfjax.motion.descent import DescentState, start_descent
from htfjax.motion.group_rms import group_rmsprop
from htfjax.problems import Completion
from htfjax.runs.grid import check_data
from htfjax.runs.lanes import Lane

# A record contracts the dense end tensor; 2**20 numbers take some milliseconds.
LARGEST_TENSOR = 2**20
# Fields by which target and observations are drawn.
DRAWN = ("target_tree", "target_rank", "target_norm", "symmetric", "observed")
DIMS = (
    ("singular_value", ("modes", "index")),
    ("local_component_norm", ("node", "component")),
)


def completion_lane(
    setting: Completion, key: Key[Array, ""], data: Mapping[str, Any] | None = None
) -> Lane:
    """Target, observations, start and optimizer of one run, from one key.

    Recorded quantities: train_mse, test_mse (unobserved entries only), relative_error,
    singular_value (modes, index), unbalancedness, local_component_norm (node, component).
    Of data of one's own the target is not known, so that there is no relative_error, and
    test_mse only with `test_indices`.

    Args:
      setting: what to run; its float fields may be traced.
      key: typed key.
      data: `indices` (B, N) and `values` (B,) that were observed, to be told apart by
        `test_indices` and `test_values` if there are; by default drawn.

    Raises:
      ValueError: more observations than entries, a tensor too large to be recorded
        from, data without indices or values, and what `gaussian_factors` and
        `completion_loss` refuse.

    Source: arXiv:2201.11729, tensor completion experiments.

    Example:
      >>> import htfjax as htf, jax
      >>> setting = htf.problems.Completion(mode_dims=3, widths=4, observed=30)
      >>> lane = htf.runs.completion_lane(setting, jax.random.key(0))
      >>> lane.state.params.weights[0].shape, lane.loss.targets.shape
      ((3, 4), (30,))
    """
    _checks.instance("setting", setting, Completion, "htfjax.problems.Completion makes one")
    _checks.key("key", key)
    tree, dims = setting.mode_tree, setting.dims
    size = math.prod(dims)
    if size > LARGEST_TENSOR:
        raise ValueError(
            f"`mode_dims={dims}` make a tensor of {size} entries; records are read off the "
            f"dense tensor, which may have up to {LARGEST_TENSOR}."
        )
    keys = jax.random.split(key, 3)
    nodes = tuple(dict.fromkeys((tree.interior[0], tree.root)))
    looks = (setting.track_modes, setting.top, nodes)
    data = check_data(data)
    if data is None:
        target, indices, loss, start = setting.make(*keys)
        seen = jnp.zeros(dims, bool).at[tuple(indices.T)].set(True)
        observe: Any = CompletionRecords(*looks, target, seen)
    else:
        loss, test = _given(data, setting)
        start = setting.start(keys[2])
        observe = DataRecords(*looks, loss, test)
    return Lane(
        state=_started(start, setting),
        loss=loss,
        observe=observe,
        key=None,
        optimizer=OPTIMIZER,
        dims=DIMS,
        coords=(
            ("modes", tuple(_spell(modes) for modes in setting.track_modes)),
            ("node", tuple(_spell(tree.modes[k]) for k in nodes)),
        ),
    )


def check_axes(axes: Sequence[str]) -> None:
    """Checks that no axis of a grid with data is about observations that are drawn.

    Raises:
      ValueError: with the axis.
    """
    idle = [name for name in axes if name in DRAWN]
    if idle:
        raise ValueError(
            f"axis `{idle[0]}` has no effect, because observations are given as `data`; "
            "leave it out."
        )


def _given(data: Mapping[str, Any], setting: Completion) -> tuple[Any, Any]:
    """The loss on given entries, and on those for testing, None without."""
    known = {"indices", "values", "test_indices", "test_values"}
    missing = {"indices", "values"} - set(data)
    if missing or set(data) - known or len(data) % 2:
        raise ValueError(
            f"`data` holds {sorted(data)}; give `indices` and `values`, and for testing "
            "`test_indices` and `test_values`."
        )
    loss = setting.loss_of(data["indices"], data["values"])
    if "test_indices" not in data:
        return loss, None
    return loss, setting.loss_of(data["test_indices"], data["test_values"])


def _started(start: Factors, setting: Completion) -> DescentState:
    """A start whose optimizer has the numbers of the setting in its state."""
    state = start_descent(start, OPTIMIZER)
    hyper = {
        name: jnp.asarray(getattr(setting, name), setting.dtype)
        for name in ("learning_rate", "decay", "eps")
    }
    return state._replace(opt_state=state.opt_state._replace(hyperparams=hyper))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Looks:
    """Quantities of the factors whatever they are to fit."""

    modes: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    top: int = dataclasses.field(metadata={"static": True})
    nodes: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    def structure(self, factors: Factors, tensor: jax.Array) -> dict[str, jax.Array]:
        """Singular values, unbalancedness and norms of local components."""
        norms = local_component_norms(factors)
        width = max(norms[k].shape[0] for k in self.nodes)
        spectra = [
            _lapack.singular_values(matricize(tensor, modes)) for modes in self.modes
        ]
        return {
            "singular_value": jnp.stack([_pad(s, self.top) for s in spectra]),
            "unbalancedness": unbalancedness(factors),
            "local_component_norm": jnp.stack([_pad(norms[k], width) for k in self.nodes]),
        }


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class CompletionRecords(Looks):
    """Quantities of the factors at every record; made by `completion_lane`."""

    target: jax.Array  # (D_0, ..., D_{N-1})
    seen: jax.Array  # the same shape, True where observed

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __call__(self, factors: Factors) -> dict[str, jax.Array]:
        """The quantities of the factors."""
        tensor = end_tensor(factors)
        squares = jnp.square(tensor - self.target)
        inside = self.seen.astype(squares.dtype)
        count = jnp.sum(inside)
        rest = jnp.maximum(squares.size - count, 1)
        return {
            "train_mse": jnp.sum(squares * inside) / count,
            "test_mse": jnp.sum(squares * (1 - inside)) / rest,
            "relative_error": jnp.sqrt(jnp.sum(squares))
            / jnp.linalg.norm(self.target.ravel()),
            **self.structure(factors, tensor),
        }


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class DataRecords(Looks):
    """Quantities of the factors where only data are known, not their target."""

    loss: Any
    test: Any  # None without

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __call__(self, factors: Factors) -> dict[str, jax.Array]:
        """The quantities of the factors."""
        seen = {"train_mse": penalize(residuals(self.loss, factors))}
        if self.test is not None:
            seen["test_mse"] = penalize(residuals(self.test, factors))
        return seen | self.structure(factors, end_tensor(factors))


# GroupRMSprop with its numbers in the state: one object for all runs of all threads.
OPTIMIZER = optax.inject_hyperparams(group_rmsprop)(
    learning_rate=1e-2, decay=0.99, eps=1e-6
)


def _pad(values: jax.Array, length: int) -> jax.Array:
    """The first `length` values, NaN where there are fewer."""
    missing = max(0, length - values.shape[0])
    filler = jnp.full((missing,), jnp.nan, values.dtype)
    return jnp.concatenate([values[:length], filler])


def _spell(modes: tuple[int, ...]) -> str:
    return ",".join(map(str, modes))
