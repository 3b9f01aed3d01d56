"""Contract: losses, optimizers, descent and flow."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import htfjax as htf
from tests.guards.contract_values import TREE, close, completion, equal, normal, observed


def check_losses() -> None:
    """Means over the batch without a half: squares, sizes, and smooth sizes."""
    factors = normal()
    indices, targets = observed()
    x = np.asarray(htf.entries(factors, indices)) - targets
    size = np.abs(x)
    smooth = np.where(size < 0.3, x**2 / 0.6, size - 0.15)
    for penalty, expected in (("l2", x**2), ("l1", size), ("huber", smooth)):
        options: dict[str, Any] = {"penalty": penalty, "threshold": 0.3}
        loss = htf.completion_loss(TREE, 3, indices, targets, **options)
        assert close(loss(factors), np.mean(expected)), penalty
    vectors = [np.eye(3)[indices[:, n]] for n in range(4)]
    assert close(htf.sensing_loss(vectors, targets)(factors), np.mean(x**2))
    pair = normal(tree=htf.flat(2))
    matrices = np.random.default_rng(1).normal(size=(5, 3, 3))
    off = np.einsum("bij,ij->b", matrices, htf.end_tensor(pair)) - np.arange(5.0)
    loss = htf.matrix_sensing_loss(matrices, np.arange(5.0))
    assert close(loss(pair), np.mean(off**2))
    assert completion()(normal(dtype="float32")).dtype == np.float32


def losses_of(seed: int) -> dict[str, tuple[Any, Any]]:
    """One loss of each kind, of the same shapes for every seed, and factors."""
    indices, targets = observed(seed)
    rng = np.random.default_rng(seed)
    vectors = [rng.normal(size=(20, 3)) for _ in range(4)]
    matrices = rng.normal(size=(20, 3, 3))
    return {
        "completion": (htf.completion_loss(TREE, 3, indices, targets), normal(seed)),
        "sensing": (htf.sensing_loss(vectors, targets), normal(seed)),
        "matrix sensing": (
            htf.matrix_sensing_loss(matrices, targets),
            normal(seed, htf.flat(2)),
        ),
    }


def check_losses_are_pytrees() -> None:
    """No comparison by value; new data of a shape retrace nothing; vmap over data."""
    first, second = losses_of(0), losses_of(1)
    for name, (loss, factors) in first.items():
        traces = []

        @jax.jit
        def value(loss: Any, factors: Any, traces: list = traces) -> Any:
            traces.append(None)
            return jax.value_and_grad(loss)(factors)

        other, moved = second[name]
        value(loss, factors)
        found, _ = value(other, moved)
        assert len(traces) == 1, name
        assert close(found, other(moved)), name
        assert len(jax.tree.leaves(loss)) > 1, name
        leaves, structure = jax.tree.flatten(loss)
        copied = jax.tree.unflatten(structure, leaves)
        assert loss != copied, name
        assert loss == loss, name
        assert isinstance(hash(loss), int), name
        both = jax.tree.map(lambda *x: jnp.stack(x), loss, other)
        values = jax.vmap(lambda loss, factors=factors: loss(factors))(both)
        assert close(values, [loss(factors), other(factors)]), name


def check_optimizers() -> None:
    """Optax transformations: one adaptive size for all numbers; schedules and eps=0."""
    params = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
    for transform in (htf.scale_by_group_rms(0.9, 0.0), htf.group_rmsprop(0.1, 0.9, 0.0)):
        assert isinstance(transform, optax.GradientTransformation)
        update: Any = transform.update(params, transform.init(params), params)[0]
        assert close(update["a"][0] / update["b"][0, 0], 0.75)
    scheduled = htf.group_rmsprop(optax.constant_schedule(0.1))
    scheduled.update(params, scheduled.init(params), params)


def check_descent() -> None:
    """(final, Trajectory); steps, losses and observed are read before the update."""
    start, loss, rate = normal(), completion(), 1e-2
    options: dict[str, Any] = {"num_steps": 6, "record_every": 2}
    observe = htf.local_component_norms
    final, path = htf.descend(start, loss, optax.sgd(rate), observe=observe, **options)
    assert isinstance(path, htf.Trajectory)
    assert path.steps.tolist() == [0, 2, 4, 6]
    params, slope = start, jax.jit(jax.grad(loss))
    for step in range(7):
        if step % 2 == 0:
            assert close(path.losses[step // 2], loss(params))
            assert close(path.observed[6][step // 2], observe(params)[6])
        if step < 6:
            gradient = slope(params)
            params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
    assert all(map(close, jax.tree.leaves(final), jax.tree.leaves(params)))
    assert htf.descend(start, loss, optax.sgd(rate), **options)[1].observed is None
    numbers, _ = htf.descend({"x": jnp.ones(2)}, lambda p: jnp.sum(p["x"] ** 2),
                             optax.sgd(0.25), num_steps=1, record_every=1)  # fmt: skip
    assert close(numbers["x"], [0.5, 0.5])


def check_random_losses() -> None:
    """With `key` a loss takes key_t = fold_in(key, step)."""
    key = jax.random.key(5)

    def loss(x: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.sum(x * jax.random.normal(key, x.shape, x.dtype))

    start, optimizer = jnp.ones(3), optax.sgd(1.0)
    state, path = htf.continue_descent(
        htf.start_descent(start, optimizer), loss, optimizer,
        num_steps=3, record_every=1, key=key,
    )  # fmt: skip
    x, keys = start, [jax.random.fold_in(key, t) for t in range(4)]
    for step in range(4):
        assert close(path.losses[step], loss(x, keys[step]))
        if step < 3:
            x = x - jax.random.normal(keys[step], (3,), x.dtype)
    assert close(state.params, x)


def check_chunks() -> None:
    """A descent in chunks equals one scan bit for bit."""
    optimizer, loss = htf.group_rmsprop(1e-2), completion()
    start = htf.start_descent(normal(), optimizer)
    assert isinstance(start, htf.DescentState)
    assert int(start.step) == 0
    assert equal(start.params, normal())
    options: dict[str, Any] = {"record_every": 2, "observe": htf.local_component_norms}
    whole, one = htf.continue_descent(start, loss, optimizer, num_steps=12, **options)
    state, pieces = start, []
    for _ in range(3):
        state, piece = htf.continue_descent(state, loss, optimizer, num_steps=4, **options)
        pieces.append(piece)
    assert int(state.step) == 12
    assert equal(state, whole)
    for read in (lambda t: t.losses, lambda t: t.steps, lambda t: t.observed[6]):
        joined = [np.asarray(read(piece)) for piece in pieces]
        ends = [part[:-1] for part in joined[:-1]]
        assert np.array_equal(np.concatenate([*ends, joined[-1]]), read(one))
    final, _ = htf.descend(normal(), loss, optimizer, num_steps=12, **options)
    assert equal(final, whole.params)


def check_flow() -> None:
    """(final, Trajectory) whose `times` are those asked for."""
    times = np.array([0.0, 0.5, 1.0])
    final, path = htf.gradient_flow(
        jnp.array([2.0, 1.0]), lambda x: jnp.sum(x**2) / 2,
        times=times, rtol=1e-8, atol=0.0, observe=lambda x: x[0],
    )  # fmt: skip
    assert isinstance(path, htf.Trajectory)
    assert close(path.times, times)
    decay = np.exp(-times)
    assert np.allclose(path.observed, 2 * decay, rtol=1e-6)
    assert np.allclose(path.losses, 2.5 * decay**2, rtol=1e-6)
    assert np.allclose(final, np.array([2.0, 1.0]) * decay[-1], rtol=1e-6)
