"""Sharded losses: observations divided among devices, with one all-reduce per step.

Every device holds a part of the observations, as its share of all arrays of a loss along a
leading axis; parameters lie on all of them. Value and gradient of the parts are summed
over the devices together, by one collective.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax._types import Array, Float, Int, PyTree
from htfjax.factors.factors import AnyFactors
from htfjax.factors.stacks import opened
from htfjax.losses.loss import ObservationLoss, Observing, Result
from htfjax.losses.measurements import Measurement
from htfjax.losses.penalty import pointwise
from htfjax.losses.sums import Summable

AXIS = "observations"
Kind = TypeVar("Kind", bound=Summable)
Slopes = tuple[jax.Array, PyTree]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Observations of one device, and which of them count: a share of a mean."""

    loss: ObservationLoss
    counts: jax.Array  # (b,) bool; others are there to fill up
    total: int = dataclasses.field(metadata={"static": True})  # B, of all devices

    @property
    def measurement(self) -> Measurement:
        """That of these observations."""
        return self.loss.measurement

    def __call__(self, factors: AnyFactors) -> Float[Array, ""]:
        """The share of the loss."""
        return self.compare(self.measurement.predict(*opened(factors)))

    def checked(self, predictions: object) -> jax.Array:
        """Predictions (b,), floating."""
        return self.loss.checked(predictions)

    def residuals(self, predictions: Float[Array, "b"]) -> Float[Array, "b"]:
        """Predictions minus targets, zero where nothing counts."""
        # Chosen before the penalty, whose slope at zero is zero: what fills up has no part
        # in the gradient either, where a product with a weight of zero could be NaN.
        found = self.loss.residuals(predictions)
        return jnp.where(self.counts, found, jnp.zeros_like(found))

    def residual_vector(self, factors: AnyFactors) -> Float[Array, "b"]:
        """Residuals over sqrt(B), whose sum of squares is the share of the loss."""
        found = self.residuals(self.measurement.predict(*opened(factors)))
        return found / np.asarray(np.sqrt(self.total), found.dtype)

    def residual_at(self, factors: AnyFactors, place: Int[Array, ""]) -> Float[Array, ""]:
        """One number of `residual_vector`, without the others."""
        places = place[None]
        one = Part(self.loss.take(places), self.counts[places], self.total)
        return one.residual_vector(factors)[0]

    def compare(self, predictions: Float[Array, "b"]) -> Float[Array, ""]:
        """The share of the mean penalty."""
        x = self.residuals(predictions)
        costs = pointwise(x, self.loss.penalty, self.loss.threshold)
        return jnp.sum(costs) / np.asarray(self.total, costs.dtype)


class Sharded(Observing):
    """A mean over observations that lie on the devices of a mesh."""

    def __call__(self, factors: AnyFactors) -> Float[Array, ""]:
        """The loss of the factors; with its gradient one collective, as without."""
        return _value(self, factors)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ShardedLoss(Sharded):
    """A loss whose observations lie on the devices of a mesh; made by `sharded_loss`."""

    parts: ObservationLoss  # arrays (devices, ...)
    mesh: Mesh = dataclasses.field(metadata={"static": True})
    axis: str = dataclasses.field(metadata={"static": True})
    total: int = dataclasses.field(metadata={"static": True})

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Fields, with the mesh as its axes."""
        return _reprs.record(
            self,
            parts=self.parts,
            mesh=dict(self.mesh.shape),
            axis=self.axis,
            total=self.total,
        )

    @property
    def count(self) -> int:
        """B, without those that fill up."""
        return self.total

    @property
    def first(self) -> ObservationLoss:
        """Shapes of a part."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), self.parts
        )

    @property
    def devices(self) -> int:
        """Parts."""
        return self.mesh.shape[self.axis]

    @property
    def each(self) -> int:
        """Observations of a part, with those that fill up."""
        return -(-self.total // self.devices)

    def take(self, rows: Int[Array, "b"]) -> "ShardedBatch":
        """The loss on some of its observations, each read where it lies."""
        return ShardedBatch(self, rows)

    def summed(self, function: Callable[..., Result], *arguments: PyTree) -> Result:
        """function(part, *arguments), summed over the devices by one collective."""
        return _summed(self, arguments, function=function)

    def residuals_of(self, factors: AnyFactors) -> Float[Array, "B"]:
        """Predictions minus targets."""
        return _residuals(self, factors)

    def check_squares(self) -> None:
        """A penalty that squares."""
        self.parts.check_squares()

    def part(self, stacked: ObservationLoss) -> Part:
        """The part of this device, on which `stacked` has one row."""
        own = jax.tree.map(lambda x: lax.squeeze(x, (0,)), stacked)
        first = lax.axis_index(self.axis) * np.int32(self.each)
        places = first + jnp.arange(self.each, dtype=jnp.int32)
        return Part(own, places < self.total, self.total)

    def spread(self, local: Callable[..., Result], arguments: PyTree, out: P) -> Result:
        """local(parts, arguments) on every device, with `parts` of one row there."""
        if self.axis in jax.sharding.get_abstract_mesh().manual_axes:
            return local(self.parts, arguments)  # called by what runs on every device
        # Not checked for what varies: a measurement of a user's own may loop over
        # constants, which would have to be marked.
        run = jax.shard_map(
            local, mesh=self.mesh, in_specs=(P(self.axis), P()), out_specs=out,
            check_vma=False,
        )  # fmt: skip
        return run(self.parts, arguments)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ShardedBatch(Sharded):
    """A sharded loss on some of its observations; made by its `take`."""

    loss: ShardedLoss
    rows: jax.Array  # (b,) places among all observations

    @property
    def count(self) -> int:
        """b."""
        return self.rows.shape[0]

    @property
    def first(self) -> ObservationLoss:
        """Shapes of a part, of all observations."""
        return self.loss.first

    @property
    def block(self) -> int:
        """Observations that a device reads at a time, rarely fewer than it has of b."""
        mean = self.count / self.loss.devices
        return min(self.count, int(np.ceil(mean + 3 * np.sqrt(mean))))

    def take(self, rows: Int[Array, "b"]) -> "ShardedBatch":
        """The loss on some of these."""
        return ShardedBatch(self.loss, self.rows[rows])

    def summed(self, function: Callable[..., Result], *arguments: PyTree) -> Result:
        """function(part, *arguments), summed over blocks and devices, by one collective."""
        return _summed(self, arguments, function=function)

    def residuals_of(self, factors: AnyFactors) -> Float[Array, "b"]:
        """Predictions minus targets, of all rows on every device."""

        def residuals(part: Part) -> jax.Array:
            return part.residuals(part.measurement.predict(*opened(factors)))

        def local(stacked: ObservationLoss, rows: jax.Array) -> jax.Array:
            places = self.places(rows)
            filler = jnp.maximum(jnp.max(places), 0)
            own = residuals(self.chosen(stacked, places, filler))
            return lax.psum(own, self.loss.axis)

        return self.loss.spread(local, self.rows, P())

    def check_squares(self) -> None:
        """A penalty that squares."""
        self.loss.check_squares()

    def places(self, rows: jax.Array) -> jax.Array:
        """Places of all rows among the observations of this device, -1 of others'."""
        each, nowhere = (np.asarray(x, rows.dtype) for x in (self.loss.each, -1))
        here = lax.axis_index(self.loss.axis).astype(rows.dtype)
        places = rows - here * each
        return jnp.where((places >= 0) & (places < each), places, nowhere)

    def chosen(
        self, stacked: ObservationLoss, places: jax.Array, filler: jax.Array
    ) -> Part:
        """Observations at some places of this device; one of them in place of others'."""
        ours = places >= 0
        own = self.loss.part(stacked).loss.take(jnp.where(ours, places, filler))
        return Part(own, ours, self.count)


@overload
def sharded_loss(
    loss: ObservationLoss, mesh: Mesh | None = None, *, axis: str | None = None
) -> ShardedLoss: ...


@overload
def sharded_loss(
    loss: Kind, mesh: Mesh | None = None, *, axis: str | None = None
) -> Kind: ...


def sharded_loss(
    loss: PyTree, mesh: Mesh | None = None, *, axis: str | None = None
) -> PyTree:
    """The same loss, with its observations dealt to the devices of a mesh.

    L = 1/B sum over devices d of sum over its observations b of penalty(x_b - y_b). Each
    device has ceil(B / devices) of them, one after another; where the devices do not
    divide B, the last observation fills up and does not count. Parameters, optimizer and
    instruments are replicated. Value and gradient need one collective, their sum.

    Args:
      loss: of `completion_loss`, `sensing_loss`, `matrix_sensing_loss` or
        `observation_loss`; or a sum, multiple, minibatch or scaled loss of such, in which
        each is sharded. Its arrays may be `jax.ShapeDtypeStruct`, as `jax.eval_shape` gives
        them: what comes back then has shapes with shardings, to be lowered and compiled
        for devices that are not there.
      mesh: by default one axis over all devices of all processes.
      axis: of the mesh, along which observations are dealt; by default "observations" if
        there is one, else the only one. Along others they are replicated.

    Returns:
      A pytree that serves wherever the loss does; equal up to the rounding of sums in
      another order. A minibatch has the observations that it would have on one device. In
      several processes each gives the whole loss, and keeps what its own devices hold.

    Raises:
      TypeError: a loss without observations or sharded already, not a mesh, an axis that
        is not a text. ValueError: an axis that the mesh does not have; none named among
        several; `plan="exact"` with abstract or traced indices.

    Source: data parallelism; the gradient of a mean is the mean of gradients.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> start = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 2, 1.0)
      >>> vectors = htf.random_vectors(jax.random.key(1), (4, 4, 4), 101)
      >>> loss = htf.sensing_loss(vectors, jnp.ones(101))
      >>> mesh = jax.sharding.Mesh(jax.devices(), ("observations",))
      >>> sharded = htf.sharded_loss(loss, mesh)
      >>> bool(jnp.allclose(sharded(start), loss(start)))
      True
    """
    mesh = Mesh(np.array(jax.devices()), (AXIS,)) if mesh is None else mesh
    _checks.instance("mesh", mesh, Mesh, "`jax.sharding.Mesh(devices, names)` makes one")
    axis = _check_axis(mesh, axis)
    # Of which axes are "explicit" does not matter here, and would to what is computed.
    plain = Mesh(mesh.devices, mesh.axis_names)
    leaves, treedef = jax.tree.flatten(loss, is_leaf=_is_observing)
    if not any(map(_is_observing, leaves)):
        raise TypeError(
            f"`loss` must be or hold a loss on observations, got {_checks.spell(loss)}; "
            "`completion_loss`, `sensing_loss` and `observation_loss` make one. Others "
            "are evaluated on every device as they are."
        )
    dealt = [_dealt(x, plain, axis) if _is_observing(x) else x for x in leaves]
    return jax.tree.unflatten(treedef, dealt)


def _is_observing(x: object) -> bool:
    return isinstance(x, Observing)


def _check_axis(mesh: Mesh, axis: object) -> str:
    names = tuple(map(str, mesh.axis_names))
    if axis is None:
        if AXIS in names or len(names) == 1:
            return AXIS if AXIS in names else names[0]
        raise ValueError(
            f"`axis` is needed for a mesh with the axes {names}: the one along which "
            "observations are dealt."
        )
    return _checks.one_of("axis", axis, names)


def _dealt(loss: PyTree, mesh: Mesh, axis: str) -> ShardedLoss:
    """The parts of a loss on their devices, as shapes or traced where it is."""
    if not isinstance(loss, ObservationLoss):
        raise TypeError("`loss` is sharded already; give the one that it was made of.")
    count = loss.count
    rows = rows_of(count, mesh.shape[axis])
    sharding = NamedSharding(mesh, P(axis))
    leaves = jax.tree.leaves(loss)

    def stacked(loss: ObservationLoss) -> ObservationLoss:
        return jax.tree.map(lambda *xs: jnp.stack(xs), *loss.parts(rows))

    if any(isinstance(x, jax.ShapeDtypeStruct) for x in leaves):
        shapes = jax.eval_shape(stacked, loss)
        parts = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
        )
    elif all(map(_checks.concrete, leaves)):
        parts = _placed(loss.parts(rows), sharding, axis)
    else:
        parts = lax.with_sharding_constraint(stacked(loss), sharding)
    return ShardedLoss(parts, mesh, axis, count)


def rows_of(count: int, devices: int) -> np.ndarray:
    """Places of the observations of every device, (devices, b): the last one fills up.

    Example:
      >>> rows_of(5, 3).tolist()
      [[0, 1], [2, 3], [4, 4]]
    """
    each = -(-count // devices)
    places = np.arange(devices * each, dtype=jax.dtypes.canonicalize_dtype(int))
    return np.minimum(places, count - 1).reshape(devices, each)


def _placed(
    parts: Iterable[ObservationLoss], sharding: NamedSharding, axis: str
) -> ObservationLoss:
    """Parts stacked along the axis of a mesh, each sent where it lies, one by one."""
    mesh = sharding.mesh
    assert isinstance(mesh, Mesh)
    groups = np.moveaxis(mesh.devices, mesh.axis_names.index(axis), 0)
    groups = groups.reshape(len(groups), -1)
    here, sent = jax.process_index(), []
    for part, group in zip(parts, groups, strict=True):
        own = [device for device in group if device.process_index == here]
        first = jax.tree.map(lambda x: jnp.asarray(x)[None], part)
        sent += [jax.device_put(first, device) for device in own]

    def whole(*pieces: jax.Array) -> jax.Array:
        shape = (len(groups), *pieces[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, list(pieces))

    return jax.tree.map(whole, *sent)


# Derivatives: value and gradient are made together, so that they cross devices together.


def _call(part: Part, factors: AnyFactors) -> jax.Array:
    return part(factors)


def _call_and_slopes(part: Part, factors: AnyFactors) -> Slopes:
    return jax.value_and_grad(lambda x: part(x))(factors)


@jax.custom_jvp
def _value(loss: Sharded, factors: AnyFactors) -> jax.Array:
    return loss.summed(_call, factors)


def _tangent(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """The value, and its derivative along factors by the gradient, along data as it is."""
    loss, factors = primals
    value, slopes = loss.summed(_call_and_slopes, factors)
    pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(tangents[1]), strict=True)
    along = jnp.zeros_like(value)
    for slope, tangent in pairs:
        if not isinstance(tangent, SymbolicZero):
            along = along + jnp.vdot(slope.astype(value.dtype), tangent.astype(value.dtype))
    if any(not isinstance(x, SymbolicZero) for x in jax.tree.leaves(tangents[0])):
        moved = jax.tree.map(_instantiated, loss, tangents[0])
        along = along + jax.jvp(lambda x: x.summed(_call, factors), (loss,), (moved,))[1]
    return value, along


_value.defjvp(_tangent, symbolic_zeros=True)


def _instantiated(
    x: jax.Array, tangent: jax.Array | SymbolicZero
) -> jax.Array | np.ndarray:
    """A tangent as `jax.jvp` takes it."""
    if not isinstance(tangent, SymbolicZero):
        return tangent
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)


# Programs: jitted here, so that calls outside of jit are compiled once.


@functools.partial(jax.jit, static_argnames=("function",))
def _summed(loss: PyTree, arguments: tuple, *, function: Callable[..., Result]) -> Result:
    if isinstance(loss, ShardedLoss):

        def whole(stacked: ObservationLoss, arguments: tuple) -> Result:
            return _total(function(loss.part(stacked), *arguments), loss.axis)

        return loss.spread(whole, arguments, P())

    def blocks(stacked: ObservationLoss, given: tuple) -> Result:
        rows, arguments = given
        local = _by_blocks(loss, stacked, rows, lambda part: function(part, *arguments))
        return _total(local, loss.loss.axis)

    return loss.loss.spread(blocks, (loss.rows, arguments), P())


def _by_blocks(
    batch: ShardedBatch,
    stacked: ObservationLoss,
    rows: jax.Array,
    function: Callable[[Part], Result],
) -> Result:
    """function summed over those of the rows that lie here, a block at a time.

    How many they are is known when it runs: mostly one block, on which work falls with
    the devices, where reading all rows everywhere would not.
    """
    size, places = batch.block, batch.places(rows)
    ours = jnp.sum(places >= 0, dtype=jnp.int32)
    places = jnp.sort(places, descending=True)
    blocks = -(-batch.count // size)
    filled = jnp.full((blocks * size,), -1, rows.dtype).at[: batch.count].set(places)

    def one(i: jax.Array) -> Result:
        block = lax.dynamic_slice(filled, (i * np.int32(size),), (size,))
        # No other observation fills up: what it overflows to would spoil the gradient.
        return function(batch.chosen(stacked, block, places[0]))

    def add(i: jax.Array, sums: Result) -> Result:
        return jax.tree.map(jnp.add, sums, one(i))

    shapes = jax.eval_shape(one, jnp.int32(0))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    full = -(-ours // np.int32(size))
    return lax.fori_loop(jnp.int32(0), full, add, zeros)


def _total(tree: Result, axis: str) -> Result:
    """The sum over devices, of all arrays in one collective and in the widest dtype."""
    leaves, treedef = jax.tree.flatten(tree)
    wide = max((x.dtype for x in leaves), key=lambda dtype: dtype.itemsize)
    flat = lax.psum(jnp.concatenate([x.astype(wide).ravel() for x in leaves]), axis)
    ends = np.cumsum([x.size for x in leaves])[:-1]
    parts = [
        part.reshape(x.shape).astype(x.dtype)
        for part, x in zip(jnp.split(flat, ends), leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, parts)


@jax.jit
def _residuals(loss: ShardedLoss, factors: AnyFactors) -> jax.Array:
    """Residuals of all observations in their order, sharded as these are."""
    inside = loss.axis in jax.sharding.get_abstract_mesh().manual_axes

    def local(stacked: ObservationLoss, factors: AnyFactors) -> jax.Array:
        part = loss.part(stacked)
        found = part.residuals(part.measurement.predict(*opened(factors)))
        return lax.all_gather(found, loss.axis, tiled=True) if inside else found

    return loss.spread(local, factors, P(loss.axis))[: loss.total]
