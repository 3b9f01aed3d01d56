"""Calls of losses and observations, and the kinds of their parameters."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf
from tests.fuzz.calls import Call, Kind, Make, Wrong, always
from tests.fuzz.kinds import (
    INDICES,
    OBJECT,
    WORD,
    choice,
    list_of,
    number,
    reals,
    whole,
    wrongs,
)
from tests.fuzz.kinds_objects import (
    DIM_LIST,
    DIMS,
    DTYPE,
    FACTORS,
    FLAT_TREE,
    FLOAT64_FACTORS,
    KEY,
    OBSERVATION_LOSS,
    PENALTY,
    PLAIN,
    PLATFORM,
    POINTS,
    TARGETS,
    TREE,
    TREES,
    WIDTHS,
    completion,
    deep,
    factors,
    key,
    named,
    not_ours,
    of_values,
    plan,
)

MESH = jax.sharding.Mesh(jax.devices()[:1], ("observations",))
LOSS_DATA = {
    "targets": reals(),
    "penalty": PENALTY,
    "threshold": number(0, strict=True).but(
        wrong=wrongs(("beyond", always(np.longdouble("1e-400"))))
    ),
}


def loss_arguments(**first: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {**first, "targets": TARGETS, "penalty": "huber", "threshold": 0.5}


def read_loss(tree: htf.ModeTree = TREE, dims: Any = DIMS, widths: Any = WIDTHS) -> Make:
    return lambda loss: loss(factors(tree, dims, widths))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Halved:
    """Half of some entries: a measurement of a user's own."""

    def predict(self, layout: Any, stacks: Any) -> jax.Array:
        return htf.losses.Entries.at(TREE, DIMS, POINTS).predict(layout, stacks) / 2

    def take(self, rows: jax.Array) -> "Halved":
        raise NotImplementedError


ENTRIES = {
    "tree": TREES,
    "mode_dims": DIM_LIST,
    "indices": INDICES,
    "plan": choice("auto", "exact").but(
        wrong=(Wrong("other_plan", lambda _: dataclasses.replace(plan(), batch=99)),)
    ),
    "platform": PLATFORM.or_none(),
}

LOSS_CALLS = {
    "random_indices": of_values(
        htf.random_indices,
        key=(key(), KEY),
        mode_dims=(DIMS, DIM_LIST.but(without="many")),
        count=(4, whole(1)),
        order=(3, whole(1).or_none()),
    ),
    "random_vectors": of_values(
        htf.random_vectors,
        key=(key(), KEY),
        mode_dims=(DIMS, DIM_LIST.but(without="many")),
        count=(4, whole(1)),
        dtype=(jnp.float32, DTYPE),
        order=(3, whole(1).or_none()),
    ),
    "random_matrices": of_values(
        htf.random_matrices,
        key=(key(), KEY),
        mode_dims=((2, 3), DIM_LIST),
        count=(4, whole(1)),
        dtype=(jnp.float32, DTYPE),
    ),
    "unobserved_indices": of_values(
        htf.unobserved_indices,
        indices=(POINTS, INDICES),
        mode_dims=(DIMS, DIM_LIST.but(without="many")),
    ),
    "completion_loss": Call(
        htf.completion_loss,
        loss_arguments(
            tree=TREE, mode_dims=DIMS, indices=POINTS, plan="auto", platform="cpu"
        ),
        LOSS_DATA | ENTRIES,
        read_loss(),
    ),
    "sensing_loss": Call(
        htf.sensing_loss,
        loss_arguments(vectors=[np.full((4, d), 0.5) for d in DIMS]),
        # A loss without factors cannot know how many vectors there should be.
        LOSS_DATA | {"vectors": list_of(reals(axes=2)).but(without="few many")},
        read_loss(),
    ),
    "matrix_sensing_loss": Call(
        htf.matrix_sensing_loss,
        loss_arguments(matrices=np.full((4, 2, 3), 0.5)),
        # Another number of matrices is another number than that of the targets.
        LOSS_DATA | {"matrices": reals(axes=3).but(without="longer empty")},
        read_loss(FLAT_TREE, (2, 3), 2),
    ),
    "observation_loss": Call(
        htf.observation_loss,
        loss_arguments(
            measurement=htf.losses.RankOne(tuple(np.full((4, d), 0.5) for d in DIMS))
        ),
        # How many targets there should be is known where factors are.
        LOSS_DATA | {"measurement": Kind("measurement", not_ours("measurement"))},
        read_loss(),
    ),
    "losses.Entries.at": Call(
        htf.losses.Entries.at,
        lambda: {
            "tree": TREE, "mode_dims": DIMS, "indices": POINTS, "plan": "auto",
            "platform": "cpu",
        },
        ENTRIES,
        lambda entries: htf.observation_loss(entries, TARGETS)(factors()),
    ),
    "losses.Measurement of a user": Call(
        lambda factors: htf.observation_loss(Halved(), TARGETS)(factors),
        lambda: {"factors": factors()},
        {"factors": FACTORS},
    ),
    "losses.RankOne": Call(
        htf.losses.RankOne,
        lambda: {"vectors": tuple(np.full((4, d), 0.5) for d in DIMS)},
        {"vectors": list_of(reals(finite=False, axes=2))},
        lambda held: htf.observation_loss(held, TARGETS)(factors()),
    ),
    "losses.Weighted": Call(
        htf.losses.Weighted,
        lambda: {
            "measurement": htf.losses.Entries.at(TREE, DIMS, POINTS),
            "weights": np.full(4, 0.5),
        },
        {
            "measurement": Kind("measurement", not_ours("measurement")),
            "weights": reals(finite=False, axes=1),
        },
        lambda held: htf.observation_loss(held, TARGETS)(factors()),
    ),
    "losses.Dense": Call(
        htf.losses.Dense,
        lambda: {"matrices": np.full((4, 2, 3), 0.5)},
        # How many there should be is known where targets are.
        {"matrices": reals(finite=False, axes=3).but(without="longer empty")},
        lambda held: htf.observation_loss(held, TARGETS)(factors(FLAT_TREE, (2, 3), 2)),
    ),
    "CompletionLoss.__call__": Call(
        lambda factors: completion()(factors), lambda: {"factors": factors()},
        {"factors": FACTORS},
    ),
    "SensingLoss.__call__": Call(
        lambda factors: htf.sensing_loss([np.full((4, d), 0.5) for d in DIMS], TARGETS)(
            factors
        ),
        lambda: {"factors": factors()},
        {"factors": FACTORS},
    ),
    "MatrixSensingLoss.__call__": Call(
        lambda factors: htf.matrix_sensing_loss(np.full((4, 3, 3), 0.5), TARGETS)(factors),
        lambda: {"factors": deep()},
        {"factors": FACTORS},
    ),
    "PopulationLoss.__call__": Call(
        lambda factors: htf.population_loss(deep())(factors),
        lambda: {"factors": htf.identity_factors(deep().tree, 3, 3, 0.25, root="ones")},
        {"factors": FACTORS},
    ),
    "MinibatchLoss.__call__": Call(
        lambda factors, key: htf.minibatch_loss(completion(), 2)(factors, key),
        lambda: {"factors": factors(), "key": key()},
        {"factors": FACTORS, "key": KEY},
    ),
    "ScaledLoss.__call__": Call(
        lambda factors: htf.scaled_loss(completion())(factors),
        lambda: {"factors": factors()},
        {"factors": FACTORS},
        slow=True,
    ),
    "loss_plan": Call(
        htf.loss_plan,
        lambda: {"loss": completion(), "factors": factors(), "platform": "cpu"},
        {
            "loss": OBSERVATION_LOSS,
            "factors": FLOAT64_FACTORS,
            "platform": PLATFORM.or_none(),
        },
        lambda held: held.routes,
    ),
    "minibatch_loss": Call(
        htf.minibatch_loss,
        lambda: {"loss": completion(), "batch_size": 2},
        {
            "loss": OBSERVATION_LOSS,
            "batch_size": whole(1).but(wrong=wrongs(("high", always(5)))),
        },
        lambda loss: loss(factors(), key()),
    ),
    "sharded_loss": Call(
        htf.sharded_loss,
        lambda: {"loss": completion(), "mesh": MESH, "axis": "observations"},
        {
            "loss": OBSERVATION_LOSS.but(without="minibatch"),
            "mesh": Kind("mesh", (OBJECT, WORD)).or_none(),
            "axis": choice("observations").or_none(),
        },
        read_loss(),
    ),
    "residuals": Call(
        htf.residuals,
        lambda: {"loss": completion(), "factors": factors()},
        {"loss": OBSERVATION_LOSS, "factors": FACTORS},
    ),
    "penalize": of_values(
        htf.penalize,
        x=(
            TARGETS,
            reals(finite=False, free=True).but(wrong=wrongs(("empty", always([])))),
        ),
        penalty=("huber", PENALTY),
        threshold=(0.5, number(0, strict=True)),
    ),
    "population_loss": Call(
        htf.population_loss,
        lambda: {"target_factors": factors(), "method": "gram"},
        {"target_factors": named("target_factors"), "method": choice("gram", "qr")},
        read_loss(),
        slow=True,
    ),
    "magnitude": Call(
        htf.magnitude, lambda: {"factors": factors()}, {"factors": FLOAT64_FACTORS}
    ),
    "scaled_loss": Call(
        htf.scaled_loss,
        lambda: {"loss": completion()},
        {"loss": OBSERVATION_LOSS.but(without="minibatch")},
        read_loss(),
        slow=True,
    ),
    "scaled_value_and_grad": dataclasses.replace(
        Call(
            htf.scaled_value_and_grad,
            lambda: {"loss": completion(), "factors": factors()},
            {"loss": OBSERVATION_LOSS, "factors": PLAIN.but(without="grouped")},
        ),
        slow=True,
    ),
}  # fmt: skip
