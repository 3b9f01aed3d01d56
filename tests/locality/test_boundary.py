"""Wrong calls of `htfjax.locality`, each answered by an error that names the argument."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax import locality
from htfjax.locality import Patch
from tests.fuzz.calls import names_parameter
from tests.fuzz.kinds_locality import CALLS
from tests.fuzz.kinds_tasks import FILE_CALLS

X = np.random.default_rng(0).normal(size=(4, 6, 6, 1))
P, Q = Patch(0, 0, 2, 2), Patch(3, 3, 2, 2)


def one_logit(x: jax.Array) -> jax.Array:
    """A function that couples all pixels."""
    return jnp.sum(jnp.sin(x + jnp.sum(x, axis=(1, 2, 3), keepdims=True)), axis=(1, 2, 3))


def test_images_without_known_logits_are_wrong() -> None:
    """NaN is no class; a diverged network has nothing right."""
    y = np.array([0, 1, 0, 1])
    assert int(locality.count_correct(np.full(4, np.nan), y)) == 0
    assert int(locality.count_correct(np.array([-1.0, np.nan, np.nan, 2.0]), y)) == 2
    of_three = np.array(
        [[2.0, 1.0, 0.0], [np.nan, 1.0, 0.0], [0.0, np.nan, 1.0], [0, 9, 0]]
    )
    assert int(locality.count_correct(of_three, y)) == 2
    assert int(locality.count_correct(np.full((4, 3), np.nan), y)) == 0

    def apply(params: Any, statistics: Any, x: Any, *, train: bool, key: Any) -> Any:
        return jnp.full(len(x), jnp.nan), statistics

    found = locality.evaluate(apply, {}, {}, locality.ArrayExamples(X, y))
    assert float(found.accuracy) == 0.0


def test_traced_shapes_are_checked() -> None:
    """Under jit values are not seen, shapes and dtypes are."""
    logits, y = jnp.ones((4, 3)), jnp.zeros(4, int)
    for call in (locality.count_correct, locality.fit_loss):
        with pytest.raises(ValueError, match=r"`y` has shape \(4, 1\)"):
            jax.jit(call)(logits, y[:, None])
        with pytest.raises(ValueError, match=r"`logits` must be \(B,\) or \(B, K\)"):
            jax.jit(call)(logits[:, :, None], y)
        with pytest.raises(TypeError, match="`y` must be real numbers, got complex128"):
            jax.jit(call)(logits, y.astype(complex))
    net = locality.ConvAC(CALLS["ConvAC"].arguments()["factors"], (2, 2, 1), 1,
                          representation="one_hot")  # fmt: skip
    with pytest.raises(ValueError, match="`images` has shape"):
        jax.jit(net)(jnp.zeros((1, 2, 3, 1), int))
    with pytest.raises(ValueError, match=r"`x` must be images \(B, H, W, C\)"):
        jax.jit(lambda x: locality.input_gradient_change(one_logit, x, P, Q))(X[0])


def test_categories_out_of_range_are_named() -> None:
    """Of 1 to 8, or 0 to 255, for eight categories; zeros would stand for them."""
    factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 8, 2, 1.0)
    net = locality.ConvAC(factors, (2, 2, 1), 1, representation="one_hot")
    right = np.arange(8).reshape(2, 2, 2, 1)
    wanted = htf.entries(factors, right.reshape(2, 4))
    np.testing.assert_allclose(net(right), wanted, rtol=1e-12)
    for wrong, named in ((right + 1, 8), (right * 36, 36), (right - 1, -1)):
        with pytest.raises(ValueError, match=rf"category {named} in image .* 0 to 7"):
            net(wrong)


def test_labels_of_many_classes_survive_half_precision() -> None:
    """bfloat16 images do not round label 257 to 256."""
    data = locality.ArrayExamples(jnp.asarray(X, jnp.bfloat16), [0, 257, 1, 999])
    x, y = data.batch(np.arange(4))
    assert x.dtype == jnp.bfloat16
    assert y.tolist() == [0.0, 257.0, 1.0, 999.0]


def test_arrays_of_jax_stay_where_they_are() -> None:
    """A sharded data set is not gathered and put on one device by being looked at."""
    x, y = jnp.asarray(X), jnp.zeros(4, jnp.int32)
    data = locality.ArrayExamples(x, y)
    assert data.images is x
    assert data.labels is y


def test_patches_stay_hashable_and_unflatten_with_anything() -> None:
    """A constructor that checks does not stand in the way of jax's placeholders."""
    patch = Patch(np.int64(1), np.uint8(2), np.int32(3), 4)
    assert hash(patch) == hash(Patch(1, 2, 3, 4))
    assert all(type(v) is int for v in (patch.top, patch.left, patch.height, patch.width))
    axes = jax.tree.map(lambda _: None, patch)
    assert axes.top is None
    many = jax.vmap(lambda top: Patch(top, 0, 2, 2))(jnp.arange(3))
    assert np.shape(many.top) == (3,)
    with pytest.raises(ValueError, match=r"`patch.top` has shape \(3,\)"):
        locality.swap_patch(X, many)


@pytest.mark.parametrize("name", [name for name in CALLS if name not in FILE_CALLS])
def test_wrong_values_are_named(name: str) -> None:
    """Every wrong value of every parameter: TypeError or ValueError, in backticks."""
    call, faults = CALLS[name], []
    for parameter, kind in call.kinds.items():
        for wrong in kind.wrong:
            value = wrong.make(call.arguments().get(parameter))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    call(**{parameter: value})
            except wrong.kinds as error:
                if names_parameter(str(error), parameter, wrong):
                    continue
                faults.append(f"{parameter}={wrong.label}: {type(error).__name__} {error}")
            except Exception as error:
                faults.append(f"{parameter}={wrong.label}: {type(error).__name__} {error}")
            else:
                faults.append(f"{parameter}={wrong.label}: answered")
    assert not faults, "\n" + "\n".join(fault[:200] for fault in faults)
