"""Lanes: single runs as pytrees, made of a setting and a seed by one compiled function."""

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from htfjax import _checks, _reprs
from htfjax._types import PyTree
from htfjax.losses.gradient import check_loss
from htfjax.motion.descent import DescentState, continue_descent
from htfjax.motion.trajectory import Trajectory
from htfjax.runs.grid import Setting, check_data, check_seed, check_setting, float_fields
from htfjax.runs.identity import text

# Quantities that every descent records, and their fields in a `Trajectory`.
SCALARS = {
    "loss": "losses", "grad_norm": "grad_norms", "step_length": "step_lengths",
    "chord": "chords", "duration": "durations",
}  # fmt: skip

# Axes of observed arrays, and labels along axes, by name.
AxisNames = tuple[tuple[str, tuple[str, ...]], ...]
AxisLabels = tuple[tuple[str, tuple[str | float, ...]], ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Lane:
    """One descent, ready to start: a pytree, so that many can be stacked.

    Attributes:
      state: from `start_descent`. Hyperparameters that vary belong into the optimizer's
        state (`optax.inject_hyperparams`).
      loss: a loss that is a pytree; a plain function goes into `jax.tree_util.Partial`.
      observe: a pytree callable on the parameters that returns named arrays, or None.
      key: for random losses, as in `continue_descent`.
      optimizer: the transformation, the same object for all lanes of one kind.
      dims: names of the axes of observed arrays, pairs such as ("norm", ("component",)).
      coords: labels along such axes, texts or numbers, pairs such as
        ("modes", ("0,1", "0,2")); of a name that `dims` lists, along that axis.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp, optax
      >>> optimizer = optax.sgd(0.1)
      >>> state = htf.start_descent(jnp.ones(3), optimizer)
      >>> loss = jax.tree_util.Partial(lambda x: x @ x)
      >>> lane = htf.runs.Lane(
      ...     state=state, loss=loss, observe=None, key=None, optimizer=optimizer)
      >>> _, path = htf.continue_descent(
      ...     lane.state, lane.loss, lane.optimizer, num_steps=10, record_every=10)
      >>> bool(path.losses[-1] < path.losses[0])
      True
    """

    state: DescentState
    loss: Any  # a `Loss`
    observe: Any  # parameters -> dict[str, jax.Array], or None
    key: jax.Array | None
    optimizer: optax.GradientTransformation = dataclasses.field(metadata={"static": True})
    dims: AxisNames = dataclasses.field(default=(), metadata={"static": True})
    coords: AxisLabels = dataclasses.field(default=(), metadata={"static": True})

    def __repr__(self) -> str:
        return _reprs.text(self)


# (setting, key), and the grid's data where it has some, -> Lane
Build = Callable[..., Lane]
Data = Mapping[str, Any] | None


def make_lane(build: Build, setting: Setting, seed: int, *, data: Data = None) -> Lane:
    """The run of a setting and a seed, as an ensemble makes it.

    A lane of an ensemble equals, bit for bit, this lane run by `continue_descent`.

    Args:
      build: traceable function (setting, key) -> `Lane`, such as
        `completion_lane`; float fields of the setting are traced, so that they can vary
        inside one program.
      setting: a frozen dataclass.
      seed: becomes the key.
      data: of the grid, a third argument of `build` if it is not None.

    Raises:
      TypeError: `build` returns something else, a setting that is not a frozen dataclass,
        a seed that is not a whole number.
      ValueError: a seed that is negative or has more than 32 bits.

    Example:
      >>> import htfjax as htf
      >>> setting = htf.problems.Completion(mode_dims=3, widths=4, observed=30)
      >>> lane = htf.runs.make_lane(htf.runs.completion_lane, setting, 0)
      >>> isinstance(lane, htf.runs.Lane), lane.state.params.weights[0].shape
      (True, (3, 4))
    """
    seed, data = check_seed("seed", seed), check_data(data)
    setting = check_setting("setting", setting)
    make = lane_maker(build, setting, data=data)
    if data is not None and not isinstance(build, Untraced):
        _show_data(build, setting, data)
    return make(seed)


def lane_maker(
    build: Build, setting: Setting, *, data: Data = None
) -> Callable[[int], Lane]:
    """`make_lane` as a function of the seed: a setting of many seeds is checked once."""
    data = check_data(data)
    more = check_build(build, data)
    setting = check_setting("setting", setting)
    if isinstance(build, Untraced):
        return lambda seed: _at_start(build(setting, jax.random.key(seed), *more))
    static, numbers = _split(setting)
    make = _builder(build, static, text(static))
    return lambda seed: _at_start(make(numbers, jax.random.key(seed), *more))


def _at_start(lane: Lane) -> Lane:
    step = lane.state.step
    if _checks.concrete(step) and step != 0:
        raise ValueError(
            f"`build.state` is at step {step}, but runs count their steps from 0; begin it "
            "with `start_descent`."
        )
    return lane


@dataclasses.dataclass(frozen=True, eq=False)
class Untraced:
    """A builder that is called as it is, for every run: to look at its lane, and to run."""

    build: Build

    def __call__(self, setting: Setting, key: jax.Array, *data: Data) -> Lane:
        lane = _checked(self.build(setting, key, *data))
        # Python's numbers as arrays, as tracing would give them.
        return jax.tree.map(lambda x: x if hasattr(x, "dtype") else jnp.asarray(x), lane)


def untraced(build: Build) -> Build:
    """A builder for `run` that jax does not trace: it may read files and use NumPy.

    It is called twice per run: once for the shapes of all lanes, once to run. Runs for
    which it raises are named and left out; lanes that differ in seeds or float fields only
    must be of one kind.

    Raises:
      TypeError: it cannot be called with a setting and a key.

    Example:
      >>> import htfjax as htf
      >>> build = htf.runs.untraced(htf.runs.completion_lane)
      >>> setting = htf.problems.Completion(mode_dims=3, widths=4, observed=30)
      >>> int(htf.runs.make_lane(build, setting, 0).state.step)
      0
    """
    check_build(build)
    return Untraced(build)


def check_build(build: Build, data: Data = None) -> tuple[Data, ...]:
    """Checks that a builder can be called with a setting and a key, and with data.

    Returns:
      What it gets beyond setting and key.

    Raises:
      TypeError: it cannot.
    """
    _checks.function("build", build)
    more, also = ((), "") if data is None else ((data,), ", and data")
    try:
        inspect.signature(build).bind(None, None, *more)
    except TypeError as error:
        raise TypeError(
            f"`build={_checks.spell(build)}` must take a setting and a key{also}: {error}."
        ) from error
    except ValueError:  # it has no signature to look at
        pass
    return more


def lane_shapes(build: Build, setting: Setting, seed: int, data: Data = None) -> Lane:
    """The lane of a setting with shapes in place of arrays."""
    if isinstance(build, Untraced):
        lane = make_lane(build, setting, seed, data=data)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), lane)
    static, numbers = _split(setting)
    key = jax.eval_shape(jax.random.key, 0)
    more = check_build(build, data)
    if data is not None:
        _show_data(build, setting, data)
    return jax.eval_shape(_builder(build, static, text(static)), numbers, key, *more)


def _show_data(build: Build, setting: Setting, data: Mapping[str, Any]) -> None:
    """Lets a builder look at data once, which are traced where lanes are made of them.

    Raises:
      ValueError: integers that jax does not hold, and what `build` refuses.
    """
    for name, x in data.items():
        kind = jax.dtypes.canonicalize_dtype(x.dtype)
        if x.dtype.kind in "iu" and not np.array_equal(x.astype(kind), x):
            raise ValueError(
                f"`data.{name}` holds integers of {x.dtype} that {kind} does not; make "
                "them smaller, or do this within `with jax.enable_x64(True):`."
            )
    static, numbers = _split(setting)
    held = {name: jnp.asarray(x) for name, x in data.items()}
    make = inspect.unwrap(_builder(build, static, text(static)))
    jax.eval_shape(
        lambda n, k: make(n, k, held), numbers, jax.eval_shape(jax.random.key, 0)
    )


def _split(setting: Setting) -> tuple[Setting, dict[str, float]]:
    """The setting with its float fields blank, which is static, and these fields.

    Those that its class computes itself are blank too.
    """
    static = copy.copy(setting)  # `replace` would have its class check the blanks
    for name in float_fields(setting):
        object.__setattr__(static, name, 0.0)
    given = [f.name for f in dataclasses.fields(setting) if f.init]
    return static, {n: getattr(setting, n) for n in float_fields(setting) if n in given}


def _checked(lane: object) -> Lane:
    """A lane that can be run, looked at while it is traced: jax names no fields."""
    if not isinstance(lane, Lane):
        raise TypeError(f"`build` must return a Lane, got {_checks.spell(lane)}.")
    advice = "`start_descent` makes one"
    _checks.instance("build.state", lane.state, DescentState, advice)
    _check_leaves("build.state", lane.state)
    check_loss("build.loss", lane.loss, lane.state.params)
    _check_leaves("build.loss", lane.loss)
    if lane.observe is not None:
        _checks.function("build.observe", lane.observe)
        _check_leaves("build.observe", lane.observe)
    if lane.key is not None:
        _checks.key("build.key", lane.key)
    _checks.optimizer("build.optimizer", lane.optimizer)
    _check_pairs("build.dims", lane.dims, str)
    _check_pairs("build.coords", lane.coords, str | int | float)
    return lane


def _check_leaves(name: str, function: PyTree) -> None:
    """Only arrays and numbers can be leaves of a lane."""
    for leaf in jax.tree.leaves(function):
        if not hasattr(leaf, "dtype") and not isinstance(leaf, complex | float | int):
            raise TypeError(
                f"`{name}` holds {_checks.spell(leaf)}, which is not an array; make a "
                "function a pytree by `jax.tree_util.Partial(function, arrays)`, and mark "
                "other things as static fields of a registered dataclass."
            )


def _check_pairs(name: str, pairs: object, kind: Any) -> None:
    """Names, each with some words."""
    if not isinstance(pairs, tuple) or not all(_is_pair(pair, kind) for pair in pairs):
        raise TypeError(
            f"`{name}` must be pairs of a name and a tuple of texts such as "
            f"(('norm', ('component',)),), got {_checks.spell(pairs)}."
        )


def _is_pair(pair: object, kind: Any) -> bool:
    if not isinstance(pair, tuple) or len(pair) != 2:
        return False
    name, words = pair
    right = isinstance(words, tuple) and all(isinstance(word, kind) for word in words)
    return isinstance(name, str) and right


@functools.lru_cache(maxsize=512)
def _builder(build: Build, static: Setting, _text: str) -> Callable[..., Lane]:
    """The compiled builder; settings that are equal, as 1 and 1.0, differ in their text."""

    def make(numbers: dict[str, float], key: jax.Array, *data: Data) -> Lane:
        return _checked(build(_traced(static, numbers), key, *data))

    return jax.jit(make)


def _traced(static: Setting, numbers: dict[str, float]) -> Setting:
    """The setting with traced numbers; its own class may look at what has no value."""
    try:
        return dataclasses.replace(static, **numbers)
    except Exception as error:
        kind = type(static).__name__
        raise TypeError(
            f"`setting`: {kind}.__post_init__ cannot take its float fields traced, as "
            f"`run` makes them ({str(error).splitlines()[0]}); let it check floats only "
            "(`isinstance(x, float)`), or wrap `build` in `htf.runs.untraced`."
        ) from error


def advance_lane(
    state: DescentState, lane: Lane, names: tuple[str, ...], num_steps: int, every: int
) -> tuple[DescentState, dict[str, jax.Array]]:
    """A chunk of one lane: the state after it, and (records, ...) arrays by name."""
    wanted = tuple(name for name in names if name not in SCALARS)
    observe = None
    if lane.observe is not None and wanted:
        # One function for all runs of a process: each new one stays in jax's caches.
        observe = jax.tree_util.Partial(_chosen, lane.observe, wanted)
    state, piece = continue_descent(
        state,
        lane.loss,
        lane.optimizer,
        num_steps=num_steps,
        record_every=every,
        observe=observe,
        key=lane.key,
    )
    return state, {name: _field(piece, name) for name in names}


def _chosen(
    see: Callable[[PyTree], dict[str, jax.Array]], wanted: tuple[str, ...], params: PyTree
) -> dict[str, jax.Array]:
    """Of what an observer sees, that which is recorded."""
    seen = see(params)
    return {name: seen[name] for name in wanted}


def _field(piece: Trajectory[Any, Any], name: str) -> jax.Array:
    own = SCALARS.get(name)
    return piece.observed[name] if own is None else getattr(piece, own)
