"""The pages of mathematics: links from the modules, and numbers of the worked examples."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from htfjax.factors.stacks import opened
from htfjax.instruments import gram, qr_sweep
from tests.test_layering import PACKAGE, ROOT

PAGES = ROOT / "docs" / "mathematics"
LEAF = [[2.0, 2.0], [2.0, 1.0], [1.0, 0.0]], [[1.0, 1.0], [2.0, 0.0], [2.0, 1.0]]
VALUES = (333**0.5 + 15) / 2, (333**0.5 - 15) / 2


def example(root=(1.0, 3.0)):
    """Matrix factorization of order 2, as in the README of the pages."""
    one, other = map(jnp.asarray, LEAF)
    root = jnp.asarray(root)[:, None]
    return htf.Factors(tree=htf.flat(2), weights=(one, other, root))


@pytest.mark.parametrize("page", sorted(PAGES.glob("[!R]*.md")), ids=lambda page: page.stem)
def test_modules_and_pages_name_each_other(page):
    text = page.read_text(encoding="utf-8")
    module = re.search(r"htfjax/(\S+\.py)", text)
    assert module
    source = (PACKAGE / module[1]).read_text(encoding="utf-8")
    assert f"Mathematics: docs/mathematics/{page.name}." in source
    assert f"({page.name})" in (PAGES / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (PAGES / link).exists(), link


@pytest.mark.slow
def test_gram_page():
    layout, stacks = opened(example())
    assert htf.end_tensor(example()).tolist() == [[8, 4, 10], [5, 4, 7], [1, 2, 2]]
    assert float(htf.squared_norm(example())) == 279
    pairs = dict(gram.gram_pairs(layout, stacks, [0]))
    inner, outer, exponent = (np.asarray(x)[0] for x in pairs[(0,)])
    product = inner @ outer * 2.0**exponent
    np.testing.assert_allclose(product, [[135, 189], [99, 144]])
    added = htf.component_contributions(example())[2]
    np.testing.assert_allclose(added, [9, 90**0.5])


def test_formats_page():
    tensor = np.asarray(htf.end_tensor(example()))
    _, error = htf.formats.hierarchical_svd(tensor, (0, 1), ranks=1)
    np.testing.assert_allclose(error, VALUES[1], rtol=1e-13)
    for rtol, rank in ((0.1, 1), (0.09, 2)):
        found, _ = htf.formats.hierarchical_svd(tensor, (0, 1), rtol=rtol)
        assert htf.formats.to_transfer_tensors(found).ranks == (rank, rank, 1)


def with_derivatives(function, at):
    """Value, first and second derivative by one number, in one program."""

    def slope(x):
        return jax.jvp(function, (x,), (jnp.ones_like(x),))

    (value, first), (_, second) = jax.jit(
        lambda x: jax.jvp(slope, (x,), (jnp.ones_like(x),))
    )(jnp.asarray(at))
    return value, first, second


@pytest.mark.parametrize("method", ["gram", "qr"])
def test_values_and_derivatives(method):
    def values(weight):
        return htf.singular_values(example((1.0, weight)), 0, method)

    found, slopes, bends = with_derivatives(values, 3.0)
    np.testing.assert_allclose(found, VALUES)
    np.testing.assert_allclose(slopes, [2.86179, 0.26179], atol=1e-5)
    np.testing.assert_allclose(bends, [0.114665, -0.101335], atol=1e-6)


def test_the_excess_has_all_of_a_second_derivative():
    def norm(t):
        column = jnp.stack([jnp.ones_like(t), t])[:, None]
        weights = (column, jnp.asarray([[1.0], [0.0]]), jnp.ones((1, 1)))
        factors = htf.Factors(tree=htf.flat(2), weights=weights)
        return htf.singular_values(factors, 0, "qr")[0]

    np.testing.assert_allclose(with_derivatives(norm, 0.0), (1, 0, 1), atol=1e-12)


def test_qr_page():
    def product(cores):
        ((_, core),) = cores
        small = core.left[0] @ core.right[0].T
        return jnp.abs(small) * 2.0 ** core.exponents[0]

    found = qr_sweep.read_off_cores(product, *opened(example()), [0])
    np.testing.assert_allclose(found, [[15, 6], [3, 3]])


def test_small_values_are_noise_on_the_gram_route():
    wide = jnp.asarray([[1.0, 1.0], [0.0, 1e-9], [0.0, 0.0]])
    factors = htf.Factors(
        tree=htf.flat(2), weights=(wide, jnp.eye(3)[:, :2], jnp.ones((2, 1)))
    )
    exact = 1e-9 / 2**0.5
    assert abs(float(htf.singular_values(factors, 0, "qr")[1]) / exact - 1) < 1e-6
    assert float(htf.singular_values(factors, 0, "gram")[1]) > 10 * exact


def test_descent_page():
    one = jnp.ones((1, 1))
    factors = htf.Factors(tree=htf.flat(2), weights=(one, one, None))
    loss = htf.completion_loss(factors.tree, 1, [[0, 0]], [3.0])
    _, found = htf.descend(
        factors, loss, optax.sgd(1 / 8), num_steps=2, record_every=2,
        observe=htf.local_component_norms,
    )  # fmt: skip
    np.testing.assert_allclose(found.losses, [4, 0.029878], atol=1e-6)
    np.testing.assert_allclose(found.chords, [1.10485, 0], atol=1e-5)
    np.testing.assert_allclose(found.durations, [0.25, 0])
    np.testing.assert_allclose(found.grad_norms, [32**0.5, 0.87085], 1e-5)
    np.testing.assert_allclose(found.observed[2][:, 0], [1, 3.17285], atol=1e-5)
