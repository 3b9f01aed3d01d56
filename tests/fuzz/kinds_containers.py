"""Kinds of what containers hold, checked by the functions that take them back.

A container is a pytree that jax rebuilds with whatever a transformation puts into it, so
its constructor takes anything; the door is where a function is given one.
"""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import htfjax as htf
from htfjax import locality
from tests.fuzz import (
    kinds,
    kinds_images,
    kinds_locality,
    kinds_motion,
    kinds_objects,
    kinds_tasks,
)
from tests.fuzz.calls import Call, Form, Kind, Wrong, always
from tests.fuzz.foreign import FOREIGN
from tests.fuzz.kinds import wrongs

__all__ = ["CALLS", "LOCALITY_CALLS", "RESULTS"]

RESULTS: dict[str, str] = dict.fromkeys(
    (
        "Completion",
        "Magnitude",
        "ScaledGradient",
        "StepProgress",
        "Stop",
        "theory.GrowthBounds",
        "locality.ChangeByDistance",
        "locality.Evaluation",
        "locality.MarkerBaseline",
        "locality.PositionBaseline",
        "locality.Separation",
        "runs.Progress",
    ),
    "a result that no function takes back",
)


def fields(container: Any) -> list[str]:
    """Names of the fields of a container, those that are not compared too."""
    named = getattr(container, "_fields", None)
    return list(named or [f.name for f in dataclasses.fields(container)])


def of_container(
    container: type,
    value: Callable[[], Any],
    use: Callable[[Any], Any],
    says: str,
    *,
    slow: bool = False,
    **known: Kind,
) -> Call:
    """A call that makes a container of its fields and hands it to a function.

    Args:
      value: makes one, when the call is made.
      says: what messages may name in place of a field.
    """
    names = tuple(says.split())

    def renamed(kind: Kind) -> Kind:
        wrong = tuple(dataclasses.replace(w, says=(*w.says, *names)) for w in kind.wrong)
        return dataclasses.replace(kind, wrong=wrong)

    def function(**given: Any) -> Any:
        return use(container(**given))

    def arguments() -> dict[str, Any]:
        made = value()
        return {name: getattr(made, name) for name in fields(container)}

    held = {name: renamed(known.get(name, kinds_objects.ANY)) for name in fields(container)}
    return Call(function, arguments, held, slow=slow)


def numbers(*more: Wrong) -> Kind:
    """Arrays of records, which are whatever a run made: only their kind is checked."""
    return Kind("records", (*kinds.STRANGE, kinds.WORD, *more))


# Core

GROUPS = Kind(
    "groups",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("empty", always(())),
            ("flat", lambda g: tuple(k for group in g for k in group)),
            ("high", lambda g: ((99,), *g[1:])),
            ("few", lambda g: g[1:]),
            ("words", always((("a",),))),
        ),
    ),
)
FIXED = Kind(
    "nodes",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("one", always(1)),
            ("high", always((99,))),
            ("negative", always((-1,))),
            ("words", always(("a",))),
            ("halves", always((0.5,))),
            ("root", always((4,))),
        ),
    ),
).but(without="root")
WEIGHTS = Kind(
    "weights",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("one", always(1.0)),
            ("few", lambda w: w[1:]),
            ("many", lambda w: (*w, w[-1])),
            ("list", list),
            ("ints", lambda w: tuple(jnp.ones(x.shape, int) for x in w)),
            ("words", lambda w: ("a",) * len(w)),
            ("nones", lambda w: (None,) * len(w)),
            ("vectors", lambda w: tuple(x[0] for x in w)),
            ("reversed", lambda w: w[::-1]),
            ("masked", lambda w: tuple(map(kinds.masked, w))),
        ),
    ),
    (Form("numpy", lambda w: tuple(map(np.asarray, w))),),
)
STACKS = Kind(
    "stacks",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("one", always(1.0)),
            ("few", lambda s: s[1:]),
            ("ints", lambda s: tuple(jnp.ones(x.shape, int) for x in s)),
            ("words", lambda s: ("a",) * len(s)),
            ("matrices", lambda s: tuple(x[0] for x in s)),
            ("reversed", lambda s: s[::-1]),
        ),
    ),
    (Form("numpy", lambda s: tuple(map(np.asarray, s))),),
)


def curves() -> dict[str, Any]:
    return {
        "positions": [0.0, 10.0, 20.0],
        "values": [[1.0, 4.0], [4.0, 8.0], [16.0, 32.0]],
        "levels": [2.0, 16.0],
    }


STEPS, FINAL = [0.0, 1.0, 2.0, 3.0, 4.0], [8.0, 1.0]


def rise() -> htf.RiseTimes:
    steps = np.arange(0.0, 60.0)
    return htf.rise_times(
        steps, 1 / (1 + np.exp(-(steps[:, None] - np.array([20, 40])) / 2))
    )


def spectrum() -> htf.Spectrum:
    return htf.Spectrum(jnp.array([2.0, 1.0, 0.5]), "dense", 0.375)


def report() -> htf.FlowReport:
    """Of a flow to two times; none is run."""
    twice, count = jnp.zeros(2), jnp.zeros((), jnp.int32)
    return htf.FlowReport(
        positions=twice,
        natural_times=twice,
        arc_lengths=twice,
        reached=twice == 0,
        ending=count,
        integrals=None,
        num_evaluations=count,
        num_steps=count,
        num_rejected=count,
        drift=twice,
    )


ARRAY = numbers(
    *wrongs(
        ("number", always(1.0)),
        ("words", lambda v: np.array(["a"] * len(v))),
        ("masked", kinds.masked),
        ("short", lambda v: v[:-1]),
        ("complex", lambda v: np.array(v) + 0j),
        ("column", lambda v: np.array(v)[:, None]),
        ("ragged", always([[1.0], [1.0, 2.0]])),
        ("missing", lambda v: np.full(np.shape(v), None)),
    )
)
STATE = kinds_motion.STATE
PIECE = {
    name: ARRAY
    for name in ("steps", "losses", "grad_norms", "step_lengths", "chords", "durations")
}

CALLS = {
    "rise_times": Call(
        htf.rise_times,
        lambda: {
            "steps": STEPS,
            "values": kinds_motion.RISES,
            "active": 0.125,
            "final": FINAL,
        },
        {
            "steps": kinds.reals().but(
                wrong=wrongs(
                    ("decreasing", lambda v: v[::-1]), ("twice", always([1.0] * 5))
                )
            ),
            "values": kinds.reals(finite=False, axes=2),
            "active": kinds.number(0).but(wrong=wrongs(("above", always(1.5)))),
            "final": kinds.reals(finite=False).but(without="none"),
        },
    ),
    "crossings": Call(
        htf.crossings,
        curves,
        {
            "positions": kinds.reals(),
            "values": kinds.reals(finite=False, axes=2).but(
                wrong=wrongs(("negative", lambda v: -np.array(v)))
            ),
            "levels": kinds.reals(finite=False).but(
                without="no_axis",
                wrong=wrongs(("zeros", always([0.0, 0.0])), ("minus", always([-1.0, 2.0]))),
            ),
        },
    ),
    "incrementality": Call(
        htf.incrementality,
        lambda: {"rise": rise()},
        {
            "rise": Kind(
                "rise times",
                (*kinds.STRANGE, kinds.WORD, *wrongs(("tuple", tuple), ("one", always(1)))),
            )
        },
    ),
    "RiseTimes": of_container(
        htf.RiseTimes, rise, htf.incrementality, "rise", half_rise=ARRAY, width=ARRAY
    ),
    "Factors": of_container(
        htf.Factors,
        kinds_objects.factors,
        htf.squared_norm,
        "factors weights",
        weights=WEIGHTS,
        tree=kinds_objects.MODE_TREE,
        fixed=FIXED,
    ),
    "GroupedFactors": of_container(
        htf.GroupedFactors,
        lambda: htf.group(kinds_objects.factors()),
        htf.squared_norm,
        "factors stacks groups weights",
        stacks=STACKS,
        tree=kinds_objects.MODE_TREE,
        groups=GROUPS,
        fixed=FIXED,
    ),
    "Spectrum": of_container(
        htf.Spectrum,
        spectrum,
        lambda s: htf.numerical_rank(s.values, s.accuracy),
        "s rtol",
        values=kinds.SINGULAR,
        accuracy=kinds.tolerance().or_none(),
    ),
    "Carrying": of_container(
        htf.Carrying,
        lambda: htf.Carrying(trained=jnp.ones(2), carried=jnp.zeros(2)),
        lambda params: htf.start_descent(params, kinds_objects.SGD),
        "params",
        trained=kinds_objects.PARAMS,
        carried=Kind("carried", (kinds.OBJECT, kinds.WORD, Wrong("function", always(len)))),
    ),
    "Trajectory": of_container(
        htf.Trajectory,
        lambda: kinds_motion.trajectory(2)[1],
        lambda piece: htf.join([kinds_motion.trajectory(2)[0], piece]),
        "pieces",
        slow=True,
        **PIECE,
    ),
    "FlowReport": of_container(
        htf.FlowReport,
        report,
        lambda report: report.status,
        "ending",
        ending=kinds.whole(0).but(without="half", wrong=wrongs(("high", always(99)))),
    ),
    "DescentState": of_container(
        htf.DescentState,
        kinds_motion.state,
        lambda state: htf.continue_descent(
            state,
            kinds_objects.total_square,
            kinds_objects.SGD,
            num_steps=2,
            record_every=1,
        ),
        "state optimizer",
        slow=True,
        params=kinds_objects.PARAMS.but(without="empty"),
        opt_state=Kind("optimizer state", (kinds.OBJECT, kinds.WORD, kinds.NONE)),
        step=Kind(
            "step",
            (*kinds.STRANGE, kinds.WORD, *wrongs(("half", always(jnp.asarray(0.5))))),
        ),
    ),
}

# Networks

DRAWN = kinds_tasks.DRAWN
LABELS = ARRAY.but(
    wrong=wrongs(
        ("high", lambda v: np.array(v) + 7),
        ("negative", lambda v: -1.0 - np.array(v)),
        ("halves", lambda v: np.array(v) + 0.5),
    )
)
MARKS = Kind(
    "marks",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("halves", lambda v: v + 0.5),
            ("one", lambda v: v[:, 0]),
            ("masked", kinds.masked),
            ("words", lambda v: v.astype(str)),
        ),
    ),
    (Form("lists", lambda v: v.tolist()), Form("int16", lambda v: v.astype(np.int16))),
)
PIXELS = Kind(
    "pixels",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("nan", lambda v: np.full(v.shape, np.nan)),
            ("words", lambda v: np.full(v.shape, "a")),
            ("one_image", lambda v: v[0]),
            ("few", lambda v: v[:2]),
            ("complex", lambda v: v + 0j),
            ("masked", kinds.masked),
            ("none_there", lambda v: v[:0]),
        ),
    ),
)
ROWS_OF_PAIRS = Kind(
    "rows of pairs",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(
            ("high", lambda v: v + 99),
            ("negative", lambda v: v - 99),
            ("floats", lambda v: v.astype(float)),
            ("one", lambda v: v[0]),
            ("three", lambda v: np.concatenate([v, v], axis=1)),
            ("short", lambda v: v[:-1]),
            ("masked", kinds.masked),
            ("words", lambda v: v.astype(str)),
        ),
    ),
    (Form("lists", lambda v: v.tolist()), Form("jax", jnp.asarray)),
)


def see_images(images: Any) -> Any:
    """All that reads Pathfinder images."""
    read = locality.pathfinder_examples(images)
    return locality.marker_distances(images), read.batch([0, 1])


def records(course: Any) -> Any:
    """What the sums of an epoch are read by."""
    return locality.epoch_records(kinds_locality.STARTED._replace(carried=course))


PARAMETERS = kinds_locality.CALLS["count_parameters"]
KNOWN_LEAVES = (
    "ellipsis not_implemented module exception pattern date duration uuid buffer void "
    "object0 iterator object word set bytes function digits na date key masked"
).split()
SUM = Kind(
    "sum",
    (
        *kinds.STRANGE,
        kinds.WORD,
        *wrongs(("vector", always(jnp.ones(2))), ("words", always(np.array("a")))),
    ),
)

LEAVES = tuple(
    Wrong(f"leaf_{w.label}", lambda _, make=w.make: {"a": make(None)})
    for w in (*FOREIGN, kinds.OBJECT, kinds.WORD, *kinds.NOT_NUMBERS)
    if w.label in KNOWN_LEAVES
)
LOCALITY_CALLS = {
    "locality.count_parameters": dataclasses.replace(
        PARAMETERS, kinds={"params": PARAMETERS.kinds["params"].but(wrong=LEAVES)}
    ),
    "locality.Pairs": of_container(
        locality.Pairs,
        lambda: kinds_tasks.PAIRS,
        lambda pairs: locality.same_class_examples(
            kinds_tasks.PICTURES, pairs, distance=2, canvas=(4, 12)
        ).batch([0, 1]),
        "pairs",
        rows=ROWS_OF_PAIRS,
        labels=LABELS,
    ),
    "locality.PathfinderImages": of_container(
        locality.PathfinderImages,
        lambda: DRAWN,
        see_images,
        "images",
        pixels=PIXELS,
        labels=LABELS,
        marks=MARKS,
    ),
    "locality.PathfinderExamples": Call(
        lambda images, rows: locality.pathfinder_examples(images).batch(rows),
        lambda: {"images": DRAWN, "rows": [0, 2]},
        {
            "images": Kind(
                "images", (*kinds.STRANGE, kinds.WORD, *wrongs(("pixels", lambda i: i[0])))
            ),
            "rows": kinds_images.ROWS,
        },
    ),
    "locality.Course": of_container(
        locality.Course,
        lambda: kinds_locality.STARTED.carried,
        records,
        "params",
        order=SUM.but(without="vector"),
        epochs=SUM,
        last=Kind("sums", (*kinds.STRANGE, kinds.WORD, *wrongs(("tuple", tuple)))),
    ),
    "locality.EpochSums": of_container(
        locality.EpochSums,
        lambda: kinds_locality.STARTED.carried.last,
        lambda sums: records(kinds_locality.STARTED.carried._replace(last=sums)),
        "params",
        correct=SUM,
        loss=SUM,
        penalty=SUM,
        unseen=SUM,
        uncoupled=SUM,
    ),
    "locality.Measured": of_container(
        locality.Measured,
        lambda: locality.Measured(
            jnp.asarray(1.0), jnp.asarray(0.5), jnp.ones(2), *[jnp.asarray(0)] * 2
        ),
        lambda seen: locality.warn_if_blind(seen.change),
        "change",
        change=kinds_locality.CALLS["warn_if_blind"].kinds["change"],
    ),
}
