"""Kinds of `htfjax.runs`, whose runs are of a problem that compiles in a moment."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd

import htfjax as htf
from htfjax import runs
from tests.fuzz import (
    kinds,
    kinds_files,
    kinds_motion,
    kinds_objects,
    kinds_problems,
)
from tests.fuzz.calls import Call, Form, Kind, Wrong, always
from tests.fuzz.kinds import wrongs

__all__ = ["CALLS"]


@dataclasses.dataclass(frozen=True)
class Toy:
    """Least squares by gradient descent."""

    rate: float = 0.125
    size: int = 2
    note: str = "plain"


@dataclasses.dataclass
class Loose:
    """A setting that can change."""

    rate: float = 0.125


@functools.cache
def optimizer() -> Any:
    return optax.inject_hyperparams(optax.sgd)(learning_rate=0.125)


def distance(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(x - 1.0))


def toy_lane(setting: Toy, key: jax.Array) -> Any:
    """A lane of the toy problem."""
    start = jax.random.normal(key, (setting.size,), jnp.float32)
    state = htf.start_descent(start, optimizer())
    hyper = {"learning_rate": jnp.asarray(setting.rate, jnp.float32)}
    state = state._replace(opt_state=state.opt_state._replace(hyperparams=hyper))
    return runs.Lane(
        state=state,
        loss=jax.tree_util.Partial(distance),
        observe=None,
        key=None,
        optimizer=optimizer(),
    )


def grid() -> Any:
    return runs.Grid(Toy(), range(2), {"rate": (0.125, 0.25)})


def finish(**arguments: Any) -> Any:
    """The records of a whole run."""
    progress = list(runs.run(**arguments))[-1]
    found = htf.load_results(arguments["out"])
    return progress.state, {name: np.asarray(x) for name, x in found.variables.items()}


def run_arguments() -> dict[str, Any]:
    return {
        "grid": grid(),
        "out": kinds_files.new_path("out"),
        "until_step": 4,
        "record_every": 2,
        "build": toy_lane,
        "chunk_steps": 2,
        "record": None,
        "tolerance": None,
        "patience": 0,
        "watch": "loss",
        "batching": "map",
        "max_lanes": 4,
        "memory_bytes": 2**30,
        "mesh": None,
        "checkpoint_seconds": 60.0,
        "keep_states": False,
        "interrupted": None,
        "progress": False,
    }


def finished() -> str:
    """The folder of a whole run."""
    arguments = run_arguments()
    finish(**arguments)
    return arguments["out"]


def changed_lane(**fields: Any) -> Any:
    """A builder whose lanes have other fields."""

    def build(setting: Any, key: Any) -> Any:
        return dataclasses.replace(toy_lane(setting, key), **fields)

    return build


def run_lane(**fields: Any) -> Any:
    """A run whose lanes have these fields."""

    def build(setting: Any, key: Any) -> Any:
        lane = toy_lane(setting, key)
        made = {name: x for name, x in fields.items() if x is not SAME}
        return dataclasses.replace(lane, **made)

    return finish(**run_arguments() | {"build": build})


# A field of a lane as its builder makes it: arrays of one trace cannot enter another.
SAME = "as built"
DATACLASS = Kind(
    "setting",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("class", always(Toy)),
            ("loose", lambda _: Loose()),
            ("number", always(1.0)),
            ("wrong_field", lambda s: dataclasses.replace(s, size="a")),
            ("half_field", lambda s: dataclasses.replace(s, size=1.5)),
            ("nan_field", lambda s: dataclasses.replace(s, rate=float("nan"))),
            ("word_field", lambda s: dataclasses.replace(s, rate="fast")),
            ("flag_field", lambda s: dataclasses.replace(s, rate=True)),
            ("array_field", lambda s: dataclasses.replace(s, note=np.ones(2))),
            ("list_field", lambda s: dataclasses.replace(s, note=["a"])),
        ),
    ),
    (
        Form("int_field", lambda s: dataclasses.replace(s, size=np.int64(s.size))),
        Form("float_field", lambda s: dataclasses.replace(s, rate=np.float64(s.rate))),
    ),
)
SEED = kinds.whole(0).but(wrong=wrongs(("beyond", always(2**32))))
SEEDS = Kind(
    "seeds",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("one", always(3)),
            ("empty", always(())),
            ("twice", always((1, 1))),
            ("negative", always((-1, 0))),
            ("halves", always((0.5, 1))),
            ("floats", always(np.array([0.0, 1.0]))),
            ("flags", always((True, False))),
            ("words", always(("0", "1"))),
            ("nones", always((None,))),
            ("beyond", always((2**32,))),
            ("masked", always(np.ma.array([0, 1], mask=[True, False]))),
            ("two_axes", always(np.array([[0, 1]]))),
            ("nan", always((float("nan"),))),
        ),
    ),
    (
        Form("list", list),
        Form("tuple", tuple),
        Form("int64", lambda v: np.array(v, np.int64)),
        Form("uint8", lambda v: np.array(v, np.uint8)),
        Form("jax", lambda v: jnp.asarray(v, jnp.int32)),
        Form("series", lambda v: pd.Series(v)),
        Form("index", lambda v: pd.Index(v)),
        Form("big_endian", lambda v: np.array(v, ">i4")),
    ),
)
# An axis has a name of its own, which stands for the argument.
AXES = Kind(
    "axes",
    tuple(
        dataclasses.replace(w, says=("rate", "speed"))
        for w in (
            kinds.NONE,
            kinds.OBJECT,
            kinds.WORD,
            *wrongs(
                ("number", always(1)),
                ("list", always([1, 2])),
                ("unknown", always({"speed": (1.0,)})),
                ("word_key", always({1: (1.0,)})),
                ("empty", always({"rate": ()})),
                ("one", always({"rate": 0.5})),
                ("words", always({"rate": ("a",)})),
                ("text", always({"rate": "0.5"})),
                ("twice", always({"rate": (0.5, 0.5)})),
                ("pairs_twice", always((("rate", (0.5,)), ("rate", (0.25,))))),
                ("nan", always({"rate": (float("nan"),)})),
                ("infinite", always({"rate": (float("inf"),)})),
                ("flag", always({"rate": (True,)})),
                ("none_in", always({"rate": (None,)})),
                ("masked", always({"rate": np.ma.array([1.0], mask=True)})),
                ("complex", always({"rate": (1j,)})),
                ("set", always({"rate": {0.5}})),
                ("nested", always({"rate": ((0.5,),)})),
            ),
        )
    ),
    (
        Form("pairs", lambda v: tuple(v.items())),
        Form("lists", lambda v: {k: list(x) for k, x in v.items()}),
        Form("numpy", lambda v: {k: np.array(x) for k, x in v.items()}),
        Form("jax", lambda v: {k: jnp.asarray(x) for k, x in v.items()}),
        Form("series", lambda v: {k: pd.Series(x) for k, x in v.items()}),
        Form("strided", lambda v: {k: np.repeat(x, 2)[::2] for k, x in v.items()}),
    ),
)
BUILD = Kind(
    "builder",
    (
        kinds.NONE,
        kinds.OBJECT,
        kinds.WORD,
        *wrongs(
            ("number", always(1)),
            ("no_arguments", always(lambda: None)),
            ("nothing", always(lambda setting, key: None)),
            ("state", always(lambda setting, key: jnp.ones(2))),
            ("three", always(lambda setting, key, rates: None)),
        ),
    ),
)


def setting_of(run: Any) -> Any:
    return grid().setting(run)


WATCH = Kind(
    "quantity",
    (*kinds.STRANGE, kinds.WORD, *wrongs(("one", always(1)), ("list", lambda v: [v]))),
)
RECORD = Kind(
    "names",
    (
        kinds.OBJECT,
        *wrongs(
            ("word", always("loss")),
            ("one", always(1)),
            ("numbers", always([1])),
            ("unknown", always(["nonsense"])),
            ("dict", always({"loss": 1})),
            ("nones", always([None])),
        ),
    ),
)
NAMES = Kind("names", (kinds.WORD, *wrongs(("one", always(1)), ("flat", always(("a",))))))
LANE = {
    "state": Kind("state", (kinds.NONE, kinds.OBJECT, kinds.WORD, Wrong("x", always(1)))),
    "loss": kinds_objects.FUNCTION.but(without="object"),
    "observe": kinds_objects.FUNCTION.or_none().but(without="object"),
    "key": Kind("key", (kinds.OBJECT, kinds.WORD, Wrong("zero", always(0)))),
    "optimizer": kinds_objects.OPTIMIZER.but(without="dict pair object"),
    "dims": NAMES,
    "coords": NAMES,
}
LANE = {
    name: dataclasses.replace(
        kind,
        wrong=tuple(dataclasses.replace(w, says=("build", "state")) for w in kind.wrong),
    )
    for name, kind in LANE.items()
}

GRID = Kind(
    "grid",
    (*kinds.STRANGE, kinds.WORD, *wrongs(("setting", lambda g: g.base),
                                         ("runs", lambda g: g.runs()))),
)  # fmt: skip
DATASET = Kind(
    "dataset", (*kinds.STRANGE, kinds.WORD, *wrongs(("one", always(1)), ("class", type)))
)
ARRAYS = Kind(
    "arrays by name",
    (
        kinds.OBJECT,
        kinds.WORD,
        *wrongs(
            ("one", always(1)),
            ("list", always([1.0])),
            ("numbers", always({1: np.ones(2)})),
            ("objects", always({"a": object()})),
        ),
    ),
)

CALLS: dict[str, Call] = {
    "runs.Grid": Call(
        runs.Grid,
        lambda: {
            "base": Toy(),
            "seeds": (0, 2),
            "axes": {"rate": (0.125, 0.25)},
            "data": {"a": np.ones(2)},
        },
        {"base": DATACLASS, "seeds": SEEDS, "axes": AXES, "data": ARRAYS.or_none()},
        lambda made: [made.runs(), made.to_json()],
    ),
    "runs.Run": Call(
        lambda point, seed: setting_of(runs.Run(point, seed)),
        lambda: {"point": (0.125,), "seed": 0},
        {
            "point": Kind(
                "values",
                tuple(
                    dataclasses.replace(w, says=("run", "rate"))
                    for w in (
                        *kinds.STRANGE,
                        kinds.WORD,
                        *wrongs(
                            ("empty", always(())),
                            ("two", always((0.5, 0.5))),
                            ("words", always(("a",))),
                            ("one", always(0.5)),
                            ("other", always((0.75,))),
                        ),
                    )
                ),
            ),
            "seed": kinds_objects.ANY,
        },
    ),
    "runs.Grid.setting": Call(
        setting_of,
        lambda: {"run": grid().runs()[0]},
        {
            "run": Kind(
                "run",
                (*kinds.STRANGE, kinds.WORD, *wrongs(("tuple", tuple), ("one", always(1)))),
            )
        },
    ),
    "runs.Lane": Call(
        run_lane,
        lambda: dict.fromkeys(LANE, SAME),
        LANE,
        slow=True,
    ),
    "runs.completion_lane": Call(
        runs.completion_lane,
        lambda: {
            "setting": kinds_problems.PROBLEM,
            "key": kinds_objects.key(),
            "data": {"indices": np.zeros((1, 3), int), "values": np.ones(1)},
        },
        {
            "setting": Kind(
                "setting",
                (*kinds.STRANGE, kinds.WORD, *wrongs(("toy", lambda _: Toy()),
                                                     ("class", type))),
            ),
            "key": kinds_objects.KEY,
            "data": ARRAYS.but(wrong=(Wrong("half", always({"values": np.ones(2)})),)),
        },
        lambda lane: lane.state.params,
    ),
    "runs.is_locked": Call(
        runs.is_locked,
        lambda: {"folder": kinds_files.new_path("out")},
        {"folder": dataclasses.replace(kinds_files.PATH, equal=(Form("pathlib", Path),))},
    ),
    "runs.lane_mesh": Call(
        runs.lane_mesh,
        lambda: {"devices": jax.devices()[:1], "observations": 1},
        {
            "devices": Kind(
                "devices",
                (
                    kinds.OBJECT,
                    kinds.WORD,
                    *wrongs(
                        ("one", lambda d: d[0]),
                        ("number", always(1)),
                        ("empty", always([])),
                        ("twice", lambda d: [*d, *d]),
                        ("numbers", always([0])),
                        ("words", always(["cpu"])),
                        ("none_in", always([None])),
                        ("dict", always({})),
                    ),
                ),
                (Form("tuple", tuple), Form("numpy", lambda d: np.array(d, object))),
            ),
            "observations": kinds.whole(1),
        },
        lambda mesh: [str(d) for d in mesh.devices.flat],
    ),
    "runs.make_lane": Call(
        runs.make_lane,
        lambda: {
            "build": lambda setting, key, data: toy_lane(setting, key),
            "setting": Toy(),
            "seed": 0,
            "data": {"a": np.ones(2)},
        },
        {
            "build": dataclasses.replace(
                BUILD, wrong=tuple(w for w in BUILD.wrong if w.label != "three")
            ),
            "setting": DATACLASS,
            "seed": SEED,
            "data": ARRAYS.or_none(),
        },
        lambda lane: lane.state.params,
    ),
    "runs.run": Call(
        finish,
        run_arguments,
        {
            "grid": GRID,
            "out": kinds_files.PATH.but(
                wrong=(Wrong("file", lambda p: kinds_files.new_path("file", "a"),
                             kinds=(ValueError, PermissionError)),)
            ),
            "until_step": kinds.whole(2).but(wrong=wrongs(("odd", always(5)))),
            "record_every": kinds.whole(1).but(wrong=wrongs(("high", always(3)))),
            "build": BUILD,
            "chunk_steps": kinds.whole(2).or_none().but(wrong=wrongs(("odd", always(3)))),
            "record": RECORD,
            "tolerance": kinds.number(0).or_none(),
            "patience": kinds.whole(0),
            "watch": WATCH,
            "batching": kinds.choice("auto", "map", "vmap").but(
                without="one", wrong=wrongs(("zero", always(0)), ("half", always(1.5)),
                                            ("minus", always(-1)), ("flag", always(True)))
            ),
            "max_lanes": kinds.whole(1),
            "memory_bytes": kinds.whole(1, small=False).or_none(),
            "mesh": Kind("mesh", (kinds.OBJECT, kinds.WORD, *wrongs(
                ("one", always(1)), ("devices", lambda _: jax.devices())))),
            "checkpoint_seconds": kinds.number(0).but(without="infinite"),
            "keep_states": kinds.FLAG,
            "interrupted": kinds_objects.FUNCTION.or_none(),
            "progress": kinds_motion.PROGRESS,
        },
        slow=True,
    ),
    "runs.untraced": Call(
        lambda build: runs.make_lane(runs.untraced(build), Toy(), 0),
        lambda: {"build": toy_lane},
        {"build": BUILD},
        lambda lane: lane.state.params,
    ),
    "runs.check_results": Call(
        runs.check_results,
        lambda: {"out": finished(), "states": True},
        {"out": kinds_files.READ_PATH, "states": kinds.FLAG},
        slow=True,
    ),
    "runs.load_states": Call(
        runs.load_states,
        lambda: {"out": finished(), "grid": grid(), "build": toy_lane},
        {"out": kinds_files.READ_PATH, "grid": GRID, "build": BUILD},
        lambda states: [np.asarray(state.params) for state in states.values()],
        slow=True,
    ),
    "runs.save_final": Call(
        runs.save_final,
        lambda: {
            "out": (out := finished()),
            "results": htf.load_results(out),
            "final": kinds_files.dataset(),
        },
        {
            "out": kinds_files.PATH.but(wrong=(Wrong("missing", lambda p: f"{p}-not"),)),
            "results": DATASET.but(
                wrong=(Wrong("another", lambda _: kinds_files.dataset()),)
            ),
            "final": DATASET,
        },
        slow=True,
    ),
}  # fmt: skip
