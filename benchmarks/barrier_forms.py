"""Places of the library whose form was chosen for XLA, and their plain forms.

Each is an optimization barrier or a spelling that means the same as a plainer one. The
command is `python -m benchmarks.barriers`. This file alone of the benchmarks reaches into
the library, to put plain forms in their place.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import htfjax as htf
from benchmarks import harness, schemes
from benchmarks import locality as resnet_steps
from htfjax import _numerics, locality
from htfjax.contraction import end_tensor, evaluate
from htfjax.instruments import gram, qr_sweep, scaled_stacks
from htfjax.locality.networks import layers, normalization
from htfjax.locality.networks.convolution import (
    convolution,
    im2col,
    winograd,
)
from htfjax.locality.networks.convolution.bilinear import bilinear

Measure = Literal["ms", "compile s", "MB", "eager ms", "first call s"]
Problem = tuple[Callable[..., Any], tuple]  # a function and its arguments
Plain = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclasses.dataclass(frozen=True)
class Form:
    """A place whose form was chosen for the compiler.

    Attributes:
      name: FUNCTION, or FUNCTION/WHAT.
      file: below `htfjax/`.
      about: what it is for.
      plain: puts the plain form in its place, while its context lasts.
      measures: what may be more without it: milliseconds of a compiled call, seconds to
        compile it, megabytes of temporaries, milliseconds of a call that is not jitted,
        seconds of the first such call.
      problem: what is run, given whether a small size is asked for; None for tests only.
      barriers: calls of `optimization_barrier` in it.
      tests: what fails with the plain form, one of them at least.
      edit: text of the file and that of the plain form, for tests, which may start
        processes of their own.
    """

    name: str
    file: str
    about: str
    plain: Plain | None = None
    measures: tuple[Measure, ...] = ()
    problem: Callable[[bool], Problem] | None = None
    barriers: int = 0
    tests: tuple[str, ...] = ()
    edit: tuple[str, str] | None = None


class _Instead:
    """A module with some of its names replaced."""

    def __init__(self, module: Any, **names: Any) -> None:
        self._module, self._names = module, names

    def __getattr__(self, name: str) -> Any:
        names = self.__dict__["_names"]
        return names[name] if name in names else getattr(self.__dict__["_module"], name)


def _itself(x: Any) -> Any:
    return x


NO_BARRIER = _Instead(lax, optimization_barrier=_itself)


def _patched(*changes: tuple[Any, str, Any]) -> Plain:
    """Replaces attributes of modules."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for owner, name, new in changes:
                stack.enter_context(mock.patch.object(owner, name, new))
            yield

    return context


def _unbarred(module: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a module, its barriers doing nothing."""
    name, new = ("lax", NO_BARRIER)
    if not hasattr(module, "lax"):
        name, new = "jax", _Instead(jax, lax=NO_BARRIER)

    def plain(*arguments: Any, **options: Any) -> Any:
        with mock.patch.object(module, name, new):
            return function(*arguments, **options)

    return plain


# The plain forms.


def _any_transposed(scaled: Any) -> Any:
    return jnp.swapaxes(scaled[0], 1, 2), scaled[1]


def _lifted_by_all_entries(stack: jax.Array, exponents: jax.Array) -> Any:
    return scaled_stacks.lifted(stack, exponents)


def _transposed_product(left: jax.Array, right: jax.Array, precision: Any) -> jax.Array:
    return jnp.matmul(left, right.T, precision=precision)


def _gathered_one_by_one(tables: jax.Array, rows: jax.Array) -> jax.Array:
    return jax.vmap(lambda table, row: table[row])(tables, rows)


def _gathered_pieces(pieces: Any, nodes: Any) -> Any:
    held = [stack for _, stack in pieces]
    place = {n: i for i, n in enumerate(n for kids, _ in pieces for n in kids)}
    joined = jax.tree.map(lambda *xs: jnp.concatenate(xs), *held)
    return jax.tree.map(lambda x: x[np.asarray([place[n] for n in nodes])], joined)


def _derived_overlap_add(
    windows: jax.Array, sizes: tuple[int, int], stride: int, padding: int
) -> jax.Array:
    count, _, _, high, wide, channels = windows.shape
    image = jax.ShapeDtypeStruct((count, *sizes, channels), windows.dtype)
    gathered = jax.linear_transpose(
        lambda x: im2col.window_rows(x, (high, wide), stride, padding), image
    )
    return gathered(windows.reshape(*windows.shape[:3], -1))[0]


def _wide_on_the_left(cotangent: jax.Array, x: Any, kernel: Any, **options: Any) -> Any:
    shape = kernel.aval.shape
    size = {name: options[name] for name in ("stride", "padding")}
    windows = im2col.window_rows(x, shape[1:3], **size)
    rows, windows = cotangent.reshape(-1, shape[0]), windows.reshape(-1, windows.shape[3])
    sums = lax.dot_general(
        rows, windows, (((0,), (0,)), ((), ())), precision=options["precision"]
    )
    return sums.reshape(shape)


PLAIN_WINDOWS = bilinear(
    "convolution_by_windows, the wider matrix on the left",
    im2col._products,
    im2col._shape,
    (im2col._to_image, _wide_on_the_left),
    ("stride", "padding", "precision"),
)


def _window_maximum(x: jax.Array, size: int, stride: int, padding: int) -> jax.Array:
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    low = np.asarray(-np.inf, x.dtype)  # known while tracing, or it has no derivative
    return lax.reduce_window(
        x, low, lax.max, (1, size, size, 1), (1, stride, stride, 1), pads
    )


def _derived_normalize(rows: jax.Array, scale: jax.Array, bias: jax.Array) -> Any:
    return normalization.normalize.fun(rows, scale, bias)


# The problems. In a loop they are those of the harness, which carry what a turn finds.


def _spectra(method: Any) -> Callable[[bool], Problem]:
    def make(quick: bool) -> Problem:
        factors, _, _ = schemes.problem(htf.perfect(8), 4, 32, 1)
        return harness.repeated(lambda f: htf.spectra(f, method=method), 20), (factors,)

    return make


def _wide_spectra(quick: bool) -> Problem:
    """Values of all nodes of a wide tree."""
    factors, _, _ = schemes.problem(htf.perfect(64 if quick else 256), 2, 8, 1)
    work = harness.repeated(lambda f: htf.spectra(f, method="gram").stacks[0].values, 3)
    return work, (htf.group(factors),)


def _deep(quick: bool) -> Problem:
    """A deep tree: its sweeps are long chains."""
    factors, _, _ = schemes.problem(htf.caterpillar(12 if quick else 40), 2, 4, 1)
    return lambda f: htf.spectra(f, method="qr"), (factors,)


def _eager_spectra(method: Any) -> Callable[[bool], Problem]:
    def make(quick: bool) -> Problem:
        factors, _, _ = schemes.problem(htf.perfect(16 if quick else 64), 4, 16, 1)
        return lambda f: htf.spectra(f, method=method), (factors,)

    return make


def _completion(order: int, width: int, batch: int, group: bool = False) -> Any:
    def make(quick: bool) -> Problem:
        dim = 2 if group else 4
        count = batch // 4 if quick else batch
        factors, indices, targets = schemes.problem(htf.perfect(order), dim, width, count)
        loss = htf.completion_loss(factors.tree, dim, indices, targets)
        given = htf.group(factors) if group else factors
        return harness.value_and_gradient(schemes.planned_loss, 5), (given, loss)

    return make


def _dense_root(quick: bool) -> Problem:
    """Value and gradient of the paper's run, whose root makes the tensor."""
    width = 128 if quick else 512
    factors, indices, targets = schemes.problem(htf.perfect(4), 8, width, 2048)
    loss = htf.completion_loss(factors.tree, 8, indices, targets)
    return harness.value_and_gradient(schemes.planned_loss, 20), (factors, loss)


def _step(quick: bool) -> Problem:
    """GroupRMSprop as the paper's run takes it: two sums of squares per step."""
    width = 128 if quick else 512
    factors, indices, targets = schemes.problem(htf.perfect(4), 8, width, 2048)
    loss = htf.completion_loss(factors.tree, 8, indices, targets)

    def run(factors: Any, loss: Any) -> Any:
        return htf.descend(
            factors, loss, htf.group_rmsprop(1e-2), num_steps=20, record_every=20
        )

    return run, (factors, loss)


def _convolved(
    side: int, inputs: int, outputs: int, kernel: int, stride: int
) -> Callable[[bool], Problem]:
    def make(quick: bool) -> Problem:
        shape = (8 if quick else 32, side, side, inputs)
        x = jax.random.normal(jax.random.key(0), shape)
        w = jax.random.normal(jax.random.key(1), (outputs, kernel, kernel, inputs))

        def loss(x: jax.Array, w: jax.Array) -> jax.Array:
            y = convolution.convolve(
                x, w, stride=stride, padding=kernel // 2, method="matmul"
            )
            return jnp.sum(jnp.square(y))

        return harness.repeated(jax.grad(loss, argnums=(0, 1)), 3), (x, w)

    return make


def _pooled(quick: bool) -> Problem:
    x = jax.random.normal(jax.random.key(0), (8 if quick else 32, 32, 32, 64))
    gradient = jax.grad(lambda x: jnp.sum(jnp.square(convolution.max_pool(x, 3, 2, 1))))
    return harness.repeated(gradient, 3), (x,)


def _network(quick: bool) -> Problem:
    """A plain step of ResNet18, as in `benchmarks.locality`."""
    keys = jax.random.split(jax.random.key(0), 3)
    net = locality.resnet(18, channels=1, method="matmul")
    params, statistics = net.init(keys[0])
    count, side = (4, 32) if quick else (32, 64)
    x = jax.random.normal(keys[1], (count, side, side, 1), jnp.float32)
    y = jax.random.bernoulli(keys[2], shape=(count,)).astype(jnp.float32)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        logits = net.apply(params, statistics, x, train=True)[0]
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, y))

    return jax.value_and_grad(loss), (params, x)


def _regularized(quick: bool) -> Problem:
    """The regularized step of `benchmarks.locality`, of one size."""
    del quick
    return resnet_steps.steps()["two-stage"], resnet_steps.problem()


def _unjitted_steps() -> Plain:
    steps = [
        *((gram, name) for name in ("_times", "_congruent", "_product", "_rows")),
        *((qr_sweep, name) for name in ("_leaf", "_fold", "_times")),
    ]
    return _patched(*((m, name, getattr(m, name).__wrapped__) for m, name in steps))


INSTRUMENTS = "instruments/"
CONVOLUTION = "locality/networks/convolution/"

EQUAL_RECORDS = (
    "tests/runs/test_processes.py::test_eight_devices_and_two_processes_equal_one_device",
)

LISTED = [
    Form(
        "normalized", "_numerics.py",
        "Exponents of a sweep are not fused into one kernel, which takes long to compile",
        _patched((_numerics, "normalized", _unbarred(_numerics, _numerics.normalized))),
        ("compile s", "ms"), _deep, barriers=1,
    ),
    Form(
        "transposed", INSTRUMENTS + "scaled_stacks.py",
        "Products of small matrices read both of them along rows",
        _patched((gram, "transposed", _any_transposed),
                 (qr_sweep, "transposed", _any_transposed)),
        ("ms",), _spectra("gram"), barriers=1,
    ),
    Form(
        "lifted_grams", INSTRUMENTS + "scaled_stacks.py",
        "The largest entry of a Gram matrix is looked for on its diagonal only",
        _patched((gram, "lifted_grams", _lifted_by_all_entries)),
        ("ms",), _spectra("gram"),
    ),
    Form(
        "_times", "instruments/gram.py, instruments/qr_sweep.py",
        "Steps of sweeps are jitted: a few programs per group outside of jit",
        _unjitted_steps(), ("eager ms",), _eager_spectra("qr"),
    ),
    Form(
        "collected", "factors/stacks.py",
        "Children that stand side by side are woven together without a gather",
        _patched((gram, "collected", _gathered_pieces)),
        ("ms",), _wide_spectra,
    ),
    Form(
        "KEPT", "contraction/evaluate.py",
        "Many rows are read again backwards, not kept",
        _patched((evaluate, "KEPT", 2**62)),
        ("ms", "MB"), _completion(16, 64, 16384),
    ),
    Form(
        "_gathered", "contraction/evaluate.py",
        "Rows of all tables of a group by one gather of the flat stack",
        _patched((evaluate, "_gathered", _gathered_one_by_one)),
        ("ms",), _completion(64, 8, 4096, group=True),
    ),
    Form(
        "row_products", "contraction/end_tensor.py",
        "No transpose is folded into the product that makes a table of the root",
        _patched((end_tensor, "row_products", _transposed_product)),
        ("ms",), _dense_root,
    ),
    Form(
        "_folded_sum", "_numerics.py",
        "Sums of squares as additions of rows, which a CPU vectorizes",
        _patched((_numerics, "_folded_sum", jnp.sum)),
        ("ms",), _step,
    ),
    Form(
        "_scale/largest",
        "_numerics.py",
        "Compilers multiply by a reciprocal, which is zero at the end of the range",
        edit=("return jnp.minimum(scale, info.max / 16)", "return scale"),
        tests=("tests/motion/test_flow.py::test_norms_at_the_ends_of_a_dtype",),
    ),
    Form(
        "_run/look",
        "motion/descent.py",
        "Records do not depend on how many runs or devices a program serves",
        edit=("arrays = lax.optimization_barrier(", "arrays = ("),
        barriers=1,
        tests=EQUAL_RECORDS,
    ),
    Form(
        "_run/jitted",
        "motion/descent.py",
        "Python runs the loss and `observe` once, though both are used twice",
        edit=("    @jax.jit\n    def ", "    def "),
        tests=("tests/motion/test_descent.py::test_one_trace_of_step_and_observe",),
    ),
    Form(
        "_to_kernel/barrier",
        CONVOLUTION + "im2col.py",
        "Keeps XLA from moving a transpose into the product below",
        _patched((im2col, "lax", NO_BARRIER)),
        ("ms",),
        _convolved(64, 1, 64, 7, 2),
        barriers=1,
    ),
    Form(
        "_to_kernel/order",
        CONVOLUTION + "im2col.py",
        "Gradients of narrow kernels have the narrower matrix on the left",
        _patched((im2col, "_multiply", PLAIN_WINDOWS)),
        ("ms",),
        _convolved(64, 1, 64, 7, 2),
    ),
    Form(
        "_after", CONVOLUTION + "winograd.py",
        "Kernel gradients wait for their cotangents, so that no tiles are kept",
        _patched((winograd, "_after", lambda x, cotangent: x)),
        ("MB", "ms"), _network,
    ),
    Form(
        "pays", CONVOLUTION + "winograd.py",
        "3 x 3 kernels by Winograd's algorithm, fewer products of matrices",
        _patched((convolution, "pays", lambda *_: False)),
        ("ms",), _network,
    ),
    Form(
        "overlap_add", CONVOLUTION + "windows.py",
        "Cotangents of windows are added up phase by phase, without zeros between",
        _patched((im2col, "overlap_add", _derived_overlap_add)),
        ("ms",), _convolved(32, 64, 64, 3, 2),
    ),
    Form(
        "max_pool", CONVOLUTION + "convolution.py",
        "Maxima of shifted copies; XLA's window maximum has slow derivatives",
        _patched((convolution, "max_pool", _window_maximum)),
        ("ms",), _pooled,
    ),
    Form(
        "normalize", "locality/networks/normalization.py",
        "Batch normalization by a rule of its own: fewer sums over pixels, less kept",
        _patched((layers, "normalize", _derived_normalize)),
        ("MB",), _regularized,
    ),
]  # fmt: skip
FORMS = {form.name: form for form in LISTED}
