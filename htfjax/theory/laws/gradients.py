"""Laws E1-E5, F1, F3, F5, F6, F9, F11, F12 and G2: gradients, and rates of the flow."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax.contraction.end_tensor import end_tensor
from htfjax.contraction.sensing import sense
from htfjax.factors.factors import Factors
from htfjax.instruments.local_components import growth_rates, unbalancedness
from htfjax.theory import oracle
from htfjax.theory.closed_forms import blow_up_time, constant_force_norm
from htfjax.theory.conserved import conserved_quantities
from htfjax.theory.directions import component_forces
from htfjax.theory.growth import balanced_growth, exact_growth, growth_bounds
from htfjax.theory.laws.algebra import num_vectors, oracle_tensor
from htfjax.theory.laws.law import (
    Between,
    Case,
    Law,
    Near,
    Plain,
    forces,
    spoiled,
    wave,
    wave_slope,
)
from htfjax.theory.laws.ranks import rank_of
from htfjax.theory.sharing import shared_conserved_quantities, to_factors

PAPER = "arXiv:2201.11729"

_slopes = jax.jit(jax.grad(wave))


@jax.jit
def _growth(factors: Factors) -> dict[str, Any]:
    lower, upper = growth_bounds(factors, wave)
    return {
        "measured": dict(growth_rates(factors, wave)),
        "exact": dict(exact_growth(factors, wave)),
        "forces": dict(component_forces(factors, wave)),
        "balanced": dict(balanced_growth(factors, wave)),
        "lower": dict(lower),
        "upper": dict(upper),
    }


def gradient(factors: Factors) -> list[Any]:
    """Gradients of `wave` by the library, None for a root of ones."""
    return [None if w is None else np.asarray(w) for w in _slopes(factors).weights]


def oracle_gradient(plain: Plain) -> list[Any]:
    """Gradients of `wave` by definition, None for a root of ones."""
    slopes = oracle.weight_gradients(*plain, wave_slope(oracle.end_tensor(*plain)))
    return [None if w is None else g for w, g in zip(plain[1], slopes, strict=True)]


def inner_products(weights: list[Any], gradients: list[Any]) -> np.ndarray:
    """<W_v, d phi/d W_v> for every trained node."""
    pairs = zip(weights, gradients, strict=True)
    return np.array([np.sum(np.asarray(w) * g) for w, g in pairs if w is not None])


def per_component(plain: Plain, read: Callable[[int, int], Any]) -> dict[int, np.ndarray]:
    """read(v, r) of every local component."""
    return {
        v: np.array([read(v, r) for r in range(oracle.width_of(*plain, v))])
        for v in oracle.interior(plain[0])
    }


def squares(plain: Plain, v: int, r: int) -> list[float]:
    """||w||^2 for the vectors of LC(v, r)."""
    return [float(w @ w) for w in oracle.component(*plain, v, r)]


# E


def _component_gradients(case: Case) -> dict[int, np.ndarray]:
    """<w, d phi/d w> for all vectors of all components, by the library's gradient."""
    plain, grads = case.plain(), gradient(case.factors)

    def read(v: int, r: int) -> list[Any]:
        vectors, slopes = (oracle.component(plain[0], x, v, r) for x in (plain[1], grads))
        return [w @ g for w, g in zip(vectors, slopes, strict=True)]

    return per_component(plain, read)


def _component_forces(case: Case) -> dict[int, Near]:
    plain, found = case.plain(), {}
    for v, gamma in forces(plain).items():
        pull = -oracle.sigma(*plain, v) * gamma
        same = np.repeat(pull[:, None], num_vectors(case, v), axis=1)
        found[v] = Near(same, np.max(np.abs(pull)))
    return found


def _euler(case: Case) -> Near:
    tensor = oracle_tensor(case)
    terms = wave_slope(tensor) * tensor
    count = sum(w is not None for w in case.factors.weights)
    return Near(np.full(count, np.sum(terms)), np.sum(np.abs(terms)))


def _velocities(case: Case) -> list[Any]:
    velocity = jax.tree.map(jnp.negative, _slopes(case.factors))
    return [jax.jvp(f, (case.factors,), (velocity,))[1] for f in (end_tensor, wave)]


def _projected_slopes(case: Case) -> list[Any]:
    children, weights = case.plain()
    slope = wave_slope(oracle_tensor(case))
    velocity, descent = np.zeros(slope.shape), 0.0
    for v in (k for k, w in enumerate(weights) if w is not None):
        rows = oracle.modes_of(children, v)
        phi, psi = oracle.phi(children, weights, v), oracle.psi(children, weights, v)
        inner = phi.T @ oracle.matricize(slope, rows) @ psi
        descent -= np.sum(inner**2)
        axes = [*rows, *(n for n in range(slope.ndim) if n not in rows)]
        part = (phi @ inner @ psi.T).reshape([slope.shape[n] for n in axes])
        velocity -= part.transpose(np.argsort(axes))
    return [velocity, descent]


SMALL = 1e-4


def _near_zero(case: Case) -> float:
    """||grad phi(a theta)|| / a^(|T| - 1) at a small a."""
    grads = gradient(jax.tree.map(lambda w: SMALL * w, case.factors))
    trained = [g for g in grads if g is not None]
    power = SMALL ** (len(trained) - 1)
    return math.sqrt(sum(np.sum((g / power) ** 2) for g in trained))


def _limit_at_zero(case: Case) -> float:
    """The norm of the gradient of the linear part <grad L(0), W>."""
    plain = case.plain()
    slopes = oracle.weight_gradients(*plain, wave_slope(np.zeros(case.dims)))
    trained = [g for w, g in zip(plain[1], slopes, strict=True) if w is not None]
    return math.sqrt(sum(np.sum(g**2) for g in trained))


# F


def _own_products(case: Case) -> np.ndarray:
    return inner_products(list(case.factors.weights), gradient(case.factors))


def _first_product(case: Case) -> Near:
    """The first node's inner product, for every node."""
    plain = case.plain()
    products = inner_products(plain[1], oracle_gradient(plain))
    return Near(np.full(len(products), products[0]), _euler(case).size)


def _moved_norms(case: Case) -> dict[int, Any]:
    """Derivatives along the flow of norm gaps, and of the norms themselves."""
    velocity = jax.tree.map(jnp.negative, _slopes(case.factors))
    moved = jax.jvp(conserved_quantities, (case.factors,), (velocity,))[1]
    products = _component_gradients(case)
    return {v: [-2 * products[v], gaps] for v, gaps in moved.items()}


def _conserved_norms(case: Case) -> dict[int, Any]:
    found = {}
    for v, near in _component_forces(case).items():
        gaps = np.zeros((near.value.shape[1] - 1, len(near.value)))
        found[v] = [Near(-2 * near.value, near.size), Near(gaps, near.size)]
    return found


def _rates(case: Case) -> list[Any]:
    return [_growth(case.factors), _growth(case.balanced)]


def _rates_by_hand(case: Case) -> list[Any]:
    """In general, and at balance, where lower and upper bounds meet."""
    plain, balanced = case.plain(), case.plain(case.balanced)
    rates, laws = {}, {}
    any_forces, forces_at_balance = forces(plain), forces(balanced)
    for v, gamma in any_forces.items():
        inverse = [sum(1 / s for s in squares(plain, v, r)) for r in range(len(gamma))]
        rates[v] = gamma * oracle.sigma(*plain, v) ** 2 * np.array(inverse)
    for v, gamma in forces_at_balance.items():
        length = num_vectors(case, v)
        laws[v] = gamma * length * oracle.sigma(*balanced, v) ** (2 - 2 / length)
    at_balance = dict.fromkeys(("measured", "exact", "balanced", "lower", "upper"), laws)
    return [
        {"measured": rates, "exact": rates, "forces": any_forces},
        at_balance | {"forces": forces_at_balance},
    ]


def _bounded_growth(case: Case) -> dict[str, Any]:
    found = _growth(case.factors)
    speeds = {v: np.abs(x) for v, x in found["measured"].items()}
    return found | {"speeds": speeds}


def _growth_bounds(case: Case) -> dict[str, Any]:
    plain = case.plain()
    eps = oracle.unbalancedness(*plain)
    bounds: dict[str, Any] = {"measured": {}, "lower": {}, "upper": {}, "speeds": {}}
    for v, gamma in forces(plain).items():
        sigma, length = oracle.sigma(*plain, v), num_vectors(case, v)
        wide = sigma ** (2 / length) + eps
        ends = gamma * length * np.stack([sigma**2 / wide, wide ** (length - 1)])
        bounds["lower"][v], bounds["upper"][v] = ends.min(0), ends.max(0)
        bounds["measured"][v] = Between(ends.min(0), ends.max(0))
        slow = np.abs(gamma) * length * sigma ** (2 - 2 / length)
        bounds["speeds"][v] = Between(slow, math.inf)
    return bounds


def _levels(case: Case) -> list[Any]:
    """One matrix per height, of widths 3, 2, 4, ..., the root's with one column."""
    rng, rows = case.rng, [(3, 2, 4)[l % 3] for l in range(case.tree.height[-1] + 1)]
    pairs = zip(rows, [*rows[1:], 1], strict=True)
    return [jnp.asarray(rng.standard_normal(shape)) for shape in pairs]


def _is_even(case: Case) -> bool:
    """Whether all leaves have one depth, and all nodes of a height one arity."""
    tree = case.tree
    shapes = {(tree.height[v], len(tree.children[v])) for v in tree.interior}
    steps = {
        tree.height[v] - tree.height[c] for v in tree.interior for c in tree.children[v]
    }
    return len(shapes) == tree.height[tree.root] and steps == {1}


def _shared_slopes(case: Case, shared: list[Any]) -> list[Any]:
    return jax.grad(lambda s: wave(to_factors(case.tree, s)))(shared)


def _shared_columns(case: Case) -> dict[int, Any]:
    """<S_{l-1}[:, r], d phi>, and the derivatives of what is conserved."""
    shared = _levels(case)
    slopes = _shared_slopes(case, shared)
    moved = jax.jvp(
        lambda s: shared_conserved_quantities(case.tree, s), (shared,), (slopes,)
    )[1]
    columns = [jnp.sum(s * g, axis=0) for s, g in zip(shared, slopes, strict=True)]
    return {l: [columns[l - 1], change] for l, change in moved.items()}


def _shared_rows(case: Case) -> dict[int, Any]:
    """P <S_l[r, :], d phi> with P children per node of height l, and zeros."""
    tree, shared, found = case.tree, _levels(case), {}
    slopes = _shared_slopes(case, shared)
    if case.broken:
        shared = [spoiled(np.asarray(s)) for s in shared]
    for l in range(1, len(shared)):
        arity = next(len(tree.children[v]) for v in tree.interior if tree.height[v] == l)
        rows = arity * np.sum(np.asarray(shared[l] * slopes[l]), axis=1)
        found[l] = [rows, Near(np.zeros(len(rows)), np.max(np.abs(rows)))]
    return found


START, FORCE, STEPS = 0.5, 0.3, 2000


def _lengths(case: Case) -> dict[int, float]:
    """The numbers of vectors, 2 among them, and a time before the end of each solution."""
    lengths = {2} | {num_vectors(case, v) for v in case.tree.interior}
    ends = {n: float(blow_up_time(START, FORCE, n)) for n in lengths}
    return {n: min(0.5, 0.5 * end) for n, end in ends.items()}


def _curves(case: Case) -> dict[int, Any]:
    return {
        n: constant_force_norm(last, START, FORCE, n) for n, last in _lengths(case).items()
    }


def _integrated_curves(case: Case, start: float = START) -> dict[int, float]:
    """d sigma/dt = gamma L sigma^(2 - 2/L) by the Runge-Kutta method of order four."""
    found = {}
    for length, last in _lengths(case).items():
        s, h = start, last / STEPS

        def slope(x: float, length: int = length) -> float:
            return length * FORCE * x ** (2 - 2 / length)

        for _ in range(STEPS):
            a = slope(s)
            b = slope(s + h / 2 * a)
            c = slope(s + h / 2 * b)
            s += h / 6 * (a + 2 * b + 2 * c + slope(s + h * c))
        found[length] = s
    return found


def _promised_balance(case: Case) -> list[Any]:
    count = sum(w is not None for w in case.factors.weights)
    return [np.full(count, 0.8**2), unbalancedness(case.balanced), 0.0]


def _balance(case: Case) -> list[Any]:
    plain = case.plain(case.balanced)
    gap = Near(oracle.unbalancedness(*plain), 1.0)
    return [[np.sum(w**2) for w in plain[1] if w is not None], gap, gap]


# G2


def _spanned(case: Case) -> int:
    """Dimension that gradients in x_0 span as x_1 varies, the other inputs fixed."""
    fixed = [jnp.asarray(case.rng.standard_normal(d))[None] for d in case.dims]
    others = jnp.asarray(case.rng.standard_normal((12, case.dims[1])))

    def network(x: jax.Array, y: jax.Array) -> jax.Array:
        return sense(case.factors, [x[None], y[None], *fixed[2:]])[0]

    slopes = jax.vmap(lambda y: jax.grad(network)(fixed[0][0], y))(others)
    return rank_of(slopes)


def _contracted_rank(case: Case) -> Between:
    tensor, rng = oracle_tensor(case), case.rng
    fixed = [rng.standard_normal(d) for d in case.dims]
    for n in reversed(range(2, case.tree.order)):
        tensor = np.tensordot(tensor, fixed[n], axes=(n, 0))
    return Between(0, rank_of(tensor))


def _trained(values: list[Any]) -> dict[int, Any]:
    return {k: x for k, x in enumerate(values) if x is not None}


LAWS = (
    Law(
        "E1",
        "d phi / d W_v = Phi_v^T [grad L; v] Psi_v",
        lambda case: _trained(gradient(case.factors)),
        lambda case: _trained(oracle_gradient(case.plain())),
    ),
    Law(
        "E2",
        "<w, d phi/d w> = sigma_r <grad L, C_r> for every vector of LC(v, r)",
        _component_gradients,
        _component_forces,
    ),
    Law(
        "E3",
        "<W_v, d phi/d W_v> = <grad L, W> for every node",
        _own_products,
        _euler,
    ),
    Law(
        "E4",
        "dW/dt = -sum_v Phi Phi^T [grad L; v] Psi Psi^T; dL/dt = -||gradient||^2",
        _velocities,
        _projected_slopes,
    ),
    Law(
        "E5",
        "||grad phi(a theta)|| / a^(|T|-1) has a nonzero limit at a = 0",
        _near_zero,
        _limit_at_zero,
        tolerance=1e-3,
        applies=lambda case: len(jax.tree.leaves(case.factors)) > 1,
    ),
    Law(
        "F1",
        "d ||w||^2/dt = 2 sigma <-grad L, C>: differences are conserved",
        _moved_norms,
        _conserved_norms,
        source=PAPER,
    ),
    Law(
        "F3",
        "||W_u||^2 - ||W_v||^2 is conserved for any two nodes",
        _own_products,
        _first_product,
    ),
    Law(
        "F5",
        "d sigma/dt = gamma sigma^2 sum ||w||^-2; balanced: gamma L sigma^(2-2/L)",
        _rates,
        _rates_by_hand,
        tolerance=1e-10,
        source=PAPER,
    ),
    Law(
        "F6",
        "unbalanced: lower <= d sigma/dt <= upper; balance is the slowest",
        _bounded_growth,
        _growth_bounds,
        source=PAPER,
    ),
    Law(
        "F9",
        "shared weights: ||S_{l-1}[:, r]||^2 - P ||S_l[r, :]||^2 is conserved",
        _shared_columns,
        _shared_rows,
        applies=_is_even,
    ),
    Law(
        "F11",
        "constant force: sigma = (sigma0^-(1-2/L) - (L-2) gamma t)^(-L/(L-2))",
        _curves,
        _integrated_curves,
        tolerance=1e-9,
        broken=lambda case: _integrated_curves(case, START / 10),
    ),
    Law(
        "F12",
        "balanced_factors have unbalancedness zero and one norm for all matrices",
        _promised_balance,
        _balance,
    ),
    Law(
        "G2",
        "gradients in x_p, as x_Q varies, span at most the rank of the contracted tensor",
        _spanned,
        _contracted_rank,
        tolerance=0.0,
        applies=lambda case: case.tree.order > 1 and min(case.dims[:2]) > 1,
    ),
)
