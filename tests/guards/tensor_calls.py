"""Calls of the factorization: trees, factors, values, losses, instruments, motion."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

import htfjax as htf
from tests.guards.cases import Given, normal
from tests.guards.registry import alone, call


def many_modes(tree: htf.ModeTree) -> bool:
    """Matricizations need two modes."""
    return tree.order > 1


def matrix_tree(tree: htf.ModeTree) -> bool:
    """Two modes."""
    return tree.order == 2


def any_tree(tree: htf.ModeTree) -> bool:
    """All of them."""
    del tree
    return True


def has_chain(tree: htf.ModeTree) -> bool:
    """A node with one child."""
    return any(len(kids) == 1 for kids in tree.children)


# trees and factors


@call("ModeTree", traced=False, grouped=False)
def mode_tree(given: Given) -> Any:
    tree = htf.ModeTree.from_nested(given.tree.nested)
    names = ("order", "root", "interior", "children", "parent", "modes", "height", "nested")
    return {name: getattr(tree, name) for name in names} | {"equal": tree == given.tree}


@alone(
    "builders", "perfect", "flat", "caterpillar", "interleaved", "square_patches", "pooled"
)
def builders(dtype: str) -> Any:
    del dtype
    return {
        "perfect": htf.perfect(8).nested,
        "ternary": htf.perfect(9, 3).nested,
        "flat": htf.flat(5).nested,
        "caterpillar": htf.caterpillar(5).nested,
        "interleaved": htf.interleaved(6).nested,
        "square_patches": htf.square_patches(4).nested,
        "adjacent": htf.pooled(9, 3).nested,
        "odd": htf.pooled(7, [3, 2, 2]).nested,
        "half": htf.pooled(8, 2, "half").nested,
    }


@call("Factors", "mode_dims", "widths", traced=False)
def sizes(given: Given) -> Any:
    return {
        "arrays": jax.tree.leaves(given.factors)[0],
        "kind": type(given.factors).__name__,
        "tree": given.factors.tree.nested,
        "fixed": given.factors.fixed,
        "mode_dims": htf.mode_dims(given.factors),
        "widths": htf.widths(given.factors),
    }


@call("group", "GroupedFactors", grouped=False)
def grouped(given: Given) -> Any:
    return htf.group(given.factors)


@call("ungroup")
def ungrouped(given: Given) -> Any:
    return htf.ungroup(
        htf.group(given.other) if given.case.form == "plain" else given.factors
    )


@call("collapse_chains", grouped=False)
def collapsed(given: Given) -> Any:
    return htf.collapse_chains(given.factors)


@call("identity_factors", traced=False, grouped=False)
def identity(given: Given) -> Any:
    return htf.identity_factors(
        given.tree, given.dims, 2, 0.5, root=cast(Any, given.case.root), dtype=given.dtype
    )


@call("fixed nodes", "Factors", grouped=False)
def fixed_nodes(given: Given) -> Any:
    held = dataclasses.replace(given.factors, fixed=(0,))
    return {
        "norms": htf.local_component_norms(held),
        "unbalancedness": htf.unbalancedness(held),
        "loss": _completion(given)(held),
    }


# values


@call("end_tensor")
def end_tensor(given: Given) -> Any:
    return htf.end_tensor(given.factors)


@call("entries")
def entries(given: Given) -> Any:
    return htf.entries(given.factors, given.indices)


for _route in ("table", "rows", "dedup"):

    @call(f"entries({_route})", "contraction_plan", "Plan")
    def forced_entries(given: Given, route: str = _route) -> Any:
        return htf.entries(given.factors, given.indices, plan=_plan(given, route))


def _plan(given: Given, route: Any) -> htf.Plan:
    widths = htf.widths(given.factors)[given.tree.order :]
    return htf.contraction_plan(
        given.tree, given.dims, widths, len(given.indices), force=route
    )


@call("sense")
def sense(given: Given) -> Any:
    return htf.sense(given.factors, given.vectors)


@call("inner_product")
def inner_product(given: Given) -> Any:
    return htf.inner_product(given.factors, given.other)


@call("squared_norm")
def squared_norm(given: Given) -> Any:
    return htf.squared_norm(given.factors)


for _method in ("qr", "gram"):

    @call(f"distance({_method})")
    def distance(given: Given, method: Any = _method) -> Any:
        return htf.distance(given.factors, given.other, method=method)


# losses


def _completion(given: Given, **settings: Any) -> Any:
    return htf.completion_loss(
        given.tree, given.dims, given.indices, given.targets, **settings
    )


for _penalty in ("l2", "l1", "huber"):

    @call(f"completion_loss({_penalty})")
    def completion_loss(given: Given, penalty: str = _penalty) -> Any:
        return _completion(given, penalty=penalty, threshold=0.7)(given.factors)

    @alone(f"penalize({_penalty})")
    def penalize(dtype: str, penalty: Any = _penalty) -> Any:
        x = normal(11, (9,), dtype)
        return jax.value_and_grad(
            lambda x: htf.penalize(x, penalty=penalty, threshold=0.7)
        )(x)


for _route in ("table", "rows"):

    @call(f"completion_loss({_route})", "contraction_plan", "Plan")
    def planned_loss(given: Given, route: str = _route) -> Any:
        return _completion(given, plan=_plan(given, route))(given.factors)


@call("completion_loss(exact)", traced=False)
def exact_loss(given: Given) -> Any:
    return jax.value_and_grad(_completion(given, plan="exact"))(given.factors)


@call("sensing_loss")
def sensing_loss(given: Given) -> Any:
    return htf.sensing_loss(given.vectors, given.targets, penalty="huber")(given.factors)


@call("observation_loss")
def observation_loss(given: Given) -> Any:
    measurement = htf.losses.RankOne(tuple(given.vectors))
    return htf.observation_loss(measurement, given.targets, penalty="l1")(given.factors)


@call("matrix_sensing_loss", where=matrix_tree)
def matrix_sensing_loss(given: Given) -> Any:
    matrices = given.normal(6, 7, *given.dims)
    return htf.matrix_sensing_loss(matrices, given.targets)(given.factors)


@call("minibatch_loss")
def minibatch_loss(given: Given) -> Any:
    # All observations, in a random order: what the key is does not matter.
    loss = htf.minibatch_loss(_completion(given), len(given.targets))
    return loss(given.factors, jax.random.key(0))


@call("residuals")
def residuals(given: Given) -> Any:
    found = {
        "completion": htf.residuals(_completion(given), given.factors),
        "sensing": htf.residuals(
            htf.sensing_loss(given.vectors, given.targets), given.factors
        ),
    }
    if given.tree.order == 2:
        loss = htf.matrix_sensing_loss(given.normal(6, 7, *given.dims), given.targets)
        found["matrices"] = htf.residuals(loss, given.factors)
    return found


for _way in ("gram", "qr"):

    @call(f"population_loss({_way})")
    def population_loss(given: Given, method: Any = _way) -> Any:
        return htf.population_loss(given.other, method=method)(given.factors)


@call("magnitude", "Magnitude", gradient=False)
def magnitude(given: Given) -> Any:
    return htf.magnitude(given.factors)


@call("scaled_loss", gradient=False)
def scaled_loss(given: Given) -> Any:
    return htf.scaled_loss(_completion(given))(given.factors)


@call("scaled_value_and_grad", "ScaledGradient", gradient=False)
def scaled_gradient(given: Given) -> Any:
    return htf.scaled_value_and_grad(_completion(given), given.factors)


# instruments


@call("local_component_norms", "NodeValues")
def norms(given: Given) -> Any:
    return htf.local_component_norms(given.factors)


@call("weight_vector_norms", "NodeValues")
def vector_norms(given: Given) -> Any:
    return htf.weight_vector_norms(given.factors)


for _kind in ("components", "matrix"):

    @call(
        f"unbalancedness({_kind})", where=any_tree if _kind == "components" else has_chain
    )
    def unbalancedness(given: Given, kind: Any = _kind) -> Any:
        return htf.unbalancedness(given.factors, kind)


@call("growth_rates")
def growth_rates(given: Given) -> Any:
    return htf.growth_rates(given.factors, _completion(given))


@call("component_contributions")
def contributions(given: Given) -> Any:
    return htf.component_contributions(given.factors)


@call("weight_singular_values")
def weight_singular_values(given: Given) -> Any:
    return htf.weight_singular_values(given.factors)


@call("matricize", where=many_modes)
def matricize(given: Given) -> Any:
    return htf.matricize(htf.end_tensor(given.factors), given.last[:1])


for _method in ("auto", "dense", "qr", "gram"):

    @call(f"singular_values({_method})", where=many_modes)
    def singular_values(given: Given, method: Any = _method) -> Any:
        return htf.singular_values(given.factors, 0, method)


@call("singular_values(modes)", where=many_modes)
def singular_values_of_modes(given: Given) -> Any:
    return htf.singular_values(given.factors, given.last[:1])


@call("spectrum", where=many_modes)
def spectrum(given: Given) -> Any:
    return htf.spectrum(given.factors, 0).values


@call("Spectrum", traced=False, where=many_modes)
def spectrum_type(given: Given) -> Any:
    # The route and its accuracy follow from costs: any is right.
    found = htf.spectrum(given.factors, 0, method="dense")
    return found._replace(accuracy=found.accuracy > 0)


@call("spectra", where=many_modes)
def spectra(given: Given) -> Any:
    return {node: found.values for node, found in htf.spectra(given.factors).items()}


@call("nuclear_norm", where=many_modes)
def nuclear_norm(given: Given) -> Any:
    return htf.nuclear_norm(given.factors, 0)


@call("hierarchical_rank", gradient=False)
def hierarchical_rank(given: Given) -> Any:
    return htf.hierarchical_rank(given.factors, rtol=1e-3)


@call("rank_bound", traced=False, where=many_modes)
def rank_bound(given: Given) -> Any:
    return [htf.rank_bound(given.factors, (0,)), htf.rank_bound(given.factors, given.last)]


@alone("spectra of given values", "effective_rank", "entanglement_entropy", slow=True)
def measures_of_spectra(dtype: str) -> Any:
    s = jnp.sort(jnp.abs(normal(12, (6,), dtype)), descending=True)
    return {
        "effective_rank": jax.value_and_grad(htf.effective_rank)(s),
        "cut": htf.effective_rank(s, 0.5),
        "entanglement_entropy": jax.value_and_grad(htf.entanglement_entropy)(s),
    }


@alone("ranks of given values", "numerical_rank", "rank_within")
def ranks_of_spectra(dtype: str) -> Any:
    s = jnp.sort(jnp.abs(normal(12, (6,), dtype)), descending=True)
    return {
        "numerical_rank": htf.numerical_rank(s),
        "numerical_rank of tolerance": htf.numerical_rank(s, 0.3),
        "rank_within": htf.rank_within(s, 0.9),
    }


@alone("unobserved_indices")
def unobserved(dtype: str) -> Any:
    del dtype
    return htf.unobserved_indices([[0, 0], [1, 2], [2, 1]], (3, 3))


# motion


@call("scale_by_group_rms")
def scale_by_group_rms(given: Given) -> Any:
    return _two_updates(given, htf.scale_by_group_rms(0.9, 1e-6))


@call("group_rmsprop")
def group_rmsprop(given: Given) -> Any:
    return _two_updates(given, htf.group_rmsprop(0.1))


def _two_updates(given: Given, optimizer: Any) -> Any:
    slopes = jax.grad(_completion(given))(given.factors)
    state = optimizer.init(given.factors)
    _, state = optimizer.update(slopes, state, given.factors)
    updates, _ = optimizer.update(jax.tree.map(jnp.tanh, slopes), state, given.factors)
    return updates


def course(trajectory: htf.Trajectory) -> dict[str, Any]:
    """What every trajectory has."""
    names = ("steps", "losses", "observed", "grad_norms", "times", "path_lengths")
    found = {name: getattr(trajectory, name) for name in names}
    return found | {"finite": trajectory.finite}


@call("descend", "Trajectory", traced=False)
def descend(given: Given) -> Any:
    final, trajectory = htf.descend(
        given.factors, _completion(given), htf.group_rmsprop(0.05), num_steps=6,
        record_every=2, observe=htf.local_component_norms,
    )  # fmt: skip
    return {"final": final, **course(trajectory)}


@call(
    "continue_descent", "start_descent", "DescentState", "descend_in_chunks", "join",
    "minibatch_loss", traced=False, slow=True,
)  # fmt: skip
def continue_descent(given: Given) -> Any:
    loss, optimizer = _completion(given), optax.sgd(0.05, momentum=0.9)
    start = htf.start_descent(given.factors, optimizer)
    chunks = list(
        htf.descend_in_chunks(
            start, loss, optimizer, until_step=8, record_every=2, chunk_steps=4
        )
    )
    state, pieces = chunks[-1][0], [piece for _, piece in chunks]
    full = htf.minibatch_loss(loss, len(given.targets))
    state, last = htf.continue_descent(
        state, full, optimizer, num_steps=2, record_every=1, key=jax.random.key(0)
    )
    return {
        "final": state.params,
        "step": state.step,
        "chunks": course(htf.join(pieces)),
        "last": course(last),
    }


@call(
    "gradient_flow", "FlowReport", traced=False, slow=True, double=1e-8, single=1e-3,
    where=lambda tree: tree.order in (3, 4),
)  # fmt: skip
def gradient_flow(given: Given) -> Any:
    # Equal within the solver's own tolerance: its steps are no part of the contract.
    tight = given.case.dtype == "float64"
    final, trajectory = htf.gradient_flow(
        given.factors, _completion(given), times=jnp.linspace(0.0, 0.2, 3),
        rtol=1e-10 if tight else 1e-5, atol=0.0, observe=htf.local_component_norms,
    )  # fmt: skip
    return {"final": final, **course(trajectory), "reached": trajectory.report.reached}


@alone("plateau_wait", slow=True, double=1e-7, single=1e-3)
def plateau_wait(dtype: str) -> Any:
    rng = np.random.default_rng(70)
    weights = [rng.standard_normal((3, 2)) for _ in range(3)]
    start = htf.Factors(
        tree=htf.flat(3), weights=(*(jnp.asarray(w, dtype) for w in weights), None)
    )
    target = jnp.asarray(rng.standard_normal((3, 3, 3)), dtype)
    rtol = 1e-8 if dtype == "float64" else 1e-5

    def loss(factors: Any) -> jax.Array:
        return jnp.sum(jnp.square(htf.end_tensor(factors) - target))

    return htf.plateau_wait(start, loss, rtol=rtol)


@alone("stops and rises", "find_stop", "Stop", "rise_times", "RiseTimes")
def stops_and_rises(dtype: str) -> Any:
    losses = np.array([1.0, 0.5, 0.01, 0.01, 0.01], dtype)
    rises = htf.rise_times(np.arange(40.0), np.tanh(np.arange(40.0) / 9)[:, None])
    return {
        "converged": htf.find_stop(losses, 0.1, 1),
        "diverged": htf.find_stop(np.array([1.0, 1e5], dtype), 0.1, 1),
        "none": htf.find_stop(losses, 0.001, 1),
        "rises": type(rises).__name__,
        **{f"rises.{name}": str(x.dtype) for name, x in rises._asdict().items()},
    }


@alone("Carrying", "continue_descent", slow=True)
def carrying(dtype: str) -> Any:
    def loss(params: Any, key: Any) -> Any:
        del key
        trained, carried = params
        return jnp.sum(jnp.square(trained) * (1 + carried)), carried + 1

    start = htf.Carrying(normal(13, (3,), dtype), jnp.zeros((), dtype))
    optimizer = optax.sgd(0.1)
    state, trajectory = htf.continue_descent(
        htf.start_descent(start, optimizer), loss, optimizer, num_steps=4, record_every=2,
        key=jax.random.key(0), observe=lambda params: params.carried,
    )  # fmt: skip
    return {"final": state.params, **course(trajectory)}
