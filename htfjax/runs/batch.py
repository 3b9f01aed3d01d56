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
from htfjax.motion.descent import DescentState
from htfjax.runs.lanes import Lane, advance_lane

AXIS = "lanes"
Tree = TypeVar("Tree")
Advanced = tuple[DescentState, dict[str, jax.Array]]


def lane_mesh(devices: Sequence[object] | None = None) -> Mesh:
    """A mesh with one axis, "lanes", over all devices of all processes.

    Raises:
      TypeError: something that is not a device.
      ValueError: devices of some but not all processes, none, or one twice.

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
    return Mesh(chosen, (AXIS,))


def padded_count(count: int, width: int, mesh: Mesh) -> int:
    """Slots for `count` lanes: as many groups of `width` on every device.

    Example:
      >>> padded_count(5, 2, lane_mesh(jax.devices()[:1]))
      6
    """
    return -(-count // (width * mesh.size)) * mesh.size * width


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
    return np.concatenate([groups[d :: mesh.size].ravel() for d in range(mesh.size)])


def stack(lanes: Sequence[Lane], slots: int) -> Lane:
    """Lanes as one on the host, arrays (slots, ...); the first fills what is left over."""
    lanes = [*lanes, *[lanes[0]] * (slots - len(lanes))]
    return jax.tree.map(_stacked, *lanes)


def put(tree: Tree, order: np.ndarray, mesh: Mesh) -> Tree:
    """Host arrays (slots, ...) onto the mesh in an order, the lanes shared out."""
    sharding = NamedSharding(mesh, P(AXIS))

    def onto(x: np.ndarray) -> jax.Array:
        def part(index: Any) -> np.ndarray:
            rows = order[index[0]]
            # A slice, not a copy, of data that may be most of the memory.
            return x[slice(rows[0], rows[0] + 1) if len(rows) == 1 else rows]

        return jax.make_array_from_callback(x.shape, sharding, part)

    return jax.tree.map(onto, tree)


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
            done = one(state, lane) if mesh.size == 1 else turn((state, lane, on))
            return jax.tree.map(lambda x: lax.expand_dims(x, (0,)), done)
        if width > 1:
            work = jax.tree.map(lambda x: x.reshape(-1, width, *x.shape[1:]), work)
        done = lax.map(turn, work)
        if width > 1:
            done = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), done)
        return done

    spread = jax.shard_map(
        local, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False
    )
    return spread(states, lanes, active)


@functools.partial(jax.jit, static_argnames=("mesh",))
def rearrange(tree: Tree, order: jax.Array, *, mesh: Mesh) -> Tree:
    """Lanes moved to other slots, between devices where needed."""
    sharding = NamedSharding(mesh, P(AXIS))
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x[order], sharding), tree)


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
