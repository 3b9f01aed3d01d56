"""Calls of `htfjax.theory`."""

from typing import Any

import jax

import htfjax as htf
from tests.guards.cases import Given, normal
from tests.guards.registry import alone, call

theory = htf.theory


def _loss(given: Given) -> Any:
    return htf.completion_loss(given.tree, given.dims, given.indices, given.targets)


def _slopes(function: Any, *numbers: float, dtype: str) -> Any:
    """Value and all slopes of a closed form."""
    return jax.value_and_grad(function, tuple(range(len(numbers))))(
        *(jax.numpy.asarray(x, dtype) for x in numbers)
    )


@alone("theory.blow_up_time")
def blow_up_time(dtype: str) -> Any:
    found = (_slopes(lambda s, g, n=n: theory.blow_up_time(s, g, n), 0.3, 0.7, dtype=dtype)
             for n in (3, 4))  # fmt: skip
    return list(found)


@alone("theory.constant_force_norm")
def constant_force_norm(dtype: str) -> Any:
    return [
        _slopes(
            lambda t, s, g, n=n: theory.constant_force_norm(t, s, g, n),
            0.5,
            0.3,
            -0.7,
            dtype=dtype,
        )
        for n in (2, 3, 4)
    ]


@alone("theory.rank_one", "theory.rank_one_blow_up_time", "theory.rank_one_limit",
       "theory.rank_one_scale")  # fmt: skip
def rank_one(dtype: str) -> Any:
    return {
        "blow_up_time": _slopes(
            lambda s, n: theory.rank_one_blow_up_time(s, n, 5), 0.3, 0.7, dtype=dtype
        ),
        "limit": _slopes(lambda n: theory.rank_one_limit(n, 5), 0.7, dtype=dtype),
        "scale": _slopes(
            lambda t, s, n: theory.rank_one_scale(t, s, n, 5), 0.5, 0.3, 0.7, dtype=dtype
        ),
    }


@call("theory.conserved_quantities")
def conserved_quantities(given: Given) -> Any:
    return theory.conserved_quantities(given.factors)


@call("theory.conserved_scale")
def conserved_scale(given: Given) -> Any:
    return theory.conserved_scale(given.factors)


@call("theory.drift")
def drift(given: Given) -> Any:
    return theory.drift(given.other, given.factors)


@call("theory.component_forces", grouped=False, slow=True)
def component_forces(given: Given) -> Any:
    return theory.component_forces(given.factors, _loss(given))


@call("theory.direction_tensors")
def direction_tensors(given: Given) -> Any:
    return theory.direction_tensors(given.factors, given.tree.interior[0])


@call("theory.balanced_growth", grouped=False)
def balanced_growth(given: Given) -> Any:
    return theory.balanced_growth(given.factors, _loss(given))


@call("theory.exact_growth", grouped=False)
def exact_growth(given: Given) -> Any:
    return theory.exact_growth(given.factors, _loss(given))


@call("theory.growth_bounds", "theory.GrowthBounds", grouped=False, gradient=False)
def growth_bounds(given: Given) -> Any:
    return theory.growth_bounds(given.factors, _loss(given))


@call("theory.nested_rank_bound", traced=False)
def nested_rank_bound(given: Given) -> Any:
    return [
        theory.nested_rank_bound(given.factors, given.tree.modes[k])
        for k in given.tree.interior
    ]


@call("theory.node_rank_bounds", gradient=False)
def node_rank_bounds(given: Given) -> Any:
    return theory.node_rank_bounds(given.factors, rtol=1e-3)


@call("theory.degree", traced=False)
def degree(given: Given) -> Any:
    return theory.degree(given.factors)


@call("theory.normalize")
def normalize(given: Given) -> Any:
    return theory.normalize(given.factors, 2.5)


@call("theory.rescale_component")
def rescale_component(given: Given) -> Any:
    node = given.tree.interior[0]
    trained = node != given.tree.root or given.case.root == "trained"
    vectors = len(given.tree.children[node]) + trained
    scales = (1.0,) if vectors == 1 else (-2.0, *[1.0] * (vectors - 2), -0.5)
    return theory.rescale_component(given.factors, node, 0, scales)


@call("theory.truncate")
def truncate(given: Given) -> Any:
    return theory.truncate(given.factors, 1)


@call("theory.truncation_bounds")
def truncation_bounds(given: Given) -> Any:
    return theory.truncation_bounds(given.factors, 1)


@alone(
    "theory.shared weights", "theory.to_factors", "theory.shared_conserved_quantities",
    slow=True,
)  # fmt: skip
def shared_weights(dtype: str) -> Any:
    tree = htf.perfect(4)
    matrices = [normal(20 + i, s, dtype) for i, s in enumerate([(3, 2), (2, 4), (4, 1)])]

    def total(matrices: Any) -> Any:
        return htf.squared_norm(theory.to_factors(tree, matrices))

    return {
        "factors": theory.to_factors(tree, matrices),
        "value and gradient": jax.value_and_grad(total)(matrices),
        "conserved": theory.shared_conserved_quantities(tree, matrices),
    }
