"""Measures of locality: grids of contents, their spectra, change against distance."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax import locality
from htfjax.locality import Patch

P, Q = Patch(1, 1, 3, 3), Patch(5, 6, 2, 3)


def images(count: int = 11) -> jax.Array:
    """Random images (count, 8, 10, 2)."""
    return jax.random.normal(jax.random.key(0), (count, 8, 10, 2))


def part(x: jax.Array, patch: Patch) -> jax.Array:
    """A number read off a patch, away from zero."""
    rows = slice(patch.top, patch.top + patch.height)
    columns = slice(patch.left, patch.left + patch.width)
    return 2 + jnp.tanh(0.3 * jnp.sum(x[:, rows, columns], axis=(1, 2, 3)))


def coupled(x: jax.Array) -> jax.Array:
    """Everything meets everything."""
    return jnp.sum(jnp.sin(jnp.cumsum(x, axis=1) + jnp.cumsum(x, axis=2)), axis=(1, 2, 3))


def by_hand(x: np.ndarray, num: int, contexts: int) -> np.ndarray:
    """The images of every grid cell, pasted one at a time."""
    made = np.empty((contexts, num, num, *x.shape[1:]))
    for c, a, b in np.ndindex(contexts, num, num):
        image = x[c].copy()
        image[1:4, 1:4] = x[(c + 1 + a) % len(x), 1:4, 1:4]
        image[5:7, 6:9] = x[(c + 1 + num + b) % len(x), 5:7, 6:9]
        made[c, a, b] = image
    return made


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_grids_are_those_pasted_by_hand(batch_size: int) -> None:
    """For batches that divide the grid, leave a rest, or hold all of it."""
    x = images()
    found = locality.separation_spectrum(
        coupled, x, P, Q, num=3, contexts=4, batch_size=batch_size
    )
    pasted = by_hand(np.asarray(x), 3, 4)
    expected = np.asarray(coupled(jnp.asarray(pasted.reshape(-1, *x.shape[1:]))))
    np.testing.assert_allclose(found.grids, expected.reshape(4, 3, 3), rtol=1e-12)


@pytest.mark.slow
def test_spectra_are_means_of_singular_values() -> None:
    """Raw and centred ones by NumPy; centring as a projection on both sides."""
    found = locality.separation_spectrum(coupled, images(), P, Q, num=4)
    grids = np.asarray(found.grids)
    away = np.eye(4) - np.full((4, 4), 0.25)
    assert grids.shape == (11, 4, 4)
    for values, of in ((found.raw, grids), (found.centred, away @ grids @ away)):
        expected = np.mean([np.linalg.svd(g, compute_uv=False) for g in of], axis=0)
        np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("dims", [(2, 2, 2, 2), (3, 2, 2, 3)])
def test_a_circuit_gives_its_matricization(dims: tuple[int, ...]) -> None:
    """P holds modes 0 and 1, the contents are all of their basis: the tensor's values."""
    factors = htf.gaussian_factors(
        jax.random.key(1), htf.ModeTree.from_nested(((0, 1), (2, 3))), dims, 3, 1.0
    )
    net = locality.ConvAC(factors, (2, 2, 1), 1, representation="one_hot")
    num = dims[0] * dims[1]
    tops = list(itertools.product(range(dims[0]), range(dims[1])))
    lows = list(itertools.product(range(dims[2]), range(dims[3])))
    x = jnp.asarray([(*a, *b) for a, b in zip(tops, lows, strict=True)])
    x = x.reshape(num, 2, 2, 1)
    found = locality.separation_spectrum(
        net, x, Patch(0, 0, 1, 2), Patch(1, 0, 1, 2), num=num
    )
    expected = htf.singular_values(factors, (0, 1))
    size = float(expected[0])
    np.testing.assert_allclose(found.raw[: len(expected)], expected, atol=1e-10 * size)
    assert float(jnp.max(found.raw[len(expected) :], initial=0)) < 1e-10 * size
    tensor = locality.grid_tensor(
        lambda d: net(jnp.stack(d, axis=1).reshape(-1, 2, 2, 1)),
        [jnp.arange(d) for d in dims],
    )
    values = jnp.linalg.svd(tensor.reshape(num, num), compute_uv=False)
    np.testing.assert_allclose(found.raw, values, atol=1e-10 * size)


@pytest.mark.slow
def test_products_have_rank_one_and_sums_no_interaction() -> None:
    """To 1e-12 for f = g h; the centred grid of f = g + h is zero; contexts may act."""

    def rest(x: jax.Array) -> jax.Array:
        return 2 + jnp.sin(x[:, 0].sum((1, 2)))

    x = images()
    product = locality.separation_spectrum(
        lambda x: part(x, P) * part(x, Q) * rest(x), x, P, Q, num=5
    )
    assert float(product.raw[1]) < 1e-12 * float(product.raw[0])
    total = locality.separation_spectrum(
        lambda x: part(x, P) + part(x, Q) * rest(x), x, P, Q, num=5
    )
    assert float(total.raw[2]) < 1e-12 * float(total.raw[0])
    assert float(total.raw[1]) > 1e-6 * float(total.raw[0])
    assert float(total.centred[0]) < 1e-12 * float(total.raw[0])


@pytest.mark.slow
def test_the_null_has_the_size_of_the_grid_and_none_of_its_structure() -> None:
    """A structured interaction stands above it, an unstructured one does not."""
    x, key = jax.random.normal(jax.random.key(0), (70, 8, 10, 2)), jax.random.key(3)

    def smooth(x: jax.Array) -> jax.Array:
        return part(x, P) * part(x, Q)

    def chaotic(x: jax.Array) -> jax.Array:
        y = 1e4 * (x[:, 2, 2, 0] + x[:, 6, 7, 1])
        return jnp.sin(y * jnp.sqrt(2 + jnp.abs(y)))

    for f, above in ((smooth, True), (chaotic, False)):
        found = locality.separation_spectrum(
            f, x, P, Q, num=12, contexts=6, key=key, shuffles=40
        )
        assert found.null.shape == (40, 12)
        highest = float(jnp.max(found.null[:, 0]))
        assert (float(found.centred[0]) > 1.3 * highest) is above
        if not above:
            low = float(jnp.min(found.null[:, 0]))
            assert 0.85 * low < float(found.centred[0]) < 1.15 * highest
        assert float(jnp.max(found.null[:, -1])) < 1e-9 * highest  # centred again
    empty = locality.separation_spectrum(smooth, x, P, Q, num=2, contexts=1)
    assert empty.null.shape == (0, 2)


@pytest.mark.slow
def test_dtype_stays_and_jit_works() -> None:
    x = images().astype(jnp.float32)
    found = jax.jit(
        lambda x: locality.separation_spectrum(
            coupled, x, P, Q, num=3, key=jax.random.key(0), shuffles=2
        )
    )(x)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    plain = locality.separation_spectrum(coupled, x, P, Q, num=3)
    np.testing.assert_allclose(found.raw, plain.raw, rtol=1e-5, atol=1e-5)


def two_logits(x: jax.Array) -> jax.Array:
    return jnp.stack([coupled(x), coupled(x)], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": Patch(6, 1, 3, 3)}, "`patch.top=6`"),
        ({"other_patch": Patch(5, 8, 2, 3)}, "`other_patch.left=8`"),
        ({"other_patch": Patch(3, 3, 2, 3)}, "overlap"),
        ({"num": 1}, "`num=1`"),
        ({"num": 12}, "11 images, fewer than `num=12`"),
        ({"contexts": 12}, "`contexts=12`"),
        ({"contexts": 0}, "`contexts=0`"),
        ({"batch_size": 0}, "`batch_size=0`"),
        ({"logits_fn": two_logits}, r"must give \(B,\), got \(\d+, 2\)"),
        ({"logits_fn": lambda x: jnp.sum(x)}, r"must give \(B,\), got \(\)"),
        ({"x": jnp.ones((8, 10, 2))}, r"\(B, H, W, C\)"),
        ({"key": jax.random.key(0), "shuffles": 0}, "`shuffles=0`"),
    ],
)
def test_bad_spectra(change: dict[str, Any], message: str) -> None:
    given = {"logits_fn": coupled, "x": images(), "patch": P, "other_patch": Q, "num": 3}
    with pytest.raises(ValueError, match=message):
        locality.separation_spectrum(**(given | change))


# Change against distance


def neighbours(x: jax.Array) -> jax.Array:
    """Couples pixels two columns apart, nothing else."""
    return jnp.sum(jnp.square(x[:, :, 2:] + x[:, :, :-2]), axis=(1, 2, 3))


@pytest.mark.slow
def test_change_by_distance_is_the_definition_averaged() -> None:
    """Each entry, against `input_gradient_change` on patches drawn the same way."""
    key, x = jax.random.key(4), images(4)
    distances = (0, 6)
    found = locality.gradient_change_by_distance(key, coupled, x, 2, distances, pairs=3)
    assert found.distance.tolist() == [0, 6]
    assert found.change.shape == (2, 3)

    @functools.partial(jax.jit, static_argnums=1)
    def one_pair(key: jax.Array, d: int) -> tuple[Any, jax.Array]:
        p, q = locality.random_patches(key, (8, 10), 2, distance=d, exactly=True)
        return locality.patch_gap(p, q), locality.input_gradient_change(coupled, x, p, q)

    for row, (d, k) in enumerate(zip(distances, jax.random.split(key, 2), strict=True)):
        for column, one in enumerate(jax.random.split(k, 3)):
            gap, expected = one_pair(one, d)
            assert int(gap) == d
            np.testing.assert_allclose(found.change[row, column], expected, rtol=1e-12)


@pytest.mark.slow
def test_change_by_distance_of_a_local_function_rises_to_one() -> None:
    """Below 1 where some pairs touch, 1 from the reach of the function on."""
    x = images(4)
    found = locality.gradient_change_by_distance(
        jax.random.key(5), neighbours, x, 2, (0, 2, 4), pairs=24
    )
    curve = np.asarray(found.change.mean(1))
    assert curve[0] < 0.99
    np.testing.assert_allclose(curve[1:], 1, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"distances": (7,)}, ValueError, "the maximum is 6"),
        ({"distances": ()}, ValueError, "`distances` is empty"),
        ({"pairs": 0}, ValueError, "`pairs=0`"),
        ({"patch_size": 0}, ValueError, "`patch_size=0`"),
        ({"x": images(1)}, ValueError, "batch of one"),
        ({"x": jnp.ones((3, 8, 10, 2), complex)}, TypeError, "real numbers"),
        ({"key": 3}, TypeError, "`key`"),
        ({"logits_fn": two_logits}, ValueError, "choose one logit"),
    ],
)
def test_bad_distances(change: dict[str, Any], error: type, message: str) -> None:
    given = {"key": jax.random.key(0), "logits_fn": coupled, "x": images(3)}
    given |= {"patch_size": 2, "distances": (0,)}
    with pytest.raises(error, match=message):
        locality.gradient_change_by_distance(**(given | change))
