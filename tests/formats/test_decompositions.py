"""Hierarchical SVD, rounding and trains: errors, bounds, and values from outside."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax import formats
from tests.formats.test_arithmetic import DIMS, TREES, dense, slope_is_right

SWEEPS: list[Any] = ["leaves-to-root", "root-to-leaves"]
ALL = [name for name in TREES if name != "chains"]


def decaying(dims: tuple[int, ...] = DIMS, seed: int = 0) -> np.ndarray:
    """A smooth function of all coordinates, with a little noise: values fall fast."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(0, 1, d) for d in dims), indexing="ij")
    smooth = 1 / (1 + sum((1 + n / 3) * x for n, x in enumerate(grid)))
    return smooth + 1e-4 * rng.standard_normal(dims)


def ranks(factors: htf.Factors) -> tuple[int, ...]:
    return formats.to_transfer_tensors(factors).ranks


def best_errors(tensor: np.ndarray, factors: htf.Factors) -> list[float]:
    """Per node the least error of its rank: what no factors of these ranks undercut."""
    transfer = formats.to_transfer_tensors(factors)
    found = []
    for k in range(transfer.tree.root):
        modes = transfer.tree.modes[k]
        rest = [n for n in range(tensor.ndim) if n not in modes]
        rows = np.prod([tensor.shape[n] for n in modes], dtype=int)
        matrix = tensor.transpose([*modes, *rest]).reshape(rows, -1)
        values = np.linalg.svd(matrix, compute_uv=False)
        found.append(float(np.linalg.norm(values[transfer.ranks[k] :])))
    return found


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("sweep", SWEEPS)
def test_errors_are_within_the_tolerance_and_the_bound(name: str, sweep: Any) -> None:
    tensor = decaying()
    norm = np.linalg.norm(tensor)
    for rtol in (0.0, 1e-8, 1e-3, 0.1, 0.9):
        found, bound = formats.hierarchical_svd(tensor, TREES[name], rtol=rtol, sweep=sweep)
        error = np.linalg.norm(dense(found) - tensor)
        assert error <= bound + 1e-13 * norm
        assert bound <= rtol * norm + 1e-13 * norm
        least = best_errors(tensor, found)
        nodes = len(least) - (
            len(formats.to_transfer_tensors(found).tree.children[-1]) == 2
        )
        assert max(least) <= error + 1e-12 * norm
        assert error <= np.sqrt(nodes) * max(least) + 1e-12 * norm
        if sweep == SWEEPS[0]:  # projections of each other's results: an equality
            assert abs(error - bound) <= 1e-13 * norm


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("sweep", SWEEPS)
def test_bases_are_orthonormal(name: str, sweep: Any) -> None:
    found, _ = formats.hierarchical_svd(decaying(), TREES[name], rtol=1e-3, sweep=sweep)
    again = formats.orthogonalize(found)
    for factors in (found, again) if sweep == SWEEPS[0] else (again,):
        tensors = formats.to_transfer_tensors(factors).tensors
        for tensor in tensors[:-1]:
            columns = np.asarray(tensor).reshape(-1, tensor.shape[-1])
            gram = columns.T @ columns
            assert np.abs(gram - np.eye(len(gram))).max() < 1e-13
    size = jnp.linalg.norm(again.weights[-1])
    assert abs(size - np.linalg.norm(dense(found))) < 1e-13 * size


def test_ranks_within_a_tolerance_are_masks_under_jit() -> None:
    tensor = jnp.asarray(decaying((4, 3, 4)))

    def within(x: jax.Array) -> jax.Array:
        return htf.end_tensor(formats.hierarchical_svd(x, ((0, 1), 2), rtol=1e-2)[0])

    assert jnp.abs(jax.jit(within)(tensor) - within(tensor)).max() < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_under_transformations(name: str) -> None:
    """Masked ranks under jit and vmap equal those cut; derivatives are right."""
    tensor = jnp.asarray(decaying())

    def with_ranks(x: jax.Array) -> jax.Array:
        return htf.end_tensor(formats.hierarchical_svd(x, TREES[name], ranks=2)[0])

    def within(x: jax.Array, rtol: Any = 1e-2) -> jax.Array:
        return htf.end_tensor(formats.hierarchical_svd(x, TREES[name], rtol=rtol)[0])

    def train(x: jax.Array) -> jax.Array:
        return htf.end_tensor(formats.tensor_train_svd(x, rtol=1e-2)[0])

    other = jnp.asarray(decaying(seed=1)) ** 2
    for value in (with_ranks, within, train):
        wanted = value(tensor)
        assert jnp.abs(jax.jit(value)(tensor) - wanted).max() < 1e-12
        both = jax.vmap(value)(jnp.stack([tensor, other]))
        assert jnp.abs(both[0] - wanted).max() < 1e-12
        assert jnp.abs(both[1] - value(other)).max() < 1e-12
        slope_is_right(value, (tensor,))
    traced = jax.jit(within)(tensor, 1e-2)
    assert jnp.abs(traced - within(tensor)).max() < 1e-12


@pytest.mark.parametrize("name", ALL)
def test_rounding_finds_the_ranks_of_sums(name: str) -> None:
    """A sum with itself has the ranks of one; the error is within tolerance and bound."""
    one, _ = formats.hierarchical_svd(decaying(), TREES[name], ranks=2)
    twice = formats.add(one, one)
    less, bound = formats.round_factors(twice, rtol=1e-12)
    size = np.linalg.norm(dense(one))
    assert ranks(less) == ranks(one)
    assert np.linalg.norm(dense(less) - 2 * dense(one)) <= 1e-12 * size
    assert bound <= 2e-12 * size
    full, _ = formats.hierarchical_svd(decaying(), TREES[name], rtol=0.0)
    tensor = dense(full)
    for rtol in (1e-3, 0.1):
        cut, bound = formats.round_factors(full, rtol=rtol)
        error = np.linalg.norm(dense(cut) - tensor)
        assert error <= bound + 1e-13 <= rtol * np.linalg.norm(tensor) + 2e-13
        direct, _ = formats.hierarchical_svd(
            tensor, TREES[name], rtol=rtol, sweep=SWEEPS[1]
        )
        assert ranks(cut) == ranks(direct)


def test_scales_beyond_the_range_of_squares() -> None:
    for size in (1e-200, 1e200):
        tensor = decaying() * size
        found, bound = formats.hierarchical_svd(tensor, TREES["crossed"], rtol=1e-2)
        error = np.linalg.norm((dense(found) - tensor) / size)
        assert abs(bound / size - error) < 1e-12
        assert 1e-4 < error <= 1e-2 * np.linalg.norm(tensor / size)
        _, other = formats.round_factors(found, ranks=1)
        assert 0 < other / size < np.linalg.norm(tensor / size)


def test_zeros_have_rank_one() -> None:
    for rtol in (0.0, 0.1):
        found, bound = formats.hierarchical_svd(
            np.zeros(DIMS), TREES["balanced"], rtol=rtol
        )
        assert set(ranks(found)) == {1}
        assert bound == 0 == jnp.abs(htf.end_tensor(found)).max()
        less, bound = formats.round_factors(formats.add(found, found), rtol=rtol)
        assert bound == 0
        assert jnp.all(jnp.isfinite(htf.end_tensor(less)))


def test_float32() -> None:
    tensor = decaying().astype(np.float32)
    found, bound = formats.hierarchical_svd(tensor, TREES["crossed"], rtol=1e-5)
    assert bound.dtype == found.weights[0].dtype == jnp.float32
    assert np.linalg.norm(dense(found) - tensor) <= 2e-5 * np.linalg.norm(tensor)


# Cases of other packages (PEERS: E1 to E9), by their definitions.
def reciprocal_sum(order: int, count: int, low: float, high: float) -> np.ndarray:
    grid = np.meshgrid(*[np.linspace(low, high, count)] * order, indexing="ij")
    return np.asarray(1 / sum(grid))


@pytest.mark.slow
def test_reciprocal_of_a_sum() -> None:
    """htucker, example 9.1: ranks, error; the CP tensor by quadrature; a weighted sum."""
    tensor = reciprocal_sum(4, 50, 1.0, 10.0)
    norm = np.linalg.norm(tensor)
    assert abs(norm - 126.7913151923789) < 1e-8
    for sweep in SWEEPS:
        found, bound = formats.hierarchical_svd(
            tensor, htf.perfect(4), rtol=1e-5, sweep=sweep
        )
        assert ranks(found) == (5, 5, 5, 5, 5, 5, 1)
        error = np.linalg.norm(np.asarray(htf.end_tensor(found)) - tensor) / norm
        assert abs(error - 1.3403e-6) < 1e-10
        assert error <= bound / norm * (1 + 1e-10)
        weights = np.full(50, 4.0)
        weights[2:-2:2] = 2
        weights[[0, -1]] = 1
        weights *= 9 / 49 / 3
        total = float(htf.sense(found, [weights[None]] * 4)[0])
        assert abs(total / 325.2700853073453 - 1) < 1e-12
    count, step = np.arange(-25, 26), np.pi / 5
    grown = np.exp(count * step)
    rates = 2 * np.log(grown + np.sqrt(1 + grown**2)) / 4
    sizes = 2 * step / np.sqrt(1 + grown**-2.0) / 4
    matrix = np.exp(-np.outer(np.linspace(1, 10, 50), rates))
    cp = formats.cp_factors(sizes, [matrix] * 4)
    error = np.linalg.norm(np.asarray(htf.end_tensor(cp)) - tensor) / norm
    assert abs(error - 1.484843e-6) < 1e-12


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("sweep", SWEEPS)
def test_absolute_tolerances(order: int, sweep: Any) -> None:
    """htucker's check of both directions: the error is at most the tolerance."""
    tensor = reciprocal_sum(order, 40 if order < 4 else 14, 0.01, 1.0)
    tree = htf.perfect(order) if order != 3 else htf.caterpillar(3)
    for allowed in (1e-4, 1e-3, 1e-2, 1e-1):
        rtol = allowed / np.linalg.norm(tensor)
        found, _ = formats.hierarchical_svd(tensor, tree, rtol=rtol, sweep=sweep)
        assert np.linalg.norm(np.asarray(htf.end_tensor(found)) - tensor) <= allowed


@pytest.mark.slow
def test_cancellation() -> None:
    """htucker: tan(s) + 1/s - tan(s) at ranks of 20, rounded after each sum or at the end.

    The pole of the tangent leaves values of all sizes: what is left out at the first sum
    is not there to be subtracted.
    """
    points = np.arange(1, 101) / 100
    total = points[:, None, None] + points[:, None] + points
    tree, most = htf.caterpillar(3), 20
    tangent, _ = formats.hierarchical_svd(np.tan(total), tree, ranks=most)
    inverse, _ = formats.hierarchical_svd(1 / total, tree, ranks=most)

    def error(found: htf.Factors) -> float:
        gap = np.asarray(htf.end_tensor(found)) - 1 / total
        return float(np.linalg.norm(gap) / np.linalg.norm(1 / total))

    first, _ = formats.round_factors(formats.add(tangent, inverse), ranks=most)
    step_by_step, _ = formats.round_factors(formats.subtract(first, tangent), ranks=most)
    whole = formats.subtract(formats.add(tangent, inverse), tangent)
    at_once, _ = formats.round_factors(whole, ranks=most)
    assert error(at_once) < 1e-9
    assert error(step_by_step) > 1e-3


def test_a_function_of_six_variables() -> None:
    """tensap's tutorial: Tucker ranks, storage and error, and those of a train."""
    x = np.meshgrid(*[np.linspace(0, 1, 8)] * 6, indexing="ij")
    tensor = 1 / (3 + x[0] + x[2]) + x[1] + np.cos(x[3] + x[4])
    norm = np.linalg.norm(tensor)
    found, _ = formats.hierarchical_svd(tensor, htf.flat(6), rtol=1e-8)
    transfer = formats.to_transfer_tensors(found)
    assert transfer.ranks == (4, 2, 4, 3, 3, 1, 1)
    assert transfer.storage == sum(w.size for w in jax.tree.leaves(found)) == 424
    error = np.linalg.norm(np.asarray(htf.end_tensor(found)) - tensor) / norm
    assert abs(error - 2.834e-9) < 1e-12
    train, bound = formats.tensor_train_svd(tensor, rtol=1e-8)
    assert sum(w.size for w in jax.tree.leaves(train)) == 352
    error = np.linalg.norm(np.asarray(htf.end_tensor(train)) - tensor) / norm
    assert abs(error - 2.012e-9) < 1e-12
    assert abs(bound / norm - error) < 1e-13


def test_sine_of_a_sum() -> None:
    """hiepy's quick start: 10^5 points, ranks 2 at every node within 1e-10."""
    x = np.linspace(0, 1, 10)
    tensor = np.sin(sum(np.meshgrid(*[x] * 5, indexing="ij")))
    for name in ("balanced", "train", "crossed"):
        found, _ = formats.hierarchical_svd(tensor, TREES[name], rtol=1e-10)
        assert set(ranks(found)[:-1]) == {2}
        assert np.abs(np.asarray(htf.end_tensor(found)) - tensor).max() < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("nested", [((((0, 1), 2), 3), 4), (((0, 1), (2, 3)), 4)])
def test_affine_tensors_have_rank_two(nested: Any) -> None:
    """TensorToolbox: 1, 2, ..., 32 in the shape 2^5."""
    tensor = np.arange(1.0, 33.0).reshape((2,) * 5)
    found, _ = formats.hierarchical_svd(tensor, nested, rtol=1e-12)
    assert set(ranks(found)[:-1]) == {2}
    assert np.abs(dense(found) - tensor).max() < 1e-10
