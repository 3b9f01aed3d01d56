"""Gradient descent in one compiled scan, with any optax optimizer.

Mathematics: docs/mathematics/descent.md.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from htfjax import _callables, _checks, _numerics, _reprs
from htfjax._callables import Rebuild
from htfjax._types import Array, ArrayLike, Key, Params, PyTree
from htfjax.factors.stacks import freeze
from htfjax.losses.gradient import (
    Carrying,
    Loss,
    as_carrying,
    check_loss,
    prepared,
    value_and_grad,
    value_function,
)
from htfjax.losses.squares import check_squares, residual_function
from htfjax.motion.pieces import piece_lengths, watched
from htfjax.motion.progress import Asked, check_concrete, is_asked, telling
from htfjax.motion.squares import needs_squares
from htfjax.motion.trajectory import Observations, Trajectory

MOST_STEPS = np.iinfo(np.int32).max  # steps are counted in int32


class DescentState(NamedTuple):
    """State that descent carries from step to step: a pytree.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp, optax
      >>> state = htf.start_descent(jnp.ones(3), optax.sgd(0.1))
      >>> isinstance(state, htf.DescentState), state.params.shape
      (True, (3,))
    """

    params: PyTree
    opt_state: PyTree
    step: jax.Array  # () int32, updates made so far

    def __repr__(self) -> str:
        return _reprs.text(self)


def start_descent(params: PyTree, optimizer: optax.GradientTransformation) -> DescentState:
    """The state before the first step.

    Args:
      params: any pytree of floating arrays, `Factors` for example, or a `Carrying`.
      optimizer: an optax transformation.

    Raises:
      TypeError: parameters that are not floating arrays, not an optax transformation.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> int(htf.start_descent(jnp.ones(3), htf.group_rmsprop(1e-2)).step)
      0
    """
    _checks.optimizer("optimizer", optimizer)
    _checks.parameters("params", _trained(params))
    params = jax.tree.map(lambda leaf: _array_of("params", leaf), params)
    return DescentState(params, optimizer.init(_trained(params)), jnp.zeros((), jnp.int32))


def continue_descent(
    state: DescentState,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    record_every: int,
    observe: Callable[[PyTree], Observations] | None = None,
    key: Key[Array, ""] | None = None,
    progress: Asked = None,
) -> tuple[DescentState, Trajectory[Observations, None]]:
    """A chunk of descent: params <- params + update(grad loss), `num_steps` times.

    One compiled program; everything is recorded on the device. Chunks of two steps or
    more give bit for bit what one long chunk gives (a chunk of one step is unrolled by
    the compiler and may differ in the last bit). Matrices of fixed nodes never move.

    Args:
      state: from `start_descent` or an earlier chunk.
      loss: scalar function of the parameters; with `key`, `loss(params, key_t)`; for a
        `Carrying` it returns (value, new carried). Or an object with its own
        `value_and_grad(params, key_t) -> ((value, carried), gradient)`, which then is not
        differentiated: carried is () for ordinary parameters, the gradient like what is
        trained. A loss that is a pytree is a traced argument: new data of the same shape
        retrace nothing. Of its leaves arrays and Python floats are traced, Python bools
        and ints are static. Other callables,
        `optimizer` and `observe` are static by identity, so define them once: every new
        one is compiled and its program kept (about 5 MB and 100 of the 65,530 memory maps
        of a process); at 100 functions of one code there is a warning. What varies goes
        into `jax.tree_util.Partial(function, arrays)` or another pytree.
      optimizer: the transformation that started `state`. Its `update` is given `value`,
        `grad`, `value_fn` (the loss of the trained parameters alone), `carried`, and
        `residual_fn`, which for a sum of squares gives the vector of them.
      num_steps: updates to make, at least 1.
      record_every: steps between records; must divide `num_steps`.
      observe: function of the parameters whose result (a pytree of arrays) is stacked.
        Like a loss it may be a pytree, whose arrays are then traced.
      key: typed key for random losses; step t sees fold_in(key, t), so minibatches do
        not depend on where chunks begin.
      progress: True shows a bar (on a terminal by rich, in a notebook by tqdm; nothing in
        a pipe); a function is called with a `StepProgress`. The descent then runs in about
        a hundred chunks, bit for bit the same, with calls between them. Not inside of
        jax.jit, where nothing runs yet.

    Returns:
      The state after the chunk and its trajectory of num_steps / record_every + 1
      records, all read before the update of their step.

    Raises:
      TypeError: `key` is not a typed key, `state` is not a descent state or not one of
        this optimizer, `loss` is not a scalar function, or what it carries on, or its own
        gradient, is not like what it was given; `progress` with traced arguments.
      NotImplementedError: an optimizer that differentiates `value_fn`, such as a line
        search, beside a loss whose value cannot be (`scaled_loss`).
      ValueError: `num_steps` or `record_every` below 1, not a multiple, or more steps than
        int32 counts.

    Source: gradient descent as in arXiv:2201.11729, experiments.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> optimizer = htf.group_rmsprop(1e-2)
      >>> state = htf.start_descent(jnp.ones(3), optimizer)
      >>> state, trajectory = htf.continue_descent(
      ...     state, lambda x: x @ x, optimizer, num_steps=10, record_every=5)
      >>> trajectory.steps.tolist()
      [0, 5, 10]
    """
    num_steps = _checks.at_least("num_steps", num_steps, 1)
    record_every = _checks.at_least("record_every", record_every, 1)
    if num_steps > MOST_STEPS:
        raise ValueError(f"`num_steps={num_steps}` must be at most {MOST_STEPS} (int32).")
    if num_steps % record_every:
        below = num_steps - num_steps % record_every
        fitting = [n for n in (below, below + record_every) if 0 < n <= MOST_STEPS]
        steps = f"{' or '.join(map(str, fitting))} steps, or " if fitting else ""
        raise ValueError(
            f"`record_every={record_every}` does not divide `num_steps={num_steps}`; use "
            f"{steps}`record_every={math.gcd(num_steps, record_every)}`."
        )
    check_descent(state, loss, optimizer, observe, key)
    arrays, rebuild = _callables.split(loss)
    observed_arrays, rebuild_observe = _callables.split(observe)
    _callables.count_fresh("loss", loss, rebuild)
    _callables.count_fresh("observe", observe, rebuild_observe)

    def advance(state: DescentState, num_steps: int) -> tuple[DescentState, Trajectory]:
        return _run(
            state,
            arrays,
            observed_arrays,
            key,
            rebuild=rebuild,
            rebuild_observe=rebuild_observe,
            optimizer=optimizer,
            num_records=num_steps // record_every,
            record_every=record_every,
        )

    try:
        if not is_asked(progress):
            return advance(state, num_steps)
        check_concrete(state, arrays, observed_arrays, key)
        with telling(progress, "descent") as listener:
            if listener is None:
                return advance(state, num_steps)
            lengths = piece_lengths(num_steps, record_every)
            return watched(advance, state, lengths, listener)
    except (TypeError, ValueError):
        _check_leaves(state)
        raise


def descend(
    params: Params,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    record_every: int,
    observe: Callable[[Params], Observations] | None = None,
    key: Key[Array, ""] | None = None,
    progress: Asked = None,
) -> tuple[Params, Trajectory[Observations, None]]:
    """Descent from `params`: `start_descent` and one call of `continue_descent`.

    Args, raises: as `continue_descent`; with `key` the loss of step t is
      `loss(params, fold_in(key, t))`.

    Returns:
      The final parameters and the trajectory.

    Example:
      >>> import htfjax as htf, jax
      >>> tree = htf.perfect(4)
      >>> target = htf.gaussian_factors(jax.random.key(0), tree, 3, 2, 1.0)
      >>> indices = htf.random_indices(jax.random.key(1), (3, 3, 3, 3), 40)
      >>> loss = htf.completion_loss(tree, 3, indices, htf.entries(target, indices))
      >>> start = htf.gaussian_factors(jax.random.key(2), tree, 3, 8, 0.3)
      >>> final, trajectory = htf.descend(
      ...     start, loss, htf.group_rmsprop(1e-2), num_steps=500, record_every=100,
      ...     observe=htf.local_component_norms)
      >>> bool(trajectory.losses[-1] < 0.5 * trajectory.losses[0])
      True
      >>> trajectory.observed[tree.root].shape
      (6, 8)
    """
    state, trajectory = continue_descent(
        start_descent(params, optimizer),
        loss,
        optimizer,
        num_steps=num_steps,
        record_every=record_every,
        observe=observe,
        key=key,
        progress=progress,
    )
    return state.params, trajectory


def _trained(params: PyTree) -> PyTree:
    """The part of the parameters that descends."""
    return as_carrying(params)[0].trained


def check_descent(
    state: Any, loss: Loss, optimizer: object, observe: object, key: object
) -> None:
    """A descent state with a step that counts, and what moves it."""
    _checks.instance("state", state, DescentState, "`start_descent` makes one")
    kind = getattr(getattr(state.step, "dtype", None), "kind", "")
    if kind not in ("i", "u") or np.ndim(state.step):
        raise TypeError(
            f"`state.step` must be one int32, got {_checks.spell(state.step)}; "
            "`start_descent` makes states."
        )
    check_loss("loss", loss, state.params)
    _callables.check_hashable("loss", loss)
    _checks.optimizer("optimizer", optimizer)
    if needs_squares(optimizer):
        check_squares(loss)
    if observe is not None:
        _checks.function("observe", observe)
        _callables.check_hashable("observe", observe)
    if key is not None:
        _checks.key("key", key)


def _check_leaves(state: DescentState) -> None:
    """Arrays at all leaves; asked only where a program refused the state."""
    for leaf in jax.tree.leaves(state):
        _array_of("state", leaf)


def _array_of(name: str, leaf: ArrayLike) -> ArrayLike:
    """A leaf as an array: Python's numbers have no dtype that a loop could keep."""
    if isinstance(leaf, jax.Array):
        return leaf
    array = _checks.array(name, leaf)
    return leaf if hasattr(leaf, "dtype") else jnp.asarray(array)


def _check_structure(state: DescentState, optimizer: optax.GradientTransformation) -> None:
    """A state that this optimizer began; looked at once for each program."""
    _checks.parameters("state.params", _trained(state.params))
    began = jax.eval_shape(optimizer.init, _trained(state.params))
    fresh, given = jax.tree.structure(began), jax.tree.structure(state.opt_state)
    if fresh != given:
        raise TypeError(
            "`optimizer` is not the one that began `state`: it begins with "
            f"{_checks.spell(fresh)}, `state` holds {_checks.spell(given)}."
        )


@functools.partial(
    jax.jit,
    static_argnames=(
        "rebuild",
        "rebuild_observe",
        "optimizer",
        "num_records",
        "record_every",
    ),
)
def _run(
    state: DescentState,
    arrays: list[jax.Array],
    observed_arrays: list[jax.Array],
    key: jax.Array | None,
    *,
    rebuild: Rebuild,
    rebuild_observe: Rebuild,
    optimizer: optax.GradientTransformation,
    num_records: int,
    record_every: int,
) -> tuple[DescentState, Trajectory]:
    # Here, not where users call: shapes of a program are checked once, as it is traced.
    _check_structure(state, optimizer)
    update = optax.with_extra_args_support(optimizer).update
    whole, given = as_carrying(state.params)
    start = state._replace(params=whole)
    arrays, rebuild = _callables.split(prepared(rebuild(arrays)))
    # The last record reads the loss once more; where something is carried on, a network
    # for example, that would compile its step twice, so it repeats the last step's.
    repeats = bool(jax.tree.leaves(whole.carried))

    # Jitted within this jitted function, so that Python traces the loss and `observe` once
    # although both are used twice: in the scan, and for the last record.
    @jax.jit
    def look(params: Carrying, arrays: list) -> PyTree:
        if rebuild_observe(arrays) is None:
            return None
        # Compiled apart from what stands around it: XLA fuses across functions, and does so
        # differently in programs of other numbers of runs or devices, on which the last
        # digits of records must not depend.
        params, arrays = lax.optimization_barrier((params, arrays))
        return rebuild_observe(arrays)(given(params))

    @jax.jit
    def evaluate(params: Carrying, arrays: list, key: jax.Array | None) -> tuple:
        pair, grads = value_and_grad(rebuild(arrays), given(params), key)
        return *pair, grads, _numerics.root(_numerics.sum_squares(grads))

    def step(state: DescentState, _: None) -> tuple[DescentState, tuple]:
        before, own_key = state.params, _at_step(key, state.step)
        value, carried, grads, grad_norm = evaluate(before, arrays, own_key)
        updates, opt_state = update(
            grads,
            state.opt_state,
            before.trained,
            value=value,
            grad=grads,
            value_fn=value_function(rebuild(arrays), given(before), own_key),
            carried=carried,
            residual_fn=residual_function(rebuild(arrays), given(before), own_key),
        )
        # An optimizer may move what has no gradient (weight decay); fixed nodes stay.
        updates = freeze(updates)
        length = _numerics.root(_numerics.sum_squares(updates))
        # |u| / |g| is the time that a flow takes for the way; none where there is no way.
        still = grad_norm == 0
        duration = length / jnp.where(still, jnp.ones_like(grad_norm), grad_norm)
        params = Carrying(optax.apply_updates(before.trained, updates), carried)
        moved = DescentState(params, opt_state, state.step + jnp.int32(1))
        return moved, (value, grad_norm, length, jnp.where(still, 0, duration))

    def interval(state: DescentState, _: None) -> tuple[DescentState, tuple]:
        # Before the first update of the interval, as losses are. Two scans and no condition
        # in one: under `vmap` both branches of a condition would run at every step.
        observed = look(state.params, observed_arrays)
        moved, each = lax.scan(step, state, length=record_every)
        values, grad_norms, lengths, durations = each
        gap = jax.tree.map(jnp.subtract, moved.params.trained, state.params.trained)
        chord = _numerics.root(_numerics.sum_squares(gap))
        first = (values[0], observed, grad_norms[0], lengths[0])
        end = (values[-1], grad_norms[-1]) if repeats else ()
        return moved, ((state.step, *first, chord, jnp.sum(durations)), end)

    final, (records, ends) = lax.scan(interval, start, length=num_records)
    if repeats:
        value, grad_norm = ends[0][-1], ends[1][-1]
    else:
        last_key = _at_step(key, final.step)
        value, _, _, grad_norm = evaluate(final.params, arrays, last_key)
    # No update follows the last record: its lengths and duration are zero.
    zeros = [jnp.zeros_like(x[0]) for x in records[4:]]
    last = (final.step, value, look(final.params, observed_arrays), grad_norm, *zeros)
    fields = jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), records, last)
    return final._replace(params=given(final.params)), Trajectory(*fields, report=None)


def _at_step(key: jax.Array | None, step: jax.Array) -> jax.Array | None:
    """The key that step `step` sees."""
    # From the global number of the step, so that it does not matter where chunks begin.
    return None if key is None else jax.random.fold_in(key, step)
