"""Laws E1-E5, F1, F3, F5, F6, F9, F11 and F12: gradients, and rates of the flow."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from htfjax._types import PyTree
from htfjax.contraction.end_tensor import end_tensor
from htfjax.factors.factors import Factors
from htfjax.instruments.local_components import growth_rates, unbalancedness
from htfjax.theory import oracle
from htfjax.theory.closed_forms import blow_up_time, constant_force_norm
from htfjax.theory.conserved import conserved_quantities
from htfjax.theory.directions import component_forces
from htfjax.theory.growth import balanced_growth, exact_growth, growth_bounds
from htfjax.theory.laws.law import Between, Case, Near, Pair, law, spoiled, wave, wave_slope
from htfjax.theory.sharing import shared_conserved_quantities, to_factors

PAPER = "arXiv:2201.11729"
_slopes = jax.jit(jax.grad(wave))


@jax.jit
def _growth(factors: Factors) -> dict[str, PyTree]:
    lower, upper = growth_bounds(factors, wave)
    return {
        "measured": dict(growth_rates(factors, wave)),
        "exact": dict(exact_growth(factors, wave)),
        "forces": dict(component_forces(factors, wave)),
        "balanced": dict(balanced_growth(factors, wave)),
        "lower": dict(lower),
        "upper": dict(upper),
    }


def _gradients(case: Case) -> list[PyTree]:
    """Gradients by definition, None for a root of ones."""
    plain = case.plain()
    slopes = oracle.weight_gradients(*plain, wave_slope(case.tensor()))
    return [None if w is None else g for w, g in zip(plain[1], slopes, strict=True)]


def _products(weights: PyTree, gradients: PyTree) -> np.ndarray:
    """<W_v, d phi/d W_v> for every trained node."""
    pairs = zip(weights, gradients, strict=True)
    return np.array([np.sum(np.asarray(w) * g) for w, g in pairs if w is not None])


def _component_products(case: Case) -> dict[int, np.ndarray]:
    """<w, d phi/d w> by the library, for the vectors of all components: (R_v, L_v)."""
    weights, slopes, found = case.factors.weights, _slopes(case.factors).weights, {}
    for v in case.tree.interior:
        rows = []
        for r in range(oracle.width_of(case.tree.children, weights, v)):
            pair = (
                oracle.component(case.tree.children, x, v, r) for x in (weights, slopes)
            )
            rows.append([w @ g for w, g in zip(*pair, strict=True)])
        found[v] = np.array(rows)
    return found


def _pulls(case: Case, factor: float) -> dict[int, Near]:
    """factor sigma_r <grad L, C_r> by the oracle, the same for all L_v vectors."""
    found, sigma = {}, case.sigma()
    for v, gamma in case.forces().items():
        pull = -factor * sigma[v] * gamma
        same = np.repeat(pull[:, None], case.length(v), axis=1)
        found[v] = Near(same, np.max(np.abs(pull)))
    return found


@law("E1", "d phi / d W_v = Phi_v^T [grad L; v] Psi_v")
def gradients(case: Case) -> Pair:
    expected = [g for g in _gradients(case) if g is not None]
    return jax.tree.leaves(_slopes(case.factors)), expected


@law("E2", "<w, d phi/d w> = sigma_r <grad L, C_r> for every vector of LC(v, r)")
def component_gradients(case: Case) -> Pair:
    return _component_products(case), _pulls(case, 1.0)


@law("E3", "<W_v, d phi/d W_v> = <grad L, W> for every node")
def euler(case: Case) -> Pair:
    products = _products(case.factors.weights, _slopes(case.factors).weights)
    tensor = case.tensor()
    terms = wave_slope(tensor) * tensor
    expected = np.full(len(products), np.sum(terms))
    return products, Near(expected, np.sum(np.abs(terms)))


@law("E4", "dW/dt = -sum_v Phi Phi^T [grad L; v] Psi Psi^T; dL/dt = -||gradient||^2")
def end_tensor_flow(case: Case) -> Pair:
    velocity = jax.tree.map(jnp.negative, _slopes(case.factors))
    left = [jax.jvp(f, (case.factors,), (velocity,))[1] for f in (end_tensor, wave)]
    plain, slope = case.plain(), wave_slope(case.tensor())
    moved, descent = np.zeros(slope.shape), 0.0
    for v, w in enumerate(plain[1]):
        if w is None:
            continue
        rows = case.tree.modes[v]
        phi, psi = oracle.phi(*plain, v), oracle.psi(*plain, v)
        inner = phi.T @ oracle.matricize(slope, rows) @ psi
        descent -= np.sum(inner**2)
        axes = [*rows, *(n for n in range(slope.ndim) if n not in rows)]
        part = (phi @ inner @ psi.T).reshape([slope.shape[n] for n in axes])
        moved -= part.transpose(np.argsort(axes))
    return left, [moved, descent]


@law("E5", "||grad phi(a theta)|| / a^(|T|-1) has a nonzero limit at a = 0",
     tolerance=1e-3,
     applies=lambda case: len(jax.tree.leaves(case.factors)) > 1)  # fmt: skip
def order_at_zero(case: Case) -> Pair:
    small, plain = 1e-4, case.plain()
    near = jax.tree.leaves(_slopes(jax.tree.map(lambda w: small * w, case.factors)))
    power = small ** (len(near) - 1)
    # The limit is the gradient of the linear part <grad L(0), W>.
    limit = oracle.weight_gradients(*plain, wave_slope(np.zeros(case.dims)))[: len(near)]
    sides = [g / power for g in near], limit
    left, right = (math.sqrt(sum(float(np.sum(g * g)) for g in side)) for side in sides)
    return left, right


@law("F1", "d ||w||^2/dt = 2 sigma <-grad L, C>: differences are conserved", source=PAPER)
def conservation(case: Case) -> Pair:
    velocity = jax.tree.map(jnp.negative, _slopes(case.factors))
    moved = jax.jvp(conserved_quantities, (case.factors,), (velocity,))[1]
    pulls = _pulls(case, -2.0)
    still = {v: Near(np.zeros(gaps.shape), pulls[v].size) for v, gaps in moved.items()}
    speeds = {v: -2 * x for v, x in _component_products(case).items()}
    return [speeds, dict(moved)], [pulls, still]


@law("F3", "||W_u||^2 - ||W_v||^2 is conserved for any two nodes")
def node_norms(case: Case) -> Pair:
    products = _products(case.factors.weights, _slopes(case.factors).weights)
    expected = _products(case.plain()[1], _gradients(case))
    size = 10 * np.max(np.abs(expected))
    return products, Near(np.full(len(products), expected[0]), size)


@law("F5", "d sigma/dt = gamma sigma^2 sum ||w||^-2; balanced: gamma L sigma^(2-2/L)",
     tolerance=1e-11, source=PAPER)  # fmt: skip
def growth(case: Case) -> Pair:
    """In general, and at balance, where the bounds meet."""
    plain, sigma, at_balance = case.plain(), case.sigma(), case.sigma(case.balanced)
    pulls, balanced_pulls = case.forces(), case.forces(case.balanced)
    rates, laws = {}, {}
    for v, gamma in pulls.items():
        inverse = [
            sum(1 / (w @ w) for w in oracle.component(*plain, v, r))
            for r in range(len(gamma))
        ]
        rates[v] = gamma * sigma[v] ** 2 * np.array(inverse)
        length = case.length(v)
        laws[v] = balanced_pulls[v] * length * at_balance[v] ** (2 - 2 / length)
    same = dict.fromkeys(("measured", "exact", "balanced", "lower", "upper"), laws)
    return [_growth(case.factors), _growth(case.balanced)], [
        {"measured": rates, "exact": rates, "forces": pulls},
        same | {"forces": balanced_pulls},
    ]


@law("F6", "unbalanced: lower <= d sigma/dt <= upper; balance is the slowest",
     tolerance=1e-11, source=PAPER)  # fmt: skip
def unbalanced_bounds(case: Case) -> Pair:
    norms, eps = case.sigma(), oracle.unbalancedness(*case.plain())
    lower, upper, slow, found = {}, {}, {}, _growth(case.factors)
    for v, gamma in case.forces().items():
        sigma, length = norms[v], case.length(v)
        wide = sigma ** (2 / length) + eps
        ends = gamma * length * np.stack([sigma**2 / wide, wide ** (length - 1)])
        lower[v], upper[v] = ends.min(0), ends.max(0)
        slow[v] = Between(np.abs(gamma) * length * sigma ** (2 - 2 / length), math.inf)
    between = {v: Between(lower[v], upper[v]) for v in lower}
    speeds = {v: np.abs(x) for v, x in found["measured"].items()}
    right = {"measured": between, "lower": lower, "upper": upper, "speeds": slow}
    return found | {"speeds": speeds}, right


def _is_even(case: Case) -> bool:
    """Whether all leaves have one depth, and all nodes of a height one arity."""
    tree = case.tree
    edges = [(v, c) for v in tree.interior for c in tree.children[v]]
    shapes = {(tree.height[v], len(tree.children[v])) for v in tree.interior}
    steps = {tree.height[v] - tree.height[c] for v, c in edges}
    return len(shapes) == tree.height[tree.root] and steps == {1}


@law("F9", "shared weights: ||S_{l-1}[:, r]||^2 - P ||S_l[r, :]||^2 is conserved",
     applies=_is_even)  # fmt: skip
def sharing(case: Case) -> Pair:
    tree, rng, left, right = case.tree, case.rng, {}, {}
    rows = [(3, 2, 4)[l % 3] for l in range(tree.height[tree.root] + 1)]
    shapes = zip(rows, [*rows[1:], 1], strict=True)
    shared = [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]
    slopes = jax.grad(lambda s: wave(to_factors(tree, s)))(shared)
    moved = jax.jvp(lambda s: shared_conserved_quantities(tree, s), (shared,), (slopes,))[1]
    arity = {tree.height[v]: len(tree.children[v]) for v in tree.interior}
    for l, change in moved.items():
        matrix = spoiled(np.asarray(shared[l])) if case.broken else shared[l]
        expected = arity[l] * np.sum(np.asarray(matrix * slopes[l]), axis=1)
        still = Near(np.zeros(len(expected)), np.max(np.abs(expected)))
        left[l] = [jnp.sum(shared[l - 1] * slopes[l - 1], axis=0), change]
        right[l] = [expected, still]
    return left, right


@law("F11", "constant force: sigma = (sigma0^-(1-2/L) - (L-2) gamma t)^(-L/(L-2))",
     tolerance=1e-9)  # fmt: skip
def constant_force(case: Case) -> Pair:
    left, right, start, force, steps = {}, {}, 0.5, 0.3, 2000
    for length in {2} | {case.length(v) for v in case.tree.interior}:
        last = min(0.5, 0.5 * float(blow_up_time(start, force, length)))
        left[length] = constant_force_norm(last, start, force, length)
        s, h = start / (10 if case.broken else 1), last / steps

        def slope(x: float, length: int = length) -> float:
            return length * force * x ** (2 - 2 / length)

        for _ in range(steps):  # Runge-Kutta of order four
            a = slope(s)
            b = slope(s + h / 2 * a)
            c = slope(s + h / 2 * b)
            s += h / 6 * (a + 2 * b + 2 * c + slope(s + h * c))
        right[length] = s
    return left, right


@law("F12", "balanced_factors have unbalancedness zero and one norm for all matrices")
def balanced_start(case: Case) -> Pair:
    plain = case.plain(case.balanced)
    norms = [float(np.sum(w**2)) for w in plain[1] if w is not None]
    gap = Near(oracle.unbalancedness(*plain), 1.0)
    return [[0.8**2] * len(norms), unbalancedness(case.balanced), 0.0], [norms, gap, gap]


LAWS = (
    gradients, component_gradients, euler, end_tensor_flow, order_at_zero, conservation,
    node_norms, growth, unbalanced_bounds, sharing, constant_force, balanced_start,
)  # fmt: skip
