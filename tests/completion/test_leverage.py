"""Errors that a fit expects on cells that were not observed."""

import jax
import numpy as np
import pytest

import htfjax as htf
from htfjax.completion.cells import cells_of
from htfjax.completion.lanes import Fit
from htfjax.completion.leverage import expected_square
from htfjax.completion.result import error_interval

KEY = jax.random.key(0)
OPTIMIZER = htf.levenberg_marquardt()


def fitted(noise: np.ndarray) -> tuple[Fit, np.ndarray, np.ndarray]:
    """A matrix of rank one with noise at known cells; the best fit of all of them."""
    rng = np.random.default_rng(0)
    left, right = rng.uniform(1, 2, (12, 1)), rng.uniform(1, 2, (10, 1))
    mine = left @ right.T + noise
    mine[:4, :3] = np.nan
    known = ~np.isnan(mine)
    filled = np.where(known, mine, 0.0)
    for _ in range(200):
        right = (filled.T @ left) / (known.T @ left**2)
        left = (filled @ right) / (known @ right**2)
    cells = cells_of(mine, 0.1, KEY, None)
    tensors = [left, right / cells.scale, np.ones((1, 1, 1))]
    return Fit(1.0, 1.0, (1, 1), tensors, 21), mine, left @ right.T


def test_expected_errors() -> None:
    """The formula, with the Jacobian of a matrix of rank one written down."""
    fit, mine, best = fitted(0.1 * np.random.default_rng(1).standard_normal((12, 10)))
    cells, tree = cells_of(mine, 0.1, KEY, None), htf.flat(2)
    rng = np.random.default_rng(2)
    found = expected_square(fit, fit.tensors, tree, cells, OPTIMIZER, rng)
    left, right = fit.tensors[0][:, 0], fit.tensors[1][:, 0] * cells.scale
    rows = np.zeros((12, 10, 22))
    for i in range(12):
        for j in range(10):
            rows[i, j, i], rows[i, j, 12 + j] = right[j], left[i]
    known = ~np.isnan(mine)
    square = np.sum((best - mine)[known] ** 2) / (known.sum() - 21) / cells.scale**2
    inverse = np.linalg.pinv(rows[known].T @ rows[known], rcond=1e-10)
    variances = 1 + np.einsum("ap,pq,aq->a", rows[~known], inverse, rows[~known])
    assert found == pytest.approx(square * variances.mean(), rel=1e-9)


def test_nothing_to_expect() -> None:
    """Of all cells, of different noise, of as many degrees of freedom as cells."""
    fit, mine, best = fitted(np.zeros((12, 10)))
    tree, rng = htf.flat(2), np.random.default_rng(0)

    def of(data: np.ndarray, fit: Fit, noise: np.ndarray | None = None) -> float | None:
        cells = cells_of(data, 0.1, KEY, noise)
        return expected_square(fit, fit.tensors, tree, cells, OPTIMIZER, rng)

    assert of(best, fit) is None
    assert of(mine, fit, np.linspace(1, 2, 120).reshape(12, 10)) is None
    assert of(mine, fit._replace(freedom=108)) is None


def test_an_interval_holds_both() -> None:
    """Of errors, and of what a fit expects."""
    errors = np.random.default_rng(0).standard_normal(50)
    plain = error_interval(errors)
    square = float(np.mean(errors**2))
    assert error_interval(errors, square) == pytest.approx(plain)
    higher = error_interval(errors, 2 * square)
    assert higher.low == pytest.approx(plain.low)
    assert higher.high == pytest.approx(np.sqrt(2) * plain.high)
    lower = error_interval(errors, square / 2)
    assert lower.low == pytest.approx(plain.low / np.sqrt(2))
    assert lower.high == pytest.approx(plain.high)
