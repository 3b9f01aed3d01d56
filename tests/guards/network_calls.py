"""Calls of `htfjax.locality`, and a short regularized training."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import htfjax as htf
from htfjax import locality
from tests.guards.cases import normal
from tests.guards.registry import alone
from tests.guards.tensor_calls import course

LEFT, RIGHT = locality.Patch(1, 0, 2, 2), locality.Patch(2, 4, 2, 2)


# Sums of many products, which other processors round otherwise: by 8e-6 seen.
ROUNDED = 3e-5


def _smooth(x: jax.Array) -> jax.Array:
    """A function that couples all pixels: (B, H, W, C) -> (B,)."""
    flat = x.reshape(x.shape[0], -1)
    wide = normal(31, (flat.shape[1], 5), flat.dtype)
    return jnp.sum(jnp.sin(flat @ wide) * normal(32, (1, 5), flat.dtype), axis=1)


def _images(dtype: str, *shape: int) -> jax.Array:
    return normal(33, shape or (4, 6, 7, 2), dtype)


def _labels(dtype: str, count: int) -> jax.Array:
    return jnp.asarray(np.arange(count) % 2, dtype)


def _filled(network: locality.Network, dtype: str) -> tuple[dict, dict]:
    """Weights and statistics that depend on their names and shapes only."""

    def fill(name: str, array: Any) -> jax.Array:
        fan = max(int(np.prod(array.shape[:-1])), 1)
        numbers = normal(zlib.crc32(name.encode()), array.shape, dtype)
        if len(array.shape) > 1:
            return numbers / jnp.asarray(np.sqrt(fan), dtype)
        return 1 + jnp.tanh(numbers) / 4  # scales, shifts and statistics

    shapes = jax.eval_shape(network.init, jax.random.key(0))
    params, statistics = ({k: fill(k, v) for k, v in part.items()} for part in shapes)
    return params, statistics


# patches and layers


@alone("locality.swap_patch", "locality.Patch")
def swap_patch(dtype: str) -> Any:
    return locality.swap_patch(_images(dtype), RIGHT)


@alone("locality.patch_gap")
def patch_gap(dtype: str) -> Any:
    del dtype
    return locality.patch_gap(LEFT, RIGHT)


@alone("locality.patches", "locality.split_patches", "locality.join_patches")
def patches(dtype: str) -> Any:
    images = _images(dtype, 2, 4, 6, 1)
    parts = locality.split_patches(images, (2, 3))
    return {"parts": parts, "whole": locality.join_patches(parts, (4, 6, 1), (2, 3))}


@alone("locality.convolve")
def convolve(dtype: str) -> Any:
    x, kernel = _images(dtype), normal(34, (5, 3, 3, 2), dtype)
    found = {}
    for method in ("auto", "native", "matmul"):

        def total(x: Any, kernel: Any, method: Any = method) -> Any:
            y = locality.convolve(x, kernel, stride=2, padding=1, method=method)
            return jnp.sum(jnp.sin(y)), y

        found[method] = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(x, kernel)
    return found


@alone("locality.max_pool")
def max_pool(dtype: str) -> Any:
    def total(x: Any) -> Any:
        y = locality.max_pool(x, 3, 2, 1)
        return jnp.sum(jnp.sin(y)), y

    return jax.jit(jax.value_and_grad(total, has_aux=True))(_images(dtype))


@alone("locality.logits", "locality.fit_loss", "locality.count_correct", slow=True)
def logits(dtype: str) -> Any:
    one, many = normal(35, (6,), dtype), normal(36, (6, 3), dtype)
    y = _labels(dtype, 6)
    return {
        "binary": jax.value_and_grad(locality.fit_loss)(one, y),
        "classes": jax.value_and_grad(locality.fit_loss)(many, y),
        "count": locality.count_correct(one, y),
        "count of classes": locality.count_correct(many, y),
    }


# networks


@alone("locality.ConvAC")
def conv_ac(dtype: str) -> Any:
    tree = htf.square_patches(2, 2)
    shapes = [(2, 3)] * 4 + [(3, 1)]
    weights = tuple(normal(40 + i, s, dtype) for i, s in enumerate(shapes))
    images = _images(dtype, 3, 2, 4, 1)

    def total(weights: Any) -> Any:
        factors = htf.Factors(tree=tree, weights=weights)
        out = locality.ConvAC(factors, (2, 4, 1), (1, 2))(images)
        return jnp.sum(jnp.sin(out)), out

    return jax.value_and_grad(total, has_aux=True)(weights)


@alone("locality.grid_tensor")
def grid_tensor(dtype: str) -> Any:
    templates = normal(45, (3, 2), dtype)

    def wave(images: list[jax.Array]) -> jax.Array:
        total = sum((n + 1) * jnp.sum(x, axis=-1) for n, x in enumerate(images))
        return jnp.sin(jnp.asarray(total))

    return locality.grid_tensor(wave, [templates] * 3)


def _network(network: locality.Network, images: jax.Array, dtype: str) -> Any:
    params, statistics = _filled(network, dtype)

    def total(params: Any) -> Any:
        out, after = network.apply(params, statistics, images, train=True)
        return jnp.sum(jnp.sin(out)), (out, after)

    (_, (out, after)), slopes = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    evaluated = jax.jit(lambda p: network.apply(p, statistics, images, train=False)[0])
    return {
        "logits": out,
        "statistics": after,
        "gradient": slopes,
        "evaluated": evaluated(params),
        "count": locality.count_parameters(params),
    }


@alone(
    "locality.strided_net",
    "locality.Network",
    "locality.count_parameters",
    slow=True,
    single=ROUNDED,
)
def strided_net(dtype: str) -> Any:
    return _network(locality.strided_net((3, 4), (2, 1)), _images(dtype, 3, 8, 8, 1), dtype)


@alone("locality.residual_net", slow=True, double=1e-11, single=1e-4)
def residual_net(dtype: str) -> Any:
    network = locality.residual_net((3, 4), num_logits=2)
    return _network(network, _images(dtype, 3, 8, 8, 1), dtype)


# The last batch norm has two numbers for each channel, whose difference it divides by:
# float32 is 8e-4 (jax 0.10.1) and 9e-4 (0.12.0.1) away from float64, which agrees to 2e-12
# between them, so float32 of two versions may differ by the sum.
@alone("locality.resnet", slow=True, double=1e-10, single=2e-3)
def resnet(dtype: str) -> Any:
    network = locality.resnet(18, width=0.0625)
    return _network(network, _images(dtype, 2, 32, 32, 3), dtype)


@alone("locality.as_network")
def as_network(dtype: str) -> Any:
    class Scale(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            del rngs
            self.scale = nnx.Param(jnp.asarray(0.7, dtype))

        def __call__(self, x: jax.Array, *, train: bool, key: Any) -> jax.Array:
            del train, key
            return self.scale[...] * x.mean((1, 2, 3))

    network = locality.as_network(Scale)
    params, statistics = network.init(jax.random.key(0))
    return {
        "params": params,
        "statistics": statistics,
        "out": network.apply(params, statistics, _images(dtype), train=False),
    }


# measures


@alone("locality.changes", "locality.input_gradient_change",
       "locality.training_gradient_change", "locality.warn_if_blind",
       slow=True, single=ROUNDED)  # fmt: skip
def changes(dtype: str) -> Any:
    x = _images(dtype)
    value = locality.input_gradient_change(_smooth, x, LEFT, RIGHT)

    def scaled(scale: Any) -> Any:
        def logits(x: Any) -> Any:
            return _smooth(scale * x)

        return locality.training_gradient_change(logits, x, LEFT, RIGHT)

    return {
        "value": value,
        "value and slope": jax.value_and_grad(scaled)(jnp.ones((), dtype)),
        "blind": locality.warn_if_blind(value),
    }


def _apply(w: Any, statistics: Any, x: Any, *, train: bool = True, key: Any = None) -> Any:
    """A network with running statistics."""
    del key
    mean = jnp.mean(x, axis=(0, 1, 2)) if train else statistics["mean"]
    hidden = jnp.tanh((x - mean.reshape(1, 1, 1, -1)).reshape(x.shape[0], -1) @ w["in"])
    after = {"mean": 0.9 * statistics["mean"] + 0.1 * jax.lax.stop_gradient(mean)}
    return hidden @ w["out"], after if train else statistics


def _weights(dtype: str) -> tuple[dict, dict]:
    w = {"in": normal(50, (84, 5), dtype) / 3, "out": normal(51, (5,), dtype)}
    return w, {"mean": jnp.zeros(2, dtype)}


@alone("locality.regularized_loss", "locality.Measured")
def regularized_loss(dtype: str) -> Any:
    w, statistics = _weights(dtype)
    x, y = _images(dtype), _labels(dtype, 4)

    def loss(w: Any) -> Any:
        return locality.regularized_loss(
            _apply, lambda z: locality.fit_loss(z, y), w, statistics, x, (LEFT, RIGHT),
            coefficient=0.5,
        )  # fmt: skip

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(w)


@alone("locality.gradient_norm_loss")
def gradient_norm_loss(dtype: str) -> Any:
    w, statistics = _weights(dtype)
    x, y = _images(dtype), _labels(dtype, 4)

    def loss(w: Any) -> Any:
        return locality.gradient_norm_loss(
            _apply, lambda z: locality.fit_loss(z, y), w, statistics, x, coefficient=0.5
        )

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(w)


@alone("locality.separation_spectrum", "locality.Separation", single=ROUNDED)
def separation(dtype: str) -> Any:
    return locality.separation_spectrum(
        _smooth, _images(dtype, 7, 6, 7, 2), LEFT, RIGHT, num=3
    )


@alone("locality.gradient_change_by_distance", "locality.ChangeByDistance", single=ROUNDED)
def change_by_distance(dtype: str) -> Any:
    # On 3 x 12 pixels one pair of patches is 6 apart, in two orders; a symmetric function
    # gives both the same.
    def symmetric(x: jax.Array) -> jax.Array:
        return _smooth(x) + _smooth(x[:, :, ::-1])

    found = locality.gradient_change_by_distance(
        jax.random.key(0), symmetric, _images(dtype, 3, 3, 12, 1), 3, (6,), pairs=2
    )
    return found


# examples and training


@alone("locality.examples", "locality.ArrayExamples", "locality.join_examples",
       "locality.select_examples")  # fmt: skip
def examples(dtype: str) -> Any:
    first = locality.ArrayExamples(_images(dtype), _labels(dtype, 4))
    both = locality.join_examples(first, locality.select_examples(first, [2, 0]))
    return {"count": both.count, "batch": both.batch(jnp.array([5, 1, 4]))}


@alone("locality.evaluate", "locality.Evaluation", "locality.mean_change")
def evaluate(dtype: str) -> Any:
    w, statistics = _weights(dtype)
    found = locality.ArrayExamples(_images(dtype, 6, 6, 7, 2), _labels(dtype, 6))
    fixed = jax.tree_util.Partial(_both_patches)
    return {
        "evaluate": locality.evaluate(_apply, w, statistics, found, batch_size=4),
        "mean_change": locality.mean_change(
            _apply, w, statistics, found, fixed, key=jax.random.key(0), batch_size=3
        ),
    }


def _both_patches(key: Any) -> tuple[locality.Patch, locality.Patch]:
    """Always the same."""
    del key
    return LEFT, RIGHT


@alone("locality.same_class", "locality.Images", "locality.Pairs",
       "locality.SameClassExamples", "locality.same_class_examples",
       "locality.same_class_patches", "locality.largest_distance")  # fmt: skip
def same_class(dtype: str) -> Any:
    del dtype
    pixels = np.random.default_rng(60).integers(0, 256, (5, 4, 4, 1), dtype=np.uint8)
    images = locality.Images(pixels, np.arange(5) % 2, "noise", mean=(0.5,), std=(0.2,))
    pairs = locality.Pairs(np.array([[0, 2], [1, 4]], np.int32), np.array([1, 0], np.uint8))
    made = locality.same_class_examples(images, pairs, distance=2, canvas=(8, 16))
    boxes = locality.same_class_patches(made)
    return {
        "batch": made.batch(jnp.arange(2)),
        "largest": int(locality.largest_distance(images, (8, 16))),
        "boxes": [(int(p.top), int(p.left), p.height, p.width) for p in boxes],
    }


@alone("locality.pathfinder", "locality.PathfinderImages", "locality.PathfinderExamples",
       "locality.PathfinderSettings", "locality.paper_pathfinder",
       "locality.lra_pathfinder", "locality.marker_distances",
       "locality.pathfinder_examples")  # fmt: skip
def pathfinder(dtype: str) -> Any:
    del dtype
    rng, settings = np.random.default_rng(61), locality.paper_pathfinder(3)
    images = locality.PathfinderImages(
        pixels=rng.integers(0, 256, (4, 6, 6), dtype=np.uint8),
        labels=np.array([0, 1, 1, 0], np.uint8),
        marks=rng.integers(0, 300, (4, 2, 2)).astype(np.int16),
        margins=np.full(4, 3, np.uint8),
        distractors=np.zeros(4, np.int16),
        drawn=4,
        thrown_away=0,
        settings=settings,
    )
    return {
        "distances": locality.marker_distances(images),
        "batch": locality.pathfinder_examples(images).batch(jnp.arange(3)),
        "paper": [repr(locality.paper_pathfinder(n)) for n in (3, 5, 7, 9)],
        "lra": [repr(locality.lra_pathfinder(n)) for n in (32, 64)],
    }


@alone("locality.steps_per_epoch")
def steps_per_epoch(dtype: str) -> Any:
    del dtype
    return [locality.steps_per_epoch(800, 64), locality.steps_per_epoch(128, 64)]


@alone("training", "locality.training_loss", "locality.TrainingLoss", "locality.Course",
       "locality.EpochSums", "locality.start_training", "locality.epoch_records",
       "locality.hold", "continue_descent", slow=True, double=1e-9,
       single=1e-4)  # fmt: skip
def training(dtype: str) -> Any:
    """Ten regularized steps: loss, mean |cos| and running statistics of each.

    A step takes all images, so their order is rounding only.
    """
    network = locality.strided_net((3, 4), (2, 1))
    params, statistics = _filled(network, dtype)
    found = locality.ArrayExamples(_images(dtype, 6, 8, 8, 1), _labels(dtype, 6))
    loss = locality.training_loss(
        network.apply, found, coefficient=0.5, batch_size=6,
        patches=jax.tree_util.Partial(_both_patches),
    )  # fmt: skip
    optimizer = locality.hold(optax.sgd(0.05, momentum=0.9))
    start = locality.start_training(params, statistics, found)

    def observe(params: Any) -> Any:
        # The sums of no epoch are NaN before the first step.
        records = locality.epoch_records(params)
        return {"epoch": records, "statistics": params.carried.statistics}

    state, trajectory = htf.continue_descent(
        htf.start_descent(start, optimizer), loss, optimizer, num_steps=10,
        record_every=1, observe=observe, key=jax.random.key(0),
    )  # fmt: skip
    return {"final": state.params.trained, **course(trajectory)}
