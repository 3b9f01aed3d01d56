"""Problems of the paper's experiments: target, observations, loss and start."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax._types import Array, Float, Int, Key, Numbers
from htfjax.contraction.end_tensor import end_tensor
from htfjax.contraction.entries import check_indices
from htfjax.factors.factors import Factors
from htfjax.factors.gaussian import Root, gaussian_factors, weight_shapes
from htfjax.losses.loss import ObservationLoss, completion_loss
from htfjax.losses.penalty import PENALTIES, Penalty
from htfjax.losses.sampling import random_indices
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree, without_chains

__all__ = ["Completion", "paper"]

DType = Literal["float32", "float64"]
Model = Literal["mf", "tf", "htf"]


class Problem(NamedTuple):
    """Problem instance: a target, the observed entries, their loss and a start."""

    target: jax.Array  # (D_0, ..., D_{N-1})
    indices: jax.Array  # (B, N)
    loss: ObservationLoss
    start: Factors

    def __repr__(self) -> str:
        return _reprs.text(self)


@dataclasses.dataclass(frozen=True)
class Completion:
    """Completion of a random target by gradient descent from a small Gaussian start.

    By default the lively small version of the paper's hierarchical run: order 4, D = 8,
    widths 64, std 0.03, a rank-5 target of norm 64, 2048 of 4096 entries observed.

    Attributes:
      tree: of the model: a mode tree, nested modes or their text; kept as nested modes.
      mode_dims: D_n, one number or one per mode.
      widths: local components, one number, one per interior node or one per height.
      root: "trained" or "ones".
      init_std: standard deviation of the start.
      target_tree: of the target; None is that of the model without one-child nodes.
      target_rank: widths of the target, as `widths`.
      target_norm: Frobenius norm of the target.
      symmetric: whether nodes of the target of equal height and shape share a matrix.
      observed: number of observed entries, none twice.
      penalty, threshold: as in `completion_loss`.
      learning_rate, decay, eps: of GroupRMSprop.
      track_modes: mode sets whose singular values are recorded.
      top: number of singular values recorded.
      dtype: "float32" or "float64" (float64 needs jax's x64 mode).

    Raises:
      TypeError, ValueError: a field of the wrong kind or out of range.

    Source: arXiv:2201.11729, tensor completion experiments.

    Example:
      >>> import htfjax as htf, jax
      >>> keys = jax.random.split(jax.random.key(0), 3)
      >>> problem = htf.problems.Completion(widths=16).make(*keys)
      >>> problem.target.shape, problem.indices.shape, problem.start.weights[4].shape
      ((8, 8, 8, 8), (2048, 4), (16, 16))
    """

    tree: TreeLike = ((0, 1), (2, 3))
    mode_dims: int | tuple[int, ...] = 8
    widths: int | tuple[int, ...] = 64
    root: Root = "trained"
    init_std: float = 3e-2
    target_tree: TreeLike | None = None
    target_rank: int | tuple[int, ...] = 5
    target_norm: float = 64.0
    symmetric: bool = False
    observed: int = 2048
    penalty: Penalty = "l2"
    threshold: float = 1.0
    learning_rate: float = 1e-2
    decay: float = 0.99
    eps: float = 1e-6
    track_modes: tuple[tuple[int, ...], ...] = ((0, 1),)
    top: int = 10
    dtype: DType = "float32"

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """The tree, and the fields that are not as by default."""
        return _reprs.record(self, **({"tree": self.mode_tree} | _reprs.changed(self)))

    def __post_init__(self) -> None:
        tree = as_tree(self.tree)
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
        symmetric = _checks.flag("symmetric", self.symmetric)
        object.__setattr__(self, "symmetric", symmetric)
        for name in ("observed", "top"):
            object.__setattr__(self, name, _checks.at_least(name, getattr(self, name), 1))
        if self.observed > math.prod(dims):
            raise ValueError(
                f"`observed={self.observed}` is more than the {math.prod(dims)} entries of "
                f"a tensor with mode dimensions {dims}."
            )
        target_tree = self._check_target(tree)
        object.__setattr__(self, "tree", tree.nested)
        object.__setattr__(self, "target_tree", target_tree)
        object.__setattr__(self, "target_rank", _whole(self.target_rank))
        object.__setattr__(self, "mode_dims", _whole(self.mode_dims))
        object.__setattr__(self, "widths", _whole(self.widths))
        modes = tuple(_modes(m, tree.order) for m in _sets(self.track_modes))
        object.__setattr__(self, "track_modes", modes)
        dtype = _checks.float_dtype("dtype", self.dtype)
        _checks.one_of("dtype", str(dtype), get_args(DType))
        object.__setattr__(self, "dtype", str(dtype))

    def _check_target(self, tree: ModeTree) -> tuple | None:
        """The target's tree as nested modes, after a look at its order and widths."""
        if self.target_tree is None:
            _checks.node_widths(without_chains(tree), self.target_rank, "target_rank")
            return None
        target_tree = as_tree(self.target_tree, name="target_tree")
        if target_tree.order != tree.order:
            raise ValueError(
                f"`target_tree={target_tree.nested}` has {target_tree.order} modes, `tree` "
                f"{tree.order}."
            )
        _checks.node_widths(target_tree, self.target_rank, "target_rank")
        return target_tree.nested

    @property
    def mode_tree(self) -> ModeTree:
        """The model's tree."""
        return as_tree(self.tree)

    @property
    def dims(self) -> tuple[int, ...]:
        """D_n of every mode."""
        return _checks.mode_dims(self.mode_tree.order, self.mode_dims)

    def make(
        self,
        target_key: Key[Array, ""],
        observations_key: Key[Array, ""],
        start_key: Key[Array, ""],
    ) -> Problem:
        """Target, observed entries, loss and start, each from a key of its own.

        Raises:
          TypeError: a key that is not a typed key.
        """
        _checks.key("target_key", target_key)
        _checks.key("observations_key", observations_key)
        _checks.key("start_key", start_key)
        target, indices = self.target(target_key), self.indices(observations_key)
        loss, start = self.loss(target, indices), self.start(start_key)
        return Problem(target, indices, loss, start)

    def target(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """`target_factors`, contracted and scaled to the target's norm."""
        tensor = end_tensor(self.target_factors(key))
        norm = jnp.asarray(self.target_norm, tensor.dtype)
        return tensor * (norm / jnp.linalg.norm(tensor.ravel()))

    def target_factors(self, key: Key[Array, ""]) -> Factors:
        """Standard Gaussian factors on the target's tree."""
        tree = self.target_tree
        factors = gaussian_factors(
            key, without_chains(self.mode_tree) if tree is None else tree, self.dims,
            self.target_rank, 1.0, root=self.root, dtype=self.dtype,
        )  # fmt: skip
        return _shared(factors) if self.symmetric else factors

    def indices(self, key: Key[Array, ""]) -> Int[Array, "B N"]:
        """Indices of the observed entries."""
        return random_indices(key, self.dims, self.observed)

    def loss(self, target: Numbers, indices: Numbers) -> ObservationLoss:
        """The loss on some entries of a target.

        Raises:
          TypeError, ValueError: a target of another shape, indices out of range.
        """
        tensor = _checks.floating("target", target)
        _checks.shape("target", tensor, self.dims, "the mode dimensions")
        rows = check_indices(indices, self.dims)
        return self.loss_of(rows, tensor[tuple(rows.T)])

    def loss_of(self, indices: Numbers, targets: Numbers) -> ObservationLoss:
        """The loss on some entries, given their values as targets.

        Raises:
          TypeError, ValueError: as `completion_loss`.
        """
        return completion_loss(
            self.mode_tree, self.dims, indices, targets,
            penalty=self.penalty, threshold=self.threshold,
        )  # fmt: skip

    def start(self, key: Key[Array, ""]) -> Factors:
        """Factors from which a descent starts."""
        return gaussian_factors(
            key, self.tree, self.dims, self.widths, self.init_std,
            root=self.root, dtype=self.dtype,
        )  # fmt: skip


PAPER: dict[str, dict[str, Any]] = {
    "mf": {
        "tree": ((0,), 1), "mode_dims": (64, 64), "widths": (64, 64), "root": "ones",
        "init_std": 1e-3, "track_modes": ((0,),),
    },
    "tf": {
        "tree": (0, 1, 2), "mode_dims": (16,) * 3, "widths": (256,), "root": "ones",
        "init_std": 1e-3, "track_modes": ((0,),),
    },
    "htf": {
        "mode_dims": (8,) * 4, "widths": (512, 512), "init_std": 1e-2,
        "track_modes": ((0, 1), (0, 2)),
    },
}  # fmt: skip


def paper(model: Model) -> Completion:
    """The paper's completion of a tensor of 4096 entries by one of its three models.

    Args:
      model: "mf", a matrix factorization of depth 3; "tf", a CP factorization of order 3;
        "htf", the hierarchical one of order 4.

    Raises:
      TypeError, ValueError: another model.

    Source: arXiv:2201.11729, tensor completion experiments.

    Example:
      >>> import htfjax as htf
      >>> htf.problems.paper("tf").mode_dims, htf.problems.paper("tf").widths
      ((16, 16, 16), (256,))
    """
    return Completion(**PAPER[_checks.one_of("model", model, get_args(Model))])


def _shared(factors: Factors) -> Factors:
    """One matrix for all nodes of equal height and shape."""
    shared: dict[Any, Any] = {}
    weights = [
        None if w is None else shared.setdefault((height, w.shape), w)
        for w, height in zip(factors.weights, factors.tree.height, strict=True)
    ]
    return dataclasses.replace(factors, weights=tuple(weights))


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
