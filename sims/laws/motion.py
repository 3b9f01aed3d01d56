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
law, Between, Near = htf.theory.laws.law, htf.theory.laws.Between, htf.theory.laws.Near
oracle, wave = htf.theory.oracle, htf.theory.laws.wave

SGD = optax.sgd(0.01)
_rates = jax.jit(lambda factors: htf.growth_rates(factors, wave))


def _has_gaps(case: Case) -> bool:
    """Whether a component has two vectors."""
    return max(map(case.length, case.tree.interior)) > 1


def _norm_gaps(case: Case, weights: Any, factor: float) -> dict[int, Any]:
    """(||w'||^2 - ||w||^2) times a factor, against the size of the case's components."""
    children, found = case.tree.children, {}
    size = float(htf.theory.conserved_scale(case.factors))
    for v in case.tree.interior:
        components = (
            oracle.component(children, weights, v, r)
            for r in range(oracle.width_of(children, weights, v))
        )
        squares = np.array([[w @ w for w in vectors] for vectors in components])
        found[v] = Near(factor * (squares[:, 1:] - squares[:, :1]).T, size)
    return found


@law("F2", "a step eta changes ||w||^2 - ||w'||^2 by eta^2 times the gradient's",
     tolerance=1e-13, applies=_has_gaps)  # fmt: skip
def discrete_conservation(case: Case) -> tuple[Any, Any]:
    after, _ = htf.descend(case.factors, wave, SGD, num_steps=1, record_every=1)
    before, found = map(htf.theory.conserved_quantities, (case.factors, after))
    plain, slope = case.plain(), htf.theory.laws.wave_slope(case.tensor())
    slopes = oracle.weight_gradients(*plain, slope)
    trained = [None if w is None else g for w, g in zip(plain[1], slopes, strict=True)]
    return {v: found[v] - before[v] for v in found}, _norm_gaps(case, trained, 0.01**2)


def _balanced_growth(factors: htf.Factors) -> Any:
    return htf.theory.balanced_growth(factors, wave)


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


@law("F4", "balanced flow: all ||W_v||^2 and all sum_r sigma_r^(2/L) are one number",
     tolerance=1e-9, slow=True)  # fmt: skip
def balanced_norms(case: Case) -> tuple[Any, Any]:
    final, _ = _flow(case.balanced)
    sigma = htf.local_component_norms(final)
    left = [jnp.sum(s ** (2 / case.length(v))) for v, s in sigma.items()]
    left += [jnp.sum(jnp.square(w)) for w in jax.tree.leaves(final)]
    return left, [np.sum(case.plain(final)[1][0] ** 2)] * len(left)


@law("F7", "balanced and sigma = 0 stays zero; one zero vector alone can leave",
     applies=lambda case: case.length(case.tree.root) > 1)  # fmt: skip
def zeros(case: Case) -> tuple[Any, Any]:
    root, kids = case.tree.root, case.tree.children[case.tree.root]
    weights = {k: w for k, w in enumerate(case.balanced.weights) if w is not None}
    dead = weights | {c: weights[c].at[:, 0].set(0.0) for c in kids}
    if root in dead:
        dead[root] = dead[root].at[0].set(0.0)
    after, _ = htf.descend(case.changed(dead), wave, SGD, num_steps=20, record_every=20)
    one = case.changed({kids[0]: case.factors.weights[kids[0]].at[:, 0].set(0.0)})
    left = [htf.local_component_norms(after)[root][0], _rates(one)[root][0]]
    return left, [0.1 if case.broken else 0.0, Between(1e-6, math.inf)]


DECAY, TIME = 0.4, 0.5


def _decayed(factors: htf.Factors) -> jax.Array:
    squares = [jnp.sum(jnp.square(w)) for w in jax.tree.leaves(factors)]
    return wave(factors) + 0.5 * DECAY * sum(squares[1:], squares[0])


@functools.lru_cache(maxsize=8)
def _decayed_flow(start: htf.Factors) -> Any:
    return htf.gradient_flow(start, _decayed, times=[TIME], rtol=1e-10, atol=0.0)


@law("F8", "weight decay: ||w||^2 - ||w'||^2 decays as exp(-2 lambda t)",
     tolerance=1e-8, applies=_has_gaps, slow=True)  # fmt: skip
def weight_decay(case: Case) -> tuple[Any, Any]:
    final, _ = _decayed_flow(case.factors)
    expected = _norm_gaps(case, case.plain()[1], math.exp(-2 * DECAY * TIME))
    return dict(htf.theory.conserved_quantities(final)), expected


NORM, SCALE = 1.7, 0.5


@functools.lru_cache(maxsize=8)
def _aligned_flow(factors: htf.Factors, seed: int, last: float) -> htf.Factors:
    """From width one, all norms 1/2 and leaves along the vectors of an outer product."""
    case = Case(factors, seed)
    arrows = [x / np.linalg.norm(x) for x in map(case.rng.standard_normal, case.dims)]
    leaves = {n: SCALE * x[:, None] for n, x in enumerate(arrows)}
    start = case.changed(leaves | {v: np.full((1, 1), SCALE) for v in case.tree.interior})
    pull = jnp.asarray(NORM * oracle.outer([(x, (n,)) for n, x in enumerate(arrows)]))
    final, _ = htf.gradient_flow(
        start,
        lambda f: -jnp.sum(pull * htf.end_tensor(f)),
        times=[last],
        rtol=1e-11,
        atol=0.0,
    )
    return final


@law("F10", "aligned rank one: s(t) = (s0^(2-m) - (m-2) ||A|| t)^(-1/(m-2))",
     tolerance=1e-8, slow=True, applies=lambda case: case.tree.num_nodes > 2)  # fmt: skip
def rank_one_flow(case: Case) -> tuple[Any, Any]:
    count, begun = case.tree.num_nodes, SCALE / (10 if case.broken else 1)
    last = 0.6 * float(htf.theory.rank_one_blow_up_time(SCALE, NORM, count))
    final = _aligned_flow(case.factors, case.seed, last)
    expected = (begun ** (2 - count) - (count - 2) * NORM * last) ** (-1 / (count - 2))
    curve = htf.theory.rank_one_scale(last, SCALE, NORM, count)
    left = [*(jnp.linalg.norm(w) for w in final.weights), curve]
    return left, [expected] * (count + 1)


@law("F13", "balanced flow: sigma(t) - sigma(0) = integral of gamma L sigma^(2-2/L)",
     tolerance=1e-8, source="arXiv:2201.11729", slow=True)  # fmt: skip
def integrated_growth(case: Case) -> tuple[Any, Any]:
    path, factor = _flow(case.balanced)[1], 0.5 if case.broken else 1.0
    left = {v: norms[-1] - norms[0] for v, norms in path.observed.items()}
    integrals = path.report.integrals
    return left, {v: factor * (integrals[v][-1] - integrals[v][0]) for v in left}


LAWS = (discrete_conservation, balanced_norms, zeros, weight_decay, rank_one_flow,
        integrated_growth)  # fmt: skip
