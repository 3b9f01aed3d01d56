"""Batches of lanes in one program: mapped or vectorized, sharded over a device mesh."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from htfjax import _checks
from htfjax._types import PyTree
from htfjax.losses.loss import ObservationLoss
from htfjax.losses.sharded import AXIS as OBSERVATIONS
from htfjax.losses.sharded import ShardedLoss, rows_of
from htfjax.motion.descent import DescentState
from htfjax.runs.lanes import Lane, advance_lane

AXIS = "lanes"
Tree = TypeVar("Tree")
Advanced = tuple[DescentState, dict[str, jax.Array]]


def lane_mesh(devices: Sequence[object] | None = None, *, observations: int = 1) -> Mesh:
    """A mesh with an axis "lanes" over all devices of all processes.

    Args:
      observations: devices that share the observations of a lane, neighbours in the list,
        along a second axis "observations".

    Raises:
      TypeError: something that is not a device.
      ValueError: devices of some but not all processes, none, or one twice; a number of
        them that `observations` does not divide.

    Example:
      >>> import htfjax as htf
      >>> htf.runs.lane_mesh().axis_names
      ('lanes',)
    """
    listed = jax.devices() if devices is None else devices
    single = isinstance(listed, np.ndarray) and not listed.ndim
    if single or isinstance(listed, str) or not isinstance(listed, Sequence | np.ndarray):
        raise TypeError(
            f"`devices` must be a list of devices, got {_checks.spell(devices)}."
        )
    chosen = np.array([*listed], object).ravel()
    for device in chosen:
        _checks.instance("devices", device, jax.Device, "jax.devices() lists them")
    if not len(chosen) or len(set(chosen)) != len(chosen):
        raise ValueError(
            f"`devices` must be at least one, each once, got {_checks.spell(devices)}."
        )
    found = {d.process_index for d in chosen}
    if found != set(range(jax.process_count())):
        raise ValueError(
            f"`mesh` has devices of {len(found)} processes ({sorted(found)}), but "
            f"{jax.process_count()} are running; use all processes or start fewer."
        )
    shared = _checks.at_least("observations", observations, 1)
    if len(chosen) % shared:
        raise ValueError(
            f"`observations={shared}` does not divide the {len(chosen)} devices."
        )
    if shared == 1:
        return Mesh(chosen, (AXIS,))
    return Mesh(chosen.reshape(-1, shared), (AXIS, OBSERVATIONS))


def places(mesh: Mesh) -> int:
    """Lanes that run at once: devices, or groups of those that share observations."""
    return mesh.shape[AXIS]


def padded_count(count: int, width: int, mesh: Mesh) -> int:
    """Slots for `count` lanes: as many groups of `width` at every place of the mesh.

    Example:
      >>> padded_count(5, 2, lane_mesh(jax.devices()[:1]))
      6
    """
    return -(-count // (width * places(mesh))) * places(mesh) * width


def deal(active: np.ndarray, width: int, mesh: Mesh) -> np.ndarray:
    """Slots -> lanes such that active ones fill whole groups, dealt evenly to devices.

    Args:
      active: (slots,) bool, which lanes go on.

    Returns:
      (slots,) the lane that each slot holds.

    Example:
      >>> deal(np.array([False, True, False, True]), 1, lane_mesh(jax.devices()[:1]))
      array([1, 3, 0, 2])
    """
    lanes = np.argsort(~active, kind="stable")
    groups = lanes.reshape(-1, width)
    return np.concatenate([groups[d :: places(mesh)].ravel() for d in range(places(mesh))])


def stack(lanes: Sequence[Lane], slots: int) -> Lane:
    """Lanes as one on the host, arrays (slots, ...); the first fills what is left over."""
    lanes = [*lanes, *[lanes[0]] * (slots - len(lanes))]
    return jax.tree.map(_stacked, *lanes)


def put(tree: Tree, order: np.ndarray, mesh: Mesh) -> Tree:
    """Host arrays (slots, ...) onto the mesh in an order, the lanes shared out."""

    def onto(spec: P, part_of: PyTree) -> PyTree:
        return jax.tree.map(lambda x: place(x, NamedSharding(mesh, spec)), part_of)

    def place(x: np.ndarray, sharding: NamedSharding) -> jax.Array:
        def part(index: Any) -> np.ndarray:
            rows = order[index[0]]
            # A slice, not a copy, of data that may be most of the memory.
            own = x[slice(rows[0], rows[0] + 1) if len(rows) == 1 else rows]
            return own[(slice(None), *index[1:])]

        return jax.make_array_from_callback(x.shape, sharding, part)

    return jax.tree.map(onto, specs(tree), tree)


def share_observations(lanes: Lane, mesh: Mesh) -> Lane:
    """Stacked lanes whose losses are dealt to the devices that share observations.

    Index maps and plans that were made for all of them are left out, as in minibatches.
    """
    if OBSERVATIONS not in mesh.axis_names:
        return lanes

    def dealt(loss: PyTree) -> PyTree:
        if not isinstance(loss, ObservationLoss):
            return loss
        count = loss.targets.shape[1]
        rows = rows_of(count, mesh.shape[OBSERVATIONS])
        parts = jax.vmap(lambda one: jax.vmap(one.take)(rows))(loss)
        return ShardedLoss(jax.device_get(parts), mesh, OBSERVATIONS, count)

    losses = jax.tree.map(
        dealt, lanes.loss, is_leaf=lambda x: isinstance(x, ObservationLoss)
    )
    return dataclasses.replace(lanes, loss=losses)


def specs(tree: PyTree) -> PyTree:
    """How arrays lie on the mesh: along lanes, those of sharded losses along both axes."""

    def spec(x: object) -> P:
        return P(AXIS, OBSERVATIONS) if isinstance(x, ShardedLoss) else P(AXIS)

    return jax.tree.map(spec, tree, is_leaf=lambda x: isinstance(x, ShardedLoss))


def fetch(tree: Tree) -> Tree:
    """Arrays of all processes on every host, as NumPy."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


@functools.partial(
    jax.jit,
    static_argnames=("mesh", "width", "names", "num_steps", "record_every"),
    donate_argnums=(0,),
)
def advance(
    states: DescentState,
    lanes: Lane,
    active: jax.Array,
    *,
    mesh: Mesh,
    width: int,
    names: tuple[str, ...],
    num_steps: int,
    record_every: int,
) -> Advanced:
    """A chunk of all active lanes; a group of `width` without an active one is skipped.

    Width 1 runs the program of a single lane again and again and equals it bit for bit,
    on any number of devices. A larger width vectorizes; numbers then depend on it.

    Args:
      states: descent states, arrays (slots, ...), donated.
      lanes: everything else of the lanes, with `state=None`.
      active: (slots,) bool.

    Returns:
      The new states, and records (slots, records, ...) by name, NaN for idle lanes, of
      integers zero.
    """

    def one(state: DescentState, lane: Lane) -> Advanced:
        key = lane.key
        if key is not None:
            lane = dataclasses.replace(lane, key=jax.random.wrap_key_data(key))
        return advance_lane(state, lane, names, num_steps, record_every)

    group = one if width == 1 else jax.vmap(one)

    def turn(work: tuple) -> Advanced:
        state, lane, on = work
        shapes = jax.eval_shape(group, state, lane)[1]
        blank = jax.tree.map(_blank, shapes)
        moved, records = lax.cond(
            jnp.any(on), lambda: group(state, lane), lambda: (state, blank)
        )
        if width == 1:
            return moved, records
        keep = functools.partial(jax.tree.map, functools.partial(_choose, on))
        return keep(moved, state), keep(records, blank)

    def local(states: DescentState, lanes: Lane, active: jax.Array) -> Advanced:
        work = (states, lanes, active)
        if len(active) == width == 1:  # no loop, of which data would be sliced
            state, lane, on = jax.tree.map(lambda x: lax.squeeze(x, (0,)), work)
            done = one(state, lane) if places(mesh) == 1 else turn((state, lane, on))
            return jax.tree.map(lambda x: lax.expand_dims(x, (0,)), done)
        if width > 1:
            work = jax.tree.map(lambda x: x.reshape(-1, width, *x.shape[1:]), work)
        done = lax.map(turn, work)
        if width > 1:
            done = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), done)
        return done

    spread = jax.shard_map(
        local, mesh=mesh, in_specs=specs((states, lanes, active)), out_specs=P(AXIS),
        check_vma=False,
    )  # fmt: skip
    return spread(states, lanes, active)


@functools.partial(jax.jit, static_argnames=("mesh",))
def rearrange(tree: Tree, order: jax.Array, *, mesh: Mesh) -> Tree:
    """Lanes moved to other slots, between devices where needed."""

    def moved(spec: P, part_of: PyTree) -> PyTree:
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda x: lax.with_sharding_constraint(x[order], sharding), part_of
        )

    return jax.tree.map(moved, specs(tree), tree)


def _blank(x: jax.ShapeDtypeStruct) -> jax.Array:
    filler = jnp.nan if jnp.issubdtype(x.dtype, jnp.inexact) else 0
    return jnp.full(x.shape, filler, x.dtype)


def _choose(on: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(on.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _stacked(*xs: np.ndarray | jax.Array) -> np.ndarray:
    plain = [_plain(x) for x in xs]
    return plain[0][None] if len(plain) == 1 else np.stack(plain)  # a view of a single one


def _plain(x: np.ndarray | jax.Array) -> np.ndarray:
    if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(x))
    return np.asarray(x)
