"""A newcomer's ten lines: an array of one's own to factors, ranks and a test error."""

import inspect

import jax
import numpy as np

import htfjax as htf
from htfjax.theory import oracle
from tests.helpers import assert_close


def measured() -> np.ndarray:
    """Five modes, 1024 cells, rank 1 around 20, a third of them missing."""
    rng = np.random.default_rng(0)
    values = 20 + 3 * np.einsum("a,b,c,d,e->abcde", *rng.normal(size=(5, 4)))
    return np.where(rng.random(values.shape) < 1 / 3, np.nan, values)


def newcomer(mine):
    data = htf.observed(mine, key=jax.random.key(0))
    tree = htf.ModeTree.from_nested((((0, 1), (2, 3)), 4))
    start = htf.gaussian_factors(jax.random.key(1), tree, data.mode_dims, 6, 0.2)
    optimizer, loss = htf.group_rmsprop(1e-2), data.loss(tree)
    final, course = htf.descend(start, loss, optimizer, num_steps=600, record_every=300)
    ranks = [htf.numerical_rank(htf.singular_values(final, v), 0.05) for v in (5, 6, 7)]
    error = data.test_error(final)
    table = data.decode(htf.end_tensor(final))
    return data, final, course, ranks, error, table


def test_ten_lines_are_enough():
    body = inspect.getsource(newcomer).splitlines()[1:-1]
    assert len(body) + 1 <= 10  # and the import

    mine = measured()
    data, final, course, ranks, error, table = newcomer(mine)
    assert len(data.test_targets) == round(0.1 * np.sum(~np.isnan(mine)))
    assert course.losses[-1] < 0.01 * course.losses[0]
    # Products of weights by another way, and the error by its definition.
    tensor = oracle.end_tensor(final.tree.children, list(map(np.asarray, final.weights)))
    held = tuple(data.test_indices.T)
    wanted = np.sqrt(np.mean((data.shift + data.scale * tensor[held] - mine[held]) ** 2))
    assert_close(error, wanted, rtol=1e-9)
    assert error < 0.1 * np.nanstd(mine)
    # The mean of the cells is all but the constant, so that one product is left.
    assert [int(rank) for rank in ranks] == [1, 1, 1]
    assert_close(table.values, data.shift + data.scale * tensor, rtol=1e-9)
