"""Kinds of `htfjax.problems`."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses

import jax
import numpy as np

from htfjax import problems
from tests.fuzz import kinds, kinds_factors, kinds_objects
from tests.fuzz.calls import Call, Form, Kind, always
from tests.fuzz.kinds import wrongs

__all__ = ["CALLS", "PROBLEM"]

DATA = {
    "tree": ((0, 1), 2),
    "mode_dims": (2, 3, 2),
    "widths": (2, 3),
    "root": "trained",
    "init_std": 0.5,
    "target_tree": ((2, 0), 1),
    "target_rank": (2, 1),
    "target_norm": 2.0,
    "symmetric": True,
    "observed": 6,
    "penalty": "huber",
    "threshold": 0.5,
    "learning_rate": 0.125,
    "decay": 0.5,
    "eps": 0.25,
    "track_modes": ((0, 1),),
    "top": 2,
    "dtype": "float32",
}
PROBLEM = problems.Completion(**DATA)
SIZES = kinds_objects.DIM_LIST
NESTED = kinds_factors.TREE_CALLS["ModeTree.from_nested"].kinds["nested"]
KEYS = ("target_key", "observations_key", "start_key")
DECAY = kinds.number(0).but(wrong=wrongs(("one", always(1.0))))
MODE_SETS = Kind(
    "mode sets",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("one", always(1)),
            ("flat", always((0, 1))),
            ("empty", always(())),
            ("hole", always(((),))),
            ("high", always(((0, 9),))),
            ("negative", always(((-1,),))),
            ("twice", always(((0, 0),))),
            ("floats", always(((0.0,),))),
            ("all", always(((0, 1, 2),))),
            ("words", always((("0",),))),
        ),
    ),
    (Form("lists", lambda v: [list(m) for m in v]),),
)
COMPLETION = {
    "tree": NESTED,
    "mode_dims": SIZES,
    "widths": SIZES,
    "root": kinds_objects.ROOT,
    "init_std": kinds.number(0),
    "target_tree": NESTED.but(without="none"),
    "target_rank": SIZES,
    "target_norm": kinds.number(0, strict=True),
    "symmetric": kinds.FLAG,
    "observed": kinds.whole(1).but(wrong=wrongs(("high", always(13)))),
    "penalty": kinds_objects.PENALTY,
    "threshold": kinds.number(0, strict=True),
    "learning_rate": kinds.number(0),
    "decay": DECAY,
    "eps": kinds.number(0),
    "track_modes": MODE_SETS,
    "top": kinds.whole(1),
    "dtype": dataclasses.replace(kinds_objects.DTYPE, right=()).but(
        wrong=wrongs(("half", always("float16")))
    ),
}
for tree in ("tree", "target_tree"):
    lists = tuple(f for f in COMPLETION[tree].equal if f.label == "lists")
    COMPLETION[tree] = dataclasses.replace(COMPLETION[tree], equal=lists)

CALLS: dict[str, Call] = {
    "problems.Completion": Call(problems.Completion, lambda: dict(DATA), COMPLETION),
    "problems.paper": Call(
        problems.paper, lambda: {"model": "tf"}, {"model": kinds.choice("mf", "tf", "htf")}
    ),
    "problems.Completion.make": Call(
        PROBLEM.make,
        lambda: dict(zip(KEYS, jax.random.split(kinds_objects.key(), 3), strict=True)),
        dict.fromkeys(KEYS, kinds_objects.KEY),
        lambda problem: (problem.target, problem.indices, problem.start),
    ),
    **{
        f"problems.Completion.{name}": Call(
            getattr(PROBLEM, name),
            lambda: {"key": kinds_objects.key()},
            {"key": kinds_objects.KEY},
        )
        for name in ("target", "target_factors", "indices", "start")
    },
    "problems.Completion.loss": Call(
        PROBLEM.loss,
        lambda: {"target": np.ones((2, 3, 2)), "indices": kinds_objects.POINTS},
        {"target": kinds.reals(axes=3), "indices": kinds.INDICES},
        lambda loss: (loss.targets, loss.measurement.indices),
    ),
    "problems.Completion.loss_of": Call(
        PROBLEM.loss_of,
        lambda: {"indices": kinds_objects.POINTS, "targets": kinds_objects.TARGETS},
        {"indices": kinds.INDICES, "targets": kinds.reals(axes=1)},
        lambda loss: (loss.targets, loss.measurement.indices),
    ),
}
