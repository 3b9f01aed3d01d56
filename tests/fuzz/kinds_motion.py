"""Calls of descents, flows and trajectories, and the kinds of their parameters."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

import htfjax as htf
from tests.fuzz.calls import Call, Form, Kind, Wrong, always
from tests.fuzz.kinds import (
    FLAG,
    NONE,
    OBJECT,
    STRANGE,
    WORD,
    choice,
    number,
    reals,
    whole,
    wrongs,
)
from tests.fuzz.kinds_objects import (
    DIMS,
    FACTORS,
    FUNCTION,
    KEY,
    OPTIMIZER,
    PARAMS,
    POINTS,
    SCALAR_LOSS,
    SGD,
    TARGETS,
    TREE,
    factors,
    of_tensor,
    of_values,
    to_numpy,
    total_square,
)

PROGRESS = Kind(
    "progress",
    (
        OBJECT,
        WORD,
        *wrongs(("one", always(1)), ("list", always([])), ("class", always(dict)),
                ("array", always(np.ones(2)))),
    ),
    (),
    (Form("true", always(True)), Form("false", always(False))),
)  # fmt: skip
DESCENT = {
    "loss": SCALAR_LOSS,
    "optimizer": OPTIMIZER,
    "num_steps": whole(1),
    "record_every": whole(1),
    "observe": FUNCTION.or_none(),
    "progress": PROGRESS,
}


def state() -> htf.DescentState:
    return htf.start_descent(jnp.ones(2), SGD)


def trajectory(pieces: int = 1) -> Any:
    here, found = state(), []
    for _ in range(pieces):
        here, piece = htf.continue_descent(
            here, total_square, SGD, num_steps=4, record_every=2
        )
        found.append(piece)
    return found


STATE = Kind(
    "state",
    (
        NONE,
        OBJECT,
        WORD,
        *wrongs(
            ("params", lambda s: s.params),
            ("tuple", tuple),
            ("dict", lambda s: s._asdict()),
            ("number", always(1.0)),
        ),
        Wrong("no_params", lambda s: s._replace(params=None)),
        Wrong("int_params", lambda s: s._replace(params=jnp.ones(2, jnp.int32))),
        Wrong("no_step", lambda s: s._replace(step=None)),
        Wrong("step_word", lambda s: s._replace(step="a")),
        Wrong("another_start", lambda s: s._replace(
            opt_state=optax.adam(0.1).init(s.params)), ("optimizer", "state")),
    ),
    (Form("numpy", to_numpy),),
)  # fmt: skip
RISES = np.array([[0.0, 0.0], [1.0, 0.5], [5.0, 1.0], [9.0, 1.0], [10.0, 1.0]])


def stepped(optimizer: Any) -> Any:
    """Factors after a step."""
    loss = htf.completion_loss(TREE, DIMS, POINTS, TARGETS)
    return htf.descend(factors(), loss, optimizer, num_steps=1, record_every=1)[0]


# An adaptive flow takes other steps in single precision.
DOUBLES = dataclasses.replace(
    FACTORS, equal=tuple([x for x in FACTORS.equal if x.label != "float32"])
)
DESCENT_CALLS = {
    "group_rmsprop": Call(
        htf.group_rmsprop,
        lambda: {"learning_rate": 0.5, "decay": 0.5, "eps": 0.25},
        {
            "learning_rate": number(0).but(without="function"),
            "decay": number(0).but(wrong=wrongs(("one", always(1.0)))),
            "eps": number(0),
        },
        lambda optimizer: optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))[0],
    ),
    "levenberg_marquardt": Call(
        htf.levenberg_marquardt,
        lambda: {"damping": 0.5, "shrink": 0.5, "matrix_free": False},
        {
            "damping": number(0, strict=True),
            "shrink": number(0),
            "matrix_free": FLAG.but(without="none"),
        },
        lambda optimizer: stepped(optimizer),
    ),
    "alternating_least_squares": Call(
        htf.alternating_least_squares,
        lambda: {"ridge": 0.5},
        {"ridge": number(0, strict=True)},
        lambda optimizer: stepped(optimizer),
    ),
    "scale_by_group_rms": Call(
        htf.scale_by_group_rms,
        lambda: {"decay": 0.5, "eps": 0.25},
        {
            "decay": number(0).but(wrong=wrongs(("one", always(1.0)))),
            "eps": number(0),
        },
        lambda optimizer: optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))[0],
    ),
    "find_stop": of_values(
        htf.find_stop,
        losses=(
            [1.0, 0.5, 0.25, 0.125],
            reals(finite=False, free=True).but(
                wrong=wrongs(("column", lambda v: np.array(v)[:, None]),
                             ("empty", always([])), ("number", always(1.0)))
            ),
        ),
        tolerance=(0.375, number(0)),
        patience=(1, whole(0)),
        divergence=(16.0, number(0, strict=True).but(without="infinite")),
    ),
    "join": Call(
        htf.join,
        lambda: {"pieces": trajectory(2)},
        {
            "pieces": Kind(
                "trajectories",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("empty", always([])),
                        ("gap", lambda p: [p[0], p[0]]),
                        ("backwards", lambda p: p[::-1]),
                        ("numbers", always([1, 2])),
                        ("one", lambda p: p[0]),
                        ("states", lambda p: [state()]),
                        ("iterator", iter),
                    ),
                ),
                (Form("tuple", tuple), Form("numpy", to_numpy)),
            )
        },
    ),
    "rise_times": of_values(
        htf.rise_times,
        steps=(
            [0.0, 1.0, 2.0, 3.0, 4.0],
            reals().but(wrong=wrongs(("decreasing", lambda v: v[::-1]))),
        ),
        values=(RISES, reals(finite=False, axes=2)),
        active=(0.125, number(0)),
    ),
    "start_descent": Call(
        htf.start_descent,
        lambda: {"params": jnp.ones(2), "optimizer": SGD},
        {"params": PARAMS, "optimizer": OPTIMIZER},
    ),
    "continue_descent": Call(
        htf.continue_descent,
        lambda: {
            "state": state(),
            "loss": total_square,
            "optimizer": SGD,
            "num_steps": 4,
            "record_every": 2,
            "observe": None,
            "key": None,
            "progress": False,
        },
        DESCENT | {"state": STATE, "key": KEY.or_none()},
        slow=True,
    ),
    "descend": Call(
        htf.descend,
        lambda: {
            "params": jnp.ones(2),
            "loss": total_square,
            "optimizer": SGD,
            "num_steps": 4,
            "record_every": 2,
            "observe": None,
            "key": None,
            "progress": False,
        },
        DESCENT | {"params": PARAMS, "key": KEY.or_none()},
        slow=True,
    ),
    "descend_in_chunks": Call(
        htf.descend_in_chunks,
        lambda: {
            "state": state(),
            "loss": total_square,
            "optimizer": SGD,
            "until_step": 4,
            "record_every": 2,
            "chunk_steps": 2,
            "observe": None,
            "key": None,
            "progress": False,
        },
        {k: kind for k, kind in DESCENT.items() if k != "num_steps"}
        | {
            "state": STATE,
            "until_step": whole(0),
            "chunk_steps": whole(2),
            "key": KEY.or_none(),
        },
        list,
        slow=True,
    ),
    "gradient_flow": Call(
        htf.gradient_flow,
        lambda: {
            "params": jnp.ones(2),
            "loss": total_square,
            "times": np.array([0.0, 0.25, 0.5]),
            "rtol": 0.125,
            "atol": 0.125,
            "observe": None,
            "integrate": None,
            "clock": "time",
            "solver": "explicit",
            "stop_loss": 0.0,
            "stop_grad_norm": 0.0,
            "interpolate": False,
            "max_steps": 16,
            "differentiate": "reverse",
            "progress": False,
        },
        {
            "params": PARAMS,
            "loss": SCALAR_LOSS,
            "times": reals().but(
                without="longer", wrong=wrongs(("decreasing", lambda v: v[::-1]))
            ),
            "rtol": number(0),
            "atol": number(0),
            "observe": FUNCTION.or_none(),
            "integrate": FUNCTION.or_none(),
            "clock": choice("time", "arc", "rescaled"),
            "solver": choice("auto", "explicit", "implicit", "stabilized"),
            "stop_loss": number(0).or_none(),
            "stop_grad_norm": number(0).or_none(),
            "interpolate": FLAG,
            "differentiate": choice("reverse", "forward"),
            "max_steps": whole(1),
            "progress": PROGRESS,
        },
        slow=True,
    ),
    "plateau_wait": Call(
        htf.plateau_wait,
        lambda: {"factors": factors(), "loss": of_tensor, "rtol": 0.125, "max_steps": 64},
        {"factors": DOUBLES, "loss": SCALAR_LOSS, "rtol": number(0).besides(0.0),
         "max_steps": whole(1)},
        slow=True,
    ),
}  # fmt: skip
