"""The contraction plan: every route gives the oracle's values and gradients."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from benchmarks import calibrate
from htfjax.contraction.plan import ROOT_ROUTES
from htfjax.theory import oracle
from tests import helpers
from tests.marks import slow_unless

SLOW_GEMM = htf.Rates(flops=1e8, stream_bytes=1e11, gather_bytes=1e11, step_seconds=1e-9)
SLOW_GATHER = htf.Rates(flops=1e13, stream_bytes=1e11, gather_bytes=1e6, step_seconds=1e-9)
FORCES = ("rows", "table", "dedup", "gather", "dense", "masked")


def problem(nested: Any, dims: Any, batch: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Factors of unequal widths, clustered indices with repetitions, targets."""
    tree = htf.ModeTree.from_nested(nested)
    rng = np.random.default_rng(seed)
    widths = [3 + k % 3 for k in tree.interior]
    factors = htf.gaussian_factors(jax.random.key(seed), tree, dims, widths, 0.7)
    indices = np.stack([rng.integers(0, d, batch) for d in dims], axis=1)
    indices[: batch // 2, : len(dims) // 2] = indices[0, : len(dims) // 2]
    return factors, indices, rng.normal(size=batch)


def plain_loss(factors: htf.Factors, indices: Any, targets: Any) -> jax.Array:
    """Mean squared error by one row per observation: another algorithm, without plans."""
    tree = factors.tree
    rows: dict[int, Any] = {n: factors.weights[n][indices[:, n]] for n in range(tree.order)}
    for k in tree.interior:
        joint = rows[tree.children[k][0]]
        for child in tree.children[k][1:]:
            joint = joint * rows[child]
        rows[k] = joint @ factors.weights[k]
    return jnp.mean(jnp.square(rows[tree.root][:, 0] - targets))


CASES = {
    "binary": (((0, 1), (2, 3)), (3, 2, 4, 2)),
    "mixed": (((0, 3), (4, (2, 1))), (2, 3, 2, 2, 3)),
    "chain": ((((0,),), (1, (2,))), (3, 4, 2)),
    "flat": ((2, 0, 1), (3, 4, 2)),
    "perfect8": ((((0, 1), (2, 3)), ((4, 5), (6, 7))), (2,) * 8),
}
FAST = [
    *(("mixed", force) for force in (None, *FORCES)),
    ("chain", None),
    ("chain", "gather"),
]


@functools.cache
def plain_slopes(case: str) -> Any:
    """Value and gradient by plain rows."""
    return jax.jit(jax.value_and_grad(plain_loss))(*problem(*CASES[case], batch=70))


@pytest.mark.parametrize(
    ("case", "force"), slow_unless(itertools.product(CASES, [None, *FORCES]), FAST)
)
def test_value_and_gradient_of_every_route(case: str, force: Any) -> None:
    """Equal to plain rows to 1e-12, repeated indices included."""
    factors, indices, targets = problem(*CASES[case], batch=70)
    tree, dims = factors.tree, htf.mode_dims(factors)
    counts = [len(np.unique(indices[:, list(m)], axis=0)) for m in tree.modes]
    plan = htf.contraction_plan(
        tree, dims, htf.widths(factors)[tree.order :], 70,
        distinct=counts, masked=True, force=force,
    )  # fmt: skip
    loss = htf.completion_loss(tree, dims, indices, targets, plan=plan)
    assert_slopes(loss, case)
    assert force not in ROOT_ROUTES or plan.root == force


@pytest.mark.parametrize("case", slow_unless(CASES, ("mixed",)))
def test_value_and_gradient_of_the_exact_plan(case: str) -> None:
    """Equal to plain rows to 1e-12, repeated indices included."""
    factors, indices, targets = problem(*CASES[case], batch=70)
    dims = htf.mode_dims(factors)
    assert_slopes(
        htf.completion_loss(factors.tree, dims, indices, targets, plan="exact"), case
    )


def assert_slopes(loss: Any, case: str) -> None:
    """A loss of a case has the value and gradient of plain rows."""
    factors, _, _ = problem(*CASES[case], batch=70)
    found = jax.jit(jax.value_and_grad(loss))(factors)
    for a, b in zip(
        jax.tree.leaves(found), jax.tree.leaves(plain_slopes(case)), strict=True
    ):
        scale = float(np.max(np.abs(b)))
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * scale)


def test_distinct_rows_are_the_distinct_sub_tuples() -> None:
    """Against NumPy's unique rows, per node."""
    from htfjax.contraction.observed import distinct_rows

    factors, indices, _ = problem(*CASES["mixed"], batch=50)
    for node, (first, row) in distinct_rows(factors.tree, indices).items():
        columns = indices[:, list(factors.tree.modes[node])]
        assert len(first) == len(np.unique(columns, axis=0))
        np.testing.assert_array_equal(columns[np.asarray(first)][np.asarray(row)], columns)


def test_two_rate_tables_give_two_plans() -> None:
    """Dear products keep to rows where a tensor is large; dear gathers make tables."""
    tree, widths = htf.perfect(8), (8,) * 7
    careful = htf.contraction_plan(tree, 4, widths, 100, rates=SLOW_GEMM)
    eager = htf.contraction_plan(tree, 4, widths, 100, rates=SLOW_GATHER)
    assert careful.routes[10] == "rows"
    assert careful.root == "gather"
    assert eager.root == "dense"
    assert set(eager.routes) == {"table"}


@pytest.mark.parametrize("rates", [SLOW_GEMM, SLOW_GATHER])
def test_plan_is_the_cheapest_of_all(rates: htf.Rates) -> None:
    """Against every combination of routes, on a tree small enough to try them all."""
    tree, widths, distinct = htf.perfect(4), (5, 7, 6), (4, 4, 4, 4, 9, 16, 40)
    plan = htf.contraction_plan(
        tree, 4, widths, 40, distinct=distinct, masked=True, rates=rates
    )
    from htfjax.contraction import plan as module

    work = module._Work(
        tree, (4,) * 4 + widths, [4] * 4 + [16, 16, 256], 40, distinct, rates
    )
    inside = [work.node_costs(4), work.node_costs(5)]
    best = np.inf
    for root, cost in work.root_costs(True).items():
        for routes in itertools.product(*inside):
            if root != "gather" and set(routes) != {"table"}:
                continue
            total = cost + sum(c[r] for c, r in zip(inside, routes, strict=True))
            for node, route in zip((4, 5), routes, strict=True):
                if route != "table":
                    count = work.count(node, route)
                    total += sum(work.gather(c, count) for c in tree.children[node])
                if (root == "gather" and route != "rows") or root != "gather":
                    total += work.gather(node, 40)
            best = min(best, total)
    chosen = dict(plan.costs[-1])[plan.root]
    recomputed = chosen + _subtree_seconds(plan, work)
    np.testing.assert_allclose(recomputed, best, rtol=1e-12)


def _subtree_seconds(plan: htf.Plan, work: Any) -> float:
    total = 0.0
    for node in (4, 5):
        route = plan.routes[node]
        total += dict(plan.costs[node])[route]
        if route != "table":
            count = work.count(node, route)
            total += sum(work.gather(c, count) for c in plan.tree.children[node])
        if route != "rows":
            total += work.gather(node, 40)
    return total


def test_one_program_serves_all_data_of_a_shape() -> None:
    """Leaves of losses on other indices have the same shapes; vmap runs over them."""
    shapes = []
    for seed in range(2):
        factors, indices, targets = problem(*CASES["perfect8"], batch=64, seed=seed)
        loss = htf.completion_loss(factors.tree, 2, indices, targets)
        shapes.append((jax.tree.structure(loss), [x.shape for x in jax.tree.leaves(loss)]))
    assert shapes[0] == shapes[1]
    counted, traces = helpers.count_traces(lambda loss, f: loss(f))
    program = jax.jit(counted)
    for seed in range(2):
        factors, indices, targets = problem(*CASES["perfect8"], batch=64, seed=seed)
        loss = htf.completion_loss(factors.tree, 2, indices, targets)
        program(loss, factors)
    assert len(traces) == 1


@pytest.mark.slow
def test_dimensions_beyond_64_bits() -> None:
    """Order 64, dimension 4: no flat index over 4**64 entries is ever formed."""
    tree = htf.perfect(64)
    factors = htf.gaussian_factors(jax.random.key(0), tree, 4, 3, 0.9)
    indices = np.random.default_rng(0).integers(0, 4, (30, 64))
    targets = np.zeros(30)
    value, gradient = jax.value_and_grad(plain_loss)(factors, indices, targets)
    for kind in ("auto", "exact"):
        loss = htf.completion_loss(tree, 4, indices, targets, plan=kind)
        found, slope = jax.jit(jax.value_and_grad(loss))(factors)
        np.testing.assert_allclose(found, value, rtol=1e-11)
        np.testing.assert_allclose(slope.weights[0], gradient.weights[0], rtol=1e-9)


@pytest.mark.slow
def test_masked_huber_needs_distinct_indices() -> None:
    """l1 and huber of a mean are no mean of penalties: repeated indices keep rows."""
    factors, indices, targets = problem(*CASES["binary"], batch=40)
    repeated = htf.completion_loss(
        factors.tree, (3, 2, 4, 2), indices, targets, penalty="huber"
    )
    assert repeated.dense is None
    single, first = np.unique(indices, axis=0, return_index=True)
    loss = htf.completion_loss(
        factors.tree, (3, 2, 4, 2), single, targets[first], penalty="huber"
    )
    assert loss.dense is not None
    plan = htf.contraction_plan(
        factors.tree, (3, 2, 4, 2), htf.widths(factors)[4:], len(single),
        masked=True, force="masked",
    )  # fmt: skip
    chosen = dataclasses.replace(loss.measurement, plan=plan)
    masked = dataclasses.replace(loss, measurement=chosen)
    children, weights = helpers.plain(factors)
    values = oracle.end_tensor(children, weights)[tuple(single.T)]
    wanted = htf.penalize(jnp.asarray(values - targets[first]), penalty="huber")
    np.testing.assert_allclose(masked(factors), wanted, rtol=1e-12)


def test_explain_names_every_node_and_marks_the_choice() -> None:
    """One line a node, one star a line."""
    plan = htf.contraction_plan(htf.perfect(4), 8, (16,) * 3, 200, rates=SLOW_GEMM)
    lines = plan.explain().splitlines()
    assert len(lines) == 1 + 7 + 1
    assert all(line.count("*") == 1 for line in lines[:-1])
    assert "0,1,2,3" in lines[7]


@pytest.mark.slow
def test_measured_times_stand_beside_the_predicted() -> None:
    """Every alternative at every node is timed; the sum is in the last line."""
    plan = htf.contraction_plan(
        htf.perfect(4), 4, (6,) * 3, 50, distinct=(4,) * 4 + (9, 8, 40), masked=True
    )
    measured = calibrate.measure_plan(plan, repeats=1)
    assert [[r for r, _ in costs] for costs in measured] == [
        [r for r, _ in costs] for costs in plan.costs
    ]
    assert all(s > 0 for costs in measured[4:] for _, s in costs)
    lines = plan.explain(measured).splitlines()
    assert len(lines) == 1 + 7 + 2
    assert all(" / " in line for line in lines[:8])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: _loss(p, batch=50), ["observations 70", "50"]),
        (lambda p: _loss(p, dims=(3, 2, 4, 3)), ["mode dimensions", "(3, 2, 4, 3)"]),
        (lambda p: _loss(p, nested=((0, 2), (1, 3))), ["tree"]),
        (lambda p: _loss(p)(_factors(8)), ["widths", "(8, 8, 8)"]),
        (lambda p: _plan(force="fast"), ["force='fast'", "rows"]),
        (lambda p: _plan(force="masked"), ["force='masked'", "dense"]),
        (lambda p: _loss("fast"), ["plan='fast'", "auto", "exact"]),
    ],
)
def test_bad_plans(call: Any, words: list[str]) -> None:
    """What does not fit is named."""
    with pytest.raises(ValueError, match=r"plan|force") as error:
        call(_plan())
    for word in words:
        assert word in str(error.value)


def _plan(**options: Any) -> htf.Plan:
    return htf.contraction_plan(htf.perfect(4), (3, 2, 4, 2), (5, 5, 5), 70, **options)


def _factors(width: int) -> htf.Factors:
    return htf.gaussian_factors(jax.random.key(0), htf.perfect(4), (3, 2, 4, 2), width, 1.0)


def _loss(
    plan: Any, batch: int = 70, dims: Any = (3, 2, 4, 2), nested: Any = ((0, 1), (2, 3))
) -> Any:
    indices = np.zeros((batch, 4), int)
    tree = htf.ModeTree.from_nested(nested)
    return htf.completion_loss(tree, dims, indices, np.zeros(batch), plan=plan)


def changed_targets(loss: Any, shift: jax.Array) -> Any:
    return dataclasses.replace(loss, targets=loss.targets + shift)


@pytest.mark.slow
@pytest.mark.parametrize("penalty", ["l2", "l1", "huber"])
@pytest.mark.parametrize("repeats", [0, 5])
def test_changed_losses_of_all_entries_have_no_stale_data(
    penalty: Any, repeats: int
) -> None:
    """The masked plan follows the targets, the penalty and the indices that it is given."""
    grid = np.stack(np.meshgrid(*[np.arange(16)] * 2, indexing="ij"), -1).reshape(-1, 2)
    indices = np.concatenate([grid, grid[:repeats]])
    targets = jnp.linspace(0.0, 2.0, len(indices))
    factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 16, 16, 0.3)

    def fresh(targets: Any, penalty: Any = penalty, indices: Any = indices) -> Any:
        return htf.completion_loss(htf.flat(2), 16, indices, targets, penalty=penalty)

    def wanted(targets: Any, penalty: Any = penalty) -> jax.Array:
        return htf.penalize(htf.entries(factors, indices) - targets, penalty=penalty)

    loss = fresh(targets)
    assert (htf.loss_plan(loss, factors).root == "masked") == (
        penalty == "l2" or not repeats
    )
    helpers.assert_close(
        changed_targets(loss, jnp.array(1.0))(factors), wanted(targets + 1)
    )
    doubled = jax.tree.map(
        lambda x: 2 * x if jnp.issubdtype(x.dtype, jnp.floating) else x, loss
    )
    helpers.assert_close(
        dataclasses.replace(doubled, threshold=loss.threshold)(factors), wanted(2 * targets)
    )
    slope = jax.grad(lambda loss: loss(factors), allow_int=True)(loss).targets
    helpers.assert_close(slope, jax.grad(wanted)(targets), rtol=1e-9)
    shifts = jnp.arange(3.0)
    lanes = jax.vmap(lambda shift: changed_targets(loss, shift)(factors))(shifts)
    helpers.assert_close(lanes, [wanted(targets + shift) for shift in shifts])
    for other in ("l2", "l1", "huber"):
        found = dataclasses.replace(loss, penalty=other)(factors)
        helpers.assert_close(found, wanted(targets, other))
    twice = np.concatenate([indices[:-1], indices[:1]])
    moved = dataclasses.replace(loss, measurement=fresh(targets, "l1", twice).measurement)
    helpers.assert_close(
        moved(factors), htf.penalize(htf.entries(factors, twice) - targets, penalty=penalty)
    )
