"""Laws E1-E5 and F1-F12: gradients, and what flow and descent do."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import htfjax as htf

from . import oracle
from .register import (
    Case,
    balanced,
    built,
    excess,
    forces,
    gap,
    law,
    spoil,
    wave,
    wave_slope,
)

_slopes = jax.jit(jax.grad(wave))
_rates = jax.jit(lambda factors: htf.growth_rates(factors, wave))


def _library_gradient(factors: htf.Factors) -> list[np.ndarray]:
    return [np.asarray(w) for w in _slopes(factors).weights]


def _oracle_gradient(case: Case, weights: list[np.ndarray]) -> list[np.ndarray]:
    slope = wave_slope(oracle.end_tensor(case.children, weights))
    return oracle.gradients(case.children, weights, slope)


@law("E1", "d phi / d W_v = Phi_v^T [grad L; v] Psi_v")
def gradients(case: Case) -> float:
    expected = _oracle_gradient(case, case.right())
    found = _library_gradient(case.factors)
    return max(gap(a, b) for a, b in zip(found, expected, strict=True))


@law("E2", "<w, d phi/d w> = sigma_r <grad L, C_r> for every vector of LC(v, r)")
def component_gradients(case: Case) -> float:
    grads, weights = _library_gradient(case.factors), case.right()
    own = [np.asarray(w) for w in case.factors.weights]
    gamma, worst = forces(case, weights), 0.0
    for v, push in gamma.items():
        sigma = oracle.sigma(case.children, weights, v)
        for r in range(len(sigma)):
            pairs = zip(
                oracle.vectors(case.children, own, v, r),
                oracle.vectors(case.children, grads, v, r),
                strict=True,
            )
            found = [w @ g for w, g in pairs]
            expected = np.full(len(found), -sigma[r] * push[r])
            worst = max(worst, gap(found, expected, np.max(np.abs(sigma * push))))
    return worst


@law("E3", "<W_v, d phi/d W_v> = <grad L, W> for every node")
def euler(case: Case) -> float:
    tensor = oracle.end_tensor(case.children, case.right())
    expected = np.sum(wave_slope(tensor) * tensor)
    size = np.sum(np.abs(wave_slope(tensor) * tensor))
    found = [
        np.sum(np.asarray(w) * g)
        for w, g in zip(case.factors.weights, _library_gradient(case.factors), strict=True)
    ]
    return gap(found, np.full(len(found), expected), size)


@law("E4", "dW/dt = -sum_v Phi Phi^T [grad L; v] Psi Psi^T; dL/dt = -||gradient||^2")
def end_tensor_flow(case: Case) -> float:
    grads = _slopes(case.factors)
    velocity = jax.tree.map(jnp.negative, grads)
    found = jax.jvp(htf.end_tensor, (case.factors,), (velocity,))[1]
    weights = case.right()
    slope = wave_slope(oracle.end_tensor(case.children, weights))
    order = case.tree.order
    expected, descent = np.zeros(slope.shape), 0.0
    for v in range(case.tree.num_nodes):
        rows = list(case.tree.modes[v])
        left = oracle.inside(case.children, weights, v)
        right = oracle.outside(case.children, weights, v)
        inner = left.T @ oracle.unfold(slope, rows) @ right
        descent -= np.sum(inner**2)
        axes = rows + [n for n in range(order) if n not in rows]
        part = (left @ inner @ right.T).reshape([slope.shape[n] for n in axes])
        expected -= part.transpose(np.argsort(axes))
    rate = jax.jvp(wave, (case.factors,), (velocity,))[1]
    return max(gap(found, expected), gap(rate, descent))


@law("E5", "||grad phi(a theta)|| / a^(|T|-1) has a nonzero limit at a = 0", 1e-3)
def order_at_zero(case: Case) -> float:
    power = htf.theory.degree(case.factors) - 1
    small = 1e-5
    left = _library_gradient(jax.tree.map(lambda w: small * w, case.factors))
    # The limit: the gradient of the linear part <grad L(0), W>.
    weights = case.right()
    slope = wave_slope(np.zeros(htf.mode_dims(case.factors)))
    limit = oracle.gradients(case.children, weights, slope)
    found = math.sqrt(sum(np.sum(g**2) for g in left)) / small**power
    return gap(found, math.sqrt(sum(np.sum(g**2) for g in limit)))


@law("F1", "d ||w||^2/dt = 2 sigma <-grad L, C>: differences are conserved")
def conservation(case: Case) -> float:
    velocity = jax.tree.map(jnp.negative, _slopes(case.factors))
    moved = jax.jvp(htf.theory.conserved_quantities, (case.factors,), (velocity,))[1]
    weights = case.right()
    gamma, worst = forces(case, weights), 0.0
    grads = _library_gradient(case.factors)
    own = [np.asarray(w) for w in case.factors.weights]
    for v, push in gamma.items():
        expected = 2 * oracle.sigma(case.children, weights, v) * push
        size = float(np.max(np.abs(expected)))
        worst = max(worst, gap(moved[v], np.zeros(moved[v].shape), size))
        found = -2 * np.sum(own[v] * grads[v], axis=1)
        worst = max(worst, gap(found, expected))
    return worst


@law("F2", "a step eta changes ||w||^2 - ||w'||^2 by eta^2 times the gradient's", 1e-13)
def discrete_conservation(case: Case) -> float:
    rate = 0.01
    after, _ = htf.descend(case.factors, wave, _sgd(rate), num_steps=1, record_every=1)
    before = htf.theory.conserved_quantities(case.factors)
    found = htf.theory.conserved_quantities(after)
    grads = _oracle_gradient(case, case.right())
    worst, size = 0.0, float(htf.theory.conserved_scale(case.factors))
    for v in case.tree.interior:
        rows = np.sum(grads[v] ** 2, axis=1)
        columns = [np.sum(grads[c] ** 2, axis=0) for c in case.children[v]]
        expected = rate**2 * (np.stack(columns) - rows[None])
        worst = max(worst, gap(found[v] - before[v], expected, size))
    return worst


@functools.cache
def _sgd(rate: float) -> Any:
    return optax.sgd(rate)


@law("F3", "||W_u||^2 - ||W_v||^2 is conserved for any two nodes")
def node_norms(case: Case) -> float:
    found = [
        np.sum(np.asarray(w) * g)
        for w, g in zip(case.factors.weights, _library_gradient(case.factors), strict=True)
    ]
    weights = case.right()
    expected = [
        np.sum(w * g) for w, g in zip(weights, _oracle_gradient(case, weights), strict=True)
    ]
    return gap(found, np.full(len(found), expected[0]), np.max(np.abs(expected)) * 10)


@functools.cache
def _flowed(case_name: str, tree: htf.ModeTree, sizes: tuple[int, ...]) -> Any:
    """A balanced flow, integrated once: final factors and trajectory."""
    case = Case(case_name, htf.gaussian_factors(
        jax.random.key(0), tree, sizes[: tree.order], sizes[tree.order :], 1.0), False
    )  # fmt: skip
    start = balanced(case)

    def law_of(factors: htf.Factors) -> Any:
        return htf.theory.balanced_growth(factors, wave)

    return start, htf.gradient_flow(
        start,
        wave,
        times=[0.0, 0.2, 0.4],
        rtol=1e-11,
        atol=0.0,
        observe=lambda f: (htf.local_component_norms(f), f),
        integrate=law_of,
    )


def _flow_of(case: Case) -> Any:
    return _flowed(case.name, case.tree, htf.widths(case.factors))


@law("F4", "balanced flow: all ||W_v||^2 and all sum_r sigma_r^(2/L) are one number", 1e-9)
def balanced_norms(case: Case) -> float:
    _, (final, _) = _flow_of(case)
    weights = case.right(final)
    common = float(np.sum(np.asarray(final.weights[-1]) ** 2))
    worst = gap([np.sum(w**2) for w in weights], np.full(len(weights), common))
    for v in case.tree.interior:
        length = len(case.children[v]) + 1
        powers = np.sum(oracle.sigma(case.children, weights, v) ** (2 / length))
        worst = max(worst, gap(powers, common))
    return worst


@law("F5", "d sigma/dt = gamma sigma^2 sum ||w||^-2; balanced: gamma L sigma^(2-2/L)", 1e-8)
def growth(case: Case) -> float:
    worst = 0.0
    for factors, is_balanced in ((case.factors, False), (balanced(case), True)):
        weights, found = case.right(factors), _rates(factors)
        for v, push in forces(case, weights).items():
            sigma = oracle.sigma(case.children, weights, v)
            length = len(case.children[v]) + 1
            inverse = [
                sum(1 / (w @ w) for w in oracle.vectors(case.children, weights, v, r))
                for r in range(len(sigma))
            ]
            expected = push * sigma**2 * np.array(inverse)
            if is_balanced:
                expected = push * length * sigma ** (2 - 2 / length)
            worst = max(worst, gap(found[v], expected))
    _, (_, path) = _flow_of(case)
    for v, norms in path.observed[0].items():
        moved = np.asarray(norms[-1] - norms[0])
        worst = max(worst, gap(moved, path.report.integrals[v][-1]))
    return worst


@law("F6", "unbalanced: lower <= d sigma/dt <= upper; balance is the slowest")
def unbalanced_bounds(case: Case) -> float:
    weights, worst = case.right(), 0.0
    eps = 0.0
    for v in case.tree.interior:
        for r in range(len(weights[v])):
            squares = [w @ w for w in oracle.vectors(case.children, weights, v, r)]
            eps = max(eps, max(squares) - min(squares))
    found = _rates(case.factors)
    for v, push in forces(case, weights).items():
        sigma, length = oracle.sigma(case.children, weights, v), len(case.children[v]) + 1
        wide = sigma ** (2 / length) + eps
        ends = np.stack(
            [push * length * sigma**2 / wide, push * length * wide ** (length - 1)]
        )
        worst = max(worst, excess(ends.min(0), found[v]), excess(found[v], ends.max(0)))
        slow = np.abs(push) * length * sigma ** (2 - 2 / length)
        worst = max(worst, excess(slow, np.abs(found[v])))
    return worst


@law("F7", "balanced and sigma = 0 stays zero; one zero vector alone can leave", 1e-12)
def zeros(case: Case) -> float:
    v, weights = case.tree.root, list(balanced(case).weights)
    for c in case.children[v]:
        weights[c] = weights[c].at[:, 0].set(0.0)
    weights[v] = weights[v].at[0].set(0.0)
    dead = built(case.factors, weights)
    after, _ = htf.descend(dead, wave, _sgd(0.01), num_steps=20, record_every=20)
    right = case.right(after)
    if case.broken:
        right[v] = right[v] + 0.1
        for c in case.children[v]:
            right[c] = right[c] + 0.1
    still = oracle.sigma(case.children, right, v)[0]
    one = list(case.factors.weights)
    one[v] = one[v].at[0].set(0.0)
    leaves = float(jnp.abs(_rates(built(case.factors, one))[v][0]))
    return float(still) if leaves > 0 else float("inf")


@law("F8", "weight decay: ||w||^2 - ||w'||^2 decays as exp(-2 lambda t)", 1e-8)
def weight_decay(case: Case) -> float:
    decay, time = 0.4, 0.5

    def decayed(factors: htf.Factors) -> jax.Array:
        squares = [jnp.sum(jnp.square(w)) for w in factors.weights]
        return wave(factors) + 0.5 * decay * sum(squares[1:], squares[0])

    final, _ = htf.gradient_flow(case.factors, decayed, times=[time], rtol=1e-10, atol=0.0)
    weights, worst = case.right(), 0.0
    size = float(htf.theory.conserved_scale(case.factors))
    for v, found in htf.theory.conserved_quantities(final).items():
        rows = np.sum(weights[v] ** 2, axis=1)
        gaps = [np.sum(weights[c] ** 2, axis=0) - rows for c in case.children[v]]
        worst = max(worst, gap(found, math.exp(-2 * decay * time) * np.stack(gaps), size))
    return worst


@law("F9", "shared weights: ||S_{l-1}[:, r]||^2 - P ||S_l[r, :]||^2 is conserved")
def sharing(case: Case) -> float:
    tree = htf.perfect(4)
    shapes = [(3, 2), (2, 4), (4, 1)]
    shared = [jnp.asarray(case.rng.standard_normal(s)) for s in shapes]

    def loss(matrices: Any) -> jax.Array:
        return wave(htf.theory.to_factors(tree, matrices))

    slopes = jax.grad(loss)(shared)
    moved = jax.jvp(
        lambda s: htf.theory.shared_conserved_quantities(tree, s), (shared,), (slopes,)
    )[1]
    matrices = spoil([np.asarray(s) for s in shared]) if case.broken else shared
    worst = 0.0
    for l in (1, 2):
        columns = np.sum(np.asarray(matrices[l - 1] * slopes[l - 1]), axis=0)
        rows = 2 * np.sum(np.asarray(matrices[l] * slopes[l]), axis=1)
        size = float(np.max(np.abs(columns)))
        worst = max(worst, gap(columns, rows), gap(moved[l], np.zeros(len(rows)), size))
    return worst


@law("F10", "aligned rank one: s(t) = (s0^(2-m) - (m-2) ||A|| t)^(-1/(m-2))", 1e-8)
def rank_one_flow(case: Case) -> float:
    norm, scale, dims = 1.7, 0.5, htf.mode_dims(case.factors)
    arrows = [case.rng.standard_normal(d) for d in dims]
    arrows = [x / np.linalg.norm(x) for x in arrows]
    leaves = [scale * x[:, None] for x in arrows]
    inner = [np.full((1, 1), scale)] * len(case.tree.interior)
    start = built(case.factors, leaves + inner)
    pull = norm * functools.reduce(np.multiply.outer, arrows)
    count = htf.theory.degree(start)
    last = float(htf.theory.rank_one_blow_up_time(scale, norm, count)) * 0.6
    final, _ = htf.gradient_flow(
        start,
        lambda f: -jnp.sum(jnp.asarray(pull) * htf.end_tensor(f)),
        times=[last],
        rtol=1e-11,
        atol=0.0,
    )
    expected = (scale ** (2 - count) - (count - 2) * norm * last) ** (-1 / (count - 2))
    found = [np.linalg.norm(w) for w in case.right(final)]
    curve = float(htf.theory.rank_one_scale(last, scale, norm, count))
    return max(gap(found, np.full(len(found), expected)), gap(curve, expected))


@law("F11", "constant force: sigma = (sigma0^-(1-2/L) - (L-2) gamma t)^(-L/(L-2))", 1e-9)
def constant_force(case: Case) -> float:
    worst = 0.0
    for length in sorted({len(case.children[v]) + 1 for v in case.tree.interior} | {2}):
        start = 0.05 if case.broken else 0.5
        push, steps = 0.3, 2000
        last = (
            0.5 if length == 2 else 0.5 * float(htf.theory.blow_up_time(0.5, push, length))
        )
        s, h = start, last / steps

        def slope(x: float, length: int = length, push: float = push) -> float:
            return length * push * x ** (2 - 2 / length)

        for _ in range(steps):  # Runge-Kutta of order four
            a = slope(s)
            b = slope(s + h / 2 * a)
            c = slope(s + h / 2 * b)
            s += h / 6 * (a + 2 * b + 2 * c + slope(s + h * c))
        found = htf.theory.constant_force_norm(last, 0.5, push, length)
        worst = max(worst, gap(found, s))
    return worst


@law("F12", "balanced_factors have unbalancedness zero and one norm for all matrices")
def balanced_start(case: Case) -> float:
    weights = case.right(balanced(case, 0.6))
    norms = [np.sum(w**2) for w in weights]
    worst = float(gap(norms, np.full(len(norms), 0.36)))
    for v in case.tree.interior:
        for r in range(len(weights[v])):
            squares = [w @ w for w in oracle.vectors(case.children, weights, v, r)]
            worst = max(worst, float(max(squares) - min(squares)) / 0.36)
    return worst
