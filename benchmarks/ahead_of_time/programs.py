"""Programs of the library that people run on accelerators, in float32.

Arguments are shapes: nothing is computed, so that the sizes are those of the paper. Small
data that decide a plan (the observed indices) are there.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import htfjax as htf
from benchmarks import schemes
from htfjax import locality
from htfjax.runs import batch

STEPS, RECORD_EVERY = 1000, 25
BATCH = 64  # images a step
LANES = 256
AXIS = batch.AXIS  # of a target's devices
QUICK_SECONDS, NETWORK_SECONDS = 20.0, 120.0


class Case(NamedTuple):
    """A function with the shapes of its arguments.

    Attributes:
      loops: around a step; `steps`: that a call makes.
      spec: of all arguments on the mesh of the target's devices.
      donated: arguments whose memory results may take.
      forced: platform -> the same function with the routes of that platform; None where
        no route depends on the platform.
    """

    function: Callable[..., Any]
    arguments: tuple
    loops: int = 0
    steps: int = 1
    spec: P = P()
    donated: tuple[int, ...] = ()
    forced: Callable[[str], tuple[Callable[..., Any], tuple]] | None = None


class Program(NamedTuple):
    """A name, how its case is made on a mesh, and how long it may take to compile."""

    name: str
    build: Callable[[Mesh], Case]
    many: bool = False  # on all devices of a target, not on one
    seconds: float = QUICK_SECONDS


def shapes(tree: Any) -> Any:
    """Shapes in place of arrays and Python's numbers."""

    def shape(x: Any) -> jax.ShapeDtypeStruct:
        if isinstance(x, jax.ShapeDtypeStruct):  # it may be placed already
            return x
        x = x if hasattr(x, "dtype") else jnp.asarray(x)
        return jax.ShapeDtypeStruct(x.shape, x.dtype)

    return jax.tree.map(shape, tree)


def gradient_case(make: Callable[[Any], Any], start: Any, *more: Any) -> Case:
    """Value and gradient of loss(factors); `make(platform)` gives the loss."""

    def both(factors: htf.Factors, loss: Any, *more: Any) -> Any:
        return jax.value_and_grad(lambda f: loss(f, *more))(factors)

    def forced(platform: Any) -> tuple:
        return both, (start, make(platform), *more)

    return Case(both, (start, make(None), *more), forced=forced)


def paper() -> Any:
    """Start, loss and target of the paper's largest run: widths 512, 2048 observed."""
    return htf.problems.paper("htf").make(*jax.random.split(jax.random.key(0), 3))


def _completion(mesh: Mesh, *, penalty: Any = "l2", batch_size: int | None = None) -> Case:
    del mesh
    made = paper()

    def make(platform: Any) -> Any:
        loss = htf.completion_loss(
            made.start.tree, 8, made.indices, made.loss.targets, penalty=penalty,
            platform=platform,
        )  # fmt: skip
        return loss if batch_size is None else htf.minibatch_loss(loss, batch_size)

    more = () if batch_size is None else (jax.random.key(0),)
    return gradient_case(make, made.start, *more)


def _sensing(mesh: Mesh) -> Case:
    del mesh
    made = paper()
    vectors = htf.random_vectors(jax.random.key(1), (8,) * 4, 2048, dtype=jnp.float32)
    loss = htf.sensing_loss(vectors, made.loss.targets)
    return Case(jax.value_and_grad(lambda f, loss: loss(f)), (made.start, loss))


def _matrix_sensing(mesh: Mesh) -> Case:
    del mesh
    start = htf.problems.paper("mf").make(*jax.random.split(jax.random.key(0), 3)).start
    matrices = htf.random_matrices(jax.random.key(1), htf.mode_dims(start), 2048,
                                   dtype=jnp.float32)  # fmt: skip
    loss = htf.matrix_sensing_loss(matrices, jnp.ones(2048, jnp.float32))
    return Case(jax.value_and_grad(lambda f, loss: loss(f)), (start, loss))


def _population(mesh: Mesh, method: Any = "gram") -> Case:
    del mesh
    made = paper()
    loss = htf.population_loss(
        htf.gaussian_factors(jax.random.key(2), made.start.tree, 8, 5, 1.0,
                             dtype=jnp.float32), method=method,
    )  # fmt: skip
    return Case(jax.value_and_grad(lambda f, loss: loss(f)), (made.start, loss))


def _scaled(mesh: Mesh) -> Case:
    del mesh
    made = paper()
    return Case(htf.scaled_value_and_grad, (made.loss, made.start))


def _descent(mesh: Mesh, optimizer: Any = None) -> Case:
    del mesh
    made, optimizer = paper(), optimizer or htf.group_rmsprop(1e-2)

    def descend(start: Any, loss: Any) -> Any:
        return htf.descend(
            start, loss, optimizer, num_steps=STEPS, record_every=RECORD_EVERY,
            observe=htf.local_component_norms,
        )  # fmt: skip

    def forced(platform: Any) -> tuple:
        loss = htf.completion_loss(made.start.tree, 8, made.indices, made.loss.targets,
                                   platform=platform)  # fmt: skip
        return descend, (made.start, loss)

    arguments = made.start, made.loss
    return Case(descend, arguments, loops=2, steps=STEPS, forced=forced)


def _flow(mesh: Mesh, *, solver: Any) -> Case:
    del mesh
    made = htf.problems.Completion().make(*jax.random.split(jax.random.key(0), 3))

    def flow(start: Any, loss: Any) -> Any:
        return htf.gradient_flow(
            start, loss, times=np.linspace(0.0, 1.0, 11), rtol=1e-3, atol=0.0, clock="arc",
            solver=solver, observe=htf.local_component_norms,
        )  # fmt: skip

    return Case(flow, (made.start, made.loss), loops=1)


def _instrument(mesh: Mesh, function: Callable[..., Any], order: int, width: int) -> Case:
    del mesh
    factors = htf.gaussian_factors(
        jax.random.key(0), htf.perfect(order), 4, width, 0.2, dtype=jnp.float32
    )
    return Case(function, (htf.group(factors) if order > 16 else factors,))


def _all_norms(factors: Any) -> Any:
    return (
        htf.local_component_norms(factors),
        htf.component_contributions(factors),
        htf.unbalancedness(factors),
        htf.squared_norm(factors),
    )


def _wide(mesh: Mesh, order: int, kind: str) -> Case:
    del mesh
    factors, indices, targets = schemes.problem(htf.perfect(order), 2, 8, 1000)
    grouped = htf.group(factors)
    if kind == "sensing":
        vectors = htf.random_vectors(jax.random.key(2), (2,) * order, 1000,
                                     dtype=jnp.float32)  # fmt: skip
        loss = htf.sensing_loss(jnp.stack(vectors), targets)
        return Case(jax.value_and_grad(lambda f, loss: loss(f)), (grouped, loss))
    return gradient_case(
        lambda platform: htf.completion_loss(
            factors.tree, 2, indices, targets, platform=platform
        ),
        grouped,
    )  # fmt: skip


def _lanes(mesh: Mesh, *, count: int = LANES, sensing: bool = False) -> Case:
    """A chunk of runs, vectorized over the lanes of each device."""
    lane = htf.runs.make_lane(htf.runs.completion_lane, htf.problems.Completion(), 0)
    if sensing:
        vectors = htf.random_vectors(jax.random.key(1), (8,) * 4, 2048, dtype=jnp.float32)
        loss = htf.sensing_loss(vectors, jnp.ones(2048, jnp.float32))
        lane = htf.runs.Lane(state=lane.state, loss=loss, observe=lane.observe, key=None,
                             optimizer=lane.optimizer)  # fmt: skip
    stacked = jax.tree.map(lambda x: _array((count, *x.shape), x.dtype), shapes(lane))
    rest: Any = dataclasses.replace(stacked, state=None, key=None)
    names = ("loss", "grad_norm", *jax.eval_shape(lane.observe, lane.state.params))

    def advance(states: Any, lanes: Any, active: Any) -> Any:
        return batch.advance(
            states, lanes, active, mesh=mesh, width=count // mesh.size, names=names,
            num_steps=STEPS, record_every=RECORD_EVERY,
        )  # fmt: skip

    active = jax.ShapeDtypeStruct((count,), bool)
    arguments = stacked.state, rest, active
    return Case(advance, arguments, loops=2, steps=STEPS, spec=P(AXIS), donated=(0,))


def _sharded(mesh: Mesh, *, count: int = 10**7) -> Case:
    """Value and gradient of one run whose observations are dealt to all devices."""
    vectors = [_array((count, 16))] * 4
    loss = jax.eval_shape(htf.sensing_loss, vectors, _array((count,)))
    start = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 16, 16, 0.2,
                                 dtype=jnp.float32)  # fmt: skip
    dealt = htf.sharded_loss(loss, mesh)
    return Case(lambda loss, f: jax.value_and_grad(loss)(f), (dealt, start))


def _network(
    mesh: Mesh, *, side: int, channels: int, coefficient: float, method: Any = "auto"
) -> Case:
    """A step of ResNet18 as the paper trains it."""
    del mesh
    size = 32 if channels == 3 else 2
    first = locality.Patch(side // 2 - size // 2, 0, size, size)
    second = locality.Patch(side // 2 - size // 2, side - size, size, size)
    optimizer = optax.sgd(0.01, 0.9)

    def step_of(net: locality.Network) -> Callable[..., Any]:
        def step(state: Any, x: jax.Array, y: jax.Array) -> Any:
            params, statistics, slots = state

            def loss(params: Any) -> Any:
                return locality.regularized_loss(
                    net.apply,
                    lambda z: jnp.mean(optax.sigmoid_binary_cross_entropy(z, y)),
                    params, statistics, x, (first, second), coefficient=coefficient,
                )  # fmt: skip

            grads, (statistics, seen) = jax.grad(loss, has_aux=True)(params)
            updates, slots = optimizer.update(grads, slots, params)
            return (optax.apply_updates(params, updates), statistics, slots), seen

        return step

    net = locality.resnet(18, channels=channels, method=method)
    params, statistics = jax.eval_shape(net.init, jax.random.key(0))
    state = params, statistics, jax.eval_shape(optimizer.init, params)
    x = jax.ShapeDtypeStruct((BATCH, side, side, channels), jnp.float32)
    y = jax.ShapeDtypeStruct((BATCH,), jnp.float32)

    def forced(platform: Any) -> tuple:
        method: Any = "matmul" if platform == "cpu" else "native"
        return step_of(locality.resnet(18, channels=channels, method=method)), (state, x, y)

    return Case(step_of(net), (state, x, y), donated=(0,), forced=forced)


def _training(mesh: Mesh, *, task: str) -> Case:
    """An epoch and a half of a training loop, the data on the device."""
    del mesh
    channels = 3 if task == "is_same_class" else 1
    net = locality.resnet(18, channels=channels)
    examples, patches = _examples(task)

    def make(examples: Any) -> locality.TrainingLoss:
        return locality.training_loss(
            net.apply, examples, coefficient=1.0, patches=patches, batch_size=BATCH
        )

    loss = jax.eval_shape(make, examples)
    optimizer = locality.hold(optax.sgd(0.01, 0.9))
    key = jax.random.key(0)

    def start(key: jax.Array, examples: Any) -> Any:
        params, statistics = net.init(key)
        training = locality.start_training(params, statistics, examples)
        return htf.start_descent(training, optimizer)

    state = jax.eval_shape(start, key, examples)
    steps = locality.steps_per_epoch(examples.count, BATCH)

    def train(state: Any, loss: Any, key: jax.Array) -> Any:
        return htf.continue_descent(
            state, loss, optimizer, num_steps=2 * steps, record_every=steps, key=key,
            observe=locality.epoch_records,
        )  # fmt: skip

    arguments = state, loss, key
    return Case(train, arguments, loops=2, steps=2 * steps, donated=(0,))


def _examples(task: str) -> tuple[Any, Any]:
    """Examples of the paper's size as shapes, and how patches are drawn."""
    if task == "is_same_class":
        examples = locality.SameClassExamples(
            pixels=_array((50_000, 32, 32, 3), jnp.uint8),
            rows=_array((5000, 2), jnp.int32), labels=_array((5000,), jnp.uint8),
            scale=_array((3,)), shift=_array((3,)), distance=_array((), jnp.int32),
            canvas=(224, 224), name="CIFAR-10",
        )  # fmt: skip
        left, right = (locality.Patch(96, left, 32, 32) for left in (0, 192))
        return examples, locality.EitherOrder(left, right)
    pixels, labels = _array((10_000, 150, 150, 1), jnp.uint8), _array((10_000,), jnp.int32)
    examples = jax.eval_shape(locality.ArrayExamples, pixels, labels)
    return examples, locality.RandomPatches((150, 150), 2, 0)


def _array(shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
    return jax.ShapeDtypeStruct(tuple(shape), dtype)


def _spectra(method: Any) -> Callable[..., Any]:
    return lambda factors: {
        k: spectrum.values for k, spectrum in htf.spectra(factors, method=method).items()
    }


some = functools.partial
PROGRAMS = {
    program.name: program
    for program in (
        Program("completion", _completion),
        Program("completion, l1", some(_completion, penalty="l1")),
        Program("completion, minibatch of 256", some(_completion, batch_size=256)),
        Program("sensing", _sensing),
        Program("matrix sensing", _matrix_sensing),
        Program("population, Gram", _population),
        Program("population, QR", some(_population, method="qr")),
        Program("scaled gradient", _scaled),
        Program("descent, 1000 steps", _descent),
        Program("descent, Adam", some(_descent, optimizer=optax.adam(1e-3))),
        Program("flow, stabilized", some(_flow, solver="stabilized")),
        Program("flow, explicit", some(_flow, solver="explicit")),
        Program("spectra, dense", some(_instrument, function=_spectra("dense"), order=8,
                                       width=32)),
        Program("spectra, QR", some(_instrument, function=_spectra("qr"), order=64,
                                    width=16)),
        Program("spectra, Gram", some(_instrument, function=_spectra("gram"), order=64,
                                      width=16)),
        Program("norms", some(_instrument, function=_all_norms, order=64, width=16)),
        Program("completion, order 256", some(_wide, order=256, kind="completion")),
        Program("sensing, order 256", some(_wide, order=256, kind="sensing")),
        Program("completion, order 1024", some(_wide, order=1024, kind="completion")),
        Program("sensing, order 1024", some(_wide, order=1024, kind="sensing")),
        Program("256 lanes", _lanes),
        Program("256 lanes, sensing", some(_lanes, sensing=True)),
        Program("lanes over devices", _lanes, many=True),
        Program("sensing of 10^7, sharded", _sharded, many=True),
        *(
            Program(f"ResNet18, {side} pixels, {kind}",
                    some(_network, side=side, channels=channels, coefficient=coefficient),
                    seconds=NETWORK_SECONDS)
            for side, channels in ((224, 3), (150, 1))
            for kind, coefficient in (("plain", 0.0), ("regularized", 1.0))
        ),
        Program("training, is-same-class", some(_training, task="is_same_class"),
                seconds=NETWORK_SECONDS),
        Program("training, pathfinder", some(_training, task="pathfinder"),
                seconds=NETWORK_SECONDS),
    )
}  # fmt: skip
