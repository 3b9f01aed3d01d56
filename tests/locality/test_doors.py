"""Doors of training and measures: labels and patches that compiled programs do not see."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from htfjax import locality
from htfjax.locality import ArrayExamples, EitherOrder, Patch, RandomPatches

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(6, 8, 12, 1))
WEIGHT = jnp.asarray(0.5)
P, Q = Patch(0, 0, 4, 4), Patch(0, 8, 4, 4)


def one(w: Any, statistics: Any, x: Any, *, train: bool, key: Any = None) -> Any:
    """One logit."""
    del train, key
    return jnp.sin(w * x).sum((1, 2, 3)), statistics


def three(w: Any, statistics: Any, x: Any, *, train: bool, key: Any = None) -> Any:
    """Three logits."""
    z, _ = one(w, statistics, x, train=train, key=key)
    return z[:, None] * jnp.arange(3.0)[None], statistics


# Labels


def descend(apply: Any, data: Any) -> Any:
    optimizer = optax.sgd(0.1)
    state = htf.start_descent(locality.start_training(WEIGHT, {}, data), optimizer)
    return htf.continue_descent(
        state, locality.training_loss(apply, data, batch_size=3), optimizer,
        num_steps=1, record_every=1, key=KEY,
    )  # fmt: skip


def step(apply: Any, data: Any) -> Any:
    begun = locality.start_training(WEIGHT, {}, data)
    return locality.training_loss(apply, data, batch_size=3)(begun, KEY)


def slope(apply: Any, data: Any) -> Any:
    begun = locality.start_training(WEIGHT, {}, data)
    return locality.training_loss(apply, data, batch_size=3).value_and_grad(begun, KEY)


def evaluate(apply: Any, data: Any) -> Any:
    return locality.evaluate(apply, WEIGHT, {}, data)


def change(apply: Any, data: Any) -> Any:
    return locality.mean_change(apply, WEIGHT, {}, data, EitherOrder(P, Q), key=KEY)


THREE = ArrayExamples(X, np.arange(6) % 3)
SIX = ArrayExamples(X, np.arange(6))
TWO = ArrayExamples(X, np.arange(6) % 2)


@pytest.mark.parametrize("call", [descend, step, slope, evaluate])
def test_labels_without_a_logit_are_named(call: Any) -> None:
    with pytest.raises(ValueError, match=r"`examples` has label 2 at 2; .* 0 to 1 .* one"):
        call(one, THREE)
    with pytest.raises(ValueError, match=r"label 3 at 3; .* from 0 to 2 .* 3 logits"):
        call(three, SIX)


def test_labels_of_parts_and_of_a_measure_are_named() -> None:
    """Joined and selected examples count anew; one logit needs no labels to be measured."""
    with pytest.raises(ValueError, match="label 2 at 8"):
        evaluate(one, locality.join_examples(TWO, THREE))
    with pytest.raises(ValueError, match="label 4 at 1"):
        evaluate(three, locality.select_examples(SIX, [0, 4, 5]))
    with pytest.raises(ValueError, match="label 3 at 3"):
        change(three, SIX)
    assert np.isfinite(change(one, SIX))


def test_labels_with_a_logit_are_used() -> None:
    """The mean of -log softmax, by NumPy; rows without wrong labels may be selected."""
    z = np.asarray(three(WEIGHT, {}, X, train=False)[0])
    losses = np.log(np.exp(z).sum(1)) - z[np.arange(6), np.arange(6) % 3]
    np.testing.assert_allclose(evaluate(three, THREE).loss, losses.mean(), rtol=1e-12)
    chosen = locality.select_examples(SIX, [1, 2])
    assert np.isfinite(evaluate(three, chosen).loss)


def test_traced_labels_are_left_to_the_program() -> None:
    found = jax.jit(lambda data: evaluate(three, data).loss)(SIX)
    assert np.isnan(found)


# Patches


def given(places: Any) -> Any:
    """A function that knows its places."""
    return lambda key: places


DRAWS: list[tuple[Any, str]] = [
    (
        EitherOrder(P, Patch(0, 10, 4, 4)),
        "`patches.second.left=10` puts a patch of width 4",
    ),
    (EitherOrder(Patch(5, 0, 4, 4), Q), "`patches.first.top=5`"),
    (EitherOrder(P, Patch(0, 3, 4, 4)), "`patches.first` and `patches.second` overlap"),
    (EitherOrder(Patch(0, 0, 9, 2), Patch(0, 8, 9, 2)), "`patches.first.height=9` exceeds"),
    (given((P, Patch(100, 400, 4, 4))), "`patches(key)[1].top=100`"),
    (given((P, Patch(2, 2, 4, 4))), "`patches(key)[0]` and `patches(key)[1]` overlap"),
    (given(P), "`patches(key)` must be two patches (P, Q)"),
    (given((P, 3)), "`patches(key)[1]`"),
    (RandomPatches((12, 12)), "`patches.image_size=(12, 12)` exceeds the images"),
]


@pytest.mark.parametrize(("draw", "message"), DRAWS)
def test_patches_outside_of_the_images_are_named(draw: Any, message: str) -> None:
    for call in (
        lambda: locality.training_loss(one, TWO, patches=draw, batch_size=3),
        lambda: locality.training_loss(one, TWO, patches=draw, batch_size=3, coefficient=1),
        lambda: locality.mean_change(one, WEIGHT, {}, TWO, draw, key=KEY),
    ):
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            call()


def test_patches_at_the_edges_and_drawn_by_a_key_are_taken() -> None:
    draws = (
        EitherOrder(P, Patch(4, 8, 4, 4)),
        RandomPatches((8, 12)),
        lambda key: locality.random_patches(key, (8, 12), 2),
    )
    for draw in draws:
        locality.training_loss(one, TWO, patches=draw, batch_size=3, coefficient=1.0)
