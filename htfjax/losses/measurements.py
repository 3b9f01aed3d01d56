"""Measurements of tensors: entries, and inner products with rank-one tensors or matrices.

A measurement is a pytree whose arrays are data, with two methods: `predict(layout, stacks)`
gives the values (B,) that factors have for it, and `take(rows)` the measurement of some of
its B observations. `observation_loss` makes a loss of one and of targets.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol, get_args, runtime_checkable

import jax
import jax.numpy as jnp
from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax._platforms import PLATFORMS, Platform, by_platform, check_platform
from htfjax._types import Array, Dims, Float, Int, Numbers
from htfjax.contraction import observed
from htfjax.contraction.end_tensor import contracted
from htfjax.contraction.entries import check_indices
from htfjax.contraction.evaluate import Distinct, planned_entries
from htfjax.contraction.plan import Plan, platform_plans
from htfjax.contraction.rates import ADVICE
from htfjax.contraction.sensing import check_vectors, sensed
from htfjax.factors.layout import Layout
from htfjax.factors.stacks import Stacks
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree

Planning = Literal["auto", "exact"]  # how a plan for entries is found


@runtime_checkable
class Measurement(Protocol):
    """Protocol of measurements: predictions that a loss compares with data.

    Example:
      >>> import dataclasses, htfjax as htf, jax, jax.numpy as jnp
      >>> @jax.tree_util.register_dataclass
      ... @dataclasses.dataclass(frozen=True)
      ... class BlockMeans:
      ...     entries: htf.losses.Entries  # those of the first block, of the second, ...
      ...     size: int = dataclasses.field(metadata={"static": True})
      ...     def predict(self, layout, stacks):
      ...         values = self.entries.predict(layout, stacks)
      ...         return values.reshape(-1, self.size).mean(axis=1)
      ...     def take(self, rows):
      ...         places = rows[:, None] * self.size + jnp.arange(self.size)[None, :]
      ...         return BlockMeans(self.entries.take(places.ravel()), self.size)
      >>> rows = htf.losses.Entries.at(htf.flat(2), 3, [[0, 0], [0, 1], [2, 1], [2, 2]])
      >>> loss = htf.observation_loss(BlockMeans(rows, 2), [1.0, -1.0])
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> float(loss(zero)), htf.residuals(loss, zero).tolist()
      (1.0, [-1.0, 1.0])
    """

    def predict(self, layout: Layout, stacks: Stacks) -> Float[Array, "B"]:
        """Values of the factors with this layout and these stacks, linear in the end
        tensor for `scaled_loss`."""
        ...

    def take(self, rows: Int[Array, "b"]) -> "Measurement":
        """The measurement of some observations."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Entries:
    """Entries of the end tensor, W[i_b], contracted by a plan; made by `Entries.at`.

    Other indices need another `Entries.at`: maps and plan are those of its own.

    Example:
      >>> import htfjax as htf, jax
      >>> rows = htf.losses.Entries.at(htf.flat(2), 3, [[0, 0], [2, 1]])
      >>> loss = htf.observation_loss(rows, [1.0, -1.0])
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> float(loss(zero))
      1.0
    """

    indices: jax.Array  # (B, N) int32
    distinct: Distinct | None  # index maps of `plan="exact"`
    tree: ModeTree = dataclasses.field(metadata={"static": True})
    mode_dims: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    plan: Plan | None = dataclasses.field(default=None, metadata={"static": True})
    platform: str | None = dataclasses.field(default=None, metadata={"static": True})
    # Penalties by which a loss may compare all of the tensor instead, see `dense_targets`.
    dense: tuple[str, ...] = dataclasses.field(default=(), metadata={"static": True})

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """What `Entries.at` was given."""
        exact = self.plan is None and self.distinct is not None
        return _reprs.record(
            self,
            tree=self.tree,
            mode_dims=_reprs.sizes(self.mode_dims),
            indices=self.indices,
            plan="exact" if exact else self.plan,
            platform=self.platform,
        )

    @classmethod
    def at(
        cls,
        tree: TreeLike,
        mode_dims: Dims,
        indices: Numbers,
        *,
        plan: Planning | Plan = "auto",
        platform: Platform | None = None,
    ) -> "Entries":
        """The entries at some indices.

        Args, raises: as `completion_loss`.
        """
        tree = as_tree(tree)
        dims = _checks.mode_dims(tree.order, mode_dims)
        named = None if platform is None else check_platform(platform, ADVICE)
        checked = check_indices(indices, dims)
        if isinstance(plan, Plan):
            _check_plan(plan, tree, dims, checked.shape[0])
            exact, own = "dedup" in plan.routes, plan
        else:
            _checks.one_of("plan", plan, get_args(Planning))
            exact, own = plan == "exact", None
        maps = observed.distinct_rows(tree, checked) if exact else None
        return cls(checked, maps, tree, dims, own, named)

    def predict(self, layout: Layout, stacks: Stacks) -> Float[Array, "B"]:
        """The entries."""

        def read(plan: Plan, stacks: Stacks) -> jax.Array:
            return self.read(plan, layout, stacks)

        return self.by_plan(layout, stacks, read)

    def take(self, rows: Int[Array, "b"]) -> "Entries":
        """Some of the entries; what was prepared for all of them is not for a part."""
        return dataclasses.replace(
            self, indices=self.indices[rows], distinct=None, plan=None, dense=()
        )

    def parts(self, rows: Sequence[jax.Array]) -> Iterable["Entries"]:
        """Those at every row of places, with index maps and a plan of their own.

        Raises:
          ValueError: index maps to be found of traced indices.
        """
        if self.plan is None and self.distinct is None:
            return map(self.take, rows)
        return self._planned(rows)

    def _planned(self, rows: Sequence[jax.Array]) -> Iterable["Entries"]:
        """Parts whose index maps have one shape, as the longest has it."""
        taken, plan = [self.take(row) for row in rows], self.plan
        maps: list[Distinct | None] = [None] * len(taken)
        if self.distinct is not None:
            own = [observed.distinct_rows(self.tree, part.indices) for part in taken]
            maps = [*observed.padded(own)]
        if plan is not None:
            counts = observed.distinct_counts(self.tree, taken[0].indices, maps[0])
            plan = dataclasses.replace(plan, batch=len(rows[0]), distinct=counts)
        for part, distinct in zip(taken, maps, strict=True):
            yield dataclasses.replace(part, distinct=distinct, plan=plan)

    def read(self, plan: Plan, layout: Layout, stacks: Stacks) -> Float[Array, "B"]:
        """The entries by the routes of a plan."""
        return planned_entries(plan, layout, stacks, self.indices, self.distinct, "highest")

    def by_plan(
        self,
        layout: Layout,
        stacks: Stacks,
        run: Callable[[Plan, Stacks], jax.Array],
        *,
        masked: bool = False,
    ) -> Float[Array, "..."]:
        """run(plan, stacks) with the plan for the platform that it is lowered for."""
        plans = self.plans(layout, masked=masked)
        return by_platform(plans, run, stacks, platform=self.platform)

    def plans(self, layout: Layout, *, masked: bool = False) -> Mapping[str, Plan]:
        """The plan for every platform, or the one that was given.

        Args:
          masked: whether the targets are there as a dense array.

        Raises:
          ValueError: a layout of another tree or other mode dimensions, or of other widths
            than those of the plan.
        """
        if (layout.tree, layout.dims) != (self.tree, self.mode_dims):
            raise ValueError(
                "`factors` do not fit the loss, which is for mode dimensions "
                f"{self.mode_dims} on the tree\n{self.tree}\nThey have {layout.dims} on "
                f"the tree\n{layout.tree}"
            )
        widths = layout.inner_widths
        if self.plan is None:
            counts = observed.distinct_counts(self.tree, self.indices, self.distinct)
            batch = self.indices.shape[0]
            return platform_plans(self.tree, self.mode_dims, widths, batch, counts, masked)
        if self.plan.widths != widths:
            raise ValueError(
                f"`plan` is for widths {self.plan.widths}, the factors have {widths}."
            )
        return dict.fromkeys(PLATFORMS, self.plan)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Weighted:
    """Values of another measurement times weights, w_b x_b.

    With targets times the same weights a loss is the mean of w_b^2 (x_b - y_b)^2; a weight
    of zero leaves an observation out, without another program.

    Example:
      >>> import htfjax as htf, jax, numpy as np
      >>> rows = htf.losses.Entries.at(htf.flat(2), 3, [[0, 0], [2, 1]])
      >>> weights, targets = np.array([1.0, 0.0]), np.array([2.0, 5.0])
      >>> weighted = htf.losses.Weighted(rows, jax.numpy.asarray(weights))
      >>> loss = htf.observation_loss(weighted, weights * targets)
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 0.0)
      >>> float(loss(zero))
      2.0
    """

    measurement: Measurement
    weights: jax.Array  # (B,)

    def __repr__(self) -> str:
        return _reprs.text(self)

    def predict(self, layout: Layout, stacks: Stacks) -> Float[Array, "B"]:
        """The weighted values."""
        check_measurement(self.measurement)
        found = self.measurement.predict(layout, stacks)
        weights = _checks.real_array("weights", self.weights)
        _checks.shape("weights", weights, found.shape, "(B,), one for each value")
        return found * _checks.cast("weights", weights, found.dtype)

    def take(self, rows: Int[Array, "b"]) -> "Weighted":
        """Some of the values."""
        return Weighted(self.measurement.take(rows), self.weights[rows])

    def parts(self, rows: Sequence[jax.Array]) -> Iterable["Weighted"]:
        """Those at every row of places."""
        for part, row in zip(parts_of(self.measurement, rows), rows, strict=True):
            yield Weighted(part, self.weights[row])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class RankOne:
    """Inner products with rank-one tensors, <W, x_b^0 (x) ... (x) x_b^{N-1}>.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> vectors = htf.losses.RankOne((jnp.ones((4, 2)), jnp.ones((4, 3))))
      >>> loss = htf.observation_loss(vectors, jnp.ones(4))
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 2, 0.0)
      >>> float(loss(zero))
      1.0
    """

    vectors: tuple[jax.Array, ...] | jax.Array  # N arrays (B, D_n), or (N, B, D)

    def __repr__(self) -> str:
        return _reprs.text(self)

    def predict(self, layout: Layout, stacks: Stacks) -> Float[Array, "B"]:
        """The inner products."""
        held = check_vectors(self.vectors, layout.dims, layout.dtype)
        return sensed(layout, stacks, held)

    def take(self, rows: Int[Array, "b"]) -> "RankOne":
        """Some of the rank-one tensors."""
        if isinstance(self.vectors, tuple):
            return RankOne(tuple(x[rows] for x in self.vectors))
        return RankOne(self.vectors[:, rows])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Dense:
    """Inner products <W, A_b> with the matrix that factors of order 2 have.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> matrices = htf.losses.Dense(jnp.ones((4, 2, 3)))
      >>> loss = htf.observation_loss(matrices, jnp.ones(4))
      >>> zero = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 2, 0.0)
      >>> float(loss(zero))
      1.0
    """

    matrices: jax.Array  # (B, D_0, D_1)

    def __repr__(self) -> str:
        return _reprs.text(self)

    def predict(self, layout: Layout, stacks: Stacks) -> Float[Array, "B"]:
        """The inner products."""
        held = _checks.floating("matrices", self.matrices, layout.dtype)
        if layout.dims != held.shape[1:]:
            raise ValueError(
                f"`matrices` measure {held.shape[1:]} matrices, the factors have mode "
                f"dimensions {layout.dims}."
            )
        matrix = contracted(layout, stacks)
        rows = held.reshape(-1, matrix.size)
        return jnp.matmul(rows, matrix.reshape(-1), precision="highest")

    def take(self, rows: Int[Array, "b"]) -> "Dense":
        """Some of the matrices."""
        return Dense(self.matrices[rows])


@runtime_checkable
class _Prepared(Protocol):
    """A measurement with what is prepared for all of its observations."""

    def parts(self, rows: Sequence[jax.Array]) -> Iterable[Measurement]:
        """The measurement of every row of places."""
        ...


def parts_of(measurement: Measurement, rows: Sequence[jax.Array]) -> Iterable[Measurement]:
    """The measurement of every row of places of observations.

    By its own `parts(rows)`, if it has what must be prepared for all of them.
    """
    own = isinstance(measurement, _Prepared)
    return measurement.parts(rows) if own else map(measurement.take, rows)


def check_measurement(measurement: object) -> None:
    """An object with the methods of a measurement."""
    methods = (getattr(measurement, name, None) for name in ("predict", "take"))
    if not all(map(callable, methods)) or isinstance(measurement, type):
        raise TypeError(
            f"`measurement` must have methods `predict(layout, stacks)` and `take(rows)`, "
            f"got {_checks.spell(measurement)}; `htfjax.losses.Measurement` has an example."
        )


def _check_plan(plan: Plan, tree: ModeTree, dims: tuple[int, ...], batch: int) -> None:
    for name, found, wanted in (
        ("mode dimensions", plan.mode_dims, dims),
        ("observations", plan.batch, batch),
    ):
        if found != wanted:
            raise ValueError(f"`plan` is for {name} {found}, the data have {wanted}.")
    if plan.tree != tree:
        raise ValueError(f"`plan` is for the tree\n{plan.tree}\nthe loss for\n{tree}")
