"""Completion of a random low-rank target, the usual run of an ensemble."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax

from htfjax import _checks
from htfjax._types import Array, Key
from htfjax.contraction.end_tensor import end_tensor
from htfjax.factors.factors import Factors
from htfjax.factors.gaussian import Root, gaussian_factors, weight_shapes
from htfjax.instruments.local_components import local_component_norms, unbalancedness
from htfjax.instruments.ranks import matricize
from htfjax.losses.loss import completion_loss, residuals
from htfjax.losses.penalty import PENALTIES, Penalty, penalize
from htfjax.losses.sampling import random_indices
from htfjax.motion.descent import DescentState, start_descent
from htfjax.motion.group_rms import group_rmsprop
from htfjax.runs.grid import check_data
from htfjax.runs.lanes import Lane
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree, without_chains

# A record contracts the dense end tensor; 2**20 numbers take some milliseconds.
LARGEST_TENSOR = 2**20
DIMS = (
    ("singular_value", ("modes", "index")),
    ("local_component_norm", ("node", "component")),
)
DType = Literal["float32", "float64"]


@dataclasses.dataclass(frozen=True)
class Completion:
    """Completion of a random target by gradient descent from a small Gaussian start.

    By default the lively small version of the paper's hierarchical run: order 4, D = 8,
    widths 64, std 0.03, a rank-5 target of norm 64, 2048 of 4096 entries observed.

    Attributes:
      tree: of the model: a `ModeTree`, nested modes or their text; kept as nested modes.
      target_tree: of the target, likewise; by default the model's with one-child nodes left
        out.
      mode_dims: D_n, one number or one per mode.
      widths: local components, one number, one per interior node or one per height.
      root: "trained" or "ones".
      init_std: standard deviation of the start.
      target_rank: all widths of the target.
      target_norm: Frobenius norm of the target.
      observed: number of observed entries, none twice.
      penalty, threshold: as in `completion_loss`.
      learning_rate, decay, eps: of GroupRMSprop.
      track_modes: mode sets whose singular values are recorded.
      top: number of singular values recorded.
      dtype: "float32" or "float64" (float64 needs jax's x64 mode).

    Raises:
      TypeError, ValueError: a field of the wrong kind or out of range.

    Example:
      >>> Completion(widths=16).init_std
      0.03
    """

    tree: TreeLike = ((0, 1), (2, 3))
    mode_dims: int | tuple[int, ...] = 8
    widths: int | tuple[int, ...] = 64
    root: Root = "trained"
    init_std: float = 3e-2
    target_rank: int = 5
    target_norm: float = 64.0
    observed: int = 2048
    penalty: Penalty = "l2"
    threshold: float = 1.0
    learning_rate: float = 1e-2
    decay: float = 0.99
    eps: float = 1e-6
    track_modes: tuple[tuple[int, ...], ...] = ((0, 1),)
    top: int = 10
    dtype: DType = "float32"
    target_tree: TreeLike | None = None

    def __post_init__(self) -> None:
        tree = as_tree(self.tree)
        target = without_chains(tree)
        if self.target_tree is not None:
            target = as_tree(self.target_tree, name="target_tree")
            object.__setattr__(self, "target_tree", target.nested)
        if target.order != tree.order:
            raise ValueError(
                f"`target_tree={_checks.spell(self.target_tree)}` has {target.order} "
                f"modes, `tree` has {tree.order}."
            )
        dims = _checks.mode_dims(tree.order, self.mode_dims)
        weight_shapes(tree, dims, self.widths, self.root)
        for name in ("init_std", "learning_rate", "decay", "eps", "target_norm",
                     "threshold"):  # fmt: skip
            number = getattr(self, name)
            _checks.positive(name, number, strict=name in ("target_norm", "threshold"))
            if _checks.concrete(number):  # not when an ensemble traces a lane
                object.__setattr__(self, name, float(number))
        if _checks.concrete(self.decay) and self.decay >= 1:
            raise ValueError(f"`decay={self.decay}` must be below 1.")
        _checks.one_of("penalty", self.penalty, PENALTIES)
        for name in ("target_rank", "observed", "top"):
            object.__setattr__(self, name, _checks.at_least(name, getattr(self, name), 1))
        if self.observed > math.prod(dims):
            raise ValueError(
                f"`observed={self.observed}` is more than the {math.prod(dims)} entries of "
                f"a tensor with mode dimensions {dims}."
            )
        object.__setattr__(self, "tree", tree.nested)
        object.__setattr__(self, "mode_dims", _whole(self.mode_dims))
        object.__setattr__(self, "widths", _whole(self.widths))
        modes = tuple(_modes(m, tree.order) for m in _sets(self.track_modes))
        object.__setattr__(self, "track_modes", modes)
        dtype = _checks.float_dtype("dtype", self.dtype)
        _checks.one_of("dtype", str(dtype), get_args(DType))
        object.__setattr__(self, "dtype", str(dtype))


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

    Example: see `make_lane`.
    """
    _checks.instance("setting", setting, Completion, "htfjax.runs.Completion makes one")
    _checks.key("key", key)
    tree = as_tree(setting.tree)
    dims = _checks.mode_dims(tree.order, setting.mode_dims)
    size, dtype = math.prod(dims), jnp.dtype(setting.dtype)
    if size > LARGEST_TENSOR:
        raise ValueError(
            f"`mode_dims={dims}` make a tensor of {size} entries; records are read off the "
            f"dense tensor, which may have up to {LARGEST_TENSOR}."
        )
    keys = jax.random.split(key, 3)
    start = gaussian_factors(
        keys[2], tree, dims, setting.widths, setting.init_std,
        root=setting.root, dtype=dtype,
    )  # fmt: skip
    nodes = tuple(dict.fromkeys((tree.interior[0], tree.root)))
    looks = (setting.track_modes, setting.top, nodes)
    data = check_data(data)
    if data is None:
        loss, target, seen = _drawn(keys[0], keys[1], setting, tree, dims)
        observe: Any = CompletionRecords(*looks, target, seen)
    else:
        loss, test = _given(data, setting, tree, dims)
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


def _drawn(
    for_target: jax.Array, for_entries: jax.Array, setting: Completion, tree: ModeTree,
    dims: tuple[int, ...],
) -> tuple[Any, jax.Array, jax.Array]:  # fmt: skip
    """The loss on random entries of a random target, the target, and where it was seen."""
    target = _target(for_target, setting, dims)
    indices = random_indices(for_entries, dims, setting.observed)
    loss = _loss(setting, tree, dims, indices, target[tuple(indices.T)])
    seen = jnp.zeros(dims, bool).at[tuple(indices.T)].set(True)
    return loss, target, seen


def _given(
    data: Mapping[str, Any], setting: Completion, tree: ModeTree, dims: tuple[int, ...]
) -> tuple[Any, Any]:
    """The loss on given entries, and on those for testing, None without."""
    known = {"indices", "values", "test_indices", "test_values"}
    missing = {"indices", "values"} - set(data)
    if missing or set(data) - known or len(data) % 2:
        raise ValueError(
            f"`data` holds {sorted(data)}; give `indices` and `values`, and for testing "
            "`test_indices` and `test_values`."
        )
    loss = _loss(setting, tree, dims, data["indices"], data["values"])
    test = None
    if "test_indices" in data:
        test = _loss(setting, tree, dims, data["test_indices"], data["test_values"])
    return loss, test


def _loss(
    setting: Completion, tree: ModeTree, dims: tuple[int, ...], indices: Any, values: Any
) -> Any:
    return completion_loss(
        tree, dims, indices, values, penalty=setting.penalty, threshold=setting.threshold
    )


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
    """What is read off the factors whatever they are to fit."""

    modes: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    top: int = dataclasses.field(metadata={"static": True})
    nodes: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    def structure(self, factors: Factors, tensor: jax.Array) -> dict[str, jax.Array]:
        """Singular values, unbalancedness and norms of local components."""
        norms = local_component_norms(factors)
        width = max(norms[k].shape[0] for k in self.nodes)
        spectra = [
            jnp.linalg.svd(matricize(tensor, modes), compute_uv=False)
            for modes in self.modes
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

    def __call__(self, factors: Factors) -> dict[str, jax.Array]:
        """The quantities of the factors."""
        seen = {"train_mse": penalize(residuals(self.loss, factors))}
        if self.test is not None:
            seen["test_mse"] = penalize(residuals(self.test, factors))
        return seen | self.structure(factors, end_tensor(factors))


def _whole(sizes: Any) -> int | tuple[int, ...]:
    """Sizes that were checked, as Python's numbers."""
    sizes = _checks.as_sequence(sizes)
    return tuple(map(int, sizes)) if isinstance(sizes, Sequence) else int(sizes)


def _sets(modes: object) -> Sequence[Any]:
    if not isinstance(modes, Sequence) or isinstance(modes, str) or not len(modes):
        raise TypeError(
            "`track_modes` must be sets of modes such as ((0, 1),), got "
            f"{_checks.spell(modes)}."
        )
    return modes


def _modes(modes: object, order: int) -> tuple[int, ...]:
    """Some, but not all of the modes of a tensor."""
    listed = _sets(_checks.as_sequence(modes))
    found = tuple(_checks.at_least("track_modes", mode, 0) for mode in listed)
    if max(found) >= order or len(set(found)) != len(found) or len(found) >= order:
        raise ValueError(
            f"`track_modes`: {found} must be some of the modes 0 to {order - 1}, each once."
        )
    return found


# GroupRMSprop with its numbers in the state: one object for all runs of all threads.
OPTIMIZER = optax.inject_hyperparams(group_rmsprop)(
    learning_rate=1e-2, decay=0.99, eps=1e-6
)


def _target(key: jax.Array, setting: Completion, dims: tuple[int, ...]) -> jax.Array:
    """A dense Gaussian factorization of the target rank, scaled to its norm."""
    tree = without_chains(as_tree(setting.tree))
    if setting.target_tree is not None:
        tree = as_tree(setting.target_tree)
    factors = gaussian_factors(
        key, tree, dims, setting.target_rank, 1.0,
        root=setting.root, dtype=jnp.dtype(setting.dtype),
    )  # fmt: skip
    tensor = end_tensor(factors)
    norm = jnp.asarray(setting.target_norm, tensor.dtype)
    return tensor * (norm / jnp.linalg.norm(tensor.ravel()))


def _pad(values: jax.Array, length: int) -> jax.Array:
    """The first `length` values, NaN where there are fewer."""
    missing = max(0, length - values.shape[0])
    filler = jnp.full((missing,), jnp.nan, values.dtype)
    return jnp.concatenate([values[:length], filler])


def _spell(modes: tuple[int, ...]) -> str:
    return ",".join(map(str, modes))
