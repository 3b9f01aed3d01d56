"""Rows of the accelerator's record: measurements with sizes, most valuable first."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf
from benchmarks import calibrate, descent_step, harness, locality, precision, schemes
from benchmarks import spectra as routes

# What a plan can be forced to.
FORCED = ("gather", "dense", "masked", "table", "dedup", "rows")
Found = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of all rows.

    Attributes:
      setting: the completion whose step is measured.
      steps, repeats: steps of a timed program, and calls of it.
      gemm, stream: rows of the large product, numbers of the streamed array.
      lanes, lane_width: numbers of runs at once, widths of their factors.
      sides, batch: pixels and number of a network's images.
      spectra: order and width of the factors whose singular values are taken.
      trees: of `precision.TREES`, those whose values are compared.
      seconds: share of what a row takes at full size.
    """

    setting: htf.problems.Completion
    steps: int
    repeats: int
    gemm: int
    stream: int
    lanes: tuple[int, ...]
    lane_width: int
    sides: tuple[int, ...]
    batch: int
    spectra: tuple[int, int]
    trees: tuple[str, ...]
    seconds: float = 1.0


FULL = Sizes(
    setting=htf.problems.paper("htf"), steps=100, repeats=9, gemm=8192, stream=2**28,
    lanes=(1, 4, 16, 64, 256, 1024, 4096), lane_width=64, sides=(224, 150), batch=32,
    spectra=(8, 32), trees=tuple(precision.TREES),
)  # fmt: skip
SMALL = Sizes(
    setting=htf.problems.Completion(mode_dims=4, widths=8, observed=64), steps=4, repeats=2,
    gemm=128, stream=2**16, lanes=(1, 4), lane_width=8, sides=(64,), batch=2,
    spectra=(4, 4), trees=(), seconds=0.2,
)  # fmt: skip


class Row(NamedTuple):
    """One measurement.

    Attributes:
      size: what it asks a device for, in words.
      seconds: at most, with compiling; estimated for an H100, not measured.
      option: of the command, that makes it smaller.
    """

    name: str
    size: str
    seconds: float
    option: str
    measure: Callable[[], Found]


def all_rows(sizes: Sizes) -> list[Row]:
    """Every row, most valuable first."""
    values, *more_values = _value_rows(sizes)
    rows = [
        *_paper_rows(sizes),
        values,  # without them no time counts
        *_descent_rows(sizes),
        *_lane_rows(sizes),
        *_spectra_rows(sizes),
        *_network_rows(sizes),
        *more_values,
    ]
    return [row._replace(seconds=sizes.seconds * row.seconds) for row in rows]


# The paper's step


def _paper_rows(sizes: Sizes) -> Iterator[Row]:
    size = _spelled(sizes.setting)
    yield Row("rates", f"a product of {sizes.gemm} rows", 45, "--small",
              functools.partial(rates, sizes))  # fmt: skip
    for force in ("plan", *FORCED, "exact"):
        name = f"value and gradient, {force}"
        yield Row(name, size, 20, "--small", functools.partial(gradient, sizes, force))


def rates(sizes: Sizes) -> Found:
    """Large product and stream, and the five numbers that a plan weighs by."""
    rounds = [calibrate.measure_rates() for _ in range(min(sizes.repeats, 5))]
    names = [field.name for field in dataclasses.fields(htf.Rates)]
    middle = {k: float(np.median([getattr(r, k) for r in rounds])) for k in names}
    return {
        "gemm_flops_per_second": round(harness.gemm_rate(sizes.gemm, sizes.repeats)),
        "stream_bytes_per_second": round(harness.stream_rate(sizes.stream, sizes.repeats)),
        "rates": middle,
        "range": {k: [f(getattr(r, k) for r in rounds) for f in (min, max)] for k in names},
    }


def made(setting: htf.problems.Completion) -> tuple[htf.Factors, Any]:
    """Start and loss of a completion."""
    problem = _problem(setting)
    return problem.start, problem.loss


@functools.lru_cache
def _problem(setting: htf.problems.Completion) -> Any:
    return setting.make(*jax.random.split(jax.random.key(0), 3))


def gradient(sizes: Sizes, force: Any) -> Found:
    """Value and gradient by the plan or by a route that is forced wherever it can be."""
    start, loss = made(sizes.setting)
    targets, indices = loss.targets, loss.measurement.indices
    dims = htf.mode_dims(start)
    own = loss
    if force != "plan":
        plan: Any = force
        if force != "exact":
            shape = (start.tree, dims, htf.widths(start)[start.tree.order :], len(targets))
            try:
                plan = htf.contraction_plan(
                    *shape, masked=loss.dense is not None, force=force,
                    distinct=_distinct(start.tree, np.asarray(indices)),
                )  # fmt: skip
            except ValueError as error:
                return {"left out": str(error)}
        own = htf.completion_loss(start.tree, dims, indices, targets, plan=plan)
    value = jax.jit(schemes.planned_loss)
    schemes.check_equal({"plan": value(start, loss), force: value(start, own)})
    program = harness.value_and_gradient(schemes.planned_loss, sizes.steps)
    found = _timed(program, (start, own), sizes, inner=sizes.steps)
    chosen = htf.loss_plan(own, start)
    return found | {
        "routes": [*chosen.routes, chosen.root],
        "predicted_milliseconds": round(1e3 * chosen.seconds, 5),
    }


def _distinct(tree: htf.ModeTree, indices: np.ndarray) -> list[int]:
    """Distinct observed sub-tuples of every node."""
    return [len(np.unique(indices[:, list(modes)], axis=0)) for modes in tree.modes]


# Values


def _value_rows(sizes: Sizes) -> Iterator[Row]:
    for name in sizes.trees or ("order 4, width 8",):
        yield Row(f"values, {name}", name, 90, "--only", functools.partial(values, name))
    size = "4 images of 64 x 64 pixels"
    yield Row("values, resnet18", size, 60, "--only", network_values)


def exactly() -> Any:
    """The CPU of this process, on which values are compared in float64.

    Raises:
      RuntimeError: `JAX_PLATFORMS` leaves it out.
    """
    try:
        return jax.devices("cpu")[0]
    except RuntimeError as error:
        raise RuntimeError(
            f"jax has no CPU here to compare with ({error}); name it too, as in "
            "JAX_PLATFORMS=cuda,cpu"
        ) from None


def values(name: str) -> Found:
    """Largest errors of float32 here against float64 on the CPU, kernel by kernel."""
    tree, dims, width = precision.TREES.get(name, (htf.perfect(4), 5, 8))
    here, cpu = jax.devices()[0], exactly()
    errors = {}
    with jax.enable_x64(True):
        with jax.default_device(cpu):
            factors, *data = precision.problem(tree, dims, width)
            single = jax.tree.map(lambda w: w.astype(jnp.float32), factors)
            exact = jax.tree.map(lambda w: w.astype(jnp.float64), single)
            kernels = precision.kernels(factors, *data)
        for kernel, function in kernels.items():
            wanted = jax.jit(function)(jax.device_put(exact, cpu))
            found = jax.jit(function)(jax.device_put(single, here))
            errors[kernel] = float(f"{precision.error(found, wanted):.1e}")
    return {"errors": errors}


def network_values() -> Found:
    """Largest errors of logits and of the regularizer's two passes, eval mode and training.

    In training mode batch normalization divides by what rounding has moved, and ReLUs near
    zero turn over: a percent is rounding there.
    """
    net, (p, q) = _network(), _patches()
    (params, statistics, _), x, _ = locality.problem(batch=4)

    def logits(params: Any, statistics: Any, x: jax.Array) -> Any:
        return net.apply(params, statistics, x, train=False)[0]

    def change(params: Any, statistics: Any, x: jax.Array) -> Any:
        of_images = functools.partial(logits, params, statistics)
        return htf.locality.input_gradient_change(of_images, x, p, q)

    here, cpu, errors = jax.devices()[0], exactly(), {}
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        exact = jax.device_put(_cast((params, statistics, x), jnp.float64), cpu)
        for name, function in (("logits", logits), ("gradient change", change)):
            wanted = jax.jit(function)(*exact)
            for dtype in (jnp.float32, jnp.bfloat16):
                cast = jax.device_put(_cast(exact, dtype), here)
                found = jax.jit(function)(*cast)
                label = f"{name}, {jnp.dtype(dtype).name}"
                errors[label] = float(f"{precision.error(found, wanted):.1e}")
    return {"errors": errors}


# Descent


def _descent_rows(sizes: Sizes) -> Iterator[Row]:
    size = _spelled(sizes.setting)
    for name, every, observe in (
        ("GroupRMSprop step", sizes.steps, None),
        ("step, norms every quarter", sizes.steps // 4, htf.local_component_norms),
        ("step, spectra every quarter", sizes.steps // 4, routes.route("auto")),
    ):
        own = functools.partial(descent, sizes, every, observe)
        yield Row(f"descent, {name}", size, 30, "--small", own)


def descent(sizes: Sizes, every: int, observe: Any) -> Found:
    """A step of the simulations' descent with its share of records."""
    program = descent_step.descent(observe, every, sizes.steps)
    return _timed(program, made(sizes.setting), sizes, inner=sizes.steps)


# Many runs at once


def _lane_rows(sizes: Sizes) -> Iterator[Row]:
    for count in sizes.lanes:
        name = f"{count} runs of widths {sizes.lane_width}"
        fewer = f"--lanes {max(count // 4, 1)}"
        own = functools.partial(lanes, sizes, count)
        yield Row(f"lanes, {count}", name, 25, fewer, own)


def lanes(sizes: Sizes, count: int) -> Found:
    """Steps a second of all runs together, vectorized: one run from many starts."""
    setting = dataclasses.replace(sizes.setting, init_std=3e-2, widths=sizes.lane_width)
    start, loss = made(setting)
    scales = 1 + jnp.arange(count, dtype=jnp.float32) / count
    starts = jax.tree.map(lambda w: scales[:, None, None] * w[None], start)
    losses = jax.tree.map(lambda x: jnp.repeat(x[None], count, axis=0), loss)
    one = descent_step.descent(None, sizes.steps, sizes.steps)
    found = _timed(jax.vmap(one), (starts, losses), sizes, inner=sizes.steps)
    rate = count / (1e-3 * found["milliseconds"])
    return found | {"runs": count, "steps_per_second": round(rate, 1)}


# Singular values


def _spectra_rows(sizes: Sizes) -> Iterator[Row]:
    order, width = sizes.spectra
    size = f"order {order}, D 4, width {width}, float32"
    for name in routes.ROUTES:
        own = functools.partial(singular, sizes, name)
        yield Row(f"spectra, {name}", size, 45, "--small", own)


def singular(sizes: Sizes, route: str) -> Found:
    """All singular values of all nodes, in a loop."""
    order, width = sizes.spectra
    factors = routes.problem(order, width, 0.2, jnp.float32)
    times = max(sizes.steps // 10, 2)
    program = harness.repeated(routes.route(route), times)
    return _timed(program, (factors,), sizes, inner=times)


# Networks


def _network_rows(sizes: Sizes) -> Iterator[Row]:
    for side in sizes.sides:
        for dtype in ("float32", "bfloat16"):
            for word in ("plain", "regularized"):
                size = f"{sizes.batch} images of {side} x {side} pixels, {dtype}"
                own = functools.partial(network, sizes.batch, side, dtype, word, sizes)
                fewer = f"--batch {max(sizes.batch // 2, 1)}"
                yield Row(f"resnet18, {side}, {dtype}, {word}", size, 60, fewer, own)


def network(batch: int, side: int, dtype: str, word: str, sizes: Sizes) -> Found:
    """One SGD step of ResNet18, three channels.

    The networks compute in the dtype that they are given: for bfloat16 weights, statistics,
    momentum and images are cast, with no float32 copy of the weights kept.
    """
    coefficient = 0.0 if word == "plain" else locality.COEFFICIENT
    data = locality.problem(batch=batch, side=side, channels=3)
    with jax.numpy_dtype_promotion("standard"):
        arguments = _cast(data, jnp.dtype(dtype))
        program = locality.step(_network(3), coefficient, True)
        found = _timed(program, arguments, sizes, inner=1)
    return found | {"images_per_second": round(batch / (1e-3 * found["milliseconds"]), 1)}


def _network(channels: int = 1) -> Any:
    return htf.locality.resnet(18, channels=channels)


def _patches() -> list[Any]:
    return [htf.locality.Patch(*numbers) for numbers in locality.PATCHES]


# Shared


def _timed(program: Any, arguments: tuple, sizes: Sizes, *, inner: int) -> Found:
    """Of `harness.measure`: compiling apart, milliseconds per step, temporary bytes."""
    case = {"": (program, arguments)}
    return harness.measure(case, inner=inner, repeats=sizes.repeats)[""]


def _cast(tree: Any, dtype: Any) -> Any:
    def own(x: jax.Array) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        # By way of the host: a device that is not the default one stays out of it.
        return jnp.asarray(np.asarray(x), dtype)

    return jax.tree.map(own, tree)


def _spelled(setting: htf.problems.Completion) -> str:
    cells = math.prod(np.broadcast_to(setting.mode_dims, setting.mode_tree.order).tolist())
    return (
        f"order {setting.mode_tree.order}, D {_short(setting.mode_dims)}, widths "
        f"{_short(setting.widths)}, "
        f"{setting.observed} of {cells} observed, float32"
    )


def _short(sizes: Any) -> Any:
    """One number where all are equal."""
    distinct = set(np.ravel(sizes).tolist())
    return distinct.pop() if len(distinct) == 1 else sizes
