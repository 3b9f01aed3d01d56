"""Measurements of a user's own: averages over blocks of entries, in every use."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from tests import helpers

TREE, DIMS = htf.perfect(4), (2, 3, 2, 3)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlockMeans:
    """Means of blocks of `size` entries that follow each other."""

    entries: htf.losses.Entries
    size: int = dataclasses.field(metadata={"static": True})

    def predict(self, layout, stacks):
        values = self.entries.predict(layout, stacks)
        return values.reshape(-1, self.size).mean(axis=1)

    def take(self, rows):
        places = rows[:, None] * self.size + jnp.arange(self.size)[None, :]
        return BlockMeans(self.entries.take(places.ravel()), self.size)


INDICES = np.asarray(htf.random_indices(jax.random.key(3), DIMS, 15))  # five blocks


def blocks(plan: Literal["auto", "exact"] | htf.Plan = "auto") -> BlockMeans:
    return BlockMeans(htf.losses.Entries.at(TREE, DIMS, INDICES, plan=plan), 3)


def factors(seed=0, dtype=None, std=0.8):
    return htf.gaussian_factors(jax.random.key(seed), TREE, DIMS, 3, std, dtype=dtype)


TARGETS = np.linspace(-1.0, 1.0, 5)


def expected(factors: htf.Factors, rows: Any = slice(None)) -> np.ndarray:
    """Residuals from the whole tensor."""
    tensor = np.asarray(htf.end_tensor(factors))
    values = tensor[tuple(INDICES.T)].reshape(-1, 3).mean(axis=1)
    return (values - TARGETS)[rows]


@pytest.mark.parametrize("plan", ["auto", "exact"])
@pytest.mark.parametrize("given", [lambda f: f, htf.group])
def test_values_and_gradients(plan, given):
    loss = htf.observation_loss(blocks(plan), TARGETS)
    found = factors()
    helpers.assert_close(htf.residuals(loss, given(found)), expected(found))
    helpers.assert_close(loss(given(found)), np.mean(expected(found) ** 2))

    def dense(f):
        tensor = htf.end_tensor(f)
        values = tensor[tuple(INDICES.T)].reshape(-1, 3).mean(axis=1)
        return jnp.mean((values - TARGETS) ** 2)

    slopes = jax.jit(jax.grad(loss))(given(found))
    slopes = htf.ungroup(slopes) if isinstance(slopes, htf.GroupedFactors) else slopes
    for one, other in zip(
        slopes.weights, jax.jit(jax.grad(dense))(found).weights, strict=True
    ):
        helpers.assert_close(one, other)


@pytest.mark.parametrize("penalty", ["l1", "huber"])
def test_penalties(penalty):
    loss = htf.observation_loss(blocks(), TARGETS, penalty=penalty, threshold=0.3)
    found = factors()
    helpers.assert_close(
        loss(found), htf.penalize(expected(found), penalty=penalty, threshold=0.3)
    )


def test_minibatches():
    loss = htf.minibatch_loss(htf.observation_loss(blocks(), TARGETS), 2)
    key, found = jax.random.key(5), factors()
    rows = jax.random.permutation(key, 5)[:2]
    helpers.assert_close(loss(found, key), np.mean(expected(found, rows) ** 2))


@pytest.mark.slow
def test_scaled_gradients():
    """In float32 where the gradient underflows, against float64 where it does not."""
    tiny = factors(dtype=jnp.float32, std=1e-9)
    loss = htf.observation_loss(blocks(), TARGETS)
    found = jax.jit(htf.scaled_value_and_grad)(loss, tiny)
    slopes = jax.jit(jax.grad(loss))
    wide = slopes(jax.tree.map(lambda x: x.astype(jnp.float64), tiny))
    assert not any(np.any(x) for x in jax.tree.leaves(slopes(tiny)))
    for one, other in zip(found.gradient.weights, wide.weights, strict=True):
        exact = np.asarray(other) * 2.0 ** -float(found.log2_scale)
        np.testing.assert_allclose(one, exact, rtol=1e-4, atol=1e-6)


def test_descent_and_sums():
    loss = htf.observation_loss(blocks(), TARGETS)
    _, alone = htf.descend(
        factors(), loss, optax.sgd(0.05), num_steps=200, record_every=100
    )
    assert alone.losses[-1] < 0.5 * alone.losses[0]
    both = loss + 0.5 * loss
    helpers.assert_close(both(factors()), 1.5 * loss(factors()))


@dataclasses.dataclass(frozen=True)
class Setting:
    std: float = 0.5


OPTIMIZER = optax.sgd(0.05)


def build(setting, key):
    start = htf.gaussian_factors(key, TREE, DIMS, 3, setting.std)
    return htf.runs.Lane(
        state=htf.start_descent(start, OPTIMIZER),
        loss=htf.observation_loss(blocks(), TARGETS),
        observe=None,
        key=None,
        optimizer=OPTIMIZER,
    )


@pytest.mark.slow
def test_ensembles(tmp_path):
    grid, out = htf.runs.Grid(Setting(), seeds=(0, 1)), tmp_path / "out"
    for _ in htf.runs.run(grid, out, until_step=20, record_every=10, build=build):
        pass
    results = htf.load_results(tmp_path / "out")
    start = build(Setting(), jax.random.key(1))
    helpers.assert_close(
        results.loss.sel(seed=1).values.ravel()[0], start.loss(start.state.params)
    )


def test_one_program_serves_all_data():
    count = 0

    @jax.jit
    def value(loss, f):
        nonlocal count
        count += 1
        return loss(f)

    for shift in range(3):
        value(htf.observation_loss(blocks(), TARGETS + shift), factors())
    assert count == 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Wrong(BlockMeans):
    def predict(self, layout, stacks):
        return self.entries.predict(layout, stacks)


def test_predictions_of_another_shape_are_named():
    loss = htf.observation_loss(Wrong(blocks().entries, 3), TARGETS)
    message = r"`measurement` predicts values of shape \(15,\), expected \(B,\) = \(5,\)"
    for call in (loss, jax.jit(loss), jax.grad(loss)):
        with pytest.raises(ValueError, match=message):
            call(factors())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Odd(BlockMeans):
    kind: str = dataclasses.field(default="", metadata={"static": True})

    def predict(self, layout, stacks):
        return ODD[self.kind](super().predict(layout, stacks))


ODD = {
    "int32": lambda x: x.astype(np.int32),
    "bool": lambda x: x > 0,
    "complex128": lambda x: x.astype(complex),
    "None": lambda x: None,
    "[": lambda x: list(x),
    "()": lambda x: x[0],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ODD)
def test_predictions_of_another_kind_are_named(kind):
    loss = htf.observation_loss(Odd(blocks().entries, 3, kind), TARGETS)
    for call in (loss, lambda f: htf.scaled_value_and_grad(loss, f)):
        with pytest.raises((TypeError, ValueError)) as caught:
            call(factors())
        assert str(caught.value).startswith("`measurement` predicts")
        assert kind in str(caught.value)


@pytest.mark.parametrize(
    ("measurement", "words"),
    [
        (lambda f: f, "predict"),
        (BlockMeans, "predict"),
        (None, "predict"),
        (type("Bare", (), {"predict": print, "take": print})(), "pytree"),
    ],
)
def test_other_measurements_are_refused(measurement, words):
    with pytest.raises(TypeError, match=f"`measurement` must .*{words}"):
        htf.observation_loss(measurement, TARGETS)


def test_a_layout_that_changes_between_calls_is_named():
    """A jitted function is traced anew for factors of another layout, and says so."""
    loss = jax.jit(htf.observation_loss(blocks(), TARGETS))
    loss(factors())
    other = htf.gaussian_factors(jax.random.key(0), htf.flat(4), DIMS, 3, 1.0)
    with pytest.raises(ValueError, match="`factors` do not fit the loss"):
        loss(other)
