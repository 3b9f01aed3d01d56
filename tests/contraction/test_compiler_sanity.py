"""The compiler computes what NumPy computes, at the sizes where it once did not.

jaxlib 0.10.2 returns thousands of wrong entries on CPU for these programs.
"""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
import pytest

import htfjax as htf
from htfjax.theory import oracle
from tests import helpers

BATCH = 20_000  # the fault begins above 16,384
WIDTHS = (3, 5, 6, 7)
INSTALLED = jaxlib.version.__version__


def assert_all_equal(eager, compiled, expected, size):
    helpers.assert_close(eager, expected, size=size)
    helpers.assert_close(compiled, expected, size=size)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_small_matrix_products_under_vmap(width, dtype):
    """Eager, jit and NumPy agree on jit(vmap(lambda r: sum((W @ r)^2)))."""
    rng = np.random.default_rng(width)
    matrix = rng.standard_normal((width, width)).astype(dtype)
    rows = rng.standard_normal((BATCH, width)).astype(dtype)
    squares = jax.vmap(lambda r: jnp.sum((jnp.asarray(matrix) @ r) ** 2))
    exact = np.sum((rows.astype(float) @ matrix.astype(float).T) ** 2, axis=1)
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    for found in (squares(jnp.asarray(rows)), jax.jit(squares)(jnp.asarray(rows))):
        assert found.dtype == dtype
        helpers.assert_close(found, exact, rtol=rtol)


@pytest.mark.parametrize("width", WIDTHS)
def test_sense_on_many_samples(width):
    """Eager, jit and NumPy agree on the network's forward pass over a large batch."""
    factors = helpers.random_factors("binary4", (2, 2, 2, 2), (width,) * 3, seed=width)
    children, weights = helpers.plain(factors)
    vectors = helpers.random_vectors((2, 2, 2, 2), BATCH)
    rows = [x @ w for x, w in zip(vectors, weights[:4], strict=True)]
    left, right = (rows[0] * rows[1]) @ weights[4], (rows[2] * rows[3]) @ weights[5]
    expected = ((left * right) @ weights[6])[:, 0]
    tensor = oracle.end_tensor(children, weights)
    first = oracle.outer([(x[0], (n,)) for n, x in enumerate(vectors)])
    assert expected[0] == pytest.approx(np.sum(tensor * first), rel=1e-10)
    inputs = [jnp.asarray(x) for x in vectors]
    size = float(np.max(np.abs(expected)))
    assert_all_equal(
        htf.sense(factors, inputs), jax.jit(htf.sense)(factors, inputs), expected, size
    )


@pytest.mark.parametrize("width", [3, 7])
def test_gradients_over_many_samples(width):
    """Eager and jit agree with NumPy on the gradient that descent uses."""
    factors = helpers.random_factors("matrix", (2, 2), (width,), seed=width)
    left, right, top = helpers.plain(factors)[1]
    x, y = helpers.random_vectors((2, 2), BATCH)
    a, b = x @ left, y @ right
    outputs = ((a * b) @ top)[:, 0]
    expected = x.T @ (2 * outputs[:, None] / BATCH * b * top.T)
    loss = htf.sensing_loss([jnp.asarray(x), jnp.asarray(y)], jnp.zeros(BATCH))
    slope = jax.grad(loss)
    eager, compiled = slope(factors).weights[0], jax.jit(slope)(factors).weights[0]
    assert_all_equal(eager, compiled, expected, float(np.max(np.abs(expected))))


def test_the_faulty_version_is_refused():
    """Importing beside jaxlib 0.10.2 stops with the reason and the remedy."""
    program = (
        "import jaxlib.version; jaxlib.version.__version__ = {!r}; "
        "import htfjax; print('imported')"
    )
    runs = {
        version: subprocess.run(
            [sys.executable, "-c", program.format(version)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        for version in (INSTALLED, "0.10.2")
    }
    assert runs[INSTALLED].stdout.strip() == "imported", runs[INSTALLED].stderr
    assert runs["0.10.2"].returncode != 0
    assert "imported" not in runs["0.10.2"].stdout
    for word in ("ImportError", "jaxlib 0.10.2", "wrong", "39103", "jaxlib!=0.10.2"):
        assert word in runs["0.10.2"].stderr
