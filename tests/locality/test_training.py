"""Training in epochs: against plain loops, resumed, stopped, failed, refused."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from htfjax import locality
from htfjax.locality import Patch
from tests.marks import slow_unless

COUNT, SIZE = 22, 8  # epochs of 8, 8 and 6
STEPS = 3
DRAW = locality.EitherOrder(Patch(0, 0, 2, 2), Patch(0, 4, 2, 2))
KEY = jax.random.key(5)


def apply(
    params: Any, statistics: Any, x: jax.Array, *, train: bool, key: Any = None
) -> tuple[jax.Array, Any]:
    """Dense, batch normalization with running statistics, tanh, dropout, dense."""
    h = x.reshape(x.shape[0], -1) @ params["a"]
    if train:
        mean, var = h.mean(0), h.var(0)
        new = {"mean": 0.9 * statistics["mean"] + 0.1 * mean,
               "var": 0.9 * statistics["var"] + 0.1 * var}  # fmt: skip
    else:
        mean, var, new = statistics["mean"], statistics["var"], statistics
    h = jnp.tanh((h - mean[None]) / jnp.sqrt(var + 1e-5)[None])
    if train and key is not None and "dropout" in params:
        h = h * jax.random.bernoulli(key, 0.5, h.shape).astype(h.dtype)
    return h @ params["b"], new


def start(dtype: Any = jnp.float64) -> tuple[Any, Any]:
    """Weights and running statistics."""
    keys = jax.random.split(jax.random.key(1))
    params = {"a": 0.3 * jax.random.normal(keys[0], (12, 5), dtype),
              "b": jax.random.normal(keys[1], (5,), dtype)}  # fmt: skip
    return params, {"mean": jnp.zeros(5, dtype), "var": jnp.ones(5, dtype)}


def examples(count: int = COUNT, dtype: Any = jnp.float64) -> locality.ArrayExamples:
    """Random images 2x6, labels by the sign of a product of far pixels."""
    x = jax.random.normal(jax.random.key(0), (count, 2, 6, 1), dtype)
    return locality.ArrayExamples(x, (x[:, 0, 0, 0] * x[:, 0, 5, 0] > 0).astype(dtype))


def loss_of(**options: Any) -> locality.TrainingLoss:
    """The loss of most tests."""
    options = {"batch_size": SIZE, "patches": DRAW} | options
    return locality.training_loss(apply, options.pop("data", examples()), **options)


def descend(
    loss: Any, optimizer: Any, lengths: list[int], state: Any = None
) -> tuple[htf.DescentState, htf.Trajectory]:
    """Epochs of descent in chunks."""
    if state is None:
        begin = locality.start_training(*start(), loss.examples)
        state = htf.start_descent(begin, optimizer)
    pieces = []
    for epochs in lengths:
        state, piece = htf.continue_descent(
            state, loss, optimizer, num_steps=epochs * STEPS, record_every=STEPS,
            observe=locality.epoch_records, key=KEY,
        )  # fmt: skip
        pieces.append(piece)
    return state, htf.join(pieces)


def assert_identical(a: Any, b: Any) -> None:
    """Equal bit for bit."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("coefficient", "batch_norm"), [(0.0, "reference"), (0.7, "reference"), (0.7, "frozen")]
)
def test_epochs_are_the_obvious_loop(coefficient: float, batch_norm: Any) -> None:
    """Weights, statistics and epoch sums of two epochs, from a loop over three batches."""
    data = examples()

    @functools.partial(jax.value_and_grad, has_aux=True)
    def objective(
        params: Any, statistics: Any, x: Any, y: Any, place: Any, key: Any
    ) -> Any:
        return locality.regularized_loss(
            apply, lambda z: jnp.mean(jnp.logaddexp(0.0, z) - y * z), params, statistics, x,
            DRAW(place), coefficient=coefficient, batch_norm=batch_norm, key=key,
            two_stage=False,
        )  # fmt: skip

    step = jax.jit(objective)
    (params, statistics), velocity = start(), None
    rows, seen = np.arange(COUNT), []
    for epoch in range(2):
        right, fit, change = 0, 0.0, 0.0
        for i in range(STEPS):
            keys = jax.random.split(jax.random.fold_in(KEY, epoch * STEPS + i), 3)
            if i == 0:
                rows = np.asarray(jax.random.permutation(keys[0], COUNT))
            x, y = data.batch(rows[i * SIZE : (i + 1) * SIZE])

            (_, (statistics, measured)), grads = step(params, statistics, x, y, *keys[1:])
            first = velocity is None
            velocity = grads if first else jax.tree.map(
                lambda v, g: 0.9 * v + g, velocity, grads
            )  # fmt: skip
            params = jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity)
            right += int(np.sum((measured.logits > 0) == (y > 0.5)))
            fit += float(measured.loss) * len(x)
            change += float(measured.change) * len(x)
        seen.append((right / COUNT, fit / COUNT, change / COUNT))
    optimizer = locality.hold(optax.sgd(0.1, momentum=0.9))
    loss = loss_of(coefficient=coefficient, batch_norm=batch_norm)
    state, trajectory = descend(loss, optimizer, [2])
    found = state.params
    for a, b in ((found.trained, params), (found.carried.statistics, statistics)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
                     a, b)  # fmt: skip
    names = ("train_accuracy", "fit_loss", "penalty")
    records = np.stack([trajectory.observed[name][1:] for name in names], axis=1)
    np.testing.assert_allclose(records, seen, rtol=1e-9)
    assert trajectory.observed["epochs"].tolist() == [0, 1, 2]


@pytest.mark.slow
def test_every_epoch_sees_every_example_once() -> None:
    """In another order each time."""
    optimizer = locality.hold(optax.sgd(0.01))
    state, orders = None, []
    for _ in range(3):
        state, _ = descend(loss_of(), optimizer, [1], state)
        orders.append(np.asarray(state.params.carried.order))
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(COUNT))
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "accumulated"])
def test_resumed_from_disk_equals_unbroken(name: str, tmp_path: Any) -> None:
    """State and records, bit for bit, also between the updates of accumulated batches."""
    optimizer = locality.hold({
        "sgd": optax.sgd(0.1, momentum=0.9),
        "accumulated": optax.MultiSteps(
            optax.adamw(1e-2, weight_decay=0.1), 2
        ).gradient_transformation(),
    }[name])  # fmt: skip
    loss = loss_of(coefficient=0.5)
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats by ints
        whole, one = descend(loss, optimizer, [6])
        state, first = descend(loss, optimizer, [3])
        htf.save_state(tmp_path / "state", state)
        fresh = htf.start_descent(
            locality.start_training(*start(), loss.examples), optimizer
        )
        loaded = htf.load_state(tmp_path / "state", like=fresh)
        resumed, second = descend(loss, optimizer, [3], loaded)
    assert_identical(resumed, whole)
    assert_identical(htf.join([first, second]), one)


@pytest.mark.slow
def test_stops_after_more_perfect_epochs_than_patience() -> None:
    """The rule counts epochs in a row; then nothing moves, momentum or not."""
    images = examples().images
    labels = (images[:, 0, 0, 0] > 0).astype(jnp.float64)
    data = locality.ArrayExamples(images.at[:, 0, 0, 0].multiply(3), labels)
    optimizer = locality.hold(optax.sgd(0.5, momentum=0.9))
    loss = loss_of(data=data, patience=3)
    held, trajectory = descend(loss, optimizer, [24])
    perfect, epochs = (np.asarray(trajectory.observed[n]) for n in ("perfect", "epochs"))
    accuracy = np.asarray(trajectory.observed["train_accuracy"])
    stop = int(np.argmax(perfect > 3))
    assert 4 <= stop < 24
    np.testing.assert_array_equal(accuracy[stop - 3 : stop + 1], 1.0)
    assert perfect[stop - 1] == 3
    assert epochs.tolist() == [min(k, stop) for k in range(25)]
    np.testing.assert_array_equal(trajectory.chords[stop:], 0.0)
    assert np.all(np.asarray(trajectory.chords[:stop]) > 0)
    exact, _ = descend(loss, optimizer, [stop])
    assert_identical(held.params.trained, exact.params.trained)
    assert_identical(held.opt_state, exact.opt_state)
    assert_identical(held.params.carried.statistics, exact.params.carried.statistics)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_training() -> None:
    """Weights and statistics before the step that failed are kept."""
    data = examples()
    bad = jax.tree.map(lambda x: x.at[7, 0, 0, 0].set(jnp.nan) if x.ndim == 4 else x, data)
    optimizer = locality.hold(optax.sgd(0.1, momentum=0.9))
    state, trajectory = descend(loss_of(data=bad), optimizer, [3])
    course = state.params.carried
    assert bool(course.failed)
    assert int(course.epochs) == 0
    assert bool(trajectory.observed["failed"][1])
    for x in jax.tree.leaves((state.params.trained, course.statistics, state.opt_state)):
        assert bool(jnp.all(jnp.isfinite(x)))


@pytest.mark.slow
def test_other_data_and_coefficients_retrace_nothing() -> None:
    """Nor do other places of the patches; leaving the regularizer out does."""
    traces = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        traces.append(None)
        return apply(*args, **kwargs)

    optimizer = locality.hold(optax.sgd(0.1))
    other = locality.EitherOrder(Patch(0, 1, 2, 2), Patch(0, 3, 2, 2))
    counts = []
    for draw, coefficient in ((DRAW, 0.5), (other, 0.1), (DRAW, 0.0)):
        loss = locality.training_loss(counted, examples(), batch_size=SIZE,
                                      patches=draw, coefficient=coefficient)  # fmt: skip
        descend(loss, optimizer, [2])
        counts.append(len(traces))
    assert counts[0] == counts[1] < counts[2]


@pytest.mark.slow
def test_gradient_norm_has_the_gradient_of_its_definition() -> None:
    """Two-stage against grad of grad, through batch statistics."""
    params, statistics = start()
    x, y = examples().batch(jnp.arange(SIZE))

    def fit(z: jax.Array) -> jax.Array:
        return jnp.mean((z - y) ** 2)

    def direct(params: Any) -> jax.Array:
        def logits(x: jax.Array) -> jax.Array:
            return apply(params, statistics, x, train=True)[0]

        g = jax.grad(lambda x: jnp.sum(logits(x)))(x)
        return fit(logits(x)) + 0.3 * jnp.mean(jnp.sum(g**2, axis=(1, 2, 3)))

    def ours(params: Any) -> Any:
        return locality.gradient_norm_loss(
            apply, fit, params, statistics, x, coefficient=0.3
        )

    (value, _), grads = jax.value_and_grad(ours, has_aux=True)(params)
    wanted, slopes = jax.value_and_grad(direct)(params)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13),
                 grads, slopes)  # fmt: skip
    optimizer = locality.hold(optax.sgd(0.05))
    loss = loss_of(coefficient=0.1, penalty="input_gradient_norm", patches=None)
    _, trajectory = descend(loss, optimizer, [3])
    assert bool(jnp.all(trajectory.observed["penalty"][1:] > 0))


@pytest.mark.parametrize(
    "batch_norm",
    slow_unless([None, "reference", "frozen", "norm"], ()),
)
def test_second_derivatives_of_a_training_loss(batch_norm: Any) -> None:
    """Differences of its own gradient, or refused; first derivatives are the same."""
    options: dict[str, Any] = {"coefficient": 0.7, "batch_norm": batch_norm or "reference"}
    if batch_norm is None:
        options["coefficient"] = 0.0
    if batch_norm == "norm":
        options |= {"batch_norm": "reference", "penalty": "input_gradient_norm"}
        options["patches"] = None
    loss = loss_of(**options)
    weights, course = locality.start_training(*start(), loss.examples)
    along = jax.tree.map(lambda w: jnp.sin(jnp.arange(w.size)).reshape(w.shape), weights)

    def value(w: Any) -> jax.Array:
        return loss(htf.Carrying(w, course), KEY)[0]

    @jax.jit
    def own(w: Any) -> Any:
        return loss.value_and_grad(htf.Carrying(w, course), KEY)[1]

    def close(a: Any, b: Any, rtol: float) -> None:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol),
                     a, b)  # fmt: skip

    close(jax.grad(value)(weights), own(weights), 1e-12)
    if batch_norm in ("reference", "frozen"):  # two stages, in the loss's own gradient
        with pytest.raises(NotImplementedError, match="two stages"):
            jax.jvp(own, (weights,), (along,))
    if batch_norm == "norm":
        with pytest.raises(NotImplementedError, match="`gradient_norm_loss`"):
            jax.jvp(jax.grad(value), (weights,), (along,))
        return
    step = 1e-4
    at = [own(jax.tree.map(lambda w, d, k=k: w + k * step * d, weights, along))
          for k in (-2, -1, 1, 2)]  # fmt: skip
    bent = jax.tree.map(lambda a, b, c, d: (a - 8 * b + 8 * c - d) / (12 * step), *at)
    close(jax.jvp(jax.grad(value), (weights,), (along,))[1], bent, 1e-7)


@pytest.mark.slow
def test_evaluation_is_a_mean_over_all_examples() -> None:
    """Whatever the batch size; the change is the mean over its batches."""
    params, statistics = start()
    data = examples()
    x, y = data.batch(jnp.arange(COUNT))
    z, _ = apply(params, statistics, x, train=False)
    for size in (5, 22, 100):
        found = locality.evaluate(apply, params, statistics, data, batch_size=size)
        np.testing.assert_allclose(found.accuracy, np.mean((z > 0) == (y > 0)), rtol=1e-12)
        wanted = np.mean(np.logaddexp(0, z) - y * z)
        np.testing.assert_allclose(found.loss, wanted, rtol=1e-12)
    keys = jax.random.split(KEY, 2)
    each = [
        locality.input_gradient_change(
            lambda x: apply(params, statistics, x, train=True)[0],
            data.batch(jnp.arange(9) + 9 * i)[0], *DRAW(keys[i]),
        )
        for i in range(2)
    ]  # fmt: skip
    found = locality.mean_change(apply, params, statistics, data, DRAW, key=KEY,
                                 batch_size=9, train=True)  # fmt: skip
    np.testing.assert_allclose(found, np.mean(each), rtol=1e-12)


@pytest.mark.slow
def test_k_logits_are_trained_by_softmax() -> None:
    """With two logits the difference is the one logit's problem."""

    def two(params: Any, statistics: Any, x: Any, *, train: bool, key: Any = None) -> Any:
        z, after = apply(params, statistics, x, train=train, key=key)
        return jnp.stack([jnp.zeros_like(z), z], axis=1), after

    optimizer = locality.hold(optax.sgd(0.1))
    one, _ = descend(loss_of(), optimizer, [2])
    loss = locality.training_loss(two, examples(), batch_size=SIZE)
    both, _ = descend(loss, optimizer, [2])
    assert_close = np.testing.assert_allclose
    jax.tree.map(lambda a, b: assert_close(a, b, rtol=1e-9),
                 one.params.trained, both.params.trained)  # fmt: skip
    assert int(one.params.carried.last.correct) == int(both.params.carried.last.correct)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 1}, "single image"),
        ({"batch_size": 7}, "leaves, of 22 examples, one"),
        ({"batch_size": 23}, "exceeds the 22"),
        ({"coefficient": 1.0, "patches": None}, "patches"),
        ({"coefficient": -1.0}, "coefficient"),
        ({"coefficient": 1.0, "batch_norm": "both"}, "none of"),
        ({"coefficient": 1.0, "penalty": "l2"}, "none of"),
        ({"patience": -1}, "patience"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    """Named before anything is compiled."""
    with pytest.raises(ValueError, match=words):
        loss_of(**options)


@pytest.mark.slow
def test_a_checkpoint_of_another_network_is_refused(tmp_path: Any) -> None:
    """The difference is said."""
    optimizer = locality.hold(optax.sgd(0.1, momentum=0.9))
    states = []
    for channels in ((4, 4), (4, 8), (4, 4, 4)):
        network = locality.strided_net(channels, (2,) * len(channels))
        begin = locality.start_training(*network.init(jax.random.key(0)), examples())
        states.append(htf.start_descent(begin, optimizer))
    htf.save_state(tmp_path / "state", states[0])
    for other in states[1:]:
        with pytest.raises(ValueError, match="something else") as caught:
            htf.load_state(tmp_path / "state", like=other)
        assert "layers" in str(caught.value)
    assert_identical(htf.load_state(tmp_path / "state", like=states[0]), states[0])


@pytest.mark.slow
def test_joined_and_selected_examples() -> None:
    """Numbers fall where they belong; what is not there is refused."""
    a, b = examples(4), examples(6)
    joined = locality.join_examples(a, b)
    x, y = joined.batch(jnp.array([3, 4, 9]))
    np.testing.assert_array_equal(x, jnp.stack([a.images[3], b.images[0], b.images[5]]))
    np.testing.assert_array_equal(y, jnp.stack([a.labels[3], b.labels[0], b.labels[5]]))
    assert joined.count == 10
    with pytest.raises(ValueError, match="from 0 to 6"):
        locality.select_examples(b, [0, 6])
    with pytest.raises(ValueError, match="images of shape"):
        locality.join_examples(
            a, locality.ArrayExamples(jnp.ones((2, 3, 3, 1)), jnp.ones(2))
        )
