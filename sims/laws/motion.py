"""Laws F2, F4, F7, F8, F10 and F13: descent and flow from a case's factors."""

import functools
import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

import htfjax as htf

Case: TypeAlias = htf.theory.laws.Case
Law, Near = htf.theory.laws.Law, htf.theory.laws.Near
oracle, wave = htf.theory.oracle, htf.theory.laws.wave

RATE = 0.01
SGD = optax.sgd(RATE)

_rates = jax.jit(lambda factors: htf.growth_rates(factors, wave))


def _num_vectors(case: Case, v: int) -> int:
    return len(oracle.component(*case.plain(), v, 0))


def _has_gaps(case: Case) -> bool:
    """Whether a component has two vectors."""
    return max(_num_vectors(case, v) for v in case.tree.interior) > 1


def _stepped(case: Case) -> dict[int, Any]:
    """Changes of norm gaps by one step of descent."""
    after, _ = htf.descend(case.factors, wave, SGD, num_steps=1, record_every=1)
    found = htf.theory.conserved_quantities(after)
    before = htf.theory.conserved_quantities(case.factors)
    return {v: found[v] - before[v] for v in case.tree.interior}


def _norm_gaps(case: Case, weights: Any, factor: float) -> dict[int, Any]:
    """||w'||^2 - ||w||^2 times a factor, by the oracle; their size is the weights' own."""
    children, own = case.plain()
    size, found = 0.0, {}
    for v in case.tree.interior:
        gaps = []
        for r in range(oracle.width_of(children, own, v)):
            vectors = oracle.component(children, weights, v, r)
            squares = np.array([w @ w for w in vectors])
            gaps.append(squares[1:] - squares[0])
            size = max([size, *(w @ w for w in oracle.component(children, own, v, r))])
        found[v] = factor * np.stack(gaps, axis=1)
    return {v: Near(gaps, size) for v, gaps in found.items()}


def _squared_gradient_gaps(case: Case) -> dict[int, Any]:
    plain = case.plain()
    slope = htf.theory.laws.wave_slope(oracle.end_tensor(*plain))
    slopes = oracle.weight_gradients(*plain, slope)
    trained = [None if w is None else g for w, g in zip(plain[1], slopes, strict=True)]
    return _norm_gaps(case, trained, RATE**2)


@functools.lru_cache(maxsize=8)
def _flow(start: htf.Factors) -> Any:
    """A flow, and the integral of the balanced law along it."""
    return htf.gradient_flow(
        start,
        wave,
        times=[0.0, 0.2, 0.4],
        rtol=1e-11,
        atol=0.0,
        observe=htf.local_component_norms,
        integrate=_balanced_growth,
    )


def _balanced_growth(factors: htf.Factors) -> Any:
    return htf.theory.balanced_growth(factors, wave)


def _common_norms(case: Case) -> list[Any]:
    """sum_r sigma_r^(2/L) of every node and ||W_v||^2 at the end of a balanced flow."""
    final, _ = _flow(case.balanced)
    norms = htf.local_component_norms(final)
    powers = [jnp.sum(s ** (2 / _num_vectors(case, v))) for v, s in norms.items()]
    return [*powers, *(jnp.sum(jnp.square(w)) for w in jax.tree.leaves(final))]


def _first_norm(case: Case) -> list[Any]:
    """The first leaf's, as often as there are matrices and interior nodes."""
    final, _ = _flow(case.balanced)
    count = len(jax.tree.leaves(final)) + len(case.tree.interior)
    return [np.sum(case.plain(final)[1][0] ** 2)] * count


def _changes_of_norms(case: Case) -> dict[int, Any]:
    path = _flow(case.balanced)[1]
    return {v: norms[-1] - norms[0] for v, norms in path.observed.items()}


def _integrals(case: Case, factor: float = 1.0) -> dict[int, Any]:
    path = _flow(case.balanced)[1]
    return {v: factor * (x[-1] - x[0]) for v, x in path.report.integrals.items()}


def _dead_and_leaving(case: Case) -> list[Any]:
    """sigma of a component of zeros after 20 steps; the rate with one zero vector."""
    root, weights = case.tree.root, list(case.balanced.weights)
    one = list(case.factors.weights)
    for c in case.tree.children[root]:
        weights[c] = weights[c].at[:, 0].set(0.0)
    if weights[root] is not None:
        weights[root] = weights[root].at[0].set(0.0)
    leaf = case.tree.children[root][0]
    one[leaf] = one[leaf].at[:, 0].set(0.0)
    dead, _ = htf.descend(
        case.with_weights(weights), wave, SGD, num_steps=20, record_every=20
    )
    rate = _rates(case.with_weights(one))[root][0]
    return [htf.local_component_norms(dead)[root][0], (rate > 0).astype(float)]


DECAY, TIME = 0.4, 0.5


def _decayed(factors: htf.Factors) -> jax.Array:
    squares = [jnp.sum(jnp.square(w)) for w in jax.tree.leaves(factors)]
    return wave(factors) + 0.5 * DECAY * sum(squares[1:], squares[0])


def _decayed_gaps(case: Case) -> dict[int, Any]:
    final, _ = htf.gradient_flow(case.factors, _decayed, times=[TIME], rtol=1e-10, atol=0.0)
    return dict(htf.theory.conserved_quantities(final))


NORM, SCALE = 1.7, 0.5


def _last_time(case: Case) -> float:
    count = case.tree.num_nodes
    return 0.6 * float(htf.theory.rank_one_blow_up_time(SCALE, NORM, count))


def _aligned_flow(case: Case) -> list[Any]:
    """Norms at the end of a flow of width one towards an aligned outer product."""
    rng, inner = case.rng, [np.full((1, 1), SCALE)] * len(case.tree.interior)
    arrows = [x / np.linalg.norm(x) for x in map(rng.standard_normal, case.dims)]
    start = case.with_weights([*(SCALE * x[:, None] for x in arrows), *inner])
    pull = NORM * oracle.outer([(x, (n,)) for n, x in enumerate(arrows)])
    last = _last_time(case)
    final, _ = htf.gradient_flow(
        start,
        lambda f: -jnp.sum(jnp.asarray(pull) * htf.end_tensor(f)),
        times=[last],
        rtol=1e-11,
        atol=0.0,
    )
    curve = htf.theory.rank_one_scale(last, SCALE, NORM, case.tree.num_nodes)
    return [*(jnp.linalg.norm(w) for w in final.weights), curve]


def _rank_one_scale(case: Case, factor: float = 1.0) -> list[float]:
    power, last = 2 - case.tree.num_nodes, _last_time(case)
    s = ((factor * SCALE) ** power + power * NORM * last) ** (1 / power)
    return [s] * (case.tree.num_nodes + 1)


LAWS = (
    Law(
        "F2",
        "a step eta changes ||w||^2 - ||w'||^2 by eta^2 times the gradient's",
        _stepped,
        _squared_gradient_gaps,
        tolerance=1e-13,
        applies=_has_gaps,
    ),
    Law(
        "F4",
        "balanced flow: all ||W_v||^2 and all sum_r sigma_r^(2/L) are one number",
        _common_norms,
        _first_norm,
        tolerance=1e-9,
        slow=True,
    ),
    Law(
        "F7",
        "balanced and sigma = 0 stays zero; one zero vector alone can leave",
        _dead_and_leaving,
        lambda case: [0.0, 1.0],
        applies=lambda case: _num_vectors(case, case.tree.root) > 1,
        broken=lambda case: [0.1, 1.0],
    ),
    Law(
        "F8",
        "weight decay: ||w||^2 - ||w'||^2 decays as exp(-2 lambda t)",
        _decayed_gaps,
        lambda case: _norm_gaps(case, case.plain()[1], math.exp(-2 * DECAY * TIME)),
        applies=_has_gaps,
        tolerance=1e-8,
        slow=True,
    ),
    Law(
        "F10",
        "aligned rank one: s(t) = (s0^(2-m) - (m-2) ||A|| t)^(-1/(m-2))",
        _aligned_flow,
        _rank_one_scale,
        tolerance=1e-8,
        applies=lambda case: case.tree.num_nodes > 2,
        broken=lambda case: _rank_one_scale(case, 0.1),
        slow=True,
    ),
    Law(
        "F13",
        "balanced flow: sigma(t) - sigma(0) = integral of gamma L sigma^(2-2/L)",
        _changes_of_norms,
        _integrals,
        tolerance=1e-8,
        source="arXiv:2201.11729",
        broken=lambda case: _integrals(case, 0.5),
        slow=True,
    ),
)
